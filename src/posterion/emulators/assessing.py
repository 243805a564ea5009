"""The health of an emulator: whether its chains agree and its intervals hold."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from posterion.core.status import Status
from posterion.diagnostics.autocorrelation import ess_bulk, split_rhat
from posterion.diagnostics.coverage import (
    conformal_factors,
    coverage,
    expected_calibration_error,
    normal_probability,
    rows_for_level,
)
from posterion.diagnostics.health import Check, Health
from posterion.diagnostics.probabilities import logistic_correction
from posterion.emulators.chains import Walked
from posterion.emulators.emulator import Emulator
from posterion.emulators.held import held_out
from posterion.emulators.predicting import means_of_networks
from posterion.emulators.surrogate import Surrogate

Floats = NDArray[np.float64]

PROBES = 1000
"""Points at which the chains are compared."""

SIGMAS = (1, 2, 3)
"""Standard deviations whose intervals are corrected and tested."""

_RHAT, _RHAT_TAIL = 1.01, 1.05
_FEWEST = 100  # test rows that a coverage is taken from


def assessed(
    emulator: Emulator,
    walked: Walked,
    x: Floats,
    y: Floats,
    parts: dict[str, NDArray[np.bool_]],
    adam_seconds: float,
) -> Emulator:
    """The emulator with its conformal factors and its health.

    Args:
        emulator: without them.
        walked: its chains.
        x: inputs of all rows.
        y: targets of all rows.
        parts: which rows are ``training``, ``correction`` and ``test``.
        adam_seconds: that the warm starts took.
    """
    probes = np.flatnonzero(parts["test"] | parts["correction"])
    probes = (probes if len(probes) else np.arange(len(x)))[:PROBES]
    means = means_of_networks(emulator.joint, emulator.networks, emulator.inputs.scaled(x[probes]))
    means = means.reshape(*emulator.theta.shape[:2], len(probes), -1)
    checks, reasons = _mixing(means, walked)
    emulator, found, missed, unmeasured = corrected(emulator, x, y, **_held(parts))
    checks += found
    reasons += missed
    if walked.tuning is not None and not (means.shape[0] > 1 and means.shape[1] >= 4):
        unmeasured += ("R-hat: it takes two chains of four networks",)
    status = _status(walked, reasons, unmeasured)
    health = Health(
        status,
        name=emulator.name,
        reasons=tuple(text for _, text in reasons),
        checks=tuple(checks),
        unmeasured=unmeasured,
        calls={"gradients": walked.gradients, "warmup gradients": walked.warmup_gradients},
        seconds={"Adam": adam_seconds, "chains": walked.seconds},
        notes=() if walked.complete else ("the time ended before all draws were made",),
    )
    return replace(emulator, health=health, held=held_out(x, y, **_held(parts)))


Reasons = list[tuple[Status, str]]
S = TypeVar("S", bound=Surrogate)


def _held(parts: dict[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    return {part: parts[part] for part in ("correction", "test")}


def corrected(
    emulator: S, x: Floats, y: Floats, correction: NDArray[np.bool_], test: NDArray[np.bool_]
) -> tuple[S, list[Check], Reasons, tuple[str, ...]]:
    """With factors, and what the test rows say of its error bars or probabilities.

    Args:
        emulator: without factors.
        x: inputs of rows.
        y: their targets.
        correction: which rows the factors are taken from.
        test: which rows are for the test.

    Returns:
        The emulator, checks, what is wrong, and what was not measured.
    """
    labels = emulator.head != "normal"
    if not labels and correction.any():
        pulls = pulls_of(emulator, x[correction], y[correction])
        levels = [normal_probability(k) for k in SIGMAS]
        enough = [level for level in levels if len(pulls) >= rows_for_level(level)]
        each = [conformal_factors(column, enough) for column in pulls.T]
        factors = np.array(each).T.reshape(len(enough), y.shape[1])
        emulator = replace(cast(Any, emulator), factors=factors)
    elif labels and correction.sum() >= _FEWEST:
        p = emulator.predict(x[correction]).mean
        if p.ndim == 1 or emulator.head == "categorical":
            each = [logistic_correction(p, y[correction, 0])]
        else:
            each = [logistic_correction(*pair) for pair in zip(p.T, y[correction].T, strict=True)]
        emulator = replace(cast(Any, emulator), factors=np.array(each).T)
    if test.sum() < _FEWEST:
        return emulator, [], [], (f"coverage: {test.sum()} test rows, {_FEWEST} are needed",)
    if labels:
        return emulator, _of_labels(emulator, x[test], y[test]), [], ()
    return emulator, *_of_intervals(emulator, x[test], y[test]), ()


def _mixing(means: np.ndarray, walked: Walked) -> tuple[list[Check], Reasons]:
    """R-hat and effective draws of predictions: weights have symmetric modes, these have not."""
    flat = means.reshape(*means.shape[:2], -1)
    checks: list[Check] = []
    reasons: Reasons = []
    if walked.tuning is None:  # no chain: its networks are independent by construction
        return checks, reasons
    still = means.shape[1] > 1 and not np.ptp(flat, axis=1).any()
    if still:
        text = "the chains did not move: give a longer warmup, or another sampler"
        reasons.append((Status.chains_disagree, text))
    elif means.shape[0] > 1 and means.shape[1] >= 4:
        rhat = split_rhat(flat)
        median, tail = float(np.nanmedian(rhat)), float(np.nanquantile(rhat, 0.95))
        for name, value, limit in (("median", median, _RHAT), ("95 %", tail, _RHAT_TAIL)):
            good = value <= limit
            checks.append(
                Check(
                    f"R-hat in prediction, {name}",
                    value,
                    threshold=f"<= {limit}",
                    verdict="good" if good else "bad",
                )
            )
            if not good:
                text = f"R-hat of predictions ({name}) is {value:.3f}, wanted <= {limit}"
                reasons.append((Status.chains_disagree, text))
        note = "means nothing while R-hat is over its limit" if reasons else ""
        effective = float(np.nanmedian(ess_bulk(flat)))
        checks.append(Check("effective networks, median", effective, note=note))
    share = float(np.mean(walked.statistics["diverging"] > 0))
    good = share <= 0.01
    verdict = "good" if good else "bad"
    checks.append(Check("divergent transitions", share, threshold="<= 0.01", verdict=verdict))
    if not good:
        text = (
            f"{100 * share:.1f} % of the transitions diverged: give a longer warmup, another prior "
            "or smaller steps (`energy_variance` of mclmc, `heat` of sghmc, a higher `acceptance`)"
        )
        reasons.append((Status.chains_disagree, text))
    return checks, reasons


def pulls_of(emulator: Surrogate, x: Floats, y: Floats) -> Floats:
    """(truth - prediction) / sd in the networks' units, ``(rows, targets)``."""
    found = emulator.predict(x)
    return (emulator.targets.scaled(y) - found._centre) / found._spread


def lacking_corrections(emulator: Surrogate, of: Sequence[int] = SIGMAS) -> str:
    """Which intervals have no correction for want of rows, and how many it would take.

    Args:
        emulator: of numbers, or of labels, which have no intervals.
        of: half widths of the intervals, in standard deviations.
    """
    rows = 0 if emulator.held is None else int((~emulator.held.test).sum())
    needed = {sigmas: rows_for_level(normal_probability(sigmas)) for sigmas in of}
    return ", ".join(
        f"no correction at {sigmas} sd: it takes {count} rows held out for it"
        for sigmas, count in needed.items()
        if emulator.head == "normal" and len(emulator.factors) < sigmas and rows < count
    )


def _of_intervals(emulator: Surrogate, x: Floats, y: Floats) -> tuple[list[Check], Reasons]:
    checks: list[Check] = []
    reasons: Reasons = []
    pulls = pulls_of(emulator, x, y)
    raw = coverage(pulls.ravel(), SIGMAS)
    for sigmas, found in zip(SIGMAS, raw, strict=True):
        promised = normal_probability(sigmas)
        # an error of the promise, not of what came out, which may be all or nothing
        spread = (promised * (1 - promised) / pulls.size) ** 0.5
        excess, margin = found.value - promised, max(3 * spread, 0.02)
        low, wide = excess < -margin, excess > margin
        lacking = lacking_corrections(emulator, [sigmas])
        said = ("wider than promised", lacking or "use the corrected one") if wide else (lacking,)
        checks.append(
            Check(
                f"coverage at {sigmas} sd, raw",
                found.value,
                found.error,
                threshold=f">= {promised:.4f}",
                verdict="bad" if low else "warn" if wide else "good",
                note="; ".join(filter(None, said)),
            )
        )
        if low:
            text = f"{sigmas} sd hold {100 * found.value:.1f} %, wanted {100 * promised:.1f} %"
            reasons.append((Status.overconfident, text))
    for sigmas, factors in enumerate(emulator.factors, 1):
        found = coverage((pulls / factors).ravel(), (1,))[0]
        checks.append(Check(f"coverage at {sigmas} sd, corrected", found.value, found.error))
    own = emulator.predict(x)
    mean = own.mean.reshape(y.shape)
    checks.append(Check("RMSE / spread of targets", _relative(mean, y)))
    for column in np.flatnonzero((y > 0).all(axis=0) | (y < 0).all(axis=0)):
        error = 100 * np.mean(np.abs(mean[:, column] / y[:, column] - 1))
        checks.append(Check(f"mean percent error, {emulator.targets.names[column]}", float(error)))
    return checks, reasons


def _of_labels(emulator: Surrogate, x: Floats, y: Floats) -> list[Check]:
    found = emulator.predict(x)
    checks: list[Check] = []
    kinds = [("raw", found.mean)]
    if len(emulator.factors):
        kinds.append(("corrected", found.probability))
    for kind, p in kinds:
        if emulator.head == "categorical":
            label, top = y[:, 0].astype(int), p.argmax(axis=1)
            right, sure = (top == label) * 1.0, p.max(axis=1)
        else:
            right, sure = y.ravel(), p.ravel()
            label, top = right, (sure > 0.5) * 1.0
        if kind == "raw":
            if emulator.head != "categorical":
                both = float(2 * (top * label).sum() / max(top.sum() + label.sum(), 1))
                checks.append(Check("F1", both))
            checks.append(Check("accuracy", float(np.mean(top == label))))
        error, floor = expected_calibration_error(np.clip(sure, 0, 1), right)
        name = f"expected calibration error, {kind}"
        checks.append(Check(name, error, note=f"floor {floor:.4f}"))
    return checks


def _relative(mean: Floats, y: Floats) -> float:
    with np.errstate(over="ignore"):  # of a lognormal far outside
        return float(np.sqrt(np.mean((mean - y) ** 2 / y.var(axis=0))))


def _status(walked: Walked, reasons: Reasons, unmeasured: tuple[str, ...]) -> Status:
    found: Any = [status for status, _ in reasons]
    if Status.chains_disagree in found:
        return Status.chains_disagree if walked.complete else Status.budget_exhausted
    if found:
        return Status.overconfident
    return Status.unproven if unmeasured else Status.calibrated
