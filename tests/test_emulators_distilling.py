"""One network in place of many: its differences are those that it states."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import posterion
from posterion import bundles
from posterion.core.errors import SampleError, SettingError
from posterion.core.status import Status
from posterion.diagnostics.coverage import normal_probability
from posterion.diagnostics.health import Health
from posterion.emulators import Bernoulli, Categorical, Gaussian, emulate
from posterion.emulators.distilled import moments_of_exponentials, moments_of_outputs
from posterion.emulators.held import NUMBERS, held_out
from posterion.emulators.predicting import Moments
from posterion.networks import mlp
from small_emulators import columns, made, rows_of, with_rows

QUICK = {"network": mlp((24, 24), "silu"), "rows": 3000, "epochs": 40, "quiet": True}
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def emulator():
    return with_rows(made(mlp((5,)), Gaussian(0.2), "ab", "yz", log="y", count=12))


@pytest.fixture(scope="module")
def student(emulator):
    return emulator.distil(**QUICK)


def test_the_stated_differences_are_those_on_points_of_one_s_own(emulator, student):
    x = np.concatenate([emulator.inputs.uniform(RNG, 4000), emulator.held.x])
    ours, theirs = student.predict(x), emulator.predict(x)
    away = (ours.mean - theirs.mean) / theirs.sd
    stated = {check.name: check.value for check in student.health.checks}
    rms = float(np.sqrt(np.mean(away**2)))
    assert 0.5 < rms / stated["mean, difference / sd"] < 2 and rms < 0.2
    rms = float(np.sqrt(np.mean((ours.sd / theirs.sd - 1) ** 2)))
    assert 0.5 < rms / stated["sd, relative difference"] < 2 and rms < 0.1
    assert np.mean(np.abs(away) < stated["the same, 95 % within"]) == pytest.approx(0.95, abs=0.04)
    assert "mean, difference / sd" in str(student) and "300 points" in str(student)
    np.testing.assert_allclose(ours.sd**2, ours.epistemic**2 + ours.aleatoric**2)


def test_its_error_bars_are_held_against_the_rows_that_are_kept(emulator, student):
    """The rows are draws of the emulator: what is promised is what comes out."""
    x, y = rows_of(emulator, 4000, 9)
    p = student.predict(x)
    for sigmas in (1, 2, 3):
        low, high = p.interval(sigmas)
        promised = normal_probability(sigmas)
        spread = (promised * (1 - promised) * (1 / 8000 + 1 / 2000)) ** 0.5
        assert abs(np.mean((low < y) & (y < high)) - promised) < 4 * spread + 0.002
    assert student.health.check("coverage at 2 sd, corrected") is not None
    bare = replace(emulator, held=None).distil(**{**QUICK, "epochs": 1})
    assert bare.factors.shape == (0, 2) and "keeps no held-out rows" in str(bare)
    assert bare.status is Status.unfaithful and "sd is" in bare.health.reasons[0]


def test_its_status_is_the_emulator_s_unless_it_has_reasons_of_its_own(emulator):
    quick = {**QUICK, "epochs": 80}
    sound = replace(emulator, health=Health(Status.calibrated))
    assert sound.distil(**quick).status is Status.calibrated
    assert replace(sound, held=None).distil(**quick).status is Status.unproven
    doubtful = replace(emulator, health=Health(Status.chains_disagree), held=None)
    assert doubtful.distil(**quick).status is Status.chains_disagree
    far = replace(emulator.held, y=emulator.held.y + np.array([0.0, 9.0]))
    assert replace(sound, held=far).distil(**quick).status is Status.overconfident


def test_its_draws_have_its_moments(student):
    p = student.predict(student.held.x[:4])
    draws = p.draws(20_000, seed=2)
    assert draws.shape == (20_000, 4, 2)
    np.testing.assert_allclose(draws.mean(0), p.mean, atol=5 * (p.sd / 20_000**0.5).max())
    np.testing.assert_allclose(draws.std(0), p.sd, rtol=0.05)
    assert p.quantile([0.5], n=10).shape == (1, 4, 2)


def test_lognormal_networks_have_lognormal_moments():
    given = replace(columns("yz", "y"), location=np.array([0.3, 1.0]), scale=np.array([0.7, 2.0]))
    plain = Moments(*(np.array([row]) for row in ([0.1, 0.2], [0.3, 0.4], [0.5, 0.6])))
    found = moments_of_exponentials(plain, given)
    centre, first, second = 0.3 + 0.7 * 0.1, 0.49 * 0.3, 0.49 * 0.5
    total = first + second
    mean = np.exp(centre + total / 2)
    assert found.mean[0, 0] == pytest.approx(mean)
    whole = found.epistemic[0, 0] + found.aleatoric[0, 0]
    assert whole == pytest.approx(mean**2 * np.expm1(total))  # the variance of one lognormal
    each = np.exp(centre + first**0.5 * RNG.normal(size=400_000) + second / 2)
    assert found.epistemic[0, 0] == pytest.approx(each.var(), rel=0.02)
    assert [a[0, 1] for a in found] == pytest.approx([1 + 2 * 0.2, 4 * 0.4, 4 * 0.6])


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(3)], ids=["label", "classes"])
def test_of_labels_it_gives_probabilities(likelihood):
    emulator = with_rows(made(mlp((4,)), likelihood, "ab", count=8), 600)
    student = emulator.distil(**QUICK)
    x = emulator.inputs.uniform(RNG, 2000)
    ours, theirs = student.predict(x), emulator.predict(x)
    rms = float(np.sqrt(np.mean((ours.mean - theirs.mean) ** 2)))
    stated = student.health.check("probability, difference").value
    assert 0.4 < rms / stated < 2.5 and rms < 0.02
    np.testing.assert_allclose(ours.sd**2, ours.mean * (1 - ours.mean), rtol=1e-5)
    assert np.abs(ours.epistemic - theirs.epistemic).mean() < 0.3 * theirs.epistemic.mean()
    draws = student.predict(x[:3]).draws(6000)
    if draws.ndim > 1 and isinstance(likelihood, Categorical):
        np.testing.assert_allclose(ours.mean.sum(1), 1, rtol=1e-5)
        found = np.stack([(draws == k).mean(0) for k in range(3)], axis=-1)
    else:
        found = draws.mean(0)
    np.testing.assert_allclose(found, ours.mean[:3], atol=0.03)
    assert student.health.check("accuracy") is not None


def test_outputs_of_labels_keep_the_whole_variance():
    outputs = jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
    for head in ("bernoulli", "categorical"):
        p, epistemic, aleatoric = moments_of_outputs(head, outputs)
        np.testing.assert_allclose(epistemic + aleatoric, p * (1 - p), rtol=1e-5)


def test_saved_loaded_exported_and_predicted(emulator, student, tmp_path):
    student.save(tmp_path / "one.posterion")
    again = posterion.load(tmp_path / "one.posterion")
    x = emulator.held.x[:9]
    np.testing.assert_array_equal(again.predict(x).mean, student.predict(x).mean)
    assert str(again) == str(student) and again.kind == "distilled emulator"
    pytest.importorskip("onnxruntime", reason="ONNX files need the extra onnx")
    parity = student.export_onnx(tmp_path / "out")["parity"]
    assert parity["within"] and parity["mean"] < 1e-4 and parity["sd"] < 1e-4
    label = made(mlp((4,)), Categorical(3), "ab", count=4).distil(**QUICK)
    assert label.export_onnx(tmp_path / "out")["parity"]["within"]


def test_points_may_be_given(emulator):
    x = emulator.inputs.uniform(RNG, 500) * [1.0, 0.1]
    found = emulator.distil(dict(zip("ab", x.T, strict=True)), **{**QUICK, "epochs": 2})
    assert "50 points" in str(found)


@pytest.mark.parametrize(
    ("points", "settings", "error", "message"),
    [
        (None, {"rows": 100}, SettingError, "rows >= 200"),
        (None, {"epochs": 0}, SettingError, "positive epochs"),
        (None, {"network": (8, 8)}, SettingError, "posterion.networks.mlp"),
        (np.ones((100, 2)), {}, SampleError, "100 points are too few"),
        (np.ones((300, 3)), {}, SampleError, "3 columns"),
        (np.full((300, 2), np.nan), {}, SampleError, "not finite"),
    ],
    ids=range(6),
)
def test_bad_input_is_refused(emulator, points, settings, error, message):
    with pytest.raises(error, match=message):
        emulator.distil(points, **{**QUICK, **settings})


# Held-out rows ------------------------------------------------------------------------------------


def test_rows_are_kept_whatever_their_order_and_not_too_many():
    x, y = RNG.normal(size=(5000, 3)), RNG.normal(size=(5000, 1))
    part = RNG.random(5000)
    order = RNG.permutation(5000)
    found = held_out(x, y, part < 0.4, part > 0.9)
    again = held_out(x[order], y[order], (part < 0.4)[order], (part > 0.9)[order])
    np.testing.assert_array_equal(found.x, again.x)
    assert (~found.test).sum() == 1000 and found.test.sum() == (part > 0.9).sum()
    assert set(found.y[found.test, 0]) <= set(y[part > 0.9, 0])
    wide = RNG.normal(size=(40, 10_000))
    few = held_out(wide, y[:40], part[:40] < 2, part[:40] > 2)
    assert few.x.size + few.y.size <= NUMBERS


def test_emulate_keeps_them_and_files_without_them_load(tmp_path):
    x = RNG.uniform(-1, 1, (400, 2))
    y = x[:, 0] ** 2 + 0.1 * RNG.normal(size=400)
    settings = {"network": mlp((4,)), "chains": 2, "epochs": 3, "quiet": True}
    found = emulate(x, y, sampler="ensemble", **settings)
    rows = found.provenance["rows"]
    assert (len(found.held.x), found.held.test.sum()) == (
        rows["correction"] + rows["test"],
        rows["test"],
    )
    found.save(tmp_path / "new.posterion")
    card, arrays = bundles.read(tmp_path / "new.posterion")
    del card["object"]["fields"]["held"]
    arrays = {name: a for name, a in arrays.items() if not name.startswith("held")}
    bundles.write(tmp_path / "old.posterion", card, arrays)
    old = posterion.load(tmp_path / "old.posterion")
    assert old.held is None
    np.testing.assert_array_equal(old.predict(x).sd, found.predict(x).sd)


def test_published_emulators_say_of_what(emulator, tmp_path):
    made = emulator.publish(tmp_path / "p.posterion", analysis="a scan", licence="CC-BY-4.0")
    again = posterion.load(tmp_path / "p.posterion")
    assert again.publication == made.publication == {"analysis": "a scan"}
    assert "a scan" in bundles.describe(bundles.read_card(tmp_path / "p.posterion"))
