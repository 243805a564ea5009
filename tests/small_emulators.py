"""Emulators of networks that nothing was trained for: cheap, and exactly known."""

from dataclasses import replace

import jax
import numpy as np

from posterion.emulators import Bernoulli, Categorical, Emulator, Independent
from posterion.emulators.density import Joint
from posterion.emulators.held import HeldOut
from posterion.emulators.tables import Columns

FACTORS = {Bernoulli: np.array([[1.2], [0.1]]), Categorical: np.array([[0.9]])}


def columns(names, log, unit="GeV"):
    n = len(names)
    log = np.array([name in log for name in names])
    low = np.where(log, 0.1, -2.0)
    location, scale = np.linspace(-0.5, 0.5, n), np.linspace(0.4, 1.5, n)
    return Columns(tuple(names), (unit,) * n, log, location, scale, low, np.full(n, 3.0))


def made(network, likelihood, inputs="abc", targets="y", log="", count=6, seed=0):
    """An emulator of ``count`` networks about random ones."""
    labels = isinstance(likelihood, Bernoulli | Categorical)
    prior = Independent()
    outs = likelihood.outputs(len(targets))
    thetas = []
    for k in range(count):
        key = jax.random.key(seed + k)
        built = network.build(len(inputs), outs, key=key) if hasattr(network, "build") else network
        theta = Joint.of(built, prior, likelihood, len(targets))[1]
        thetas.append(theta + 0.1 * jax.random.normal(key, theta.shape))
    of_targets = columns(targets, log)
    if labels:
        of_targets = replace(of_targets, location=np.zeros(1), scale=np.ones(1))
    return Emulator(
        "toy",
        built,
        prior,
        likelihood,
        np.stack(thetas)[None],
        columns(inputs, log),
        of_targets,
        FACTORS[likelihood.__class__] if labels else np.ones((3, len(targets))),
        *({}, {}, {}, (), {}),
    )


def rows_of(emulator, rows, seed=0):
    """Points and targets, of each a draw of its own from what is predicted there."""
    rng = np.random.default_rng(seed)
    x = emulator.inputs.uniform(rng, rows)
    draws = emulator.predict(x).draws(200, seed=seed).reshape(200, rows, -1)
    return x, draws[rng.integers(200, size=rows), np.arange(rows)]


def with_rows(emulator, rows=2000, seed=0):
    """The same with held-out rows, half of each kind."""
    x, y = rows_of(emulator, rows, seed)
    return replace(emulator, held=HeldOut(x, y, np.arange(rows) % 2 == 0))
