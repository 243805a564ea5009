"""The log-density of the toy likelihood: 90 Poisson bins, one signal strength, 94 nuisances."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array

from posterion.studies.likelihood_toy.inputs import BINS, CATEGORIES, RATES, SHAPES, Inputs
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target

LOWER, UPPER = -1.0, 5.0
_SYSTEMATICS = ("isr", "jes", "lv", "cr")


def parameters() -> list[Parameter]:
    """The signal strength, flat, and the nuisances, standard normal."""
    from numpyro.distributions import Normal

    return [
        Parameter("mu", label=r"$\mu$", lower=LOWER, upper=UPPER),
        Parameter("mc", shape=(CATEGORIES * BINS,), label=r"$\delta$", prior=Normal(0.0, 1.0)),
        *(
            Parameter(name, label=rf"$\delta_{{\rm {name.upper()}}}$", prior=Normal(0.0, 1.0))
            for name in _SYSTEMATICS
        ),
    ]


def expected(inputs: Inputs, theta: dict[str, Array]) -> tuple[Array, Array]:
    """Signal at strength 1, ``(90,)``, and background ``(n, 90)`` of each bin.

    Args:
        inputs: the model's numbers.
        theta: arrays with a leading batch axis.
    """
    dtype = theta["mc"].dtype
    delta = jnp.stack([theta[name] for name in _SYSTEMATICS])  # (4, n)
    up, down = (jnp.asarray(x, dtype) for x in (inputs.shape_up, inputs.shape_down))
    factor = jnp.prod(
        jnp.stack([_shape(delta[j][:, None], up[j], down[j]) for j in range(len(SHAPES))]), axis=0
    )
    bins = jnp.asarray(inputs.background, dtype) * factor
    sums = jnp.sum(bins.reshape(-1, CATEGORIES, BINS), axis=-1, keepdims=True)
    total = inputs.background.reshape(CATEGORIES, BINS).sum(axis=1)
    rates = jnp.sum(
        jnp.stack([_rate(delta[j][:, None], inputs, j) for j in range(len(RATES))]), axis=0
    )
    category = jnp.asarray(total, dtype) * jnp.exp(rates)  # (n, 3)
    spread = bins.reshape(-1, CATEGORIES, BINS) / sums * category[..., None]
    noise = jnp.exp(theta["mc"] * jnp.asarray(np.log1p(inputs.statistics), dtype))
    return jnp.asarray(inputs.signal, dtype), spread.reshape(-1, CATEGORIES * BINS) * noise


def _shape(d: Array, up: Array, down: Array) -> Array:
    """Interpolated factor: quadratic within one standard deviation, straight lines beyond."""
    inside = 0.5 * d * (d - 1) * down - (d - 1) * (d + 1) + 0.5 * d * (d + 1) * up
    above = (0.5 * (3 * up + down) - 2) * d - 0.5 * (up + down) + 2
    below = (2 - 0.5 * (3 * down + up)) * d - 0.5 * (up + down) + 2
    return jnp.where(d > 1, above, jnp.where(d < -1, below, inside))


def _rate(d: Array, inputs: Inputs, j: int) -> Array:
    up, down = (jnp.asarray(np.log1p(x[j]), d.dtype) for x in (inputs.rate_up, inputs.rate_down))
    return jnp.where(d >= 0, d * up, -d * down)


def log_likelihood(inputs: Inputs, theta: dict[str, Array]) -> Array:
    """Log-probability of the observed counts, ``(n,)``."""
    signal, background = expected(inputs, theta)
    mean = theta["mu"][:, None] * signal + background
    # A negative expectation has no probability; the inner mean keeps the gradient finite.
    possible = mean > 0
    safe = jnp.where(possible, mean, 1.0)
    observed = jnp.asarray(inputs.observed, mean.dtype)
    each = observed * jnp.log(safe) - safe - gammaln(observed + 1)
    return jnp.where(jnp.all(possible, axis=1), jnp.sum(each, axis=1), -jnp.inf)


def toy_target(inputs: Inputs) -> Target:
    """The posterior; the constant of a flat prior of density 1/5 on mu is in the density."""

    def log_density(theta: dict[str, Any]) -> Array:
        return log_likelihood(inputs, theta) - np.log(5.0)

    return Target(log_density, parameters(), vectorized=True, name="toy likelihood")
