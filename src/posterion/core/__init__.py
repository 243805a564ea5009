"""What every room stands on: errors, status, registry, files, progress, citations."""
