"""A prior as a file keeps it: the name of its NumPyro family and its arguments, or only words."""

import inspect
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from posterion.core.errors import BundleError, ParameterError
from posterion.core.registry import register, to_tree

_POSTERIOR = "posterion.posterior"
_INSTEAD = {"MultivariateNormal": ("loc", "scale_tril")}
_TOLERANCE = 1e-4


@register("prior")
@dataclass(frozen=True)
class KeptPrior:
    """A prior from a file.

    It is used like the NumPyro distribution that it was; where a file could not hold that, it only
    says what it was.

    Args:
        described: the prior in words.
        family: its class in NumPyro, or None where there are only words.
        arguments: that the class is called with.
    """

    described: str
    family: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def distribution(self) -> Any:
        """The NumPyro distribution.

        Raises:
            ParameterError: the file holds it in words only.
        """
        if self.family is None:
            raise ParameterError(
                f"the file holds this prior in words only: {self.described}; give the parameter "
                f"anew, with its prior"
            )
        given = {
            k: v.distribution if type(v) is KeptPrior else v for k, v in self.arguments.items()
        }
        return _families()[self.family](**given)

    def log_prob(self, value: Any) -> Any:
        """Log-density of the distribution."""
        return self.distribution.log_prob(value)

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws of the distribution."""
        return self.distribution.sample(key, sample_shape)

    @property
    def support(self) -> Any:
        """Of the distribution; None where there are only words."""
        return None if self.family is None else self.distribution.support


def describe_prior(prior: Any) -> str:
    """A prior in words: the name of its class and its arguments."""
    said = getattr(prior, "described", None)
    if said is not None:
        return said
    names = getattr(prior, "arg_constraints", {})
    values = {name: np.asarray(getattr(prior, name)) for name in names if hasattr(prior, name)}
    said = ", ".join(f"{k}={v.item():g}" if v.size == 1 else k for k, v in values.items())
    return f"{type(prior).__name__}({said})"


def keep(prior: Any) -> KeptPrior | None:
    """What a file can keep of a prior."""
    if prior is None or isinstance(prior, KeptPrior):
        return prior
    words = describe_prior(prior)
    try:
        kept = KeptPrior(words, *_taken_apart(prior))
        to_tree(kept, {})
        return kept if _same(kept.distribution, prior) else KeptPrior(words)
    except Exception:  # another's code: whatever it does, the result must be kept
        return KeptPrior(words)


def _families() -> dict[str, Any]:
    import numpyro.distributions as dist

    from posterion.core.as_numpyro import PosteriorDistribution

    named = {name: getattr(dist, name) for name in dist.__all__}
    classes = {k: v for k, v in named.items() if inspect.isclass(v)}
    classes = {k: v for k, v in classes.items() if issubclass(v, dist.Distribution)}
    return {**classes, _POSTERIOR: PosteriorDistribution}


def _taken_apart(prior: Any) -> tuple[str, dict[str, Any]]:
    """The family and the arguments; KeyError or BundleError where that cannot be."""
    import numpyro.distributions as dist

    family = {cls: name for name, cls in _families().items()}[type(prior)]
    names = _INSTEAD.get(family, tuple(inspect.signature(type(prior)).parameters))
    arguments = {}
    for name in names:
        if name == "validate_args":
            continue
        value = getattr(prior, name)
        if isinstance(value, dist.Distribution):
            inner = keep(value)
            if inner is None or inner.family is None:
                raise BundleError(f"{family}.{name} cannot be kept")
            value = inner
        elif hasattr(value, "dtype"):
            value = np.asarray(value)
        arguments[name] = value
    return family, arguments


def _same(again: Any, prior: Any) -> bool:
    import jax

    with jax.enable_x64(True):  # see `posterion.targets.parameter.drawn`
        prior = copy(prior)
        value = prior.sample(jax.random.key(0))
        first, second = (np.asarray(p.log_prob(value)) for p in (again, prior))
    return first.shape == second.shape and bool(
        np.allclose(first, second, rtol=_TOLERANCE, atol=_TOLERANCE)
    )
