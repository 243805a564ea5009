"""The tables of the benchmarks, and the sections of their page."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.__main__ import NAMES, TITLES, replaced
from benchmarks.tables import SEEDS, markdown, spread


def test_sections_are_replaced_in_place_and_added_in_order():
    text = replaced("# Results\n", "plain", "old plain")
    text = replaced(text, "neutrinos", "neutrinos' own")
    text = replaced(text, "sampling", "rates")
    again = replaced(text, "plain", r"new \1 plain")
    assert "old plain" not in again and r"new \1 plain" in again
    assert replaced(again, "plain", "old plain") == text
    places = [again.index(f"## {TITLES[name]}") for name in ("neutrinos", "plain", "sampling")]
    assert places == sorted(places)
    assert again.count("<!-- plain -->") == 1
    assert set(TITLES) == set(NAMES)


def test_tables_and_spreads():
    table = markdown(("name", "value"), [["a", 1], ["b", 2.5]])
    assert table.splitlines() == ["| name | value |", "| --- | ---: |", "| a | 1 |", "| b | 2.5 |"]
    assert spread([1.0]) == "1.0000"
    assert spread([1.0, 2.0, 3.0], "+.2f") == "+2.00 ± 1.00"


def test_the_seeds_are_three_and_none_was_used_while_developing():
    assert len(set(SEEDS)) == 3 and 1 not in SEEDS


def test_the_truncated_base_of_the_exam_is_a_normalised_density():
    import jax
    import jax.numpy as jnp
    import numpy as np
    from benchmarks.sabotage import Truncated

    from posterion.distributions.bases import Normal
    from posterion.distributions.mixture import NormalMixture

    lowers = jnp.array([[[1.0, 0.0], [0.3, 0.8]], [[0.7, 0.0], [-0.2, 0.9]]])
    mixture = NormalMixture(jnp.log(jnp.array([0.7, 0.3])), jnp.array([[2.0, 0], [-2, 0]]), lowers)
    axis = (np.arange(400) + 0.5) / 400 * 12 - 6
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2), jnp.float32)
    for inner in (Normal(2), mixture):
        base = Truncated(inner, 1.5)
        value = np.exp(np.asarray(jax.jit(jax.vmap(base.log_prob))(grid)))
        assert value.sum() * 0.03**2 == pytest.approx(1.0, abs=0.01)
        x, log_prob = base.sample_and_log_prob(jax.random.key(0), (2000,))
        assert np.isfinite(np.asarray(log_prob)).all()
        mean = (value[:, None] * np.asarray(grid)).sum(0) * 0.03**2
        np.testing.assert_allclose(np.asarray(x).mean(0), mean, atol=5 * 2.0 / np.sqrt(2000))
