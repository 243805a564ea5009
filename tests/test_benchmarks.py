"""The tables of the benchmarks, and the sections of their page."""

import subprocess
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


def test_the_data_of_the_flows_have_the_densities_that_are_stated():
    import numpy as np
    from benchmarks.flows.truths import TRUTHS, ThreeGaussians, TwoMoons, entropy

    rng = np.random.default_rng(3)
    axis = (np.arange(300) + 0.5) / 300 * 6 - 2.5
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    for name in ("two moons", "checkerboard"):
        p = np.exp(TRUTHS[name].log_prob(grid)) * 0.02**2
        assert p.sum() == pytest.approx(1, abs=1e-6)
        x = TRUTHS[name].sample(rng, 20_000)
        # Cells of 1 x 1 hold as many draws as the density says: 36 cells, false alarm 1e-5.
        edges = np.arange(-2.5, 4)
        drawn, *_ = np.histogram2d(*x.T, bins=(edges, edges))
        said, *_ = np.histogram2d(*grid.T, bins=(edges, edges), weights=p)
        assert np.all(np.abs(drawn / len(x) - said) <= 5 * np.sqrt(said / len(x)) + 1e-6)
    finer = TwoMoons(nodes=400).log_prob(x[:500])
    np.testing.assert_allclose(TwoMoons().log_prob(x[:500]), finer, atol=1e-9)
    # In one dimension a mixture can be integrated; its entropy to 5 standard errors.
    mixture = ThreeGaussians(1)
    line = np.linspace(-10, 20, 30_001)[:, None]
    log_p = mixture.log_prob(line)
    assert np.trapezoid(np.exp(log_p), line[:, 0]) == pytest.approx(1, abs=1e-8)
    value, error = entropy(mixture, rng, 20_000)
    exact = -np.trapezoid(np.exp(log_p) * log_p, line[:, 0])
    assert abs(value - exact) < 5 * error and error < 0.02


def test_a_live_process_of_ours_builds_trains_evaluates_and_draws(tmp_path):
    import numpy as np
    from benchmarks.flows.accuracy import difference
    from benchmarks.flows.cases import Case
    from benchmarks.flows.client import OURS, Library, core

    rng = np.random.default_rng(0)
    train, test = (3 + 0.5 * rng.normal(size=(n, 2)) for n in (4096, 1024))
    for name, rows in (("train", train), ("test", test)):
        np.save(tmp_path / f"{name}.npy", rows.astype(np.float32))
    files = {name: str(tmp_path / f"{name}.npy") for name in ("train", "test", "out")}
    case = Case("coupling", 2, 2, (8,), 0, 128)
    library = Library(OURS, core())
    try:
        assert "jax" in library.ask("versions")["versions"]
        # Per layer a net of 2 to 8 to (log-scale, shift) of one coordinate.
        assert library.build(case, 1)["parameters"] == 2 * (3 * 8 + 9 * 2)
        like = library.build_like(case, 1, 2 * (3 * 16 + 17 * 2))
        assert like["width"] == 16
        assert library.ask("first", data=files["train"])["cpu"] > 0
        for quantity in ("training", "density", "sampling"):
            answer = library.ask("measure", quantity=quantity, seconds=0.01)
            assert answer["rows"] % case.batch == 0 and answer["cpu"] > 0
        library.build(case, 1)
        library.ask("fit", **files, steps=400, rate=0.03)
    finally:
        library.close()
    exact = -0.5 * ((test - 3) ** 2).sum(1) / 0.25 - np.log(2 * np.pi * 0.25)
    log_q = np.load(files["out"])
    assert -0.05 < (log_q - exact).mean() < 0.01
    assert difference(log_q, exact).startswith(f"{(log_q - exact).mean():.4f} ±")
    assert difference(np.full(1024, np.nan), exact) == "1024 rows not finite"


@pytest.mark.slow
def test_the_flows_run_with_small_settings():
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.flows", "--quick"]
    text = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    for letter in "abcd":
        assert f"| ({letter}) training |" in text and f"- ({letter}) " in text
    assert "| two moons |" in text and "not finite" not in text
