"""The study ``susy``: scans, tables, SLHA files, and a small run."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from posterion.core.errors import (
    CheckpointError,
    MissingExtraError,
    SampleError,
    SettingError,
    TableError,
)
from posterion.emulators import Gaussian
from posterion.io import write_draws
from posterion.networks import mlp
from posterion.studies import find_study, read_metrics
from posterion.studies.settings import make_settings
from posterion.studies.susy import generator, parameters, pictures, scanning, slha
from posterion.studies.susy.measuring import _errors, _found
from posterion.studies.susy.options import Settings
from posterion.studies.susy.tasks import TASKS
from posterion.studies.susy.timing import Timing
from small_emulators import made

SMALL = {
    "rows": "300", "held_out": "150", "epochs": "2", "chains": "2", "draws": "4",
    "warmup": "4", "thin": "1",
}  # fmt: skip
SLHA = """
BLOCK SPINFO
     1   CODE
BLOCK MSOFT Q= 1.0E+03
     1   2.5E+02
     2   4.7E+02
     3   1.3E+03
    31   4.2E+02
    33   4.1E+02
    34   2.7E+02
    36   2.6E+02
    41   1.20E+03
    43   1.11E+03
    44   1.16E+03
    46   9.5E+02
    47   1.15E+03
    49   1.14E+03
BLOCK HMIX Q= 1.0E+03
     1   7.4E+02
     2   9.6E+00
BLOCK MASS
    25   1.161E+02
    36   8.5E+02
BLOCK AU Q= 1.0E+03
  3  3  -1.04E+03
BLOCK AD Q= 1.0E+03
  3  3  -1.53E+03
BLOCK AE Q= 1.0E+03
  3  3  -3.5E+02
"""
SIGMAS = """
XSECTION 1.30E+04 2212 2212 2 1000021 1000021  # gluinos
  0  0  0  0  0  0  1.0E-03  code  1
  0  1  0  0  0  0  1.6E-03  code  1
XSECTION 8.00E+03 2212 2212 2 1000021 1000021  # at a lower energy, of a higher order
  0  2  0  0  0  0  1.0E-05  code  1
XSECTION 1.30E+04 2212 2212 2 1000006 -1000006  # stops
  0  0  0  0  0  0  2.0E-03  code  1
XSECTION 1.30E+04 2212 2212 2 1000022 1000024  # neither has colour
  0  0  0  0  0  0  7.0E-01  code  1
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(scanning, "PART", 2048)
    monkeypatch.setattr(generator, "_ROWS", 2048)


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_those_of_the_task_whoever_scans(task):
    alone = scanning.scan(task, 500, seed=2)
    with ThreadPoolExecutor(1) as pool:
        pooled = scanning.scan(task, 500, seed=2, executor=pool, width=3)
    assert list(alone) == [*parameters.NAMES, TASKS[task].column]
    for name, column in alone.items():
        np.testing.assert_array_equal(column, pooled[name])
    points = np.column_stack([alone[name] for name in parameters.NAMES])
    again = generator.evaluate(points)
    np.testing.assert_allclose(again[TASKS[task].column], alone[TASKS[task].column], rtol=1e-12)
    if task == "cross-section":
        assert again["viable"].all()
    elif task == "higgs-mass":
        assert again["sound"].all() and (again["m_h"] > 110).all()
    else:
        assert abs(again["viable"].mean() - 0.5) < 0.06
        assert not (scanning.scan(task, 500, seed=3)["M1"] == alone["M1"]).any()


def test_processes_scan_the_same():
    with scanning.workers(2, None) as (executor, width):
        assert width == 2 and executor is not None
        parts = list(executor.map(scanning._part, [("higgs-mass", 4, i) for i in range(2)]))
    monkey = pytest.MonkeyPatch()
    monkey.setattr(scanning, "PART", 65_536)  # what the processes have
    np.testing.assert_allclose(parts[1], scanning._part(("higgs-mass", 4, 1)), rtol=1e-12)
    monkey.undo()


def test_a_cluster_scans_the_same():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        scanning.workers(1, cluster.scheduler_address) as (executor, width),
    ):
        found = scanning.scan("higgs-mass", 300, seed=2, executor=executor, width=width)
    np.testing.assert_array_equal(found["m_h"], scanning.scan("higgs-mass", 300, seed=2)["m_h"])


def test_no_scheduler_is_said():
    pytest.importorskip("distributed")
    with (
        pytest.raises(SettingError, match="no Dask scheduler answers"),
        scanning.workers(1, "nonsense://here"),
    ):
        pass


def test_a_cluster_without_dask_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with (
        pytest.raises(MissingExtraError, match=r"^scans .* 'posterion\[dask\]'$"),
        scanning.workers(1, "tcp://localhost:1"),
    ):
        pass


def test_slha_files_are_rows(tmp_path):
    pytest.importorskip("pyslha")
    (tmp_path / "a.slha").write_text(SLHA + SIGMAS)
    (tmp_path / "b.spc").write_text(SLHA.replace("1   CODE", "4   no convergence"))
    (tmp_path / "notes.md").write_text("nothing")
    found = slha.read_folder(tmp_path)
    assert found["At"].tolist() == [-1040.0, -1040.0]
    assert found["mu"][0] == 740.0 and found["tanb"][0] == 9.6 and found["MA"][0] == 850.0
    assert found["mU3"][0] == 950.0 and found["mE1"][0] == 270.0
    assert found["viable"].tolist() == [1.0, 0.0]
    assert found["m_h"][0] == 116.1
    assert found["sigma"][0] == pytest.approx(3.6e-3) and np.isnan(found["sigma"][1])


def test_slha_inputs_come_before_what_runs(tmp_path):
    pytest.importorskip("pyslha")
    (tmp_path / "a.slha").write_text(SLHA + "BLOCK EXTPAR\n  1  2.6E+02\n 11  -9.0E+02\n")
    found = slha.read_folder(tmp_path)
    assert found["M1"][0] == 260.0 and found["At"][0] == -900.0


def test_slha_files_that_do_not_serve(tmp_path, monkeypatch):
    pytest.importorskip("pyslha")
    with pytest.raises(TableError, match="no folder"):
        slha.read_folder(tmp_path / "none")
    with pytest.raises(TableError, match="holds no file"):
        slha.read_folder(tmp_path)
    (tmp_path / "a.slha").write_text(SLHA.replace("BLOCK HMIX", "BLOCK OTHER"))
    with pytest.raises(TableError, match="does not give mu"):
        slha.read_folder(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pyslha", None)
    with pytest.raises(MissingExtraError, match=r"posterion\[hep\]"):
        slha.read_folder(tmp_path)


def test_precision_recall_and_f1():
    said = np.array([True, True, True, False, False])
    truth = np.array([True, True, False, True, False])
    found = _found("x", said, truth)
    assert found["x.precision"].value == pytest.approx(2 / 3)
    assert found["x.recall"].value == pytest.approx(2 / 3)
    assert found["x.f1"].value == pytest.approx(2 / 3)
    nothing = _found("x", np.zeros(3, bool), np.zeros(3, bool))
    assert nothing["x.f1"].value == 0


def test_mean_and_median_of_percent_errors():
    y = np.full(10_000, 2.0)
    predicted = y * (1 + 0.01 * np.random.default_rng(0).uniform(-1, 1, len(y)))
    predicted[0] = 2000.0  # one point that is far off
    found = _errors("e", predicted, y)
    assert found["e"].value == pytest.approx(0.5 + 99900 / 10_000, rel=0.02)
    assert found["e"].error == pytest.approx(999.0 / 100, rel=0.02)
    # Of uniform errors within 1 % the median has the error 1 / (2 sqrt(n)).
    assert abs(found["e_median"].value - 0.5) < 4 * 0.005
    assert found["e_median"].error == pytest.approx(0.005, rel=0.3)


def test_speed_is_said_beside_the_theory():
    slower, faster = Timing(1e-4, 200, 2e-5).words(), Timing(1e-6, 200, 2e-5).words()
    assert "2e+06 evaluations of a network a second" in slower
    assert "2.1e+06 below 3.5 minutes; the vectorised stand-in is 5 times faster." in slower
    assert faster.endswith("and of 20 below the vectorised stand-in.")
    assert Timing(1e-4, 200, None).words().endswith("below 3.5 minutes.")


def _settings(**more: str) -> Settings:
    pairs = {**SMALL, **more}
    return make_settings(Settings, list(pairs.items()))


def test_a_small_run_writes_everything_and_resumes(tmp_path):
    settings = _settings(task="higgs-mass", beside="ensemble")
    found = find_study("susy").run(settings, seed=1, out=tmp_path, resume=False)
    metrics = read_metrics(tmp_path / "metrics.json")
    written = (tmp_path / "report.html").read_text()
    assert "Higgs mass" in found.text and "stand-in" in written
    assert 'Higgs mass <span class="badge warn">' in written
    assert "There is no correction at 3 sd: it takes 370 rows held out for it." in written
    covered = metrics.figures["higgs-mass.Bayesian_networks.covered_3"]
    assert covered.truth == pytest.approx(0.9973, abs=1e-4) and covered.published == 0.874
    assert metrics.figures["higgs-mass.ensemble.percent_error"].published is None
    assert metrics.figures["higgs-mass.network_evaluations_a_second"].value > 0
    assert not list(tmp_path.glob("*.chains"))
    before = (tmp_path / "higgs-mass.posterion").read_bytes()
    find_study("susy").run(settings, seed=1, out=tmp_path, resume=True)
    assert (tmp_path / "higgs-mass.posterion").read_bytes() == before
    with pytest.raises(CheckpointError, match="another run"):
        find_study("susy").run(settings, seed=2, out=tmp_path, resume=True)


def test_contours_that_are_not_in_the_plane_are_not_in_the_legend(monkeypatch):
    figures, drawn = [], pictures.Image.of

    def kept(figure, *said):
        figures.append(figure)
        return drawn(figure, *said)

    monkeypatch.setattr(pictures.Image, "of", kept)
    far = made(mlp((2,)), Gaussian(), parameters.NAMES, ["m_h"])  # its masses are of order one
    said = pictures.planes(TASKS["higgs-mass"], far)
    assert said.caption.endswith("Without a contour in this plane: mean, mean + 3 sd, mean - 3 sd.")
    legend = figures[0].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["theory"]


def test_own_tables(tmp_path):
    rows = scanning.scan("viability", 700, seed=1)
    path = tmp_path / "scan.parquet"
    write_draws(path, [rows])
    settings = _settings(table=str(path), beside="ensemble", sampler="sghmc")
    found = find_study("susy").run(settings, seed=1, out=tmp_path, resume=False)
    assert "Viability" in found.text and "Higgs mass" not in found.text
    assert "stand-in" not in (tmp_path / "report.html").read_text()
    metrics = read_metrics(tmp_path / "metrics.json")
    assert metrics.figures["viability.Bayesian_networks.mean.f1"].published == 0.954
    assert metrics.figures["viability.Bayesian_networks.calibration_error"].floor is not None
    with pytest.raises(SettingError, match="no column sigma"):
        wanted = _settings(table=str(path), task="cross-section")
        find_study("susy").run(wanted, seed=1, out=tmp_path, resume=False)
    write_draws(path, [{k: v for k, v in rows.items() if k != "mu"}])
    with pytest.raises(SettingError, match="beside names nuts; there are"):
        wanted = _settings(table=str(path), beside="nuts")
        find_study("susy").run(wanted, seed=1, out=tmp_path, resume=False)
    with pytest.raises(TableError, match="lacks the parameters mu"):
        find_study("susy").run(settings, seed=1, out=tmp_path, resume=False)
    write_draws(path, [{k: v[:150] for k, v in rows.items()}])
    with pytest.raises(SampleError, match="leave"):
        find_study("susy").run(settings, seed=1, out=tmp_path, resume=False)


def test_settings_are_checked():
    with pytest.raises(SettingError, match="rows must be at least"):
        Settings(rows=10)
    with pytest.raises(SettingError, match="two sources"):
        make_settings(Settings, [("table", "a.csv"), ("slha", "b")])
