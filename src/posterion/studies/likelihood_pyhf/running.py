"""Running the study: read, sample, learn, compare, write."""

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from posterion.core.errors import SettingError
from posterion.core.versions import versions
from posterion.diagnostics import Health
from posterion.sampling import Profile, profile
from posterion.sampling.chain import Chain
from posterion.studies.base import Outcome, write_metrics
from posterion.studies.likelihood_pyhf.options import Settings
from posterion.studies.likelihood_pyhf.page import study_page
from posterion.studies.likelihood_pyhf.workspace import generate
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
from posterion.targets.pyhf_model import from_pyhf
from posterion.targets.target import Target
from posterion.training import Posterior
from posterion.training.checking import check_posterior

__all__ = ["check_result", "run_study"]

STUDY_NAME = "likelihood-pyhf"
_FAR = 9.0
OWN = "generated"
"""What the identity calls our own workspace."""


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Read, sample, learn, compare; write bundles, ``metrics.json`` and ``report.html``.

    Raises:
        WorkspaceError: the workspace or its patch cannot be read or used.
        MissingExtraError: pyhf is not installed.
        CheckpointError: with ``resume``, what is there is of another run.
        SampleError: the chains of the exact density are worth too few draws to compare with.
    """
    began = time.perf_counter()
    target = _target(settings)
    run = Run(STUDY_NAME, _identity(settings, seed), seed, out, resume, target)
    exact = _exact(target)
    chain = chains.sampled(target, settings.train + settings.held_out, seed=seed)
    train, held = chains.split(chain, settings.train, settings.held_out)
    truth = by_name(target, held)
    found = [gaussian(run, train)]
    names = ["samples", "samples and density"] if settings.samples else []
    for name, density in zip(names, (False, True), strict=False):
        result, seconds = from_samples(run, name, train, density=density, epochs=settings.epochs)
        seen = len(train)
        known = {"seen": seen, "calls": seen if density else 0, "seconds": seconds}
        found.append(measured(run, name, result, truth, exact=exact, **known))
    learned, seconds = from_density(
        run, STUDY_NAME, steps=settings.steps, particles=settings.particles
    )
    spent = sum(n for kind, n in learned.health.calls.items() if kind != "health")
    known = {"seen": 0, "calls": int(spent), "seconds": seconds}
    found.append(measured(run, "density alone", learned, truth, exact=exact, **known))
    metrics, page = out / "metrics.json", out / "report.html"
    study_page(page, run, found, exact, chain, held)
    figures = _figures(target, found, exact, chain)
    write_metrics(metrics, STUDY_NAME, seed, time.perf_counter() - began, figures)
    bundles = [run.path(name) for name in (*names, STUDY_NAME)]
    return Outcome(_text(target, found, exact, chain), (*bundles, page, metrics))


def check_result(result: Any, *, seed: int) -> Health:
    """Measure the health of a saved result anew, against the density of our own workspace.

    Raises:
        SettingError: it is not one that this study learned from its own workspace.
    """
    if not isinstance(result, Posterior) or result.provenance.get("study") != STUDY_NAME:
        raise SettingError(
            "the result is not the one that 'likelihood-pyhf' learns from the density"
        )
    part = result.provenance["part"]
    if part["workspace"] != OWN:
        raise SettingError(
            f"the result is of the workspace {part['workspace']}, which its file does not hold: "
            "give its target in Python, result.with_target(posterion.targets.from_pyhf(FILE))"
        )
    return check_posterior(result, from_pyhf(generate()), seed=seed)


def _target(settings: Settings) -> Target:
    given = generate() if settings.workspace is None else settings.workspace
    return from_pyhf(given, patch=settings.patch, measurement=settings.measurement)


def _exact(target: Target) -> Profile | None:
    """Profile of the parameter of interest as far as three standard deviations; None without one.

    Beyond them there are no draws from which a flow could have learned it.
    """
    poi = getattr(target.log_density, "poi", None)
    if poi not in target.columns:  # none, or fixed
        return None
    whole = profile(target, poi)
    near = whole.t <= _FAR
    parts = {name: getattr(whole, name)[near] for name in ("grid", "log_prob", "points")}
    return replace(whole, **parts)


def _identity(settings: Settings, seed: int) -> dict[str, Any]:
    """What tells this run from another: names and SHA-256 of the files, and all numbers."""
    named = ("workspace", "patch")
    known: dict[str, Any] = {k: v for k, v in vars(settings).items() if k not in named}
    for key in named:
        path = getattr(settings, key)
        if path is not None:
            known |= {key: path.name, f"{key}_sha256": _sha256(path.read_bytes())}
    if settings.workspace is None:
        content = json.dumps(generate(), sort_keys=True).encode()
        known |= {"workspace": OWN, "workspace_sha256": _sha256(content)}
    return known | {"seed": seed, "posterion": versions()["posterion"]}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _figures(
    target: Target, found: list[Kept], exact: Profile | None, chain: Chain
) -> dict[str, Any]:
    figures: dict[str, Any] = {"parameters": target.dim, **rows.chain_figures(chain)}
    if exact is not None:
        low, high = exact.interval()
        figures |= {
            "exact.best_log_prob": exact.best_log_prob,
            "exact.best_poi": float(exact.best_fit[exact.name]),
            "exact.interval_low": low,
            "exact.interval_high": high,
        }
    return figures | rows.row_figures(found)


def _text(target: Target, found: list[Kept], exact: Profile | None, chain: Chain) -> str:
    said = [f"{target.name}: {target.dim} parameters"]
    if exact is not None:
        low, high = exact.interval()
        said.append(
            f"best fit {exact.name} = {float(exact.best_fit[exact.name]):.4f}, 68 % confidence "
            f"interval {low:.4f} to {high:.4f}, log P = {exact.best_log_prob:.4f}"
        )
    said += [rows.chain_words(chain), *rows.judgement(found), *rows.worst_words(found)]
    return rows.aligned(*rows.table(found)) + "\n\n" + "\n".join(said)
