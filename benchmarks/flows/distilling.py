"""A MAF distilled to an IAF: what draws cost before and after, and how far they are apart."""

import time

import numpy as np

import posterion
from benchmarks.flows.accuracy import difference
from benchmarks.tables import markdown, tell

ROWS, TEST, DRAWS, REPEATS = 100_000, 20_000, 100_000, 5
HIDDEN = (64, 64, 64)


def chain(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """``x_i = tanh(1.5 x_{i-1}) + 0.5 n_i`` from a normal ``x_0``: bent, every pair correlated."""
    x = np.empty((n, dim))
    x[:, 0] = rng.normal(size=n)
    for i in range(1, dim):
        x[:, i] = np.tanh(1.5 * x[:, i - 1]) + 0.5 * rng.normal(size=n)
    return x


def log_density(x: np.ndarray) -> np.ndarray:
    """Of the chain, ``(n,)``."""
    noise = np.diff(x, axis=1) + x[:, :-1] - np.tanh(1.5 * x[:, :-1])
    dim = x.shape[1]
    norm = 0.5 * dim * np.log(2 * np.pi) + (dim - 1) * np.log(0.5)
    return -0.5 * (x[:, 0] ** 2 + ((noise / 0.5) ** 2).sum(axis=1)) - norm


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
        x = chain(np.random.default_rng([5, dim]), ROWS // (50 if quick else 1), dim)
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
        test = chain(np.random.default_rng([6, dim]), TEST, dim)
        rates = [rate(teacher), rate(student)]
        divergences = [
            f"{student.health.check(name).value:.4f} ± {student.health.check(name).error:.4f}"
            for name in ("KL(student || teacher)", "KL(teacher || student)")
        ]
        lines.append(
            [
                f"D = {dim}",
                difference(teacher.log_prob(test), log_density(test)),
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
            f"{ROWS} rows of a chain x_i = tanh(1.5 x_(i-1)) + n_i/2) to an IAF of the same build; "
            "draws through `fit.sample`. The teacher's draws are those of the "
            "incremental inverse.\n",
            markdown(heads, lines),
        ]
    )
