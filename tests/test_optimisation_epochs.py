"""Training of several models at once."""

import jax.numpy as jnp
import numpy as np

from posterion.emulators.warming import Vector
from posterion.optimisation.epochs import train_epochs

RNG = np.random.default_rng(1)
X = jnp.asarray(RNG.normal(size=(90, 4)), jnp.float32)
Y = X @ jnp.asarray([1.0, -2.0, 0.5, 0.0])
STARTS = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32).at[2].multiply(30.0)


def _loss(model, inputs, key, row):
    x, y = inputs
    value = jnp.mean((x[row["rows"]] @ model.theta - y[row["rows"]]) ** 2)
    return value, value


def _score(model):
    return np.asarray(jnp.mean((model.theta @ X.T - Y) ** 2, axis=-1))


def _trained(start, **more):
    return train_epochs(
        _loss, Vector(start), (X, Y), len(X), _score, epochs=12, batch=16, rate=0.1, seed=4,
        **{"patience": 12, **more},
    )  # fmt: skip


def test_together_is_as_alone():
    seen = []
    together, scores = _trained(STARTS, together=True, on_epoch=lambda *said: seen.append(said))
    assert scores.shape == (12, 3) and [epoch for epoch, _ in seen] == list(range(1, 13))
    assert np.isclose(seen[-1][1], scores[-1].mean())
    for i, start in enumerate(STARTS):
        alone, own = _trained(start)
        np.testing.assert_allclose(together.theta[i], alone.theta, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores[:, i], own, rtol=1e-3, atol=1e-6)


def test_each_keeps_its_best_and_all_must_lose_patience():
    calls = []

    def score(model):
        calls.append(np.asarray(model.theta))
        first = [5.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0][len(calls) - 1]
        second = [3.0, 2.0, 9.0, 1.0, 9.0, 9.0, 9.0][len(calls) - 1]
        return np.array([first, second])

    found, scores = train_epochs(
        _loss, Vector(STARTS[:2]), (X, Y), len(X), score, epochs=30, batch=16, rate=0.1,
        patience=3, seed=4, together=True,
    )  # fmt: skip
    assert len(scores) == 7  # the second was best in the fourth
    np.testing.assert_array_equal(found.theta[0], calls[1][0])
    np.testing.assert_array_equal(found.theta[1], calls[3][1])
