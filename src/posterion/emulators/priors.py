"""Priors of a network's weights, and hyperpriors of the priors.

A network's parameters are groups: one for each array of weights and each array of biases. Every
log-density here is normalised, and that of what is positive is per unit of its logarithm, in which
the chains move: the Jacobian is in it.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from posterion.core.errors import SettingError
from posterion.core.registry import register
from posterion.core.settings import check_bool, check_positive
from posterion.targets.kept import KeptPrior, keep

_LOG_2PI = math.log(2 * math.pi)


def log_normal(z: Array) -> Array:
    """Of a standard normal."""
    return -0.5 * (z**2 + _LOG_2PI)


def log_laplace(z: Array) -> Array:
    """Of a standard Laplace distribution."""
    return -jnp.abs(z) - math.log(2)


def log_cauchy(z: Array) -> Array:
    """Of a standard Cauchy distribution."""
    return -jnp.log1p(z**2) - math.log(math.pi)


def log_half_cauchy_of_log(t: Array, width: float | int) -> Array:
    """Of ``t = log s`` where ``s`` is half-Cauchy of that width."""
    return math.log(2) + log_cauchy(jnp.exp(t) / width) - math.log(width) + t


def log_half_normal_of_log(t: Array, width: float | int) -> Array:
    """Of ``t = log s`` where ``s`` is half-normal of that width."""
    return math.log(2) + log_normal(jnp.exp(t) / width) - math.log(width) + t


Draw = Callable[[PRNGKeyArray, tuple[int, ...], Any], Array]

FAMILIES: dict[str, tuple[Callable[[Array], Array], Draw]] = {
    "gaussian": (log_normal, jax.random.normal),
    "laplace": (log_laplace, jax.random.laplace),
    "cauchy": (log_cauchy, jax.random.cauchy),
}
"""Standard densities and draws by name."""

_POSITIVE: dict[str, tuple[Callable[[Array, Any], Array], Draw]] = {
    "gaussian": (log_half_normal_of_log, jax.random.normal),
    "cauchy": (log_half_cauchy_of_log, jax.random.cauchy),
}


class WeightPrior(eqx.Module):
    """A prior of the arrays of a network, with hyperparameters or without."""

    @abstractmethod
    def hyper(self, weights: PyTree) -> PyTree:
        """Where the hyperparameters start, in the coordinates in which chains move."""

    @abstractmethod
    def log_prob(self, weights: PyTree, hyper: PyTree) -> Array:
        """The normalised log-density of both together."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray, weights: PyTree) -> tuple[PyTree, PyTree]:
        """Weights of the shapes of ``weights`` and hyperparameters, drawn from the prior."""


def _unit(leaf: Array, by_inputs: bool) -> float:
    """What a scale is in units of: one over the root of the inputs of a unit, for weights."""
    if not by_inputs or leaf.ndim < 2:
        return 1.0
    return 1 / math.sqrt(math.prod(leaf.shape[1:]))


def _check_family(family: str, known: Sequence[str]) -> None:
    if family not in known:
        raise SettingError(f"unknown family {family!r} of priors; choose one of {', '.join(known)}")


@register("prior_independent")
class Independent(WeightPrior):
    """Independent weights about zero, of a scale that is given.

    Args:
        family: ``"gaussian"``, ``"laplace"`` or ``"cauchy"``.
        scale: of weights.
        bias_scale: of biases, and of whatever else has one axis.
        by_inputs: the scale of weights is in units of one over the root of a unit's inputs, so that
            its sum keeps its size however wide the layer before.

    Raises:
        SettingError: an unknown family, a scale that is not positive, or no bool.
    """

    family: str = eqx.field(static=True, default="gaussian")
    scale: float = eqx.field(static=True, default=1.0)
    bias_scale: float = eqx.field(static=True, default=1.0)
    by_inputs: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        _check_family(self.family, tuple(FAMILIES))
        check_positive(scale=self.scale, bias_scale=self.bias_scale)
        check_bool(by_inputs=self.by_inputs)

    def hyper(self, weights: PyTree) -> PyTree:
        """None."""
        return ()

    def _scale(self, leaf: Array) -> float:
        return self.bias_scale if leaf.ndim < 2 else self.scale * _unit(leaf, self.by_inputs)

    def log_prob(self, weights: PyTree, hyper: PyTree) -> Array:
        """See `WeightPrior`."""
        leaves = jax.tree.leaves(weights)
        scales = [self._scale(leaf) for leaf in leaves]
        # One sum over all: on small networks a sum for each group would cost a tenth of a gradient.
        z = jnp.concatenate([jnp.ravel(a) / s for a, s in zip(leaves, scales, strict=True)])
        volume = sum(leaf.size * math.log(s) for leaf, s in zip(leaves, scales, strict=True))
        return jnp.sum(FAMILIES[self.family][0](z)) - volume

    def sample(self, key: PRNGKeyArray, weights: PyTree) -> tuple[PyTree, PyTree]:
        """See `WeightPrior`."""
        draw = FAMILIES[self.family][1]
        return _drawn(key, weights, lambda k, w: self._scale(w) * draw(k, w.shape, w.dtype)), ()


@register("prior_hierarchical")
class Hierarchical(WeightPrior):
    """Weights about a location and of a scale that each group has of its own, both learned.

    The location is normal (or Cauchy) about zero, the scale half-normal (or half-Cauchy); both are
    in units of one over the root of a unit's inputs, as with `Independent`.

    Args:
        family: of the weights about their location: ``"gaussian"``, ``"laplace"``, ``"cauchy"``.
        hyperfamily: of location and scale: ``"gaussian"`` or ``"cauchy"``.
        location_width: of the location.
        scale_width: of the scale.
        by_inputs: as with `Independent`.

    Raises:
        SettingError: an unknown family, a width that is not positive, or no bool.
    """

    family: str = eqx.field(static=True, default="gaussian")
    hyperfamily: str = eqx.field(static=True, default="gaussian")
    location_width: float = eqx.field(static=True, default=0.3)
    scale_width: float = eqx.field(static=True, default=1.0)
    by_inputs: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        _check_family(self.family, tuple(FAMILIES))
        _check_family(self.hyperfamily, tuple(_POSITIVE))
        check_positive(location_width=self.location_width, scale_width=self.scale_width)
        check_bool(by_inputs=self.by_inputs)

    def hyper(self, weights: PyTree) -> PyTree:
        """Location and logarithm of the scale of each group, ``(groups,)`` each."""
        leaves = jax.tree.leaves(weights)
        start = [jnp.log(jnp.std(leaf) / _unit(leaf, self.by_inputs) + 0.1) for leaf in leaves]
        return {"location": jnp.zeros(len(leaves)), "log_scale": jnp.stack(start)}

    def log_prob(self, weights: PyTree, hyper: PyTree) -> Array:
        """See `WeightPrior`."""
        log_density = FAMILIES[self.family][0]
        locations, log_scales = hyper["location"], hyper["log_scale"]
        total = self._log_hyper(locations, log_scales)
        for i, leaf in enumerate(jax.tree.leaves(weights)):
            unit = _unit(leaf, self.by_inputs)
            z = (leaf / unit - locations[i]) * jnp.exp(-log_scales[i])
            one = log_scales[i] + math.log(unit)
            total = total + jnp.sum(log_density(z)) - leaf.size * one
        return total

    def _log_hyper(self, locations: Array, log_scales: Array) -> Array:
        of_location, of_scale = FAMILIES[self.hyperfamily][0], _POSITIVE[self.hyperfamily][0]
        width = self.location_width
        return jnp.sum(
            of_location(locations / width)
            - math.log(width)
            + of_scale(log_scales, self.scale_width)
        )

    def sample(self, key: PRNGKeyArray, weights: PyTree) -> tuple[PyTree, PyTree]:
        """See `WeightPrior`."""
        leaves, structure = jax.tree.flatten(weights)
        of_location, of_scale, of_weights = jax.random.split(key, 3)
        n, kind = len(leaves), leaves[0].dtype
        location = self.location_width * FAMILIES[self.hyperfamily][1](of_location, (n,), kind)
        scale = self.scale_width * jnp.abs(_POSITIVE[self.hyperfamily][1](of_scale, (n,), kind))
        made = []
        for i, leaf in enumerate(leaves):
            z = FAMILIES[self.family][1](jax.random.fold_in(of_weights, i), leaf.shape, leaf.dtype)
            made.append(_unit(leaf, self.by_inputs) * (location[i] + scale[i] * z))
        hyper = {"location": location, "log_scale": jnp.log(scale)}
        return jax.tree.unflatten(structure, made), hyper


@register("prior_horseshoe")
class Horseshoe(WeightPrior):
    """Weights that are nearly all small and a few free (Carvalho, Polson and Scott, 2010).

    Each weight is normal of the scale of its group times one of its own, both half-Cauchy, the
    first of ``width`` in units of one over the root of a unit's inputs. As many numbers again are
    sampled.

    Raises:
        SettingError: a width that is not positive, or no bool.
    """

    width: float = eqx.field(static=True, default=1.0)
    by_inputs: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        check_positive(width=self.width)
        check_bool(by_inputs=self.by_inputs)

    def hyper(self, weights: PyTree) -> PyTree:
        """Logarithms of the groups' scales, ``(groups,)``, and of the weights' own."""
        own = [jnp.zeros_like(leaf) for leaf in jax.tree.leaves(weights)]
        return {"log_scale": jnp.zeros(len(own)), "log_own": own}

    def log_prob(self, weights: PyTree, hyper: PyTree) -> Array:
        """See `WeightPrior`."""
        log_scales = hyper["log_scale"]
        total = jnp.sum(log_half_cauchy_of_log(log_scales, self.width))
        leaves = jax.tree.leaves(weights)
        for i, (leaf, own) in enumerate(zip(leaves, hyper["log_own"], strict=True)):
            log_sd = log_scales[i] + own + math.log(_unit(leaf, self.by_inputs))
            total = total + jnp.sum(log_normal(leaf * jnp.exp(-log_sd)) - log_sd)
            total = total + jnp.sum(log_half_cauchy_of_log(own, 1.0))
        return total

    def sample(self, key: PRNGKeyArray, weights: PyTree) -> tuple[PyTree, PyTree]:
        """See `WeightPrior`."""
        leaves, structure = jax.tree.flatten(weights)
        kind = leaves[0].dtype
        scale = self.width * jnp.abs(jax.random.cauchy(key, (len(leaves),), kind))
        made, owns = [], []
        for i, leaf in enumerate(leaves):
            of_own, of_z = jax.random.split(jax.random.fold_in(key, i + 1))
            own = jnp.abs(jax.random.cauchy(of_own, leaf.shape, leaf.dtype))
            z = jax.random.normal(of_z, leaf.shape, leaf.dtype)
            made.append(_unit(leaf, self.by_inputs) * scale[i] * own * z)
            owns.append(jnp.log(own))
        return jax.tree.unflatten(structure, made), {"log_scale": jnp.log(scale), "log_own": owns}


def _kept(prior: Any) -> Any:
    return type(prior)(tuple(map(keep, prior.distributions)))


@register("prior_of_groups", kept=_kept)
class OfGroups(WeightPrior):
    """A NumPyro distribution for each group, or one for all.

    Args:
        distributions: real-valued, with a batch shape that broadcasts to the group's array; in the
            order of ``jax.tree.leaves`` of the network: all weights, then all biases.

    Raises:
        SettingError: at use, another number of distributions than groups, or a shape that does not
            broadcast.
    """

    distributions: tuple[Any, ...]

    def hyper(self, weights: PyTree) -> PyTree:
        """None."""
        return ()

    def _pairs(self, weights: PyTree) -> list[tuple[Any, Array]]:
        leaves = jax.tree.leaves(weights)
        given = [d.distribution if isinstance(d, KeptPrior) else d for d in self.distributions]
        given = given * len(leaves) if len(given) == 1 else given
        if len(given) != len(leaves):
            raise SettingError(
                f"the network has {len(leaves)} groups of weights, the prior {len(given)} "
                "distributions: give one for each, or one for all"
            )
        for i, (distribution, leaf) in enumerate(zip(given, leaves, strict=True)):
            shape = tuple(distribution.batch_shape)
            inner = leaf.shape[max(leaf.ndim - len(shape), 0) :]
            fits = len(inner) == len(shape) and all(
                a in (1, b) for a, b in zip(shape, inner, strict=True)
            )
            if distribution.event_shape or not fits:
                raise SettingError(
                    f"the distribution of group {i} has the shape {shape} and events "
                    f"{tuple(distribution.event_shape)}; it must broadcast to {leaf.shape}"
                )
        return list(zip(given, leaves, strict=True))

    def log_prob(self, weights: PyTree, hyper: PyTree) -> Array:
        """See `WeightPrior`."""
        total = jnp.zeros(())
        for distribution, leaf in self._pairs(weights):
            total = total + jnp.sum(jnp.broadcast_to(distribution.log_prob(leaf), leaf.shape))
        return total

    def sample(self, key: PRNGKeyArray, weights: PyTree) -> tuple[PyTree, PyTree]:
        """See `WeightPrior`."""
        made = [
            distribution.expand(leaf.shape).sample(jax.random.fold_in(key, i)).astype(leaf.dtype)
            for i, (distribution, leaf) in enumerate(self._pairs(weights))
        ]
        return jax.tree.unflatten(jax.tree.structure(weights), made), ()


PRIORS: dict[str, WeightPrior] = {
    "gaussian": Independent("gaussian"),
    "laplace": Independent("laplace"),
    "cauchy": Independent("cauchy"),
    "hierarchical-gaussian": Hierarchical("gaussian", "gaussian"),
    "hierarchical-cauchy": Hierarchical("cauchy", "cauchy"),
    "horseshoe": Horseshoe(),
}
"""The priors by name."""


def make_prior(prior: Any) -> WeightPrior:
    """The prior that is named, given, or made of NumPyro distributions.

    Raises:
        SettingError: none of the three, or a distribution that is not of all real numbers.
    """
    if isinstance(prior, WeightPrior):
        return prior
    if isinstance(prior, str):
        if prior not in PRIORS:
            raise SettingError(f"unknown prior {prior!r}; choose one of {', '.join(PRIORS)}")
        return PRIORS[prior]
    several = tuple(prior) if isinstance(prior, Sequence) else (prior,)
    if not several or not all(
        hasattr(p, "log_prob") and hasattr(p, "batch_shape") and not isinstance(p, type)
        for p in several
    ):
        raise SettingError(
            f"a prior is a name ({', '.join(PRIORS)}), a WeightPrior, a NumPyro distribution or a "
            f"list of them; got {type(prior).__name__}"
        )
    for p in several:
        if said := _bounds(p):
            raise SettingError(
                f"weights are real numbers, and {type(p).__name__} is a distribution of {said}: "
                "take one such as numpyro.distributions.Normal(0, 1)"
            )
    return OfGroups(several)


def _bounds(distribution: Any) -> str:
    """What it is of where that is not all real numbers; empty also where it does not say."""
    from numpyro.distributions import constraints

    try:
        support = distribution.support
    except (AttributeError, NotImplementedError):
        return ""
    support = getattr(support, "base_constraint", support)  # of independent ones
    if getattr(support, "is_discrete", False):
        return "whole numbers"
    real = support is None or isinstance(support, type(constraints.real))
    return "" if real else f"some alone ({support})"


def _drawn(
    key: PRNGKeyArray, weights: PyTree, draw: Callable[[PRNGKeyArray, Array], Array]
) -> PyTree:
    leaves, structure = jax.tree.flatten(weights)
    made = [draw(jax.random.fold_in(key, i), leaf) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, made)
