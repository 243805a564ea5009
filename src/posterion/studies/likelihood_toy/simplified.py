"""The simplified likelihood: a bin's background as a quadratic of one correlated normal number.

``b_I = A_I + B_I theta_I + C_I theta_I^2`` with ``theta ~ N(0, rho)`` has the mean, covariance and
diagonal third moments of the background under the nuisances' prior (Buckley et al., 1809.05548,
section 3).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.core.errors import DensityError
from posterion.studies.likelihood_toy.inputs import BINS, CATEGORIES, Inputs
from posterion.studies.likelihood_toy.model import LOWER, UPPER, expected
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target

Floats = NDArray[np.float64]

_LEAST = 1e-12


def coefficients(mean: Floats, covariance: Floats, third: Floats) -> tuple[Floats, ...]:
    """``A``, ``B``, ``C``, each ``(bins,)``, and ``rho``, from the moments of the background.

    Raises:
        DensityError: a bin is too skewed for the form: ``8 S^3 < m3^2``.
    """
    variance = np.diag(covariance)
    ratio = 8 * variance**3 - third**2
    if (ratio < 0).any():
        bins = ", ".join(str(i) for i in np.flatnonzero(ratio < 0))
        raise DensityError(f"too skewed for a simplified likelihood: bins {bins}")
    angle = np.arctan2(np.sqrt(ratio), np.abs(third)) / 3
    c = -np.sign(third) * np.sqrt(2 * variance) * np.cos(4 * np.pi / 3 + angle)
    b = np.sqrt(variance - 2 * c**2)
    product, square = np.outer(b, b), np.outer(c, c)
    root = np.sqrt(product**2 + 8 * square * covariance)
    rho = 2 * covariance / (root + product)  # the recipe's form without its cancellation
    return mean - c, b, c, rho


def moments(inputs: Inputs, n: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Mean, covariance and third moments of the background over ``n`` draws of the nuisances."""
    rng = np.random.default_rng([seed, 57])
    names = ("isr", "jes", "lv", "cr")
    theta: dict[str, Any] = {"mc": rng.normal(size=(n, CATEGORIES * BINS))}
    theta |= {name: rng.normal(size=n) for name in names}
    with jax.enable_x64(True):
        b = np.asarray(expected(inputs, {k: jnp.asarray(v) for k, v in theta.items()})[1])
    centred = b - b.mean(axis=0)
    return b.mean(axis=0), centred.T @ centred / n, (centred**3).mean(axis=0)


def simplified_target(inputs: Inputs, *, draws: int = 100_000, seed: int = 0) -> Target:
    """The likelihood of the signal strength and one number a bin.

    Args:
        inputs: of the full model.
        draws: of the nuisances, from which the moments are.
        seed: of the draws.
    """
    a, b, c, rho = coefficients(*moments(inputs, draws, seed))
    value, vectors = np.linalg.eigh(rho)
    root = vectors * np.sqrt(np.maximum(value, _LEAST))
    signal, observed = inputs.signal, inputs.observed

    def log_density(t: dict[str, Array]) -> Array:
        theta = t["z"] @ jnp.asarray(root).T  # theta ~ N(0, rho), z ~ N(0, 1)
        mean = t["mu"][:, None] * signal + a + b * theta + c * theta**2
        safe = jnp.where(mean > 0, mean, 1.0)
        each = observed * jnp.log(safe) - safe - gammaln(observed + 1)
        poisson = jnp.where(jnp.all(mean > 0, axis=1), jnp.sum(each, axis=1), -jnp.inf)
        return poisson - 0.5 * jnp.sum(t["z"] ** 2, axis=1)

    parameters = [
        Parameter("mu", label=r"$\mu$", lower=LOWER, upper=UPPER),
        Parameter("z", shape=(CATEGORIES * BINS,), scale=1.0),
    ]
    return Target(log_density, parameters, vectorized=True, name="simplified likelihood")
