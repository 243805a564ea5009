"""A parameter: its name, shape, unit, label, bounds or prior."""

import math
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from posterion.core.errors import ParameterError
from posterion.core.registry import register
from posterion.targets.kept import KeptPrior, describe_prior, keep

_ENDS = ("lower", "upper")


def _with_kept_prior(parameter: "Parameter") -> "Parameter":
    return replace(parameter, prior=keep(parameter.prior))


@register("parameter", kept=_with_kept_prior)
@dataclass(frozen=True, eq=False)
class Parameter:
    """One named parameter of a :class:`~posterion.Target`.

    Args:
        name: key in ``theta``.
        shape: shape of one value; ``()`` is a scalar.
        unit: unit of the value, for axes and tables.
        label: LaTeX label, with its dollars; the name by default.
        lower, upper: bounds in the stated unit, ``None`` where there is none.
        periodic: the bounds are one point; both are needed.
        scale: for an unbounded parameter, how far from ``centre`` modes are searched for: the
            reference measure is normal of this width. Found by scouting when ``None``.
        centre: middle of that search, 0 by default.
        prior: a NumPyro distribution, which the log-density then must not contain.
        role: whether it is of interest (``"poi"``) or a ``"nuisance"``, for readers of a file.

    Raises:
        ParameterError: bounds out of order or NaN, a scale that is not positive, periodicity
            without two bounds, a prior with no mass within the bounds.
    """

    name: str
    shape: tuple[int, ...] = field(default=(), kw_only=True)
    unit: str = field(default="", kw_only=True)
    label: str | None = field(default=None, kw_only=True)
    lower: float | int | None = field(default=None, kw_only=True)
    upper: float | int | None = field(default=None, kw_only=True)
    periodic: bool = field(default=False, kw_only=True)
    scale: float | int | None = field(default=None, kw_only=True)
    centre: float | int = field(default=0.0, kw_only=True)
    prior: Any = field(default=None, kw_only=True)
    role: str | None = field(default=None, kw_only=True)

    def __post_init__(self):
        where = f"parameter {self.name!r}"
        if not isinstance(self.name, str) or not self.name:
            raise ParameterError(f"a parameter's name is a non-empty string, got {self.name!r}")
        for side in ("lower", "upper"):
            value = getattr(self, side)
            if value is not None:
                if math.isnan(value):
                    raise ParameterError(f"{where}: {side} is NaN; give a number or None")
                object.__setattr__(self, side, float(value) if math.isfinite(value) else None)
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ParameterError(
                f"{where}: lower {self.lower} is not below upper {self.upper}; exchange or widen"
            )
        if self.periodic and (self.lower is None or self.upper is None):
            raise ParameterError(f"{where}: a periodic parameter needs both lower and upper")
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise ParameterError(f"{where}: scale must be positive and finite, got {self.scale}")
        if not math.isfinite(self.centre):
            raise ParameterError(f"{where}: centre must be finite, got {self.centre}")
        for name in ("scale", "centre"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))
        shape = (self.shape,) if isinstance(self.shape, int) else tuple(self.shape)
        if any(not isinstance(n, int) or n < 1 for n in shape):
            raise ParameterError(f"{where}: shape {self.shape} needs positive integers")
        object.__setattr__(self, "shape", shape)
        if self.role not in (None, "poi", "nuisance"):
            raise ParameterError(f"{where}: role is 'poi', 'nuisance' or None, got {self.role!r}")
        if self.prior is not None:
            self._check_prior(where)

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)

    @property
    def tex(self) -> str:
        """The label for plots, with the unit in brackets."""
        label = self.label or self.name.replace("_", r"\_" if "$" in self.name else "_")
        return f"{label} [{self.unit}]" if self.unit else label

    @property
    def prior_in_words(self) -> str | None:
        """The name of the prior's class and its arguments; None where there is no prior."""
        return None if self.prior is None else describe_prior(self.prior)

    @property
    def columns(self) -> list[str]:
        """Names of the coordinates, ``name[i]`` for a vector."""
        if not self.shape:
            return [self.name]
        return [f"{self.name}[{','.join(map(str, i))}]" for i in np.ndindex(*self.shape)]

    def measure(self) -> str:
        """What the posterior's density and evidence refer to, in words."""
        unit = f" [{self.unit}]" if self.unit else ""
        if self.prior is None:
            return f"flat in {self.name}{unit}"
        cut = self.cut_by(*(getattr(self.prior.support, f"{e}_bound", None) for e in _ENDS))
        return f"{self.name}{unit} ~ {describe_prior(self.prior)}{cut}"

    def cut_by(self, below: Any, above: Any) -> str:
        """In words, where the bounds cut a prior that reaches from ``below`` to ``above``."""
        if self.periodic:
            return ""
        low = -np.inf if self.lower is None else self.lower
        high = np.inf if self.upper is None else self.upper
        whole = np.all(low <= (-np.inf if below is None else np.asarray(below)))
        if whole and np.all(high >= (np.inf if above is None else np.asarray(above))):
            return ""
        return f", cut to [{low:g}, {high:g}], not renormalised"

    def _check_prior(self, where: str) -> None:
        if not hasattr(self.prior, "log_prob") or not hasattr(self.prior, "sample"):
            raise ParameterError(
                f"{where}: the prior must be a NumPyro distribution, got "
                f"{type(self.prior).__name__}"
            )
        if not self.periodic and type(self.prior) is not KeptPrior:
            must_overlap(where, self.prior, self.lower, self.upper)


def drawn(prior: Any, n: int) -> np.ndarray:
    """Draws of a prior, ``(n, ...)``, always the same ones.

    In float64, as the density: JAX keeps NumPy arrays of a prior as a compiled function met them,
    and refuses to take them for float32 afterwards. A copy of the prior, as NumPyro keeps numbers
    that it works out in the prior itself.
    """
    import jax

    with jax.enable_x64(True):
        return np.asarray(copy(prior).sample(jax.random.key(0), (n,)))


def must_overlap(where: str, prior: Any, lower: Any, upper: Any) -> None:
    """Raises ``ParameterError`` where a prior has no mass between the bounds."""
    if lower is None and upper is None:
        return
    draws = drawn(prior, 2000)
    inside = np.ones(draws.shape, bool)
    if lower is not None:
        inside &= draws >= lower
    if upper is not None:
        inside &= draws <= upper
    if not inside.reshape(len(inside), -1).all(axis=1).any():
        raise ParameterError(
            f"{where}: none of 2000 draws of the prior {describe_prior(prior)} lies in "
            f"[{lower}, {upper}]; widen the bounds or change the prior"
        )
