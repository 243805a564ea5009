"""Effective predictions for each gradient, and how well chains of small networks agree.

First the cross section of the study ``susy`` with the network of the talk and a fixed noise:
networks of a theory without noise do not mix at all, whatever moves them (the posterior is narrower
than the way between its modes), and nothing could be compared. All chains begin at the same trained
networks and have as many gradients; the effective sample size is the median over 200 held-out
points, of single chains. Fixed lengths are tried as in TensorBNN, without a metric, and one with a
metric that the warmup learns.

Then a noisy table, Friedman's first function (Ann. Stat. 19 (1991) 1) with unit noise: R-hat over
1000 predictions, and what the default's bias is beside exact chains.
"""

import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import SEEDS, Kept, machine, markdown, tell

NOISE = 0.1  # standard deviations of the logarithm of the cross section
Floats = NDArray[np.float64]


def of(joint: Any, theta: Floats, points: Floats) -> Floats:
    """Predictions (chains, draws, points)."""
    from posterion.emulators.predicting import means_of_networks

    means = means_of_networks(joint, theta.reshape(-1, theta.shape[-1]), points)
    return np.asarray(means[..., 0]).reshape(*theta.shape[:2], -1)


def alone(means: Floats) -> float:
    """Effective predictions of a chain, the median over points and the mean over chains."""
    from posterion.diagnostics.autocorrelation import ess_bulk

    return float(np.mean([np.median(ess_bulk(means[c : c + 1])) for c in range(len(means))]))


def effective(seed: int, quick: bool, kept: Kept) -> str:
    """The table of effective predictions."""
    from posterion.diagnostics.autocorrelation import split_rhat
    from posterion.emulators import Gaussian, Hmc, Mclmc, Nuts, emulate
    from posterion.emulators.chains import walk_networks
    from posterion.emulators.density import data_of
    from posterion.emulators.rows import rows_of
    from posterion.networks import mlp
    from posterion.studies.susy.parameters import NAMES
    from posterion.studies.susy.scanning import scan

    count, budget, epochs = (300, 400, 5) if quick else (2_500, 40_000, 500)
    table = scan("cross-section", count, seed=seed, quiet=True)
    inputs, target = {name: table[name] for name in NAMES}, {"sigma": table["sigma"]}
    shares = {"correction": 0.0, "test": 0.2}
    likelihood = Gaussian(NOISE)
    trained = emulate(
        inputs, target, network=mlp((50,) * 5, "tanh"), likelihood=likelihood, log=["sigma"],
        sampler="ensemble", chains=2, epochs=epochs, seed=seed, quiet=True, **shares,
    )  # fmt: skip
    rows = rows_of(inputs, target, likelihood=likelihood, log=["sigma"], units=None, **shares)
    data = data_of(*rows.training)
    probes = rows.inputs.scaled(rows.x[rows.parts["test"]])[:200]

    class Plain(Hmc):
        def renew(self, tuning: Any, mean: Any, variance: Any, count: Any) -> Any:
            return tuning

    lengths = (20,) if quick else (100, 200, 400, 800)
    kernels: dict[str, tuple[Any, int]] = {"mclmc (default)": (Mclmc(), 1)}
    kernels |= {f"hmc, {n} steps": (Plain(steps=n, learned=False), n) for n in lengths}
    kernels["hmc, 400 steps, learned metric"] = Hmc(steps=lengths[-1] // 2, learned=False), 400
    kernels["nuts"] = Nuts(), 800

    def line(name: str) -> list[Any]:
        kernel, each = kernels[name]
        began = time.perf_counter()
        draws = min(400, budget // each)
        walked = walk_networks(
            trained.joint, data, trained.theta[:, -1], kernel, draws=draws,
            warmup=10 if quick else (8000 if each == 1 else 100), thin=budget // (each * draws),
            seed=seed,
        )  # fmt: skip
        means = of(trained.joint, walked.theta, probes)
        gradients, before = (n / 2 for n in (walked.gradients, walked.warmup_gradients))
        ess, rhat = alone(means), split_rhat(means)
        rates = 1000 * ess / gradients, 1000 * ess / (gradients + before)
        tell(f"{name}: {rates[0]:.3f} in {time.perf_counter() - began:.0f} s")
        return [gradients, before, ess, *rates, float(np.median(rhat)),
                float(np.quantile(rhat, 0.95))]  # fmt: skip

    found = {name: kept(name, lambda name=name: line(name)) for name in kernels}
    forms = ".0f", ".0f", ".0f", ".3f", ".3f", ".3f", ".3f"
    lines = [[name, *map(format, row, forms)] for name, row in found.items()]
    default = found["mclmc (default)"]
    best = [max(v[i] for name, v in found.items() if name.endswith("steps")) for i in (3, 4)]
    heads = ["sampler", "gradients a chain", "in warmup", "effective predictions",
             "for 1000 gradients", "with the warmup's", "R-hat, median", "95 %"]  # fmt: skip
    return (
        f"### Effective predictions\n\n{len(rows.training[0])} rows, network (19, 50 x 5, 1), "
        f"tanh, noise {NOISE} of the spread, two chains. The default gives "
        f"{default[3] / best[0]:.1f} times what the best fixed length without a metric gives, "
        f"{default[4] / best[1]:.1f} times with the gradients of the warmup.\n\n"
        + markdown(heads, lines)
    )


def agreement(seed: int, quick: bool, kept: Kept) -> str:
    """The table of R-hat over 1000 predictions."""
    from posterion.diagnostics.autocorrelation import ess_bulk, split_rhat
    from posterion.emulators import Nuts, emulate
    from posterion.networks import mlp

    rng = np.random.default_rng(seed)

    def friedman(n: int) -> tuple[Floats, Floats]:
        x = rng.uniform(size=(n, 5))
        mean = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
        return x, mean + 10 * x[:, 3] + 5 * x[:, 4] + rng.normal(size=n)

    (x, y), (new, _) = friedman(1000), friedman(1000)
    draws, warmup, thin = (8, 20, 1) if quick else (500, 4000, 200)

    def of_layers(layers: tuple[int, ...]) -> list[list[str]]:
        lines = []
        chains = {"mclmc (default)": ("mclmc", draws, warmup, thin)}
        if layers == (16, 16):
            chains["nuts"] = Nuts(), max(8, draws // 2), max(10, warmup // 10), 4
        spread = None
        for name, (kernel, some, before, each) in chains.items():
            began = time.perf_counter()
            found = emulate(
                x, y, network=mlp(layers, "tanh"), sampler=kernel, chains=4, draws=some,
                warmup=before, thin=each, epochs=200, batch=64, correction=0.0, test=0.1, seed=seed,
                quiet=True,
            )  # fmt: skip
            means = of(found.joint, found.theta, found.inputs.scaled(new))
            rhat, sd = split_rhat(means), means.reshape(-1, 1000).std(0)
            ratio = "" if spread is None else f"{np.median(spread / sd):.3f}"
            spread = sd
            seconds = time.perf_counter() - began
            tell(f"{layers}, {name}: R-hat {np.median(rhat):.4f} in {seconds:.0f} s")
            figures = (f"{np.median(rhat):.4f}", f"{np.quantile(rhat, 0.95):.4f}")
            ess = f"{np.median(ess_bulk(means)):.0f}"
            lines.append([str((5, *layers, 1)), name, *figures, ess, ratio, f"{seconds:.0f}"])
        return lines

    lines = []
    for layers in ((), (16,), (16, 16)):
        lines += kept(f"agreement {layers}", lambda layers=layers: of_layers(layers))
    heads = ["network", "sampler", "R-hat, median", "95 %", "effective predictions",
             "sd of the default over this", "seconds"]  # fmt: skip
    return (
        "### Agreement of small networks\n\n900 rows, four chains, R-hat over 1000 predictions at "
        f"{draws} networks of each.\n\n" + markdown(heads, lines)
    )


def main(quick: bool, resume: bool) -> None:
    """Print the section."""
    seed = SEEDS[0]
    kept = Kept("mixing", quick, resume)
    parts = [effective(seed, quick, kept), agreement(seed, quick, kept)]
    print(f"{machine()}, seed {seed}.\n\n" + "\n\n".join(parts))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:], "--resume" in sys.argv[1:])
