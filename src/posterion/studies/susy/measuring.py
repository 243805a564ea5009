"""What an emulator is worth, on rows that neither training nor correction has seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posterion.core.estimate import Estimate
from posterion.diagnostics.coverage import coverage, expected_calibration_error
from posterion.emulators import Emulator, Prediction
from posterion.studies.susy.tasks import HIGGS_WINDOW, Task

__all__ = ["Measured", "measured"]

Floats = NDArray[np.float64]

_SIGMAS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class Measured:
    """One sampler's emulator and its figures.

    Attributes:
        sampler: its name.
        emulator: what it gave.
        seconds: of Adam and of sampling.
        figures: by name; estimates carry the binomial or the standard error.
        y: targets of the test rows.
        prediction: of them.
        floor: of the expected calibration error, where it is among the figures.
    """

    sampler: str
    emulator: Emulator
    seconds: float
    figures: dict[str, Estimate]
    y: Floats
    prediction: Prediction
    floor: float | None = None


def measured(task: Task, sampler: str, emulator: Emulator, x: Floats, y: Floats) -> Measured:
    """The figures of an emulator.

    Args:
        task: what it emulates.
        sampler: name of the row.
        emulator: of one target.
        x: inputs of the test rows.
        y: targets of the test rows.
    """
    seconds = sum(emulator.health.seconds.values())
    prediction = emulator.predict(x)
    if task.likelihood == "bernoulli":
        figures, floor = _of_labels(prediction, y)
    else:
        figures, floor = _of_numbers(task, prediction, y), None
    return Measured(sampler, emulator, seconds, figures, y, prediction, floor)


def _of_numbers(task: Task, prediction: Prediction, y: Floats) -> dict[str, Estimate]:
    figures = _errors("percent_error", prediction.mean, y)
    if task.log:
        figures |= _errors("percent_error_by_median", prediction.median, y)
    for corrected in (False, True):
        for sigmas in _SIGMAS:
            if corrected and float(sigmas) not in prediction.factors:
                continue  # too few rows to correct by
            low, high = prediction.interval(sigmas, corrected=corrected)
            inside = np.where((y >= low) & (y <= high), 0.0, 2.0)
            name = f"covered_{sigmas}" + "_corrected" * corrected
            figures[name] = coverage(inside, (1,))[0]
    if task.name == "higgs-mass":
        low, high = prediction.interval(3, corrected=False)
        least, most = HIGGS_WINDOW
        truth = (y > least) & (y < most)
        figures |= _found("window", (prediction.mean > least) & (prediction.mean < most), truth)
        figures |= _found("window_overlap", (high > least) & (low < most), truth)
    return figures


def _errors(name: str, predicted: Floats, y: Floats) -> dict[str, Estimate]:
    """Mean of the percent errors, and their median with the error that its ranks have."""
    error = np.sort(100 * np.abs(predicted / y - 1))
    n = len(error)
    low, high = (error[round(n / 2 + s * n**0.5 / 2)] for s in (-1, 1))
    return {
        name: Estimate(float(error.mean()), float(error.std() / n**0.5)),
        f"{name}_median": Estimate(float(np.median(error)), float(high - low) / 2),
    }


def _of_labels(prediction: Prediction, y: Floats) -> tuple[dict[str, Estimate], float]:
    truth, mean = y > 0.5, np.clip(prediction.mean, 0, 1)
    error, floor = expected_calibration_error(mean, y)
    mended = expected_calibration_error(prediction.probability, y)[0]
    right = float(np.mean((mean > 0.5) == truth))
    figures = {
        "accuracy": Estimate(right, (right * (1 - right) / len(y)) ** 0.5),
        "calibration_error": Estimate(error, 0.0),
        "calibration_error_corrected": Estimate(mended, 0.0),
    }
    figures |= _found("mean", mean > 0.5, truth)
    return figures | _found("mean_plus_3_sd", mean + 3 * prediction.epistemic > 0.5, truth), floor


def _found(name: str, said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, Estimate]:
    """Precision, recall and F1 of what was said to be so."""
    hits, n_said, n_true = int((said & truth).sum()), int(said.sum()), int(truth.sum())
    precision, recall = hits / max(n_said, 1), hits / max(n_true, 1)
    f1 = 2 * hits / max(n_said + n_true, 1)

    def spread(p: float, n: int) -> float:
        return (p * (1 - p) / max(n, 1)) ** 0.5

    return {
        f"{name}.precision": Estimate(precision, spread(precision, n_said)),
        f"{name}.recall": Estimate(recall, spread(recall, n_true)),
        f"{name}.f1": Estimate(f1, spread(f1, (n_said + n_true) // 2)),
    }
