"""The study of a HistFactory workspace: our own one, its rows, its errors, and a small run."""

import json
import sys
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import posterion
from posterion.core.errors import (
    CheckpointError,
    MissingExtraError,
    SampleError,
    SettingError,
    WorkspaceError,
)
from posterion.core.estimate import Estimate
from posterion.studies import find_study, read_metrics, study_names
from posterion.studies.likelihood_pyhf.options import Settings
from posterion.studies.likelihood_pyhf.page import scales
from posterion.studies.likelihood_pyhf.running import _identity
from posterion.studies.likelihood_pyhf.workspace import generate
from posterion.studies.likelihoods import chains, rows
from posterion.studies.likelihoods.keeping import Kept
from posterion.studies.settings import make_settings, parse_options

STUDY = find_study("likelihood-pyhf")


def test_our_own_workspace_has_every_kind_of_constraint():
    spec = generate()
    assert spec == generate() and json.loads(json.dumps(spec)) == spec
    kinds = {m["type"] for c in spec["channels"] for s in c["samples"] for m in s["modifiers"]}
    assert kinds == {"normfactor", "normsys", "histosys", "shapesys", "staterror", "lumi"}
    target = posterion.targets.from_pyhf(spec)
    assert target.log_density.poi == "mu" and target.dim == 30
    priors = {p.name: type(p.prior).__name__ for p in target.parameters}
    assert priors["mu_top"] == "NoneType" and priors["fakes_SR"] == "Gamma"


def test_our_own_workspace_has_the_stated_events():
    density = posterion.targets.from_pyhf(generate()).log_density
    expected = np.asarray(density.rates(jnp.asarray(density.initial[:, None])))[:, 0]
    # pyhf has the channels in the order of the alphabet.
    sums = [expected[:4].sum(), expected[4:8].sum(), expected[8:].sum()]
    assert sums == pytest.approx([645, 300, 153], rel=1e-6)  # CR_top, CR_vv, SR
    observed = density.observed[:, 0]
    # Poisson counts of those rates: chi-square of 14 bins, false alarm below 1e-3.
    assert np.sum((observed - expected) ** 2 / expected) < 36.1


def test_options_of_the_command_line():
    assert "likelihood-pyhf" in study_names()
    words = ["--workspace", "ws.json", "--patch=p.json", "--measurement", "m", "--samples"]
    settings = make_settings(Settings, parse_options(Settings, words))
    assert (str(settings.workspace), str(settings.patch)) == ("ws.json", "p.json")
    assert (settings.measurement, settings.samples) == ("m", True)
    with pytest.raises(SettingError, match=r"p\.json needs the workspace"):
        make_settings(Settings, [("patch", "p.json")])
    with pytest.raises(SettingError, match="held_out must be at least 2000"):
        Settings(held_out=10)


def test_runs_of_other_files_are_other_runs(tmp_path):
    first, patch = tmp_path / "ws.json", tmp_path / "p.json"
    first.write_text(json.dumps(generate()))
    patch.write_text("[]")
    seen = [_identity(Settings(), 1), _identity(Settings(workspace=first), 1)]
    seen.append(_identity(Settings(workspace=first, patch=patch), 1))
    seen.append(_identity(Settings(workspace=first, measurement="search"), 1))
    seen.append(_identity(Settings(workspace=first), 2))
    first.write_text(json.dumps(generate(seed=5)))
    seen.append(_identity(Settings(workspace=first), 1))
    assert len({json.dumps(identity, sort_keys=True) for identity in seen}) == len(seen)
    assert seen[0]["workspace"] == "generated" and seen[1]["workspace"] == "ws.json"
    assert len(seen[2]["patch_sha256"]) == 64


def test_what_cannot_be_read_is_said_before_anything_is_sampled(tmp_path, monkeypatch):
    def run(settings):
        STUDY.run(settings, seed=1, out=tmp_path, resume=False)

    with pytest.raises(WorkspaceError, match=r"absent\.json cannot be read"):
        run(Settings(workspace=tmp_path / "absent.json"))
    (tmp_path / "ws.json").write_text(json.dumps(generate()))
    with pytest.raises(WorkspaceError, match="no measurement 'other'; its measurements: search"):
        run(Settings(workspace=tmp_path / "ws.json", measurement="other"))
    monkeypatch.setitem(sys.modules, "pyhf", None)
    with pytest.raises(MissingExtraError, match=r"posterion\[pyhf\]"):
        run(Settings())


def test_only_results_of_our_own_workspace_are_checked():
    with pytest.raises(SettingError, match="learns from the density"):
        STUDY.check(object(), seed=0)
    other = object.__new__(posterion.Posterior)
    known = {"study": "likelihood-pyhf", "part": {"workspace": "ws.json"}}
    object.__setattr__(other, "provenance", known)
    with pytest.raises(SettingError, match=r"workspace ws\.json"):
        STUDY.check(other, seed=0)


def test_pulls_are_in_units_of_the_constraint():
    """Normal ones have the auxiliary datum and its width, a Poisson one the gamma's moments."""
    target = posterion.targets.from_pyhf(generate())
    x = np.random.default_rng(0).normal(2.0, 3.0, size=(500, target.dim))
    centre, scale = (dict(zip(target.columns, v, strict=True)) for v in scales(target, x))
    assert (centre["jes"], scale["jes"]) == (0, 1)
    assert (centre["lumi"], scale["lumi"]) == pytest.approx((1, 0.017))
    fakes = next(s for s in generate()["channels"][0]["samples"] if s["name"] == "fakes")
    relative = fakes["modifiers"][0]["data"][2] / fakes["data"][2]
    counts = relative**-2  # pyhf's: tau of the auxiliary counts
    assert centre["fakes_SR[2]"] == pytest.approx((counts + 1) / counts, rel=1e-5)
    assert scale["fakes_SR[2]"] == pytest.approx(np.sqrt(counts + 1) / counts, rel=1e-5)
    free = x[:, target.columns.index("mu")]
    assert (centre["mu"], scale["mu"]) == pytest.approx((free.mean(), free.std()))


def test_rows_say_the_worst_coordinate_and_whether_they_beat_a_normal():
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(2, 2000, 2))
    first[:, 1] *= 1.5
    found = posterion.compare(first, second, classifier=False, repeats=3)
    normal = Kept("normal", 2000, 0, Estimate(0.9, 0.01), 0.1, "")
    worse = Kept("a flow", 0, 10, Estimate(0.8, 0.01), 1.0, "", comparison=found)
    assert "NOT better than the 0.9000" in rows.judgement([normal, worse])[0]
    assert not rows.better([normal, worse])
    (words,) = rows.worst_words([normal, worse])
    assert "of x[1] (floor" in words
    figures = rows.row_figures([normal, worse])
    worst = figures["a_flow.width_2.worst"]
    assert worst.value == found["width_2"].worst and worst.value == pytest.approx(0.5, abs=0.1)
    assert worst.floor < 0.1 and "normal.width_2" not in figures


def test_chains_that_are_worth_little_are_shared_or_refused():
    x, y = posterion.Parameter("x", scale=1.0), posterion.Parameter("y", scale=1.0)
    target = posterion.Target(lambda t: -0.5 * (t["x"] ** 2 + t["y"] ** 2), [x, y], vectorized=True)
    chain = posterion.sample_chain(
        target, draws=40, warmup=40, chains=64, sampler="parallel", seed=1, quiet=True
    )
    draws = np.random.default_rng(0).normal(size=chain.x.shape)
    good = replace(chain, x=draws)
    train, held = chains.split(good, 200, 400)
    assert train.shape == (200, 2) and held.chains * held.length > 1000
    train, held = chains.split(good, 10_000, 20_000)  # asked for more than there is
    assert held.chains == 64 - 22
    draws[0] += 100  # one chain far away: all that differs
    with pytest.raises(SampleError, match=r"worth \d\d independent draws"):
        chains.split(replace(chain, x=draws), 200, 400)


@pytest.mark.slow
def test_a_small_run(tmp_path):
    settings = Settings(train=3000, held_out=6000, samples=True, epochs=1, steps=100, particles=200)
    outcome = STUDY.run(settings, seed=1, out=tmp_path, resume=False)
    assert [file.name for file in outcome.files] == [
        "samples.posterion",
        "samples-and-density.posterion",
        "likelihood-pyhf.posterion",
        "report.html",
        "metrics.json",
    ]
    assert all(file.exists() for file in outcome.files)
    figures = read_metrics(tmp_path / "metrics.json").figures
    assert figures["density_alone.seen"].value == 0 and figures["parameters"].value == 30
    assert 0 < figures["exact.interval_low"].value < figures["exact.interval_high"].value
    assert (tmp_path / "report.html").read_text().count("data:image/png;base64") == 3
    again = STUDY.run(settings, seed=1, out=tmp_path, resume=True)
    first, second = (text.splitlines()[4].split()[:6] for text in (outcome.text, again.text))
    assert first == second
    with pytest.raises(CheckpointError, match="another run"):
        STUDY.run(settings, seed=2, out=tmp_path, resume=True)


@pytest.mark.slow
def test_a_published_workspace_without_a_signal(data_dir, tmp_path):
    """19 parameters of five bins: better than a normal, and at the floor in every metric."""
    path = data_dir / "pyhf" / "pyhf-tutorial_bkg_only.json.xz"
    if not path.exists():
        pytest.skip(f"POSTERION_DATA has no {path.name}")
    settings = Settings(workspace=path, train=20_000, held_out=40_000, steps=3000)
    STUDY.run(settings, seed=1, out=tmp_path, resume=False)
    figures = read_metrics(tmp_path / "metrics.json").figures
    assert figures["density_alone.ess_fraction"].value > 0.95
    assert figures["density_alone.ks_p"].value > 0.45
    worst = figures["density_alone.width_2.worst"]
    assert worst.value < max(0.05, 1.5 * worst.floor)
