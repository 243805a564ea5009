"""The verdict on a fit: its curves, and its draws beside samples that it never saw."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posterion.core.estimate import Estimate
from posterion.core.status import Status
from posterion.diagnostics.divergence import KolmogorovSmirnov, kolmogorov_smirnov_two
from posterion.diagnostics.energy import EnergyDistance, energy_distance
from posterion.diagnostics.health import Check, Health
from posterion.diagnostics.transforms import FAR, SURE, Transforms

__all__ = ["FitFindings", "TwoSamples", "assess_fit", "two_samples"]

Floats = NDArray[np.float64]
Stop = Literal["early", "finished", "interrupted", "failed"]

ENERGY_LIMIT = 2000
"""Rows compared by the energy distance: its power, and so what counts as a difference."""
_Z, _Z_WARN = 4.5, 3.0
_P, _P_WARN = 1e-4, 1e-3
_OVERFIT = 3.0
_CROSSING = 1e-3


@dataclass(frozen=True)
class TwoSamples:
    """Draws against held-out samples, of the same conditions.

    Args:
        energy: distance of all coordinates together, the context beside them.
        marginals: of each coordinate.
        lost: draws that are not finite.
        rows: compared.
    """

    energy: EnergyDistance
    marginals: dict[str, KolmogorovSmirnov]
    lost: int
    rows: int


@dataclass(frozen=True)
class SurfaceDistance:
    """How far held-out rows are from a learned surface.

    Args:
        rms: root of the mean squared distance, coordinates in units of their spread.
        plane: the same of the best plane of as many dimensions (principal components).
        size: dimensions of the surface.
    """

    rms: Estimate
    plane: float
    size: int


@dataclass(frozen=True)
class FitFindings:
    """What was measured of a fit.

    Args:
        name: of what was fitted.
        stop: why it ended.
        train, valid: mean log-density of the rows, per event, in the stated units; or another
            score, of which less is better.
        epochs, best: how many, and which one was kept.
        two: the comparison of samples; ``None`` where there were too few. On a surface the
            held-out rows are projected.
        surface: how far these were from it.
        transforms: of held-out rows under their conditions, where the flow has them.
        crossing: share of neighbouring levels whose quantiles cross, where they may.
        dropped, skipped: rows left out, steps without a finite gradient.
        improving: whether the loss was still falling at the end.
        score: what ``train`` and ``valid`` are.
        comparable: whether it draws, so that draws could be compared.
        measure, notes, seconds: as in :class:`Health`.
    """

    name: str
    stop: Stop
    train: Estimate
    valid: Estimate
    epochs: int
    best: int
    two: TwoSamples | None = None
    surface: SurfaceDistance | None = None
    transforms: Transforms | None = None
    crossing: float | None = None
    dropped: int = 0
    skipped: int = 0
    improving: bool = False
    score: str = "log-density"
    comparable: bool = True
    measure: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: dict[str, float | int] = field(default_factory=dict)


def two_samples(
    drawn: Floats,
    held: Floats,
    names: list[str],
    *,
    seed: int,
    context: Floats | None = None,
    periods: list[float | None] | None = None,
) -> TwoSamples | None:
    """Compare draws ``(n, dim)`` with held-out samples of as many rows; ``None`` below 16 rows.

    Args:
        drawn: by the fit.
        held: the rows that it never saw, in the same units.
        names: of the columns.
        seed: of the permutations.
        context: the condition of each row, which both have in common.
        periods: of the columns that are angles.
    """
    finite = np.isfinite(drawn).all(axis=1)
    lost = int((~finite).sum())
    if finite.sum() < 16 or len(held) < 16:
        return None
    given = context is not None and context.shape[1] > 0
    marginals = {
        name: kolmogorov_smirnov_two(drawn[finite, i], held[:, i]) for i, name in enumerate(names)
    }
    a, b, period = drawn[finite], held, list(periods or [None] * len(names))
    if given and context is not None:
        a, b = (np.hstack([x, context[finite]]) for x in (a, held[finite]))
        period += [None] * context.shape[1]
    energy = energy_distance(a, b, seed=seed, periods=period, limit=ENERGY_LIMIT, paired=given)
    return TwoSamples(energy, marginals, lost, len(held))


def assess_fit(found: FitFindings) -> Health:
    """The report; its status says whether to believe the fit."""
    checks = [
        Check(f"{found.score}, training rows", found.train.value, found.train.error),
        Check(f"{found.score}, held-out rows", found.valid.value, found.valid.error),
    ]
    reasons: list[str] = []
    gap = found.train.value - found.valid.value
    dense = found.score == "log-density"
    gap = gap if dense else -gap
    error = float(np.hypot(found.train.error, found.valid.error))
    overfits = bool(gap > max(_OVERFIT * error, 0.02 * (1 + abs(found.valid.value))))
    checks.append(
        Check(
            "train minus held-out" if dense else "held-out minus train",
            gap,
            error,
            f"<= {max(_OVERFIT * error, 0.02 * (1 + abs(found.valid.value))):.2g}",
            "warn" if overfits else "good",
            "learned by heart in part: more rows, a smaller flow" if overfits else "",
        )
    )
    differ = False
    if found.surface is not None:
        rms, plane = found.surface.rms, found.surface.plane
        flat = bool(rms.value - 3 * rms.error > plane)
        checks.append(
            Check(
                "distance from the surface",
                rms.value,
                rms.error,
                f"<= {plane:.3g}",
                "bad" if flat else "good",
                f"rms, coordinates in units of their spread; the best plane of as many "
                f"dimensions is at {plane:.3g}",
            )
        )
        if flat:
            reasons.append("a plane lies nearer to the samples than the surface: train it longer")
            differ = True
    if found.two is not None:
        two = found.two
        verdict = "bad" if two.energy.z > _Z else "warn" if two.energy.z > _Z_WARN else "good"
        differ |= verdict == "bad"
        checks.append(
            Check(
                "energy distance, z",
                two.energy.z,
                None,
                f"< {_Z:g}",
                verdict,
                f"of {two.energy.points[0]} draws to {two.energy.points[1]} held-out rows; "
                f"distance {two.energy.distance:.3g} sd",
            )
        )
        worst = min(two.marginals, key=lambda name: two.marginals[name].p_value)
        p = min(1.0, two.marginals[worst].p_value * len(two.marginals))
        verdict = "bad" if p < _P else "warn" if p < _P_WARN else "good"
        differ |= verdict == "bad"
        checks.append(
            Check(
                "worst marginal, KS p-value",
                p,
                None,
                f"> {_P:g}",
                verdict,
                f"{worst}: largest difference {two.marginals[worst].distance:.3g}; of "
                f"{len(two.marginals)} columns, {two.rows} rows",
            )
        )
        checks.append(Check("draws lost", two.lost, None, "0", "warn" if two.lost else "good"))
        if differ:
            reasons.append(
                "the draws can be told from held-out samples: "
                + "; ".join(f"{c.name} is {c.measured()}" for c in checks if c.verdict == "bad")
            )
    if found.transforms is not None:
        pit, limit = found.transforms, FAR
        far = pit.p_value < SURE and pit.distance > limit
        differ |= far
        if far:
            reasons.append(f"the transforms of {pit.where} are not uniform: {pit.distance:.3g} off")
        checks.append(
            Check(
                "worst transform (PIT), p-value",
                pit.p_value,
                None,
                f"> {SURE:g}, or <= {limit:g} off",
                "bad" if far else "warn" if pit.p_value < _P_WARN else "good",
                f"{pit.where}: largest difference {pit.distance:.3g}; of {pit.looked_at}, in bins "
                f"of the condition too, {pit.rows} rows",
            )
        )
    if found.crossing is not None:
        verdict = "warn" if found.crossing > _CROSSING else "good"
        note = "of neighbouring levels of 32, over held-out rows"
        limit = f"<= {_CROSSING:g}"
        checks.append(Check("quantiles that cross", found.crossing, None, limit, verdict, note))
    checks.append(
        Check("epochs", found.epochs, note=f"the one kept: {found.best}; {_WHY[found.stop]}")
    )
    status = Status.fitted
    if found.stop == "failed" or not np.isfinite(found.valid.value):
        status = Status.failed
    elif found.stop == "interrupted":
        status = Status.interrupted
    elif differ:
        status = Status.still_improving if found.improving else Status.misfit
    elif not found.comparable:
        status = Status.scored
    elif found.two is None:
        status = Status.not_checked
    notes = list(found.notes)
    if not found.comparable:
        notes.append("expectiles are no distribution: there are no draws that could be compared")
    if found.surface is not None:
        notes.append("held-out samples were projected onto the surface before the comparison")
    if found.skipped:
        notes.append(f"{found.skipped} steps with a gradient that was not finite were skipped")
    return Health(
        status,
        found.name,
        tuple(reasons),
        tuple(checks),
        seconds=found.seconds,
        measure=found.measure,
        notes=tuple(notes),
    )


_WHY: dict[str, str] = {
    "early": "stopped as the held-out loss no longer fell",
    "finished": "all epochs done",
    "interrupted": "interrupted",
    "failed": "stopped as the loss was not finite",
}
