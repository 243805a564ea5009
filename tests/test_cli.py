"""The command line, with a study and a result made for the test."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest

from posterion import bundles, cli, studies
from posterion.cli import results
from posterion.core.errors import InterruptedLearning, OutputError
from posterion.core.registry import register
from posterion.core.status import Status
from posterion.io import read_metadata, read_table

STUDY = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

from posterion.core.status import Status
from posterion.studies.base import Outcome, Study, write_metrics
from posterion.studies.settings import setting


@dataclass(frozen=True)
class Settings:
    ordering: Literal["NO", "IO", "both"] = setting("both", "mass ordering")
    release: tuple[str, ...] = setting(("5.3",), "releases")
    steps: int | None = setting(None, "steps of learning")
    quick: bool = setting(False, "less of everything")
    tables: Path | None = setting(None, "folder of tables")


def run(settings, *, seed, out, resume):
    if settings.steps == 0:
        (out / "started").touch()
        time.sleep(60)
    write_metrics(out / "metrics.json", "fake", seed, 1.5, {"NO.ess_fraction": 0.99})
    return Outcome(f"{settings} {seed} {resume}", (out / "metrics.json",))


def check(result, *, seed):
    class Health:
        status = Status.converged if seed else Status.undertrained

        def __str__(self):
            return f"health of {result.name}: {self.status.name}"

    return Health()


STUDY = Study("fake", "a study made for the test", Settings, run, check)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder of studies with one study, ``fake``."""
    room = tmp_path / "studies"
    (room / "fake").mkdir(parents=True)
    (room / "fake" / "__init__.py").write_text("")
    (room / "fake" / "study.py").write_text(STUDY)
    (room / "unfinished").mkdir()
    return room


@pytest.fixture
def fake(folder, monkeypatch):
    monkeypatch.setattr(studies, "__path__", [str(folder)])
    monkeypatch.chdir(folder.parent)
    yield
    for name in [name for name in sys.modules if name.startswith("posterion.studies.fake")]:
        del sys.modules[name]


@register("test_cli_parameter")
@dataclass(frozen=True)
class Parameter:
    name: str
    unit: str
    shape: tuple[int, ...] = ()


@register("test_cli_result")
@dataclass(frozen=True)
class Result:
    """What the command line asks of a result."""

    parameters: tuple[Parameter, ...] = (Parameter("m", "GeV"), Parameter("w", "", (2,)))
    name: str = "toy"
    kind: str = "posterior"

    def sample(self, n: int, *, seed: int) -> dict:
        generator = np.random.default_rng(seed)
        return {"m": generator.normal(size=n), "w": generator.normal(size=(n, 2))}

    named = sample


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "toy.posterion"
    card = {"kind": "posterior", "name": "toy", "health": {"report": "ESS/N 0.998"}}
    bundles.save_object(path, Result(), card | {"provenance": {"study": "fake"}})
    return path


@pytest.fixture
def posterion(capsys):
    """``posterion(*arguments)`` gives exit code, standard output and standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exit.value.code or 0, captured.out, captured.err

    return run


def test_studies_are_found_by_their_folders(fake, posterion):
    assert studies.study_names() == ("fake",)
    assert list(studies.all_studies()) == ["fake"]
    code, out, _ = posterion("studies")
    assert code == 0 and out.split(maxsplit=1) == ["fake", "a study made for the test\n"]
    code, out, _ = posterion("studies", "fake")
    assert code == 0
    for line in (
        "--ordering  NO|IO|both  mass ordering [both]",
        "--release   STR ...     releases [5.3]",
        "--steps     INT|none    steps of learning [none]",
        "--quick     true|false  less of everything [false]",
        "--tables    PATH|none   folder of tables [none]",
    ):
        assert line in out


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], "(ordering='both', release=('5.3',), steps=None, quick=False, tables=None) 1 False"),
        (["--ordering", "NO", "--seed", "7", "--resume"], "ordering='NO', release=('5.3',)"),
        (["--seed", "7", "--resume", "--ordering=io"], "ordering='IO'"),
        (
            ["--release", "5.3", "5.2", "--quick", "--release", "x,y.txt"],
            "('5.3', '5.2', 'x,y.txt')",
        ),
        (["--set", "release=5.2", "--set", "steps=1e5"], "('5.2',), steps=100000"),
        (["--no-quick", "--steps", "none"], "steps=None, quick=False"),
        (["--set", "quick=yes", "--set", "tables=a=b"], "quick=True, tables=PosixPath('a=b')"),
    ],
)
def test_run_passes_the_settings_on(fake, posterion, arguments, shown):
    code, out, err = posterion("run", "fake", *arguments)
    assert code == 0, err
    assert shown in out and "wrote out/fake/metrics.json" in out
    assert out.split("\n")[0].endswith(" 7 True" if "7" in arguments else " 1 False")
    metrics = studies.read_metrics("out/fake/metrics.json")
    assert metrics.study == "fake" and metrics.figures["NO.ess_fraction"].value == 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fak"], "no study 'fak'. Did you mean 'fake'? Known: fake"),
        (
            ["fake", "--orderng", "NO"],
            "no setting 'orderng'. Did you mean 'ordering'? Known: ordering",
        ),
        (["fake", "--set", "learning=1"], "no setting 'learning'"),
        (["fake", "--set", "ordering"], "KEY=VALUE, not 'ordering'"),
        (["fake", "--ordering", "XO"], "'ordering' cannot be 'XO'; it takes NO|IO|both"),
        (["fake", "--steps", "1.5"], "'steps' cannot be '1.5'; it takes INT|none"),
        (["fake", "--steps", "1", "2"], "'2' belongs to no option"),
        (["fake", "--steps"], "--steps needs a value"),
        (["fake", "--steps", "1", "--set", "steps=2"], "'steps' is given twice"),
        (["fake", "--set", "quick=maybe"], "'quick' cannot be 'maybe'; it takes true|false"),
        (["--ordering", "NO", "fake"], "no study '--ordering'"),
    ],
)
def test_a_wrong_setting_is_a_message_and_exit_code_2(fake, posterion, arguments, message):
    code, out, err = posterion("run", *arguments)
    assert code == 2 and message in err and out == ""
    assert "Traceback" not in err and err.startswith("error: ")


def test_help_of_a_run_names_the_list_of_the_study_s_own_options(posterion):
    code, out, _ = posterion("run", "--help")
    assert code == 0 and "--resume" in out and "posterion studies NAME" in out
    assert posterion("run")[0] == 2


def test_an_output_folder_that_cannot_be_written_is_noticed_before_the_run(
    fake, posterion, tmp_path
):
    (tmp_path / "file").touch()
    code, _, err = posterion("run", "fake", "--out", tmp_path / "file" / "out")
    assert code == 1 and "cannot write to the folder" in err
    code, _, err = posterion("run", "fake", "--out", tmp_path / "file")
    assert code == 1 and "cannot write to the folder" in err


def test_an_error_of_the_run_is_a_message_and_exit_code_1(fake, posterion, monkeypatch):
    def fail(*_, **__):
        raise OutputError("cannot write x: No space left on device")

    study = studies.find_study("fake")
    monkeypatch.setattr(
        studies, "find_study", lambda _: studies.Study("fake", "", study.settings, fail)
    )
    assert posterion("run", "fake") == (1, "", "error: cannot write x: No space left on device\n")

    def crash(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(
        studies, "find_study", lambda _: studies.Study("fake", "", study.settings, crash)
    )
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "fake"])


def test_interrupted_learning_says_how_to_go_on(fake, posterion, monkeypatch):
    def interrupt(*_, **__):
        raise InterruptedLearning("checkpoint written after 500 steps")

    study = studies.find_study("fake")
    monkeypatch.setattr(
        studies, "find_study", lambda _: studies.Study("fake", "", study.settings, interrupt)
    )
    code, _, err = posterion("run", "fake", "--release", "my tables.txt", "--seed", "3")
    assert code == 130 and "checkpoint written after 500 steps" in err
    again = "posterion run fake --release 'my tables.txt' --seed=3 --out=out/fake --resume\n"
    assert err.endswith(again)
    _, _, err = posterion("run", "fake", "--set", "steps=3", "--resume")
    assert "posterion run fake --set=steps=3 --seed=1 --out=out/fake --resume\n" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "batch"])
def test_a_real_interrupt_ends_with_130_and_no_traceback(folder, number):
    code = (
        "import signal\n"
        "from posterion import cli, studies\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"studies.__path__ = [{str(folder)!r}]\n"
        "cli.main(['run', 'fake', '--steps', '0'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as process:
        started = folder / "out" / "fake" / "started"
        for _ in range(600):
            if started.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "posterion run fake --steps 0 --seed=1" in err and "Traceback" not in err


def test_more_draws_than_the_disk_holds_are_refused(posterion, file, tmp_path):
    code, _, err = posterion("sample", file, "-n", "1e20", "-o", tmp_path / "draws.csv")
    assert code == 2 and "ask for fewer draws" in err
    assert not list(tmp_path.glob("*draws*"))


def test_show_prints_the_card(posterion, file):
    code, out, _ = posterion("show", file)
    assert code == 0 and "posterior: toy" in out and "ESS/N 0.998" in out
    file.write_bytes(file.read_bytes()[:-100])
    code, out, err = posterion("show", file)
    assert (code, out) == (1, "") and err.startswith("error: ") and "truncated" in err


def test_show_and_studies_need_no_jax(run_python, file):
    run_python(
        "import sys; from posterion import cli\n"
        "for words in (['show', sys.argv[1]], ['studies']):\n"
        "    try: cli.main(words)\n"
        "    except SystemExit as exit: assert not exit.code\n"
        "assert 'jax' not in sys.modules",
        str(file),
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv", "npz", "h5"])
def test_sample_writes_what_the_result_samples(posterion, file, tmp_path, suffix):
    output = tmp_path / "new folder" / f"draws.{suffix}"
    code, out, err = posterion("sample", file, "-n", "1e3", "-o", output, "--seed", 5)
    assert code == 0, err
    assert "1,000 draws of toy" in out
    for name, array in Result().sample(1000, seed=5).items():
        np.testing.assert_array_equal(read_table(output)[name], array)
    if suffix != "csv":
        assert read_metadata(output)["units"] == {"m": "GeV"}
        assert read_metadata(output)["meta"]["seed"] == 5


def test_sample_in_chunks_repeats_nothing_and_holds_one_at_a_time(
    posterion, file, tmp_path, monkeypatch
):
    monkeypatch.setattr(results, "CHUNK", 100)
    output = tmp_path / "draws.parquet"
    several = []
    for seed in (1, 2):
        assert posterion("sample", file, "-n", 250, "-o", output, "--seed", seed)[0] == 0
        several.append(read_table(output)["m"])
        np.testing.assert_array_equal(several[-1][:100], Result().sample(100, seed=seed)["m"])
    assert len(np.unique(several)) == 500
    sizes = []
    for chunk in results._chunks(Result(), 250, 1):
        sizes.append(len(chunk["m"]))
    assert sizes == [100, 100, 50]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-n", "0", "-o", "a.csv"], 2, "whole number of at least 1, not '0'"),
        (["-n", "1.5", "-o", "a.csv"], 2, "not '1.5'"),
        (["-n", "nan", "-o", "a.csv"], 2, "not 'nan'"),
        (["-n", "inf", "-o", "a.csv"], 2, "not 'inf'"),
        (["-n", "many", "-o", "a.csv"], 2, "not 'many'"),
        (["-o", "a.txt"], 2, "'.txt' is none of .parquet"),
        (["-o", "toy.posterion/a.csv"], 1, "cannot write to the folder toy.posterion"),
    ],
)
def test_sample_refuses(posterion, file, monkeypatch, arguments, code, message):
    monkeypatch.chdir(file.parent)
    got, out, err = posterion("sample", file, *arguments)
    assert (got, out) == (code, "") and message in err
    assert os.listdir() == ["toy.posterion"]


def test_check_measures_against_the_density_of_the_study(fake, posterion, file, tmp_path):
    assert posterion("check", file) == (0, "health of toy: converged\n", "")
    assert posterion("check", file, "--seed", 0)[:2] == (1, "health of toy: undertrained\n")
    assert posterion("check", file, "--study", "fake")[0] == 0
    code, _, err = posterion("check", file, "--study", "other")
    assert code == 2 and "no study 'other'" in err
    bundles.save_object(tmp_path / "x.posterion", Result(), {"kind": "posterior", "name": "x"})
    code, _, err = posterion("check", tmp_path / "x.posterion")
    assert code == 2 and "--study NAME" in err
    assert Status.undertrained.ok is False


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["--version"], 0, "posterion"), (["show", "nothing"], 1, "error:"), (["run"], 2, "Usage")],
)
def test_the_program_ends_with_its_code_and_all_that_was_said(words, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "posterion.cli", *words], capture_output=True, text=True
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
