"""The models: quantile networks and a flow, fitted to pulls under the conditions of a jet."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import CheckpointError, SampleError
from posterion.core.versions import versions
from posterion.distributions import families as flows
from posterion.distributions.families.quantiles import quantile_network
from posterion.studies.jets.coordinates import CONDITIONS, PULLS, conditions_of, from_jets
from posterion.studies.jets.options import Settings
from posterion.studies.jets.tables import Pairs, Side
from posterion.training import Fit, fit, load

__all__ = ["WORDS", "Learned", "Task", "learned", "task_of"]

WORDS = {
    "monotone": "monotone quantiles, one masked network",
    "one": "monotone quantiles, one network for all",
    "separate": "monotone quantiles, four networks",
    "published": "quantiles as published, one network",
    "spline": "autoregressive spline flow",
}
"""What the models are."""

_TEST = 0.25  # share of the pairs that nothing learns from
_FEWEST = 400  # of the test


@dataclass(frozen=True, eq=False)
class Task:
    """Pairs of one direction, split once and for all models.

    Attributes:
        name: ``"simulation"``, p(reco | gen), or ``"correction"``, p(gen | reco).
        train: jets that are given and those that are learned, ``(n, 4)`` each.
        test: as ``train``, of jets that nothing learns from.
        again: as ``test``, by a second response to the same jets, where there is one.
    """

    name: str
    train: Side
    test: Side
    again: Side | None


@dataclass(frozen=True, eq=False)
class Learned:
    """A fit and what it cost.

    Attributes:
        model: its name.
        task: what it learned.
        fit: the result.
        seconds: of the fit.
        path: where it is saved.
    """

    model: str
    task: Task
    fit: Fit
    seconds: float
    path: Path


def task_of(pairs: Pairs, name: str, seed: int) -> Task:
    """The pairs of a direction, a quarter of them as a test.

    Raises:
        SampleError: too few for a test.
    """
    order = np.random.default_rng([seed, 23]).permutation(len(pairs.gen))
    count = int(_TEST * len(order))
    held = pairs.rows(order[:count])
    test = held.of(name)
    if len(test[0]) < _FEWEST:
        raise SampleError(
            f"{len(order)} pairs of jets leave {len(test[0])} for the test of the {name}, at least "
            f"{_FEWEST} are needed"
        )
    return Task(name, pairs.rows(order[count:]).of(name), test, held.again_of(name))


def learned(
    task: Task, model: str, file: str, settings: Settings, *, seed: int, out: Path, resume: bool
) -> Learned:
    """A model, fitted and saved as ``<file>.posterion``; on resuming what is there already.

    Raises:
        CheckpointError: what is there is of another run.
    """
    path = out / f"{file}.posterion"
    identity = _identity(task, model, settings, seed)
    if resume and path.exists():
        there = load(path)
        if there.provenance.get("part") != identity:
            raise CheckpointError(f"{path} is of another run: remove it, or run without --resume")
        return Learned(model, task, there, float(there.provenance["seconds"]), path)
    checkpoint = path.with_suffix(".checkpoint")
    if not resume:
        checkpoint.unlink(missing_ok=True)
    given, outcome = task.train
    began = time.perf_counter()
    made = fit(
        _flow(model, seed),
        from_jets(outcome, given) | conditions_of(given),
        context=list(CONDITIONS),
        whiten="scale",  # so that each transform is that of one pull
        seed=seed,
        checkpoint=checkpoint,
        resume=resume,
        name=f"{task.name} of jets, {model}",
        **_changes(model, settings, len(given)),
    )
    seconds = time.perf_counter() - began
    known = {"study": "jets", "direction": task.name, "part": identity, "seconds": seconds}
    made = replace(made, provenance={**made.provenance, **known})
    made.save(path)
    return Learned(model, task, made, seconds, path)


def _flow(model: str, seed: int) -> Any:
    dim, width = len(PULLS), len(CONDITIONS)
    if model == "monotone":
        return quantile_network(dim, width, hidden=(128, 128, 128), seed=seed)
    if model in ("one", "separate"):
        return quantile_network(dim, width, networks=model, hidden=(64, 64, 64), seed=seed)
    if model == "published":
        return quantile_network(dim, width, monotone=False, seed=seed)
    return flows.autoregressive_spline(
        dim, transforms=2, bins=12, hidden=(96, 96), activation="silu", context_dim=width, seed=seed
    )


def _changes(model: str, settings: Settings, rows: int) -> dict[str, Any]:
    steps = rows / settings.batch  # of an epoch
    average = 1 - 1 / max(1.0, 2 * steps)  # over two epochs: the loss of quantiles is noisy
    return {
        "epochs": settings.epochs,
        "batch": settings.batch,
        "rate": 1e-3 if model == "published" else 2e-3,
        "patience": settings.epochs,  # the rate falls over all epochs
        "average": average,
    }


def _identity(task: Task, model: str, settings: Settings, seed: int) -> dict[str, Any]:
    """What tells this run from another."""
    given, outcome = task.train
    return {
        "direction": task.name,
        "model": model,
        "seed": seed,
        "epochs": settings.epochs,
        "batch": settings.batch,
        "rows": len(given),
        "sums": [float(given.sum()), float(outcome.sum())],
        "posterion": versions()["posterion"],
    }
