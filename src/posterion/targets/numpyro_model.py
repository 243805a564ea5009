"""A target of a NumPyro model: its latent sites are the parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.core.errors import ParameterError
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target

_DRAWS = 200


def from_numpyro(
    model: Callable[..., Any],
    *args: Any,
    name: str = "numpyro model",
    units: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> Target:
    """The posterior of a NumPyro model given its data.

    Each latent site is a parameter of its name and shape, its bounds those of its support. A prior
    that does not depend on other sites is kept as the parameter's; where it does (hierarchical
    models), the density holds it.

    Args:
        model: the model, its observed sites with ``obs=``.
        args: what it is called with, such as the data.
        name: of the target, for reports and files.
        units: of sites, by name.
        labels: LaTeX ones, by name.
        kwargs: what it is called with by name.

    Returns:
        A differentiable target, one point at a time.

    Raises:
        ParameterError: a site is discrete, or on a support that is no line, half-line, interval or
            circle; or the model has no latent site. The message names the site.

    >>> import numpyro
    >>> from numpyro.distributions import Normal
    >>> def model(y):
    ...     mass = numpyro.sample("mass", Normal(5.0, 1.0))
    ...     numpyro.sample("y", Normal(mass, 0.1), obs=y)
    >>> from_numpyro(model, jnp.array([4.8, 5.1])).names
    ('mass',)
    """
    from numpyro import handlers
    from numpyro.infer.util import log_density as joint

    def trace(seed: Any) -> dict[str, Any]:
        with handlers.seed(rng_seed=seed):
            found = handlers.trace(model).get_trace(*args, **kwargs)
        return {k: s for k, s in found.items() if s["type"] == "sample" and not s["is_observed"]}

    first, second = trace(0), trace(1)
    if not first:
        raise ParameterError(f"the model {name!r} has no latent site")
    if first.keys() != second.keys():
        raise ParameterError(f"the model {name!r} has other sites from call to call")
    fixed = {k for k in first if _same(first[k], second[k])}
    draws = _prior_draws(trace)
    parameters = [
        _parameter(
            (site, second[k]),
            k in fixed,
            draws[k],
            unit=(units or {}).get(k, ""),
            label=(labels or {}).get(k),
        )
        for k, site in first.items()
    ]

    def log_density(theta: dict[str, Array]) -> Array:
        whole, _ = joint(model, args, kwargs, theta)
        own = [jnp.sum(first[k]["fn"].log_prob(theta[k])) for k in fixed]
        return jnp.asarray(whole - sum(own))

    return Target(log_density, parameters, name=name)


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether a site's prior does not depend on what other sites gave."""
    if first["scale"] is not None or second["scale"] is not None:
        return False  # of a subsample: its density is weighted
    leaves, structure = jax.tree.flatten(first["fn"])
    others, other = jax.tree.flatten(second["fn"])
    return structure == other and all(map(np.array_equal, leaves, others))


def _prior_draws(trace: Callable[[Any], dict[str, Any]]) -> dict[str, np.ndarray]:
    def values(key: Array) -> dict[str, Array]:
        return {name: site["value"] for name, site in trace(key).items()}

    drawn = jax.vmap(values)(jax.random.split(jax.random.key(2), _DRAWS))
    return {name: np.asarray(value, np.float64) for name, value in drawn.items()}


def _parameter(
    sites: tuple[dict[str, Any], dict[str, Any]],
    fixed: bool,
    draws: np.ndarray,
    *,
    unit: str,
    label: str | None,
) -> Parameter:
    site, again = sites
    name, prior = site["name"], site["fn"]
    if prior.is_discrete:
        raise ParameterError(
            f"the site {name!r} is discrete; sum over it in the model, it cannot be learned"
        )
    support, other = (_innermost(s["fn"].support) for s in (site, again))
    kind = type(support).__name__.lower().strip("_")
    shape = tuple(int(n) for n in draws.shape[1:])
    options: dict[str, Any] = {"shape": shape, "unit": unit, "label": label}
    if kind == "circular":
        options |= {"lower": -np.pi, "upper": np.pi, "periodic": True}
    elif kind != "real":
        ends = [_end(name, s, side) for side in ("lower", "upper") for s in (support, other)]
        if ends == [None] * 4:
            raise ParameterError(
                f"the site {name!r} lies on {type(support).__name__}, which is no line, half-line, "
                "interval or circle; write it by unconstrained sites"
            )
        if ends[0] != ends[1] or ends[2] != ends[3]:
            raise ParameterError(
                f"the bounds of the site {name!r} depend on other sites; write it as a fixed "
                "interval times what it depends on"
            )
        if not fixed:
            options |= {"lower": ends[0], "upper": ends[2]}
    if fixed:
        return Parameter(name, prior=prior, **options)
    low, middle, high = np.quantile(draws, [0.16, 0.5, 0.84])
    return Parameter(name, centre=middle, scale=max(0.5 * (high - low), 1e-6), **options)


def _innermost(support: Any) -> Any:
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def _end(name: str, support: Any, side: str) -> float | None:
    bound = getattr(support, f"{side}_bound", None)
    if bound is None:
        return None
    values = np.unique(np.asarray(bound, np.float64))
    if len(values) > 1:
        raise ParameterError(
            f"the elements of the site {name!r} have different bounds; make them sites of their own"
        )
    return float(values[0])
