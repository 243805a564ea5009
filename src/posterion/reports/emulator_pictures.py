"""Pictures of an emulator: whether its error bars hold, and whether its chains agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray
from scipy import special, stats

from posterion.core.columns import Column
from posterion.diagnostics.autocorrelation import autocorrelation
from posterion.diagnostics.bands import uniform_band
from posterion.diagnostics.coverage import coverage, normal_probability
from posterion.reports.axes import axis_label, plain
from posterion.reports.style import COLOURS, EXACT, Picture, new_figure, style, tint

__all__ = [
    "coverage_plot",
    "losses_plot",
    "prediction_plot",
    "pulls_plot",
    "reliability_plot",
    "traces_plot",
]

Floats = NDArray[np.float64]

_ALPHA = 0.01
_REACH = 5.0
_SHOWN, _BARS, _BINS = 4, 300, 10


def coverage_plot(pulls: Floats, factors: Floats, names: Sequence[str]) -> Picture:
    """Draw by how much more than promised the intervals hold, against their half width.

    Args:
        pulls: (truth - prediction) / sd of rows that nothing was trained on, (rows, targets).
        factors: conformal, (up to 3, targets).
        names: of the targets.
    """
    band = uniform_band(len(pulls), _ALPHA / pulls.shape[1])
    sigmas = np.sqrt(2) * special.erfinv(band.at)
    with style():
        figure = new_figure(7.2, 3.4, layout="constrained")
        axes = figure.subplots()
        axes.fill_between(
            sigmas, band.lower - band.at, band.upper - band.at, color=tint(EXACT, 0.12), lw=0
        )
        axes.axhline(0, color="#999999", linewidth=0.7)
        for i, name in enumerate(names):
            colour = COLOURS[i % len(COLOURS)]
            k = np.linspace(0, 3.3, 300)
            inside = np.searchsorted(np.sort(np.abs(pulls[:, i])), k, side="right") / len(pulls)
            label = "raw" if len(names) == 1 else f"{name}, raw"
            axes.plot(k, inside - special.erf(k / np.sqrt(2)), color=colour, label=plain(label))
            for sigma, factor in enumerate(factors[:, i], 1):
                found = coverage(pulls[:, i] / factor, (1,))[0]
                place = sigma + 0.04 * (i - (len(names) - 1) / 2)
                axes.errorbar(
                    [place],
                    [found.value - normal_probability(sigma)],
                    [found.error],
                    fmt="o",
                    color=colour,
                    mfc="white",
                    ms=4.5,
                    label="corrected" if sigma == 1 and i == 0 else None,
                )
        axes.set(xlabel="half width of the interval [sd]", ylabel="excess coverage")
        axes.set_xlim(0, 3.3)
        axes.legend(fontsize=8)
    return figure


def pulls_plot(pulls: Floats, names: Sequence[str]) -> Picture:
    """Draw a histogram of each target's pulls with the normal that they should follow."""
    count = min(len(names), _SHOWN)
    edges = np.linspace(-_REACH, _REACH, 41)
    with style():
        figure = new_figure(max(3.4 * count, 5.0), 3.0, layout="constrained")
        grid = figure.subplots(1, count, squeeze=False, sharey=True)[0]
        x = np.linspace(-_REACH, _REACH, 200)
        for i, axes in enumerate(grid):
            shown = np.clip(pulls[:, i], -_REACH, _REACH)
            axes.hist(shown, edges, color=tint(COLOURS[0], 0.35), label="held-out rows")
            normal = len(pulls) * (edges[1] - edges[0]) * stats.norm.pdf(x)
            axes.plot(x, normal, color=EXACT, lw=1.2, ls="--", label="normal")
            mean, sd = (round(float(v), 2) + 0.0 for v in (pulls[:, i].mean(), pulls[:, i].std()))
            axes.set_title(plain(f"{names[i]}: mean {mean:.2f}, sd {sd:.2f}"))
            axes.set_xlabel("(truth − prediction) / sd")
        grid[0].set_ylabel("rows")
        grid[0].legend(fontsize=8, loc="upper left")
    return figure


def prediction_plot(
    truth: Floats,
    mean: Floats,
    sd: Floats,
    columns: Sequence[Column],
    log: Sequence[bool],
) -> Picture:
    """Draw predictions against the truth, and how far off they are where the error bars are small.

    Args:
        truth: targets of held-out rows, (rows, targets).
        mean: what is predicted, alike.
        sd: error bars.
        columns: name and unit of each target.
        log: whether it is learned by its logarithm: its axes then are.
    """
    count = min(len(columns), _SHOWN)
    with style():
        figure = new_figure(7.6, 3.3 * count, layout="constrained")
        grid = figure.subplots(count, 2, squeeze=False)
        for i, (left, right) in enumerate(grid):
            some = slice(None, None, max(len(truth) // _BARS, 1))
            x, y, error = truth[some, i], mean[some, i], sd[some, i]
            error = np.minimum(error, 0.999 * y) if log[i] else error
            left.errorbar(
                x, y, error, fmt=".", color=COLOURS[0], ms=3, elinewidth=0.6, ecolor="#888888"
            )
            ends = [truth[:, i].min(), truth[:, i].max()]
            left.plot(ends, ends, color=EXACT, lw=0.9, ls="--")
            if log[i]:
                _logarithmic(left)
            label = axis_label(columns[i])
            left.set(xlabel=f"truth: {label}", ylabel="prediction")
            parts = np.array_split(np.argsort(sd[:, i]), min(_BINS, len(truth)))
            away = np.square(truth[:, i] - mean[:, i])
            said = [float(np.sqrt(np.mean(sd[p, i] ** 2))) for p in parts]
            found = [float(np.sqrt(away[p].mean())) for p in parts]
            noise = [f / np.sqrt(2 * len(p)) for f, p in zip(found, parts, strict=True)]
            right.errorbar(said, found, noise, fmt="o", color=COLOURS[1], ms=4)
            ends = [min(*said, *found), max(*said, *found)]
            right.plot(ends, ends, color=EXACT, lw=0.9, ls="--")
            right.set(xlabel=f"predicted sd: {label}", ylabel="RMS error")
            if ends[1] > 10 * ends[0]:
                _logarithmic(right)
    return figure


def _logarithmic(axes: Axes) -> None:
    """Both axes; within a decade or two with ticks at 1, 2 and 5."""
    axes.set(xscale="log", yscale="log")
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_minor_formatter(NullFormatter())
        if high < 60 * low:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))


def reliability_plot(probability: Floats, right: Floats, label: str) -> Picture:
    """Draw how often a label is right against the probability that was given to it.

    Args:
        probability: (rows,).
        right: 1 where it was, 0 where not.
        label: of the horizontal axis.
    """
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    with style():
        figure = new_figure(6.4, 3.6, layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=EXACT, lw=0.9, ls="--")
        for k in np.unique(place):
            own = place == k
            hits, n = int(right[own].sum()), int(own.sum())
            error = float(stats.beta(hits + 1, n - hits + 1).std())
            axes.errorbar(
                probability[own].mean(), hits / n, error, fmt="o", color=COLOURS[0], ms=4.5
            )
            axes.annotate(
                f"{n}",
                (probability[own].mean(), hits / n),
                (5, -9),
                fontsize=7,
                textcoords="offset points",
                color="#777777",
            )
        axes.set(xlabel=plain(label), ylabel="frequency", xlim=(0, 1), ylim=(-0.02, 1.02))
    return figure


def traces_plot(means: Floats, labels: Sequence[str]) -> Picture:
    """Draw what the networks of each chain predict at a few points, and how long they remember.

    Args:
        means: predictions of each network, (chains, draws, points).
        labels: of the points that are traced, the first ones.
    """
    chains, draws, points = means.shape
    with style():
        figure = new_figure(7.6, 1.5 * len(labels) + 2.6, layout="constrained")
        grid = figure.subplots(len(labels) + 1, 1)
        for axes, label, trace in zip(grid, labels, np.moveaxis(means, 2, 0), strict=False):
            for chain in range(chains):
                axes.plot(np.arange(draws), trace[chain], color=COLOURS[chain % 6], lw=0.9)
            axes.set_title(plain(label), loc="left", fontsize=8.5)
            axes.set_xlim(0, draws - 1)
        grid[-2].set_xlabel("draw of a chain")
        rho = np.stack([autocorrelation(means[:, :, i]) for i in range(points)])
        lags = np.arange(max(draws // 2, 2))
        low, middle, high = np.nanquantile(rho[:, lags], [0.16, 0.5, 0.84], axis=0)
        grid[-1].fill_between(lags, low, high, color=tint(COLOURS[0], 0.25), lw=0)
        grid[-1].plot(lags, middle, color=COLOURS[0])
        grid[-1].axhline(0, color="#999999", linewidth=0.7)
        grid[-1].set(xlabel="lag [draws]", ylabel="autocorrelation", xlim=(0, lags[-1]))
    return figure


def losses_plot(history: dict[str, Any]) -> Picture:
    """Draw minus the log-density a row of each warm start, against the epoch."""
    chain, epoch, loss = (np.asarray(history[k]) for k in ("chain", "epoch", "loss"))
    with style():
        figure = new_figure(7.2, 2.7, layout="constrained")
        axes = figure.subplots()
        for k in np.unique(chain):
            own = chain == k
            axes.plot(epoch[own] + 1, loss[own], color=COLOURS[int(k) % 6], lw=1.0)
        settled = loss[np.isfinite(loss)]
        if settled.size > 4:  # the first fall would flatten all that follows
            low, high = settled.min(), np.quantile(settled, 0.85)
            axes.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low) or None)
        axes.set(xlabel="epoch", ylabel="− log density, a row")
    return figure
