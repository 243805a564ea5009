"""What a method is worth: correlation with the error by hand, coverage, squared error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posterion.studies.pendulum.methods import Said
from posterion.studies.pendulum.simulation import LENGTHS, Pendulums, analytic

__all__ = ["LEVELS", "RANGES", "Measured", "coverage_error", "covered", "measured"]

Floats = NDArray[np.float64]

RANGES: dict[str, tuple[float, float]] = {
    "in range": LENGTHS,
    "0.8-1.2 m": (0.8, 1.2),
    "1.2-1.6 m": (1.2, 1.6),
}
"""Lengths of the test pendulums by name; the last two were never trained on."""

LEVELS = np.arange(1, 101) / 100
"""Of the central intervals."""

_SHOWN = 1500


@dataclass(frozen=True)
class Measured:
    """One run of one method at one noise; plain numbers, to be kept as JSON.

    Attributes:
        method: its name.
        noise: the most relative noise of a period.
        seed: of the run.
        correlation: of the relative aleatoric error with the one by hand.
        squared_error: of the mean, (m/s^2)^2.
        coverage: in each range of lengths, the mean difference of what intervals hold and promise.
        held: in each range, what the interval of each of `LEVELS` holds.
        ratio: in each range, the root mean square of error over the predicted one.
        epistemic: in each range, the median epistemic error, m/s^2.
        by_hand: relative errors of some pendulums.
        aleatoric: of the same, by the method.
        seconds: of learning.
    """

    method: str
    noise: float
    seed: int
    correlation: float
    squared_error: float
    coverage: dict[str, float]
    held: dict[str, list[float]]
    ratio: dict[str, float]
    epistemic: dict[str, float]
    by_hand: list[float]
    aleatoric: list[float]
    seconds: float


def covered(below: Floats) -> Floats:
    """What each central interval of `LEVELS` holds, by probabilities below the truth."""
    return np.searchsorted(np.sort(np.abs(2 * below - 1)), LEVELS, side="right") / len(below)


def coverage_error(held: Floats) -> float:
    """Mean difference of what intervals hold from what they promise."""
    return float(np.abs(held - LEVELS).mean())


def measured(
    method: str,
    noise: float,
    seed: int,
    tests: dict[str, Pendulums],
    answers: dict[str, Said],
    seconds: float,
) -> Measured:
    """The figures of a run.

    Args:
        method: its name.
        noise: the most relative noise.
        seed: of the run.
        tests: pendulums of each of `RANGES`.
        answers: what the method says of them.
        seconds: that it learned for.
    """
    inside, answer = tests["in range"], answers["in range"]
    g, error = analytic(inside)
    by_hand, own = error / g, answer.aleatoric / answer.mean
    held = {name: covered(a.below) for name, a in answers.items()}
    pulls = {
        name: (a.mean - tests[name].g) / np.hypot(a.aleatoric, a.epistemic)
        for name, a in answers.items()
    }
    return Measured(
        method,
        noise,
        seed,
        float(np.corrcoef(by_hand, own)[0, 1]),
        float(np.mean((answer.mean - inside.g) ** 2)),
        {name: coverage_error(h) for name, h in held.items()},
        {name: h.tolist() for name, h in held.items()},
        {name: float(np.sqrt(np.mean(p**2))) for name, p in pulls.items()},
        {name: float(np.median(a.epistemic)) for name, a in answers.items()},
        by_hand[:_SHOWN].tolist(),
        own[:_SHOWN].tolist(),
        float(seconds),
    )
