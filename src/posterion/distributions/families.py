"""Families of flows: each a short function over general parts."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from posterion.bijections.affine import Linear
from posterion.bijections.base import Bijection
from posterion.bijections.compose import Chain, Stack
from posterion.bijections.coupling import Coupling
from posterion.bijections.elementwise import AffineTransformer, Transformer
from posterion.bijections.splines import CircularSpline, MixedTransformer
from posterion.core.errors import ShapeError
from posterion.distributions.base import Distribution
from posterion.distributions.bases import Normal, Product, Uniform
from posterion.distributions.flow import Flow


def halves(dim: int, layers: int, seed: int) -> np.ndarray:
    """Coupling masks ``(layers, dim)``: random halves, each followed by its complement."""
    rng = np.random.default_rng([seed, 23])
    masks = np.zeros((layers, dim), np.float32)
    for pair in range(0, layers, 2):
        kept = rng.permutation(dim)[: (dim + (pair // 2) % 2) // 2]
        masks[pair, kept] = 1
        if pair + 1 < layers:
            masks[pair + 1] = 1 - masks[pair]
    return masks


def reference_base(circular: tuple[bool, ...]) -> Distribution:
    """The reference measure: standard normal on the line, uniform on the circle."""
    on_circle = tuple(i for i, flag in enumerate(circular) if flag)
    on_line = tuple(i for i, flag in enumerate(circular) if not flag)
    if not on_circle:
        return Normal(len(circular))
    circle = Uniform(len(on_circle), -float(np.pi), float(np.pi))
    if not on_line:
        return circle
    return Product((Normal(len(on_line)), circle), (on_line, on_circle))


def realnvp(
    dim: int,
    *,
    layers: int = 10,
    hidden: tuple[int, ...] = (64, 64),
    activation: str = "silu",
    scale_limit: float | None = None,
    shift_first: bool = False,
    circular: tuple[bool, ...] | None = None,
    bins: int = 8,
    base: Distribution | None = None,
    last: Bijection | None = None,
    seed: int = 0,
) -> Flow:
    """Affine couplings (Dinh et al., 1605.08803) and a last linear layer; starts as the identity.

    Args:
        dim: length of the event.
        layers: number of couplings.
        hidden: widths of each conditioner.
        activation: its activation.
        scale_limit: bound of a layer's log-scale; ``None`` leaves it free.
        shift_first: shifts in units of the local width, for scales that vary by much.
        circular: which coordinates are angles on ``[-pi, pi)``; these are moved by circular
            splines (Rezende et al., 2002.02428).
        bins: of the circular splines.
        base: distribution of ``z``; the reference measure by default.
        last: the last bijection; learned LU mixing by default, where nothing is circular.
        seed: of weights and masks.

    >>> flow = realnvp(2, seed=1)
    >>> flow.event_shape
    (2,)
    """
    circular = (False,) * dim if circular is None else tuple(bool(flag) for flag in circular)
    if len(circular) != dim:
        raise ShapeError(f"circular has {len(circular)} entries for {dim} coordinates")
    transformer: Transformer = AffineTransformer(scale_limit, shift_first)
    if all(circular):
        transformer = CircularSpline(bins)
    elif any(circular):
        transformer = MixedTransformer(circular, transformer, CircularSpline(bins))
    keys: PRNGKeyArray = jax.random.split(jax.random.key(seed), layers)
    parts: list[Bijection] = [
        Stack.of(
            [
                Coupling(jnp.asarray(mask), transformer, hidden, activation, key=key)
                for mask, key in zip(halves(dim, layers, seed), keys, strict=True)
            ]
        )
    ]
    if last is not None:
        parts.append(last)
    elif not any(circular):
        parts.append(Linear(dim))
    return Flow(reference_base(circular) if base is None else base, Chain(parts))
