"""Closure of conditional models whose law is known: right ones pass, and each flaw has its test."""

import json

import numpy as np
import pandas as pd
import pytest

import posterion
from posterion.core.errors import SampleError, SettingError, ShapeError, ThetaError
from posterion.diagnostics import energy_distance
from posterion.reports import closure_page, local_coverage_plot, render_page


class Known:
    """Two outcomes about ``x`` and ``-x``, of correlation 0.6; ``flaw`` says what is wrong."""

    name = "known"
    parameters = (posterion.Parameter("a", unit="GeV"), posterion.Parameter("b"))
    context = ("x", "sample=b")

    def __init__(self, flaw=None):
        self.flaw = flaw

    def sample(self, n, *, context, seed):
        rng = np.random.default_rng([seed, 7])
        x = np.repeat(np.asarray(context)[:, :1], n, axis=1)
        tight = 0.0 if self.flaw == "independent" else 0.6
        if self.flaw == "blind":  # the marginal is right
            x = rng.normal(size=x.shape)
        e = rng.normal(size=x.shape)
        f = tight * e + np.sqrt(1 - tight**2) * rng.normal(size=x.shape)
        wide = 1.3 if self.flaw == "wide" else 1.0
        if self.flaw == "local":
            wide = np.where((x > 0.5) & (x < 1.0), 2.0, 1.0)
        return {"a": x + 0.5 * wide * e, "b": -x + 0.5 * wide * f}


def pairs(n=1500, seed=0):
    rng = np.random.default_rng([seed, 1])
    x = np.column_stack([rng.normal(size=n), rng.integers(2, size=n)])
    drawn = Known().sample(1, context=x, seed=seed + 50)
    y = np.column_stack([drawn["a"], drawn["b"]])
    return pd.DataFrame(np.hstack([y, x]), columns=["a", "b", "x", "sample=b"])


def checked(flaw, *, n=1500, seed=0, **options):
    settings = {"draws": 60, "classifier": False, "quiet": True, **options}
    return posterion.check_closure(Known(flaw), pairs(n, seed), seed=seed, **settings)


def test_a_right_model_closes_at_the_stated_rate():
    rejected = sum(not checked(None, n=200, seed=s, alpha=0.1, draws=20).ok for s in range(40))
    assert rejected <= 9  # of 40 at 10 %: more in 1 of 100 repetitions, if all tests were sharp


def test_a_right_model_and_its_report():
    found = checked(None, cube={"x": (-1, 1), "sample": "b"}, classifier=True)
    assert found.ok and "Closes as far as 1500 rows tell" in str(found)
    assert found["classifier, AUC"].value == pytest.approx(0.5, abs=0.1)
    assert found.cube == "-1 < x < 1, sample=b" and 400 < found.inside < 620
    assert {"marginals", "marginals, cube", "energy distance, cube"} < {t.name for t in found.tests}
    for ratio in found.marginals:
        assert ratio.ratio.shape == (10,) and (np.abs(ratio.ratio - 1) < 5 * ratio.error).all()
    for part in found.coverage:
        assert (np.abs(part.covered - part.level) < 5 * part.error).all()
    assert {p.condition: len(p.covered) for p in found.coverage} == {"x": 4, "sample=b": 2}
    assert json.loads(json.dumps(found.to_json()))["inside"] == found.inside
    assert "<table>" in found._repr_html_() and found["ranks of a"].p_value > 0.01
    assert found.crossing is None
    with pytest.raises(SettingError, match="no test 'KS'"):
        found["KS"]


FLAWS = {
    "wide": "ranks of a",
    "blind": "ranks in bins of conditions",
    "independent": "energy distance",
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_has_its_test(flaw):
    found = checked(flaw)
    assert not found.ok and "Does not close" in str(found)
    assert found[FLAWS[flaw]].p_value < 1e-3
    assert ("too wide" in found["ranks of a"].note) == (flaw == "wide")
    if flaw != "wide":  # no marginal shows these
        assert found["marginals"].p_value > 1e-3
    if flaw == "independent":
        assert min(found["ranks of a"].p_value, found["ranks of b"].p_value) > 1e-3


def test_a_cube_shows_what_lies_in_it():
    whole = checked("local", n=3000)
    found = checked("local", n=3000, cube={"x": (0.5, 1.0)})
    cube = found["energy distance, cube"]
    assert cube.p_value < 1e-6 and cube.p_value < 1e-2 * found["energy distance"].p_value
    assert whole["energy distance"].p_value == found["energy distance"].p_value
    worst = found["coverage in bins"]
    assert worst.value < 0.66 or worst.value > 0.72
    assert "x from" in worst.note


def test_its_pictures_and_page():
    found = checked("local", n=800, cube={"x": (0.5, 1.0)})
    ratios = found.plot().axes
    assert [axes.get_xlabel() for axes in ratios] == ["a [GeV]", "b"]
    assert ratios[0].get_legend_handles_labels()[1] == ["all rows", "in the cube 0.5 < x < 1"]
    cells, _ = local_coverage_plot(found).axes
    rows = [label.get_text() for label in cells.get_yticklabels()]
    assert len(rows) == 6 and rows[-2:] == ["sample=b: 0", "sample=b: 1"]
    shown = [text.get_text() for text in cells.texts]
    assert shown[0] == f"{100 * found.coverage[0].covered[0]:.1f}" and len(shown) == 12
    page = render_page(closure_page(found))
    assert "does not close" in page and "energy distance, cube" in page
    few = checked(None, n=60)
    with pytest.raises(SettingError, match="60 rows are too few"):
        local_coverage_plot(few)
    assert "Coverage by condition" not in render_page(closure_page(few))


def test_pairs_are_seen_through_the_spread_of_their_conditions():
    rng = np.random.default_rng(4)
    x = 20 * rng.normal(size=(400, 1))
    a, b = x + rng.normal(size=x.shape), x + 0.6 + rng.normal(size=x.shape)
    rows = [np.hstack([part, x]) for part in (a, b)]
    alone = energy_distance(*rows, seed=0).z
    paired = energy_distance(*rows, seed=0, paired=True).z
    assert alone < 3 < paired
    same = x + rng.normal(size=x.shape)
    assert energy_distance(rows[0], np.hstack([same, x]), seed=0, paired=True).z < 3
    with pytest.raises(ShapeError, match="as many rows"):
        energy_distance(rows[0], rows[1][:100], seed=0, paired=True)


def test_pairs_of_two_tables_and_with_weights():
    table = pairs(3000, seed=2)
    known = table.assign(row=np.arange(len(table)))
    outcome, given = known[["row", "a", "b"]], known[["row", "x", "sample=b"]]
    mixed = given.sample(frac=1, random_state=0)
    quick = {"draws": 40, "classifier": False, "quiet": True, "seed": 3}
    paired = posterion.check_closure(Known(), outcome, mixed, key="row", **quick)
    assert str(paired) == str(posterion.check_closure(Known(), table, **quick)) and paired.ok
    # Outcomes drawn too wide and weighted back: right with the weights, wrong without.
    rng = np.random.default_rng(5)
    pull = 1.4 * rng.normal(size=len(table))
    x = table["x"].to_numpy()
    other = 0.6 * pull + 0.8 * rng.normal(size=len(table))
    wide = table.assign(a=x + 0.5 * pull, b=-x + 0.5 * other)
    weights = 1.4 * np.exp(-0.5 * pull**2 * (1 - 1.4**-2))
    assert not posterion.check_closure(Known(), wide, **quick).ok
    for how in ({"weights": weights}, {"weights": "w"}):
        weighted = posterion.check_closure(Known(), wide.assign(w=weights), **how, **quick)
        assert weighted.ok and "chosen as probably as they weigh" in str(weighted)
    for value in (-1.0, np.nan, np.inf):
        weights[7] = value
        with pytest.raises(SampleError, match=f"not negative and not all zero; row 7: {value:g}"):
            posterion.check_closure(Known(), wide, weights=weights, **quick)
    with pytest.raises(SampleError, match="not all zero; row 0: 0"):
        posterion.check_closure(Known(), wide, weights=0 * x, **quick)
    same = posterion.check_closure(Known(), table, weights=0 * x + 0.3, **quick)
    assert str(same) == str(paired)
    few = np.where(np.arange(len(x)) < 20, 1.0, 1e-6)
    with pytest.raises(SampleError, match=r"the weights leave \d+ of 3000 pairs"):
        posterion.check_closure(Known(), wide, weights=few, **quick)


def test_what_cannot_be_checked():
    with pytest.raises(ThetaError, match="no condition is called 'pt'"):
        checked(None, cube={"pt": (0, 1)})
    with pytest.raises(SettingError, match="two ends, or a class"):
        checked(None, cube={"x": 3})
    with pytest.raises(SampleError, match=r"rows in the cube 7 < x < 8 are too few"):
        checked(None, cube={"x": (7, 8)})


def test_a_network_whose_quantiles_may_cross():
    table = pairs(400)
    network = posterion.quantile_network(2, 2, monotone=False, hidden=(4,))
    y, x = table[["a", "b"]], table[["x", "sample=b"]]
    fit = posterion.fit(network, y, context=x, epochs=1, quiet=True)
    found = posterion.check_closure(fit, y, x, draws=20, classifier=False, quiet=True)
    assert found.crossing is not None and "quantiles that cross" in str(found)
