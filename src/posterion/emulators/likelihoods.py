"""What the targets are, given the network's outputs: likelihoods, and their noise.

A target has one column or several, ``y`` of shape (rows, targets); the network gives ``(rows,
outputs)``. What is learned beside the weights, the noise, moves in unconstrained coordinates: its
prior is per unit of these, the Jacobian in it. Numbers are in units of the targets' spread.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from posterion.core.errors import SettingError
from posterion.core.registry import register
from posterion.core.settings import check_positive, check_whole, is_number
from posterion.emulators.priors import log_half_cauchy_of_log, log_normal


class Likelihood(eqx.Module):
    """The density of targets given the network's outputs."""

    def outputs(self, targets: int) -> int:
        """How many outputs the network has for so many targets."""
        return targets

    def noise(self, targets: int) -> PyTree:
        """Where the noise's coordinates start."""
        return ()

    def log_prior(self, noise: PyTree) -> Array:
        """Of the noise, per unit of its coordinates."""
        return jnp.zeros(())

    @abstractmethod
    def log_prob(self, outputs: Array, y: Array, noise: PyTree) -> Array:
        """Log-density of each row, ``(rows,)``."""

    @abstractmethod
    def mean_and_variance(self, outputs: Array, noise: PyTree) -> tuple[Array, Array]:
        """Of the targets given the outputs, ``(rows, targets)`` each: the aleatoric part."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray, outputs: Array, noise: PyTree) -> Array:
        """One target a row, ``(rows, targets)``."""


@register("likelihood_gaussian")
class Gaussian(Likelihood):
    """Normal about the outputs, one spread for each target.

    Args:
        sigma: the spread, in units of the targets' spread; None learns it, under a half-Cauchy
            prior of ``width``.
        width: of that prior.

    Raises:
        SettingError: a spread or a width that is not positive.
    """

    sigma: float | None = eqx.field(static=True, default=None)
    width: float = eqx.field(static=True, default=0.1)

    def __check_init__(self) -> None:
        if self.sigma is not None:
            check_positive(sigma=self.sigma)
        check_positive(width=self.width)

    def noise(self, targets: int) -> PyTree:
        """Logarithm of the spread of each target, where it is learned."""
        return () if self.sigma is not None else {"log_sigma": jnp.full(targets, math.log(0.1))}

    def log_prior(self, noise: PyTree) -> Array:
        """See `Likelihood`."""
        if self.sigma is not None:
            return jnp.zeros(())
        return jnp.sum(log_half_cauchy_of_log(noise["log_sigma"], self.width))

    def _log_sigma(self, noise: PyTree) -> Array:
        return noise["log_sigma"] if self.sigma is None else jnp.asarray([math.log(self.sigma)])

    def log_prob(self, outputs: Array, y: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        log_sigma = self._log_sigma(noise)
        return jnp.sum(log_normal((y - outputs) * jnp.exp(-log_sigma)) - log_sigma, axis=-1)

    def mean_and_variance(self, outputs: Array, noise: PyTree) -> tuple[Array, Array]:
        """See `Likelihood`."""
        return outputs, jnp.broadcast_to(jnp.exp(2 * self._log_sigma(noise)), outputs.shape)

    def sample(self, key: PRNGKeyArray, outputs: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        z = jax.random.normal(key, outputs.shape, outputs.dtype)
        return outputs + jnp.exp(self._log_sigma(noise)) * z


@register("likelihood_heteroscedastic")
class Heteroscedastic(Likelihood):
    """Normal, with a spread that the network gives as well: means, then logarithms of spreads."""

    def outputs(self, targets: int) -> int:
        """Two for each target."""
        return 2 * targets

    def log_prob(self, outputs: Array, y: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        mean, log_sigma = jnp.split(outputs, 2, axis=-1)
        return jnp.sum(log_normal((y - mean) * jnp.exp(-log_sigma)) - log_sigma, axis=-1)

    def mean_and_variance(self, outputs: Array, noise: PyTree) -> tuple[Array, Array]:
        """See `Likelihood`."""
        mean, log_sigma = jnp.split(outputs, 2, axis=-1)
        return mean, jnp.exp(2 * log_sigma)

    def sample(self, key: PRNGKeyArray, outputs: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        mean, log_sigma = jnp.split(outputs, 2, axis=-1)
        return mean + jnp.exp(log_sigma) * jax.random.normal(key, mean.shape, mean.dtype)


@register("likelihood_student_t")
class StudentT(Likelihood):
    """Student's t about the outputs, for targets with outliers; the spread is learned.

    Args:
        freedom: degrees of freedom, above 2, so that there is a variance.
        width: of the half-Cauchy prior of the spread, in units of the targets' spread.

    Raises:
        SettingError: numbers out of range.
    """

    freedom: float = eqx.field(static=True, default=4.0)
    width: float = eqx.field(static=True, default=0.1)

    def __check_init__(self) -> None:
        check_positive(width=self.width)
        if not (is_number(self.freedom) and self.freedom > 2):
            raise SettingError(
                f"freedom: Student's t needs more than 2 degrees of freedom, got {self.freedom!r}"
            )

    def noise(self, targets: int) -> PyTree:
        """Logarithm of the spread of each target."""
        return {"log_sigma": jnp.full(targets, math.log(0.1))}

    def log_prior(self, noise: PyTree) -> Array:
        """See `Likelihood`."""
        return jnp.sum(log_half_cauchy_of_log(noise["log_sigma"], self.width))

    def log_prob(self, outputs: Array, y: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        log_sigma, n = noise["log_sigma"], self.freedom
        z = (y - outputs) * jnp.exp(-log_sigma)
        norm = math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - 0.5 * math.log(n * math.pi)
        return jnp.sum(norm - 0.5 * (n + 1) * jnp.log1p(z**2 / n) - log_sigma, axis=-1)

    def mean_and_variance(self, outputs: Array, noise: PyTree) -> tuple[Array, Array]:
        """See `Likelihood`."""
        variance = jnp.exp(2 * noise["log_sigma"]) * self.freedom / (self.freedom - 2)
        return outputs, jnp.broadcast_to(variance, outputs.shape)

    def sample(self, key: PRNGKeyArray, outputs: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        z = jax.random.t(key, self.freedom, outputs.shape, outputs.dtype)
        return outputs + jnp.exp(noise["log_sigma"]) * z


@register("likelihood_bernoulli")
class Bernoulli(Likelihood):
    """Targets that are 0 or 1; the outputs are logits."""

    def log_prob(self, outputs: Array, y: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        return jnp.sum(y * outputs - jax.nn.softplus(outputs), axis=-1)

    def mean_and_variance(self, outputs: Array, noise: PyTree) -> tuple[Array, Array]:
        """See `Likelihood`."""
        p = jax.nn.sigmoid(outputs)
        return p, p * jax.nn.sigmoid(-outputs)

    def sample(self, key: PRNGKeyArray, outputs: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        return jax.random.bernoulli(key, jax.nn.sigmoid(outputs)).astype(outputs.dtype)


@register("likelihood_categorical")
class Categorical(Likelihood):
    """A class out of several; ``y`` holds its number, ``(rows, 1)``, the outputs are logits.

    Means and variances are those of the classes' indicators, ``(rows, classes)``.

    Raises:
        SettingError: fewer than two classes, or no whole number.
    """

    classes: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_whole(classes=self.classes)
        if self.classes < 2:
            raise SettingError(f"a categorical likelihood needs two classes, got {self.classes}")

    def outputs(self, targets: int) -> int:
        """One for each class."""
        if targets != 1:
            raise SettingError(f"a categorical likelihood has one target, got {targets}")
        return self.classes

    def log_prob(self, outputs: Array, y: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        chosen = jax.nn.one_hot(y[:, 0].astype(int), self.classes, dtype=outputs.dtype)
        return jnp.sum(chosen * jax.nn.log_softmax(outputs, axis=-1), axis=-1)

    def mean_and_variance(self, outputs: Array, noise: PyTree) -> tuple[Array, Array]:
        """See `Likelihood`."""
        p = jax.nn.softmax(outputs, axis=-1)
        return p, p * (1 - p)

    def sample(self, key: PRNGKeyArray, outputs: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        return jax.random.categorical(key, outputs)[:, None].astype(outputs.dtype)


class Own(Likelihood):
    """A likelihood of the user's.

    Args:
        function: ``function(outputs, y)`` to the log-density of each row, ``(rows,)``, in JAX.
        draw: ``draw(key, outputs)`` to one target a row.
        moments: ``moments(outputs)`` to mean and variance of the targets.
        per_target: outputs of the network for each target.

    Raises:
        SettingError: ``per_target`` is no whole number of 1 or more.
    """

    function: Callable[[Array, Array], Array] = eqx.field(static=True)
    draw: Callable[[PRNGKeyArray, Array], Array] = eqx.field(static=True)
    moments: Callable[[Array], tuple[Array, Array]] = eqx.field(static=True)
    per_target: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        check_whole(per_target=self.per_target, least=1)

    def outputs(self, targets: int) -> int:
        """As was said."""
        return self.per_target * targets

    def log_prob(self, outputs: Array, y: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        return self.function(outputs, y)

    def mean_and_variance(self, outputs: Array, noise: PyTree) -> tuple[Array, Array]:
        """See `Likelihood`."""
        return self.moments(outputs)

    def sample(self, key: PRNGKeyArray, outputs: Array, noise: PyTree) -> Array:
        """See `Likelihood`."""
        return self.draw(key, outputs)


LIKELIHOODS: dict[str, Likelihood] = {
    "gaussian": Gaussian(),
    "heteroscedastic": Heteroscedastic(),
    "student-t": StudentT(),
    "bernoulli": Bernoulli(),
}
"""The likelihoods by name; ``"categorical"`` is made for the number of classes."""


def make_likelihood(likelihood: Any, classes: int) -> Likelihood:
    """The likelihood that is named or given; ``classes`` is the number of them in the targets.

    Raises:
        SettingError: neither a name nor a likelihood.
    """
    if isinstance(likelihood, Likelihood):
        return likelihood
    if likelihood == "categorical":
        return Categorical(classes)
    if not isinstance(likelihood, str) or likelihood not in LIKELIHOODS:
        raise SettingError(
            f"unknown likelihood {likelihood!r}; choose one of {', '.join(LIKELIHOODS)}, "
            f"categorical, or give a Likelihood"
        )
    return LIKELIHOODS[likelihood]
