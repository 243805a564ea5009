"""Families of flows, ``posterion.flows``: each a short function over general parts.

All start as the identity (on the base), draw from ``base`` (the standard normal, on circles the
uniform one) and take these arguments beside their own:

    dim: length of the event.
    transforms: number of layers.
    hidden, activation, residual: of the conditioner networks; residual ones add to the layer below.
    context_dim: width of the condition, 0 for none.
    bounds: ``(lower, upper)`` of each coordinate, with ``None`` where there is no bound; ``None``
        for the whole line in all. The flow then lives on that support.
    periodic: which coordinates are angles, on their bounds or, without, on ``[-pi, pi)``.
    base: another distribution of ``z``, such as a mixture for separated modes.
    mixing: learned LU mixing (1807.03039) as the last layer, where nothing is periodic.
    seed: of weights, masks and orders.
"""

from posterion.distributions.families.adversarial import conditional_gan
from posterion.distributions.families.autoregressive import (
    autoregressive_spline,
    iaf,
    maf,
    neural_autoregressive,
)
from posterion.distributions.families.continuous import continuous
from posterion.distributions.families.couplings import coupling_spline, realnvp
from posterion.distributions.families.manifold import manifold
from posterion.distributions.families.parts import reference_base
from posterion.distributions.families.quantiles import quantile_network
from posterion.distributions.families.symmetric import equivariant, rotational

__all__ = [
    "autoregressive_spline",
    "conditional_gan",
    "continuous",
    "coupling_spline",
    "equivariant",
    "iaf",
    "maf",
    "manifold",
    "neural_autoregressive",
    "quantile_network",
    "realnvp",
    "reference_base",
    "rotational",
]
