"""Families of flows whose density does not change under a group."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.bijections.base import Bijection
from posterion.bijections.compose import Chain, Stack
from posterion.bijections.equivariant import EquivariantCoupling, VectorCoupling
from posterion.bijections.groups import check_signed_permutations
from posterion.core.errors import SettingError
from posterion.distributions.base import Distribution
from posterion.distributions.bases import Normal
from posterion.distributions.families.parts import Hidden
from posterion.distributions.flow import Flow
from posterion.distributions.symmetric import Symmetrised


def equivariant(
    dim: int,
    group: np.ndarray | Array,
    *,
    transforms: int = 8,
    hidden: Hidden = (64, 64),
    activation: str = "silu",
    context_dim: int = 0,
    scale_limit: float | int | None = 2.0,
    base: Distribution | None = None,
    seed: int = 0,
) -> Flow:
    """Couplings that commute with exchanges and changes of sign: an invariant density.

    Coordinates that the group takes to one another move together, or stay together. A layer costs
    as many passes of its network as the group has elements. For the arguments not named here see
    `posterion.flows`.

    Args:
        group: ``(order, dim, dim)``, signed permutations: `permutations`, `cyclic`, `parity` and
            `closure` of :mod:`posterion.bijections`.
        scale_limit: bound of a layer's log-scale.
        base: made invariant by its mean over the group, such as one normal far from its images:
            as many modes. The standard normal, by default, is invariant as it is.

    Raises:
        SettingError: all coordinates are taken to one another: nothing could stay.

    Source: Koehler, Klein and Noe, 2006.02425; Kanwar et al., 2003.06413.

    >>> from posterion.bijections import permutations
    >>> equivariant(4, permutations(2, size=2), transforms=4).event_shape
    (4,)
    """
    elements = check_signed_permutations(group)
    if elements.shape[1] != dim:
        raise SettingError(f"the group acts on {elements.shape[1]} coordinates, not on {dim}")
    orbits = np.any(elements != 0, axis=0)  # who is taken to whom
    first = np.argmax(orbits, axis=1)
    kinds = np.unique(first)
    if len(kinds) < 2:
        raise SettingError(
            "the group takes every coordinate to every other: no coupling commutes with it; take "
            "a smaller group (bijections.cyclic of an even step), or particles of several numbers"
        )

    def layer(mask: np.ndarray, key: Array) -> EquivariantCoupling:
        kept = jnp.asarray(mask[np.searchsorted(kinds, first)])
        return EquivariantCoupling(
            kept,
            group,
            hidden,
            activation,
            limit=None if scale_limit is None else float(scale_limit),
            context_size=context_dim,
            key=key,
        )

    layers = _layers(len(kinds), transforms, layer, seed)
    start = Normal(dim) if base is None else Symmetrised(base, group)
    return Flow(start, Chain([layers]))


def rotational(
    vectors: int,
    size: int = 3,
    *,
    transforms: int = 8,
    hidden: Hidden = (64, 64),
    activation: str = "silu",
    context_dim: int = 0,
    scale_limit: float | int | None = 2.0,
    seed: int = 0,
) -> Flow:
    """Couplings of vectors that commute with rotations and reflections: an invariant density.

    An event is ``vectors`` vectors of ``size`` components one after the other, such as momenta.
    For the arguments not named here see `posterion.flows`.

    Args:
        vectors: of an event, at least two.
        size: components of each.
        scale_limit: bound of a layer's log-scale.

    Raises:
        SettingError: a single vector: nothing could stay.

    >>> rotational(3, transforms=4).event_shape
    (9,)
    """
    if vectors < 2:
        raise SettingError(f"a coupling needs two vectors, one that stays, got {vectors}")

    def layer(mask: np.ndarray, key: Array) -> VectorCoupling:
        return VectorCoupling(
            jnp.asarray(mask),
            size,
            hidden,
            activation,
            limit=None if scale_limit is None else float(scale_limit),
            context_size=context_dim,
            key=key,
        )

    return Flow(Normal(vectors * size), Chain([_layers(vectors, transforms, layer, seed)]))


def _layers(
    kinds: int, transforms: int, layer: Callable[[np.ndarray, Array], Bijection], seed: int
) -> Stack:
    """Layers in which random halves of what may move stay, and in the next one the other halves."""
    rng = np.random.default_rng([seed, 71])
    rows: list[np.ndarray] = []
    while len(rows) < transforms:
        half = (rng.permutation(kinds) < kinds // 2).astype(np.float32)
        rows += [half, 1 - half]
    if transforms < 2:
        raise SettingError("a single coupling leaves half of the coordinates unmoved; use more")
    keys = jax.random.split(jax.random.key(seed), transforms)
    return Stack.of([layer(row, key) for row, key in zip(rows, keys, strict=False)])
