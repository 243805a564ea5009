"""Running the study: rows, emulators, measures, what is written."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import CheckpointError, SampleError, SettingError, TableError
from posterion.core.versions import versions
from posterion.emulators import Emulator, emulate
from posterion.emulators.approximations import APPROXIMATIONS
from posterion.emulators.tables import uniform_of_rows
from posterion.io import read_table
from posterion.networks import mlp
from posterion.reports import write_page
from posterion.studies.base import Outcome, write_metrics
from posterion.studies.susy import slha
from posterion.studies.susy.measuring import Measured, measured
from posterion.studies.susy.options import Settings
from posterion.studies.susy.page import figures_of, page, text
from posterion.studies.susy.parameters import NAMES, UNITS
from posterion.studies.susy.scanning import scan, workers
from posterion.studies.susy.tasks import TASKS, Task
from posterion.studies.susy.timing import timed
from posterion.training import load

__all__ = ["NETWORK", "run_study"]

Floats = NDArray[np.float64]

NETWORK = mlp((50,) * 5, "swish")
"""Of the talk in its layers and widths; its tanh trains slower here."""


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Emulate, measure, compare; write bundles, ``metrics.json`` and ``report.html``.

    Raises:
        SettingError: a task whose column the table lacks, or an unknown name beside.
        TableError: a table without the parameters.
        SampleError: too few rows for a test.
    """
    began = time.perf_counter()
    if unknown := [name for name in settings.beside if name not in APPROXIMATIONS]:
        raise SettingError(
            f"beside names {', '.join(unknown)}; there are {', '.join(APPROXIMATIONS)}"
        )
    own = _own_table(settings)
    found: dict[str, list[Measured]] = {}
    bundles = []
    for task in _tasks(settings, own):
        table = _rows(task, settings, own, seed)
        rows = _emulated(task, table, settings, seed, out, resume)
        found[task.name] = rows
        bundles.append(out / f"{task.name}.posterion")
    generated = own is None
    timings = {name: timed(rows[0].emulator, generated) for name, rows in found.items()}
    metrics, report = out / "metrics.json", out / "report.html"
    seconds = time.perf_counter() - began
    write_metrics(metrics, "susy", seed, seconds, figures_of(found, timings))
    write_page(report, page(found, timings, generated))
    return Outcome(text(found, timings), (*bundles, report, metrics))


def _own_table(settings: Settings) -> dict[str, Floats] | None:
    if settings.slha is not None:
        return slha.read_folder(settings.slha)
    if settings.table is None:
        return None
    table = dict(read_table(settings.table))
    if missing := [name for name in NAMES if name not in table]:
        raise TableError(
            f"{settings.table} lacks the parameters {', '.join(missing)}; for other inputs there "
            "is `posterion emulate`"
        )
    return table


def _tasks(settings: Settings, own: dict[str, Floats] | None) -> list[Task]:
    wanted = list(TASKS.values()) if settings.task == "all" else [TASKS[settings.task]]
    if own is None:
        return wanted
    there = [t for t in wanted if t.column in own and np.isfinite(own[t.column]).any()]
    if not there:
        columns = ", ".join(t.column for t in wanted)
        raise SettingError(f"the table has no column {columns}, nothing can be emulated")
    return there


def _rows(
    task: Task, settings: Settings, own: dict[str, Floats] | None, seed: int
) -> dict[str, Floats]:
    """The parameters and the column of a task."""
    if own is None:
        count = settings.rows + 2 * settings.held_out
        with workers(settings.processes, settings.cluster) as (executor, width):
            return scan(task.name, count, seed=seed, executor=executor, width=width)
    keep = np.isfinite(own[task.column])
    return {name: own[name][keep] for name in (*NAMES, task.column)}


def _emulated(
    task: Task,
    table: dict[str, Floats],
    settings: Settings,
    seed: int,
    out: Path,
    resume: bool,
) -> list[Measured]:
    """The sampled networks first, then what they are compared with."""
    x = np.column_stack([table[name] for name in NAMES])
    y = table[task.column]
    share = settings.held_out / (settings.rows + 2 * settings.held_out)
    test = uniform_of_rows(x) < share
    if test.sum() < 100:
        raise SampleError(f"{len(x)} rows leave {test.sum()} for the test, 100 are needed")
    common: dict[str, Any] = {
        "network": NETWORK,
        "likelihood": task.likelihood,
        "log": [task.column] if task.log else [],
        "units": UNITS | ({task.column: task.unit} if task.unit else {}),
        "chains": settings.chains,
        "draws": settings.draws,
        "batch": settings.batch,
        "correction": share,
        "test": share,
        "seed": seed,
    }
    inputs = {name: table[name] for name in NAMES}
    known = _identity(task, settings, y, seed)

    def kept(sampler: str, file: str, **more: Any) -> Emulator:
        path = out / f"{file}.posterion"
        identity = known | {"sampler": sampler}
        if resume and path.exists():
            there = load(path)
            if there.provenance.get("part") != identity:
                raise CheckpointError(f"{path} is of another run: remove it, or run without resume")
            return there
        chains = path.with_suffix(".chains")
        if not resume:
            chains.unlink(missing_ok=True)
        of_chains = {} if sampler in APPROXIMATIONS else {"path": chains, "resume": resume}
        made = emulate(
            inputs, {task.column: y}, sampler=sampler, name=task.name,
            **of_chains, **common, **more,
        )  # fmt: skip
        made = replace(made, provenance=made.provenance | {"study": "susy", "part": identity})
        made.save(path)
        chains.unlink(missing_ok=True)
        return made

    trained = kept("ensemble", f"{task.name}-trained", epochs=settings.epochs)
    more = {"start": trained, "warmup": settings.warmup, "thin": settings.thin}
    sampled = kept(settings.sampler, task.name, **more)
    rows = [measured(task, "Bayesian networks", sampled, x[test], y[test])]
    for name in settings.beside:
        other = trained if name == "ensemble" else kept(name, f"{task.name}-{name}", **more)
        rows.append(measured(task, name, other, x[test], y[test]))
    adam = trained.health.seconds["Adam"]
    return [replace(r, seconds=r.seconds + adam * (r.emulator is not trained)) for r in rows]


def _identity(task: Task, settings: Settings, y: Floats, seed: int) -> dict[str, Any]:
    """What tells this run from another."""
    numbers = {k: v for k, v in vars(settings).items() if isinstance(v, int) and k != "processes"}
    known = {"task": task.name, "seed": seed, "rows": len(y), "sum": float(np.sum(y))}
    return known | numbers | {"posterion": versions()["posterion"]}
