"""Masks of couplings: which coordinates each layer keeps (1) and which it moves (0).

No layer moves more than half of the coordinates, rounded up, so that all layers can be stacked.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from posterion.core.errors import ShapeError


def alternating_masks(dim: int, layers: int) -> Float[Array, "layers dim"]:
    """Even coordinates and odd ones by turns.

    >>> alternating_masks(4, 2)
    Array([[0., 1., 0., 1.],
           [1., 0., 1., 0.]], dtype=float32)
    """
    _check(dim)
    return _masks((np.arange(dim) + np.arange(layers)[:, None]) % 2 == 1)


def random_masks(dim: int, layers: int, seed: int) -> Float[Array, "layers dim"]:
    """Random halves, each followed by its complement; the same for the same ``seed``."""
    _check(dim)
    generator = np.random.default_rng([seed, 23])
    kept = np.zeros((layers, dim), bool)
    for pair in range(0, layers, 2):
        # Of an odd number of coordinates the larger half by turns.
        kept[pair, generator.permutation(dim)[: (dim + (pair // 2) % 2) // 2]] = True
        kept[pair + 1 : pair + 2] = ~kept[pair]
    return _masks(kept)


def binary_masks(dim: int) -> Float[Array, "layers dim"]:
    """The binary digits of a number for each coordinate, and their complements.

    In ``2 ceil(log2 dim)`` layers every coordinate is moved depending on every other one (Gao et
    al., 2001.05486, there with the coordinates' own indices). Here coordinates ``2 k`` and
    ``2 k + 1`` have the number ``k`` and its complement, which halves every layer evenly.

    >>> binary_masks(4)
    Array([[0., 1., 0., 1.],
           [1., 0., 1., 0.],
           [0., 1., 1., 0.],
           [1., 0., 0., 1.]], dtype=float32)
    """
    _check(dim)
    digits = max(dim - 1, 1).bit_length()
    number = np.arange(dim) // 2
    number = np.where(np.arange(dim) % 2, ~number, number)
    kept = (number >> np.arange(digits)[:, None]) & 1 == 1
    # Digit 0 of k = 0, 1, ... alternates between pairs; the last digit tells the two of a pair.
    kept = np.roll(kept, 1, axis=0)
    return _masks(np.stack([kept, ~kept], axis=1).reshape(-1, dim))


def _check(dim: int) -> None:
    if dim < 1:
        raise ShapeError(f"masks need at least one coordinate, got {dim}")


def _masks(kept: np.ndarray) -> Array:
    """As floats; a coordinate that is alone has nothing to depend on and always moves."""
    return jnp.asarray(kept if kept.shape[1] > 1 else np.zeros_like(kept), float)
