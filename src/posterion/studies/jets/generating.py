"""Tables of pairs, made in parallel and kept as they come: one Parquet file a chunk."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import CheckpointError, PosterionError, SampleError
from posterion.core.files import writable_directory
from posterion.core.progress import progress
from posterion.io import read_metadata, read_table, write_draws
from posterion.studies.jets.detector import Detector
from posterion.studies.jets.events import COLUMNS, PYTHIA, Generator
from posterion.studies.jets.kinematics import UNITS

__all__ = ["CHUNK", "chunk_path", "generated"]

CHUNK = 2500
"""Pairs of a chunk."""

Make = Callable[[int, int], tuple[dict[str, NDArray[Any]], dict[str, Any]]]


def generated(
    jets: int,
    *,
    seed: int,
    folder: Path,
    processes: int = 1,
    make: Make | None = None,
    quiet: bool | None = None,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Pairs of jets; chunks that are in the folder already are taken from there.

    Args:
        jets: number of pairs.
        seed: of everything; how many processes there are changes nothing.
        folder: of the chunks.
        processes: that generate, spawned; 1 is this one.
        make: ``make(seed, pairs)`` gives a chunk and its notes; Pythia by default.
        quiet: no progress bar.

    Returns:
        The columns of `events.COLUMNS`, and milliseconds an event by what they were spent on.

    Raises:
        SampleError: a chunk failed; the message has its seed. Finished ones stay.
        CheckpointError: a file there is of another generator.
        OutputError: the folder cannot be written to.
        MissingExtraError: Pythia or FastJet is not installed.
    """
    folder = writable_directory(folder)
    numbers = range(-(-jets // CHUNK))
    jobs = []
    for number in numbers:
        path = chunk_path(folder, seed, number)
        if path.exists():
            _same(path, seed, number)
        else:
            jobs.append((path, seed, number, make or _events))
    with progress("generating jets", total=len(numbers), quiet=quiet) as bar:
        bar.update(len(numbers) - len(jobs))
        for _ in _done(jobs, processes):
            bar.update(advance=1)
    tables = [read_table(chunk_path(folder, seed, number)) for number in numbers]
    for number, table in zip(numbers, tables, strict=True):  # events are told apart by chunk too
        table["event"] = table["event"] + number * 1_000_000
    whole = {
        name: np.concatenate([table[name] for table in tables])[:jets].astype(np.float64)
        for name in COLUMNS
    }
    return whole, _costs([chunk_path(folder, seed, number) for number in numbers])


def chunk_path(folder: Path, seed: int, number: int) -> Path:
    """The file of a chunk."""
    return folder / f"jets-{seed}-{number:05d}.parquet"


def _done(jobs: list[Any], processes: int) -> Iterator[None]:
    if processes == 1 or len(jobs) < 2:
        for job in jobs:
            _chunk(job)
            yield
        return
    context = multiprocessing.get_context("spawn")  # threads of XLA do not survive a fork
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = {pool.submit(_chunk, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                _, seed, number, _ = futures[future]
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise SampleError(
                        f"a process that generated jets died, chunk {number} of seed {seed} with "
                        "it; chunks that were finished are kept, run again to go on from them"
                    ) from error
                yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _chunk(job: tuple[Path, int, int, Make]) -> None:
    path, seed, number, make = job
    own = _own_seed(seed, number)
    try:
        table, notes = make(own, CHUNK)
    except (PosterionError, RuntimeError, ValueError, ArithmeticError) as error:
        if isinstance(error, ImportError):
            raise
        raise SampleError(
            f"chunk {number} of seed {seed} failed (its own seed is {own}): {error}; chunks that "
            "were finished are kept, run again to go on from them"
        ) from error
    units = {n: UNITS[n.split("_")[1]] for n in table if n.split("_")[-1] in ("pt", "phi", "m")}
    meta = {"identity": _identity(seed, number), "notes": notes}
    write_draws(path, table, units=units, meta=meta)


def _own_seed(seed: int, number: int) -> int:
    return int(np.random.default_rng([seed, number, 17]).integers(1 << 31))


def _events(seed: int, pairs: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    generator = Generator(seed)
    table = generator.pairs(pairs)
    return table, {"events": generator.events, "seconds": generator.seconds}


def _identity(seed: int, number: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "chunk": number,
        "pairs": CHUNK,
        "pythia": list(PYTHIA),
        "detector": _plain(Detector().numbers()),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _same(path: Path, seed: int, number: int) -> None:
    there = read_metadata(path)["meta"].get("identity")
    if there != _identity(seed, number):
        raise CheckpointError(
            f"{path} is of another generator or another seed: remove it, or choose another cache"
        )


def _costs(paths: list[Path]) -> dict[str, float]:
    """Milliseconds an event, and pairs an event."""
    seconds: dict[str, float] = {}
    events = 0
    for path in paths:
        notes = read_metadata(path)["meta"]["notes"]
        events += notes.get("events", 0)
        for name, value in notes.get("seconds", {}).items():
            seconds[name] = seconds.get(name, 0.0) + value
    if events == 0:
        return {}
    found = {name: 1e3 * value / events for name, value in seconds.items()}
    return found | {"pairs an event": len(paths) * CHUNK / events}
