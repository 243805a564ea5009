"""Running the study: sample, learn, compare, write."""

import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.core.versions import versions
from posterion.diagnostics import Health
from posterion.reports import Page, Preformatted, Prose, Section, Table, write_page
from posterion.reports.blocks import Block
from posterion.sampling import profile
from posterion.sampling.chain import Chain
from posterion.studies.base import Outcome, write_metrics
from posterion.studies.likelihood_toy.inputs import Inputs, described, generate, read
from posterion.studies.likelihood_toy.model import toy_target
from posterion.studies.likelihood_toy.options import Settings
from posterion.studies.likelihood_toy.simplified import simplified_target
from posterion.studies.likelihoods import chains, rows
from posterion.studies.likelihoods.keeping import (
    Kept,
    Run,
    by_name,
    from_density,
    from_samples,
    gaussian,
    measured,
)
from posterion.training import Posterior
from posterion.training.checking import check_posterior

__all__ = ["check_result", "run_study"]

STUDY_NAME = "likelihood-toy"
GRID = np.linspace(0, 1, 11)
"""Signal strengths at which the test statistic is compared."""

_PUBLISHED = dict(zip(rows.METRICS, (0.496, 5.39e-3, 0.217, 2.18e-2, 9.7e-3, 1.06e-2), strict=True))
_SOURCE = "Reyes-Gonzalez and Torre, 2309.09743, MAF of 2 transforms, other inputs"
_SHOWN = ("mu", "isr", "jes", "lv", "cr")


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Sample, learn, compare; write bundles, ``metrics.json`` and ``report.html``.

    Raises:
        TableError: the file of inputs is not of the form.
        SampleError: the chains of the exact density are worth too few draws to compare with.
    """
    began = time.perf_counter()
    inputs = generate() if settings.inputs is None else read(settings.inputs)
    target = toy_target(inputs)
    run = Run(STUDY_NAME, _identity(inputs, settings, seed), seed, out, resume, target)
    exact = profile(target, "mu", GRID)
    chain = chains.sampled(target, settings.train + settings.held_out, seed=seed)
    train, held = chains.split(chain, settings.train, settings.held_out)
    truth = by_name(target, held)
    found = [gaussian(run, train)]
    for name, density in (("samples", False), ("samples and density", True)):
        result, seconds = from_samples(run, name, train, density=density, epochs=settings.epochs)
        calls = len(train) if density else 0
        known = {"seen": len(train), "calls": calls, "seconds": seconds}
        found.append(measured(run, name, result, truth, exact=exact, **known))
    learned, seconds = from_density(
        run, STUDY_NAME, steps=settings.steps, particles=settings.particles
    )
    spent = sum(n for kind, n in learned.health.calls.items() if kind != "health")
    known = {"seen": 0, "calls": int(spent), "seconds": seconds}
    found.append(measured(run, "density alone", learned, truth, exact=exact, **known))
    simple = profile(simplified_target(inputs, seed=seed), "mu", GRID).t - exact.t
    figures = _figures(found, exact, chain, simple)
    metrics, page = out / "metrics.json", out / "report.html"
    write_metrics(metrics, STUDY_NAME, seed, time.perf_counter() - began, figures)
    write_page(page, _page(inputs, found, exact, chain, held, simple))
    bundles = [run.path(name) for name in ("samples", "samples and density", STUDY_NAME)]
    return Outcome(_text(found, exact, chain, simple), (*bundles, page, metrics))


def check_result(result: Any, *, seed: int) -> Health:
    """Measure the health of a saved result anew, against the density of the generated inputs.

    Raises:
        SettingError: it is not one that this study learned from its own inputs.
    """
    if not isinstance(result, Posterior) or result.provenance.get("study") != STUDY_NAME:
        raise SettingError(
            "the result is not the one that 'likelihood-toy' learns from the density"
        )
    inputs = generate()
    if result.provenance["part"]["inputs"] != inputs.source:
        raise SettingError(
            f"the result is of the inputs {result.provenance['part']['inputs']}, which its file "
            "does not hold: give its target in Python, result.with_target(toy_target(read(FILE)))"
        )
    return check_posterior(result, toy_target(inputs), seed=seed)


def _identity(inputs: Inputs, settings: Settings, seed: int) -> dict[str, Any]:
    """What tells this run from another."""
    numbers = {k: v for k, v in vars(settings).items() if k != "inputs"}
    arrays = [v for v in vars(inputs).values() if isinstance(v, np.ndarray)]
    checksum = zlib.crc32(b"".join(array.tobytes() for array in arrays))
    version = versions()["posterion"]
    known = {"seed": seed, "inputs": inputs.source, "checksum": checksum, "posterion": version}
    return known | numbers


def _figures(found: list[Kept], exact: Any, chain: Chain, simple: np.ndarray) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "exact.best_log_prob": exact.best_log_prob,
        "exact.best_mu": float(exact.best_fit["mu"]),
        **rows.chain_figures(chain),
        "simplified.t_mu_error": float(np.abs(simple).mean()),
    }
    figures |= {f"exact.t_mu.{mu:.1f}": float(t) for mu, t in zip(GRID, exact.t, strict=True)}
    return figures | rows.row_figures(found, published=_PUBLISHED, source=_SOURCE)


def _table(found: list[Kept], simple: np.ndarray) -> tuple[list[str], list[rows.Line]]:
    heads, lines = rows.table(found)
    blank = [""] * (len(rows.METRICS) + 2)
    error = f"{np.abs(simple).mean():.3f}"
    lines.insert(-1, ["simplified likelihood", "", "", "", error, *blank])
    lines.append(["published MAF", 200_000, 0, "", "", *_PUBLISHED.values(), "", ""])
    return heads, lines


def _text(found: list[Kept], exact: Any, chain: Chain, simple: np.ndarray) -> str:
    said = [
        f"best fit mu = {float(exact.best_fit['mu']):.4f}, log P = {exact.best_log_prob:.4f}",
        rows.chain_words(chain),
        *rows.judgement(found),
    ]
    return rows.aligned(*_table(found, simple)) + "\n\n" + "\n".join(said)


def _page(
    inputs: Inputs, found: list[Kept], exact: Any, chain: Chain, held: Chain, simple: np.ndarray
) -> Page:
    heads, lines = _table(found, simple)
    sums = described(inputs)
    categories = Table(
        ("category", *sums),
        [[i + 1, *(f"{v[i]:.1f}" for v in sums.values())] for i in range(3)],
        f"Expected and observed events; inputs: {inputs.source}",
    )
    figures = Table(
        heads,
        lines,
        "Medians over the coordinates; the floor is truth against truth of the same sizes. The "
        "metrics alone accept a plain normal: ESS/N tells.",
    )
    learned = found[-1].result
    picture = rows.profiles(found, exact, r"$\mu$", {"simplified likelihood": exact.t + simple})
    health: Block = Preformatted(learned.health.text(100), "health", folded=True)
    return Page(
        "An LHC-like likelihood",
        [*rows.judgement(found)],
        [
            Section("Model", [Prose("90 bins, one signal strength, 94 nuisances."), categories]),
            Section("Rows", [figures]),
            Section("Profile of the signal strength", [picture]),
            Section("Draws", [rows.corner(found[-1], held, _SHOWN)]),
            Section("Chains", [Preformatted(chain.report(), "chains", folded=True)]),
            Section("Learned from the density alone", [Prose(learned.status.sentence), health]),
        ],
        tone="good" if rows.better(found) else "bad",
    )
