"""The full statistical model: parameters from their prior, counts from the parameters."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from posterion.studies.likelihood_toy.inputs import Inputs
from posterion.studies.likelihood_toy.model import LOWER, UPPER, expected, parameters
from posterion.targets.parameter import Parameter

Floats = NDArray[np.float64]

_AT_ONCE = 20_000


def simulated(
    inputs: Inputs, n: int, *, seed: int, fresh: bool = False
) -> tuple[dict[str, Floats], Floats, float]:
    """``n`` pairs of parameters by name, ``(n, *shape)``, and counts ``(n, 90)``.

    Where a bin would expect less than nothing the model has no probability: such parameters are
    drawn anew, as they are of the posterior. The third number is the share that was kept.

    Args:
        inputs: of the model.
        n: number of pairs.
        seed: of the draws.
        fresh: other pairs than without, for whatever must not have been learned from.
    """
    rng = np.random.default_rng([seed, 95, int(fresh)])
    theta, counts, tried, have = [], [], 0, 0
    with jax.enable_x64(True):
        model = jax.jit(lambda t: expected(inputs, t))
        for drawn in _from_prior(rng):
            signal, background = model({k: jnp.asarray(v) for k, v in drawn.items()})
            mean = drawn["mu"][:, None] * np.asarray(signal) + np.asarray(background)
            possible = (mean > 0).all(axis=1)
            theta.append({k: v[possible] for k, v in drawn.items()})
            counts.append(rng.poisson(mean[possible]).astype(np.float64))
            tried, have = tried + len(mean), have + len(counts[-1])
            if have >= n:
                break
    whole = {k: np.concatenate([t[k] for t in theta])[:n] for k in theta[0]}
    return whole, np.concatenate(counts)[:n], have / tried


def _from_prior(rng: np.random.Generator) -> Iterator[dict[str, Floats]]:
    while True:
        drawn = {"mu": rng.uniform(LOWER, UPPER, _AT_ONCE)}
        for p in parameters()[1:]:
            drawn[p.name] = rng.normal(size=(_AT_ONCE, *p.shape))
        yield drawn


def summarised(inputs: Inputs, counts: Floats) -> dict[str, Floats]:
    """Counts ``(n, 90)`` as the flow's context: the excess of each bin, of unit variance.

    It is ``2 sqrt(n + 3/8)`` less the same of the expected background (Anscombe, Biometrika 35,
    246 (1948)).
    """
    return {"excess": 2 * (np.sqrt(counts + 0.375) - np.sqrt(inputs.background + 0.375))}


def learned_parameters(*, bins: bool) -> list[Parameter]:
    """What is learned, without priors: samples of the model follow them already."""
    return [
        Parameter(p.name, shape=p.shape, label=p.label, lower=p.lower, upper=p.upper)
        for p in parameters()
        if bins or p.name != "mc"
    ]
