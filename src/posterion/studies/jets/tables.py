"""Pairs of jets from wherever they come: events, a sample in closed form, or two tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import TableError
from posterion.io import read_table
from posterion.studies.jets.events import selected
from posterion.studies.jets.kinematics import NAMES, wrapped

__all__ = ["KEYS", "Pairs", "Side", "own_pairs", "pairs_of"]

Floats = NDArray[np.float64]
Side = tuple[Floats, Floats]
"""Jets that are given and jets that are learned, ``(n, 4)`` each, row by row."""

KEYS = ("event", "jet")
"""Columns that say which jet is which, where tables have them."""

_ALIASES = {"mass": "m", "transverse_momentum": "pt"}
_NEAR = 0.6  # of a generated jet and its reconstructed one
_UNITS = 3.0  # of their pt, from which on the units differ


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of jets, each ``(n, 4)``: pT, eta, phi, m, GeV.

    Attributes:
        gen: generated.
        reco: reconstructed.
        again: the response to the same jets once more, where it is known.
        source: where they come from, in words.
        cut: whether jets are learned from within the window of `events.selected` alone.
        stand_in: whether they are of a closed form in place of events.
        costs: of the simulation: milliseconds an event by part, and pairs an event.
        notes: what to know about them.
    """

    gen: Floats
    reco: Floats
    again: Floats | None
    source: str
    cut: bool = True
    stand_in: bool = False
    costs: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def rows(self, chosen: NDArray[np.intp]) -> "Pairs":
        """Some of them."""
        again = None if self.again is None else self.again[chosen]
        return replace(self, gen=self.gen[chosen], reco=self.reco[chosen], again=again)

    def of(self, direction: str) -> Side:
        """What is given and what is learned, in ``"simulation"`` or ``"correction"``."""
        return self._side(direction, self.reco)

    def again_of(self, direction: str) -> Side | None:
        """As `of`, by the second response: a sample of exact truth, where there is one."""
        return None if self.again is None else self._side(direction, self.again)

    def _side(self, direction: str, reco: Floats) -> Side:
        forward = direction == "simulation"
        given, outcome = (self.gen, reco) if forward else (reco, self.gen)
        if not self.cut:
            return given, outcome
        keep = selected(given[:, 0], given[:, 1])
        return given[keep], outcome[keep]


def pairs_of(table: Mapping[str, Floats], source: str, **known: Any) -> Pairs:
    """Pairs of a table in `events.COLUMNS`; ``known`` are other fields of `Pairs`."""
    gen, reco, again = (
        np.stack([table[f"{kind}_{name}"] for name in NAMES], axis=1)
        for kind in ("gen", "reco", "again")
    )
    return Pairs(gen, reco, again, source, **known)


def own_pairs(gen: Path, reco: Path) -> Pairs:
    """Pairs of two tables.

    Columns are ``pt, eta, phi, m``, with a prefix ``gen_`` or ``reco_`` or without. Where both have
    columns of `KEYS`, rows are joined by them, in whatever order they are; otherwise row by row.

    Raises:
        TableError: a column lacks, a value is not finite or impossible, keys are not unique, the
            tables are of different lengths without keys, or their rows do not belong together.
    """
    first, second = (_read(path, kind) for path, kind in ((gen, "gen"), (reco, "reco")))
    keys = [key for key in KEYS if key in first[1] and key in second[1]]
    one, other = first[0], second[0]
    notes: list[str] = []
    if keys:
        i, j = _joined(first[1], second[1], keys, (gen, reco))
        lost = [len(one) - len(i), len(other) - len(j)]
        one, other = one[i], other[j]
        notes.append(f"rows are joined by {' and '.join(keys)}")
        if any(lost):
            notes.append(f"{lost[0]} generated and {lost[1]} reconstructed jets have no partner")
    elif len(one) != len(other):
        raise TableError(
            f"{gen} has {len(one)} rows and {reco} {len(other)}: rows are paired one by one unless "
            f"both have a column {' or '.join(KEYS)}"
        )
    else:
        notes.append("rows are paired by their order")
    apart = np.hypot(one[:, 1] - other[:, 1], wrapped(one[:, 2] - other[:, 2]))
    if len(one) and np.mean(apart < _NEAR) < 0.5:
        raise TableError(
            f"rows of {gen} and {reco} do not belong together: most jets are further apart than "
            f"{_NEAR}; sort both, or give both a column {' or '.join(KEYS)}"
        )
    times = float(np.median(other[:, 0] / one[:, 0])) if len(one) else 1.0
    if not 1 / _UNITS < times < _UNITS:
        raise TableError(
            f"pt of {reco} is {times:.3g} times that of {gen} in the median: give both in GeV"
        )
    return Pairs(one, other, None, f"{gen.name} and {reco.name}", cut=False, notes=tuple(notes))


def _read(path: Path, kind: str) -> tuple[Floats, dict[str, NDArray[np.float64]]]:
    table = {}
    for name, column in read_table(path).items():
        plain = name.lower().removeprefix(f"{kind}_")
        table[_ALIASES.get(plain, plain)] = column
    if missing := [name for name in NAMES if name not in table]:
        raise TableError(
            f"{path} lacks {', '.join(missing)}; it needs pt, eta, phi, m, or {kind}_pt and so on"
        )
    jets = np.stack([np.asarray(table[name], np.float64) for name in NAMES], axis=1)
    for i, name in enumerate(NAMES):
        column = jets[:, i]
        bad = ~np.isfinite(column)
        if name == "pt":
            bad |= column <= 0
        elif name == "m":
            bad |= column < 0
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise TableError(
                f"{path}: {name} is {column[row]} in row {row}, and {int(bad.sum())} rows are like "
                "that: take them out of both tables"
            )
    return jets, {key: np.asarray(table[key], np.float64) for key in KEYS if key in table}


def _joined(
    first: dict[str, Floats], second: dict[str, Floats], keys: list[str], paths: tuple[Path, Path]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows = [np.stack([table[key] for key in keys], axis=1) for table in (first, second)]
    _, whole = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    whole = whole.reshape(-1)
    one, other = whole[: len(rows[0])], whole[len(rows[0]) :]
    for number, path in ((one, paths[0]), (other, paths[1])):
        if len(np.unique(number)) < len(number):
            twice = int(np.flatnonzero(np.bincount(number) > 1)[0])
            row = int(np.flatnonzero(number == twice)[0])
            raise TableError(f"{path}: {' and '.join(keys)} of row {row} come more than once")
    _, i, j = np.intersect1d(one, other, return_indices=True)
    if len(i) == 0:
        raise TableError(f"{paths[0]} and {paths[1]} have no {' and '.join(keys)} in common")
    return i, j
