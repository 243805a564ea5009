"""Pairs of jets from wherever they come: events, a sample in closed form, or two tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import TableError
from posterion.io import read_table
from posterion.studies.jets.events import selected
from posterion.studies.jets.kinematics import NAMES, wrapped

__all__ = ["KEYS", "Pairs", "own_pairs", "pairs_of"]

Floats = NDArray[np.float64]

KEYS = ("event", "jet")
"""Columns that say which jet is which, where tables have them."""

_ALIASES = {"mass": "m", "transverse_momentum": "pt"}
_NEAR = 0.6  # of a generated jet and its reconstructed one


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of jets, each ``(n, 4)``: pT, eta, phi, m, GeV.

    Attributes:
        gen: generated.
        reco: reconstructed.
        again: the response to the same jets once more, where it is known.
        source: where they come from, in words.
        cut: whether jets are learned from within the window of `events.selected` alone.
        costs: of the simulation: milliseconds an event by part, and pairs an event.
        notes: what to know about them.
    """

    gen: Floats
    reco: Floats
    again: Floats | None
    source: str
    cut: bool = True
    costs: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def direction(self, name: str) -> tuple[Floats, Floats, Floats | None]:
        """What is given, what is learned, and as much once more where it is known.

        Args:
            name: ``"simulation"``, reconstructed jets given generated ones, or ``"correction"``.
                A second response is exact truth for both: once for the outcome, once for what is
                given.
        """
        forward = name == "simulation"
        given, outcome = (self.gen, self.reco) if forward else (self.reco, self.gen)
        keep = np.ones(len(given), bool)
        if self.cut:
            keep = selected(given[:, 0], given[:, 1])
        again = self.again[keep] if forward and self.again is not None else None
        return given[keep], outcome[keep], again


def pairs_of(table: Mapping[str, Floats], source: str, **known: object) -> Pairs:
    """Pairs of a table in `events.COLUMNS`."""
    kinds = [
        np.stack([table[f"{kind}_{name}"] for name in NAMES], axis=1)
        for kind in ("gen", "reco", "again")
    ]
    return Pairs(*kinds, source, **known)  # type: ignore[arg-type]


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
    return jets, {key: table[key] for key in KEYS if key in table}


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
