"""One run of the study, from the tables to the files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from posterion.core.progress import progress
from posterion.reports import Picture, save_picture, write_page
from posterion.studies.base import Figure, Outcome, write_metrics
from posterion.studies.neutrinos import figures, pictures
from posterion.studies.neutrinos.comparison import Chain, run_chains
from posterion.studies.neutrinos.derived import Derived
from posterion.studies.neutrinos.figures import Measured
from posterion.studies.neutrinos.learning import STUDY_NAME, Case, Learner, make_cases, mix
from posterion.studies.neutrinos.options import Settings
from posterion.studies.neutrinos.page import Findings, study_page
from posterion.training import MixedPosterior, Posterior

_MIXED = 250_000


@dataclass(frozen=True, eq=False)
class _One:
    """One ordering of one release: what was learned and measured of it."""

    main: Measured
    runs: dict[str, Measured]
    chains: dict[str, Chain]
    notes: tuple[str, ...]


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Learn, compare, and write bundles, metrics, pictures and page."""
    began = time.perf_counter()
    learner = Learner(settings, seed, out, resume)
    cases = make_cases(settings)
    first = next(iter(cases))
    done = {
        label: {k: _one(learner, case, settings, seed, label == first) for k, case in some.items()}
        for label, some in cases.items()
    }
    results = {
        label: mix(cases[label], {k: one.main.posterior for k, one in some.items()})
        for label, some in done.items()
    }
    found = _find(settings, seed, cases, done, results)
    files = _write(found, results, out, began, seed)
    learner.clear()
    texts = [str(measured.posterior.health) for measured in found.main.values()]
    return Outcome("\n\n".join([*texts, *_said(results[first])]), tuple(files))


def _one(learner: Learner, case: Case, settings: Settings, seed: int, full: bool) -> _One:
    """Learn, measure, and compare one ordering; ``full`` runs the other methods and chains too."""
    main = learner.learn(case, method=settings.method)
    posteriors: dict[str, Posterior] = {}
    if full and settings.poster and settings.method != "poster":
        posteriors["poster"] = learner.learn(case, "poster", method="poster")
    if full and settings.budget is not None:
        method, budget = settings.method, settings.budget
        posteriors["budget"] = learner.learn(case, "budget", method=method, budget=budget)
    chains, notes = {}, ()
    if full and settings.chains:
        chains, notes = run_chains(case, main, transitions=settings.transitions, seed=seed)
    with progress(f"measuring {case.target.name}", total=1 + len(posteriors)) as bar:
        measured = {}
        for name, posterior in {"": main, **posteriors}.items():
            measured[name] = Measured.of(case, posterior, settings.draws, seed)
            bar.update(advance=1)
    # Tables are constants of what is compiled for them, and nothing of it serves the next ones.
    jax.clear_caches()
    return _One(measured.pop(""), measured, chains, notes)


def _find(
    settings: Settings,
    seed: int,
    cases: Mapping[str, Mapping[str, Case]],
    done: Mapping[str, Mapping[str, _One]],
    results: Mapping[str, Any],
) -> Findings:
    """All that was found, with its figures and pictures."""
    first = next(iter(cases))
    every = {label: {k: one.main for k, one in some.items()} for label, some in done.items()}
    main = every.pop(first)
    runs = {k: one.runs for k, one in done[first].items()}
    chains = {k: one.chains for k, one in done[first].items() if one.chains}
    notes = dict.fromkeys(note for one in done[first].values() for note in one.notes)
    found = Findings(
        settings=settings,
        seed=seed,
        result=results[first],
        main=main,
        runs=runs,
        chains=chains,
        derived=_derive(cases[first], main, results[first], seed),
        others=every,
        figures=_numbers(first, cases, main, runs, chains, every, results, seed),
        notes=tuple(notes),
    )
    _draw(found)
    return found


def _derive(
    cases: Mapping[str, Case], main: Mapping[str, Measured], result: Any, seed: int
) -> dict[str, Derived]:
    with progress("profiling what is derived", total=len(main) + 1) as bar:
        derived = {}
        for ordering, measured in main.items():
            derived[ordering] = Derived.of(measured.draws, [measured.case], seed=seed)
            bar.update(advance=1)
        if isinstance(result, MixedPosterior):
            draws = result.sample(_MIXED, seed=seed)
            derived["both"] = Derived.of(draws, list(cases.values()), seed=seed)
    return derived


def _numbers(
    first: str,
    cases: Mapping[str, Mapping[str, Case]],
    main: Mapping[str, Measured],
    runs: Mapping[str, Mapping[str, Measured]],
    chains: Mapping[str, Mapping[str, Chain]],
    others: Mapping[str, Mapping[str, Measured]],
    results: Mapping[str, Any],
    seed: int,
) -> dict[str, Figure]:
    """All figures, by the names of ``metrics.json``."""
    numbers: dict[str, Figure] = {}

    def add(prefix: str, found: Mapping[str, Figure]) -> None:
        numbers.update({f"{prefix}.{key}": figure for key, figure in found.items()})

    for ordering, measured in main.items():
        add(ordering, figures.flow_figures(measured, seed))
        for name, run in runs[ordering].items():
            add(f"{ordering}.{name}", figures.flow_figures(run, seed))
        of_chains = chains.get(ordering, {})
        for name, chain in of_chains.items():
            add(f"{ordering}.{name}", figures.chain_figures(chain, measured.case, seed))
        add(ordering, figures.break_even_figures(measured.sampler("flow"), of_chains))
        add(ordering, figures.parameter_figures(measured))
    for label, result in results.items():
        if isinstance(result, MixedPosterior):
            prefix = "both" if label == first else f"{label}.both"
            add(prefix, figures.ordering_figures(cases[label], result))
    for label, of_one in others.items():
        for ordering, measured in of_one.items():
            add(f"{label}.{ordering}", figures.flow_figures(measured, seed))
    return numbers


def _draw(found: Findings) -> None:
    made: dict[str, Picture] = found.pictures
    with progress("drawing", total=len(found.main)) as bar:
        for ordering, measured in found.main.items():
            made[f"corner-{ordering}"] = pictures.corner_picture(measured)
            made[f"profiles-{ordering}"] = pictures.profile_picture(measured)
            made[f"training-{ordering}"] = pictures.learning_picture(measured)
            chains = found.chains.get(ordering, {}).values()
            samplers = [measured.sampler("flow"), *(chain.sampler() for chain in chains)]
            made[f"effective-{ordering}"] = pictures.worth_picture(samplers)
            if found.others:
                several = {found.release: measured}
                several |= {k: x[ordering] for k, x in found.others.items()}
                made[f"releases-{ordering}"] = pictures.overlay_picture(several)
            bar.update(advance=1)
        each = {k: found.derived[k] for k in found.main}
        made["jarlskog"] = pictures.jarlskog_picture(each)
        made["masses"] = pictures.masses_picture(each)


def _write(
    found: Findings, results: Mapping[str, Any], out: Path, began: float, seed: int
) -> Iterable[Path]:
    files = []
    for label, result in results.items():
        plain = result is found.result
        path = out / (f"{STUDY_NAME}.posterion" if plain else f"{STUDY_NAME}-{label}.posterion")
        result.save(path)
        files.append(path)
    for name, picture in found.pictures.items():
        path = out / f"{name}.png"
        save_picture(picture, path)
        files.append(path)
    page, metrics = out / "report.html", out / "metrics.json"
    write_page(page, study_page(found))
    seconds = float(np.round(time.perf_counter() - began, 3))
    write_metrics(metrics, STUDY_NAME, seed, seconds, found.figures)
    return [*files, page, metrics]


def _said(result: Any) -> list[str]:
    if not isinstance(result, MixedPosterior):
        return []
    shares = ", ".join(f"P({k}) = {p:.4f}" for k, p in result.probabilities.items())
    return [f"{shares} with equal prior odds"]
