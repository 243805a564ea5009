"""The constraint of a HistFactory parameter set, as the prior of parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from posterion.targets.parameter import Parameter

_FAR = 5.0 - 1e-9  # standard deviations of the constraint


class Constraint:
    """What the auxiliary measurements of one parameter set say of it.

    A normal constraint is a normal prior of the parameter. A Poisson one, of ``a`` counts at a
    rate of ``tau`` times the parameter, is its gamma prior of shape ``a + 1`` and rate ``tau``,
    less the constant ``log(tau)``.

    Args:
        paramset: of pyhf.
    """

    def __init__(self, paramset: Any):
        self.scalar = paramset.is_scalar
        self.kind = paramset.pdf_type if paramset.constrained else None
        self.bounds = np.asarray(paramset.suggested_bounds, np.float64)
        none = np.full(paramset.n_parameters, np.nan)
        self.data = np.asarray(paramset.auxdata, np.float64) if self.kind else none
        self.width = np.asarray(paramset.width(), np.float64) if self.kind else none
        self.rate = np.asarray(paramset.factors, np.float64) if self.kind == "poisson" else none

    def parameters(
        self, name: str, free: NDArray[np.bool_], said: Mapping[str, Any]
    ) -> list[Parameter]:
        """Of the free elements: one for all, if all are free within the same bounds.

        Args:
            name: of the set.
            free: which elements are.
            said: unit, label and role.
        """
        if free.all() and (self.bounds == self.bounds[0]).all():
            shape = () if self.scalar else (len(free),)
            return [self._parameter(name, np.arange(len(free)), shape, said)]
        return [
            self._parameter(f"{name}[{i}]", np.array([i]), (), said) for i in np.flatnonzero(free)
        ]

    def _parameter(
        self, name: str, which: NDArray[np.int64], shape: tuple[int, ...], said: Mapping[str, Any]
    ) -> Parameter:
        import numpyro.distributions as dist

        lower, upper = map(float, self.bounds[which[0]])
        if self.kind is None:
            return Parameter(name, shape=shape, lower=lower, upper=upper, **said)
        data, width, rate = (
            values[which].reshape(shape) for values in (self.data, self.width, self.rate)
        )
        with jax.enable_x64(True):
            if self.kind == "normal":
                centre, prior = data, dist.Normal(_plain(data), _plain(width))
            else:
                centre, prior = data / rate, dist.Gamma(_plain(data + 1), _plain(rate))
        return Parameter(
            name,
            shape=shape,
            lower=lower if np.any(centre - lower < _FAR * width) else None,
            upper=upper if np.any(upper - centre < _FAR * width) else None,
            prior=prior,
            **said,
        )

    def constant(self, initial: NDArray[np.float64], fixed: NDArray[np.bool_]) -> float:
        """What pyhf's ``logpdf`` has beside the priors of the free elements.

        Args:
            initial: values of the elements.
            fixed: which of them keep theirs.
        """
        if self.kind == "normal":
            pull = (self.data - initial) / self.width
            held = -0.5 * pull**2 - np.log(self.width) - 0.5 * np.log(2 * np.pi)
            return float(np.sum(held[fixed]))
        if self.kind == "poisson":
            rate = self.rate * initial
            held = xlogy(self.data, rate) - rate - gammaln(self.data + 1)
            return float(np.sum(np.where(fixed, held, -np.log(self.rate))))
        return 0.0


def _plain(values: Any) -> Any:
    """A number as such: a file of a result keeps it, and its words say it."""
    return values if np.ndim(values) else float(values)
