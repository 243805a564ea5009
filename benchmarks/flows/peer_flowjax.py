"""flowjax: its flows, and the step of its own `fit_to_data` with one optimiser and one loss.

`step` compiles again for every new optimiser or loss object, so both live as long as the model.
"""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import paramax
from flowjax.bijections import AbstractBijection, Affine, RationalQuadraticSpline
from flowjax.distributions import AbstractDistribution, Normal
from flowjax.flows import coupling_flow, masked_autoregressive_flow
from flowjax.train.losses import MaximumLikelihoodLoss
from flowjax.train.train_utils import get_batches, step
from jax import Array

from benchmarks.flows.cases import INTERVAL, Case
from benchmarks.flows.worker import serve

PACKAGES = ("flowjax", "jax", "jaxlib", "equinox", "optax")


@eqx.filter_jit
def log_prob(flow: AbstractDistribution, x: Array) -> Array:
    return flow.log_prob(x)


@eqx.filter_jit
def sample(flow: AbstractDistribution, key: Array, n: int) -> Array:
    return flow.sample(key, (n,))


class FlowJax:
    def __init__(self, case: Case, seed: int):
        key, self.key = jax.random.split(jax.random.key(seed))
        family = coupling_flow if case.kind == "coupling" else masked_autoregressive_flow
        transformer: AbstractBijection = Affine()
        if case.bins:  # the ends are no knots to it
            transformer = RationalQuadraticSpline(knots=case.bins - 1, interval=INTERVAL)
        flow = family(
            key,
            base_dist=paramax.non_trainable(Normal(jnp.zeros(case.dim))),
            transformer=transformer,
            flow_layers=case.layers,
            nn_width=case.hidden[0],
            nn_depth=len(case.hidden),
        )
        self.params, self.static = eqx.partition(
            flow,
            eqx.is_inexact_array,
            is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
        )
        self.loss = MaximumLikelihoodLoss()

    @property
    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    @property
    def flow(self) -> AbstractDistribution:
        return eqx.combine(self.params, self.static)

    def start(self, data: np.ndarray, batch: int, rate: float, steps: int, clip: bool) -> None:
        adam = optax.adam(optax.cosine_decay_schedule(rate, steps) if steps else rate)
        self.optimizer = optax.chain(optax.clip_by_global_norm(1.0), adam) if clip else adam
        self.memory = self.optimizer.init(self.params)
        self.batches = self._batches(jnp.asarray(data), batch)

    def _batches(self, data: Array, batch: int) -> Iterator[Array]:
        """Shuffled epochs, cut as `fit_to_data` cuts them."""
        while True:
            self.key, key = jax.random.split(self.key)
            (batches,) = get_batches([jax.random.permutation(key, data)], batch)
            yield from batches

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.key, key = jax.random.split(self.key)
            self.params, self.memory, _ = step(
                self.params,
                self.static,
                next(self.batches),
                optimizer=self.optimizer,
                opt_state=self.memory,
                loss_fn=self.loss,
                key=key,
            )
        jax.block_until_ready(self.params)

    def put(self, x: np.ndarray) -> Array:
        return jnp.asarray(x)

    def wait(self, x: Array) -> None:
        jax.block_until_ready(x)

    def density(self, x: Array) -> Array:
        return log_prob(self.flow, x)

    def sample(self, n: int) -> Array:
        self.key, key = jax.random.split(self.key)
        return sample(self.flow, key, n)


if __name__ == "__main__":
    serve(FlowJax, PACKAGES)
