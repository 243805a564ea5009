"""Gradients of a Bayesian network's posterior: ours, a bare BlackJAX loop's, and their own parts.

Each figure is the median of repeats, one pinned thread, all in one process. The parts are the
matrix products of one value and gradient, three of each layer's shape, and the activations with
their slopes, timed alone on chunks of the same size.
"""

import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.tables import machine, markdown, tell

CASES = {
    "(19, 50 x 5, 1), 20 000 rows": ((19, 50, 50, 50, 50, 50, 1), 20_000, 10, 7),
    "(1, 50, 1), 200 rows": ((1, 50, 1), 200, 500, 7),
}


def pinned() -> None:
    """One core, before JAX starts its threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def rate(step: Callable[[], Any], count: int, repeats: int) -> float:
    """Median seconds of a call that does ``count`` things."""
    import jax

    jax.block_until_ready(step())
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(step())
        seconds.append((time.perf_counter() - began) / count)
    return float(np.median(seconds))


def measured(sizes: tuple[int, ...], rows: int, count: int, repeats: int) -> list[float]:
    """Seconds of a gradient: ours, BlackJAX's bare loop, the parts."""
    import blackjax
    import jax
    import jax.numpy as jnp

    from posterion.emulators import Gaussian, Hmc, Independent
    from posterion.emulators.chains import _advance, _begin
    from posterion.emulators.density import Joint, data_of
    from posterion.networks import mlp

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, sizes[0])), rng.normal(size=(rows, 1))
    network = mlp(sizes[1:-1], "tanh").build(sizes[0], 1, key=jax.random.key(0))
    joint, start = Joint.of(network, Independent(), Gaussian(0.1), 1)
    data, key = data_of(x, y), jax.random.key(1)
    kernel = Hmc(steps=count)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(1))
    walker = _begin(joint, data, kernel, start[None], keys)
    walker = walker._replace(tuning=walker.tuning._replace(step=jnp.full(1, 1e-5)))
    numbers = jnp.asarray([0, 1, 1, 0])
    ours = rate(lambda: _advance(joint, data, kernel, walker, keys, numbers, 8), count, repeats)

    layers = [
        (jnp.asarray(w), jnp.asarray(b))
        for w, b in zip(network.weights, network.biases, strict=True)
    ]
    whole_x, whole_y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)

    def log_density(layers: Any) -> Any:
        h = whole_x
        for weight, bias in layers[:-1]:
            h = jnp.tanh(h @ weight.T + bias)
        out = h @ layers[-1][0].T + layers[-1][1]
        prior = sum(-0.5 * jnp.sum(w**2) * w.shape[1] - 0.5 * jnp.sum(b**2) for w, b in layers)
        return prior - 0.5 * jnp.sum((whole_y - out) ** 2) / 0.01

    dim = sum(w.size + b.size for w, b in layers)
    hmc = blackjax.hmc(log_density, 1e-5, jnp.ones(dim), count)
    state, bare_step = hmc.init(layers), jax.jit(hmc.step)
    bare = rate(lambda: bare_step(key, state), count, repeats)
    return [ours, bare, parts(sizes, data.x.shape[:2], repeats)]


def parts(sizes: tuple[int, ...], shape: tuple[int, int], repeats: int) -> float:
    """Seconds of the products and the activations of one value and gradient, alone."""
    import jax
    import jax.numpy as jnp

    chunks, rows = shape
    rng = np.random.default_rng(1)
    total = 0.0
    for i, (before, after) in enumerate(pairwise(sizes)):
        w = jnp.asarray(rng.normal(size=(after, before)), jnp.float32)
        h = jnp.asarray(rng.normal(size=(before, rows)), jnp.float32)
        g = jnp.asarray(rng.normal(size=(after, rows)), jnp.float32)
        products = [(jnp.matmul, w, h), (lambda a, b: a @ b.T, g, h)]
        if i:  # no slope by the inputs is needed
            products.append((lambda a, b: a.T @ b, w, g))
        for function, a, b in products:
            compiled = jax.jit(function)
            total += rate(lambda f=compiled, a=a, b=b: [f(a, b) for _ in range(20)], 20, repeats)
        if i < len(sizes) - 2:

            def active(z: Any, g: Any) -> tuple[Any, Any]:
                t = jnp.tanh(z)
                return t, g * (1 - t * t)

            compiled = jax.jit(active)
            total += rate(lambda f=compiled, g=g: [f(g, g) for _ in range(20)], 20, repeats)
    return chunks * total


def main(quick: bool) -> None:
    """Print the section."""
    pinned()
    rows = []
    for name, (sizes, count, steps, repeats) in CASES.items():
        if quick:
            sizes, count, steps, repeats = (sizes[0], 4, 1), 100, 2, 1
        ours, bare, alone = measured(sizes, count, steps, repeats)
        tell(f"{name}: {1 / ours:.0f} gradients a second, bare loop {1 / bare:.0f}")
        rows.append(
            [
                name,
                f"{1 / ours:.4g}",
                f"{1 / bare:.4g}",
                f"{bare / ours:.2f}",
                f"{ours / alone:.2f}",
            ]
        )
    heads = ("network", "ours, 1/s", "bare BlackJAX loop, 1/s", "ratio", "time over parts")
    print(f"{machine()}, one pinned thread. Value and gradient of the log-density.\n")
    print(markdown(heads, rows))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
