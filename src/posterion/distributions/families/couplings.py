"""Families of coupling flows: fast in both directions."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.bijections.affine import Linear
from posterion.bijections.base import Bijection
from posterion.bijections.compose import Stack
from posterion.bijections.coupling import Coupling
from posterion.bijections.elementwise import AffineTransformer, Transformer
from posterion.bijections.masks import alternating_masks, binary_masks, random_masks
from posterion.core.errors import SettingError
from posterion.distributions.base import Distribution
from posterion.distributions.families.parts import (
    Bounds,
    Hidden,
    assembled,
    moving,
    spline_of,
)
from posterion.distributions.flow import Flow


def realnvp(
    dim: int,
    *,
    transforms: int = 10,
    hidden: Hidden = (64, 64),
    activation: str = "silu",
    residual: bool = False,
    context_dim: int = 0,
    bounds: Bounds | None = None,
    periodic: Sequence[bool] | None = None,
    masks: str = "random",
    scale_limit: float | int | None = 2.0,
    shift_first: bool = False,
    bins: int = 8,
    base: Distribution | None = None,
    mixing: bool = True,
    last: Bijection | None = None,
    seed: int = 0,
) -> Flow:
    """Affine couplings (Dinh et al., 1605.08803); angles by circular splines (2002.02428).

    Fast in both directions. For the arguments not named here see `posterion.flows`.

    Args:
        masks: halves at random, even and odd by turns, or by binary digits (2001.05486).
        scale_limit: bound of a layer's log-scale; ``None`` leaves it free.
        shift_first: shifts in units of the local width, for scales that vary by much.
        bins: of the circular splines.
        last: the last bijection, instead of the mixing.

    >>> realnvp(2, seed=1).event_shape
    (2,)
    """
    transformer = moving(dim, periodic, AffineTransformer(scale_limit, shift_first), bins)
    layer = coupling_layer(transformer, hidden, activation, residual, context_dim)
    layers = Stack.of(couplings(dim, transforms, masks, layer, seed))
    if last is None and mixing and not any(transformer.circles(dim)):
        last = Linear(dim)
    return assembled([layers] if last is None else [layers, last], transformer, bounds, base)


def coupling_spline(
    dim: int,
    *,
    transforms: int = 8,
    bins: int = 8,
    spline: str = "rational_quadratic",
    hidden: Hidden = (64, 64),
    activation: str = "silu",
    residual: bool = False,
    context_dim: int = 0,
    bounds: Bounds | None = None,
    periodic: Sequence[bool] | None = None,
    masks: str = "random",
    base: Distribution | None = None,
    mixing: bool = False,
    seed: int = 0,
) -> Flow:
    """Couplings that move by monotone splines (Durkan et al., 1906.04032).

    Fast in both directions; for sharp structure in few dimensions. For the arguments not named
    here see `posterion.flows`.

    Args:
        bins: of each spline.
        spline: rational-quadratic, or the quadratic and linear ones of 1808.03856.
        masks: as of :func:`realnvp`.

    >>> coupling_spline(3, bounds=[(0, 1), None, (0, None)], context_dim=2).context_shape
    (2,)
    """
    transformer = moving(dim, periodic, spline_of(spline, bins), bins, spline)
    layer = coupling_layer(transformer, hidden, activation, residual, context_dim)
    parts: list[Bijection] = [Stack.of(couplings(dim, transforms, masks, layer, seed))]
    if mixing and not any(transformer.circles(dim)):
        parts.append(Linear(dim))
    return assembled(parts, transformer, bounds, base)


def coupling_layer(
    transformer: Transformer, hidden: Hidden, activation: str, residual: bool, context_dim: int
) -> Callable[[Array, Array], Coupling]:
    """What makes one coupling, from its mask and its key."""

    def layer(mask: Array, key: Array) -> Coupling:
        return Coupling(
            mask,
            transformer,
            hidden,
            activation,
            residual=residual,
            context_size=context_dim,
            key=key,
        )

    return layer


def couplings(
    dim: int, transforms: int, masks: str, layer: Callable[[Array, Array], Coupling], seed: int
) -> list[Coupling]:
    """Layers of the masks of that name.

    Raises:
        SettingError: there are none of that name, or they leave a coordinate unmoved.
    """
    if masks not in ("random", "alternating", "binary"):
        raise SettingError(f"unknown masks {masks!r}; choose random, alternating or binary")
    if masks == "binary":
        each = binary_masks(dim)
        rows = jnp.tile(each, (-(-transforms // len(each)), 1))[:transforms]
    elif masks == "alternating":
        rows = alternating_masks(dim, transforms)
    else:
        rows = random_masks(dim, transforms, seed)
    unmoved = [] if dim == 1 else np.flatnonzero(np.all(np.asarray(rows) == 1, axis=0)).tolist()
    if unmoved:
        raise SettingError(
            f"{transforms} {masks} masks leave coordinates {unmoved[:5]} unmoved; use more layers"
        )
    keys = jax.random.split(jax.random.key(seed), transforms)
    return [layer(mask, key) for mask, key in zip(rows, keys, strict=True)]
