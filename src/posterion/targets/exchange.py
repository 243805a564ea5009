"""Priors exchanged for others: what goes in, what comes out, and their ratio."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.core.columns import columns_of
from posterion.core.errors import ParameterError, ThetaError
from posterion.core.registry import register
from posterion.core.result import Result
from posterion.targets.kept import keep
from posterion.targets.parameter import Parameter
from posterion.targets.priors import Prior, described, gather, log_prob_of

__all__ = ["Exchange"]

Floats = NDArray[np.float64]
_PROBES = 4000


@register("prior_exchange")
@dataclass(frozen=True, eq=False)
class Exchange:
    """Some priors of a result exchanged for others; `of` makes it.

    Attributes:
        parameters: of the result, with their new priors.
        new, old: the priors that go in, and those that come out.
    """

    parameters: tuple[Parameter, ...]
    new: tuple[Prior, ...]
    old: tuple[Prior, ...]

    @classmethod
    def of(cls, result: Any, prior: Any) -> "Exchange":
        """The exchange of a result's priors for those of some parameters.

        Args:
            result: with ``parameters``, and ``target`` where the density is at hand.
            prior: name, or a tuple of names, to a NumPyro distribution or an earlier result; None
                for a flat one.

        Raises:
            ThetaError: an unknown parameter.
            ParameterError: an unusable prior, one of a part of the parameters that have one
                together, or an old one that a file holds in words only.
        """
        if not isinstance(prior, Mapping) or not prior:
            raise ParameterError(
                f"prior is a dict of parameter names to NumPyro distributions, got {prior!r}"
            )
        given = {(k,) if isinstance(k, str) else tuple(k): v for k, v in prior.items()}
        changed = [name for names in given for name in names]
        known = [p.name for p in result.parameters]
        if unknown := [name for name in changed if name not in known]:
            raise ThetaError(
                f"there is no parameter {', '.join(unknown)}; known: {', '.join(known)}"
            )
        joint = {k: v for k, v in given.items() if len(k) > 1 or isinstance(v, Result)}
        own = {k[0]: v for k, v in given.items() if k not in joint}
        bare = [replace(p, prior=own.get(p.name)) for p in result.parameters]
        parameters, new = gather(bare, {k: v for k, v in joint.items() if v is not None} or None)
        after = zip(result.parameters, described(parameters, new), strict=True)
        kept = tuple(there if here.name in changed else here for here, there in after)
        return cls(kept, new, _priors_of(result, changed))

    def traced(self, x: Array) -> Array:
        """Log of the new priors over the old ones at coordinates ``(n, dim)``; inside x64."""
        old = log_prob_of(self.old, x)
        inside = jnp.ones(x.shape[0], bool)
        for prior in self.new:  # NumPyro's densities do not all vanish beyond their support
            lower, upper = prior.ends
            part = x[:, prior.places]
            within = ((part >= lower) & (part <= upper)).all(axis=1)
            draw = jnp.ravel(prior.distribution.sample(jax.random.key(0)))
            x = x.at[:, prior.places].set(jnp.where(within[:, None], part, draw))
            inside &= within
        return jnp.where(inside, log_prob_of(self.new, x) - old, -jnp.inf)

    def log_ratio(self, x: Any) -> Floats:
        """The same on the host, float64 ``(n,)``."""
        with jax.enable_x64(True):
            return np.asarray(self.traced(jnp.asarray(x, jnp.float64)), np.float64)

    @property
    def measure(self) -> tuple[str, ...]:
        """The new priors in words."""
        return tuple(prior.measure() for prior in self.new) or ("flat",)

    @property
    def in_words_only(self) -> Prior | None:
        """The first prior that a file cannot hold."""
        for prior in (*self.new, *self.old):
            kept = keep(prior.distribution)
            if kept is not None and kept.family is None:
                return prior
        return None

    def beside(self, x: Floats) -> str:
        """In words, where draws ``(n, dim)`` lie and where the new priors do."""
        said = []
        for prior in self.new:
            part = x[:, prior.places[0]]
            centre, width = (values[0] for values in prior.middle)
            said.append(
                f"{prior.parameters[0].columns[0]} is {part.mean():.3g} +- {part.std():.2g}, its "
                f"new prior {centre:.3g} +- {width:.2g}"
            )
        return "; ".join(said)

    def cuts(self, before: tuple[Parameter, ...]) -> tuple[str, ...]:
        """A note for each new prior of which a part lies beyond what the result covers."""
        columns, notes = columns_of(before), []
        for prior in self.new:
            with jax.enable_x64(True):
                draws = np.asarray(prior.distribution.sample(jax.random.key(0), (_PROBES,)))
            draws = np.broadcast_to(draws.reshape(_PROBES, -1), (_PROBES, len(prior.places)))
            inside = np.ones(_PROBES, bool)
            for place, x in zip(prior.places, draws.T, strict=True):
                lower, upper = columns[place].lower, columns[place].upper
                if not columns[place].periodic:
                    inside &= (lower is None or x >= lower) & (upper is None or x <= upper)
            if (beyond := 1 - inside.mean()) > 0.005:
                notes.append(f"{beyond:.0%} of the new prior of {prior.names} is beyond the bounds")
        return tuple(notes)


def _priors_of(result: Any, changed: list[str]) -> tuple[Prior, ...]:
    """The result's priors of these parameters."""
    target = getattr(result, "target", None)
    if target is None:
        bare = [p if p.name in changed else replace(p, prior=None) for p in result.parameters]
        return gather(bare, None)[1]
    found = [p for p in target.priors if {q.name for q in p.parameters} & set(changed)]
    for joint in found:
        if missing := [q.name for q in joint.parameters if q.name not in changed]:
            raise ParameterError(
                f"{joint.names} have one prior together: give that of {', '.join(missing)} too"
            )
    return tuple(found)
