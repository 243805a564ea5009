"""One run of the study, from the tables to the files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.progress import progress
from posterion.reports import Picture, save_picture, write_page
from posterion.studies.base import Figure, Outcome, write_metrics
from posterion.studies.neutrinos import figures, pictures
from posterion.studies.neutrinos.comparison import Chain, run_chains
from posterion.studies.neutrinos.derived import Derived
from posterion.studies.neutrinos.figures import Measured
from posterion.studies.neutrinos.learning import STUDY_NAME, Case, Learner, make_cases, mix
from posterion.studies.neutrinos.page import Findings, study_page
from posterion.studies.neutrinos.study import Settings
from posterion.training import MixedPosterior, Posterior

_MIXED = 250_000


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Learn, compare, and write bundles, metrics, pictures and page."""
    began = time.perf_counter()
    learner = Learner(settings, seed, out, resume)
    cases = make_cases(settings)
    first = next(iter(cases))
    learned = {
        label: {k: learner.learn(case, method=settings.method) for k, case in of_one.items()}
        for label, of_one in cases.items()
    }
    besides = {k: _besides(learner, case, settings) for k, case in cases[first].items()}
    compared = {
        k: run_chains(case, learned[first][k], transitions=settings.transitions, seed=seed)
        for k, case in cases[first].items()
        if settings.chains
    }
    results = {label: mix(cases[label], learned[label]) for label in cases}
    found = _measure(settings, seed, cases, learned, besides, compared, results)
    files = _write(found, results, out, began, seed)
    learner.clear()
    texts = [str(p.health) for p in learned[first].values()]
    return Outcome("\n\n".join([*texts, *_said(results[first])]), tuple(files))


def _besides(learner: Learner, case: Case, settings: Settings) -> dict[str, Posterior]:
    """The posteriors of other methods, by their key in ``metrics.json``."""
    runs = {}
    if settings.poster and settings.method != "poster":
        runs["poster"] = learner.learn(case, "poster", method="poster")
    if settings.budget is not None:
        method, budget = settings.method, settings.budget
        runs["budget"] = learner.learn(case, "budget", method=method, budget=budget)
    return runs


def _measure(
    settings: Settings,
    seed: int,
    cases: Mapping[str, Mapping[str, Case]],
    learned: Mapping[str, Mapping[str, Posterior]],
    besides: Mapping[str, Mapping[str, Posterior]],
    compared: Mapping[str, tuple[dict[str, Chain], tuple[str, ...]]],
    results: Mapping[str, Any],
) -> Findings:
    first = next(iter(cases))
    count = sum(len(x) for x in learned.values()) + sum(len(x) for x in besides.values())
    with progress("measuring", total=count) as bar:

        def measured(case: Case, posterior: Posterior) -> Measured:
            one = Measured.of(case, posterior, settings.draws, seed)
            bar.update(advance=1)
            return one

        every = {
            label: {k: measured(cases[label][k], p) for k, p in of_one.items()}
            for label, of_one in learned.items()
        }
        runs = {
            k: {name: measured(cases[first][k], p) for name, p in of_one.items()}
            for k, of_one in besides.items()
        }
    main = every.pop(first)
    chains = {ordering: found for ordering, (found, _) in compared.items()}
    notes = dict.fromkeys(note for _, more in compared.values() for note in more)
    derived = _derive(cases[first], main, results[first], seed)
    numbers = _numbers(first, cases, main, runs, chains, every, results, seed)
    found = Findings(
        settings, seed, results[first], main, runs, chains, derived, every, numbers,
        notes=tuple(notes),
    )  # fmt: skip
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
            add(f"{ordering}.{name}", figures.chain_figures(chain))
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
