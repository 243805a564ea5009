"""Predictions in bounded memory: what does not fit is said, what can be chunked is."""

import tracemalloc

import numpy as np
import pytest

from posterion.core import memory
from posterion.core.errors import SettingError
from posterion.emulators import Categorical, Gaussian
from posterion.networks import mlp
from small_emulators import made

ROWS = 2500


@pytest.fixture(scope="module", params=["many", "one"])
def prediction(request):
    emulator = made(mlp((4,)), Gaussian(0.3), "ab", "yz", log="y", count=5)
    if request.param == "one":
        emulator = emulator.distil(network=mlp((4,)), rows=300, epochs=2, quiet=True)
    return emulator.predict(emulator.inputs.uniform(np.random.default_rng(0), ROWS))


def test_quantiles_by_chunks_are_those_of_the_draws(prediction):
    draws = prediction.draws(40, seed=3)
    assert draws.shape == (40, ROWS, 2) and np.isfinite(draws).all()
    for q in (0.5, [0.1, 0.9]):
        found = prediction.quantile(q, n=40, seed=3)
        np.testing.assert_allclose(found, np.quantile(draws, q, axis=0), rtol=1e-12)
    assert np.ptp(draws[:, 0, 0] - draws[:, 1024, 0]) > 0.1  # chunks have noise of their own


def test_quantiles_hold_the_draws_of_one_chunk_alone(prediction):
    prediction.quantile([0.5], n=10)
    tracemalloc.start()
    prediction.quantile([0.5], n=2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45 * 2000 * 1024 * 2  # five copies; of all points it would be 2.4 times as much


def test_what_does_not_fit_is_said_before_it_is_made(prediction, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 10_000_000)
    prediction.draws(10)
    with pytest.raises(SettingError) as found:
        prediction.draws(100_000)
    said = str(found.value)
    assert "100,000 draws of 2,500 points need 4.0 GB of memory, 10.0 MB are free" in said
    assert "at most 225" in said  # 0.9 * 1e7 / (8 * 2500 * 2)
    assert prediction.draws(225).shape == (225, ROWS, 2)
    with pytest.raises(SettingError, match="at most 109, or take fewer points"):
        prediction.quantile([0.5], n=1000)
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    with pytest.raises(SettingError, match="are free: go through the points in parts"):
        prediction.draws(1)
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert prediction.draws(2).shape == (2, ROWS, 2)


def test_too_many_points_are_refused_with_what_fits(monkeypatch):
    emulator = made(mlp((4,)), Gaussian(0.3), count=2)
    monkeypatch.setattr(memory, "free_memory", lambda: 100_000)
    assert len(emulator.predict(np.ones((10, 3))).mean) == 10
    with pytest.raises(SettingError, match=r"1,000 points need 0.2 MB .*at most 432.*predict"):
        emulator.predict(np.ones((1000, 3)))


def test_classes_are_drawn_by_chunks_too():
    emulator = made(mlp((4,)), Categorical(3), count=4)
    p = emulator.predict(emulator.inputs.uniform(np.random.default_rng(0), 1500))
    draws = p.draws(8, seed=1)
    assert draws.shape == (8, 1500) and set(np.unique(draws)) == {0.0, 1.0, 2.0}


def test_free_memory_is_what_the_system_tells(tmp_path, monkeypatch):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 100 kB\nMemAvailable: 50 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", info)
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    assert memory.free_memory() == 50 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() == 50 * 1024
    (tmp_path / "memory.max").write_text("30000\n")
    (tmp_path / "memory.current").write_text("14000\n")
    (tmp_path / "memory.stat").write_text("anon 10000\nactive_file 1000\ninactive_file 3000\n")
    assert memory.free_memory() == 20_000
    info.unlink()
    assert memory.free_memory() == 20_000
