"""Flows against their peers; `python -m benchmarks.flows` prints the section."""

import os

CPU = "BENCHMARK_CPU"
"""Names the one core of a library's process, which takes it before anything heavy is loaded."""

GPU = "BENCHMARK_GPU"
"""Set where the libraries run on the graphics processor; its time is wall time."""

if CPU in os.environ:
    os.sched_setaffinity(0, {int(os.environ[CPU])})
