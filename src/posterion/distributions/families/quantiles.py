"""Quantile networks: draws and quantiles of one output after the other, each given the last."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from posterion.bijections.autoregressive import Autoregressive
from posterion.bijections.base import Bijection
from posterion.bijections.compose import Chain
from posterion.bijections.elementwise import AffineTransformer, InTurn
from posterion.bijections.quantile import MaskedQuantiles, QuantileMap
from posterion.bijections.splines import RationalQuadraticSpline
from posterion.bijections.support import support_of
from posterion.core.errors import SettingError
from posterion.distributions.bases import Normal
from posterion.distributions.families.parts import Bounds, Hidden
from posterion.distributions.flow import Flow

_STRETCH = 6.0  # of the logarithm of a conditional scale, at the most
NETWORKS = ("masked", "one", "separate")


def quantile_network(
    dim: int,
    context_dim: int = 0,
    *,
    monotone: bool = True,
    networks: str | None = None,
    hidden: Hidden | None = None,
    activation: str | None = None,
    bins: int = 16,
    normal_level: bool = False,
    bounds: Bounds | None = None,
    seed: int = 0,
) -> Flow:
    """A quantile network: `posterion.fit` teaches it by the pinball loss.

    Each output is a quantile given the context and the outputs before it, the levels are the base
    (`posterion.bijections.QuantileMap`). It is a flow like others: draws, and a density by the
    slope of the quantiles.

    Args:
        dim: number of outputs.
        context_dim: width of the condition, 0 for none.
        monotone: quantiles that rise with their level by construction: a shifted and scaled
            rational-quadratic spline (Durkan et al., 1906.04032); without, as published (Kronheim
            et al., 2111.11415), they are made to rise by a penalty, and the level is an input of
            the network.
        networks: ``"masked"``: one masked network for all outputs, which draws in the time of one
            pass (monotone ones only, and their default); ``"one"``: one network that is told which
            output is asked for, the default of the published kind; ``"separate"``: one for each.
        hidden: widths; ``(64, 64)`` of monotone ones, five of 50 of the published kind.
        activation: ``"silu"`` of monotone ones, ``"leaky_relu"`` of the published kind.
        bins: of the monotone spline of each output.
        normal_level: the published kind sees its level as a normal number instead of ``6 tau - 3``:
            tails are straighter, and fewer quantiles cross.
        bounds: ``(lower, upper)`` of each output, with ``None`` where there is no bound.
        seed: of the weights.

    Raises:
        SettingError: unusable settings.

    >>> quantile_network(2, 3).context_shape
    (3,)
    """
    networks = ("masked" if monotone else "one") if networks is None else networks
    if networks not in NETWORKS:
        raise SettingError(f"networks must be one of {', '.join(NETWORKS)}, got {networks!r}")
    if networks == "masked" and not monotone:
        raise SettingError(
            "a masked network gives the parameters of monotone maps: with monotone=False choose "
            "networks='one' or 'separate'"
        )
    if monotone and normal_level:
        raise SettingError("normal_level is of the published kind: give monotone=False with it")
    if dim < 1 or context_dim < 0:
        raise SettingError(
            f"there is at least one output and no negative width: dim={dim}, "
            f"context_dim={context_dim}"
        )
    hidden = hidden or ((64, 64) if monotone else (50,) * 5)
    activation = activation or ("silu" if monotone else "leaky_relu")
    key = jax.random.key(seed)
    first: Bijection
    maps = InTurn(RationalQuadraticSpline(bins), AffineTransformer(limit=_STRETCH))
    if networks == "masked":
        order, size = jnp.arange(dim), context_dim
        layer = Autoregressive(order, maps, hidden, activation, context_size=size, key=key)
        first = MaskedQuantiles(layer)
    else:
        first = QuantileMap(
            dim, hidden, activation, transformer=maps if monotone else None,
            separate=networks == "separate", normal_level=normal_level, context_size=context_dim,
            key=key,
        )  # fmt: skip
    parts: Sequence[Bijection] = [first]
    if bounds is not None:
        parts = [first, support_of(bounds, (False,) * dim)]
    return Flow(Normal(dim), Chain(parts))
