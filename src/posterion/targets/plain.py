"""Log-densities outside JAX: NumPy or compiled, one point or many, here or in workers."""

import itertools
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from posterion.core.errors import DensityError, PosterionError, ThetaError

_worker_density: Callable[[dict[str, np.ndarray]], Any] | None = None


def _start_worker(log_density: Callable[[dict[str, np.ndarray]], Any]) -> None:
    global _worker_density
    _worker_density = log_density


def _work(theta: dict[str, np.ndarray], vectorized: bool, count: int) -> np.ndarray:
    if _worker_density is None:
        raise DensityError("the worker process has no log-density")
    return evaluate_here(_worker_density, theta, vectorized, count)


def evaluate_here(
    log_density: Callable[[dict[str, np.ndarray]], Any],
    theta: Mapping[str, np.ndarray],
    vectorized: bool,
    count: int,
) -> np.ndarray:
    """Values of a plain log-density, ``(count,)`` float64; errors name the point."""
    if vectorized:
        try:
            values = np.asarray(log_density(dict(theta)))
        except Exception as error:
            raise _raised(error, theta, f"(a batch of {count})") from error
        if values.shape != (count,):
            raise DensityError(
                f"a vectorized log-density must return shape ({count},), got {values.shape}"
            )
        return _as_float(values)
    values = np.empty(count)
    for row in range(count):
        point = {name: array[row] for name, array in theta.items()}
        try:
            value = np.asarray(log_density(point))
        except Exception as error:
            raise _raised(error, theta, f"at {point}") from error
        if value.size != 1:
            raise DensityError(
                f"the log-density must return one number, got shape {value.shape}; for a batch "
                f"declare vectorized=True"
            )
        values[row] = _as_float(value).reshape(())
    return values


def _raised(error: Exception, theta: Mapping[str, np.ndarray], where: str) -> PosterionError:
    if isinstance(error, KeyError) and error.args and error.args[0] not in theta:
        return ThetaError(
            f"the log-density asks for {error}, which is no parameter; parameters: "
            f"{', '.join(theta)}"
        )
    return DensityError(f"the log-density raised {type(error).__name__}: {error} {where}")


def _as_float(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "fiu":
        raise DensityError(f"the log-density must return real numbers, got dtype {values.dtype}")
    return values.astype(np.float64)


class Workers:
    """A pool of spawned processes that evaluate a plain log-density.

    Args:
        log_density: importable by its name, as every spawned worker needs.
        vectorized: it takes batches.
        count: number of processes.
    """

    def __init__(self, log_density: Callable[..., Any], vectorized: bool, count: int):
        self.vectorized = vectorized
        self.count = count
        self.pool = ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(log_density,),
        )

    def __call__(self, theta: Mapping[str, np.ndarray], count: int) -> np.ndarray:
        """Values ``(count,)``, in order."""
        pieces = max(1, min(count, 4 * self.count))
        edges = np.linspace(0, count, pieces + 1).astype(int)
        try:
            futures = [
                self.pool.submit(
                    _work, {k: v[i:j] for k, v in theta.items()}, self.vectorized, int(j - i)
                )
                for i, j in itertools.pairwise(edges)
            ]
            return np.concatenate([future.result() for future in futures])
        except DensityError:
            raise
        except (BrokenProcessPool, AttributeError, TypeError, OSError) as error:
            raise DensityError(
                f"the worker processes could not evaluate the log-density ({error}); define it at "
                f"the top of an importable module and guard the script with "
                f"if __name__ == '__main__', or set workers=0"
            ) from error

    def close(self) -> None:
        """Ends the processes."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def flatten(theta: Mapping[str, Any], names: Sequence[str], count: int) -> np.ndarray:
    """Coordinates ``(count, dim)`` of a dict of batched arrays."""
    return np.concatenate([np.asarray(theta[n], float).reshape(count, -1) for n in names], axis=1)
