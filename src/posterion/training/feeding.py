"""What feeds a fit: segments of shuffled batches, from memory or from disk."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from posterion.core.errors import SampleError
from posterion.training.preparing import CHUNK, Prepared
from posterion.training.samples import Samples

IN_MEMORY = 256 * 2**20
"""Bytes of float32 up to which all rows are held; more are read anew in each epoch."""
_LONGEST = 500
_SEGMENT_BYTES = 32 * 2**20
_HELD_OUT = 100_000

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Feed:
    """Training rows by segments, and held-out rows.

    Attributes:
        train: the rows to learn from.
        valid: held-out rows, of which no more than a hundred thousand are kept; their conditions
            as they were given too.
        batch: rows a step.
        steps: of a segment.
        segments: of an epoch.
        prepared: how rows become coordinates.
        held: all training rows, where they are held in memory.
    """

    train: Samples
    valid: Arrays
    batch: int
    steps: int
    segments: int
    prepared: Prepared
    held: Arrays | None

    def trained_on(self, most: int) -> Arrays:
        """Some of the rows to learn from, ``most`` at the most."""
        if self.held is not None:
            return {name: array[:most] for name, array in self.held.items()}
        return _read(self.train, self.prepared, most)

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Arrays | None, np.ndarray]]:
        """Each segment's arrays (``None``: the held ones) and its rows ``(steps, batch)``."""
        size = self.steps * self.batch
        if self.held is not None:
            order = np.random.default_rng([seed, 11, number]).permutation(len(self.held["v"]))
            for k in range(self.segments):
                rows = order[k * size : (k + 1) * size].astype(np.int32)
                yield None, rows.reshape(self.steps, self.batch)
            return
        rows = np.arange(size, dtype=np.int32).reshape(self.steps, self.batch)
        for k, arrays in enumerate(_ahead(self._pieces(number, seed, size))):
            if k == self.segments:
                return
            yield arrays, rows

    def _pieces(self, number: int, seed: int, size: int) -> Iterator[Arrays]:
        """Prepared rows of a shuffled epoch, ``size`` at a time."""
        kept: list[Arrays] = []
        have = 0
        for chunk in self.train.rows.chunks(min(size, CHUNK), seed=seed, epoch=number):
            kept.append(self.prepared(self.train, chunk))
            have += len(kept[-1]["v"])
            while have >= size:
                whole = _joined(kept)
                yield {k: a[:size] for k, a in whole.items()}
                kept = [{k: a[size:] for k, a in whole.items()}]
                have -= size


def feed(samples: Samples, prepared: Prepared, *, batch: int, validation: float, seed: int) -> Feed:
    """Splits rows into those to learn from and those held out.

    Raises:
        SampleError: too few rows for either.
    """
    train_rows, valid_rows = samples.rows.split(validation, seed)
    train, valid = (replace(samples, rows=rows) for rows in (train_rows, valid_rows))
    held_out = _read(valid, prepared, _HELD_OUT, given=True)
    width = samples.dim + len(samples.context) + 1
    held = None
    count = train.rows.count
    if 4 * width * count <= IN_MEMORY:
        held = _read(train, prepared, None)
        count = len(held["v"])
    elif prepared.dropped:
        count -= prepared.dropped  # at the most: an epoch may leave a few rows for the next
    if count < 2 or len(held_out["v"]) < 1:
        raise SampleError(
            f"{prepared.rows} usable rows leave {count} to learn from and {len(held_out['v'])} "
            "held out; give more rows or another validation share"
        )
    batch = min(batch, count)
    steps = count // batch
    longest = _LONGEST
    if held is None:  # a few segments are in memory at a time
        longest = min(longest, max(1, _SEGMENT_BYTES // (4 * width * batch)))
    segments = -(-steps // longest)
    return Feed(train, held_out, batch, steps // segments, segments, prepared, held)


def _read(samples: Samples, prepared: Prepared, most: int | None, *, given: bool = False) -> Arrays:
    """Prepared rows in their order, ``most`` at the most."""
    kept: list[Arrays] = []
    have = 0
    for chunk in samples.rows.chunks(CHUNK):
        kept.append(prepared(samples, chunk, given=given))
        have += len(kept[-1]["v"])
        if most is not None and have >= most:
            break
    if not kept:
        return prepared(samples, np.zeros((0, len(samples.rows.names))), given=given)
    return {name: array[:most] for name, array in _joined(kept).items()}


def _joined(pieces: list[Arrays]) -> Arrays:
    return {name: np.concatenate([p[name] for p in pieces]) for name in pieces[0]}


def _ahead(pieces: Iterator[Any]) -> Iterator[Any]:
    """The same items, the next one made while the last one is used."""
    done = object()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, pieces, done)
        while (item := waiting.result()) is not done:
            waiting = pool.submit(next, pieces, done)
            yield item
