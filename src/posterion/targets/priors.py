"""Priors, of one parameter or of several together: their density, and the support they imply."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.core.errors import ParameterError
from posterion.core.registry import register
from posterion.core.result import Result
from posterion.targets.kept import KeptPrior, keep
from posterion.targets.parameter import Parameter, describe_prior, drawn, must_overlap

Floats = NDArray[np.float64]
Kind = tuple[str, float | None, float | None]
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


def _with_kept_distribution(prior: "Prior") -> "Prior":
    return replace(prior, distribution=keep(prior.distribution))


@register("prior_of", kept=_with_kept_distribution)
@dataclass(frozen=True, eq=False)
class Prior:
    """A prior of some coordinates of a target.

    Attributes:
        parameters: that it is the prior of.
        distribution: of NumPyro.
        places: of their coordinates in the target, ``(k,)``.
        joint: given for the target, not for the parameter.
    """

    parameters: tuple[Parameter, ...]
    distribution: Any
    places: NDArray[np.int64]
    joint: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one value."""
        if not self.joint:
            return self.parameters[0].shape
        given = _live(self.distribution)
        return (*given.batch_shape, *given.event_shape)

    @property
    def names(self) -> str:
        """Of its parameters, in one line."""
        return ", ".join(parameter.name for parameter in self.parameters)

    def measure(self) -> str:
        """The prior in words, with the parameters it holds for."""
        if not self.joint:
            return self.parameters[0].measure()
        lower, upper = self.ends
        said, start = "", 0
        for parameter in self.parameters:
            part = slice(start, start + parameter.size)
            cut = parameter.cut_by(lower[part], upper[part])
            said += cut.replace(", cut", f", {parameter.name} cut")
            start += parameter.size
        return f"{self.names} ~ {describe_prior(self.distribution)}{said}"

    def log_prob(self, x: Array) -> Array:
        """Log-density at the target's coordinates ``(n, dim)``, ``(n,)``; traced."""
        first, last = self.places[0], self.places[-1]
        neighbours = (np.diff(self.places) == 1).all()
        part = x[:, first : last + 1] if neighbours else x[:, self.places]
        part = part.reshape(x.shape[0], *self.shape)
        return jnp.sum(self.distribution.log_prob(part).reshape(x.shape[0], -1), axis=1)

    @cached_property
    def ends(self) -> tuple[Floats, Floats]:
        """Lower and upper ends of the support, ``(k,)`` each, infinite where there is none."""
        support = self.distribution.support
        while hasattr(support, "base_constraint"):
            support = support.base_constraint
        name = type(support).__name__.lower()
        given = [getattr(support, side, None) for side in ("lower_bound", "upper_bound")]
        nowhere = all(end is None for end in given)
        if nowhere and "real" not in name and "circular" not in name:
            raise ParameterError(
                f"a prior of {self.names} on {type(support).__name__} is not supported; use one on "
                f"the line, a half-line or an interval"
            )
        whole = (-np.inf, np.inf)
        lower, upper = (
            self.spread(w if g is None else g) for g, w in zip(given, whole, strict=True)
        )
        return lower, upper

    @cached_property
    def middle(self) -> tuple[Floats, Floats]:
        """Centre and width, ``(k,)`` each: its moments or, where infinite, quantiles of draws."""
        prior = self.distribution
        with jax.enable_x64(True):  # see `posterion.targets.parameter.drawn`
            try:
                of = copy(prior)
                centre, width = self.spread(of.mean), self.spread(jnp.sqrt(of.variance))
            except NotImplementedError:
                centre = width = np.full(len(self.places), np.nan)
        if not (np.isfinite(centre) & np.isfinite(width) & (width > 0)).all():
            draws = drawn(prior, 4000)
            low, centre, high = (self.spread(q) for q in np.quantile(draws, [0.16, 0.5, 0.84], 0))
            width = 0.5 * (high - low)
        return centre, width

    def spread(self, values: Any) -> Floats:
        """Values of one, or of all, per coordinate, ``(k,)``."""
        return np.broadcast_to(np.asarray(values, np.float64), self.shape).reshape(-1)

    def kind(self, parameter: Parameter, place: int) -> Kind:
        """Kind of support and its two numbers for the coordinate at ``place``."""
        k = int(np.flatnonzero(self.places == place)[0])
        lower, upper = parameter.lower, parameter.upper
        prior = self.distribution
        if type(prior).__name__ == "LogNormal" and lower is None and upper is None:
            return "log", float(self.spread(prior.loc)[k]), float(self.spread(prior.scale)[k])
        below, above = (float(end[k]) for end in self.ends)
        lower = max(below, -math.inf if lower is None else lower)
        upper = min(above, math.inf if upper is None else upper)
        centre, scale = (float(value[k]) for value in self.middle)
        if math.isfinite(lower) and math.isfinite(upper):
            return "interval", lower, upper
        if math.isfinite(lower):
            return "above", lower, max(abs(centre - lower), scale)
        if math.isfinite(upper):
            return "below", upper, max(abs(upper - centre), scale)
        return "real", centre, scale


def gather(
    parameters: Sequence[Parameter], prior: Any
) -> tuple[tuple[Parameter, ...], tuple[Prior, ...]]:
    """All parameters of a target, and the priors of those that have one.

    Args:
        parameters: as given; those that only an earlier result knows are put before them.
        prior: an earlier result, or names to a NumPyro distribution or an earlier result.

    Raises:
        ParameterError: a prior of an unknown parameter, of another shape or unit, or a second one.
    """
    if isinstance(prior, Result):
        given = {parameter.name for parameter in parameters}
        earlier = tuple(replace(p, prior=None) for p in prior.parameters)
        parameters = (*(p for p in earlier if p.name not in given), *parameters)
        _must_match(prior, parameters)
        prior = {tuple(p.name for p in earlier): prior}
    if prior is not None and not isinstance(prior, Mapping):
        raise ParameterError(
            f"prior is an earlier result, or a dict of names to a NumPyro distribution, got "
            f"{type(prior).__name__}"
        )
    starts = np.cumsum([0, *(p.size for p in parameters)])
    places = {p.name: (p, np.arange(p.size) + s) for p, s in zip(parameters, starts, strict=False)}
    priors = [Prior((p,), _live(p.prior), at, False) for p, at in places.values() if p.prior]
    for names, distribution in (prior or {}).items():
        names = (names,) if isinstance(names, str) else tuple(names)
        unknown = [name for name in names if name not in places]
        if unknown:
            raise ParameterError(
                f"the prior of {', '.join(names)}: there is no parameter {', '.join(unknown)}; "
                f"parameters: {', '.join(places)}"
            )
        at = np.concatenate([places[name][1] for name in names])
        members = tuple(places[name][0] for name in names)
        priors.append(Prior(members, _distribution(names, distribution, len(at)), at, True))
    seen: set[str] = set()
    for known in priors:
        for parameter in known.parameters:
            if parameter.name in seen:
                raise ParameterError(f"parameter {parameter.name!r} has two priors; leave one out")
            seen.add(parameter.name)
        if known.joint:
            _check_bounds(known)
    return tuple(parameters), tuple(priors)


def log_prob_of(priors: Sequence[Prior], x: Array) -> Array:
    """Sum of the priors' log-densities at coordinates ``(n, dim)``, ``(n,)``; traced."""
    total = jnp.zeros(x.shape[0], x.dtype)
    normals = [p for p in priors if type(p.distribution).__name__ == "Normal"]
    if len(normals) > 1:  # a hundred nuisances compile as one
        places = np.concatenate([p.places for p in normals])
        loc, scale = (
            jnp.asarray(np.concatenate([p.spread(getattr(p.distribution, k)) for p in normals]))
            for k in ("loc", "scale")
        )
        pull = (x[:, places] - loc) / scale
        total += jnp.sum(-0.5 * pull**2 - jnp.log(scale) - _LOG_ROOT_2PI, axis=1)
        priors = [p for p in priors if p not in normals]
    return total + sum(prior.log_prob(x) for prior in priors)


def kinds_of(parameters: Sequence[Parameter], priors: Sequence[Prior]) -> list[Kind]:
    """Kind of support and its two numbers, per coordinate; ``None`` where it must be scouted."""
    of_place = {int(place): prior for prior in priors for place in prior.places}
    kinds: list[Kind] = []
    for parameter in parameters:
        for _ in range(parameter.size):
            prior = None if parameter.periodic else of_place.get(len(kinds))
            own = prior is None
            kinds.append(_own_kind(parameter) if own else prior.kind(parameter, len(kinds)))
    return kinds


def _own_kind(parameter: Parameter) -> Kind:
    lower, upper, scale = parameter.lower, parameter.upper, parameter.scale
    if parameter.periodic:
        return "circle", lower, upper
    if lower is not None and upper is not None:
        return "interval", lower, upper
    if lower is not None:
        return "above", lower, scale
    if upper is not None:
        return "below", upper, scale
    return "real", parameter.centre if scale is not None else None, scale


def described(parameters: Sequence[Parameter], priors: Sequence[Prior]) -> tuple[Parameter, ...]:
    """The parameters as a result keeps them: a prior of several of them in words."""
    said = {
        parameter.name: KeptPrior(prior.measure())
        for prior in priors
        if prior.joint
        for parameter in prior.parameters
    }
    return tuple(replace(p, prior=said.get(p.name, p.prior)) for p in parameters)


def _must_match(earlier: Result, parameters: Sequence[Parameter]) -> None:
    ours = {parameter.name: parameter for parameter in parameters}
    for theirs in earlier.parameters:
        own = ours[theirs.name]
        for what in ("shape", "unit"):
            if getattr(own, what) != getattr(theirs, what):
                raise ParameterError(
                    f"parameter {own.name!r} has {what} {getattr(own, what)!r}, and "
                    f"{getattr(theirs, what)!r} in the earlier result that is its prior"
                )


def _live(prior: Any) -> Any:
    return prior.distribution if isinstance(prior, KeptPrior) else prior


def _distribution(names: Sequence[str], given: Any, size: int) -> Any:
    distribution = given.as_numpyro() if isinstance(given, Result) else _live(given)
    where = f"the prior of {', '.join(names)}"
    if not hasattr(distribution, "log_prob") or not hasattr(distribution, "sample"):
        raise ParameterError(
            f"{where} must be a NumPyro distribution or an earlier result, got "
            f"{type(given).__name__}"
        )
    shape = tuple(distribution.batch_shape) + tuple(distribution.event_shape)
    if math.prod(shape) != size:
        raise ParameterError(
            f"{where} has values of shape {shape}; the parameters have {size} coordinates"
        )
    return distribution


def _check_bounds(prior: Prior) -> None:
    lower, upper = (
        np.concatenate(
            [np.full(p.size, none if end is None or p.periodic else end) for p, end in pairs]
        )
        for pairs, none in (
            ([(p, p.lower) for p in prior.parameters], -np.inf),
            ([(p, p.upper) for p in prior.parameters], np.inf),
        )
    )
    bounds = lower.reshape(prior.shape), upper.reshape(prior.shape)
    must_overlap(f"prior of {prior.names}", prior.distribution, *bounds)
