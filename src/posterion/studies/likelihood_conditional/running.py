"""Running the study: simulate, fit, calibrate, compare with a chain of the observed counts."""

import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.core.versions import versions
from posterion.diagnostics import Calibration, Comparison, Health
from posterion.distributions import families as flows
from posterion.reports import (
    Page,
    Preformatted,
    Prose,
    Section,
    calibration_page,
    comparison_page,
    write_page,
)
from posterion.studies.base import Figure, Outcome, write_metrics
from posterion.studies.calibrations import calibration_figures, health_of
from posterion.studies.likelihood_conditional.options import Settings
from posterion.studies.likelihood_conditional.simulation import (
    learned_parameters,
    simulated,
    summarised,
)
from posterion.studies.likelihood_toy.inputs import Inputs, generate, read
from posterion.studies.likelihood_toy.model import toy_target
from posterion.studies.likelihoods import chains
from posterion.studies.likelihoods.keeping import Run, by_name, kept
from posterion.training import Fit, check_calibration, compare_pair, fit, pair_samples

__all__ = ["check_result", "run_study"]

STUDY_NAME = "likelihood-conditional"
_REPEATS = 6


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Simulate, fit, calibrate, compare; write the bundle, ``metrics.json`` and ``report.html``.

    Raises:
        TableError: the file of inputs is not of the form.
    """
    began = time.perf_counter()
    inputs = generate() if settings.inputs is None else read(settings.inputs)
    target = toy_target(inputs)
    run = Run(STUDY_NAME, _identity(inputs, settings, seed), seed, out, resume, target)
    theta, counts, share = simulated(inputs, settings.train, seed=seed)
    described = learned_parameters(bins=settings.bins)
    width, dim = counts.shape[1], sum(p.size for p in described)

    def make() -> Fit:
        return fit(
            flows.maf(dim, context_dim=width, transforms=3, hidden=(64, 64), seed=seed),
            {p.name: theta[p.name] for p in described},
            context=summarised(inputs, counts),
            parameters=described,
            epochs=settings.epochs,
            batch=1024,
            rate=3e-3,
            seed=seed,
            checkpoint=run.checkpoint(STUDY_NAME),
            resume=resume,
            name="p(theta | counts)",
        )

    learned, seconds = kept(run, STUDY_NAME, make)
    learned = replace(learned, target=None)  # which is of the observed counts alone
    found = _calibrated(learned, inputs, settings.pairs, settings.draws, seed)
    chain = chains.thinned(chains.sampled(target, settings.chain, seed=seed))
    observed = learned.given(summarised(inputs, inputs.observed[None])["excess"][0])
    observed = replace(observed, name="flow at the observed counts")
    exact = {p.name: by_name(target, chain)[p.name] for p in described}
    pair = pair_samples(observed, exact, seed=seed)
    beside = compare_pair(pair, classifier=False, repeats=_REPEATS, seed=seed)
    figures = _figures(found, beside, pair)
    figures |= {"fit.seconds": seconds, "prior.kept": share}
    metrics, page = out / "metrics.json", out / "report.html"
    write_metrics(metrics, STUDY_NAME, seed, time.perf_counter() - began, figures)
    write_page(page, _page(inputs, learned, found, beside, pair))
    text = f"{learned}\n\n{found}\n\n{beside}"
    return Outcome(text, (run.path(STUDY_NAME), page, metrics))


def check_result(result: Any, *, seed: int) -> Health:
    """Calibrate a saved result anew, on pairs of the generated inputs.

    Raises:
        SettingError: it is not one that this study learned from its own inputs.
    """
    if not isinstance(result, Fit) or result.provenance.get("study") != STUDY_NAME:
        raise SettingError(f"the result is not one that {STUDY_NAME!r} learned")
    inputs, part = generate(), result.provenance["part"]
    if part["inputs"] != inputs.source:
        raise SettingError(
            f"the result is of the inputs {part['inputs']}, which its file does not hold: run the "
            "study with --resume and these --inputs"
        )
    found = _calibrated(result, inputs, part["pairs"], part["draws"], seed)
    return health_of(found, result)


def _calibrated(learned: Fit, inputs: Inputs, pairs: int, draws: int, seed: int) -> Calibration:
    theta, counts, _ = simulated(inputs, pairs, seed=seed, fresh=True)
    own = {p.name: theta[p.name] for p in learned.parameters}
    return check_calibration(learned, own, summarised(inputs, counts), draws=draws, seed=seed)


def _identity(inputs: Inputs, settings: Settings, seed: int) -> dict[str, Any]:
    """What tells this run from another."""
    numbers = {k: v for k, v in vars(settings).items() if k != "inputs"}
    arrays = [v for v in vars(inputs).values() if isinstance(v, np.ndarray)]
    checksum = zlib.crc32(b"".join(array.tobytes() for array in arrays))
    version = versions()["posterion"]
    known = {"seed": seed, "inputs": inputs.source, "checksum": checksum, "posterion": version}
    return known | numbers


def _figures(found: Calibration, beside: Comparison, pair: Any) -> dict[str, Any]:
    figures = calibration_figures(found)
    figures["observed.largest_pull"] = Figure(beside.largest[1], floor=beside.limit)
    for i, column in enumerate(pair.columns):
        mean, sd = pair.second[:, i].mean(), pair.second[:, i].std()
        figures[f"{column.name}.observed_mean"] = Figure(pair.first[:, i].mean(), truth=mean)
        figures[f"{column.name}.observed_sd"] = Figure(pair.first[:, i].std(), truth=sd)
    return figures


def _page(inputs: Inputs, learned: Fit, found: Calibration, beside: Comparison, pair: Any) -> Page:
    own, other = calibration_page(found), comparison_page(beside, pair)
    model = Prose(
        "Parameters are drawn from their prior, 90 counts from the model; a flow learns the "
        "parameters given the counts. Nuisances that are not asked for are averaged over by having "
        f"been drawn. Inputs: {inputs.source}."
    )
    about = Prose(
        "The posterior of the observed counts beside a Markov chain of the exact density: this "
        "data set alone, where the calibration speaks of all on average."
    )
    health = Preformatted(str(learned.health), "health of the fit", folded=True)
    return Page(
        "The posterior for any counts",
        [*own.lead, *other.lead],
        [
            Section("Model", [model, health]),
            *own.sections,
            Section("Observed counts", [about]),
            *other.sections,
        ],
        badge=own.badge,
        tone=own.tone,
    )
