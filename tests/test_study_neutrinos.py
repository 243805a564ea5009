"""The study ``neutrinos``, whole, on small tables whose posterior is known."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neutrino_tables import SD, log_evidence, write_tables
from posterion import bundles, studies
from posterion.core.errors import (
    CheckpointError,
    MissingExtraError,
    SettingError,
    TableError,
)
from posterion.core.estimate import Estimate
from posterion.studies.neutrinos import comparison, learning, running
from posterion.studies.neutrinos.options import Settings
from posterion.studies.settings import make_settings
from posterion.training import load

OFFSET = 3.0
FLOW = ("ess_fraction", "log_evidence_error", "autocorrelation", "js_max")
COUNTS = ("density_calls", "scouting_calls", "health_calls")
TIMES = ("learn_seconds", "compile_seconds", "draws_per_second")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with tables of both orderings; the inverted one fits worse by OFFSET."""
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder / "v99.release-SKno-NO.txt", "NO")
    write_tables(folder / "v99.release-SKno-IO.txt", "IO", offset=OFFSET)
    return folder


@pytest.fixture(scope="module")
def small(tables):
    """As few steps as still give a posterior."""
    return Settings(
        ordering="NO",
        release=(str(tables),),
        steps=300,
        particles=256,
        draws=5000,
        poster=False,
        budget=None,
        transitions=60,
    )


@pytest.fixture(scope="module")
def done(small, tmp_path_factory):
    """One run, and its folder."""
    out = tmp_path_factory.mktemp("out")
    (out / "checkpoint-old.posterion").write_text("of a run before")
    study = studies.find_study("neutrinos")
    outcome = study.run(small, seed=3, out=out, resume=False)
    return outcome, out


def test_the_files(done):
    outcome, out = done
    names = {path.name for path in out.iterdir()}
    pictures = {f"{x}-NO.png" for x in ("corner", "profiles", "training", "effective")}
    pictures |= {"jarlskog.png", "masses.png"}
    assert names == {"neutrinos.posterion", "report.html", "metrics.json", *pictures}
    assert {path.name for path in outcome.files} == names
    assert "Health of NuFIT 9.9 NO" in outcome.text
    assert (out / "neutrinos.posterion").stat().st_size < 2_000_000
    for name in pictures:
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_the_metrics(done):
    _, out = done
    content = json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert (content["study"], content["seed"]) == ("neutrinos", 3) and content["seconds"] > 0
    figures = content["figures"]
    for key in (*FLOW, *COUNTS, *TIMES, "upper_octant_probability"):
        assert figures[f"NO.{key}"].keys() == {"value", "truth", "published", "floor", "source"}
    assert figures["NO.ess_fraction"]["value"] > 0.5
    error = figures["NO.log_evidence_error"]
    assert abs(error["value"]) < 5 * error["floor"] and error["truth"] == 0
    assert figures["NO.log_evidence"]["truth"] == pytest.approx(log_evidence(False), abs=2e-3)
    octant = figures["NO.upper_octant_probability"]
    assert octant["truth"] == pytest.approx(0.5, abs=1e-3)  # the mean is 1/2
    assert octant["value"] == pytest.approx(0.5, abs=0.06)
    assert figures["NO.js_max"]["floor"] == pytest.approx(49 / 8 / 5000, rel=0.7)
    assert figures["NO.density_calls"]["value"] == 300 * 128
    for name, sd in SD.items():
        assert figures[f"NO.{name}.sd"]["truth"] == pytest.approx(sd, rel=0.01)
        assert figures[f"NO.{name}.sd"]["value"] == pytest.approx(sd, rel=0.15)
    for chain in ("nuts", "emcee", "emcee_stretch"):
        per_call = figures[f"NO.{chain}.effective_draws_per_call"]["value"]
        assert 1e-4 < per_call < 1
        assert figures[f"NO.{chain}.effective_draws_per_second"]["value"] > 0
        assert figures[f"NO.break_even.{chain}_calls"]["value"] > 1000
        assert f"NO.break_even.{chain}_seconds" in figures
    assert not any(key.startswith("both.") for key in figures)


def test_the_page_needs_no_other_file(done):
    _, out = done
    text = (out / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)[^"']*""", text)
    assert "<script" not in text and "@import" not in text and "url(" not in text
    assert text.count('src="data:image/png;base64,') == 6
    for said in (
        "flat in sin2_theta23",
        "theta13 to the others",
        "Jarlskog",
        "NUTS",
        "emcee DE",
        "@article{esteban2020",
        "Health of NuFIT 9.9 NO",
        "|U_e3|",
    ):
        assert said.replace("&", "&amp;") in text, said
    assert str(out) not in text


def test_the_bundle_is_checked_against_the_tables_it_was_learned_from(done, tables, tmp_path):
    _, out = done
    card = bundles.read_card(out / "neutrinos.posterion")
    assert card["provenance"]["study"] == "neutrinos" and "part" not in card["provenance"]
    assert "esteban2020" in card["citations"]
    result = load(out / "neutrinos.posterion")
    found = studies.find_study("neutrinos").check(result, seed=5)
    assert "Health of NuFIT 9.9 NO" in str(found) and found.status is not None
    assert next(iter(found.healths.values())).evidence.value == pytest.approx(
        log_evidence(False), abs=0.1
    )
    write_tables(tmp_path / "v99.release-SKno-NO.txt", "NO", offset=1.0)
    elsewhere = {**result.provenance, "release": str(tmp_path)}
    with pytest.raises(TableError, match="not the tables v99"):
        studies.find_study("neutrinos").check(replace(result, provenance=elsewhere), seed=5)
    with pytest.raises(SettingError, match="not one of the study"):
        studies.find_study("neutrinos").check(replace(result, provenance={}), seed=5)


def test_both_orderings_are_mixed_with_the_offset_once(done, tables):
    _, out = done
    one = load(out / "neutrinos.posterion")
    cases = {k: learning.make_case(str(tables), k) for k in ("NO", "IO")}
    truths = {k: case.truth for k, case in cases.items()}
    parts = {
        k: replace(one, log_evidence=Estimate(truth.log_evidence, 1e-3))
        for k, truth in truths.items()
    }
    result = learning.mix(cases, parts)
    odds = np.exp(-OFFSET / 2)  # the two tables are mirror images but for the offset
    assert result.probabilities["IO"] == pytest.approx(odds / (1 + odds), rel=2e-3)
    figures = running.figures.ordering_figures(cases, result)
    assert figures["probability_IO"].truth == pytest.approx(odds / (1 + odds), rel=2e-3)
    assert figures["log_K"].value == pytest.approx(OFFSET / 2, abs=2e-3)
    assert result.provenance["chi2_offsets"] == pytest.approx({"NO": 0.0, "IO": OFFSET})


def test_what_is_done_is_taken_up_and_other_settings_are_refused(
    done, small, tables, tmp_path, monkeypatch
):
    _, out = done
    posterior = load(out / "neutrinos.posterion")
    calls = []

    def learn(target, **options):
        calls.append(options)
        return posterior.with_target(target)

    monkeypatch.setattr(learning, "learn", learn)
    case = learning.make_case(str(tables), "NO")
    first = learning.Learner(small, 3, tmp_path, resume=False).learn(case)
    assert len(calls) == 1 and calls[0]["resume"] is False
    assert calls[0]["checkpoint"] == tmp_path / "checkpoint-9.9-NO.safetensors"
    assert (calls[0]["steps"], calls[0]["particles"]) == (300, 256)
    again = learning.Learner(small, 3, tmp_path, resume=True).learn(case)
    assert len(calls) == 1 and again.target is case.target
    assert again.provenance == first.provenance
    np.testing.assert_array_equal(again.weigh(50, seed=1)[3], first.weigh(50, seed=1)[3])
    with pytest.raises(CheckpointError, match=r"different: seed.*without --resume"):
        learning.Learner(small, 4, tmp_path, resume=True).learn(case)
    with pytest.raises(CheckpointError, match="different: steps"):
        learning.Learner(replace(small, steps=301), 3, tmp_path, resume=True).learn(case)
    learning.Learner(small, 3, tmp_path, resume=True).clear()
    assert list(tmp_path.iterdir()) == []


def test_without_emcee_the_comparison_is_left_out_with_a_sentence(done, tables, monkeypatch):
    _, out = done
    monkeypatch.setitem(sys.modules, "emcee", None)
    case = learning.make_case(str(tables), "NO")
    posterior = load(out / "neutrinos.posterion").with_target(case.target)
    with pytest.raises(MissingExtraError, match=r"posterion\[nufit\]"):
        comparison.run_emcee(case, posterior, steps=10, seed=1)
    fixed = comparison.Chain("NUTS", {}, 1, 1.0, 0, 0.0)
    monkeypatch.setattr(comparison, "run_nuts", lambda *_, **__: fixed)
    chains, notes = comparison.run_chains(case, posterior, transitions=50, seed=1)
    assert list(chains) == ["nuts"] and "posterion[nufit]" in notes[0]


def test_the_chains_draw_from_the_posterior(done, tables):
    _, out = done
    case = learning.make_case(str(tables), "NO")
    posterior = load(out / "neutrinos.posterion").with_target(case.target)
    chain = comparison.run_emcee(case, posterior, steps=1500, seed=2)
    assert chain.count == 64 * 1500 and chain.calls <= chain.count + 64
    for name, mean in case.truth.mean.items():
        if name != "delta_CP":
            error = case.truth.sd[name] / np.sqrt(chain.effective)
            assert chain.draws[name].mean() == pytest.approx(mean, abs=5 * error)
            assert chain.draws[name].std() == pytest.approx(case.truth.sd[name], rel=0.1)
    assert np.abs(chain.draws["delta_CP"]).max() <= 180
    assert case.truth.marginals["delta_CP"].divergence(chain.draws["delta_CP"].ravel()) < 0.01


def test_settings(tables):
    settings = make_settings(Settings, [("ordering", "io"), ("release", "5.2"), ("budget", "none")])
    assert settings.orderings == ("IO",) and settings.budget is None
    assert Settings().orderings == ("NO", "IO")
    for wrong in ({"draws": 10}, {"steps": 0}, {"release": ("5.3", "5.3")}, {"release": ()}):
        with pytest.raises(SettingError):
            Settings(**wrong)
    other = tables / "v99.release-SKno-NO.txt"
    found = learning.make_cases(Settings(ordering="NO", release=(str(tables), str(other))))
    assert list(found) == ["9.9", "9.9-SKno"]


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_draws(tables, tmp_path):
    """Kill -9 in the middle of learning, then --resume: bit for bit those of an unbroken run."""
    command = [sys.executable, "-m", "posterion", "run", "neutrinos", "--release", str(tables)]
    code = "from posterion.cli import main; main()"
    command = [sys.executable, "-c", code, *command[3:], "--no-chains", "--no-poster"]
    command += ["--budget=none", "--draws=2000", "--particles=256", "--steps=3000", "--seed=4"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    options: dict = {"env": environment, "stdout": subprocess.DEVNULL}
    subprocess.run([*command, f"--out={whole}"], check=True, timeout=900, **options)
    # Once while the first ordering is learned, once while the second is.
    for ordering in ("NO", "IO"):
        again = [*command, f"--out={broken}", *(["--resume"] if ordering == "IO" else [])]
        with subprocess.Popen(again, **options) as process:
            path = broken / f"checkpoint-9.9-{ordering}.safetensors"
            _wait_for_steps(path, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not (broken / "neutrinos.posterion").exists()
    assert (broken / "checkpoint-9.9-NO.posterion").exists()
    subprocess.run([*command, f"--out={broken}", "--resume"], check=True, timeout=900, **options)
    unbroken, resumed = (load(folder / "neutrinos.posterion") for folder in (whole, broken))
    assert resumed.probabilities == unbroken.probabilities
    for name, values in unbroken.sample(20_000, seed=9).items():
        np.testing.assert_array_equal(resumed.sample(20_000, seed=9)[name], values)
    assert not list(broken.glob("checkpoint-*"))


def _wait_for_steps(path: Path, process: subprocess.Popen) -> None:
    """Until the checkpoint holds a state of the flow."""
    for _ in range(6000):
        if process.poll() is not None:
            pytest.fail("the run ended before it could be killed")
        if path.exists() and b'"state.0"' in path.read_bytes():
            return
        time.sleep(0.05)
    pytest.fail(f"no step was kept in {path}")
