"""One-to-one maps of an event, with their log-determinants, and what they are made of."""

from posterion.bijections.affine import Affine, Linear, Permutation
from posterion.bijections.autoregressive import Autoregressive
from posterion.bijections.base import Bijection, apply_batch
from posterion.bijections.compose import Chain, Invert, Stack
from posterion.bijections.continuous import Continuous
from posterion.bijections.coupling import Coupling
from posterion.bijections.elementwise import AffineTransformer, Transformer
from posterion.bijections.equivariant import EquivariantCoupling, VectorCoupling
from posterion.bijections.groups import closure, cyclic, parity, permutations
from posterion.bijections.masks import alternating_masks, binary_masks, random_masks
from posterion.bijections.neural import NeuralTransformer
from posterion.bijections.piecewise import (
    CircularPiecewiseLinear,
    CircularPiecewiseQuadratic,
    PiecewiseLinear,
    PiecewiseQuadratic,
)
from posterion.bijections.quantile import MaskedQuantiles, QuantileMap, Quantiles
from posterion.bijections.splines import CircularSpline, MixedTransformer, RationalQuadraticSpline
from posterion.bijections.summarised import Summarised
from posterion.bijections.support import SupportMap
from posterion.bijections.whitening import Whitening

__all__ = [
    "Affine",
    "AffineTransformer",
    "Autoregressive",
    "Bijection",
    "Chain",
    "CircularPiecewiseLinear",
    "CircularPiecewiseQuadratic",
    "CircularSpline",
    "Continuous",
    "Coupling",
    "EquivariantCoupling",
    "Invert",
    "Linear",
    "MaskedQuantiles",
    "MixedTransformer",
    "NeuralTransformer",
    "Permutation",
    "PiecewiseLinear",
    "PiecewiseQuadratic",
    "QuantileMap",
    "Quantiles",
    "RationalQuadraticSpline",
    "Stack",
    "Summarised",
    "SupportMap",
    "Transformer",
    "VectorCoupling",
    "Whitening",
    "alternating_masks",
    "apply_batch",
    "binary_masks",
    "closure",
    "cyclic",
    "parity",
    "permutations",
    "random_masks",
]
