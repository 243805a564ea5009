"""The toy likelihood: its density, the simplified one, its inputs, and a small run."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm, poisson

import posterion
from posterion.core.errors import CheckpointError, DensityError, SettingError, TableError
from posterion.studies import find_study, read_metrics, study_names
from posterion.studies.likelihood_toy.inputs import RATES, SHAPES, generate, read
from posterion.studies.likelihood_toy.model import expected, toy_target
from posterion.studies.likelihood_toy.options import Settings
from posterion.studies.likelihood_toy.running import GRID
from posterion.studies.likelihood_toy.simplified import coefficients, simplified_target
from posterion.studies.likelihoods.keeping import Run, kept


def by_hand(inputs, mu, delta, isr, jes, lv, cr):
    """The log-density in plain NumPy, bin after bin, as the recipe has it."""

    def factor(d, down, up):
        if abs(d) <= 1:
            return d * (d - 1) / 2 * down - (d - 1) * (d + 1) + d * (d + 1) / 2 * up
        if d > 1:
            return ((3 * up + down) / 2 - 2) * d - (up + down) / 2 + 2
        return (2 - (3 * down + up) / 2) * d - (up + down) / 2 + 2

    total = 0.0
    for c in range(3):
        bins = range(30 * c, 30 * (c + 1))
        events = sum(inputs.background[i] for i in bins)
        rate = events
        for j, d in enumerate((isr, jes, lv, cr)):
            up, down = inputs.rate_up[j, c], inputs.rate_down[j, c]
            rate *= (1 + up) ** d if d >= 0 else (1 + down) ** -d
        shape = [
            inputs.background[i]
            * factor(isr, inputs.shape_down[0, i], inputs.shape_up[0, i])
            * factor(jes, inputs.shape_down[1, i], inputs.shape_up[1, i])
            for i in bins
        ]
        for k, i in enumerate(bins):
            b = rate * shape[k] / sum(shape) * (1 + inputs.statistics[i]) ** delta[i]
            total += poisson.logpmf(inputs.observed[i], mu * inputs.signal[i] + b)
    return total + norm.logpdf([*delta, isr, jes, lv, cr]).sum() - np.log(5)


def test_density_is_that_of_the_recipe():
    inputs = generate()
    rng = np.random.default_rng(0)
    target = toy_target(inputs)
    for pulls in ((0.3, -0.4, 0.9, -0.2), (1.7, -2.1, -1.2, 2.5), (-1.3, 1.4, 0.0, 0.0)):
        delta = rng.normal(size=90)
        value = target.evaluate(np.array([[0.7, *delta, *pulls]]))
        assert value[0] == pytest.approx(by_hand(inputs, 0.7, delta, *pulls), abs=1e-9)
    assert target.dim == 95


def test_a_negative_expectation_has_no_probability():
    target = toy_target(generate())
    x = np.zeros((1, 95))
    x[0, 0] = -0.999
    x[0, 1:91] = -60.0
    assert target.evaluate(x)[0] == -np.inf


def test_moments_of_the_simplified_likelihood():
    """``A + B theta + C theta^2`` has the mean, covariance and third moments it was made from."""
    rng = np.random.default_rng(1)
    b = np.exp(0.2 * rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 4_000_000)) * [5, 20]
    d = b - b.mean(axis=0)
    covariance, third = d.T @ d / len(d), (d**3).mean(axis=0)
    a, first, second, rho = coefficients(b.mean(axis=0), covariance, third)
    variance = first**2 + 2 * second**2
    np.testing.assert_allclose(a + second, b.mean(axis=0))
    np.testing.assert_allclose(variance, np.diag(covariance), rtol=1e-10)
    np.testing.assert_allclose(6 * first**2 * second + 8 * second**3, third, rtol=1e-8)
    cross = first[0] * first[1] * rho[0, 1] + 2 * second[0] * second[1] * rho[0, 1] ** 2
    assert cross == pytest.approx(covariance[0, 1], rel=1e-10)
    np.testing.assert_allclose(np.diag(rho), 1)
    with pytest.raises(DensityError, match=r"too skewed.*bins 1"):
        coefficients(np.ones(2), np.eye(2), np.array([0.1, 4.0]))


def test_the_simplified_likelihood_is_near_the_full_one():
    inputs = generate()
    grid = np.array([0.0, 0.5, 1.0])
    full = posterion.profile(toy_target(inputs), "mu", grid).t
    simple = posterion.profile(simplified_target(inputs, draws=20_000), "mu", grid).t
    np.testing.assert_allclose(simple, full, atol=0.4)
    assert full[2] > 5


def write_inputs(path, inputs, **changes):
    content = {
        "data": inputs.observed,
        "exp_background": inputs.background,
        "signal": inputs.signal,
        "epsI_MCstat": inputs.statistics,
        **{f"kpI_{k}": v for k, v in zip(SHAPES, inputs.shape_up, strict=True)},
        **{f"kmI_{k}": v for k, v in zip(SHAPES, inputs.shape_down, strict=True)},
        **{f"Kp_{k}": v for k, v in zip(RATES, inputs.rate_up, strict=True)},
        **{f"Km_{k}": v for k, v in zip(RATES, inputs.rate_down, strict=True)},
    }
    listed = {k: np.asarray(v).tolist() for k, v in {**content, **changes}.items()}
    path.write_text(json.dumps(listed))
    return path


def test_inputs_from_a_file(tmp_path):
    inputs = generate()
    again = read(write_inputs(tmp_path / "i.json", inputs))
    for name in ("observed", "background", "signal", "shape_down", "rate_up"):
        np.testing.assert_array_equal(getattr(again, name), getattr(inputs, name))
    assert again.source == "i.json"
    for changes in ({"data": [1.0]}, {"signal": ["x"] * 90}, {"Kp_LV": [np.nan, 0, 0]}):
        with pytest.raises(TableError, match=f"{next(iter(changes))!r} must be"):
            read(write_inputs(tmp_path / "bad.json", inputs, **changes))
    (tmp_path / "text.json").write_text("{")
    for name in ("text.json", "absent.json"):
        with pytest.raises(TableError, match="no readable JSON"):
            read(tmp_path / name)


def test_generated_inputs_have_the_stated_size():
    inputs = generate()
    sums = inputs.background.reshape(3, 30).sum(axis=1)
    np.testing.assert_allclose(sums, [1000, 250, 50], rtol=0.05)
    with jax.enable_x64(True):
        zero = {k: jnp.zeros(1) for k in ("mu", "isr", "jes", "lv", "cr")}
        background = expected(inputs, zero | {"mc": jnp.zeros((1, 90))})[1]
    np.testing.assert_allclose(background[0], inputs.background, rtol=1e-12)


def test_published_inputs_give_the_published_statistic():
    """Best fit and t_mu of the recipe, to 1e-3."""
    folder = os.environ.get("POSTERION_DATA")
    path = Path(folder or "") / "toy_likelihood_inputs.json"
    if not folder or not path.exists():
        pytest.skip("POSTERION_DATA names no folder with toy_likelihood_inputs.json")
    found = posterion.profile(toy_target(read(path)), "mu", GRID)
    stated = [
        0.0012,
        0.0919,
        0.2961,
        0.6409,
        1.1331,
        1.7765,
        2.5747,
        3.5311,
        4.6486,
        5.9293,
        7.3741,
    ]
    np.testing.assert_allclose(found.t, stated, atol=1e-3)
    assert found.best_log_prob == pytest.approx(-285.7783, abs=1e-3)


def test_settings():
    assert "likelihood-toy" in study_names() and find_study("likelihood-toy").settings is Settings
    with pytest.raises(SettingError, match="train must be at least 2000"):
        Settings(train=10)


def test_what_is_kept_is_of_one_run(tmp_path):
    """Resumed with another seed, or checked against other inputs, it is refused."""
    target = toy_target(generate())
    draws = np.random.default_rng(0).normal(size=(200, 2))

    def make():
        return posterion.fit(posterion.flows.maf(2, hidden=(4,)), draws, epochs=1, quiet=True)

    def run(seed, resume):
        return Run("likelihood-toy", {"seed": seed}, seed, tmp_path, resume, target)

    first, seconds = kept(run(1, False), "a row", make)
    assert (tmp_path / "a-row.posterion").exists()
    again = kept(run(1, True), "a row", pytest.fail)
    assert again[1] == seconds and again[0].target is target
    with pytest.raises(CheckpointError, match="another run"):
        kept(run(2, True), "a row", make)
    with pytest.raises(SettingError, match="learns from the density"):
        find_study("likelihood-toy").check(first, seed=0)
    other = object.__new__(posterion.Posterior)
    known = {"study": "likelihood-toy", "part": {"inputs": "other.json"}}
    object.__setattr__(other, "provenance", known)
    with pytest.raises(SettingError, match=r"inputs other\.json"):
        find_study("likelihood-toy").check(other, seed=0)


@pytest.mark.slow
def test_a_small_run(tmp_path):
    settings = Settings(train=2000, held_out=2000, epochs=1, steps=20, particles=64)
    study = find_study("likelihood-toy")
    outcome = study.run(settings, seed=1, out=tmp_path, resume=False)
    assert all(file.exists() for file in outcome.files)
    figures = read_metrics(tmp_path / "metrics.json").figures
    assert figures["exact.t_mu.0.1"].value < figures["exact.t_mu.1.0"].value
    assert figures["density_alone.seen"].value == 0
    assert figures["samples.frobenius"].published == 0.217
    assert "published MAF" in outcome.text and "plain normal" in outcome.text
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64") >= 2
    again = study.run(settings, seed=1, out=tmp_path, resume=True)
    first, second = (t.text.splitlines()[3].split()[:6] for t in (outcome, again))
    assert first == second
