"""Several targets as one: their log-densities add up, what they share is named alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.core.errors import ParameterError
from posterion.targets.kept import describe_prior
from posterion.targets.parameter import Parameter
from posterion.targets.priors import Prior
from posterion.targets.target import Target, pad_rows


def combine(first: Target, *others: Target, name: str | None = None) -> Target:
    """The target of independent data on parameters of which some are common, by name.

    The log-densities add up; the prior of a common parameter counts once, so it must be the same
    in all. Differentiable if all are.

    Args:
        first: its parameters come first.
        others: theirs, unless named before, follow.
        name: of the target; by default the names joined by `` + ``.

    Raises:
        ParameterError: a common parameter that differs in shape, unit, bounds, periodicity or
            prior; the message says which, and how.

    >>> from posterion import Parameter, Target
    >>> mass = Parameter("mass", unit="GeV", lower=0.0, upper=10.0)
    >>> a = Target(lambda t: -0.5 * (t["mass"] - 4.0) ** 2, [mass], name="a")
    >>> b = Target(lambda t: -0.5 * (t["mass"] - 5.0) ** 2, [mass], name="b")
    >>> combine(a, b)
    Target('a + b', 1 parameters, dim 1)
    """
    targets = (first, *others)
    parameters: dict[str, Parameter] = {}
    owner: dict[str, Target] = {}
    priors: dict[tuple[str, ...], Any] = {}
    for target in targets:
        joint = {p.name: prior for prior in target.priors if prior.joint for p in prior.parameters}
        for parameter in target.parameters:
            known = parameters.setdefault(parameter.name, parameter)
            if owner.setdefault(parameter.name, target) is not target:
                _must_agree(known, parameter, owner[parameter.name], target)
                if known.scale is None and parameter.scale is not None:
                    parameters[parameter.name] = parameter
        for prior in dict.fromkeys(joint.values()):
            priors[tuple(p.name for p in prior.parameters)] = prior.distribution
    density = _Sum(targets, list(parameters.values()))
    return Target(
        density if density.traceable else density.on_host,
        list(parameters.values()),
        prior=priors or None,
        vectorized=True,
        plain=not density.traceable,
        name=name or " + ".join(target.name for target in targets),
    )


class _Sum:
    """The sum of the targets' log-densities, each at its own of the coordinates."""

    def __init__(self, targets: Sequence[Target], parameters: Sequence[Parameter]):
        ends = np.cumsum([0, *(p.size for p in parameters)])
        at = {p.name: np.arange(ends[i], ends[i + 1]) for i, p in enumerate(parameters)}
        self.names = list(at)
        self.parts = [(t, np.concatenate([at[name] for name in t.names])) for t in targets]
        self.traceable = all(target.has_gradient for target in targets)

    def __call__(self, theta: Mapping[str, Any]) -> Array:
        """``(n,)`` at arrays by name, each ``(n, *shape)``."""
        arrays = [jnp.asarray(theta[name]) for name in self.names]
        return self.at_coordinates(
            jnp.concatenate([a.reshape(a.shape[0], -1) for a in arrays], axis=1)
        )

    def at_coordinates(self, x: Array) -> Array:
        """``(n,)`` at coordinates ``(n, dim)``; traced."""
        return jnp.asarray(sum(target._raw(x[:, own]) for target, own in self.parts))

    def on_host(self, theta: Mapping[str, np.ndarray]) -> np.ndarray:
        """As a plain density: of what JAX can trace, its part is compiled."""
        arrays = [np.asarray(theta[name], np.float64) for name in self.names]
        x = np.concatenate([a.reshape(a.shape[0], -1) for a in arrays], axis=1)
        return np.sum([_on_host(target, x[:, own]) for target, own in self.parts], axis=0)


def _raw(target: Target, x: Array) -> Array:
    return target._raw(x)


_compiled = jax.jit(_raw, static_argnums=0)


def _on_host(target: Target, x: np.ndarray) -> np.ndarray:
    if not target.has_gradient:
        return target._host(x)
    with jax.enable_x64(True):
        padded = jnp.asarray(pad_rows(x, len(x) * 2))
        return np.asarray(_compiled(target, padded), np.float64)[: len(x)]


def _must_agree(known: Parameter, again: Parameter, first: Target, second: Target) -> None:
    def says(target: Target, parameter: Parameter) -> dict[str, Any]:
        bounds = parameter.lower, parameter.upper
        return {
            "shape": parameter.shape,
            "unit": parameter.unit,
            "bounds": bounds,
            "periodic": parameter.periodic,
            "prior": _prior_of(target, parameter),
        }

    ours, theirs = says(first, known), says(second, again)
    for what, own in ours.items():
        other = theirs[what]
        if not (_same(own, other) if what == "prior" else own == other):
            raise ParameterError(
                f"parameter {known.name!r} has {what} {_said(own)} in {first.name!r}, and "
                f"{_said(other)} in {second.name!r}; make them agree, or rename one"
            )


def _prior_of(target: Target, parameter: Parameter) -> Prior | None:
    for prior in target.priors:
        if parameter.name in [p.name for p in prior.parameters]:
            return prior
    return None


def _same(one: Prior | None, other: Prior | None) -> bool:
    if one is None or other is None:
        return one is other
    if [p.name for p in one.parameters] != [p.name for p in other.parameters]:
        return False
    if one.distribution is other.distribution:
        return True
    if type(one.distribution) is not type(other.distribution):
        return False
    leaves, structure = jax.tree.flatten(one.distribution)
    others, form = jax.tree.flatten(other.distribution)
    return structure == form and all(map(np.array_equal, leaves, others))


def _said(value: Any) -> str:
    if not isinstance(value, Prior):
        return "none" if value is None else repr(value)
    words = describe_prior(value.distribution)
    return f"{words} (of {value.names} together)" if value.joint else words
