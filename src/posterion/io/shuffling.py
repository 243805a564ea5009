"""Rows in random order with bounded memory, and rows put aside by their number."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

__all__ = ["Sieve", "interleave", "mix", "rebatch"]

Pieces = Iterator[np.ndarray]


@dataclass(frozen=True)
class Sieve:
    """Chooses rows by a hash of their number: always the same ones, wherever they stand.

    The hash is that of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, in the form of Vigna).

    Attributes:
        key: 64 bits that say which of the many choices is made.
        threshold: rows with a hash below it are chosen; of 2**64.
        inverted: the other rows are chosen instead.
    """

    key: int
    threshold: int
    inverted: bool = False

    def keeps(self, start: int, stop: int) -> np.ndarray:
        """Which of the rows ``start`` to ``stop`` are chosen: booleans of shape (stop - start,)."""
        z = np.arange(start, stop, dtype=np.uint64)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(self.key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        return (z < np.uint64(self.threshold)) != self.inverted


def interleave(
    streams: Sequence[tuple[int, Callable[[], Pieces]]], ways: int, generator: np.random.Generator
) -> Pieces:
    """The pieces of all streams, ``ways`` of them open at a time and drawn by what they have left.

    Streams of one piece are thus visited in random order; the pieces of long ones (a row group that
    can only be read from its beginning) are mixed with those of others, up to their ends.

    Args:
        streams: the number of rows of each, and how to begin it.
        ways: how many are open at a time.
        generator: of the order in which they begin, and of the draws.
    """
    waiting = iter(generator.permutation(len(streams)).tolist())
    running = [(streams[i][0], streams[i][1]()) for i in islice(waiting, ways)]
    while running:
        left = np.array([max(rows, 1) for rows, _ in running])
        chosen = int(generator.choice(len(running), p=left / left.sum()))
        rows, stream = running[chosen]
        piece = next(stream, None)
        if piece is not None:
            running[chosen] = (rows - len(piece), stream)
            yield piece
        elif (following := next(waiting, None)) is not None:
            running[chosen] = (streams[following][0], streams[following][1]())
        else:
            del running[chosen]


def mix(pieces: Pieces, capacity: int, rows: int, generator: np.random.Generator) -> Pieces:
    """Fill a buffer of ``capacity`` rows, give them in random order by ``rows``, fill it again."""
    buffer, held = np.empty(0), 0
    for piece in pieces:
        if not buffer.size:
            buffer = np.empty((capacity, piece.shape[1]), piece.dtype)
        while len(piece):
            taken = min(len(piece), capacity - held)
            buffer[held : held + taken] = piece[:taken]
            held, piece = held + taken, piece[taken:]
            if held == capacity:
                yield from _permuted(buffer, rows, generator)
                held = 0
    yield from _permuted(buffer[:held], rows, generator)


def rebatch(pieces: Pieces, rows: int) -> Pieces:
    """The same rows in pieces of exactly ``rows``; only the last one may have fewer."""
    waiting: list[np.ndarray] = []
    held = 0
    for piece in pieces:
        while len(piece):
            part, piece = piece[: rows - held], piece[rows - held :]
            waiting.append(part)
            held += len(part)
            if held == rows:
                yield np.concatenate(waiting) if len(waiting) > 1 else part
                waiting, held = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _permuted(rows_held: np.ndarray, rows: int, generator: np.random.Generator) -> Pieces:
    order = generator.permutation(len(rows_held))
    for start in range(0, len(order), rows):
        yield rows_held[order[start : start + rows]]
