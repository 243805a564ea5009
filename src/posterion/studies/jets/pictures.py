"""Pictures of the study: marginals with their ratios, the cube, and the transforms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from posterion.reports import COLOURS, Image, new_figure, style
from posterion.reports.style import EXACT
from posterion.studies.jets.kinematics import wrapped
from posterion.studies.jets.measuring import Direction, in_cube, marginal

__all__ = ["cube", "marginals", "transforms"]

Floats = NDArray[np.float64]

_LABELS = ("$p_T$ [GeV]", r"$\eta$", r"$\phi$ [rad]", "$m$ [GeV]")
_CUBE_LABELS = (
    "$p_T$ [GeV]",
    r"$\eta - \eta_{\mathrm{given}}$",
    r"$\phi - \phi_{\mathrm{given}}$ [rad]",
    "$m$ [GeV]",
)
_BINS, _CUBE_BINS, _LEVELS = 30, 12, 20
_FEW = 50  # jets of the cube
_KINDS = {"simulation": ("reconstructed", "generated"), "correction": ("generated", "measured")}
_HALF = 0.1  # of the ratio that is shown
_ENDS = (0.001, 0.999)


def marginals(direction: Direction) -> Image:
    """Each coordinate of the jets of the test, drawn and true, and the ratio."""
    truth, given = direction.task.test[1], direction.task.test[0]
    kind, of = _KINDS[direction.task.name]
    edges = []
    for k in range(4):
        low, high = np.quantile(truth[:, k], _ENDS)
        log = k in (0, 3) and low > 0
        edges.append((np.geomspace if log else np.linspace)(low, high, _BINS + 1))
    drawn = [(row.learned.model, row.drawn) for row in direction.rows]
    words = (
        f"Jets of the test, {kind}: drawn by the models, each given a jet ({of}), and true. The "
        "ratio is drawn / true, and the band what counting the true ones allows at one standard "
        "deviation."
    )
    return _panels(truth, drawn, edges, _LABELS, (f"{kind}, true", f"given ({of})"), words, given)


def cube(direction: Direction) -> Image | None:
    """The jets given a jet of the cube; ``None`` where there are too few."""
    given, truth = direction.task.test
    inside = in_cube(given)
    if inside.sum() < _FEW:
        return None

    def seen(jets: Floats) -> Floats:
        found = jets[inside].copy()
        found[:, 1] -= given[inside, 1]
        found[:, 2] = wrapped(found[:, 2] - given[inside, 2])
        return found

    shown = seen(truth)
    low, high = np.quantile(shown, (0.005, 0.995), axis=0)
    edges = [np.linspace(a, b, _CUBE_BINS + 1) for a, b in zip(low, high, strict=True)]
    drawn = [(row.learned.model, seen(row.drawn)) for row in direction.rows]
    kind, of = _KINDS[direction.task.name]
    words = (
        f"Given {of} jets with 30 < pT < 35 GeV, |eta| < 1, |phi| < 1, 5 < m < 10 GeV "
        f"({int(inside.sum())} of the test)."
    )
    return _panels(shown, drawn, edges, _CUBE_LABELS, (f"{kind}, true", ""), words, None, 0.5)


def transforms(direction: Direction) -> Image:
    """Histograms of the transforms, flat where a model is right."""
    with style():
        figure = new_figure(9.6, 2.5, layout="constrained")
        axes = figure.subplots(1, 4, sharey=True)
        edges = np.linspace(0, 1, _LEVELS + 1)
        count = len(direction.rows[0].levels)
        error = np.sqrt(_LEVELS / count * (1 - 1 / _LEVELS))
        for k, panel in enumerate(axes):
            panel.axhspan(1 - error, 1 + error, color="#dddddd")
            panel.axhline(1, color=EXACT, lw=0.8)
            for colour, row in zip(COLOURS, direction.rows, strict=False):
                shares = np.histogram(row.levels[:, k], edges)[0] * _LEVELS / count
                panel.stairs(shares, edges, baseline=None, color=colour, label=row.learned.model)
            panel.set_xlabel(f"level of {_LABELS[k].split(' [')[0]}")
        axes[0].set_ylabel("density")
        wide = max(6 * error, 0.1)
        axes[0].set_ylim(1 - wide, 1 + wide)
        axes[0].legend(loc="upper left", fontsize=8)
    words = (
        f"Probability integral transforms of {count} jets of the test, each coordinate given those "
        "before it: uniform where a model is right. The band is one standard deviation."
    )
    return Image.of(figure, "Transforms", words)


def _panels(
    truth: Floats,
    drawn: Sequence[tuple[str, Floats]],
    edges: Sequence[Floats],
    labels: Sequence[str],
    names: tuple[str, str],
    words: str,
    given: Floats | None = None,
    half: float = _HALF,
) -> Image:
    with style():
        figure = new_figure(9.6, 4.2, layout="constrained")
        grid = figure.subplots(
            2, 4, sharex="col", squeeze=False, gridspec_kw={"height_ratios": (2, 1)}
        )
        for k in range(4):
            top, bottom = grid[:, k]
            if given is not None:
                _stairs(top, given[:, k], edges[k], color="#777777", ls="--", lw=1, label=names[1])
            _stairs(top, truth[:, k], edges[k], color=EXACT, lw=2, label=names[0])
            _, error = marginal(truth[:, k], truth[:, k], edges[k])
            error = error / np.sqrt(2)
            bottom.stairs(1 + error, edges[k], baseline=1 - error, fill=True, color="#dddddd")
            bottom.axhline(1, color=EXACT, lw=0.8)
            for colour, (name, jets) in zip(COLOURS, drawn, strict=False):
                _stairs(top, jets[:, k], edges[k], color=colour, lw=1.1, label=name)
                ratio, _ = marginal(truth[:, k], jets[:, k], edges[k])
                bottom.stairs(ratio, edges[k], color=colour, lw=1.1)
            bottom.set_ylim(1 - half, 1 + half)
            bottom.set_xlabel(labels[k])
            _scales(top, edges[k])
        grid[0, 0].set_ylabel("jets a bin")
        grid[1, 0].set_ylabel("drawn / true")
        handles, said = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, said, loc="outside upper center", ncols=len(said), fontsize=8.5)
    return Image.of(figure, "Marginals", words)


def _stairs(axes: Any, x: Floats, edges: Floats, **look: Any) -> None:
    axes.stairs(np.histogram(x, edges)[0], edges, **look)


def _scales(axes: Any, edges: Floats) -> None:
    if not np.allclose(np.diff(edges), edges[1] - edges[0]):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.set_ylim(bottom=0)
