"""What a published file says: roles, analysis, data set, licence, citation, metrics."""

import json
from dataclasses import replace

import numpy as np
import pytest

import posterion
from posterion import Parameter, Target, bundles, cli, errors
from posterion.reports import posterior_page, render_page
from test_training_reweighting import exact

BIBTEX = "@article{ours2024, title={Search for {X} & more}}"
PARAMETERS = (Parameter("mu", unit="fb", role="poi"), Parameter("alpha", role="nuisance"))


class Density:
    """As of `from_pyhf`: it knows what is held fixed."""

    def __init__(self):
        self.fixed = {"lumi": 1.0}

    def __call__(self, theta):
        return -0.5 * (theta["mu"] ** 2 + theta["alpha"] ** 2)


@pytest.fixture(scope="module")
def kept():
    return exact([0.0, 1.0], np.eye(2), PARAMETERS, form="dict")


@pytest.fixture(scope="module")
def found(kept):
    held = kept.sample(4000, seed=8)
    return posterion.compare(kept, held, draws=2000, classifier=False, repeats=5, seed=1)


@pytest.fixture
def file(kept, found, tmp_path):
    path = tmp_path / "kept.posterion"
    kept.publish(
        path,
        analysis="Search for X",
        dataset="Run 2, 139/fb",
        licence="CC-BY-4.0",
        citation=BIBTEX,
        metrics=found,
    )
    return path


def test_the_card_says_it_all(file, found):
    card = bundles.read_card(file)
    assert [p["role"] for p in card["parameters"]] == ["poi", "nuisance"]
    said = card["publication"]
    assert card["licence"] == "CC-BY-4.0" and "publication" not in card["provenance"]
    assert (said["analysis"], said["citation"]) == ("Search for X", BIBTEX)
    metric = said["metrics"]["metrics"]["ks"]
    assert metric["value"] == found["ks"].value and "columns" not in metric
    assert metric["floor"] == {"mean": found["ks"].floor.value, "sd": found["ks"].floor.error}
    shown = bundles.describe(card)
    for line in (
        "analysis: Search for X",
        "data set: Run 2, 139/fb",
        "licence: CC-BY-4.0",
        "  mu         fb    real     flat   poi",
        BIBTEX,
        f"metrics: {found.verdict}",
    ):
        assert line in shown.splitlines(), shown
    assert any(line.split()[:2] == ["KS", "distance"] for line in shown.splitlines())


def test_what_is_loaded_knows_it_and_shows_it(file):
    again = posterion.load(file)
    assert again.publication["dataset"] == "Run 2, 139/fb" and again.parameters[0].role == "poi"
    assert "analysis       Search for X" in repr(again)
    page = render_page(posterior_page(again, n=2000))
    for words in ("Publication", "KS distance", "of interest", "Search for {X} &amp; more"):
        assert words in page
    # Published again, it keeps what was said and takes what is new.
    more = again.publish(file, dataset="Run 3")
    assert more.publication["analysis"] == "Search for X" and more.publication["dataset"] == "Run 3"
    assert bundles.read_card(file)["licence"] == "CC-BY-4.0"


def test_fixed_parameters_of_the_target_are_kept(kept, tmp_path):
    path = tmp_path / "a.posterion"
    target = Target(Density(), PARAMETERS)
    replace(kept, target=target).publish(path, analysis="A")
    card = bundles.read_card(path)
    assert card["publication"] == {"analysis": "A", "fixed": {"lumi": 1.0}}
    assert "fixed parameters: {'lumi': 1.0}" in bundles.describe(card)


def test_what_cannot_be_published_is_named(kept, tmp_path):
    path = tmp_path / "a.posterion"
    with pytest.raises(errors.SettingError, match="nothing to publish"):
        kept.publish(path)
    for wrong in ({"ks": 0.5}, 17, {"metrics": {"ks": {"value": 1.0}}}):
        with pytest.raises(errors.SettingError, match="metrics must be what"):
            kept.publish(path, metrics=wrong)
    assert not path.exists()
    with pytest.raises(errors.ParameterError, match="role is 'poi', 'nuisance' or None"):
        replace(PARAMETERS[0], role="other")


def test_a_file_without_says_nothing_of_it(kept, tmp_path):
    kept.save(tmp_path / "a.posterion")
    card = bundles.read_card(tmp_path / "a.posterion")
    assert "publication" not in card and "analysis" not in bundles.describe(card)
    assert "publication" not in render_page(posterior_page(kept, n=2000)).lower()


def test_the_command(kept, found, tmp_path, capsys):
    kept.save(tmp_path / "a.posterion")
    (tmp_path / "cite.bib").write_text(BIBTEX + "\n")
    (tmp_path / "comparison.json").write_text(json.dumps(found.to_json()))
    out = tmp_path / "b.posterion"
    arguments = ["publish", str(tmp_path / "a.posterion"), "-o", str(out), "--licence", "CC0-1.0"]
    files = ["--citation", str(tmp_path / "cite.bib"), "--metrics"]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, *files, str(tmp_path / "comparison.json")])
    assert end.value.code == 0, capsys.readouterr()
    card = bundles.read_card(out)
    assert card["licence"] == "CC0-1.0" and card["publication"]["citation"] == BIBTEX
    assert card["publication"]["metrics"]["verdict"] == found.verdict
    for name, message in (("none.json", "cannot be read"), ("cite.bib", "is no JSON")):
        with pytest.raises(SystemExit) as end:
            cli.main([*arguments, "--metrics", str(tmp_path / name)])
        assert end.value.code == 2 and message in capsys.readouterr().err


def test_roles_go_from_the_target_through_chain_and_fit_to_the_file(tmp_path):
    target = Target(Density(), PARAMETERS, name="counting")
    chain = posterion.sample_chain(target, draws=200, warmup=100, chains=2, seed=0, quiet=True)
    flow = posterion.flows.maf(2, transforms=1, hidden=(4,))
    fit = posterion.fit(flow, chain, target=target, epochs=2, batch=100, seed=0, quiet=True)
    fit.publish(tmp_path / "a.posterion", analysis="A")
    card = bundles.read_card(tmp_path / "a.posterion")
    assert [p["role"] for p in card["parameters"]] == ["poi", "nuisance"]
    assert card["publication"]["fixed"] == {"lumi": 1.0}
