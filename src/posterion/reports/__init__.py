"""Pages and pictures of any result.

- `corner_plot`, `panel_plot`: what was learned, with exact densities over it
- `training_plot`, `effective_samples_plot`: how it was learned, and what the draws are worth
- `Page`, `Section` and its blocks, `write_page`: one self-contained HTML page
- `posterior_page`: the page of any posterior, to which a study adds its own sections
- `emulator_page`: the page of an emulator
- `calibration_plot`, `calibration_page`: ranks of the truth among the draws of its posterior
- `closure_plot`, `local_coverage_plot`, `closure_page`: draws beside outcomes, under conditions
- `comparison_page`: the page of two samples side by side
- `contours_page`: the page on which a reader picks two parameters and sees their contours
"""

from posterion.reports.blocks import (
    Heading,
    Image,
    Preformatted,
    Prose,
    Section,
    Table,
)
from posterion.reports.calibration import calibration_page, calibration_plot
from posterion.reports.closure import closure_page, closure_plot, local_coverage_plot
from posterion.reports.comparison import comparison_page
from posterion.reports.contours import contours, contours_page
from posterion.reports.corner import corner_plot, credible_contours
from posterion.reports.curves import (
    Sampler,
    break_even,
    effective_samples_plot,
    training_plot,
)
from posterion.reports.emulator import emulator_page
from posterion.reports.layers import Layer, Truth
from posterion.reports.page import Page, render_page, write_page
from posterion.reports.panels import Line, panel_plot
from posterion.reports.posterior import (
    closing_sections,
    figure_table,
    posterior_page,
    posterior_sections,
    report,
    summary_table,
)
from posterion.reports.style import COLOURS, Picture, new_figure, png, save_picture, style

__all__ = [
    "COLOURS",
    "Heading",
    "Image",
    "Layer",
    "Line",
    "Page",
    "Picture",
    "Preformatted",
    "Prose",
    "Sampler",
    "Section",
    "Table",
    "Truth",
    "break_even",
    "calibration_page",
    "calibration_plot",
    "closing_sections",
    "closure_page",
    "closure_plot",
    "comparison_page",
    "contours",
    "contours_page",
    "corner_plot",
    "credible_contours",
    "effective_samples_plot",
    "emulator_page",
    "figure_table",
    "local_coverage_plot",
    "new_figure",
    "panel_plot",
    "png",
    "posterior_page",
    "posterior_sections",
    "render_page",
    "report",
    "save_picture",
    "style",
    "summary_table",
    "training_plot",
    "write_page",
]
