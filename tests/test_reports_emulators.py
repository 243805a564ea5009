"""The page of an emulator: its numbers, its pictures, and what it says where rows are missing."""

import re
from dataclasses import replace

import numpy as np
import pytest

from posterion.cli import main
from posterion.core.status import Status
from posterion.diagnostics.bands import uniform_band
from posterion.diagnostics.health import Check, Health
from posterion.emulators import Bernoulli, Categorical, Gaussian
from posterion.networks import mlp
from posterion.reports import emulator_page, render_page
from posterion.reports.blocks import Image, Table
from posterion.reports.emulator_pictures import coverage_plot
from small_emulators import made, with_rows


def sections(page):
    return {section.title: section.blocks for section in page.sections}


@pytest.fixture(scope="module")
def emulator():
    found = with_rows(made(mlp((5,)), Gaussian(0.2), "ab", "yz", log="y", count=12), 1000)
    chains = replace(found, theta=found.theta.reshape(2, 6, -1))
    walked = Health(Status.calibrated, name="toy", checks=(Check("divergent transitions", 0),))
    factors = np.array([[1.1, 0.9], [2.2, 1.9]])
    lines = {"chain": [0, 0, 1, 1], "epoch": [0, 1, 0, 1], "loss": [2.0, 1.0, 2.5, 1.5]}
    history = {name: np.array(line) for name, line in lines.items()}
    return replace(chains, health=walked, factors=factors, history=history)


def test_the_table_s_coverage_is_that_of_the_test_rows(emulator):
    found = sections(emulator_page(emulator))
    table = found["Coverage"][0]
    assert isinstance(table, Table) and len(table.rows) == 6
    x, y = emulator.held.x[emulator.held.test], emulator.held.y[emulator.held.test]
    p = emulator.predict(x)
    for row, (target, sigmas) in zip(table.rows, np.ndindex(2, 3), strict=True):
        name, interval, promised, raw, corrected, half = row
        assert (name, interval) == ("yz"[target], f"{sigmas + 1} sd")
        assert promised == [68.27, 95.45, 99.73][sigmas]
        low, high = (end[:, target] for end in p.interval(sigmas + 1, corrected=False))
        inside = np.mean((low <= y[:, target]) & (y[:, target] <= high))
        assert raw.value == pytest.approx(100 * inside, abs=0.01)
        assert 0 < raw.error < 3
        if sigmas == 2:
            assert corrected is half is None
            continue
        assert half == emulator.factors[sigmas, target]
        low, high = (end[:, target] for end in p.interval(sigmas + 1))
        inside = np.mean((low <= y[:, target]) & (y[:, target] <= high))
        assert corrected.value == pytest.approx(100 * inside, abs=0.01)


def test_what_is_missing_and_where_the_band_ends_is_said(emulator):
    few = replace(emulator.held, test=np.arange(1000) >= 300)
    table, picture = sections(emulator_page(replace(emulator, held=few)))["Coverage"]
    assert "There is no correction at 3 sd: it takes 370 rows held out for it." in table.caption
    assert uniform_band(700).at[-1] == 0.99 and "up to 99 % (2.58 sd)" in picture.caption


def test_the_page_of_chains_has_all_its_pictures(emulator):
    page = emulator_page(emulator)
    found = sections(page)
    for title in ("Coverage", "Pulls", "Predictions", "Chains", "Training"):
        assert any(isinstance(block, Image) for block in found[title]), title
    assert page.badge == "calibrated" and page.tone == "good"
    text = render_page(page)
    assert "GeV" in text and "Emulator of y, z: toy" in text
    assert not re.search(r"(src|href)=\"https?:", text)
    columns = found["Columns"][0]
    assert [row[:3] for row in columns.rows][::3] == [["a", "input", "GeV"], ["z", "target", "GeV"]]


def test_networks_that_are_no_chain_have_no_traces(emulator):
    bare = replace(emulator, health=Health(Status.unproven, name="toy"))
    assert "Chains" not in sections(emulator_page(bare))


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(3)], ids=["label", "classes"])
def test_labels_have_their_frequencies(likelihood):
    emulator = with_rows(made(mlp((4,)), likelihood, "ab", count=8), 400)
    found = sections(emulator_page(emulator))
    assert isinstance(found["Calibration"][0], Image) and "Coverage" not in found


def test_without_rows_the_page_says_so(emulator):
    found = sections(emulator_page(replace(emulator, held=None)))
    assert "fewer than 20 held-out rows" in found["Held-out rows"][0].text
    assert not {"Coverage", "Chains"} & set(found) and "Health" in found


def test_a_distilled_one_has_the_same_page(emulator):
    quick = {"network": mlp((6,)), "rows": 400, "epochs": 4, "quiet": True}
    found = sections(emulator_page(emulator.distil(**quick)))
    assert {"Coverage", "Pulls", "Training"} <= set(found) and "Chains" not in found
    assert "training rows of the emulator that was distilled;" in found["Columns"][0].caption
    origin = dict(found["Provenance"][0].rows)
    assert origin["emulator.networks"] == 12 and not {"networks", "distilled"} & set(origin)


def test_the_excess_is_zero_where_pulls_are_normal():
    """Half widths at the quantiles of a normal: the curve stays within a row or two of zero."""
    from scipy import stats

    pulls = stats.norm.ppf((np.arange(400) + 0.5) / 400)[:, None]
    figure = coverage_plot(pulls, np.array([[1.0]]), ["y"])
    _, line = figure.axes[0].get_lines()[:2]
    assert np.abs(line.get_ydata()).max() <= 1 / 400 + 1e-9


def test_the_command_line_writes_pages(emulator, tmp_path, capsys):
    emulator.save(tmp_path / "toy.posterion")
    for arguments in (["-o", "report.html"], ["-o", "toy.posterion"]):
        name = tmp_path / arguments[1]
        with pytest.raises(SystemExit) as left:
            main(["report", str(tmp_path / "toy.posterion"), "-o", str(name)])
        said = capsys.readouterr()
        if name.suffix == ".html":
            assert not left.value.code and f"wrote {name}" in said.out
            assert "Coverage" in name.read_text()
        else:
            assert left.value.code == 2 and "would be lost" in said.err
