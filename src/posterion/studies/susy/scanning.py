"""Scans of the parameter space, on one core, on several, or on a cluster."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import MissingExtraError, SettingError
from posterion.core.progress import progress
from posterion.studies.susy.parameters import NAMES, draw
from posterion.studies.susy.tasks import TASKS

__all__ = ["PART", "scan", "workers"]

Floats = NDArray[np.float64]

PART = 65_536
"""Points that one call of a worker draws."""


def scan(
    task: str,
    rows: int,
    *,
    seed: int,
    executor: Executor | None = None,
    width: int = 1,
    quiet: bool | None = None,
) -> dict[str, Floats]:
    """Rows of a task: the 19 parameters and its column.

    Args:
        task: name of one of `tasks.TASKS`.
        rows: how many are wanted.
        seed: integer seed; who works, and how many do, changes nothing.
        executor: where parts are worked on; in this process by default.
        width: parts that are worked on at a time.
        quiet: no progress bar.
    """
    found: list[Floats] = []
    count, part = 0, 0
    with progress(f"scanning for {task}", total=rows, quiet=quiet) as bar:
        while count < rows:
            jobs = [(task, seed, part + i) for i in range(width)]
            each: Callable[..., Any] = map if executor is None else executor.map
            for piece in each(_part, jobs):
                found.append(piece)
                count += len(piece)
            part += width
            bar.update(min(count, rows))
    table = np.concatenate(found)[:rows]
    return dict(zip((*NAMES, TASKS[task].column), table.T, strict=True))


def _part(job: tuple[str, int, int]) -> Floats:
    """Rows of one part of a scan, ``(kept, 20)``."""
    from posterion.studies.susy.generator import evaluate

    task, seed, part = job
    points = draw(PART, seed, part)
    found = evaluate(points)
    kept = TASKS[task].keep(found)
    return np.column_stack([points[kept], found[TASKS[task].column][kept]])


@contextmanager
def workers(processes: int, cluster: str | None) -> Iterator[tuple[Executor | None, int]]:
    """An executor and how many parts it may have at a time.

    Args:
        processes: of this machine.
        cluster: address of a Dask scheduler, ``tcp://...``.

    Raises:
        MissingExtraError: a cluster without the extra ``dask``.
        SettingError: the scheduler does not answer.
    """
    if cluster is not None:
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingExtraError(
                "scans on a cluster need Dask: pip install 'posterion[dask]'"
            ) from error
        try:
            client: Any = Client(cluster, timeout="10s")
        except (OSError, ValueError) as error:
            raise SettingError(f"no Dask scheduler answers at {cluster}: {error}") from error
        with client:
            yield client.get_executor(), max(1, sum(client.nthreads().values()))
    elif processes > 1:
        context = multiprocessing.get_context("spawn")  # threads of XLA do not survive a fork
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            yield pool, processes
    else:
        yield None, 1
