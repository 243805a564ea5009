"""``check_calibration`` of conditional fits: an exact one passes, broken ones fail."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import posterion
from posterion import Parameter
from posterion.core.errors import SampleError, SettingError, ThetaError

PARAMETERS = [Parameter("a", unit="pb", lower=-1.0, upper=2.0), Parameter("b", shape=(2,))]


def simulated(n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 2, n), rng.normal(size=(n, 2))
    u = a + 0.3 * rng.normal(size=n)
    v = b + np.stack([a, -a], axis=1) + rng.normal(size=(n, 2))
    return {"a": a, "b": b}, {"u": u, "v": v}


@pytest.fixture(scope="module")
def amortised():
    theta, x = simulated(6000, 1)
    flow = posterion.flows.maf(3, context_dim=3, transforms=2, hidden=(32,))
    return posterion.fit(
        flow, theta, context=x, parameters=PARAMETERS, epochs=20, rate=5e-3, name="toy", quiet=True
    )


def test_named_parameters_bounds_and_context(amortised):
    theta, x = simulated(300, 2)
    draws = amortised.sample(5, context=x, seed=1)
    assert draws["a"].shape == (300, 5) and draws["b"].shape == (300, 5, 2)
    assert (draws["a"] > -1).all() and (draws["a"] < 2).all()
    assert amortised.log_prob(theta, x).shape == (300,)
    assert amortised.context == ("u", "v[0]", "v[1]")


def test_a_trained_posterior_is_calibrated(amortised):
    theta, x = simulated(300, 3)
    found = posterion.check_calibration(amortised, theta, x, draws=100, quiet=True)
    assert found.ok, str(found)
    assert found.names == ("a", "b[0]", "b[1]", "log-density", "distance")
    assert found.name == "toy" and found.draws == 100
    again = posterion.check_calibration(
        amortised,
        {**theta, **x},
        draws=100,
        quantities={"sum": lambda t, c: t["a"] + t["b"].sum(axis=1) - 0 * c[:, 0]},
        quiet=True,
    )
    assert np.array_equal(again["a"], found["a"]) and again.ok and "sum" in again.names


@pytest.mark.parametrize(("which", "factor"), [("narrow", 0.7), ("wide", 1.4)])
def test_a_posterior_broken_on_purpose_fails(amortised, which, factor):
    """The draws pulled towards the posterior's mean, or pushed away from it."""
    theta, x = simulated(300, 4)

    class Broken:
        parameters, context, name = PARAMETERS, amortised.context, which

        def sample(self, n, *, context, seed):
            draws = amortised.sample(n, context=context, seed=seed)
            means = {k: v.mean(axis=1, keepdims=True) for k, v in draws.items()}
            return {k: means[k] + factor * (v - means[k]) for k, v in draws.items()}

    found = posterion.check_calibration(Broken(), theta, x, draws=100, density=False, quiet=True)
    assert not found.ok and f"too {which}" in found.verdict
    with pytest.raises(AttributeError):
        posterion.check_calibration(Broken(), theta, x, draws=100, quiet=True)


def test_a_posterior_given_the_wrong_data_fails(amortised):
    theta, x = simulated(300, 5)
    wrong = {"u": x["u"] + 0.3, "v": x["v"]}
    found = posterion.check_calibration(amortised, theta, wrong, draws=100, quiet=True)
    assert not found.ok and "a (too high)" in found.verdict


def test_bad_input_is_named(amortised):
    theta, x = simulated(40, 6)
    with pytest.raises(SampleError, match="different numbers of rows"):
        posterion.check_calibration(amortised, theta, {k: v[:30] for k, v in x.items()})
    with pytest.raises(ThetaError, match="'b'"):
        posterion.check_calibration(amortised, {"a": theta["a"]}, x)
    with pytest.raises(ThetaError, match="lacks"):
        posterion.check_calibration(amortised, theta, {"u": x["u"]})
    with pytest.raises(SettingError, match="has no context"):
        posterion.check_calibration(replace(amortised, context=()), theta, x)
    with pytest.raises(SettingError, match="at least 20"):
        posterion.check_calibration(
            amortised, {k: v[:5] for k, v in theta.items()}, {k: v[:5] for k, v in x.items()}
        )


def test_the_command_line(amortised, tmp_path, capsys):
    import json

    from posterion.cli import main

    theta, x = simulated(60, 7)
    amortised.save(tmp_path / "toy.posterion")
    columns = {**theta, **x}
    table = {
        f"{name}[{i}]" if array.ndim > 1 else name: column
        for name, array in columns.items()
        for i, column in enumerate(np.atleast_2d(array.T))
    }
    table["w"] = np.linspace(0.9, 1.0, 60)
    pd.DataFrame(table).to_parquet(tmp_path / "pairs.parquet")
    files = [str(tmp_path / name) for name in ("toy.posterion", "pairs.parquet")]
    with pytest.raises(SystemExit) as left:
        main(["calibration", *files, "--draws", "50", "--out", str(tmp_path)])
    assert left.value.code == 0
    assert "Calibration of toy: 60 pairs, 50 draws each" in capsys.readouterr().out
    assert json.loads((tmp_path / "calibration.json").read_text())["pairs"] == 60
    assert "Distribution of ranks" in (tmp_path / "calibration.html").read_text()
    with pytest.raises(SystemExit) as left:
        main(["closure", *files, "--cube", "u=-3:3", "--draws", "50", "--out", str(tmp_path)])
    assert left.value.code == 0
    assert "in the cube -3 < u < 3" in capsys.readouterr().out
    assert json.loads((tmp_path / "closure.json").read_text())["rows"] == 60
    assert "Ratios of marginals" in (tmp_path / "closure.html").read_text()
    with pytest.raises(SystemExit) as left:
        main(["closure", *files, "--weights", "w", "--draws", "50", "--out", str(tmp_path)])
    assert left.value.code == 0
    assert "of 60 pairs, chosen as probably as they weigh" in capsys.readouterr().out
    for cube in ("u", "=1:2", "u="):
        with pytest.raises(SystemExit) as left:
            main(["closure", *files, "--cube", cube, "--out", str(tmp_path)])
        assert left.value.code == 2
        assert "NAME=LOW:HIGH" in capsys.readouterr().err
