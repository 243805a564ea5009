"""A MAF distilled to an IAF: what draws cost before and after, and how far they are apart."""

import time

import numpy as np
from scipy.special import logsumexp

import posterion
from benchmarks.flows.accuracy import difference
from benchmarks.tables import markdown, tell

ROWS, TEST, DRAWS, REPEATS = 100_000, 20_000, 100_000, 5
HIDDEN = (64, 64, 64)


class BentFactor:
    """``x = a s + b (s^2 - 1) + 0.6 n``: one hidden normal ``s`` bends all coordinates together."""

    def __init__(self, dim: int):
        rng = np.random.default_rng([95, dim])
        self.slope, self.bend = rng.uniform(-1, 1, (2, dim))

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws ``(n, dim)``."""
        s = rng.normal(size=(n, 1))
        noise = 0.6 * rng.normal(size=(n, len(self.slope)))
        return self.slope * s + self.bend * (s**2 - 1) + noise

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-densities ``(n,)``: the integral over ``s`` by a fine sum."""
        s = np.linspace(-6, 6, 1201)[:, None]
        centres = self.slope * s + self.bend * (s**2 - 1)
        square = ((x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)) / 0.36
        weights = np.exp(-0.5 * s[:, 0] ** 2) / np.sqrt(2 * np.pi) * (s[1] - s[0])
        norm = len(self.slope) * np.log(0.6 * np.sqrt(2 * np.pi))
        return logsumexp(-0.5 * square, axis=1, b=weights) - norm


def rate(fit: posterion.Fit) -> float:
    """Draws a second, the median of several calls after the first."""
    fit.sample(DRAWS, seed=1)
    seconds = []
    for number in range(REPEATS):
        began = time.perf_counter()
        fit.sample(DRAWS, seed=2 + number)
        seconds.append(time.perf_counter() - began)
    return DRAWS / float(np.median(seconds))


def section(quick: bool) -> str:
    """The table."""
    lines = []
    for dim in (3,) if quick else (10, 95):
        truth = BentFactor(dim)
        x = truth.sample(np.random.default_rng([5, dim]), ROWS // (50 if quick else 1))
        options = {"transforms": 2, "hidden": (8,) if quick else HIDDEN, "seed": 1}
        teacher = posterion.fit(
            posterion.flows.maf(dim, **options), x, epochs=1 if quick else 20, seed=1, quiet=True
        )
        student = posterion.distill(
            teacher,
            posterion.flows.iaf(dim, **options),
            **({"steps": 200, "polish": 200} if quick else {}),
            seed=1,
            quiet=True,
        )
        test = truth.sample(np.random.default_rng([6, dim]), TEST)
        rates = [rate(teacher), rate(student)]
        divergences = [
            f"{student.health.check(name).value:.4f} ± {student.health.check(name).error:.4f}"
            for name in ("KL(student || teacher)", "KL(teacher || student)")
        ]
        lines.append(
            [
                f"D = {dim}",
                difference(teacher.log_prob(test), truth.log_prob(test)),
                *(f"{r / 1000:.0f}" for r in rates),
                f"{rates[1] / rates[0]:.1f}",
                *divergences,
                f"{student.health.seconds['distilling']:.0f}",
                student.status.name,
            ]
        )
        tell(" | ".join(lines[-1]))
    heads = (
        "",
        "teacher minus exact, nats",
        "teacher, k draws/s",
        "student, k draws/s",
        "ratio",
        "KL(student, teacher), nats an event",
        "KL(teacher, student)",
        "distilling, s",
        "status",
    )
    return "\n".join(
        [
            f"`posterion.distill` of a MAF (2 layers of {len(HIDDEN)}x{HIDDEN[0]}, fitted to "
            f"{ROWS} rows of x = a s + b (s^2 - 1) + 0.6 n with one hidden normal s) to an IAF of "
            "the same build; draws through `fit.sample`. The teacher's draws are those of the "
            "incremental inverse.\n",
            markdown(heads, lines),
        ]
    )
