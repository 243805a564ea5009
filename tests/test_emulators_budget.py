"""What an emulation needs of memory is estimated before it begins, and what would fit is said."""

import re
import sys

import jax
import numpy as np
import pytest

from linear_networks import walked
from posterion.core import memory
from posterion.core.errors import SettingError
from posterion.emulators import DeepEnsemble, Gaussian, Nuts, Swag, budget, emulate
from posterion.emulators import chains as chains_module
from posterion.emulators.budget import chunk_that_fits, need_of
from posterion.emulators.density import CHUNK, Joint, data_of
from posterion.emulators.priors import Independent
from posterion.networks import convolutional, mlp

module = sys.modules["posterion.emulators.emulate"]  # whose name is that of the function in it

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5000, 3))
Y = X @ [1.0, -0.5, 0.2] + 0.1 * RNG.normal(size=5000)
SMALL = {
    "network": mlp((6,)), "chains": 2, "draws": 6, "warmup": 20, "thin": 2, "epochs": 2, "seed": 1,
    "quiet": True,
}  # fmt: skip


def _needed(**given):
    """Bytes of a run."""
    joint, _ = _joint(mlp((6,)))
    need = need_of(joint, X, Y[:, None], None, chains=2, batch=256)
    return need.whole(2, given.get("draws", 6), given.get("chunk", CHUNK))


def _joint(network, inputs=3):
    built = network.build(inputs, 1, key=jax.random.key(0))
    return Joint.of(built, Independent(), Gaussian(), 1)


def _give(monkeypatch, count):
    monkeypatch.setattr(
        memory, "free_memory", lambda: None if count is None else int(count / 0.9) + 10
    )


@pytest.fixture
def untrained(monkeypatch):
    def fail(*_, **__):
        pytest.fail("it was trained")

    monkeypatch.setattr(module, "warm_starts", fail)


@pytest.mark.usefixtures("untrained")
def test_a_run_that_does_not_fit_is_refused_untrained_and_what_fits_is_said(monkeypatch):
    _give(monkeypatch, _needed(draws=300))
    large = {**SMALL, "draws": 40_000}
    with pytest.raises(SettingError, match=r"40,000 draws of 2 chains need about 2\.\d GB") as said:
        emulate(X, Y, **large)
    draws, thin = map(int, re.findall(r"draws=(\d+) would fit, and with thin=(\d+)", str(said))[0])
    assert 250 < draws < 320 and draws * thin >= 80_000 > draws * (thin - 1)
    joint, _ = _joint(mlp((6,)))
    need = need_of(joint, X[:3900], Y[:, None], None, chains=2, batch=256)  # about as many train
    assert chunk_that_fits(need, chains=2, draws=draws, thin=thin)


@pytest.mark.usefixtures("untrained")
def test_fewer_chains_are_said_where_they_help_and_else_what_to_make_smaller(monkeypatch):
    joint, _ = _joint(mlp((300, 300)))
    need = need_of(joint, X, Y[:, None], None, chains=50, batch=256)
    _give(monkeypatch, need.whole(20, 4, 64))
    with pytest.raises(SettingError, match=r": chains=2\d with draws=\d+ would fit"):
        emulate(X, Y, **{**SMALL, "network": mlp((300, 300)), "chains": 50})
    _give(monkeypatch, 1_000_000)
    with pytest.raises(SettingError, match=r"1\.0 MB may be taken: .* take a smaller network"):
        emulate(X, Y, **SMALL)


@pytest.mark.parametrize("free", [None, 1e9])
def test_a_run_that_fits_is_not_refused(monkeypatch, free):
    _give(monkeypatch, free)
    assert emulate(X, Y, **SMALL).theta.shape[:2] == (2, 6)


def test_smaller_chunks_are_taken_where_they_suffice(monkeypatch):
    sizes = []

    def cut(x, y, *, chunk, mesh):
        sizes.append(chunk)
        return data_of(x, y, chunk=chunk, mesh=mesh)

    monkeypatch.setattr(module, "data_of", cut)
    settings = {**SMALL, "batch": 32}
    whole = emulate(X, Y, **settings)
    joint, _ = _joint(mlp((6,)))
    need = need_of(joint, X, Y[:, None], None, chains=2, batch=32)
    _give(monkeypatch, need.whole(2, 6, CHUNK // 4))
    parted = emulate(X, Y, **settings)
    assert sizes == [CHUNK, CHUNK // 4]
    np.testing.assert_allclose(parted.history["loss"], whole.history["loss"], rtol=1e-4)


def test_approximations_hold_what_they_draw(monkeypatch):
    joint, _ = _joint(mlp((300, 300)))
    given = (joint, X, Y[:, None])
    quick = {q: need_of(*given, q, chains=2, batch=256) for q in (DeepEnsemble(), Swag())}
    assert quick[Swag()].fixed - quick[DeepEnsemble()].fixed == 8 * 180 * joint.dim
    assert DeepEnsemble().count(1000) == 1 and Swag().count(1000) == 1000
    _give(monkeypatch, quick[Swag()].whole(2, 100, CHUNK))
    assert chunk_that_fits(quick[Swag()], chains=2, draws=100, thin=None) == CHUNK
    with pytest.raises(SettingError, match=r"draws=1\d\d would fit$"):
        chunk_that_fits(quick[Swag()], chains=2, draws=10_000, thin=None)


@pytest.mark.parametrize(
    ("network", "inputs"), [(mlp((50, 50)), 19), (convolutional((1, 9), (8, 8)), 9)]
)
def test_activations_are_about_what_the_compiler_takes(network, inputs):
    joint, theta = _joint(network, inputs)
    x, y = np.ones((3 * CHUNK, inputs)), np.ones((3 * CHUNK, 1))
    found = need_of(joint, x, y, None, chains=1, batch=10).activation * CHUNK
    gradient = jax.jit(jax.value_and_grad(lambda t, d: joint.log_prob(t, d)))
    taken: int = gradient.lower(theta, data_of(x, y)).compile().memory_analysis().temp_size_in_bytes
    assert 0.5 * found < taken < found


def test_a_device_with_less_memory_than_the_machine_counts(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 500, "bytes_in_use": 100}

    monkeypatch.setattr(budget.jax, "local_devices", lambda: [Device()])
    for free, room in ((None, 400), (10_000, 400), (300, 300)):
        _give(monkeypatch, free)
        assert budget._room() == pytest.approx(room, abs=10)


def test_draws_of_short_segments_do_not_hold_the_buffers(monkeypatch):
    pieces, joined = [], chains_module._joined
    monkeypatch.setattr(chains_module, "_SECONDS", 1e-9)
    monkeypatch.setattr(chains_module, "_joined", lambda p: pieces.extend(p) or joined(p))
    walked(Nuts(), draws=5, warmup=5, chains=2)
    assert len(pieces) == 5 and pieces[0]["theta"].shape == (2, 1, 4)
    assert all(array.base is None for piece in pieces for array in piece.values())
