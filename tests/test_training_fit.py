"""Fits: exact densities learned from samples, in every form in which samples come."""

import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import posterion
from posterion.core.errors import (
    ExpensiveDirectionWarning,
    SampleError,
    SettingError,
    ThetaError,
)
from posterion.sampling.chain import Chain
from posterion.training import fit as fit_module_verb
from posterion.training import running, supports
from posterion.training.losses import Loss, NegativeLogLikelihood

COVARIANCE = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 0.5]])
NORMAL = stats.multivariate_normal([10.0, -3e4, 0.0], COVARIANCE)
QUICK = {"epochs": 3, "batch": 200, "rate": 2e-3, "quiet": True}


def draws(n=4000, seed=0):
    return NORMAL.rvs(n, random_state=seed)


def small(dim=3, **options):
    return posterion.flows.maf(dim, transforms=2, hidden=(8,), **options)


@pytest.fixture(scope="module")
def normal():
    return posterion.fit(small(), draws(), seed=1, **QUICK)


def test_a_normal_distribution_in_any_units(normal):
    x = draws(20_000, seed=5)
    gain = normal.log_prob(x) - NORMAL.logpdf(x)
    assert abs(gain.mean()) < 0.02  # -KL of truth to fit
    assert normal.status.name == "fitted" and normal.status.ok
    assert "held-out" in str(normal) and "energy distance" in str(normal)
    drawn = normal.sample(20_000, seed=2)
    assert isinstance(drawn, np.ndarray) and drawn.shape == (20_000, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), NORMAL.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), COVARIANCE, atol=0.08)
    assert np.array_equal(drawn[:100], normal.sample(100, seed=2))
    assert list(normal.history["epoch"]) == [1, 2, 3]


def test_results_answer_questions(normal):
    summary = normal.summary(n=5000)
    np.testing.assert_allclose(summary.mean, NORMAL.mean, atol=0.1)
    assert normal.columns == ("x[0]", "x[1]", "x[2]")
    derived = normal.derive(lambda t: t["x"][:, 0] - t["x"][:, 1], n=2000)
    assert derived.summary.mean[0] == pytest.approx(30_010, abs=0.1)
    assert normal.to_arviz(n=100).posterior["x"].shape == (1, 100, 3)
    prior = normal.as_numpyro()
    point = np.asarray(NORMAL.mean)
    assert float(prior.log_prob(jnp.asarray(point))) == pytest.approx(
        float(normal.log_prob(point)[0]), abs=0.05
    )


def test_a_page_and_a_table_of_draws(normal, tmp_path):
    from posterion.cli import main

    normal.report(tmp_path / "fit.html")
    page = (tmp_path / "fit.html").read_text()
    assert "held-out ones" in page and "Log evidence" not in page
    normal.save(tmp_path / "normal.posterion")
    table = tmp_path / "draws.parquet"
    with pytest.raises(SystemExit) as ended:
        main(["sample", str(tmp_path / "normal.posterion"), "-n", "50", "-o", str(table)])
    assert ended.value.code == 0
    assert np.array_equal(posterion.io.read_table(table)["x"], normal.sample(50, seed=1))


def test_saved_and_loaded_it_is_the_same(normal, tmp_path):
    normal.save(tmp_path / "normal.posterion")
    again = posterion.load(tmp_path / "normal.posterion")
    assert np.array_equal(again.sample(50, seed=3), normal.sample(50, seed=3))
    assert np.array_equal(again.log_prob(draws(20)), normal.log_prob(draws(20)))
    assert str(again) == str(normal) and again.status is normal.status


def test_the_same_seed_gives_the_same_bits_and_compiles_nothing(normal):
    before = running.run_segment._cached._cache_size()
    again = posterion.fit(small(), draws(), seed=1, **QUICK)
    assert running.run_segment._cached._cache_size() == before
    assert np.array_equal(again.sample(50, seed=3), normal.sample(50, seed=3))
    other = posterion.fit(small(), draws(), seed=2, **QUICK)
    assert not np.array_equal(other.sample(50, seed=3), normal.sample(50, seed=3))


def table(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    energy = rng.gamma(4.0, 25.0, n)
    return {
        "angle": (rng.vonmises(3.0, 2.0, n) + np.pi) % (2 * np.pi),
        "mass": rng.exponential(2.0, n) + 5,
        "pair": np.stack([rng.uniform(0, 1, n), rng.normal(energy / 100)], axis=1),
        "energy": energy,
        "w": rng.uniform(0.5, 1.5, n),
    }


def test_tables_with_units_bounds_angles_context_and_weights():
    parameters = [
        posterion.Parameter("angle", unit="rad", lower=0, upper=2 * np.pi, periodic=True),
        posterion.Parameter("mass", unit="GeV", lower=5),
        posterion.Parameter("pair", shape=(2,)),
    ]
    flow = small(4, periodic=[True, False, False, False], context_dim=1)
    given = {"weights": "w", "context": ["energy"], "parameters": parameters}
    results = [
        posterion.fit(flow, form, **given, **QUICK)
        for form in (table(), pd.DataFrame({k: list(v) for k, v in table().items() if k != "pair"}))
        if "pair" in form
    ]
    result = results[0]
    drawn = result.sample(7, context={"energy": np.array([50.0, 200.0])}, seed=1)
    assert {k: v.shape for k, v in drawn.items()} == {
        "angle": (2, 7),
        "mass": (2, 7),
        "pair": (2, 7, 2),
    }
    many = result.given({"energy": 100.0}).sample(2000, seed=1)
    assert many["mass"].min() >= 5 and 0 <= many["angle"].min() <= many["angle"].max() < 2 * np.pi
    assert abs(many["pair"][:, 1].mean() - 1.0) < 0.25
    assert result.given({"energy": 100.0}).summary("mass", n=1000).mean[0] == pytest.approx(
        7, abs=1
    )
    outside = {"angle": [1.0], "mass": [4.9], "pair": [[0.5, 0.0]]}
    assert result.log_prob(outside, context=[100.0])[0] == -np.inf
    with pytest.raises(SettingError, match="needs a context: energy"):
        result.sample(5, seed=0)


def test_a_data_frame_gives_a_dict():
    frame = pd.DataFrame(draws(500), columns=["a", "b", "c"])
    result = posterion.fit(small(), frame, **QUICK)
    assert list(result.sample(4, seed=0)) == ["a", "b", "c"]
    assert np.array_equal(
        result.log_prob(frame[:5]), result.log_prob({k: frame[k][:5].to_numpy() for k in "abc"})
    )


def test_weights_move_the_density():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 1))
    result = posterion.fit(small(1), x, weights=np.exp(x[:, 0] - 0.5), **QUICK)
    assert result.sample(20_000, seed=1).mean() == pytest.approx(1.0, abs=0.08)
    assert result.provenance["effective_rows"] < 0.6 * 6000


def test_bounds_of_the_flow_are_those_of_the_samples():
    rng = np.random.default_rng(0)
    x = np.stack([rng.uniform(0.1, 0.7, 3000), rng.exponential(1.0, 3000)], axis=1)
    x[0, 0] = 0.1  # on the bound
    result = posterion.fit(small(2, bounds=[(0.1, 0.7), (0, None)]), x, **QUICK)
    truth = -np.log(0.6) + stats.expon.logpdf(x[:500, 1])
    assert abs(np.mean(result.log_prob(x[1:500]) - truth[1:])) < 0.02
    drawn = result.sample(1000, seed=1)
    assert drawn[:, 0].min() >= 0.1 and drawn[:, 0].max() <= 0.7 and drawn.min() >= 0


def test_a_chain_and_its_density():
    def log_density(theta):
        return -0.5 * jnp.sum(theta["x"] ** 2, axis=-1)

    parameters = (posterion.Parameter("x", shape=(2,)),)
    target = posterion.Target(log_density, parameters, vectorized=True)
    x = np.random.default_rng(0).normal(size=(2, 300, 2))
    line = np.zeros((2, 300))
    chain = Chain("n", parameters, x, line, {}, np.ones(2), "NUTS", 0, 0, 0, 0, 0.0, True)
    result = posterion.fit(
        small(2), chain, target=target, loss="samples_and_density", **{**QUICK, "epochs": 20}
    )
    points = np.random.default_rng(1).normal(size=(5000, 2))
    exact = stats.multivariate_normal(np.zeros(2)).logpdf(points)
    assert abs(np.mean(result.log_prob({"x": points}) - exact)) < 0.01  # 600 rows alone: 0.01 off
    assert result.has_density


def test_samples_of_a_target_are_matched_by_name():
    names = [posterion.Parameter("a"), posterion.Parameter("b")]
    target = posterion.Target(lambda t: -0.5 * (t["a"] ** 2 + (t["b"] - 9) ** 2), names)
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=800), rng.normal(9, 1, 800)
    result = posterion.fit(small(2), {"b": b, "a": a}, target=target, seed=0, **QUICK)
    assert [p.name for p in result.parameters] == ["a", "b"]
    drawn = result.sample(2000, seed=1)
    assert abs(drawn["a"].mean()) < 0.3 and abs(drawn["b"].mean() - 9) < 0.3
    with pytest.raises(ThetaError, match="no column 'b'; known: a, c"):
        posterion.fit(small(2), {"a": a, "c": b}, target=target, **QUICK)
    with pytest.raises(SampleError, match="samples have 3 columns, the parameters are a, b"):
        posterion.fit(small(2), rng.normal(size=(800, 3)), target=target, **QUICK)
    with pytest.raises(SettingError, match="parameters are a, b, those given b, a"):
        posterion.fit(small(2), {"a": a, "b": b}, target=target, parameters=names[::-1], **QUICK)
    with pytest.raises(SampleError, match="constant"):
        posterion.fit(small(2), {"a": np.ones(800), "b": b}, target=target, **QUICK)


def test_flow_matching_learns_what_likelihood_does():
    flow = posterion.flows.continuous(3, hidden=(16, 16), steps=8)
    result = posterion.fit(
        flow, draws(), loss="flow_matching", whiten="scale", **{**QUICK, "epochs": 40, "rate": 5e-3}
    )
    x = draws(5000, seed=5)
    assert abs(np.mean(result.log_prob(x) - NORMAL.logpdf(x))) < 0.05
    np.testing.assert_allclose(np.cov(result.sample(5000, seed=1).T), COVARIANCE, atol=0.12)


def test_flow_matching_is_judged_by_what_it_minimises():
    """The held-out loss is the regression's, over the same draws and times each time."""
    from posterion.bijections.continuous import flow_matching_loss
    from posterion.training.losses import FlowMatching, continuous_of

    flow = posterion.flows.continuous(3, hidden=(16,), steps=8, seed=1)
    rows = draws(3000).astype(np.float32)
    found, again = (FlowMatching().costs(flow, rows, None) for _ in range(2))
    np.testing.assert_array_equal(found, again)
    z = jax.random.normal(jax.random.key(3), rows.shape)
    loss = flow_matching_loss(continuous_of(flow), z, jax.numpy.asarray(rows), jax.random.key(4))
    assert found.shape == (3000,) and found.mean() == pytest.approx(float(loss), rel=0.05)


def test_settings_change_how_it_learns():
    averaged = posterion.fit(small(), draws(1000), average=0.9, **QUICK)
    assert np.isfinite(averaged.log_prob(draws(10))).all()
    plateau = posterion.fit(
        small(), draws(600), schedule="plateau", patience=3, **{**QUICK, "epochs": 60, "rate": 0.05}
    )
    assert "stopped as the held-out loss no longer fell" in str(plateau)
    kept = int(np.argmin(plateau.history["valid"])) + 1
    assert plateau.health.check("epochs").note.startswith(f"the one kept: {kept};")


@pytest.mark.parametrize("suffix", [".parquet", ".h5", ".csv", ".npz"])
def test_files_larger_than_memory(tmp_path, suffix, monkeypatch):
    columns = table(2500)
    path = tmp_path / f"table{suffix}"
    posterion.io.write_draws(path, columns)
    flow = small(2)
    parameters = [posterion.Parameter("pair", shape=(2,))]
    held = posterion.fit(flow, path, parameters=parameters, weights="w", **QUICK)
    monkeypatch.setattr("posterion.training.feeding.IN_MEMORY", 0)
    read = posterion.fit(flow, path, parameters=parameters, weights="w", **QUICK)
    assert held.provenance["rows"] == read.provenance["rows"] == 2500
    points = {"pair": columns["pair"][:500]}
    assert abs(np.mean(held.log_prob(points) - read.log_prob(points))) < 0.05
    for result in (held, read):  # each of its own rows
        of_train, of_held = (
            result.health.check(f"log-density, {rows} rows").value
            for rows in ("training", "held-out")
        )
        assert of_train != of_held and abs(of_train - of_held) < 0.3


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(run_python, tmp_path):
    """200 MB in Parquet: the process may grow by a fraction of it."""
    rng = np.random.default_rng(0)
    for name, rows in (("small", 50_000), ("large", 2_500_000)):
        columns = {f"x{i}": rng.normal(size=rows) for i in range(10)}
        posterion.io.write_draws(tmp_path / f"{name}.parquet", columns)
    run_python(
        """
import resource, posterion
from posterion.training import feeding
feeding.IN_MEMORY = 0
peaks = []
for name in ("small", "large"):
    flow = posterion.flows.maf(10, transforms=1, hidden=(8,))
    fit = posterion.fit(flow, f"{name}.parquet", epochs=1, batch=5000, quiet=True)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
assert fit.provenance["rows"] == 2_500_000
assert peaks[1] - peaks[0] < 120, peaks
"""
    )


def test_two_devices_give_what_one_gives(run_python):
    run_python(
        """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax, numpy as np, posterion
assert len(jax.devices()) == 2
x = np.random.default_rng(0).normal(size=(1000, 2)) * [1.0, 5.0]
flow = posterion.flows.maf(2, transforms=1, hidden=(8,))
options = dict(epochs=2, batch=100, quiet=True)
one = posterion.fit(flow, x, **options)
two = posterion.fit(flow, x, devices=jax.devices(), **options)
np.testing.assert_allclose(one.log_prob(x[:50]), two.log_prob(x[:50]), atol=1e-4)
np.testing.assert_allclose(one.history["valid"], two.history["valid"], atol=1e-4)
"""
    )


def test_two_processes_give_what_one_gives(tmp_path):
    code = """
import sys
import jax, numpy as np, posterion
rank, port, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.distributed.initialize(f"localhost:{port}", 2, rank)
assert len(jax.devices()) == 2 and len(jax.local_devices()) == 1
x = np.random.default_rng(0).normal(size=(1000, 2)) * [1.0, 5.0]
flow = posterion.flows.maf(2, transforms=1, hidden=(8,))
options = dict(epochs=2, batch=100, quiet=True, checkpoint=f"{folder}/kept")
result = posterion.fit(flow, x, devices=jax.devices(), **options)
np.save(f"{folder}/{rank}.npy", result.log_prob(x[:50]))
"""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), port, str(tmp_path)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    x = np.random.default_rng(0).normal(size=(1000, 2)) * [1.0, 5.0]
    flow = posterion.flows.maf(2, transforms=1, hidden=(8,))
    one = posterion.fit(flow, x, epochs=2, batch=100, quiet=True).log_prob(x[:50])
    both = [np.load(tmp_path / f"{rank}.npy") for rank in (0, 1)]
    assert np.array_equal(*both)
    np.testing.assert_allclose(one, both[0], atol=1e-4)


class Broken(NegativeLogLikelihood):
    def value(self, flow, batch, key, inputs):
        loss = super().value(flow, batch, key, inputs)
        return loss * jnp.where(jax.random.uniform(key) < 0.5, jnp.nan, 1.0)


class Lost(Loss):
    def value(self, flow, batch, key, inputs):
        return jnp.nan * jnp.sum(flow.log_prob(batch.v[0]))


def test_steps_without_a_finite_gradient_are_skipped_and_counted():
    result = posterion.fit(small(), draws(1000), loss=Broken(), **QUICK)
    assert "gradient that was not finite were skipped" in str(result)
    assert np.isfinite(result.log_prob(draws(5))).all()
    lost = posterion.fit(small(), draws(1000), loss=Lost(), **QUICK)
    assert lost.status.name == "failed" and np.isfinite(lost.log_prob(draws(5))).all()


def spoiled(row, column, value):
    x = draws(100)
    x[row, column] = value
    return x


ERRORS = {
    "ragged": (lambda: [[1.0], [1.0, 2.0]], {}, "ragged"),
    "text": (lambda: {"a": np.array(["x"] * 9)}, {}, "'a' has dtype"),
    "nan": (
        lambda: spoiled(7, 1, np.nan),
        {},
        r"1 rows are not finite, in x\[1\] \(the first: 7\)",
    ),
    "inf": (
        lambda: spoiled(8, 1, np.inf),
        {},
        r"not finite, in x\[1\] \(the first: 8\); .*drop=True",
    ),
    "constant": (lambda: draws(99) * [1, 0, 1], {}, r"constant: x\[1\]"),
    "twice": (lambda: draws(99)[:, [0, 1, 1]], {}, r"same up to scale: x\[1\] and x\[2\]"),
    "few rows": (lambda: draws(3), {}, "3 usable rows for 3 coordinates"),
    "one-dimensional": (lambda: draws(9)[:, 0], {}, r"\(n, dim\)"),
    "negative weight": (lambda: draws(9), {"weights": np.r_[np.ones(8), -1]}, "weight of row 8"),
    "no weight": (lambda: draws(9), {"weights": np.zeros(9)}, "weights are zero"),
    "weights of another length": (lambda: draws(9), {"weights": np.ones(5)}, "numbers of rows"),
    "empty": (lambda: np.zeros((0, 3)), {}, "row"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_samples_that_cannot_be_learned_from(name):
    samples, options, message = ERRORS[name]
    with pytest.raises(SampleError, match=message):
        posterion.fit(small(), samples(), **options, **QUICK)


def test_rows_outside_of_the_support_are_named_or_dropped():
    x = np.abs(draws(300)[:, [0, 2]])
    x[[3, 5], 1] = -1
    flow = small(2, bounds=[None, (0, None)])
    with pytest.raises(SampleError, match=r"2 rows have x\[1\] outside .*the first: 3, 5"):
        posterion.fit(flow, x, **QUICK)
    result = posterion.fit(flow, x, drop=True, **QUICK)
    assert "dropped: 2 rows have x[1] outside" in str(result)
    assert result.provenance["rows"] == 298


def test_float16_is_said_so():
    result = posterion.fit(small(1), np.float16(draws(300)[:, 2:]), **QUICK)
    assert "float16" in str(result)


@pytest.mark.parametrize(
    ("flow", "options", "error", "message"),
    [
        (small(2), {}, SettingError, "events of shape"),
        (small(context_dim=2), {}, SettingError, "context_dim=0"),
        (small(), {"context": np.ones((99, 2))}, SettingError, "context_dim=2"),
        (small(), {"epoch": 3}, SettingError, "unknown settings .'epoch'.; known: epochs"),
        (small(), {"batch": 0}, SettingError, "batch must be a whole number, at least 1"),
        (small(), {"schedule": "linear"}, SettingError, "one of cosine, plateau"),
        (small(), {"loss": "mse"}, SettingError, "choose one of nll"),
        (small(), {"loss": "samples_and_density"}, SettingError, "target="),
        (small(), {"loss": "flow_matching"}, SettingError, "continuous"),
        (small(), {"seed": -1}, SettingError, "seed"),
        (small(), {"resume": True}, SettingError, "checkpoint="),
        (small(), {"weights": "w"}, ThetaError, "no column 'w'"),
        (small(), {"devices": []}, SettingError, "at least one device"),
    ],
)
def test_settings_that_do_not_fit(flow, options, error, message):
    with pytest.raises(error, match=message):
        fit_module_verb(flow, draws(99), **(QUICK | options))


def test_the_slow_direction_is_said_once(monkeypatch):
    monkeypatch.setattr(supports, "_warned", set())
    monkeypatch.setattr(supports, "MANY", 2)
    with pytest.warns(ExpensiveDirectionWarning, match="density of this flow goes"):
        posterion.fit(posterion.flows.iaf(3, transforms=1, hidden=(8,)), draws(99), **QUICK)
    posterion.fit(posterion.flows.iaf(3, transforms=1, hidden=(8,)), draws(99), **QUICK)
