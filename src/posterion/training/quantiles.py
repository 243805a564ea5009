"""Losses of quantile networks: what is least at the quantile, or the expectile, of a level."""

from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array

from posterion.bijections.base import Bijection
from posterion.bijections.compose import Chain
from posterion.bijections.quantile import Quantiles
from posterion.core.errors import SettingError
from posterion.distributions.flow import Flow
from posterion.distributions.summarising import see_through
from posterion.training.losses import Batch, Inputs, Loss, row_by_row

_FIXED = 16  # levels at which held-out rows are judged
_COMPARED = 32  # levels whose order is looked at
_STEPS, _AVERAGED = 32, 100  # of an epoch, at the least


class Pinball(Loss):
    """The pinball loss at fresh levels, ``(tau - [y < f]) (y - f)``, least at the quantile.

    Its mean over levels is half the continuous ranked probability score. Each coordinate is a
    quantile given the true ones before it (Kronheim et al., 2111.11415).

    Args:
        levels: for each row and step, one in each of as many equal parts of (0, 1).
        penalty: weight of the square of falling slopes by the level that the network sees.
        power: 2 for expectiles, by the squared error in place of the absolute one.
        squash: compare outcomes after a tanh, as a network does that ends in a tanh and learns
            normalised outcomes. Quantiles stay the same, as the tanh is monotone, but what misses a
            far outcome costs no more than 1: the tail beyond three standard deviations is hardly
            learned, and does not pull at the rest.
    """

    levels: int = eqx.field(static=True, default=1)
    penalty: float = eqx.field(static=True, default=100.0)
    power: int = eqx.field(static=True, default=1)
    squash: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        if self.power not in (1, 2) or (self.squash and self.power == 2):
            raise SettingError(
                "the power of a pinball loss is 1, or 2 for expectiles, which a tanh would change; "
                f"got {self.power} and squash={self.squash}"
            )

    @property
    def score(self) -> str:
        return "log-density" if self.power == 1 else "squared loss over levels"

    def defaults(self, rows: int) -> dict[str, Any]:
        """Small batches of few rows, and an average over an epoch: it falls slowly, in noise."""
        batch = 2 ** int(np.clip(np.log2(rows / _STEPS).round(), 6, 9))
        return {"batch": batch, "average": 1 - 1 / max(_AVERAGED, rows / batch)}

    def value(self, flow: Any, batch: Batch, key: Array, inputs: Inputs) -> Array:
        flow, context = see_through(flow, batch.context)
        v, context = _batch_last(batch.v, context)
        first, y = _first_and_rest(flow, v)
        shape = (self.levels, *y.shape)
        cell = jnp.arange(self.levels).reshape(-1, *(1 for _ in y.shape))
        tau = (cell + jax.random.uniform(key, shape)) / self.levels
        loss, slope = _loss(first, y, tau, context, self.power, self.squash)
        if not first.rises:
            loss = loss + self.penalty * jnp.minimum(slope, 0) ** 2
        return jnp.mean(batch.weight * jnp.mean(jnp.sum(loss, axis=1), axis=0))

    def costs(self, flow: Any, v: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        return row_by_row(_fixed_costs(self.power, self.squash), flow, v, context)


def _loss(
    first: Quantiles,
    y: Array,
    tau: Array,
    context: Array | None,
    power: int,
    squash: bool = False,
) -> tuple[Array, Array]:
    """Losses and slopes ``(levels, dim, batch)`` at levels of that shape."""
    z = ndtri(jnp.clip(tau, 1e-7, 1 - 1e-7))
    value, slope = first.quantiles_at(z, y, context)
    error = jnp.tanh(y) - jnp.tanh(value) if squash else y - value
    side = jnp.where(error < 0, 1 - tau, tau)
    return side * (jnp.abs(error) if power == 1 else error**2), slope


@lru_cache
def _fixed_costs(power: int, squash: bool) -> Any:
    @eqx.filter_jit
    def costs(flow: Any, v: Array, context: Array | None) -> Array:
        flow, context = see_through(flow, context)
        rows, given = _batch_last(v, context)
        first, y = _first_and_rest(flow, rows)
        tau = (jnp.arange(_FIXED) + 0.5) / _FIXED
        wide = jnp.broadcast_to(tau[:, None, None], (_FIXED, *y.shape))
        return jnp.mean(jnp.sum(_loss(first, y, wide, given, power, squash)[0], axis=1), axis=0)

    return costs


def crossing_rate(flow: Any, v: np.ndarray, context: np.ndarray | None) -> float | None:
    """Share of neighbouring levels whose quantiles fall; ``None`` where they cannot, or are none.

    Args:
        flow: in the frame's coordinates.
        v: rows whose coordinates come before, ``(n, dim)``.
        context: of the rows.
    """
    if not has_quantiles(flow) or quantiles_of_flow(flow)[0].rises:
        return None
    return float(row_by_row(_falling, flow, v, context).mean())


@eqx.filter_jit
def _falling(flow: Any, v: Array, context: Array | None) -> Array:
    flow, context = see_through(flow, context)
    rows, given = _batch_last(v, context)
    first, y = _first_and_rest(flow, rows)
    z = ndtri((jnp.arange(_COMPARED) + 0.5) / _COMPARED)
    wide = jnp.broadcast_to(z[:, None, None], (_COMPARED, *y.shape))
    values = first.quantiles_at(wide, y, given)[0]
    return jnp.mean(jnp.diff(values, axis=0) < 0, axis=(0, 1))


def _batch_last(v: Array, context: Array | None) -> tuple[Array, Array | None]:
    return v.T, None if context is None else context.T


def _first_and_rest(flow: Any, v: Array) -> tuple[Quantiles, Array]:
    """The map of quantiles, and what it is to say of ``v``: before the fixed maps that follow."""
    first, rest = quantiles_of_flow(flow)
    for bijection in reversed(rest):
        v = bijection.inverse_and_log_det(v, None)[0]
    return first, v


def has_quantiles(flow: Any) -> bool:
    """Whether a flow is a quantile network."""
    return isinstance(_parts(flow)[0], Quantiles)


def quantiles_of_flow(flow: Any) -> tuple[Quantiles, tuple[Bijection, ...]]:
    """The one map whose coordinates are quantiles, and the fixed maps that follow.

    Raises:
        SettingError: the flow is no quantile network.
    """
    first, *rest = _parts(flow)
    if isinstance(first, Quantiles):
        return first, tuple(rest)
    raise SettingError(
        "loss='quantile' is for posterion.quantile_network; this flow begins with a "
        f"{type(first).__name__}"
    )


def _parts(flow: Any) -> tuple[Any, ...]:
    if isinstance(flow, Flow):
        flow = see_through(flow)[0]
    bijection = getattr(flow, "bijection", flow)
    return bijection.bijections if isinstance(bijection, Chain) else (bijection,)
