"""``posterion run stress`` with small settings: what it writes, and that its figures are true."""

import dataclasses
import re

import numpy as np
import pytest

from posterion.cli import main
from posterion.core.errors import CheckpointError, SettingError
from posterion.studies import find_study, read_metrics
from posterion.studies.stress.measuring import exact_ess
from posterion.studies.stress.study import STUDY, Settings
from posterion.studies.stress.targets import NAMES, known_target
from posterion.training import load

SMALL = Settings(targets=("two-modes", "torus"), draws=4000, steps=200, particles=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stress")


@pytest.fixture(scope="module")
def outcome(folder):
    return STUDY.run(SMALL, seed=1, out=folder, resume=False)


def test_the_study_is_known():
    assert find_study("stress") is STUDY
    assert len(NAMES) == 10


@pytest.mark.slow
def test_it_writes_bundles_metrics_and_page(outcome, folder):
    names = {"two-modes.posterion", "torus.posterion", "metrics.json", "report.html"}
    assert {path.name for path in outcome.files} == names == {p.name for p in folder.iterdir()}
    assert "two-modes" in outcome.text and "torus" in outcome.text
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64") == 1  # the torus alone has two dimensions
    assert "exact-sample" in page
    metrics = read_metrics(folder / "metrics.json")
    assert metrics.study == "stress" and metrics.seed == 1
    figures = metrics.figures
    assert figures["two-modes.modes_found"].truth == 2
    assert figures["torus.modes_found"].truth == 3
    assert figures["two-modes.log_evidence"].truth == 0.0
    for name in ("density_calls", "scouting_calls", "health_calls", "seconds"):
        assert figures[f"torus.{name}"].value > 0


@pytest.mark.slow
def test_the_figures_are_those_of_the_saved_results(outcome, folder):
    figures = read_metrics(folder / "metrics.json").figures
    for name in SMALL.targets:
        known, result = known_target(name), load(folder / f"{name}.posterion")
        assert result.provenance["study"] == "stress"
        found = exact_ess(result, known, draws=4000, seed=1)
        assert figures[f"{name}.exact_ess_fraction"].value == pytest.approx(found.fraction.value)
        error = result.log_evidence.value - known.log_evidence
        assert figures[f"{name}.log_evidence_error"].value == pytest.approx(error)


def test_exact_ess_of_a_flow_that_is_known():
    """A normal of sd s for a target of sd 1 in d dimensions: ESS/N = (sqrt(2 s^2 - 1) / s^2)^d."""
    known = known_target("four-modes")

    @dataclasses.dataclass
    class Wide:
        parameters = known.target.parameters

        def log_prob(self, theta):
            squares = ((theta["x"][:, None] - known.centres) ** 2).sum(-1) / 1.3**2
            each = -0.5 * squares - np.log(2 * np.pi * 1.3**2)
            return np.logaddexp.reduce(each, axis=1) - np.log(4)

    exact = ((2 * 1.3**2 - 1) ** 0.5 / 1.3**2) ** 2
    found = exact_ess(Wide(), known, draws=20_000, seed=1)  # type: ignore[arg-type]
    assert found.fraction.value == pytest.approx(exact, abs=5 * found.fraction.error + 0.01)


@pytest.mark.slow
def test_resuming_takes_what_is_done_and_refuses_what_is_of_another_run(outcome, folder):
    before = {p.name: p.read_bytes() for p in folder.glob("*.posterion")}
    again = STUDY.run(SMALL, seed=1, out=folder, resume=True)
    assert {p.name: p.read_bytes() for p in folder.glob("*.posterion")} == before
    assert again.text == outcome.text
    with pytest.raises(CheckpointError, match="another run"):
        STUDY.run(SMALL, seed=2, out=folder, resume=True)


@pytest.mark.slow
def test_a_saved_result_is_checked_against_its_density(outcome, folder, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check", str(folder / "torus.posterion"), "--seed", "3"])
    said = capsys.readouterr().out
    assert re.search(r"Health of torus: \w+", said)
    assert (caught.value.code == 0) == ("Health of torus: converged" in said)
    with pytest.raises(SettingError, match="not one of the study 'stress'"):
        STUDY.check(object(), seed=1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 10}, "'draws' must be at least 1000"),
        ({"steps": 0}, "'steps' must be at least 1"),
        ({"targets": ("ring", "ring")}, "once"),
    ],
)
def test_unusable_settings_are_named(settings, message):
    with pytest.raises(SettingError, match=message):
        Settings(**settings)


def test_an_unknown_target_is_named(tmp_path):
    with pytest.raises(SettingError, match="no stress target 'rings'; there are four-modes"):
        STUDY.run(Settings(targets=("rings",)), seed=1, out=tmp_path, resume=False)
    assert list(tmp_path.iterdir()) == []
