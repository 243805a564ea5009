"""The family of continuous flows: a velocity, followed from base to data."""

from collections.abc import Sequence

import jax
import numpy as np

from posterion.bijections.base import Bijection
from posterion.bijections.compose import Chain
from posterion.bijections.continuous import Continuous
from posterion.bijections.support import support_of
from posterion.distributions.base import Distribution
from posterion.distributions.families.parts import Bounds, Hidden, reference_base
from posterion.distributions.flow import Flow


def continuous(
    dim: int,
    *,
    hidden: Hidden = (128, 128, 128),
    activation: str = "silu",
    context_dim: int = 0,
    bounds: Bounds | None = None,
    periodic: Sequence[bool] | None = None,
    frequencies: int = 3,
    probes: int | None = None,
    steps: int | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    base: Distribution | None = None,
    seed: int = 0,
) -> Flow:
    """A continuous flow (Chen et al., 1806.07366; Grathwohl et al., 1810.01367).

    Trained by flow matching (``fit(..., loss="flow_matching")``), which follows no path, or by
    likelihood. With up to two hidden layers the exact trace of a density costs no more than the
    network, with more a derivative for each coordinate: ``probes`` then cost less in many
    dimensions. For the arguments not named here see `posterion.flows`.

    Args:
        frequencies, probes, steps, rtol, atol: as of :class:`~posterion.bijections.Continuous`.

    >>> continuous(2, hidden=(8,)).bijection.fast
    'both'
    """
    flags = (False,) * dim if periodic is None else tuple(bool(flag) for flag in periodic)
    flow = Continuous(
        dim,
        hidden,
        activation,
        context_size=context_dim,
        periodic=flags if np.any(flags) else None,
        frequencies=frequencies,
        probes=probes,
        steps=steps,
        rtol=rtol,
        atol=atol,
        key=jax.random.key(seed),
    )
    parts: list[Bijection] = [flow]
    if bounds is not None:
        parts.append(support_of(bounds, flags))
    return Flow(reference_base(flags) if base is None else base, Chain(parts))
