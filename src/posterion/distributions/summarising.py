"""Flows under what a network makes of their context: a set of points, a spectrum, a long vector."""

from typing import Any

import jax
from jaxtyping import Array

from posterion.bijections.base import Bijection
from posterion.bijections.compose import Chain
from posterion.bijections.summarised import Summarised
from posterion.bijections.support import SupportMap
from posterion.core.errors import SettingError, ShapeError
from posterion.distributions.flow import Flow
from posterion.networks.architectures import Architecture

__all__ = ["see_through", "summarised", "summary_of"]


def summarised(
    flow: Flow, network: Architecture, *, width: int | None = None, seed: int = 0
) -> Flow:
    """The flow under a summary of its context, learned with it by whatever loss it is fitted.

    Args:
        flow: of `posterion.flows`; its ``context_dim`` is the width of the summary.
        network: `posterion.networks.deep_set` or ``set_attention`` for sets of points, whose order
            does not matter, ``convolutional`` for spectra and images, ``mlp`` for vectors.
        width: of the context, where the network does not state it (``mlp``).
        seed: of the network's weights.

    Raises:
        SettingError: the flow takes no context, or ``width`` lacks.
        ShapeError: ``width`` is not that of the network.

    >>> from posterion.distributions.families import maf
    >>> from posterion.networks import deep_set
    >>> summarised(maf(2, context_dim=8), deep_set(points=30, features=2)).context_shape
    (60,)
    """
    if flow.context_shape is None:
        raise SettingError("the flow takes no context: context_dim is the width of the summary")
    in_size = network.in_size or width
    if in_size is None:
        raise SettingError("give width=, the width of the context: this network takes any")
    if width not in (None, in_size):
        raise ShapeError(f"the network takes a context of width {in_size}, not {width}")
    built = network.build(in_size, flow.context_shape[0], key=jax.random.key(seed))
    parts = _parts(flow.bijection)
    fixed = parts[-1:] if isinstance(parts[-1], SupportMap) else ()
    learned = parts[: len(parts) - len(fixed)]
    inner = learned[0] if len(learned) == 1 else Chain(learned)
    return Flow(flow.base, Chain([Summarised(inner, built, in_size), *fixed]))


def see_through(flow: Flow, context: Array | None = None) -> tuple[Flow, Array | None]:
    """The flow without its network, and what that makes of the context; as they are without one.

    Args:
        flow: any.
        context: ``(width,)``, or one a row, ``(n, width)``.
    """
    layer = summary_of(flow)
    if layer is None:
        return flow, context
    inner = Chain([*_parts(layer.bijection), *_parts(flow.bijection)[1:]])
    summary = layer.summary(None if context is None else context.T)
    return Flow(flow.base, inner), None if summary is None else summary.T


def summary_of(flow: Any) -> Summarised | None:
    """The part of a flow that summarises its context; ``None`` where there is none."""
    first = _parts(flow.bijection)[0] if isinstance(flow, Flow) else None
    return first if isinstance(first, Summarised) else None


def _parts(bijection: Bijection) -> tuple[Bijection, ...]:
    return bijection.bijections if isinstance(bijection, Chain) else (bijection,)
