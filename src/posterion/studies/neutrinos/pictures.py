"""The pictures of the study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from posterion.core.columns import Column
from posterion.reports import (
    COLOURS,
    Layer,
    Line,
    Picture,
    Sampler,
    Truth,
    corner_plot,
    effective_samples_plot,
    new_figure,
    panel_plot,
    style,
    training_plot,
)
from posterion.studies.neutrinos.blocks import NAMES
from posterion.studies.neutrinos.derived import WORDS, Derived
from posterion.studies.neutrinos.figures import Measured

_COLOUR = {"NO": COLOURS[0], "IO": COLOURS[1]}


def draws_layer(measured: Measured, label: str | None = None) -> Layer:
    """The fresh draws with the exact marginals of one and two parameters."""
    truth = measured.case.truth
    marginals = {name: (m.x, m.density) for name, m in truth.marginals.items()}
    pairs = {(a, b): truth.marginal2d(a, b) for k, b in enumerate(NAMES) for a in NAMES[:k]}
    return Layer.of_draws(
        measured.draws,
        measured.posterior.parameters,
        label=label or "draws of the flow",
        truth=Truth(marginals, pairs),
    )


def corner_picture(measured: Measured) -> Picture:
    """All parameters and pairs of one ordering, exact marginals over the draws."""
    name = f"NuFIT {measured.case.tables.release}, {WORDS[measured.case.ordering]} ordering"
    return corner_plot(draws_layer(measured), title=name)


def profile_picture(measured: Measured) -> Picture:
    """Delta chi-squared of each parameter: of the draws, exact, and NuFIT's own profile."""
    case = measured.case
    lines = {
        name: Line(*case.truth.profile(name), "NuFIT's profile", "#009E73")
        for name in NAMES
        if case.tables.has(name)
    }
    return panel_plot(draws_layer(measured), kind="delta_chi2", lines=lines)


def learning_picture(measured: Measured) -> Picture:
    """Loss and ESS against step."""
    return training_plot(measured.posterior.history, goal=0.995)


def worth_picture(samplers: Sequence[Sampler]) -> Picture:
    """The poster's figure: effective draws against draws, and against density calls."""
    return effective_samples_plot(samplers, cost="calls" if len(samplers) > 1 else None)


def overlay_picture(measured: Mapping[str, Measured]) -> Picture:
    """The densities of several posteriors over one another, such as two releases."""
    layers = [
        Layer.of_draws(m.draws, m.posterior.parameters, label=label)
        for label, m in measured.items()
    ]
    return panel_plot(layers)


def jarlskog_picture(derived: Mapping[str, Derived]) -> Picture:
    """The densities of the Jarlskog invariant and of its largest value."""
    columns = (
        Column("J", label="$J$"),
        Column("J_max", label=r"$J_{\max}$"),
    )
    layers = [
        Layer(
            columns,
            np.stack([one.jarlskog, one.jarlskog_max], axis=1),
            f"{WORDS[ordering]} ordering",
            colour=_COLOUR[ordering],
        )
        for ordering, one in derived.items()
    ]
    return panel_plot(layers)


def masses_picture(derived: Mapping[str, Derived]) -> Picture:
    """m_beta and m_betabeta against the lightest mass, both orderings."""
    with style():
        figure = new_figure(9.6, 4.4, layout="constrained")
        left, right = figure.subplots(1, 2)
        handles: list[Any] = []
        for ordering, one in derived.items():
            colour = _COLOUR[ordering]
            x = one.lightest
            left.fill_between(x, *one.against["m_beta"], color=colour, alpha=0.55, linewidth=0.6)
            right.fill_between(x, *_drawn(one.against["band"]), color=colour, alpha=0.18, lw=0)
            low, high = _drawn(one.against["m_betabeta"])
            right.fill_between(x, low, high, color=colour, alpha=0.42, linewidth=0)
            handles.append(Patch(color=colour, alpha=0.55, label=f"{WORDS[ordering]} ordering"))
        handles += [
            Patch(color="#777777", alpha=0.55, label="3σ, Majorana phases uniform"),
            Patch(color="#777777", alpha=0.2, label="band of all Majorana phases"),
        ]
        for axes, text in ((left, r"$m_\beta$ [eV]"), (right, r"$m_{\beta\beta}$ [eV]")):
            axes.set(xscale="log", yscale="log", xlabel="lightest mass [eV]", ylabel=text)
            axes.set_xlim(one.lightest[0], one.lightest[-1])
        left.set_ylim(5e-3, 1.0)
        right.set_ylim(_FLOOR, 1.0)
        left.legend(handles=handles[:-2], loc="upper left")
        right.legend(handles=handles[-2:], loc="upper left")
    return figure


_FLOOR = 1e-4


def _drawn(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both ends, zero raised to below the axis of logarithms."""
    low, high = np.maximum(ends, 0.1 * _FLOOR)
    return low, high
