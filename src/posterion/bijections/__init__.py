"""One-to-one maps of an event, with their log-determinants, and what they are made of."""

from posterion.bijections.affine import Affine, Linear, Permutation
from posterion.bijections.base import Bijection, apply_batch
from posterion.bijections.compose import Chain, Invert, Stack
from posterion.bijections.coupling import Coupling
from posterion.bijections.elementwise import AffineTransformer, Transformer
from posterion.bijections.masks import alternating_masks, binary_masks, random_masks
from posterion.bijections.splines import CircularSpline, MixedTransformer, RationalQuadraticSpline
from posterion.bijections.support import SupportMap
from posterion.bijections.whitening import Whitening

__all__ = [
    "Affine",
    "AffineTransformer",
    "Bijection",
    "Chain",
    "CircularSpline",
    "Coupling",
    "Invert",
    "Linear",
    "MixedTransformer",
    "Permutation",
    "RationalQuadraticSpline",
    "Stack",
    "SupportMap",
    "Transformer",
    "Whitening",
    "alternating_masks",
    "apply_batch",
    "binary_masks",
    "random_masks",
]
