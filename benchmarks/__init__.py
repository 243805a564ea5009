"""Benchmarks: ``python -m benchmarks [NAMES] [--data DIR] [--quick]`` writes ``RESULTS.md``."""
