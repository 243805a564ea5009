"""The study ``jets``: four-vectors, matching, pulls, tables, chunks, and a small run."""

import sys

import numpy as np
import pytest

from posterion.core.errors import (
    CheckpointError,
    MissingExtraError,
    SampleError,
    SettingError,
    TableError,
)
from posterion.io import write_draws
from posterion.studies import find_study, read_metrics
from posterion.studies.jets import events, generating
from posterion.studies.jets.coordinates import (
    PULLS,
    conditions_of,
    draw_jets,
    from_jets,
    negative_masses,
    to_jets,
)
from posterion.studies.jets.detector import Calorimeter, Detector, respond
from posterion.studies.jets.events import COLUMNS, Generator, selected
from posterion.studies.jets.generating import chunk_path, generated
from posterion.studies.jets.kinematics import NAMES, jets_of_momenta, match, momenta, wrapped
from posterion.studies.jets.measuring import in_cube, marginal
from posterion.studies.jets.options import Settings
from posterion.studies.jets.page import chain_rate
from posterion.studies.jets.parametrised import parametrised
from posterion.studies.jets.tables import Pairs, own_pairs, pairs_of
from posterion.studies.settings import make_settings
from posterion.training import load

SMALL = {"jets": "3000", "epochs": "1", "parametrised": "true"}


def _jets(count, seed=0):
    rng = np.random.default_rng(seed)
    columns = [
        rng.uniform(20, 500, count),
        rng.uniform(-2.5, 2.5, count),
        rng.uniform(-np.pi, np.pi, count),
        rng.uniform(0, 50, count),
    ]
    return np.stack(columns, axis=1)


def test_four_vectors():
    # Two massless particles of 3 and 4 GeV, back to back in eta = 0 at right angles.
    p = np.array([[3.0, 0, 0, 3.0], [0, 4.0, 0, 4.0]])
    pt, eta, phi, m = jets_of_momenta(p.sum(axis=0))
    assert [pt, eta, phi] == pytest.approx([5, 0, np.arctan2(4, 3)])
    assert m == pytest.approx(np.sqrt(49 - 25))
    jets = _jets(100)
    assert jets_of_momenta(momenta(jets)) == pytest.approx(jets, abs=1e-4)
    # The squared mass of light and fast particles is not lost in rounding below zero.
    assert jets_of_momenta(np.array([1e3, 0, 0, 1e3 * (1 - 1e-16)]))[3] == 0


def test_matching_is_mutual_and_goes_round_the_circle():
    nan = [np.nan] * 4
    first = np.array([[[50, 0, 3.1, 5], [40, 1, 0, 5]], [[30, 0, 0, 5], nan]])
    second = np.array(
        [[[45, 0, -3.1, 5], [39, 1.1, 0, 5], [38, 1.05, 0, 5]], [[30, 0.5, 0, 5], nan, nan]]
    )
    found = match(first, second, 0.2)
    # of the two within reach of (1, 0) the nearer one; 0.5 is too far
    assert found.tolist() == [[0, 0, 0], [0, 1, 2]]
    two = np.array([[[50, 0.00, 0, 5], [40, 0.15, 0, 5]]])
    one = np.array([[[50, 0.05, 0, 5]]])
    assert match(two, one, 0.2).tolist() == [[0, 0, 0]]
    assert len(match(two, one[:, :0], 0.2)) == 0


def test_pulls_are_inverted_and_wrap():
    given, jets = _jets(200, 1), _jets(200, 2)
    back = to_jets(from_jets(jets, given), given)
    assert back[:, [0, 1, 3]] == pytest.approx(jets[:, [0, 1, 3]], rel=1e-9, abs=1e-9)
    assert np.abs(wrapped(back[:, 2] - jets[:, 2])).max() < 1e-9
    across = from_jets([[50, 0, -3.1, 5]], [[50, 0, 3.1, 5]])
    w = 0.015 * 2.5**-0.7
    assert np.sinh(across["pull_phi"][0]) * w == pytest.approx(2 * np.pi - 6.2)
    # A loss of energy by 6 % at 20 GeV is one width.
    lost = from_jets([[20 * np.exp(-0.06), 0, 0, 5]], [[20, 0, 0, 5]])
    assert np.sinh(lost["pull_pt"][0]) == pytest.approx(-1)
    light = {name: np.zeros(1) for name in PULLS} | {"pull_m": np.array([-3.0])}
    assert to_jets(light, [[50, 0, 0, 1.0]])[0, 3] == 0
    assert negative_masses(light, [[50, 0, 0, 1.0]]) == 1
    assert conditions_of([[1.0, 2, 3, 0]])["log_m"] == pytest.approx(np.log(2))
    with pytest.raises(SampleError, match="row 1 of jets"):
        from_jets([[1, 0, 0, 1], [1, 0, np.nan, 1]], given[:2])
    with pytest.raises(SampleError, match="200 jets and 2"):
        from_jets(jets, given[:2])
    with pytest.raises(SampleError, match=r"rows \(n, 4\)"):
        conditions_of(given[0])


def test_the_detector_measures_what_it_says():
    n = 20_000
    rng = np.random.default_rng(1)
    photon = np.tile([10.0, 0.0, 1.0, 0.0], (n, 1))
    no, yes = np.zeros(n, bool), np.ones(n, bool)
    calorimeter = Calorimeter(0.1, 0.15, 0.01, 0.0, 0.5, 0.9)
    p, seen = respond(photon, no, yes, rng, Detector(electromagnetic=calorimeter))
    sd = np.sqrt(0.1**2 / 10 + (0.15 / 10) ** 2 + 0.01**2)
    assert seen.mean() == pytest.approx(0.9, abs=4 * 0.3 / n**0.5)
    assert p[:, 3].std() / 10 == pytest.approx(sd, rel=4 / (2 * n) ** 0.5)
    assert jets_of_momenta(p[:9])[:, 3] == pytest.approx(0, abs=1e-5)
    pion = np.tile([5.0, 0.0, 1.0, 0.14], (n, 1))
    sharp = Detector(track_efficiency=(1.0, 1.0))
    p, seen = respond(pion, yes, no, rng, sharp)
    assert seen.all()
    assert np.hypot(p[:, 0], p[:, 1]).std() / 5 == pytest.approx(np.hypot(0.01, 0.001), rel=0.03)
    slow, far = pion * [0.05, 1, 1, 1], pion + np.array([0, 6, 0, 0])
    assert not respond(slow, yes, no, rng, sharp)[1].any()  # curled up
    assert not respond(far, yes, no, rng, sharp)[1].any()


def _fake(seed, pairs):
    table = parametrised(pairs, seed=seed)
    return table, {"events": 100, "seconds": {"Pythia": 1.0, "FastJet": 0.3, "response": 0.2}}


def test_chunks_are_kept_and_gone_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(generating, "CHUNK", 50)
    made = []

    def make(seed, pairs):
        made.append(seed)
        if len(made) == 3:
            raise RuntimeError("no more memory")
        return _fake(seed, pairs)

    with pytest.raises(SampleError, match=r"chunk 2 of seed 5 failed \(its own seed is (\d+)\)"):
        generated(170, seed=5, folder=tmp_path, make=make)
    assert len(list(tmp_path.iterdir())) == 2  # and no half a file
    before = chunk_path(tmp_path, 5, 0).read_bytes()
    found, costs = generated(170, seed=5, folder=tmp_path, make=make)
    assert len(made) == 5 and made[2] == made[3]  # two were there, the failed one comes again
    assert chunk_path(tmp_path, 5, 0).read_bytes() == before
    assert list(found) == list(COLUMNS) and len(found["gen_pt"]) == 170
    assert costs["Pythia"] == pytest.approx(10) and costs["pairs an event"] == 0.5
    anew, _ = generated(170, seed=5, folder=tmp_path / "other", make=_fake)
    assert np.array_equal(anew["reco_m"], found["reco_m"])
    chunk_path(tmp_path, 5, 0).rename(chunk_path(tmp_path, 6, 0))
    with pytest.raises(CheckpointError, match="another generator or another seed"):
        generated(50, seed=6, folder=tmp_path, make=make)


def test_a_chain_costs_one_response_and_two_clusterings():
    costs = {"Pythia": 8.0, "FastJet": 1.5, "response": 0.4, "pairs an event": 2.0}
    pairs = Pairs(*np.zeros((3, 1, 4)), "events", costs=costs)
    assert chain_rate(pairs) == pytest.approx(2000 / (8 + 1 + 0.2))


def test_own_tables_are_joined_by_their_keys(tmp_path):
    jets = _jets(300)
    other = jets * [0.97, 1, 1, 0.9]
    event = np.arange(300) // 2
    jet = np.arange(300) % 2
    gen = dict(zip([f"gen_{n}" for n in NAMES], jets.T, strict=True))
    reco = dict(zip(("pT", "eta", "phi", "mass"), other.T, strict=True))
    paths = tmp_path / "gen.parquet", tmp_path / "reco.csv"
    order = np.random.default_rng(0).permutation(300)[:290]
    write_draws(paths[0], gen | {"event": event, "jet": jet})
    write_draws(paths[1], {k: v[order] for k, v in (reco | {"event": event, "jet": jet}).items()})
    pairs = own_pairs(*paths)
    assert len(pairs.gen) == 290
    assert pairs.reco == pytest.approx(pairs.gen * [0.97, 1, 1, 0.9])
    assert "10 generated and 0 reconstructed jets have no partner" in pairs.notes
    assert len(pairs.of("correction")[0]) == 290 and pairs.again_of("correction") is None

    def refused(match, **changed):
        write_draws(paths[1], reco | changed)
        with pytest.raises(TableError, match=match):
            own_pairs(*paths)

    refused("more than once", event=np.zeros(300), jet=jet)
    refused("have no event and jet in common", event=event + 1e6, jet=jet)
    bad = other[:, 0].copy()
    bad[[7, 9]] = np.nan
    refused(r"reco.csv: pt is nan in row 7, and 2 rows", pT=bad)
    refused(r"m is -1.0 in row 0", mass=other[:, 3] * 0 - 1)
    write_draws(paths[1], {k: v[order] for k, v in reco.items()})
    with pytest.raises(TableError, match=r"300 rows and .* 290"):
        own_pairs(*paths)
    write_draws(paths[1], {k: v[::-1] for k, v in reco.items()})
    with pytest.raises(TableError, match="do not belong together"):
        own_pairs(*paths)
    write_draws(paths[1], reco)
    assert "rows are paired by their order" in own_pairs(*paths).notes
    write_draws(paths[1], {k: v for k, v in reco.items() if k != "mass"})
    with pytest.raises(TableError, match="lacks m;"):
        own_pairs(*paths)


def test_either_direction_is_cut_on_what_is_given():
    pairs = pairs_of(parametrised(2000, seed=1), "closed form")
    for name, given, outcome in (
        ("simulation", pairs.gen, pairs.reco),
        ("correction", pairs.reco, pairs.gen),
    ):
        keep = selected(given[:, 0], given[:, 1])
        assert 0.8 < keep.mean() < 1
        found = pairs.of(name)
        assert np.array_equal(found[0], given[keep]) and np.array_equal(found[1], outcome[keep])
    again = pairs.again_of("correction")
    assert again is not None and selected(again[0][:, 0], again[0][:, 1]).all()
    assert not np.array_equal(again[0], pairs.of("correction")[0])


def test_ratios_have_the_error_of_counting():
    ratio, error = marginal(
        np.repeat([0.5, 1.5], 100), np.repeat([0.5, 1.5], [150, 250]), np.arange(3.0)
    )
    assert ratio == pytest.approx([0.75, 1.25])
    assert error == pytest.approx(ratio * np.sqrt(1 / 100 + 1 / np.array([150, 250])))
    jets = np.array([[32, 0, 0, 7.0], [36, 0, 0, 7], [32, 0, 2, 7], [32, 0, 0, 4]])
    assert in_cube(jets).tolist() == [True, False, False, False]


def test_a_small_run_writes_everything_and_resumes(tmp_path):
    settings = make_settings(Settings, [*SMALL.items(), ("models", "monotone")])
    found = find_study("jets").run(settings, seed=1, out=tmp_path, resume=False)
    assert "a sample in closed form in place of Pythia and FastJet" in found.text
    assert "No event was simulated" in (tmp_path / "report.html").read_text()
    figures = read_metrics(tmp_path / "metrics.json").figures
    assert figures["simulation.monotone.auc"].truth == 0.5
    assert figures["simulation.monotone.marginal.pt.largest"].floor is not None
    assert "correction.monotone.pit.m.ks_p" in figures
    assert figures["simulation.monotone.jets_a_second"].value > 0
    assert not list(tmp_path.glob("*.checkpoint"))
    jets = draw_jets(load(tmp_path / "jets.posterion"), [[50, 0, 3.14, 8.0]], n=5, seed=1)
    assert jets.shape == (5, 4) and (np.abs(jets[:, 2]) <= np.pi).all()
    before = (tmp_path / "jets.posterion").read_bytes()
    find_study("jets").run(settings, seed=1, out=tmp_path, resume=True)
    assert (tmp_path / "jets.posterion").read_bytes() == before
    with pytest.raises(CheckpointError, match="another run"):
        find_study("jets").run(settings, seed=2, out=tmp_path, resume=True)


def test_without_the_extra(monkeypatch):
    for name in ("pythia8mc", "fastjet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert not events.has_generator()
    with pytest.raises(MissingExtraError, match=r"posterion\[hep\]"):
        Generator(1)


def test_events_of_pythia():
    reason = "the extra hep is not installed"
    pytest.importorskip("pythia8mc", reason=reason)
    pytest.importorskip("fastjet", reason=reason)
    generator = Generator(1)
    found = generator.pairs(100)
    assert list(found) == list(COLUMNS) and len(found["event"]) == 100
    gen, reco = (np.stack([found[f"{k}_{n}"] for n in NAMES], axis=1) for k in ("gen", "reco"))
    apart = np.hypot(gen[:, 1] - reco[:, 1], wrapped(gen[:, 2] - reco[:, 2]))
    assert apart.max() < 0.2
    response = reco[:, 0] / gen[:, 0]
    assert 0.9 < np.median(response) < 1 and 0.01 < response.std() < 0.3
    assert not np.array_equal(found["again_pt"], found["reco_pt"])
    assert all(seconds > 0 for seconds in generator.seconds.values())
    again = Generator(1).pairs(100)
    assert all(np.array_equal(found[name], again[name]) for name in COLUMNS)


def test_settings_are_checked():
    with pytest.raises(SettingError, match="jets must be at least 1000"):
        Settings(jets=10)
    with pytest.raises(SettingError, match="two tables"):
        make_settings(Settings, [("gen", "a.csv")])
    with pytest.raises(SettingError, match="each once"):
        make_settings(Settings, [("models", "one"), ("models", "one")])
    with pytest.raises(SettingError, match="nothing to generate"):
        make_settings(Settings, [("gen", "a.csv"), ("reco", "b.csv"), ("parametrised", "true")])
