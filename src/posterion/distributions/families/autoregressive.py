"""Families of autoregressive flows: one direction in one pass, the other in as many steps."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from posterion.bijections.autoregressive import Autoregressive
from posterion.bijections.base import Bijection
from posterion.bijections.compose import Invert, Stack
from posterion.bijections.elementwise import AffineTransformer, Swapped, Transformer
from posterion.bijections.neural import NeuralTransformer
from posterion.core.errors import ShapeError
from posterion.distributions.base import Distribution
from posterion.distributions.families.parts import (
    Bounds,
    Hidden,
    assembled,
    moving,
    spline_of,
)
from posterion.distributions.flow import Flow


def maf(
    dim: int,
    *,
    transforms: int = 5,
    hidden: Hidden = (64, 64),
    activation: str = "relu",
    residual: bool = False,
    context_dim: int = 0,
    bounds: Bounds | None = None,
    periodic: Sequence[bool] | None = None,
    order: Sequence[int] | None = None,
    bins: int = 8,
    base: Distribution | None = None,
    seed: int = 0,
) -> Flow:
    """Masked autoregressive flow (Papamakarios et al., 1705.07057).

    The density costs one pass; draws go from coordinate to coordinate, each unit computed once.
    For the arguments not named here see `posterion.flows`.

    Args:
        order: of the coordinates in the first layer, ``0, 1, ...`` by default; each further layer
            has the reverse of the one before.
        bins: of the circular splines that move angles.

    >>> maf(4, transforms=2, hidden=(16,)).bijection.fast
    'inverse'
    """
    transformer = moving(dim, periodic, AffineTransformer(), bins)
    layers = _autoregressive(
        dim, transforms, transformer, hidden, activation, residual, context_dim, order, seed
    )
    return assembled([Stack.of(layers)], transformer, bounds, base)


def iaf(
    dim: int,
    *,
    transforms: int = 5,
    hidden: Hidden = (64, 64),
    activation: str = "relu",
    residual: bool = False,
    context_dim: int = 0,
    bounds: Bounds | None = None,
    periodic: Sequence[bool] | None = None,
    order: Sequence[int] | None = None,
    bins: int = 8,
    base: Distribution | None = None,
    seed: int = 0,
) -> Flow:
    """Inverse autoregressive flow (Kingma et al., 1606.04934): :func:`maf` the other way round.

    Draws, with their density, cost one pass; the density of given points goes from coordinate to
    coordinate. For learning from a density, and as the student of :func:`posterion.distill`.

    Args:
        order, bins: as of :func:`maf`; for the others see `posterion.flows`.

    >>> iaf(4, transforms=2, hidden=(16,)).bijection.fast
    'forward'
    """
    transformer = moving(dim, periodic, AffineTransformer(), bins)
    layers = _autoregressive(
        dim, transforms, transformer, hidden, activation, residual, context_dim, order, seed
    )
    # The first layer of a MAF stands next to the base, that of an IAF too.
    return assembled([Stack.of([Invert(layer) for layer in layers])], transformer, bounds, base)


def autoregressive_spline(
    dim: int,
    *,
    transforms: int = 3,
    bins: int = 8,
    spline: str = "rational_quadratic",
    inverse: bool = False,
    hidden: Hidden = (64, 64),
    activation: str = "relu",
    residual: bool = False,
    context_dim: int = 0,
    bounds: Bounds | None = None,
    periodic: Sequence[bool] | None = None,
    order: Sequence[int] | None = None,
    base: Distribution | None = None,
    seed: int = 0,
) -> Flow:
    """Autoregressive layers that move by monotone splines (Durkan et al., 1906.04032).

    Args:
        bins, spline: as of :func:`coupling_spline`.
        inverse: fast draws instead of a fast density.
        order: as of :func:`maf`; for the others see `posterion.flows`.

    >>> autoregressive_spline(2, transforms=1, hidden=(8,), bins=4).event_shape
    (2,)
    """
    transformer = moving(dim, periodic, spline_of(spline, bins), bins, spline)
    layers: Sequence[Bijection] = _autoregressive(
        dim, transforms, transformer, hidden, activation, residual, context_dim, order, seed
    )
    if inverse:
        layers = [Invert(layer) for layer in layers]
    return assembled([Stack.of(layers)], transformer, bounds, base)


def neural_autoregressive(
    dim: int,
    *,
    transforms: int = 2,
    units: int = 8,
    inverse: bool = False,
    hidden: Hidden = (64, 64),
    activation: str = "relu",
    residual: bool = False,
    context_dim: int = 0,
    bounds: Bounds | None = None,
    periodic: Sequence[bool] | None = None,
    order: Sequence[int] | None = None,
    bins: int = 8,
    base: Distribution | None = None,
    seed: int = 0,
) -> Flow:
    """Autoregressive layers that move by monotone networks (Huang et al., 1804.00779).

    Args:
        units: hidden units of the monotone network of each coordinate.
        inverse: fast draws instead of a fast density.
        order, bins: as of :func:`maf`; for the others see `posterion.flows`.
    """
    # Swapped: the density has the network itself, and no search for its inverse.
    transformer = moving(dim, periodic, Swapped(NeuralTransformer(units)), bins)
    layers: Sequence[Bijection] = _autoregressive(
        dim, transforms, transformer, hidden, activation, residual, context_dim, order, seed
    )
    if inverse:
        layers = [Invert(layer) for layer in layers]
    return assembled([Stack.of(layers)], transformer, bounds, base)


def _autoregressive(
    dim: int,
    transforms: int,
    transformer: Transformer,
    hidden: Hidden,
    activation: str,
    residual: bool,
    context_dim: int,
    order: Sequence[int] | None,
    seed: int,
) -> list[Autoregressive]:
    first = jnp.arange(dim) if order is None else jnp.asarray(order)
    if first.shape != (dim,):
        raise ShapeError(f"the order has {first.size} entries for {dim} coordinates")
    keys = jax.random.split(jax.random.key(seed), transforms)
    return [
        Autoregressive(
            first if i % 2 == 0 else first[::-1],
            transformer,
            hidden,
            activation,
            context_size=context_dim,
            residual=residual,
            key=key,
        )
        for i, key in enumerate(keys)
    ]
