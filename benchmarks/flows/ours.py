"""Posterion: its bijections, its flow and its compiled loop, as a user has them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from benchmarks.flows.cases import INTERVAL, Case
from benchmarks.flows.worker import cosine, serve
from posterion.bijections import (
    AffineTransformer,
    Bijection,
    Coupling,
    RationalQuadraticSpline,
    Stack,
    Transformer,
    alternating_masks,
    apply_batch,
)
from posterion.bijections.autoregressive import Autoregressive
from posterion.distributions import Flow, Normal
from posterion.optimisation import Trained, run_segment, trainable
from posterion.training.objectives import Likelihood

PACKAGES = ("posterion", "jax", "jaxlib", "equinox", "optax")


@eqx.filter_jit
def log_prob(flow: Flow, x: Array) -> Array:
    return apply_batch(flow.log_prob, x)


@eqx.filter_jit
def sample(flow: Flow, key: PRNGKeyArray, n: int) -> Array:
    return flow.sample(key, (n,))


class Ours:
    def __init__(self, case: Case, seed: int):
        keys = jax.random.split(jax.random.key(seed), case.layers)
        transformer: Transformer = AffineTransformer()
        if case.bins:
            transformer = RationalQuadraticSpline(case.bins, (-INTERVAL, INTERVAL))
        layers: list[Bijection]
        if case.kind == "coupling":
            layers = [
                Coupling(mask, transformer, case.hidden, "relu", key=key)
                for mask, key in zip(alternating_masks(case.dim, case.layers), keys, strict=True)
            ]
        else:
            order = jnp.arange(case.dim)
            layers = [
                Autoregressive(order[:: (-1) ** i], transformer, case.hidden, "relu", key=key)
                for i, key in enumerate(keys)
            ]
        params, self.fixed = trainable(Flow(Normal(case.dim), Stack.of(layers)))
        self.state = Trained.start(params)
        self.key = jax.random.key(seed + 1)
        self.draws = 0

    @property
    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    @property
    def flow(self) -> Flow:
        return eqx.combine(self.state.params, self.fixed)

    def start(self, data: np.ndarray, batch: int, rate: float, steps: int, clip: bool) -> None:
        """The loop of the package always clips."""
        self.data = jnp.asarray(data)
        self.loss = Likelihood(batch)
        self.rate, self.steps, self.done = rate, steps, 0

    def train(self, steps: int) -> None:
        numbers = range(self.done, self.done + steps)
        rates = np.array([cosine(self.rate, self.steps, i) for i in numbers], np.float32)
        state, _ = run_segment(
            self.loss,
            self.state,
            self.fixed,
            self.data,
            self.key,
            jnp.asarray(self.done, jnp.int32),
            {"rate": jnp.asarray(rates)},
        )
        self.state = jax.block_until_ready(state)
        self.done += steps

    def put(self, x: np.ndarray) -> Array:
        return jnp.asarray(x)

    def wait(self, x: Array) -> None:
        jax.block_until_ready(x)

    def density(self, x: Array) -> Array:
        return log_prob(self.flow, x)

    def sample(self, n: int) -> Array:
        self.draws += 1
        return sample(self.flow, jax.random.fold_in(self.key, self.draws), n)


if __name__ == "__main__":
    serve(Ours, PACKAGES)
