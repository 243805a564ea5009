"""``check_closure``: whether a conditional fit gives what happened under each condition."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posterion.core.errors import SampleError, SettingError, ThetaError
from posterion.core.estimate import Estimate
from posterion.diagnostics.closed import Closure
from posterion.diagnostics.closure import FEWEST, closure_of, normal_scores
from posterion.sampling.importance import as_probable
from posterion.targets.target import v_and_log_det
from posterion.training.calibrating import check_calibration, pairs_of
from posterion.training.classifier import classify
from posterion.training.conditional import flat_draws
from posterion.training.quantiles import crossing_rate
from posterion.training.ranges import said_once
from posterion.training.summaries import shown

__all__ = ["check_closure"]

_CLASSIFIED = 50_000
_CROSSED = 10_000


def check_closure(
    fit: Any,
    outcome: Any,
    context: Any = None,
    *,
    weights: Any = None,
    key: str | Sequence[str] | None = None,
    cube: Any = None,
    draws: int = 200,
    classifier: bool = True,
    alpha: float | int = 0.01,
    seed: int = 0,
    quiet: bool | None = None,
) -> Closure:
    """Closure of a conditional fit on pairs that it has not seen; printing it gives the report.

    Each outcome is held against draws under its own condition, so that what is compared is the
    conditional distribution, with or without a density: ranks of each output and of all together,
    also in bins of each condition; coverage in these bins; marginals and their ratios; the energy
    distance and a classifier of ranks with their conditions, for outcomes and draws; all of it with
    p-values and one stated rate of false alarms (see `posterion.diagnostics.closure_of`).

    Args:
        fit: a conditional `Fit` or `Ensemble`, or whatever has ``parameters``, ``context`` (names)
            and ``sample(n, context=, seed=)``.
        outcome: what happened, one a row: an array ``(n, d)``, a dict, a DataFrame, a table's path.
        context: the condition of each, ``(n, width)`` or by name; by default columns of ``outcome``
            of these names.
        weights: of the pairs, ``(n,)`` or a column of ``outcome``: pairs are chosen by them.
        key: column, or columns, by which rows of both are paired, as in `fit`.
        cube: ranges of conditions by name (of sets those of the report, such as their number of
            points), such as ``{"pt": (30, 35), "eta": (-1, 1)}``, or a
            class, ``{"flavour": "b"}``, within which marginals and distance are looked at too.
        draws: under each condition, among which outcomes are ranked.
        classifier: whether one is trained; takes most of the time.
        alpha: probability that a right model is rejected, at the most.
        seed: of the draws, the permutations and the classifier.
        quiet: no progress bar.

    Raises:
        SettingError: the fit has no context, or the cube is no range.
        ThetaError: the cube names an unknown condition, or a column is missing.
        SampleError: outcome and context do not fit, or fewer than 50 rows, in all or in the cube.
    """
    y, rows, weight, known = pairs_of(
        fit, outcome, context, weights=weights, key=key, what="outcome"
    )
    notes = list(known.notes)
    if not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any():
        row = int(np.argmin(np.where(np.isfinite(weight), weight, -np.inf)))
        raise SampleError(
            f"weights of pairs are finite, not negative and not all zero; row {row}: "
            f"{weight[row]:g}"
        )
    if np.ptp(weight) > 0:
        chosen = as_probable(weight, np.random.default_rng([seed, 31]))
        notes.append(f"{len(chosen)} of {len(y)} pairs, chosen as probably as they weigh")
        y, rows = y[chosen], rows[chosen]
        if len(y) < FEWEST:
            raise SampleError(f"the weights leave {notes[-1]}: {FEWEST} are needed")
    names, units = zip(
        *((column, parameter.unit) for parameter in fit.parameters for column in parameter.columns),
        strict=True,
    )
    beside, conditions = shown(fit, rows)
    inside, words = _inside(cube, beside, conditions)
    with said_once(fit, rows):
        x = flat_draws(fit.sample(1, context=rows, seed=seed + 1_000_003))[:, 0]
        ranked, others = (
            check_calibration(
                fit, part, rows, draws=draws, density=False, alpha=alpha, seed=seed, quiet=quiet
            )
            for part in (y, x)
        )
    theirs = others.pit[:, : y.shape[1]]
    found = None
    if classifier:
        kept = np.random.default_rng([seed, 83]).permutation(len(y))[:_CLASSIFIED]
        ours = ranked.pit[:, : y.shape[1]]
        pair = (np.hstack([normal_scores(u[kept]), beside[kept]]) for u in (theirs, ours))
        told = classify(*pair, seed=seed)
        a, b = told.rows
        spread = np.sqrt((a + b + 1) / (12 * a * b))  # of equal laws: Mann and Whitney, 1947
        found = Estimate(told.auc.value, float(spread))
    return closure_of(
        y,
        x,
        beside,
        ranked,
        theirs,
        names=names,
        conditions=conditions,
        units=units,
        inside=inside,
        cube=words,
        auc=found,
        crossing=_crossing(fit, y, rows),
        alpha=alpha,
        name=str(getattr(fit, "name", "model")),
        notes=(*notes, *ranked.notes),
        seed=seed,
    )


def _inside(
    cube: Any, rows: np.ndarray, conditions: tuple[str, ...]
) -> tuple[np.ndarray | None, str]:
    """Which rows lie in the cube, and its words."""
    if not cube:
        return None, ""
    if not isinstance(cube, Mapping):
        raise SettingError(f"a cube is a dict of ranges by name, {{'pt': (30, 35)}}, got {cube!r}")
    inside, words = np.ones(len(rows), bool), []
    for name, ends in cube.items():
        column, (low, high) = name, (0.5, np.inf)
        if isinstance(ends, str):
            column = f"{name}={ends}"
            words.append(column)
        else:
            try:
                low, high = map(float, ends)
            except (TypeError, ValueError) as error:
                raise SettingError(
                    "the cube has two ends, or a class, for each condition; "
                    f"{name}: {' to '.join(map(str, np.atleast_1d(ends)))}"
                ) from error
            if not low < high:
                raise SettingError(f"the cube's range of {name} is empty: from {low} to {high}")
            words.append(f"{low:.6g} < {name} < {high:.6g}")
        if column not in conditions:
            raise ThetaError(f"no condition is called {column!r}; known: {', '.join(conditions)}")
        value = rows[:, conditions.index(column)]
        inside &= (value > low) & (value < high)
    return inside, ", ".join(words)


def _crossing(fit: Any, y: np.ndarray, rows: np.ndarray) -> float | None:
    """Share of quantiles that cross, of a fit by a network in which they may."""
    if getattr(fit, "frame", None) is None:
        return None
    v = v_and_log_det(fit.frame, y[:_CROSSED])[0].astype(np.float32)
    return crossing_rate(fit.flow, v, fit._conditions(rows[:_CROSSED]))
