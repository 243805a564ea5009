"""What all families share: how coordinates are moved, supports, bases."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from posterion.bijections.base import Bijection
from posterion.bijections.compose import Chain
from posterion.bijections.elementwise import Transformer
from posterion.bijections.piecewise import (
    CircularPiecewiseLinear,
    CircularPiecewiseQuadratic,
    PiecewiseLinear,
    PiecewiseQuadratic,
)
from posterion.bijections.splines import CircularSpline, MixedTransformer, RationalQuadraticSpline
from posterion.bijections.support import support_of
from posterion.core.errors import SettingError, ShapeError
from posterion.distributions.base import Distribution
from posterion.distributions.bases import Normal, Product, Uniform
from posterion.distributions.flow import Flow

Bounds = Sequence[tuple[float | int | None, float | int | None] | None]

Hidden = tuple[int, ...]

_SPLINES: dict[str, tuple[Any, Any]] = {
    "rational_quadratic": (RationalQuadraticSpline, CircularSpline),
    "quadratic": (PiecewiseQuadratic, CircularPiecewiseQuadratic),
    "linear": (PiecewiseLinear, CircularPiecewiseLinear),
}


def reference_base(circular: tuple[bool, ...]) -> Distribution:
    """The reference measure: standard normal on the line, uniform on the circle."""
    on_circle = tuple(i for i, flag in enumerate(circular) if flag)
    on_line = tuple(i for i, flag in enumerate(circular) if not flag)
    if not on_circle:
        return Normal(len(circular))
    circle = Uniform(len(on_circle), -float(np.pi), float(np.pi))
    if not on_line:
        return circle
    return Product((Normal(len(on_line)), circle), (on_line, on_circle))


def moving(
    dim: int,
    periodic: Sequence[bool] | None,
    real: Transformer,
    bins: int,
    spline: str = "rational_quadratic",
) -> Transformer:
    """How lines and angles are moved.

    Raises:
        SettingError: no coordinates.
        ShapeError: ``periodic`` has another length.
    """
    if dim < 1:
        raise SettingError(f"a flow has at least one coordinate, got dim={dim}")
    flags = (False,) * dim if periodic is None else tuple(bool(flag) for flag in periodic)
    if len(flags) != dim:
        raise ShapeError(f"periodic has {len(flags)} entries for {dim} coordinates")
    if not any(flags):
        return real
    circular = spline_of(spline, bins, circular=True)
    return circular if all(flags) else MixedTransformer(flags, real, circular)


def spline_of(kind: str, bins: int, *, circular: bool = False) -> Transformer:
    """The spline of that name, on the line or on the circle.

    Raises:
        SettingError: there is none.
    """
    if kind not in _SPLINES:
        raise SettingError(f"unknown spline {kind!r}; choose one of {', '.join(_SPLINES)}")
    return _SPLINES[kind][circular](bins)


def assembled(
    parts: list[Bijection],
    transformer: Transformer,
    bounds: Bounds | None,
    base: Distribution | None,
) -> Flow:
    """The layers from the base, and the map to the support."""
    dim = parts[0].event_shape[0]
    periodic = transformer.circles(dim)
    if bounds is not None:
        parts = [*parts, support_of(bounds, periodic)]
    return Flow(reference_base(periodic) if base is None else base, Chain(parts))
