"""Effective predictions for each gradient: the default sampler beside Hamiltonian ones.

The cross section of the study ``susy`` with a small network and a fixed noise: networks of a
theory without noise do not mix at all, whatever moves them (the posterior is narrower than the way
between its modes), and nothing could be compared. All chains begin at the same trained networks and
have as many gradients; the effective sample size is the median over 200 held-out points, of single
chains. Fixed lengths are tried with a metric that the warmup learns and without one, as in
TensorBNN.
"""

import sys
import time
from typing import Any

import numpy as np

from benchmarks.tables import SEEDS, machine, markdown, tell

NOISE = 0.1  # standard deviations of the logarithm of the cross section
DRAWS = 400


def main(quick: bool) -> None:
    """Print the section."""
    from posterion.diagnostics.autocorrelation import ess_bulk, split_rhat
    from posterion.emulators import Gaussian, Hmc, Mclmc, Nuts, emulate
    from posterion.emulators.chains import walk_networks
    from posterion.emulators.density import data_of
    from posterion.emulators.predicting import means_of_networks
    from posterion.emulators.rows import rows_of
    from posterion.networks import mlp
    from posterion.studies.susy.parameters import NAMES
    from posterion.studies.susy.scanning import scan

    count, budget, epochs = (300, 2_000, 5) if quick else (2_500, 160_000, 500)
    seed = SEEDS[0]
    table = scan("cross-section", count, seed=seed, quiet=True)
    inputs, target = {name: table[name] for name in NAMES}, {"sigma": table["sigma"]}
    shares = {"correction": 0.0, "test": 0.2}
    likelihood = Gaussian(NOISE)
    trained = emulate(
        inputs, target, network=mlp((16, 16), "tanh"), likelihood=likelihood, log=["sigma"],
        sampler="ensemble", chains=2, epochs=epochs, seed=seed, quiet=True, **shares,
    )  # fmt: skip
    rows = rows_of(inputs, target, likelihood=likelihood, log=["sigma"], units=None, **shares)
    data = data_of(*rows.training)
    probes = rows.inputs.scaled(rows.x[rows.parts["test"]])[:200]

    class Plain(Hmc):
        def renew(self, tuning: Any, mean: Any, variance: Any, count: Any) -> Any:
            return tuning

    lengths = (20,) if quick else (100, 200, 400, 800)
    kernels = {
        "mclmc (default)": (Mclmc(), 2),
        "nuts": (Nuts(), 150),
        "hmc, length learned": (Hmc(), 100),
    }
    kernels |= {f"hmc, {n} steps": (Hmc(steps=n, learned=False), n) for n in lengths}
    kernels |= {f"hmc, {n} steps, no metric": (Plain(steps=n, learned=False), n) for n in lengths}
    lines, found = [], {}
    for name, (kernel, each) in kernels.items():
        began = time.perf_counter()
        warmup = (10 if quick else 4000) if each == 2 else (10 if quick else 300)
        walked = walk_networks(
            trained.joint, data, trained.theta[:, -1], kernel, draws=DRAWS, warmup=warmup,
            thin=max(1, budget // (each * DRAWS)), seed=seed,
        )  # fmt: skip
        theta = walked.theta
        means = means_of_networks(trained.joint, theta.reshape(-1, theta.shape[-1]), probes)
        means = means[..., 0].reshape(*theta.shape[:2], -1)
        alone = float(np.median([ess_bulk(means[c : c + 1]) for c in range(len(means))]))
        gradients = walked.gradients / len(theta)
        found[name] = 1000 * alone / gradients
        rhat = split_rhat(means)
        tell(f"{name}: {found[name]:.3f} in {time.perf_counter() - began:.0f} s")
        lines.append(
            [
                name,
                f"{gradients:.0f}",
                f"{walked.warmup_gradients / len(theta):.0f}",
                f"{alone:.0f}",
                f"{found[name]:.3f}",
                f"{np.median(rhat):.3f}",
                f"{np.quantile(rhat, 0.95):.3f}",
            ]
        )
    with_metric = max(value for name, value in found.items() if name.endswith("steps"))
    plain = max(value for name, value in found.items() if name.endswith("no metric"))
    heads = ("sampler", "gradients a chain", "in warmup", "effective predictions",
             "for 1000 gradients", "R-hat, median", "95 %")  # fmt: skip
    print(
        f"{machine()}, seed {seed}. {len(rows.training[0])} rows, network (19, 16, 16, 1), tanh, "
        f"noise {NOISE} of the spread, two chains. The default gives "
        f"{found['mclmc (default)'] / plain:.1f} times what the best fixed length without a metric "
        f"gives, and {found['mclmc (default)'] / with_metric:.1f} times that with one.\n"
    )
    print(markdown(heads, lines))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
