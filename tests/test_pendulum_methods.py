"""The study ``pendulum``: its figures, a small run, and how it goes on."""

import json

import numpy as np
import pytest

from posterion.core.errors import CheckpointError, SettingError
from posterion.studies import find_study
from posterion.studies.base import read_metrics
from posterion.studies.pendulum import running
from posterion.studies.pendulum.measuring import (
    LEVELS,
    RANGES,
    coverage_error,
    covered,
    measured,
)
from posterion.studies.pendulum.methods import Said, learned, said
from posterion.studies.pendulum.options import METHODS, Settings
from posterion.studies.pendulum.simulation import analytic, simulated
from posterion.studies.pendulum.study import STUDY

SMALL = {"noise": (0.2,), "train": 2000, "test": 300, "members": 2, "flows": 2, "epochs": 1}


def test_intervals_hold_what_uniform_probabilities_promise():
    even = (np.arange(1000) + 0.5) / 1000
    assert coverage_error(covered(even)) < 1e-12
    # All of the truths at a quarter: intervals from half of the probability on hold them.
    held = covered(np.full(10, 0.25))
    assert list(held) == [float(level >= 0.5) for level in LEVELS]
    assert coverage_error(held) == pytest.approx(np.abs(held - LEVELS).mean())


def test_figures_of_an_answer_that_is_the_error_by_hand():
    tests = {name: simulated(2000, 0.1, lengths=r, seed=1) for name, r in RANGES.items()}
    answers = {}
    for name, p in tests.items():
        g, error = analytic(p)
        answers[name] = Said(g, error, 0 * error, np.full(len(g), 0.5))
    found = measured("flows", 0.1, 7, tests, answers, 3.0)
    assert found.correlation == pytest.approx(1)
    inside = tests["in range"]
    assert found.squared_error == pytest.approx(np.mean((analytic(inside)[0] - inside.g) ** 2))
    assert found.ratio["1.2-1.6 m"] == pytest.approx(1, abs=0.1)
    assert found.coverage["in range"] == pytest.approx(np.mean(1 - LEVELS))


def test_unusable_settings_are_named():
    for wrong in (
        {"noise": (0.01,)},
        {"noise": ()},
        {"methods": ("flows", "dropout")},
        {"methods": ("flows", "flows")},
        {"members": 1},
    ):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            Settings(**wrong)
    assert set(Settings().methods) == set(METHODS)


def test_flows_see_logarithms_and_emulators_take_them():
    rows = simulated(2000, 0.2, seed=1)
    settings = Settings(**SMALL)
    model = learned("quantiles", rows, settings, 3)
    assert "log L" in model.context and "theta" in model.context
    answer = said(model, simulated(50, 0.2, seed=2))
    assert answer.mean.shape == (50,) and (answer.mean > 5).all() and (answer.mean < 15).all()
    assert ((answer.below >= 0) & (answer.below <= 1)).all() and (answer.epistemic >= 0).all()
    logs = learned("log-ensemble", rows, settings, 3)
    assert logs.inputs.log[1] and not logs.inputs.log[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pendulum")


@pytest.fixture(scope="module")
def outcome(folder):
    settings = Settings(**SMALL, methods=("ensemble", "flows"), seeds=2)
    return STUDY.run(settings, seed=5, out=folder, resume=False)


def test_it_writes_bundles_metrics_and_page(outcome, folder):
    assert find_study("pendulum") is STUDY
    names = {path.name for path in outcome.files}
    assert names == {
        "pendulum.posterion",
        "pendulum-ensemble.posterion",
        "metrics.json",
        "report.html",
    }
    figures = read_metrics(folder / "metrics.json").figures
    assert figures["0.2.ensemble.correlation"].published == 0.84
    assert figures["0.2.ensemble.squared_error"].published == 0.49
    assert figures["0.2.flows.coverage_error.in_range"].floor < 0.05
    assert figures["0.2.flows.squared_error.spread"].value > 0
    assert figures["0.2.exact.coverage_error.1.2-1.6_m"].value > 0.2  # it was told 0.2 to 0.8 m
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64") == 2
    assert "published" in page and "conditional flows" in outcome.text


def test_it_goes_on_where_it_was(outcome, folder, monkeypatch):
    before = (folder / "metrics.json").read_text()
    place = folder / "parts" / "flows-0.2-6.json"
    kept = json.loads(place.read_text())
    place.unlink()
    made = []
    real = running.learned
    monkeypatch.setattr(running, "learned", lambda *a: made.append(a[0]) or real(*a))
    settings = Settings(**SMALL, methods=("ensemble", "flows"), seeds=2)
    STUDY.run(settings, seed=5, out=folder, resume=True)
    assert made == ["flows"]
    again = json.loads(place.read_text())
    assert {**again, "seconds": 0} == {**kept, "seconds": 0}
    assert (
        json.loads(before)["figures"].keys() == read_metrics(folder / "metrics.json").figures.keys()
    )
    other = Settings(**(SMALL | {"epochs": 2}), methods=("flows",))
    with pytest.raises(CheckpointError, match="other settings"):
        STUDY.run(other, seed=5, out=folder, resume=True)
