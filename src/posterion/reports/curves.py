"""How a result was learned, and what its draws are worth beside a Markov chain's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from posterion.core.errors import SettingError, ShapeError
from posterion.reports.axes import plain
from posterion.reports.style import COLOURS, Picture, new_figure, style

__all__ = ["Sampler", "break_even", "effective_samples_plot", "training_plot"]

_AXES = {"step": "step", "epoch": "epoch", "calls": "density calls", "seconds": "seconds"}
_RUNGS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


def training_plot(
    history: Mapping[str, Any],
    *,
    against: str | None = None,
    goal: float | int | None = None,
    title: str = "",
) -> Picture:
    """Draw the loss and the ESS fraction as learning went on.

    The ESS is drawn by its distance from one: 0.9, 0.99 and 0.999 are equally far apart.

    Args:
        history: ``step`` or ``epoch``, ``loss``, ``valid`` (the loss of held-out rows), ``ess``
            (a fraction), ``calls``, ``seconds``; one entry per segment each. What is missing is not
            drawn.
        against: what the horizontal axis shows: ``calls``, ``seconds``, or by default the ``step``
            or ``epoch``.
        goal: ESS fraction that is wanted, drawn as a line.
        title: over the figure.

    Raises:
        SettingError: the history lacks ``against``, or has neither loss nor ess.
        ShapeError: entries of different lengths.
    """
    against = against or ("epoch" if "epoch" in history else "step")
    if against not in _AXES or against not in history:
        raise SettingError(f"the history has no {against!r}; it has {', '.join(history)}")
    x = np.asarray(history[against], dtype=np.float64)
    series = {k: np.asarray(history[k], np.float64) for k in ("loss", "ess") if k in history}
    if not series:
        raise SettingError("the history has neither 'loss' nor 'ess'")
    for name, y in series.items():
        if y.shape != x.shape or x.ndim != 1 or x.size == 0:
            raise ShapeError(f"history: {name!r} {y.shape} and {against!r} {x.shape} do not fit")
    mark = "o" if x.size <= 30 else ""
    with style():
        figure = new_figure(7.2, 2.3 * len(series) + 0.4 + 0.3 * bool(title), layout="constrained")
        grid = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, y) in zip(grid, series.items(), strict=True):
            if name == "ess":
                _draw_ess(axes, x, y, mark, goal)
            else:
                _draw_loss(axes, x, y, mark, history.get("valid"))
        grid[-1].set_xlabel(_AXES[against])
        grid[-1].set_xlim(min(0.0, float(x.min())), float(x.max()) * 1.02 or 1.0)
        if title:
            figure.suptitle(plain(title))
    return figure


@dataclass(frozen=True, eq=False)
class Sampler:
    """A way to draw from a posterior: what a draw of it is worth, and what it costs.

    Args:
        label: in the legend.
        efficiency: effective draws per draw: ESS/N of a flow, 1/L of a chain with autocorrelation
            length L.
        calls_per_draw: density calls for one draw.
        learning_calls: density calls before the first draw.
        seconds_per_draw: wall time of one draw; NaN where it was not measured.
        learning_seconds: wall time before the first draw.
        drawn, effective: measured points: numbers of draws, and what they were worth.
    """

    label: str
    efficiency: float | int
    calls_per_draw: float | int = 1.0
    learning_calls: float | int = 0.0
    seconds_per_draw: float | int = math.nan
    learning_seconds: float | int = 0.0
    drawn: tuple[float | int, ...] = ()
    effective: tuple[float | int, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.efficiency) and self.efficiency > 0):
            raise SettingError(f"{self.label}: efficiency must be positive, got {self.efficiency}")

    @classmethod
    def of_weights(cls, label: str, log_weights: Any, **costs: float | int) -> "Sampler":
        """A flow by its importance weights: Kish's effective size of the first 10, 30, 100, ...

        Args:
            label: in the legend.
            log_weights: ``(n,)``; NaN and +inf count as weight zero.
            costs: ``calls_per_draw``, ``learning_calls``, ``seconds_per_draw``, ...

        Raises:
            ShapeError: no draws, or every weight is zero.
        """
        log_w = np.asarray(log_weights, dtype=np.float64)
        usable = np.isfinite(log_w)
        if log_w.ndim != 1 or not usable.any():
            raise ShapeError(f"{label}: no draw has a usable weight")
        w = np.where(usable, np.exp(np.where(usable, log_w - log_w[usable].max(), -np.inf)), 0.0)
        first, second = np.cumsum(w), np.cumsum(np.square(w))
        counts = [n for n in _decades(w.size) if first[n - 1] > 0]
        worth = [float(first[n - 1] ** 2 / second[n - 1]) for n in counts]
        return cls(
            label,
            worth[-1] / w.size,
            drawn=tuple(counts),
            effective=tuple(worth),
            **costs,  # type: ignore[arg-type]
        )

    @classmethod
    def of_chain(cls, label: str, autocorrelation: float | int, **costs: float | int) -> "Sampler":
        """A Markov chain: N draws are worth N over its autocorrelation length."""
        return cls(label, 1 / autocorrelation, **costs)  # type: ignore[arg-type]

    def cost(self, effective: Any, kind: str = "calls") -> Any:
        """Calls or seconds, learning included, for a number of effective draws."""
        calls = kind == "calls"
        start = self.learning_calls if calls else self.learning_seconds
        each = self.calls_per_draw if calls else self.seconds_per_draw
        return start + each / self.efficiency * np.asarray(effective, dtype=np.float64)


def break_even(first: Sampler, second: Sampler, kind: str = "calls") -> float:
    """The number of effective draws beyond which the one that costs more to start is cheaper.

    Infinite where it never is; 0 where it is from the start; NaN where a cost was not measured.

    Args:
        first: one sampler.
        second: another one.
        kind: ``calls`` or ``seconds``.

    >>> flow = Sampler("flow", 1.0, calls_per_draw=0, learning_calls=1000)
    >>> break_even(flow, Sampler("chain", 0.02))
    20.0
    """
    early, late = sorted((first, second), key=lambda s: float(s.cost(0, kind)))
    ahead = float(late.cost(0, kind) - early.cost(0, kind))
    gain = float(
        (early.cost(1, kind) - early.cost(0, kind)) - (late.cost(1, kind) - late.cost(0, kind))
    )
    if math.isnan(ahead) or math.isnan(gain):
        return math.nan
    if ahead == 0:
        return 0.0
    return ahead / gain if gain > 0 else math.inf


def effective_samples_plot(
    samplers: Sequence[Sampler],
    *,
    cost: str | None = "calls",
    reach: float | int | None = None,
    title: str = "",
) -> Picture:
    """Draw effective draws against draws, and against their cost with learning included.

    The first panel is the figure of the INT poster "Bayesian Uncertainty Quantification via Machine
    Learning" (L. Schneider, Y. Yamauchi).

    Args:
        samplers: the flow first, then chains.
        cost: what the second panel shows: ``calls``, ``seconds``, or None to leave it out.
        reach: largest number of draws shown; by default where the measured points end, at least
            1e5.
        title: over the figure.

    Raises:
        SettingError: no sampler, or an unknown cost.
    """
    if not samplers or cost not in ("calls", "seconds", None):
        raise SettingError(f"effective samples of {len(samplers)} samplers, cost {cost!r}")
    end = float(reach or max(1e5, *(max(s.drawn, default=0) for s in samplers)))
    with style():
        wide = 2 if cost else 1
        figure = new_figure(4.6 * wide, 4.0 + 0.3 * bool(title), layout="constrained")
        grid = figure.subplots(1, wide, squeeze=False)[0]
        _draw_worth(grid[0], samplers, end)
        if cost:
            _draw_cost(grid[1], samplers, cost, end)
        if title:
            figure.suptitle(plain(title))
    return figure


def _draw_loss(axes: Axes, x: np.ndarray, y: np.ndarray, mark: str, held_out: Any) -> None:
    axes.plot(x, y, color=COLOURS[0], marker=mark, markersize=3.5, label="training")
    axes.set_ylabel("loss")
    if held_out is not None:
        other = np.asarray(held_out, np.float64)
        axes.plot(
            x, other, color=COLOURS[1], marker=mark, markersize=3.5, ls="--", label="held out"
        )
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.9), fontsize=8)
        y = np.concatenate([y, other])
    finite = y[np.isfinite(y)]
    if finite.size > 4:  # the first fall would flatten all that follows
        low, high = finite.min(), np.quantile(finite, 0.85, method="lower")
        margin = 0.1 * (high - low) or 0.1 * max(abs(low), 1e-12)
        upper = min(high + 3 * margin, finite.max() + margin)
        axes.set_ylim(low - margin, upper)
        if finite.max() > upper:
            note = f"↑ from {finite.max():.4g}"
            axes.text(0.99, 0.95, note, transform=axes.transAxes, ha="right", va="top", fontsize=8)


def _draw_ess(
    axes: Axes, x: np.ndarray, y: np.ndarray, mark: str, goal: float | int | None
) -> None:
    known = np.isfinite(y)
    distance = np.clip(1 - y[known], 1e-7, 1.0)
    axes.plot(x[known], distance, color=COLOURS[1], marker=mark, markersize=3.5)
    if goal is not None and goal < 1:
        axes.axhline(1 - goal, color="#555555", linewidth=0.9, linestyle="--")
        place: Any = {"transform": axes.get_yaxis_transform(), "fontsize": 8, "color": "#555555"}
        axes.text(0.99, 1 - goal, f"goal {goal:g}", ha="right", va="bottom", **place)
    nearest = min(float(distance.min(initial=0.5)), 1.0 if goal is None else float(1 - goal))
    axes.set_yscale("log")
    axes.set_ylim(1.4, max(min(0.6 * nearest, 0.08), 1e-8))
    axes.yaxis.set_major_locator(FixedLocator([1 - rung for rung in _RUNGS]))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{rung:g}" for rung in _RUNGS]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("ESS / N")


def _draw_worth(axes: Axes, samplers: Sequence[Sampler], end: float) -> None:
    ends = np.array([10.0, end])
    axes.plot(ends, ends, color="#999999", linewidth=0.9, linestyle=":", label="independent draws")
    for k, sampler in enumerate(samplers):
        colour = COLOURS[k % len(COLOURS)]
        if sampler.drawn:
            axes.plot(sampler.drawn, sampler.effective, "o", color=colour, markersize=4)
        label = plain(f"{sampler.label}: {_ratio(sampler.efficiency)}")
        axes.plot(ends, ends * sampler.efficiency, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="draws N", ylabel="effective draws")
    axes.set_ylim(min(1.0, *(10 * s.efficiency for s in samplers)), 2 * end)
    axes.legend(loc="upper left", fontsize=8)


def _draw_cost(axes: Axes, samplers: Sequence[Sampler], cost: str, end: float) -> None:
    effective = np.geomspace(1.0, end, 200)
    top = 1.0
    for k, sampler in enumerate(samplers):
        spent = sampler.cost(effective, cost)
        if not np.isfinite(spent).all():
            continue
        axes.plot(spent, effective, color=COLOURS[k % len(COLOURS)], label=plain(sampler.label))
        top = max(top, float(spent.max()))
    for k, sampler in enumerate(samplers[1:], 1):
        crossing = break_even(samplers[0], sampler, cost)
        if 1 <= crossing <= end:
            spent = float(sampler.cost(crossing, cost))
            label = f"cheaper than {sampler.label} beyond {_count(crossing)}"
            colour = COLOURS[k % len(COLOURS)]
            axes.plot([spent], [crossing], "D", color=colour, ms=5, zorder=5, label=plain(label))
    axes.set(xscale="log", yscale="log", ylabel="effective draws")
    axes.set_xlabel(("density calls" if cost == "calls" else "seconds") + ", learning included")
    axes.set_ylim(1.0, end * 10 ** (0.3 * len(axes.lines)))
    if axes.lines:
        axes.legend(loc="upper left", fontsize=8)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="#555555")


def _decades(n: int) -> list[int]:
    """10, 30, 100, ... up to n, and n itself."""
    steps = [round(10 ** (k / 2)) if k % 2 == 0 else 3 * 10 ** (k // 2) for k in range(2, 40)]
    return [*(s for s in steps if s < n), n]


def _ratio(efficiency: float) -> str:
    """What a draw is worth, in the words of the sampler's kind."""
    if efficiency > 0.5:
        return f"ESS/N = {efficiency:.4g}"
    return f"N/{1 / efficiency:.3g}"


def _count(x: float) -> str:
    """Two digits: 17 000."""
    digits = max(math.floor(math.log10(x)) - 1, 0)
    return f"{round(x, -digits):,.0f}".replace(",", "\N{THIN SPACE}")
