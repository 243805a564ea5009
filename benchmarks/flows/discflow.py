"""Whether DiscFlow helps: a flow too small for its density, by the likelihood and by DiscFlow."""

import numpy as np

import posterion
from benchmarks.flows.accuracy import difference
from benchmarks.flows.truths import Checkerboard, ThreeGaussians, Truth, TwoMoons
from benchmarks.tables import markdown, tell
from posterion.training.discflow import DiscFlow
from posterion.training.losses import Loss

ROWS, EPOCHS, SEEDS = 50_000, 60, (41, 42, 43)
CASES: dict[str, tuple[Truth, int]] = {
    "two moons": (TwoMoons(), 4),
    "checkerboard": (Checkerboard(), 8),
    "3 Gaussians, D = 8": (ThreeGaussians(8), 4),
}
LOSSES: dict[str, Loss | str] = {
    "likelihood": "nll",
    "DiscFlow, alpha 0.5": DiscFlow(alpha=0.5),
    "DiscFlow, alpha 1": DiscFlow(alpha=1.0),
}


def cells(truth: Truth, transforms: int, loss: Loss | str, seed: int, quick: bool) -> list[str]:
    """Log-likelihood and AUC of one fit."""
    rows, epochs = (2000, 1) if quick else (ROWS, EPOCHS)
    rng = np.random.default_rng([seed, truth.dim])
    x, test = truth.sample(rng, rows), truth.sample(rng, rows)
    flow = posterion.flows.realnvp(truth.dim, transforms=transforms, hidden=(32, 32), seed=seed)
    fit = posterion.fit(flow, x, loss=loss, epochs=epochs, seed=seed, quiet=True)
    auc = posterion.classify(test, fit.sample(rows, seed=seed), seed=seed).auc
    return [difference(fit.log_prob(test), truth.log_prob(test)), str(auc)]


def section(quick: bool) -> str:
    """The table."""
    lines = []
    for title, (truth, transforms) in list(CASES.items())[: 1 if quick else None]:
        for seed in SEEDS[:1] if quick else SEEDS:
            for name, loss in LOSSES.items():
                lines.append([title, str(seed), name, *cells(truth, transforms, loss, seed, quick)])
                tell(" | ".join(lines[-1]))
    heads = ("density", "seed", "loss", "log-likelihood minus exact, nats", "AUC")
    return "\n".join(
        [
            f"A RealNVP of 4 couplings (8 for the checkerboard) of 2x32, too small for its "
            f"density, {ROWS} rows, {EPOCHS} epochs at most; the area under the curve of a fresh "
            "classifier of as many test rows and draws is 0.5 where the two agree.\n",
            markdown(heads, lines),
        ]
    )
