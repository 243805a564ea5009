"""Flows against their peers; `python -m benchmarks.flows` prints the section."""
