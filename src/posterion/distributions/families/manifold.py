"""The family of flows on a surface of fewer dimensions than the data have."""

from posterion.bijections.affine import Linear
from posterion.bijections.compose import Chain, Stack
from posterion.bijections.elementwise import AffineTransformer
from posterion.bijections.splines import RationalQuadraticSpline
from posterion.core.errors import SettingError
from posterion.distributions.bases import Normal
from posterion.distributions.families.couplings import coupling_layer, couplings
from posterion.distributions.families.parts import Hidden
from posterion.distributions.flow import Flow
from posterion.distributions.manifold import ManifoldFlow


def manifold(
    dim: int,
    surface: int,
    *,
    transforms: int = 6,
    hidden: Hidden = (64, 64),
    activation: str = "silu",
    residual: bool = False,
    context_dim: int = 0,
    bins: int = 8,
    scale_limit: float | int | None = 2.0,
    seed: int = 0,
) -> ManifoldFlow:
    """A flow on a learned surface of ``surface`` dimensions (Brehmer and Cranmer, 2003.13913).

    The surface is bent out of a learned plane by affine couplings; the density on it is a flow of
    rational-quadratic spline couplings. For the arguments not named here see `posterion.flows`.

    Args:
        dim: of the space in which the data lie.
        surface: dimensions of the surface, below ``dim``.
        transforms: couplings of either part.
        bins: of the splines.
        scale_limit: bound of the log-scale of a coupling that bends the surface.

    Raises:
        SettingError: the surface has no dimension, or as many as the space.

    >>> manifold(5, surface=2).density.event_shape
    (2,)
    """
    if not 0 < surface < dim:
        raise SettingError(f"a surface in {dim} dimensions has 1 to {dim - 1}, not {surface}")
    bend = coupling_layer(AffineTransformer(scale_limit), hidden, activation, residual, context_dim)
    chart = Chain([Stack.of(couplings(dim, transforms, "random", bend, seed)), Linear(dim)])
    spline = RationalQuadraticSpline(bins)
    move = coupling_layer(spline, hidden, activation, residual, context_dim)
    layers = Stack.of(couplings(surface, transforms, "random", move, seed + 1))
    return ManifoldFlow(chart, Flow(Normal(surface), layers))
