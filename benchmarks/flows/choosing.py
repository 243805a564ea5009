"""Which flow for what: each family with its defaults through `posterion.fit`, by dimension."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import posterion
from benchmarks.flows.accuracy import difference
from benchmarks.flows.truths import ThreeGaussians, Truth, TwoMoons
from benchmarks.tables import markdown, tell

TRAIN, TEST, EPOCHS, REPEATS = 100_000, 50_000, 20, 3
SLOW = 5_000
"""Test rows and draws of continuous flows."""
DIMS = (2, 8, 32)
FAMILIES: dict[str, tuple[Callable[..., Any], str]] = {
    "realnvp": (posterion.flows.realnvp, "nll"),
    "coupling_spline": (posterion.flows.coupling_spline, "nll"),
    "maf": (posterion.flows.maf, "nll"),
    "iaf": (posterion.flows.iaf, "nll"),
    "autoregressive_spline": (posterion.flows.autoregressive_spline, "nll"),
    "neural_autoregressive": (posterion.flows.neural_autoregressive, "nll"),
    "continuous": (posterion.flows.continuous, "flow_matching"),
}


def rate(function: Callable[[], Any], rows: int) -> str:
    """Thousand rows a second of that many rows, the median of a few calls after the first."""
    function()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return f"{rows / np.median(seconds) / 1000:.3g}"


def row(name: str, truth: Truth, quick: bool) -> list[str]:
    """What one family costs and reaches on one density."""
    build, loss = FAMILIES[name]
    rng = np.random.default_rng([11, truth.dim])
    x, test = truth.sample(rng, TRAIN // (50 if quick else 1)), truth.sample(rng, TEST)
    test = test[: SLOW if name == "continuous" else TEST]
    flow = build(truth.dim, seed=1)
    epochs = 1 if quick else EPOCHS
    fit = posterion.fit(
        flow, x, loss=loss, epochs=epochs, whiten="scale", rate=2e-3, seed=1, quiet=True
    )
    seconds = fit.health.seconds
    rows = 0.9 * len(x) * len(fit.history["epoch"])
    return [
        name,
        f"{rows / seconds['fitting'] / 1000:.3g}",
        f"{seconds['compiling']:.1f}",
        rate(lambda: fit.log_prob(test), len(test)),
        rate(lambda: fit.sample(len(test), seed=3), len(test)),
        difference(fit.log_prob(test), truth.log_prob(test)),
        fit.status.name,
    ]


def section(quick: bool) -> str:
    """A table for each dimension."""
    heads = (
        "family",
        "training, k rows/s",
        "compiling, s",
        "density, k rows/s",
        "draws, k/s",
        "log-likelihood minus exact, nats",
        "status",
    )
    parts = [
        f"Each family of `posterion.flows` with its defaults, by `posterion.fit`: {TRAIN} rows, "
        f"{EPOCHS} epochs of batches of 512, rate 0.002, `whiten='scale'`, seed 1; continuous "
        f"flows by flow matching. Mean log-likelihood of {TEST} test rows ({SLOW} of continuous "
        "flows) minus that of the exact density."
    ]
    for dim in DIMS[:1] if quick else DIMS:
        truth: Truth = TwoMoons() if dim == 2 else ThreeGaussians(dim)
        lines = []
        for name in FAMILIES:
            lines.append(row(name, truth, quick))
            tell(f"D = {dim}: {' | '.join(lines[-1])}")
        title = "two moons" if dim == 2 else "three Gaussians"
        parts += [f"\nD = {dim}, {title}:\n", markdown(heads, lines)]
    return "\n".join(parts)
