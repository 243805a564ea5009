"""``compare`` and ``posterion compare``: what is matched with what, and what comes back."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import posterion
from fake_results import FakeResult
from posterion import cli
from posterion.core.errors import SampleError, SettingError, ThetaError
from posterion.core.portable import decode
from posterion.io import write_draws
from posterion.sampling.chain import Chain
from posterion.targets import Parameter
from posterion.training.comparing import pair_samples
from small_learning import NORMAL

QUICK: dict[str, Any] = {"repeats": 3, "classifier": False}
TRUTH = FakeResult().sample(1500, seed=100)


def test_draws_of_a_result_are_at_the_floor_of_its_own_distribution():
    found = posterion.compare(FakeResult(), TRUTH, seed=1)
    assert found.at_floor and found.names == ("m", "w[0]", "w[1]", "phi")
    assert found.rows == (1500, 1500) and found.labels == ("fake", "samples")
    assert abs(found["auc"].pull) < 3
    spread = np.sqrt(751 / (12 * 375 * 375))  # a quarter of the rows
    assert found["auc"].floor.value == 0.5
    assert found["auc"].floor.error == pytest.approx(spread)
    assert "fake against samples, 4 columns" in str(found) and "classifier AUC" in str(found)


def test_what_no_marginal_shows_is_seen_by_the_others():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 2)), rng.normal(size=(4000, 2))
    x[:, 1] *= np.where(x[:, 0] * x[:, 1] < 0, -1.0, 1.0)  # of one sign
    found = posterion.compare(x, y, seed=1)
    assert found["auc"].pull > 10 and found["sliced"].pull > 10 and found["ks"].worst_pull < 4
    assert found["auc"].value == pytest.approx(0.75, abs=0.04)
    assert found["frobenius"].value == pytest.approx(np.sqrt(2) * 2 / np.pi, abs=0.06)


def test_columns_are_matched_by_name_whatever_their_order():
    found = pair_samples(FakeResult(), {k: TRUTH[k] for k in ("phi", "w", "m")} | {"z": TRUTH["m"]})
    np.testing.assert_array_equal(found.second[:, 0], TRUTH["m"])
    np.testing.assert_array_equal(found.second[:, 1:3], TRUTH["w"])
    assert found.columns[3].period == pytest.approx(2 * np.pi)
    assert found.notes == ("not compared, as fake has no such columns: z",)
    frame = pd.DataFrame({"w[1]": TRUTH["w"][:, 1], "w[0]": TRUTH["w"][:, 0]} | {
        k: TRUTH[k] for k in ("m", "phi")})  # fmt: skip
    np.testing.assert_array_equal(pair_samples(FakeResult(), frame).second, found.second)


def test_arrays_are_matched_by_order_and_take_the_names_of_the_other():
    array = np.column_stack([TRUTH["m"], TRUTH["w"], TRUTH["phi"]])
    assert pair_samples(array, TRUTH).columns[0].name == "m"
    assert pair_samples(FakeResult(), array).columns[0].name == "m"
    assert pair_samples(array, array).columns[0].name == "x[0]"


def test_weights_are_a_column_or_an_array_and_give_the_number_of_draws():
    weights = np.where(np.arange(1500) < 750, 1.0, 0.5)
    found = pair_samples(FakeResult(), TRUTH | {"share": weights}, weights="share")
    np.testing.assert_array_equal(found.weights_second, weights)
    assert len(found.first) == round(weights.sum() ** 2 / np.square(weights).sum())
    assert not found.notes
    assert len(pair_samples(FakeResult(), TRUTH, weights=weights, draws=700).first) == 700
    both = posterion.compare(TRUTH, TRUTH, weights=weights, weights_first=weights, **QUICK)
    assert both["ks"].value == 0


def test_the_density_of_a_result_gives_the_ess():
    found = posterion.compare(FakeResult(target=1, tilt=0.6), TRUTH, **QUICK)
    assert found["ess"].value == pytest.approx(np.exp(-(0.6**2) * 0.25), abs=0.03)
    assert found["best_auc"].value > 0.55
    assert "ESS/N" in str(found)
    keys = {m.key for m in posterion.compare(FakeResult(), TRUTH, **QUICK).metrics}
    assert keys.isdisjoint({"ess", "best_auc", "auc"})


def test_a_chain_is_thinned_to_what_it_is_worth():
    rng = np.random.default_rng(1)
    x = np.zeros((4, 3000, 2))
    for t in range(1, 3000):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * rng.normal(size=(4, 2))
    zeros = np.zeros((4, 3000))
    chain = Chain(
        "ar", (Parameter("x", shape=(2,)),), x, zeros, {"diverging": zeros.astype(bool)},
        np.ones(4), "NUTS", 0, 1, 0, 0, 0.0, True,
    )  # fmt: skip
    found = pair_samples(rng.normal(size=(1500, 2)), chain)
    assert len(found.second) == pytest.approx(12_000 / 9, rel=0.25)
    assert "of the chain of samples every" in found.notes[0]


MISNAMED = {"mass": TRUTH["m"], "w": TRUTH["w"], "phi": TRUTH["phi"]}
BROKEN = TRUTH | {"m": np.where(np.arange(1500) == 3, np.inf, TRUTH["m"])}


@pytest.mark.parametrize(
    ("first", "samples", "options", "error", "message"),
    [
        (FakeResult(), MISNAMED, {}, ThetaError, "lack m of fake; they have mass, w"),
        (FakeResult(), TRUTH["w"], {}, SampleError, "fake has 4 columns, the samples 2"),
        (FakeResult(), BROKEN, {}, SampleError, r"samples: 1 of 1500 .* row 3 \(m\)"),
        (FakeResult(), TRUTH | {"m": np.ones(1500)}, {}, SampleError, "constant, leave out: m"),
        (FakeResult(), TRUTH, {"draws": 99}, SampleError, "fake is worth 99 rows; .* needs 500"),
        (FakeResult(), TRUTH, {"weights": "share"}, ThetaError, "no column 'share'"),
        (FakeResult(), TRUTH, {"weights": np.ones(3)}, SampleError, "different numbers of rows"),
        (FakeResult(), TRUTH, {"weights_first": np.ones(3)}, SettingError, "is for draws"),
        (TRUTH, TRUTH, {"draws": 5}, SettingError, "are for a result"),
        (FakeResult(), TRUTH, {"target": NORMAL}, SettingError, "are not the result's"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_named(first, samples, options, error, message):
    with pytest.raises(error, match=message):
        posterion.compare(first, samples, **QUICK, **options)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng = np.random.default_rng(2)
    table = {"b": rng.normal(size=2000), "a": rng.normal(3.0, 2.0, size=2000)}
    flow = posterion.flows.maf(2, transforms=1, hidden=(4,), seed=0)
    fit = posterion.fit(flow, {k: table[k] for k in ("a", "b")}, epochs=2, seed=1, name="toy")
    folder = tmp_path_factory.mktemp("compare")
    fit.save(folder / "toy.posterion")
    write_draws(folder / "truth.parquet", table | {"share": np.ones(2000)})
    return folder


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return exit.value.code or 0, captured.out, captured.err


def test_the_command_prints_the_table_and_writes_json_and_a_page(file, capsys):
    code, out, err = run(
        capsys, "compare", file / "toy.posterion", file / "truth.parquet", "--out", file / "out",
        "--draws", 1000, "--seed", 3, "--weights", "share",
    )  # fmt: skip
    assert code == 0, err
    assert "toy against samples, 2 columns" in out and "toy 1000, samples 2000" in out
    card = decode(json.loads((file / "out" / "comparison.json").read_text()))
    assert card["names"] == ["a", "b"] and card["rows"] == [1000, 2000]
    again = posterion.compare(
        posterion.load(file / "toy.posterion"), file / "truth.parquet", weights="share",
        draws=1000, seed=3,
    )  # fmt: skip
    assert decode(again.to_json())["metrics"] == card["metrics"]
    page = (file / "out" / "comparison.html").read_text()
    for part in ("Metrics", "Columns", "Densities", "KS p-value", "floor", again.verdict[:12]):
        assert part in page
    assert page.count("<img") == 2


def test_the_command_says_what_is_wrong(file, capsys):
    bundle = file / "toy.posterion"
    write_draws(file / "other.csv", {"a": np.zeros(9), "c": np.zeros(9)})
    code, _, err = run(capsys, "compare", bundle, file / "other.csv", "--out", file / "out2")
    assert code == 1 and "error: the samples lack b of toy; they have a, c" in err
    code, _, err = run(capsys, "compare", bundle, file / "nowhere.csv", "--out", file / "out2")
    assert code == 1 and "nowhere.csv" in err
    code, _, err = run(capsys, "compare", bundle, file / "other.csv", "--draws", "few")
    assert code == 2 and "--draws takes a whole number" in err
