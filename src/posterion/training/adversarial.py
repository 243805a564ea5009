"""The loss of two players: a generator, and a critic that tells its draws from samples."""

from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array

from posterion.core.errors import SettingError
from posterion.distributions.adversarial import ConditionalGan
from posterion.training.losses import Batch, Inputs, Loss, row_by_row, take

__all__ = ["WassersteinPenalty", "energy_score"]

_DRAWS = 16


class WassersteinPenalty(Loss):
    """The Wasserstein distance as the critic sees it, whose slope a penalty keeps below 1.

    Each player's loss has the other's parameters held, so that one gradient of the sum moves both.
    The generator moves once in ``steps`` steps, by the mean of its gradients in these. Held-out
    rows cost the energy score of draws under their condition: the critic's own loss says nothing of
    how good the draws are.

    Args:
        penalty: weight of ``(|slope| - 1)^2`` between draws and samples.
        steps: of the critic for one of the generator.
        one_sided: only slopes above 1 cost (Petzka et al., 1709.08894). As published slopes below 1
            do too, which holds the critic at a plane: of a normal of width 0.5 about a line, the
            draws had 0.2 then, at any length of training, and 0.45 with one side.

    Raises:
        SettingError: a number that is not positive.

    Source: Gulrajani et al., 1704.00028, Algorithm 1.
    """

    penalty: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    one_sided: bool = eqx.field(static=True)

    def __init__(self, penalty: float | int = 10.0, steps: int = 5, one_sided: bool = True):
        if not penalty > 0 or steps < 1:
            raise SettingError(f"penalty and steps must be positive, got {penalty} and {steps}")
        self.penalty, self.steps, self.one_sided = float(penalty), steps, one_sided

    @property
    def score(self) -> str:
        return "energy score"

    def optimiser(self, clip: float | int) -> optax.GradientTransformation:
        return _players(clip, self.steps)

    def value(self, flow: ConditionalGan, batch: Batch, key: Array, inputs: Inputs) -> Array:
        distance, penalty, generated = self._parts(flow, batch, key)
        return self.penalty * penalty - distance - generated

    def __call__(
        self, flow: ConditionalGan, inputs: Inputs, key: Array, row: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        distance, penalty, generated = self._parts(flow, take(inputs, row["rows"]), key)
        loss = self.penalty * penalty - distance
        return loss - generated, {"loss": -loss}  # the distance, as the critic sees it

    def _parts(self, flow: ConditionalGan, batch: Batch, key: Array) -> tuple[Array, Array, Array]:
        """The distance that the critic finds, its penalty, and what it says of the draws."""
        draw, mix = jax.random.split(key)
        v, weight = batch.v, batch.weight / jnp.mean(batch.weight)
        drawn = flow.sample(draw, v.shape[:1], batch.context)
        held = lax.stop_gradient(drawn)
        distance = jnp.mean(
            weight * (flow.judged(v, batch.context) - flow.judged(held, batch.context))
        )
        along = jax.random.uniform(mix, (len(v), 1))
        between = along * v + (1 - along) * held
        slope = jax.grad(lambda x: jnp.sum(flow.judged(x, batch.context)))(between)
        length = jnp.sqrt(jnp.sum(slope**2, axis=1) + 1e-12)
        excess = jnp.maximum(length - 1, 0) if self.one_sided else length - 1
        penalty = jnp.mean(weight * excess**2)
        judge = lax.stop_gradient(flow)
        return distance, penalty, jnp.mean(weight * judge.judged(drawn, batch.context))

    def costs(self, flow: Any, v: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        return row_by_row(energy_score, flow, v, context)


@lru_cache
def _players(clip: float | int, steps: int) -> optax.GradientTransformation:
    one = optax.chain(optax.clip_by_global_norm(clip), optax.scale_by_adam(b1=0.5, b2=0.9))
    turn = optax.MultiSteps(one, steps).gradient_transformation()
    return optax.multi_transform({"generator": turn, "critic": one}, _sides)


def _sides(params: Any) -> Any:
    """Whose each parameter is."""

    def side(path: Any, leaf: Any) -> str:
        return "generator" if jax.tree_util.keystr(path).startswith(".generator") else "critic"

    return jax.tree_util.tree_map_with_path(side, params)


@eqx.filter_jit
def energy_score(flow: Any, v: Array, context: Array | None) -> Array:
    """``E|X - v| - E|X - X'| / 2`` of each row, ``X`` drawn under its condition, ``(n,)``.

    Least where the draws have the law of the rows (Gneiting and Raftery, JASA 102 (2007) 359).
    """
    keys = jax.random.split(jax.random.key(0), _DRAWS)
    x = lax.map(lambda key: flow.sample(key, v.shape[:1], context), keys)
    to_row = jnp.mean(jnp.linalg.norm(x - v, axis=-1), axis=0)
    apart = [
        jnp.mean(jnp.linalg.norm(x - jnp.roll(x, k, axis=0), axis=-1), axis=0)
        for k in range(1, _DRAWS // 2 + 1)
    ]
    return to_row - 0.5 * jnp.mean(jnp.stack(apart), axis=0)
