"""``emulate`` from table to file: parts of the variance, units, intervals, bad input."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import posterion
from posterion.core.errors import (
    BundleError,
    CheckpointError,
    SampleError,
    SettingError,
    ThetaError,
)
from posterion.core.status import Status
from posterion.diagnostics.coverage import normal_probability
from posterion.emulators import Gaussian, Nuts, Own, emulate
from posterion.emulators.approximations import APPROXIMATIONS
from posterion.emulators.emulator import table_of
from posterion.emulators.kernels import KERNELS
from posterion.emulators.predicting import means_of_networks
from posterion.emulators.rows import rows_of
from posterion.networks import mlp

SMALL = {
    "network": mlp((6,)),
    "chains": 2,
    "draws": 6,
    "warmup": 40,
    "thin": 2,
    "epochs": 4,
    "seed": 1,
    "quiet": True,
}
RNG = np.random.default_rng(7)
N = 3000
X = {"m": RNG.uniform(100.0, 500.0, N), "tan": RNG.uniform(1.0, 60.0, N)}
CLEAN = np.exp(-X["m"] / 100) * (1 + X["tan"] / 60)
Y = {"sigma": CLEAN * np.exp(0.1 * RNG.normal(size=N))}


@pytest.fixture(scope="module")
def emulator():
    given = {**SMALL, "epochs": 60, "draws": 20, "warmup": 200}
    return emulate(X, Y, log=["sigma"], **given)


def test_it_learns_the_theory_and_its_noise(emulator):
    p = emulator.predict(X)
    error = np.abs(p.mean / (CLEAN * np.exp(0.005)) - 1)
    assert np.mean(error) < 0.02  # the noise is 0.1, but there are 3000 rows
    assert np.median(p.aleatoric / p.mean) == pytest.approx(0.1, rel=0.1)
    assert np.median(p.epistemic / p.mean) < 0.03
    np.testing.assert_allclose(p.sd**2, p.epistemic**2 + p.aleatoric**2)
    assert not p.extrapolated[emulator.inputs.outside(np.stack(list(X.values()), 1)) == 0].any()


def test_the_moments_are_those_of_lognormal_networks(emulator):
    x = {name: column[:7] for name, column in X.items()}
    p = emulator.predict(x)
    scaled = emulator.inputs.scaled(np.stack(list(x.values()), axis=1))
    means = means_of_networks(emulator.joint, emulator.networks, scaled)[:, :, 0].astype(float)
    log_sigma = [emulator.joint.parts(jnp.asarray(t))[2]["log_sigma"][0] for t in emulator.networks]
    scale, location = emulator.targets.scale[0], emulator.targets.location[0]
    variance = (scale * np.exp(np.asarray(log_sigma, float)))[:, None] ** 2
    log_mean = location + scale * means
    each = np.exp(log_mean + variance / 2)
    np.testing.assert_allclose(p.mean, each.mean(0), rtol=1e-4)
    np.testing.assert_allclose(p.epistemic, each.std(0), rtol=1e-3)
    inner = np.expm1(variance) * each**2
    np.testing.assert_allclose(p.aleatoric, np.sqrt(inner.mean(0)), rtol=1e-3)


def test_draws_and_quantiles_are_of_the_same_distribution(emulator):
    x = {name: column[:5] for name, column in X.items()}
    p = emulator.predict(x)
    draws = p.draws(4000, seed=3)
    assert draws.shape == (4000, 5)
    np.testing.assert_allclose(draws.mean(0), p.mean, rtol=0.02)
    np.testing.assert_allclose(draws.std(0), p.sd, rtol=0.08)
    low, high = p.interval(1, corrected=False)
    found = p.quantile([0.1587, 0.5, 0.8413], n=4000)
    np.testing.assert_allclose(found, [low, p.median, high], rtol=0.03)
    np.testing.assert_allclose(p.median, np.sqrt(low * high), rtol=1e-6)  # of a logarithm
    np.testing.assert_array_equal(p.draws(3, seed=1), p.draws(3, seed=1))


def test_points_do_not_depend_on_their_neighbours(emulator):
    frame = pd.DataFrame(X)
    whole = emulator.predict(frame)
    some = emulator.predict(frame.iloc[1500:1510][["tan", "m"]].assign(other=1.0))
    np.testing.assert_allclose(some.mean, whole.mean[1500:1510], rtol=1e-5)
    np.testing.assert_allclose(some.sd, whole.sd[1500:1510], rtol=1e-4)


def test_corrected_intervals_hold_on_rows_that_nobody_saw(emulator):
    rng = np.random.default_rng(8)
    x = {"m": rng.uniform(120.0, 480.0, 4000), "tan": rng.uniform(2.0, 59.0, 4000)}
    y = np.exp(-x["m"] / 100) * (1 + x["tan"] / 60) * np.exp(0.1 * rng.normal(size=4000))
    p = emulator.predict(x)
    for sigmas in (1, 2):
        low, high = p.interval(sigmas)
        held = emulator.provenance["rows"]["correction"]
        promised = normal_probability(sigmas)
        spread = (promised * (1 - promised) * (1 / 4000 + 1 / held)) ** 0.5
        assert abs(np.mean((low < y) & (y < high)) - promised) < 4 * spread
    with pytest.raises(SettingError, match="no correction for 4"):
        p.interval(4)


def test_rows_are_divided_before_anything_is_trained(emulator):
    rows = emulator.provenance["rows"]
    assert sum(rows.values()) == N
    assert rows["training"] == pytest.approx(0.8 * N, rel=0.05)
    order = RNG.permutation(N)
    again = emulate({k: v[order] for k, v in X.items()}, Y["sigma"][order], **SMALL)
    assert again.provenance["rows"] == rows


def test_saved_and_loaded_predicts_the_same(emulator, tmp_path):
    path = tmp_path / "xsec.posterion"
    emulator.save(path)
    again = posterion.load(path)
    x = {name: column[:9] for name, column in X.items()}
    np.testing.assert_array_equal(again.predict(x).mean, emulator.predict(x).mean)
    assert again.predict(x).interval(2)[0] == pytest.approx(emulator.predict(x).interval(2)[0])
    assert str(again) == str(emulator) and again.status == emulator.status


def test_a_prediction_as_a_table(emulator):
    x = {"m": np.array([200.0, 900.0]), "tan": np.array([10.0, 10.0])}
    table = table_of(emulator.predict(x))
    assert list(table["extrapolated"]) == [0.0, 1.0]
    assert {"sigma", "sigma_sd", "sigma_low", "sigma_high"} <= set(table)
    assert (table["sigma_low"] < table["sigma"]).all()


def test_several_targets_and_arrays():
    x = np.stack(list(X.values()), axis=1)
    both = np.stack([np.log(Y["sigma"]), x[:, 1]], axis=1)
    found = emulate(x, both, **SMALL)
    p = found.predict(x[:4])
    assert p.mean.shape == (4, 2) and p.columns.names == ("y[0]", "y[1]")
    assert found.factors.shape[1] == 2
    assert p.interval(1)[0].shape == (4, 2) and p.draws(3).shape == (3, 4, 2)


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical"])
def test_labels_are_predicted_with_probabilities(likelihood):
    label = (X["tan"] > 30).astype(float)
    found = emulate(X, {"viable": label}, likelihood=likelihood, **{**SMALL, "epochs": 40})
    p = found.predict(X).mean
    p = p[:, 1] if likelihood == "categorical" else p
    assert np.mean((p > 0.5) == label) > 0.9
    assert p.min() >= 0 and p.max() <= 1
    raw, mended = (
        found.health.check(f"expected calibration error, {kind}") for kind in ("raw", "corrected")
    )
    if (mended is None) != (found.provenance["rows"]["correction"] < 100):
        pytest.fail("there is a correction where there are rows for it")
    assert raw is not None
    probability = found.predict(X).probability
    assert probability.shape == found.predict(X).mean.shape
    table = table_of(found.predict(X))
    name = "viable_probability" if likelihood == "bernoulli" else "viable[1]_probability"
    assert name in table and not any(key.endswith("_low") for key in table)


def test_probabilities_are_those_of_the_rows_that_were_held_out():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1500, 2))
    label = (x[:, 0] + 0.5 * rng.normal(size=1500) > 0) * 1.0
    settings = {**SMALL, "correction": 0.4, "sampler": "ensemble"}
    found = emulate(x, label, likelihood="bernoulli", **settings)
    assert found.factors.shape == (2, 1)
    p = found.predict(x[:50])
    logit = np.log(p.mean / (1 - p.mean))
    wanted = 1 / (1 + np.exp(-found.factors[0, 0] * logit - found.factors[1, 0]))
    np.testing.assert_allclose(p.probability, wanted, rtol=1e-6)
    assert p.factors == {}
    with pytest.raises(SettingError, match="have no median"):
        p.median  # noqa: B018
    with pytest.raises(SettingError, match="numbers have no probability"):
        emulate(x, x[:, 0], **settings).predict(x[:2]).probability  # noqa: B018


def test_targets_by_name_and_an_own_module_and_likelihood(tmp_path):
    own = Own(
        lambda out, y: -0.5 * jnp.sum((out - y) ** 2, axis=-1) / 0.01,
        lambda key, out: out + 0.1 * jax.random.normal(key, out.shape),
        lambda out: (out, jnp.full_like(out, 0.01)),
    )
    module = eqx.nn.MLP(2, 1, 5, 1, activation=jnp.tanh, key=jax.random.key(0))
    settings = {**SMALL, "network": module, "likelihood": own, "prior": "hierarchical-gaussian"}
    found = emulate(pd.DataFrame({**X, **Y}), "sigma", log=["sigma"], **settings)
    assert found.inputs.names == ("m", "tan") and found.targets.names == ("sigma",)
    assert np.isfinite(found.predict(X).mean).all()
    with pytest.raises(BundleError):
        found.save(tmp_path / "own.posterion")


def test_chains_of_one_seed_are_the_same_and_resume(tmp_path):
    path = tmp_path / "chains"
    whole = emulate(X, Y, log=["sigma"], **SMALL)
    with pytest.raises(SettingError, match="before the first network"):
        emulate(X, Y, log=["sigma"], path=path, seconds=1e-9, **{**SMALL, "warmup": 2})
    assert path.exists()
    again = emulate(X, Y, log=["sigma"], path=path, resume=True, **{**SMALL, "warmup": 2})
    plain = emulate(X, Y, log=["sigma"], **{**SMALL, "warmup": 2})
    np.testing.assert_array_equal(again.theta, plain.theta)
    assert path.exists()  # until the emulator is saved it is the only copy
    np.testing.assert_array_equal(whole.theta, emulate(X, Y, log=["sigma"], **SMALL).theta)


def test_the_method_of_the_sampler_is_cited(emulator):
    assert emulator.citations[-3:] == ("robnik2023", "cabezas2024", "vehtari2021")
    quick = emulate(X, Y, log=["sigma"], sampler="ensemble", **SMALL)
    assert quick.citations[-1] == "lakshminarayanan2017" and "cabezas2024" not in quick.citations
    assert "eprint = {2212.08549}" in posterion.cite(emulator)
    for method in (*KERNELS.values(), *APPROXIMATIONS.values()):
        assert method.citations and posterion.cite(method)
    both = ("neal1996", "duane1987", "hoffman2021", "hoffman2014")
    assert KERNELS["alternated"].citations == both


def test_chains_begin_at_the_networks_of_another():
    trained = emulate(X, Y, log=["sigma"], **{**SMALL, "sampler": "ensemble"})
    settings = {**SMALL, "sampler": "ensemble", "chains": 3}
    found = emulate(X, Y, log=["sigma"], start=trained, **settings)
    np.testing.assert_array_equal(found.theta[:2], trained.theta)
    np.testing.assert_array_equal(found.theta[2], trained.theta[0])
    np.testing.assert_array_equal(found.history["loss"], trained.history["loss"])
    other = {**SMALL, "network": mlp((3,), "tanh")}
    with pytest.raises(SettingError, match="the networks to start at have 26 numbers"):
        emulate(X, Y, log=["sigma"], start=trained, **other)
    with pytest.raises(SettingError, match="have the inputs m, tan, here they are tan, m"):
        emulate({name: X[name] for name in ("tan", "m")}, Y, start=trained, **settings)
    with pytest.raises(SettingError, match="have the targets sigma, here they are mass"):
        emulate(X, {"mass": Y["sigma"]}, start=trained, **settings)


def test_classes_without_rows_are_said(caplog):
    shares = {"log": [], "units": None, "correction": 0.1, "test": 0.1}
    label = np.where(X["tan"] > 30, 3.0, 1.0)
    rows_of(X, {"kind": label}, likelihood="categorical", **shares)
    assert "of the classes 0 ... 3, kind holds none of 0, 2" in caplog.text
    caplog.clear()
    rows_of(X, {"kind": label // 2}, likelihood="categorical", **shares)
    assert not caplog.text


def test_few_held_out_rows_are_said_and_wide_intervals_have_no_correction():
    few = {name: column[:60] for name, column in X.items()}
    found = emulate(few, Y["sigma"][:60], **SMALL)
    assert "coverage" in found.health.unmeasured[0]
    assert len(found.factors) < 3
    assert found.status is not Status.calibrated
    alone = emulate(X, Y, log=["sigma"], **{**SMALL, "chains": 1})
    assert "R-hat" in alone.health.unmeasured[0] and not alone.status.ok


def test_minibatches_are_taken_by_name():
    found = emulate(X, Y, log=["sigma"], sampler="sghmc", **{**SMALL, "epochs": 30})
    assert found.settings["sampler"].startswith("Sghmc(")
    error = np.abs(found.predict(X).mean / (CLEAN * np.exp(0.005)) - 1)
    assert np.mean(error) < 0.05
    assert len(np.unique(found.theta[..., 0])) > 6


def test_an_overconfident_network_is_called_so():
    """A spread that is fixed at a tenth of the noise."""
    found = emulate(X, Y, log=["sigma"], likelihood=Gaussian(0.01), sampler=Nuts(), **SMALL)
    assert any("sd hold" in reason for reason in found.health.reasons)
    assert found.status in (Status.overconfident, Status.chains_disagree)


MODULE = eqx.nn.Linear(2, 1, key=jax.random.key(0))
NAN = Y["sigma"].copy()
NAN[5] = np.nan


@pytest.mark.parametrize(
    ("x", "y", "settings", "error", "message"),
    [
        (X, NAN, {}, SampleError, "1 rows are not finite, the first is row 5"),
        (X, Y["sigma"] - 1, {"log": ["y"]}, SampleError, "not positive"),
        (X | {"c": np.ones(N)}, Y, {}, SampleError, "constant columns.*: c"),
        (X | {"t": np.array(["a"] * N)}, Y, {}, SampleError, "categories"),
        (np.eye(8)[:, :3], np.arange(8.0), {}, SampleError, "8 rows are too few.*20 are needed"),
        (X, Y["sigma"][:-1], {}, SampleError, "different numbers of rows"),
        (X, "tau", {}, SampleError, "no column tau to be a target; there is m, tan"),
        (X, {"m": X["m"]}, {}, SampleError, "m is among the inputs and the targets"),
        (X, Y, {"log": ["mass"]}, SettingError, "no column mass"),
        (X, Y, {"units": {"mass": "GeV"}}, SettingError, "units: no column mass"),
        (X, Y, {"likelihood": "bernoulli"}, SampleError, "labels are 0 or 1"),
        (X, Y, {"likelihood": "categorical"}, SampleError, "classes are numbers"),
        (X, Y, {"sampler": "gibbs"}, SettingError, "unknown sampler.*nuts, .*ensemble, .*swag"),
        (X, Y, {"correction": 0.9}, SettingError, "shares"),
        (X, Y, {"chains": 0}, SettingError, "must be positive"),
        (X, Y, {"rate": np.inf}, SettingError, "rate must be"),
        (X, Y, {"seed": 2**32}, SettingError, "seed must be within 0 and 4294967295"),
        (X, {"s": Y["sigma"] * 1e300}, {}, SampleError, "s: too large or too small"),
        (X, {"s": Y["sigma"] * 1e-300}, {}, SampleError, "s: too large or too small"),
        (X, Y, {"network": eqx.nn.Linear(3, 1, key=jax.random.key(0))}, SettingError, "2 inputs"),
        (X, Y, {"network": eqx.nn.Linear(2, 4, key=jax.random.key(0))}, SettingError, "gives"),
    ],
    ids=range(21),
)
def test_bad_input_is_refused(x, y, settings, error, message):
    with pytest.raises(error, match=message):
        emulate(x, y, **{**SMALL, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "rmhmc", "network": mlp((60,))}, "rmhmc would .* at most 150 dimensions"),
        ({"sampler": "l2hmc", "network": mlp((60,))}, "l2hmc would .* at most 200 dimensions"),
        ({"sampler": "alternated", "likelihood": Gaussian(0.1)}, "weights alone"),
        ({"sampler": "laplace", "network": MODULE}, "the last layer of Linear"),
        ({"sampler": "flipout", "network": MODULE}, "flipout of Linear"),
        ({"sampler": "concrete-dropout", "network": MODULE}, "Linear"),
        ({"network": mlp((100_000, 100_000))}, "2 networks of 10,000,500,001 numbers need"),
        ({"chains": 10**9}, "fewer chains or a smaller network"),
        ({"draws": 0}, "draws >= 1"),
        ({"thin": 0}, "thin >= 1"),
        ({"resume": True}, "resume needs the file"),
        ({"sampler": "ensemble", "path": "a.chains"}, "path and resume are of chains, and 'ens"),
        ({"sampler": "swag", "resume": True}, "path and resume are of chains, and 'swag' has none"),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_anything_is_trained(
    settings, message, monkeypatch
):
    monkeypatch.setattr(sys.modules[emulate.__module__], "warm_starts", lambda *_, **__: 1 / 0)
    with pytest.raises(SettingError, match=message):
        emulate(X, Y, **{**SMALL, **settings})
    with pytest.raises(ZeroDivisionError):
        emulate(X, Y, **SMALL)


def test_chains_overwrite_no_file(tmp_path):
    table, chains = tmp_path / "scan.csv", tmp_path / "own.chains"
    pd.DataFrame(X | Y).to_csv(table)
    before = table.read_bytes()
    with pytest.raises(CheckpointError, match=r"scan\.csv is there and holds no chains"):
        emulate(table, "sigma", path=table, **SMALL)
    assert table.read_bytes() == before
    emulate(X, Y, path=chains, **SMALL)
    with pytest.raises(CheckpointError, match=r"own\.chains holds chains: resume=True goes on"):
        emulate(X, Y, path=chains, **SMALL)


def test_chains_that_do_not_move_are_called_so():
    """Without a warmup steps are far too long here, and all of them are undone."""
    found = emulate(X, Y, sampler="sghmc", **{**SMALL, "warmup": 0})
    assert found.status is Status.chains_disagree
    assert found.health.reasons[0].startswith("the chains did not move")
    assert not any("R-hat" in check.name for check in found.health.checks)


def test_bad_points_are_refused(emulator):
    with pytest.raises(ThetaError, match="lack the column tan"):
        emulator.predict({"m": X["m"]})
    with pytest.raises(SampleError, match="first in row 1: tan"):
        emulator.predict({"m": np.ones(2), "tan": np.array([1.0, np.nan])})
    with pytest.raises(SampleError, match=r"1 column, the emulator 2: m, tan; x\[None\] is one"):
        emulator.predict(np.zeros(2))
    with pytest.raises(SettingError, match="networks"):
        emulator.predict(X, networks=0)
    with pytest.raises(SettingError, match="n must be a whole number, at least 1"):
        emulator.predict(X).draws(0)
