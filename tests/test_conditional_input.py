"""What conditional fits refuse, and what they warn of: each with its name and what to do."""

import numpy as np
import pandas as pd
import pytest

import posterion
from posterion.cli import main
from posterion.core.errors import DensityError, SampleError, SettingError, ThetaError
from posterion.training.discrete import look_for_repeats
from posterion.training.pairing import joined
from posterion.training.ranges import beyond, classes_in, strange_classes
from posterion.training.samples import gather_samples

QUICK = {"epochs": 1, "batch": 100, "quiet": True, "seed": 1}


def pairs(n=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 2, (n, 2))
    return x[:, :1] + rng.normal(size=(n, 1)), x


def network(dim=1, context_dim=2):
    return posterion.quantile_network(dim, context_dim, hidden=(4,), bins=2)


@pytest.fixture(scope="module")
def fitted():
    y, x = pairs()
    table = pd.DataFrame(x, columns=["pt", "eta"])
    return posterion.fit(network(), y, context=table, name="jets", **QUICK)


def said(caplog):
    return [record.getMessage() for record in caplog.records]


# Outside of the training range ------------------------------------------------------------------


def test_conditions_outside_of_the_training_range_are_named(fitted, caplog):
    inside, outside = [[1.0, 1.0]], np.array([[1.0, 1.0], [3.0, 1.0], [5.0, -2.0]])
    fitted.sample(2, context=inside, seed=0)
    assert not said(caplog)
    np.testing.assert_array_equal(fitted.outside(outside), [False, True, True])
    for ask in (
        lambda: fitted.sample(2, context=outside, seed=0),
        lambda: fitted.log_prob([[0.0]] * 3, outside),
        lambda: fitted.quantile([0.5, 0.9], context=outside),
        lambda: fitted.quantile(0.5, context=outside, n=300_000),
    ):
        caplog.clear()
        ask()
        (message,) = said(caplog)
        assert message.startswith("2 of 3 conditions lie outside of what 'jets' was trained on: pt")
        assert "pt in 2 (seen: 0." in message and "eta in 1 (seen" in message
    caplog.clear()
    fixed = fitted.given({"pt": 9.0, "eta": 1.0})
    fixed.sample(5, seed=0)  # said once, where it was fixed
    assert len(said(caplog)) == 1 and "up to 3.5 of that range" in said(caplog)[0]


def test_the_end_of_a_tail_is_no_extrapolation(fitted, caplog):
    many = np.tile([[1.0, 1.0]], (1000, 1))
    many[0, 0] = 2.02
    fitted.sample(1, context=many, seed=0)
    assert not said(caplog) and fitted.outside(many).sum() == 1
    fitted.sample(1, context=many[:1], seed=0)
    assert len(said(caplog)) == 1


def test_the_range_is_kept_in_the_file_and_old_files_have_none(fitted, tmp_path):
    fitted.save(tmp_path / "jets.posterion")
    again = posterion.load(tmp_path / "jets.posterion")
    np.testing.assert_array_equal(again.context_range, fitted.context_range)
    object.__setattr__(again, "context_range", None)
    again.sample(1, context=[[9.0, 9.0]], seed=0)
    with pytest.raises(SettingError, match="knows no range"):
        again.outside([[9.0, 9.0]])


def test_an_ensemble_says_it_once(fitted, caplog):
    both = posterion.Ensemble.of([fitted, fitted])
    far = [[9.0, 1.0]] * 3
    for ask in (
        lambda: both.sample(4, context=far, seed=0),
        lambda: both.predict(far, n=200_000),
        lambda: both.log_prob([[0.0]] * 3, far),
        lambda: both.given([9.0, 1.0]),
    ):
        caplog.clear()
        ask()
        assert len(said(caplog)) == 1
    assert both.outside(far).all()


def test_how_far_beyond():
    seen = np.array([[0.0, 5.0], [10.0, 5.0]])
    found = beyond(np.array([[-5.0, 5.0], [10.0, 6.0], [10.0 + 1e-7, 5.0]]), seen)
    np.testing.assert_allclose(found, [[0.5, 0], [0, 0.2], [0, 0]])


# Outputs without a density ----------------------------------------------------------------------


@pytest.mark.parametrize("column", [np.arange(400) % 2, np.arange(400) % 20])
def test_discrete_outputs_are_refused(column):
    y, x = pairs()
    table = {"pt": y[:, 0], "charge": column.astype(float)}
    with pytest.raises(SampleError, match=r"charge takes \d+ values only \(0, 1.*likelihood="):
        posterion.fit(network(2), table, context=x, **QUICK)


def test_spikes_and_steps_are_warned_of(caplog):
    y, x = pairs(600)
    y[:18] = 0.0
    found = posterion.fit(network(), {"E": y[:, 0]}, context=x, **QUICK)
    assert any(
        message.startswith("E is 0 in 0.03 of the rows: a spike") for message in said(caplog)
    )
    assert "a spike" in str(found)
    (note,) = look_for_repeats(["n"], np.random.default_rng(0).poisson(60, (3000, 1)).astype(float))
    assert note.startswith("n goes in steps: ")
    rng = np.random.default_rng(1)
    plain = rng.normal(size=(20_000, 2)).astype(np.float32).astype(float)
    again = np.repeat(rng.normal(size=(2000, 1)), 5, axis=0)  # a Metropolis chain
    assert not look_for_repeats(["a", "b"], plain) and not look_for_repeats(["a"], again)


def test_a_constant_output_is_refused_with_its_name():
    y, x = pairs()
    with pytest.raises(SampleError, match=r"constant: mass; .* leave them out"):
        posterion.fit(network(2), {"pt": y[:, 0], "mass": 0 * y[:, 0]}, context=x, **QUICK)


def test_holes_are_named_by_their_columns():
    y, x = pairs()
    x[3, 1] = np.nan
    with pytest.raises(SampleError, match=r"1 rows are not finite, in context eta \(the first: 3"):
        posterion.fit(network(), y, context={"pt": x[:, 0], "eta": x[:, 1]}, **QUICK)


def test_fewer_rows_than_weights_are_said(caplog):
    y, x = pairs(60)
    found = posterion.fit(posterion.quantile_network(1, 2), y, context=x, **QUICK)
    assert any("60 rows for " in message and " weights" in message for message in said(caplog))
    assert "60 rows for" in str(found)


# Pairs ------------------------------------------------------------------------------------------


def tables():
    """Reconstructed and generated jets; the third column is the event's number."""
    gen = pd.DataFrame({"gen": np.arange(6.0), "event": [5, 3, 1, 0, 2, 4]})
    reco = pd.DataFrame({"reco": gen["gen"] + 0.5, "event": gen["event"]})
    return reco, gen


def whole(found):
    return np.concatenate(list(found.rows.chunks()))


def test_indexes_in_another_order_are_refused():
    reco, gen = tables()
    shuffled = gen.sample(frac=1, random_state=1)
    said = r"samples and context .* has in another order, first in row 0 \(0 and "
    with pytest.raises(SampleError, match=said):
        gather_samples(reco[["reco"]], context=shuffled[["gen"]])
    with pytest.raises(SampleError, match=r"has other ones, first in row 0 \(0 and 6\)"):
        gather_samples(reco[["reco"]], context=gen[["gen"]].set_axis(range(6, 12)))
    with pytest.raises(SampleError, match="samples and weights"):
        gather_samples(reco[["reco"]], weights=pd.Series(np.ones(6)).iloc[::-1])
    chosen = gen["gen"] > 2
    found = whole(gather_samples(reco[["reco"]][chosen], context=gen[["gen"]][chosen]))
    np.testing.assert_allclose(found[:, 0] - found[:, 1], 0.5)
    with pytest.raises(SampleError, match=r"different numbers of rows: reco 6, .*gen 5"):
        gather_samples(reco[["reco"]], context=gen[["gen"]].iloc[:5])


@pytest.mark.parametrize("form", ["pandas", "dict", "file", "two columns"])
def test_rows_are_paired_by_a_key(form, tmp_path):
    reco, gen = tables()
    gen, key = gen.sample(frac=1, random_state=1).reset_index(drop=True), "event"
    if form == "dict":
        reco, gen = ({k: t[k].to_numpy() for k in t} for t in (reco, gen))
    elif form == "file":
        reco.to_csv(tmp_path / "reco.csv", index=False)
        gen.to_csv(tmp_path / "gen.csv", index=False)
        reco, gen = str(tmp_path / "reco.csv"), tmp_path / "gen.csv"
    elif form == "two columns":
        reco["run"] = gen["run"] = 7
        key = ["run", "event"]
    given = gather_samples(reco, context=gen, key=key)
    assert given.context == ("gen",) and [p.name for p in given.parameters] == ["reco"]
    found = whole(given)
    np.testing.assert_allclose(found[:, 0] - found[:, 1], 0.5)


def test_files_side_by_side_are_read(tmp_path):
    reco, gen = tables()
    reco[["reco"]].to_csv(tmp_path / "reco.csv", index=False)
    gen[["gen"]].to_csv(tmp_path / "gen.csv", index=False)
    given = gather_samples(tmp_path / "reco.csv", context=str(tmp_path / "gen.csv"))
    found = whole(given)
    np.testing.assert_allclose(found[:, 0] - found[:, 1], 0.5)


def test_keys_that_do_not_pair_are_named():
    reco, gen = tables()
    with pytest.raises(SampleError, match=r"2 of 6 samples have no row .*event = 2, 4"):
        joined(reco, gen.iloc[:4], "event")
    with pytest.raises(SampleError, match=r"1 rows of the context have a key .* before: 5"):
        joined(reco, pd.concat([gen, gen.iloc[:1]]), "event")
    with pytest.raises(ThetaError, match="'run' is no column of the samples: reco, event"):
        joined(reco, gen, "run")
    with pytest.raises(SettingError, match="the context has none"):
        joined(reco, np.zeros((6, 1)), "event")


# Classes ----------------------------------------------------------------------------------------


def jets(n=300, seed=2):
    rng = np.random.default_rng(seed)
    flavour = rng.choice(["b", "light", "c"], n)
    shift = np.array([{"b": 0.0, "c": 2.0, "light": 4.0}[f] for f in flavour])
    table = pd.DataFrame({"E": shift + 0.1 * rng.normal(size=n), "flavour": flavour})
    return table.assign(pt=rng.uniform(size=n), isolated=rng.uniform(size=n) < 0.5)


def test_conditions_of_no_class_or_of_two_are_named(caplog):
    columns = ("pt", "flavour=b", "flavour=c", "n=3", "tag=a", "tag=b")
    rows = np.array([[1, 1, 0, 1, 1, 1], [1, 0, 1, 0, 0, 0]])
    assert classes_in(columns, rows) == ("flavour",)  # one flag alone, or two, are no classes
    wrong = np.array([[1, 0, 0], [1, 1, 1], [1, 0.5, 0.5], [1, 0, 1]])
    strange = strange_classes(columns[:3], wrong, ["flavour"])
    np.testing.assert_array_equal(strange["flavour"], [True, True, True, False])
    assert strange_classes(columns[:3], wrong[3:], ["flavour"]) == {}
    table = jets(300)
    model = posterion.quantile_network(1, 3, hidden=(4,), bins=2)
    found = posterion.fit(model, table[["E"]], context=table[["flavour"]], **QUICK)
    caplog.clear()
    found.sample(1, context=np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), seed=0)
    (message,) = said(caplog)
    assert "1 of 2 conditions have no flavour, or several" in message
    assert "'samples' takes the classes by name too, flavour=[...]" in message
    np.testing.assert_array_equal(found.outside({"flavour": ["b", "c"]}), [False, False])
    np.testing.assert_array_equal(found.outside(np.array([[1.0, 1.0, 0.0]])), [True])


def test_a_condition_that_does_not_vary_is_said(caplog):
    y, x = pairs()
    found = posterion.fit(network(), y, context={"pt": x[:, 0], "run": np.ones(len(x))}, **QUICK)
    message = "the context's run does not vary: nothing is learned of it"
    assert said(caplog).count(message) == 1 and message in str(found)


def test_classes_become_columns_of_their_names():
    table = jets(9)
    wanted = ("pt", "isolated", "flavour=b", "flavour=c", "flavour=light")
    for given in (
        gather_samples(table, context=["pt", "isolated", "flavour"]),
        gather_samples(table[["E"]], context=table[["pt", "isolated", "flavour"]]),
    ):
        assert given.context == wanted and given.dim == 1
        np.testing.assert_array_equal(whole(given)[:, 3], table["flavour"] == "b")
        np.testing.assert_array_equal(whole(given)[:, 2], table["isolated"])
    numbers = pd.Series([3, 1, 3], dtype="category").cat.set_categories([3, 2, 1])
    given = gather_samples(np.arange(3.0)[:, None], context={"jets": numbers})
    assert given.context == ("jets=3", "jets=1")  # in their own order, those that are there


def test_a_fit_under_classes_is_asked_by_their_names(tmp_path):
    table = jets(900)
    model = posterion.quantile_network(1, 3, hidden=(8,), bins=4)
    settings = {**QUICK, "epochs": 30, "rate": 1e-2}
    found = posterion.fit(model, table[["E"]], context=table[["flavour"]], **settings)
    found.save(tmp_path / "f.posterion")
    again = posterion.load(tmp_path / "f.posterion")
    middle = again.quantile(0.5, context={"flavour": ["light", "b", "c"]})["E"]
    np.testing.assert_allclose(middle, [4, 0, 2], atol=0.3)
    assert found.given({"flavour": "c"}).quantile(0.5)["E"] == pytest.approx(middle[2], abs=1e-6)
    said = (
        r"flavour: 'gluon', 'tau' is no class .*\('b', 'c', 'light'\); 2 rows, the first is row 1"
    )
    with pytest.raises(SampleError, match=said):
        found.sample(1, context={"flavour": ["b", "tau", "gluon"]}, seed=0)


def test_classes_that_cannot_be_used():
    holes = pd.DataFrame({"E": np.arange(3.0), "flavour": ["b", None, "c"]})
    with pytest.raises(SampleError, match="'flavour' has no class in 1 rows, the first is row 1"):
        gather_samples(holes, context="flavour")
    many = {"event": np.arange(200).astype(str)}
    with pytest.raises(SampleError, match="'event' has 200 classes"):
        gather_samples(np.arange(200.0)[:, None], context=many)
    with pytest.raises(SampleError, match="'flavour' has dtype"):
        gather_samples(holes)


def test_tables_with_text_are_read_from_files(tmp_path):
    rng = np.random.default_rng(5)
    flavour = rng.choice(["b", "c"], 400)
    pt = rng.uniform(20, 60, 400)
    both = pd.DataFrame({"reco": pt + (flavour == "b") + rng.normal(size=400), "pt": pt})
    both["flavour"] = flavour
    gen = both[["pt", "flavour"]]
    both[["reco"]].to_csv(tmp_path / "reco.csv", index=False)
    gen.to_csv(tmp_path / "gen.csv", index=False)
    both.to_parquet(tmp_path / "pairs.parquet")
    model = posterion.quantile_network(1, 3, hidden=(4,), bins=2)
    files = [tmp_path / "reco.csv", tmp_path / "gen.csv"]
    found = posterion.fit(model, files[0], context=files[1], epochs=1, quiet=True)
    assert found.context == ("pt", "flavour=b", "flavour=c")
    settings = {"draws": 20, "classifier": False, "quiet": True, "cube": {"flavour": "b"}}
    whole = posterion.check_closure(found, tmp_path / "pairs.parquet", **settings)
    assert whole.inside == (flavour == "b").sum()
    assert posterion.check_closure(found, *files, **settings).tests == whole.tests
    assert posterion.check_closure(found, both, **settings).tests == whole.tests
    with pytest.raises(SettingError, match="give the context, pt, flavour=b"):
        posterion.check_closure(found, both[["reco"]].to_numpy())
    found.save(tmp_path / "f.posterion")
    drawn = tmp_path / "drawn.csv"
    command = ["sample", str(tmp_path / "f.posterion"), "-o", str(drawn)]
    with pytest.raises(SystemExit) as left:
        main([*command, "--context", str(tmp_path / "pairs.parquet"), "-n", "2", "--seed", "3"])
    assert left.value.code == 0
    table = pd.read_csv(drawn)
    assert list(table) == ["reco", "pt", "flavour=b", "flavour=c"] and len(table) == 800
    np.testing.assert_allclose(table["pt"], np.repeat(pt, 2))
    expected = found.sample(2, context=gen, seed=3)["reco"]
    np.testing.assert_allclose(table["reco"], expected.ravel(), rtol=1e-6)
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2


def test_wrong_questions_are_answered_by_name():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 1))
    table = pd.DataFrame(x, columns=["u", "v"])
    model = posterion.quantile_network(1, 2, hidden=(4,), bins=2)
    found = posterion.fit(model, y, context=table, epochs=1, quiet=True)
    with pytest.raises(SampleError, match="has no rows"):
        found.sample(1, context=table.iloc[:0], seed=0)
    with pytest.raises(SampleError, match="differ in their number of rows: u 3, v 2"):
        found.sample(1, context={"u": x[:3, 0], "v": x[:2, 1]}, seed=0)
    with pytest.raises(SampleError, match="not the same rows"):
        found.log_prob(pd.DataFrame(y[:3], index=[1, 2, 3]), table[:3])
    with pytest.raises(SettingError, match="a cube is a dict"):
        posterion.check_closure(found, y, table, cube="u=0:1", classifier=False, draws=20)
    with pytest.raises(SettingError, match="range of u is empty"):
        posterion.check_closure(found, y, table, cube={"u": (1, 0)}, classifier=False, draws=20)


def test_expectiles_have_no_parts():
    rng = np.random.default_rng(7)
    x = rng.uniform(size=(300, 1))
    network = posterion.quantile_network(1, 1, hidden=(4,), bins=2)
    settings = {"loss": "expectile", "members": 2, "epochs": 1, "quiet": True}
    several = posterion.ensemble(network, 2 * rng.normal(size=(300, 1)), context=x, **settings)
    with pytest.raises(DensityError, match="no spread is known"):
        several.predict([[0.5]])


def test_conditions_without_a_sample_are_counted(caplog):
    rng = np.random.default_rng(8)
    gen = pd.DataFrame({"u": rng.normal(size=300), "event": np.arange(300)})
    reco = pd.DataFrame({"y": rng.normal(size=250), "event": np.arange(250)})
    model = posterion.quantile_network(1, 1, hidden=(4,), bins=2)
    posterion.fit(model, reco, context=gen, key="event", epochs=1, quiet=True)
    assert "50 of 300 rows of the context have no sample" in caplog.text
