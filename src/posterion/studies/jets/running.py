"""Running the study: pairs, models, measures, what is written."""

import time
from pathlib import Path
from typing import Any

from posterion.core.progress import progress
from posterion.reports import write_page
from posterion.studies.base import Outcome, write_metrics
from posterion.studies.jets.events import has_generator
from posterion.studies.jets.generating import generated
from posterion.studies.jets.learning import learned, task_of
from posterion.studies.jets.measuring import Direction, judge, measured
from posterion.studies.jets.options import Settings
from posterion.studies.jets.page import figures_of, page, text
from posterion.studies.jets.parametrised import parametrised
from posterion.studies.jets.tables import Pairs, own_pairs, pairs_of

__all__ = ["STAND_IN", "run_study"]

STAND_IN = "a sample in closed form in place of Pythia and FastJet"
"""Where jets come from without the extra ``hep``."""


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Generate or read, learn, judge; write bundles, ``metrics.json`` and ``report.html``.

    Raises:
        TableError: tables of your own that cannot be used.
        SampleError: too few pairs, or a chunk of events that failed.
        CheckpointError: what is there is of another run.
    """
    began = time.perf_counter()
    pairs = _pairs(settings, seed, out)
    directions = []
    for name in ("simulation", "correction"):
        task = task_of(pairs, name, seed)
        models = settings.models if name == "simulation" else settings.models[:1]
        rows = []
        for model in models:
            file = _file(name, model, settings)
            made = learned(task, model, file, settings, seed=seed, out=out, resume=resume)
            with progress(f"judging the {name}, {model}"):
                rows.append(measured(made, seed=seed))
        directions.append(Direction(task, judge(task, seed=seed), tuple(rows)))
    metrics, report = out / "metrics.json", out / "report.html"
    figures: dict[str, Any] = figures_of(pairs, directions)
    write_metrics(metrics, "jets", seed, time.perf_counter() - began, figures)
    write_page(report, page(pairs, directions))
    bundles = [row.learned.path for direction in directions for row in direction.rows]
    return Outcome(text(pairs, directions), (*bundles, report, metrics))


def _file(direction: str, model: str, settings: Settings) -> str:
    """The bundle's name: that of the study for the first model of the simulation."""
    if direction == "correction":
        return "jets-correction"
    return "jets" if model == settings.models[0] else f"jets-{model}"


def _pairs(settings: Settings, seed: int, out: Path) -> Pairs:
    if settings.gen is not None and settings.reco is not None:
        return own_pairs(settings.gen, settings.reco)
    if settings.parametrised or not has_generator():
        table = parametrised(settings.jets, seed=seed)
        why = "as asked for" if settings.parametrised else "pip install 'posterion[hep]' for events"
        return pairs_of(table, STAND_IN, stand_in=True, notes=(why,))
    folder = out / "cache" if settings.cache is None else settings.cache
    table, costs = generated(settings.jets, seed=seed, folder=folder, processes=settings.processes)
    return pairs_of(table, "Pythia 8 events, a parametrised detector and FastJet", costs=costs)
