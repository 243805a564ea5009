"""Cores, and rows in chunks that fit in the cache of one."""

import os
from collections.abc import Iterator

__all__ = ["CHUNK", "chunks", "usable_cores"]

CHUNK = 4096
"""Rows of a chunk: with 100 coordinates in double precision they still fit in a core's cache."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunks(rows: int, size: int = CHUNK) -> Iterator[tuple[int, int, int]]:
    """Number, first row and end of each chunk of the rows."""
    for number, start in enumerate(range(0, rows, size)):
        yield number, start, min(start + size, rows)
