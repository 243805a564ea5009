"""Pictures of the study: predictions beside the truth, and planes of the parameter space."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.emulators import Emulator
from posterion.reports import COLOURS, Image, new_figure, style
from posterion.reports.style import EXACT
from posterion.studies.susy.measuring import Measured
from posterion.studies.susy.parameters import NAMES
from posterion.studies.susy.tasks import HIGGS_WINDOW, Task

__all__ = ["planes", "predicted_and_true"]

Floats = NDArray[np.float64]

_GRID = 121
_BINS = 20  # of the calibration curve
_PULLS = np.linspace(-6, 6, 61)

BENCHMARK = {
    "M1": 300.0, "M2": 1500.0, "M3": 2500.0, "mu": 1200.0, "MA": 2500.0, "tanb": 20.0,
    "At": 3500.0, "Ab": 0.0, "Atau": 0.0, "mL1": 2500.0, "mE1": 2500.0, "mL3": 2500.0,
    "mE3": 2500.0, "mQ1": 2500.0, "mU1": 2500.0, "mD1": 2500.0, "mQ3": 2500.0, "mU3": 2500.0,
    "mD3": 2500.0,
}  # fmt: skip
"""The point about which planes are drawn; it is viable."""

# Of each task: parameters along either axis with their range and label, and the contours.
_PLANES: dict[str, Any] = {
    "cross-section": (
        (("M3",), 600, 3800, r"$m_{\tilde g}$ [GeV]"),
        (("mQ1", "mU1", "mD1"), 600, 3800, r"$m_{\tilde q}$ of the light squarks [GeV]"),
        (1e-3,),
        "cross section 1 fb",
    ),
    "higgs-mass": (
        (("At",), -6500, 6500, r"$A_t$ [GeV]"),
        (("mQ3", "mU3"), 1200, 3800, r"$m_{\tilde Q_3} = m_{\tilde u_3}$ [GeV]"),
        HIGGS_WINDOW,
        "$m_h$ = 123 and 127 GeV",
    ),
    "viability": (
        (("M1",), 60, 3800, "$M_1$ [GeV]"),
        (("mE3",), 120, 3800, r"$m_{\tilde e_3}$ [GeV]"),
        (0.5,),
        "viable",
    ),
}


def predicted_and_true(task: Task, row: Measured) -> Image:
    """Of numbers the errors and the pulls, of labels the calibration curve."""
    with style():
        figure = new_figure(8.2, 3.4, layout="constrained")
        left, right = figure.subplots(1, 2)
        if task.likelihood == "bernoulli":
            _calibration(left, row)
            _labels(right, row)
            said = "Fraction of viable points in bins of the prediction, and who is predicted what."
        else:
            _errors(left, task, row)
            _pulls(right, row)
            said = "Relative errors on test rows, and errors in predicted standard deviations."
    return Image.of(figure, f"{task.title}, predicted and true", said)


def _errors(axes: Any, task: Task, row: Measured) -> None:
    error = 100 * (row.prediction.mean / row.y - 1)
    most = float(np.quantile(np.abs(error), 0.995))
    axes.set_xlabel(f"{task.title}, true [{task.unit}]")
    axes.set_ylabel("prediction / truth - 1 [%]")
    if task.log:
        axes.set_xscale("log")
    shown = slice(None, 5000)
    axes.plot(row.y[shown], error[shown], ".", ms=1.5, color=COLOURS[0], rasterized=True)
    axes.axhline(0, color=EXACT, lw=0.8)
    axes.set_ylim(-most, most)


def _pulls(axes: Any, row: Measured) -> None:
    low, high = row.prediction.interval(1, corrected=False)
    scale = row.emulator.targets
    y, ends = (scale.scaled(v[:, None])[:, 0] for v in (row.y, low)), scale.scaled(high[:, None])
    truth, lower = y
    centre, spread = (ends[:, 0] + lower) / 2, (ends[:, 0] - lower) / 2
    axes.hist(
        np.clip((truth - centre) / spread, -6, 6), _PULLS, density=True, color=COLOURS[5],
        label="test rows",
    )  # fmt: skip
    z = np.linspace(-6, 6, 301)
    axes.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color=EXACT, label="normal")
    axes.set_xlabel("(truth - prediction) / sd, outliers at the ends")
    axes.set_ylabel("density")
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 3)
    axes.legend()


def _calibration(axes: Any, row: Measured) -> None:
    mean = np.clip(row.prediction.mean, 0, 1)
    place = np.minimum((mean * _BINS).astype(int), _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    some = count > 0
    x = np.bincount(place, mean, _BINS)[some] / count[some]
    y = np.bincount(place, row.y, _BINS)[some] / count[some]
    error = np.sqrt((y * (1 - y) + 0.25 / count[some]) / count[some])
    axes.errorbar(x, y, error, fmt="o", ms=3, color=COLOURS[0])
    axes.plot([0, 1], [0, 1], color=EXACT, lw=0.8)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("fraction that is viable")


def _labels(axes: Any, row: Measured) -> None:
    mean = np.clip(row.prediction.mean, 0, 1)
    bins = np.linspace(0, 1, 41)
    for label, colour, name in ((1, COLOURS[2], "viable"), (0, COLOURS[1], "not viable")):
        axes.hist(mean[row.y == label], bins, histtype="step", color=colour, lw=1.5, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("test rows")
    axes.legend(loc="upper center")


def planes(task: Task, emulator: Emulator) -> Image:
    """Contours in a plane about `BENCHMARK`: of the theory, of the mean, and of mean and 3 sd."""
    from posterion.studies.susy.generator import evaluate

    (along, x_low, x_high, x_label), (up, y_low, y_high, y_label), levels, what = _PLANES[task.name]
    xs, ys = np.linspace(x_low, x_high, _GRID), np.linspace(y_low, y_high, _GRID)
    grid = {name: np.full((_GRID, _GRID), value) for name, value in BENCHMARK.items()}
    for name in along:
        grid[name] = np.broadcast_to(xs, (_GRID, _GRID))
    for name in up:
        grid[name] = np.broadcast_to(ys[:, None], (_GRID, _GRID))
    points = np.stack([grid[name].ravel() for name in NAMES], axis=1)
    truth = evaluate(points)[task.column].reshape(_GRID, _GRID)
    found = emulator.predict(points)
    if task.likelihood == "bernoulli":
        mean = found.mean
        low, high = mean - 3 * found.epistemic, mean + 3 * found.epistemic
    else:
        mean = found.mean
        low, high = found.interval(3, corrected=3.0 in found.factors)
    with style():
        figure = new_figure(5.6, 4.6, layout="constrained")
        axes = figure.subplots()
        outside = []
        for name, values, colour, dashes, width in (
            ("theory", truth, EXACT, "solid", 2.0),
            ("mean", mean, COLOURS[0], "solid", 1.5),
            ("mean + 3 sd", high, COLOURS[1], "dashed", 1.0),
            ("mean - 3 sd", low, COLOURS[2], "dashed", 1.0),
        ):
            within = [level for level in levels if values.min() < level < values.max()]
            if not within:
                outside.append(name)
                continue
            shaped, at = (np.log(v) if task.log else v for v in (values, np.asarray(within)))
            axes.contour(
                xs, ys, shaped.reshape(_GRID, _GRID), levels=at, colors=colour,
                linestyles=dashes, linewidths=width,
            )  # fmt: skip
            axes.plot([], [], color=colour, linestyle=dashes, label=name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(title=what, loc="best")
    words = "All other parameters are those of a benchmark point, which is viable."
    if outside:
        words += f" Without a contour in this plane: {', '.join(outside)}."
    return Image.of(figure, f"{task.title} in a plane", words)
