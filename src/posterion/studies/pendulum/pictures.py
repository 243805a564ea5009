"""Pictures of the study: what intervals hold, and the aleatoric error beside the one by hand."""

from collections.abc import Mapping

import numpy as np

from posterion.reports import COLOURS, Image, new_figure, style
from posterion.reports.style import EXACT as TRUTH
from posterion.studies.pendulum.measuring import LEVELS, RANGES, Measured
from posterion.studies.pendulum.methods import EXACT, TITLES

__all__ = ["coverage_picture", "errors_picture"]


def coverage_picture(found: Mapping[str, Measured], noise: float) -> Image:
    """In each range of lengths, what intervals hold against what they promise."""
    with style():
        figure = new_figure(8.2, 3.8, layout="constrained")
        panels = figure.subplots(1, len(RANGES), sharey=True)
        for axes, name in zip(panels, RANGES, strict=True):
            axes.plot([0, 1], [0, 1], color=TRUTH, lw=0.8, ls="--")
            for i, (method, one) in enumerate(found.items()):
                exact = method == EXACT
                colour = TRUTH if exact else COLOURS[i % len(COLOURS)]
                dots = ":" if i >= len(COLOURS) and not exact else "-"
                if name in one.held:
                    held, title = one.held[name], TITLES[method]
                    axes.plot(LEVELS, held, color=colour, ls=dots, label=title, lw=1.2)
            axes.set_title(f"L {name}" if name != "in range" else "L 0.2-0.8 m, in range")
            axes.set_xlabel("promised")
            axes.set_box_aspect(1)
        panels[0].set_ylabel("held")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    said = "Share of pendulums whose gravity central intervals hold, by what they promise."
    return Image.of(figure, f"coverage, noise to {100 * noise:g} %", said)


def errors_picture(found: Mapping[str, Measured], noise: float) -> Image:
    """Of each method, relative aleatoric errors against those by hand."""
    several = dict(found)
    columns = 4
    rows = -(-len(several) // columns)
    limit = 100 * max(float(np.quantile(one.by_hand, 0.995)) for one in several.values())
    with style():
        figure = new_figure(8.2, 2.2 * rows + 0.2, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(several) :]:
            axes.set_visible(False)
        for axes, (method, one) in zip(grid.flat, several.items(), strict=False):
            colour = TRUTH if method == EXACT else COLOURS[0]
            hand, own = 100 * np.asarray(one.by_hand), 100 * np.asarray(one.aleatoric)
            axes.plot(hand, own, ".", ms=1.5, color=colour, rasterized=True)
            axes.plot([0, limit], [0, limit], color=TRUTH, lw=0.8, ls="--")
            axes.set_title(f"{TITLES[method]}\ncorrelation {one.correlation:.2f}", fontsize=8)
            axes.set_xlim(0, limit)
            axes.set_ylim(0, limit)
        figure.supxlabel("error of gravity by hand [%]", fontsize=9)
        figure.supylabel("aleatoric error [%]", fontsize=9)
    said = "Relative errors of test pendulums: the method's aleatoric one by the one by hand."
    return Image.of(figure, f"errors, noise to {100 * noise:g} %", said)
