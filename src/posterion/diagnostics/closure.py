"""Closure of a conditional distribution: its draws against outcomes under the same conditions.

A marginal may agree where no conditional does: so outcomes are ranked among draws under their own
condition, also in bins of each condition, and all columns are compared together, the condition
among them, each outcome beside a draw of the same condition.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, norm

from posterion.core.errors import SampleError, ShapeError
from posterion.core.estimate import Estimate
from posterion.diagnostics._arrays import Floats, points
from posterion.diagnostics.calibrated import COVERAGES, TARP, Calibration
from posterion.diagnostics.closed import Closure, ClosureTest, LocalCoverage, MarginalRatio
from posterion.diagnostics.divergence import kolmogorov_smirnov_two
from posterion.diagnostics.energy import energy_distance
from posterion.diagnostics.transforms import BINS, bins_of, transforms_of

__all__ = ["closure_of", "normal_scores"]

_RATIOS = 10
FEWEST = 50
_LIMIT = 2000


def closure_of(
    outcome: ArrayLike,
    drawn: ArrayLike,
    context: ArrayLike,
    calibration: Calibration,
    drawn_ranks: ArrayLike,
    *,
    names: Sequence[str],
    conditions: Sequence[str],
    units: Sequence[str] = (),
    inside: ArrayLike | None = None,
    cube: str = "",
    auc: Estimate | None = None,
    crossing: float | None = None,
    alpha: float | int = 0.01,
    name: str = "model",
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Closure:
    """Closure from arrays alone.

    The tests: ranks of each output and of all together (`calibration_of`), ranks in bins of each
    condition (`transforms_of`), coverage in these bins, the marginals, and the energy distance of
    ranks and conditions, whose labels are exchanged between an outcome and the draw of the same
    condition; the last two also in the cube. Ranks among draws, as normal numbers, show what is
    narrow beside the spread of the conditions.

    Args:
        outcome: ``(n, d)``.
        drawn: one draw under the condition of each, ``(n, d)``.
        context: ``(n, width)``.
        calibration: of the same outcomes, by ranks among draws.
        drawn_ranks: of ``drawn`` among the same draws, ``(n, d)``, between 0 and 1.
        names: of the outputs.
        conditions: names of the context's columns.
        units: of the outputs.
        inside: which rows are in the cube, ``(n,)``.
        cube: in words.
        auc: of a classifier of both samples' ranks with their conditions, and its spread if they
            are of the same law.
        crossing: share of neighbouring quantiles that cross.
        alpha: probability that a right model is rejected, at the most.
        name: for the report.
        notes: for the report.
        seed: of the permutations.

    Raises:
        ShapeError: shapes that do not fit.
        SampleError: fewer than 50 rows, or as few in the cube.
    """
    y, x, given = points(outcome, "outcome"), points(drawn, "drawn"), points(context, "context")
    n, d = y.shape
    theirs = points(drawn_ranks, "drawn_ranks")
    if x.shape != y.shape or theirs.shape != y.shape or len(given) != n or calibration.pairs != n:
        raise ShapeError(
            f"outcome {y.shape}, drawn {x.shape}, context {given.shape} and {calibration.pairs} "
            "ranks do not fit"
        )
    within = np.ones(n, bool) if inside is None else np.asarray(inside, bool)
    if min(n, within.sum()) < FEWEST:
        where = f"in the cube {cube}" if cube else "in all"
        raise SampleError(f"{min(n, within.sum())} rows {where} are too few, {FEWEST} are needed")
    ranks = calibration.pit[:, :d]
    tests = [
        ClosureTest(
            f"ranks of {label}",
            float(np.mean(ranks[:, i])),
            float(calibration.p_values[i]),
            f"mean rank, 0.5 if right; the draws are {said}"
            if (said := calibration.reads(i))
            else "",
        )
        for i, label in enumerate(names)
    ]
    joint = calibration[TARP]
    p = float(calibration.p_values[calibration.names.index(TARP)])
    tests.append(ClosureTest("ranks of all, by distance", float(joint.mean()), p))
    local = transforms_of(ranks, given, names=names, conditions=conditions, chained=False)
    tests.append(
        ClosureTest(
            "ranks in bins of conditions",
            local.distance,
            local.p_value,
            f"{local.where}: largest difference of {local.looked_at}",
        )
    )
    coverage = _coverage(ranks, given, names, conditions)
    tests.append(_worst_coverage(coverage))
    marginals: list[MarginalRatio] = []
    for rows, where in _places(within, cube):
        ks = [kolmogorov_smirnov_two(x[rows, i], y[rows, i]) for i in range(d)]
        worst = int(np.argmin([test.p_value for test in ks]))
        tests.append(
            ClosureTest(
                f"marginals{where}",
                ks[worst].distance,
                min(1.0, ks[worst].p_value * d),
                f"{names[worst]}: largest difference of {d}, two-sample KS",
            )
        )
        apart = energy_distance(
            np.hstack([normal_scores(theirs[rows]), given[rows]]),
            np.hstack([normal_scores(ranks[rows]), given[rows]]),
            seed=seed,
            limit=_LIMIT,
            paired=True,
        )
        tests.append(
            ClosureTest(
                f"energy distance{where}",
                apart.distance,
                float(norm.sf(apart.z)),
                f"in sd, z = {apart.z:.2f}; {apart.points[0]} pairs, conditions beside ranks",
            )
        )
        marginals += [
            _ratio(label, where, x[rows, i], y[rows, i], unit)
            for i, (label, unit) in enumerate(zip(names, units or [""] * d, strict=True))
        ]
    if auc is not None:
        z = (auc.value - 0.5) / auc.error
        note = f"0.5 ± {auc.error:.2g} if right; conditions beside ranks"
        tests.append(ClosureTest("classifier, AUC", auc.value, float(norm.sf(z)), note))
    return Closure(
        name,
        tuple(tests),
        tuple(marginals),
        tuple(coverage),
        calibration,
        n,
        int(within.sum()) if cube else 0,
        cube,
        float(alpha),
        crossing,
        tuple(notes),
    )


def normal_scores(ranks: Floats) -> Floats:
    """Ranks between 0 and 1 as normal numbers."""
    return norm.ppf(np.clip(ranks, 1e-9, 1 - 1e-9))


def _places(within: np.ndarray, cube: str) -> list[tuple[np.ndarray, str]]:
    everywhere = [(np.ones(len(within), bool), "")]
    return [*everywhere, (within, ", cube")] if cube else everywhere


def _ratio(name: str, where: str, x: Floats, y: Floats, unit: str) -> MarginalRatio:
    """Counts of draws over those of outcomes, in bins of as many outcomes each."""
    edges = np.unique(np.quantile(y, np.linspace(0, 1, _RATIOS + 1)))
    edges[0], edges[-1] = min(edges[0], x.min()), max(edges[-1], x.max())
    ours, theirs = (np.histogram(part, edges)[0].astype(float) for part in (x, y))
    ratio = ours / np.maximum(theirs, 1)
    error = np.maximum(ratio, 1 / np.maximum(theirs, 1)) * np.sqrt(
        1 / np.maximum(ours, 1) + 1 / np.maximum(theirs, 1)
    )
    return MarginalRatio(name, where, edges, ratio, error, unit)


def _coverage(
    u: Floats, given: Floats, names: Sequence[str], conditions: Sequence[str]
) -> list[LocalCoverage]:
    """Of the central interval of one standard deviation."""
    level = COVERAGES[0]
    found = []
    for j, condition in enumerate(conditions):
        which = bins_of(given[:, j])
        kept = [k for k in range(BINS) if (which == k).sum() >= FEWEST]
        columns = [given[which == k, j] for k in kept]
        edges = np.array([[c.min(), c.max()] for c in columns]).reshape(-1, 2)
        error = np.array([np.sqrt(level * (1 - level) / len(c)) for c in columns])
        for i, name in enumerate(names):
            share = [np.mean(np.abs(2 * u[which == k, i] - 1) <= level) for k in kept]
            found.append(LocalCoverage(name, condition, level, edges, np.array(share), error))
    return found


def _worst_coverage(coverage: Sequence[LocalCoverage]) -> ClosureTest:
    """Exact binomial tests of every bin, the smallest times their number."""
    level = COVERAGES[0]
    tests = []
    for part in coverage:
        counts = np.round(level * (1 - level) / part.error**2).astype(int)
        for k, (share, count) in enumerate(zip(part.covered, counts, strict=True)):
            hits = round(share * count)
            tails = binom.cdf(hits, count, level), binom.sf(hits - 1, count, level)
            low, high = part.edges[k]
            ends = f"at {low:.4g}" if low == high else f"from {low:.4g} to {high:.4g}"
            where = f"{part.name}, {part.condition} {ends}: ± {part.error[k]:.3f}"
            tests.append((min(1.0, 2 * float(min(tails))), float(share), where))
    if not tests:
        return ClosureTest("coverage in bins", level, 1.0, "too few rows for bins")
    p, share, where = min(tests)
    note = f"{where}, of {100 * level:.1f} %"
    return ClosureTest("coverage in bins", share, min(1.0, p * len(tests)), note)
