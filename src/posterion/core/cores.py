"""Long work on rows, a chunk on each core at a time."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["CHUNK", "on_cores", "usable_cores"]

CHUNK = 4096
"""Rows of a chunk: with 100 coordinates in double precision they still fit in a core's cache."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_cores(work: Callable[[int, int, int], None], rows: int, chunk: int = CHUNK) -> None:
    """Calls ``work(number, start, stop)`` for each chunk of the rows, from one thread a core.

    The first call comes alone, as it may compile what the others use.
    """
    pieces = [(i, start, min(start + chunk, rows)) for i, start in enumerate(range(0, rows, chunk))]
    for piece in pieces[:1]:
        work(*piece)
    if len(pieces) > 1:
        with ThreadPoolExecutor(usable_cores()) as pool:
            for _ in pool.map(lambda piece: work(*piece), pieces[1:]):
                pass
