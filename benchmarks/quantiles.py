"""Quantile networks and conditional flows on toys whose truth is known.

Beta(1/2, 1/2) beside Beta(2, 5); two peaks in each of two dimensions; and ``y = cos(4x + 1)/3 +
x sin(x)/3`` with noise ``x/10`` (Kronheim et al., 2111.11415). The first two get a condition that
says nothing, which a model must learn to leave aside.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import SEEDS, Kept, machine, markdown, tell

Floats = NDArray[np.float64]


def betas(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    y = np.column_stack([rng.beta(0.5, 0.5, n), rng.beta(2, 5, n)])
    return y, rng.normal(size=(n, 1))


def peaks(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    y = np.where(rng.uniform(size=(n, 2)) < 0.5, -0.5, 0.5) + 0.1 * rng.normal(size=(n, 2))
    return y, rng.normal(size=(n, 1))


def wave(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    x = rng.uniform(0, 5, (n, 1))
    return np.cos(4 * x + 1) / 3 + x * np.sin(x) / 3 + rng.normal(size=(n, 1)) * x / 10, x


TOYS: dict[str, Callable[..., tuple[Floats, Floats]]] = {
    "betas": betas,
    "peaks": peaks,
    "wave": wave,
}


def models() -> dict[str, tuple[Callable[[int], Any], dict[str, Any]]]:
    """Of a number of outcomes, and settings of the fit."""
    from posterion import conditional_gan, flows, quantile_network

    spline = {"hidden": (64, 64), "transforms": 2, "context_dim": 1}
    return {
        "quantiles, monotone": (lambda d: quantile_network(d, 1), {"rate": 1e-2}),
        "monotone by likelihood": (
            lambda d: quantile_network(d, 1),
            {"rate": 4e-3, "loss": "nll"},
        ),
        "quantiles, one network": (lambda d: quantile_network(d, 1, monotone=False), {}),
        "quantiles, separate": (
            lambda d: quantile_network(d, 1, monotone=False, networks="separate"),
            {},
        ),
        "one network, normal level": (
            lambda d: quantile_network(d, 1, monotone=False, normal_level=True),
            {},
        ),
        "autoregressive spline": (lambda d: flows.autoregressive_spline(d, **spline), {}),
        "Wasserstein network": (
            lambda d: conditional_gan(d, 1),
            {"average": 0.99, "patience": 60},
        ),
    }


def judged(toy: str, model: str, seed: int, quick: bool) -> list[str]:
    """A line of the table."""
    import posterion
    from posterion.diagnostics import wasserstein

    rows, test, epochs = (2000, 2000, 2) if quick else (200_000, 100_000, 60)
    y, x = TOYS[toy](rows, np.random.default_rng([seed, 1]))
    build, settings = models()[model]
    began = time.perf_counter()
    fit = posterion.fit(build(y.shape[1]), y, context=x, epochs=epochs, seed=seed, quiet=True,
                        **settings)  # fmt: skip
    seconds = time.perf_counter() - began
    truth, given = TOYS[toy](test, np.random.default_rng([seed, 2]))
    other, _ = TOYS[toy](test, np.random.default_rng([seed, 3]))
    drawn = fit.sample(1, context=given, seed=seed)[:, 0]
    sd = truth.std(axis=0)
    far = [wasserstein(drawn[:, i], truth[:, i]) / sd[i] for i in range(len(sd))]
    floor = [wasserstein(other[:, i], truth[:, i]) / sd[i] for i in range(len(sd))]
    told = posterion.classify(np.hstack([drawn, given]), np.hstack([truth, given]), seed=seed)
    auc = str(told.auc)
    checks = {check.name: check.value for check in fit.health.checks}
    crossing = checks.get("quantiles that cross")
    pit = checks.get("worst transform (PIT), p-value", float("nan"))
    tell(f"{toy}, {model}: {np.round(far, 4)}, AUC {auc} in {seconds:.0f} s")
    return [
        toy, model, " ".join(f"{w:.4f}" for w in far), " ".join(f"{w:.4f}" for w in floor),
        auc, "" if crossing is None else f"{crossing:.2g}", f"{pit:.2g}",
        fit.status.name, f"{seconds:.0f}",
    ]  # fmt: skip


def main(quick: bool, resume: bool) -> None:
    """Print the section."""
    seed = SEEDS[0]
    kept = Kept("quantiles", quick, resume)
    lines = [
        kept(f"{toy}, {model}", lambda toy=toy, model=model: judged(toy, model, seed, quick))
        for toy in TOYS
        for model in models()
    ]
    heads = ["toy", "model", "Wasserstein / sd", "floor", "AUC", "crossing", "worst PIT, p",
             "status", "seconds"]  # fmt: skip
    print(
        f"{machine()}, seed {seed}, 200 000 rows, 60 epochs, 100 000 draws. The floor is truth "
        "against truth; the classifier sees all outcomes with their condition.\n\n"
        + markdown(heads, lines)
    )


if __name__ == "__main__":
    main("--quick" in sys.argv[1:], "--resume" in sys.argv[1:])
