"""Finite groups of orthogonal matrices: the symmetries of an event."""

from itertools import permutations as orders
from typing import Any

import numpy as np
from jaxtyping import Array, Int8

from posterion.core.errors import SettingError, ShapeError

_TOLERANCE = 1e-5
_PARTICLES = 5  # 120 exchanges: each costs an evaluation


def parity(dim: int) -> Int8[np.ndarray, "2 dim dim"]:
    """The identity and the reversal of all ``dim`` coordinates."""
    one = np.eye(dim, dtype=np.int8)
    return np.stack([one, -one])


def permutations(count: int, size: int = 1) -> Int8[np.ndarray, "order dim dim"]:
    """All exchanges of ``count`` alike particles, ``size`` neighbouring coordinates each.

    Raises:
        SettingError: more than 5 particles; a subgroup, such as `cyclic`, costs less.

    >>> permutations(2, size=2)[1] @ [1, 2, 3, 4]
    array([3, 4, 1, 2])
    """
    if not 1 <= count <= _PARTICLES:
        raise SettingError(f"all exchanges are for 1 to {_PARTICLES} particles, got {count}")
    one, block = np.eye(count, dtype=np.int8), np.eye(size, dtype=np.int8)
    return np.stack([np.kron(one[list(order)], block) for order in orders(range(count))])


def cyclic(sites: int, step: int = 1, size: int = 1) -> Int8[np.ndarray, "order dim dim"]:
    """Translations of a ring of ``sites``, ``size`` coordinates each, by multiples of ``step``.

    A checkerboard mask is left in place by those of an even step.

    Raises:
        SettingError: ``step`` does not divide ``sites``.

    >>> cyclic(4, step=2)[1] @ [1, 2, 3, 4]
    array([3, 4, 1, 2])
    """
    if step < 1 or sites < 1 or sites % step:
        raise SettingError(f"the step {step} does not divide a ring of {sites} sites")
    one, block = np.eye(sites, dtype=np.int8), np.eye(size, dtype=np.int8)
    shifts = range(0, sites, step)
    return np.stack([np.kron(np.roll(one, shift, axis=0), block) for shift in shifts])


def closure(generators: np.ndarray | Array, limit: int = 1000) -> np.ndarray:
    """The group that orthogonal matrices generate: all their products, the identity first.

    Args:
        generators: ``(n, dim, dim)``, such as two groups one after the other.
        limit: order at which to give up.

    Returns:
        ``(order, dim, dim)``.

    Raises:
        ShapeError: not ``(n, dim, dim)``.
        SettingError: there are more than ``limit`` products.

    >>> closure(np.concatenate([parity(3), permutations(3)])).shape
    (12, 3, 3)
    """
    matrices = _square(generators)
    found = np.eye(matrices.shape[1], dtype=matrices.dtype)[None]
    begin = 0
    while begin < len(found):
        fresh, begin = found[begin:], len(found)
        for product in (matrices[:, None] @ fresh).reshape(-1, *matrices.shape[1:]):
            if not np.any(np.all(np.abs(found - product) < _TOLERANCE, axis=(1, 2))):
                found = np.concatenate([found, product[None]])
            if len(found) > limit:
                raise SettingError(f"the matrices generate more than {limit} products")
    return found


def check_group(group: np.ndarray | Array) -> np.ndarray:
    """Makes sure that ``group``, ``(order, dim, dim)``, is a group, each element there once.

    Raises:
        ShapeError: another shape.
        SettingError: an element is not orthogonal, or stands there twice, or the product of two is
            missing; the message says which.
    """
    kept = _square(group)
    elements = kept.astype(np.float64)
    order, dim, _ = elements.shape
    lost = np.abs(elements @ elements.swapaxes(1, 2) - np.eye(dim)).max(axis=(1, 2))
    if not np.all(lost < _TOLERANCE):
        raise SettingError(f"element {np.argmax(lost)} of the group is not orthogonal")

    def equal(matrices: np.ndarray) -> np.ndarray:
        # Two orthogonal matrices are as long as each other: equal where the cosine is 1.
        overlap = matrices.reshape(order, -1) @ elements.reshape(order, -1).T
        return overlap > dim * (1 - 1e-6)

    twice = np.argwhere(np.triu(equal(elements), 1))
    if len(twice):
        raise SettingError(f"elements {twice[0][0]} and {twice[0][1]} of the group are the same")
    for i, element in enumerate(elements):
        there = equal(element @ elements).any(axis=1)
        if not np.all(there):
            raise SettingError(
                f"element {i} times element {np.argmin(there)} is not in the group; "
                "posterion.bijections.closure completes it"
            )
    return kept


def check_signed_permutations(group: np.ndarray | Array) -> Int8[np.ndarray, "order dim dim"]:
    """``group`` as integers, once it is sure that it is a group of signed permutations.

    Raises:
        ShapeError: not ``(order, dim, dim)``.
        SettingError: an element does more than exchange coordinates and turn their signs, or it is
            no group.
    """
    size = np.abs(_square(group))
    alone = np.all((size == 0) | (size == 1), axis=(1, 2))
    alone &= np.all(size.sum(axis=1) == 1, axis=1) & np.all(size.sum(axis=2) == 1, axis=1)
    if not np.all(alone):
        raise SettingError(f"element {np.argmin(alone)} of the group is no signed permutation")
    return check_group(group).astype(np.int8)


def _square(matrices: Any) -> np.ndarray:
    matrices = np.asarray(matrices)
    if matrices.ndim != 3 or 0 in matrices.shape or matrices.shape[1] != matrices.shape[2]:
        raise ShapeError(f"a group is an array (order, dim, dim), got {matrices.shape}")
    return matrices
