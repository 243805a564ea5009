"""On a graphics processor: the numbers are those of the CPU, in full float32.

``JAX_PLATFORMS=cuda,cpu pytest tests/test_gpu.py``; elsewhere everything here is skipped.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterion
from posterion.bijections import apply_batch
from posterion.distributions import families as flows
from posterion.networks.products import product

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU that JAX can use")

FLOWS = {
    "maf": lambda: flows.maf(20, hidden=(32, 32), seed=1),
    "iaf": lambda: flows.iaf(20, hidden=(32, 32), seed=1),
    "autoregressive spline": lambda: flows.autoregressive_spline(20, hidden=(32, 32), seed=1),
    "coupling spline": lambda: flows.coupling_spline(20, hidden=(32, 32), seed=1),
    "realnvp": lambda: flows.realnvp(20, hidden=(32, 32), seed=1),
    "quantiles": lambda: flows.quantile_network(4, hidden=(32, 32), seed=1),
}


def stirred(flow, size=0.1):
    """With its parameters moved away from the identity that flows begin with."""
    leaves, tree = jax.tree.flatten(eqx.filter(flow, eqx.is_inexact_array))
    keys = jax.random.split(jax.random.key(3), len(leaves))
    moved = [
        a + size * jax.random.normal(k, a.shape, a.dtype) for a, k in zip(leaves, keys, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(tree, moved), flow)


def test_a_product_is_a_float32_product():
    a, b = jax.random.normal(jax.random.key(0), (2, 256, 256))
    exact = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    assert np.abs(product(a, b) - exact).max() < 1e-4  # with TF32 about 1e-2


@pytest.mark.parametrize("name", FLOWS)
def test_density_and_draws_are_those_of_the_cpu(name):
    flow = stirred(FLOWS[name]())
    key = jax.random.key(7)

    def both(flow, key):
        x, log_q = flow.sample_and_log_prob(key, (512,))
        return x, log_q, apply_batch(flow.log_prob, x)

    x, log_q, again = eqx.filter_jit(both)(flow, key)
    np.testing.assert_allclose(log_q, again, rtol=0, atol=2e-3)
    cpu = jax.devices("cpu")[0]
    there = jax.device_put((eqx.filter(flow, eqx.is_array), key), cpu)
    with jax.default_device(cpu):
        flow_there = eqx.combine(there[0], flow)
        x_cpu, log_q_cpu, _ = eqx.filter_jit(both)(flow_there, there[1])
    np.testing.assert_allclose(x, x_cpu, rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(log_q, log_q_cpu, rtol=0, atol=2e-3)


def test_a_posterior_is_learned():
    target = posterion.Target(
        lambda theta: -0.5 * jnp.sum((theta["x"] - 1) ** 2) * 4,
        [posterion.Parameter("x", shape=(2,), scale=1.0)],
    )
    result = posterion.learn(target, steps=500, seed=1)
    assert result.status.ok
    assert abs(result.log_evidence.value - np.log(2 * np.pi / 4)) < 0.01
    np.testing.assert_allclose(result.sample(100_000, seed=1)["x"].mean(axis=0), 1, atol=0.01)


def test_a_fit_goes_on_where_it_was(tmp_path):
    x = np.random.default_rng(0).normal(size=(4096, 3)) @ np.diag([1.0, 2.0, 3.0])

    def fit(epochs, **more):
        flow = flows.maf(3, hidden=(16, 16), seed=1)
        return posterion.fit(flow, x, epochs=epochs, schedule="constant", seed=1, **more)

    whole = fit(4)
    file = tmp_path / "fit.checkpoint"
    fit(2, checkpoint=file)
    resumed = fit(4, checkpoint=file, resume=True)
    a, b = whole.log_prob(x[:100]), resumed.log_prob(x[:100])
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
