"""The page of the study: the model, the rows, the profile, the pulls and the draws."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from posterion.reports import (
    Image,
    Page,
    Preformatted,
    Prose,
    Section,
    Table,
    new_figure,
    style,
    write_page,
)
from posterion.reports.blocks import Block
from posterion.sampling import Profile
from posterion.sampling.chain import Chain
from posterion.studies.likelihoods import rows
from posterion.studies.likelihoods.keeping import Floats, Kept, Run
from posterion.targets.target import Target

_SHOWN = 5
_DRAWN = 20_000


def study_page(
    path: Path, run: Run, found: list[Kept], exact: Profile | None, chain: Chain, held: Chain
) -> None:
    """Write ``report.html``.

    Args:
        path: of the page.
        run: of the study.
        found: the rows, the flow learned from the density last.
        exact: profile of the parameter of interest; None where there is none.
        chain: all chains.
        held: held-out draws.
    """
    heads, lines = rows.table(found)
    last = found[-1]
    learned = last.result
    table = Table(
        heads,
        lines,
        "Medians over the coordinates; the floor is truth against truth of the same sizes. The "
        "metrics alone accept a plain normal: ESS/N tells.",
    )
    compared = Preformatted(str(last.comparison), "all metrics", folded=True)
    health: Block = Preformatted(learned.health.text(100), "health", folded=True)
    sections = [
        Section("Model", [Prose(_model(run.target, exact)), Table.of_facts(dict(run.identity))]),
        Section("Rows", [table, *(Prose(word) for word in rows.worst_words(found)), compared]),
    ]
    if exact is not None:
        sections.append(
            Section(f"Profile of {exact.name}", [rows.profiles(found, exact, exact.name)])
        )
    sections += [
        Section("Pulls", [_pulls(run, learned, held)]),
        Section("Draws", [rows.corner(last, held, _telling(run.target, held, exact))]),
        Section("Chains", [Preformatted(chain.report(), "chains", folded=True)]),
        Section("Learned from the density alone", [Prose(learned.status.sentence), health]),
    ]
    tone = "good" if rows.better(found) and learned.status.ok else "bad"
    write_page(
        path, Page(f"HistFactory: {run.target.name}", rows.judgement(found), sections, tone=tone)
    )


def _model(target: Target, exact: Profile | None) -> str:
    density: Any = target.log_density
    bins, fixed = len(density.observed), len(density.fixed)
    poi = "none of interest" if exact is None else f"{exact.name} of interest"
    held = f"; {fixed} fixed" if fixed else ""
    return f"{bins} bins, {target.dim} parameters, {poi}{held}."


def scales(target: Target, x: Floats) -> tuple[Floats, Floats]:
    """Location and scale of each coordinate's prior, ``(dim,)`` each.

    Args:
        target: of the parameters.
        x: draws, ``(n, dim)``, whose mean and spread serve where the prior is flat.
    """
    centre, scale = x.mean(axis=0), x.std(axis=0)
    start = 0
    for p in target.parameters:
        own = slice(start, start := start + p.size)
        if p.prior is not None:
            with jax.enable_x64(True):
                centre[own] = np.ravel(np.broadcast_to(p.prior.mean, p.shape))
                scale[own] = np.ravel(np.broadcast_to(np.sqrt(p.prior.variance), p.shape))
    return centre, scale


def _telling(target: Target, held: Chain, exact: Profile | None) -> list[str]:
    """The scalar parameters of which the counts tell most, that of interest first."""
    x = held.flat()
    shrinkage = x.std(axis=0) / scales(target, x)[1]
    column = {name: i for i, name in enumerate(target.columns)}
    scalar = [p for p in target.parameters if p.shape == ()]
    known = sorted(scalar, key=lambda p: (p.prior is not None, shrinkage[column[p.name]]))
    names = [p.name for p in known]
    if exact is not None:
        names = [exact.name, *(name for name in names if name != exact.name)]
    return names[:_SHOWN] or [target.names[0]]


def _pulls(run: Run, learned: Any, held: Chain) -> Image:
    """Mean and standard deviation of each constrained coordinate, in those of its constraint."""
    target, x = run.target, held.flat()
    centre, scale = scales(target, x)
    flow = target.flatten(learned.named(_DRAWN, seed=run.seed + 2))
    sizes = [(p.prior is not None, p.size) for p in target.parameters]
    kept = np.concatenate([np.full(size, constrained) for constrained, size in sizes])
    names = [name for name, constrained in zip(target.columns, kept, strict=True) if constrained]
    place = np.arange(len(names))
    with style():
        figure = new_figure(6.5, 1.0 + 0.13 * max(4, len(names)))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        axes.axvspan(-1, 1, color="0.92", linewidth=0)
        for shift, draws, label in ((0.15, flow, "flow"), (-0.15, x, "held-out draws")):
            pull = ((draws - centre) / scale)[:, kept]
            axes.errorbar(
                pull.mean(axis=0),
                place + shift,
                xerr=pull.std(axis=0),
                fmt=".",
                markersize=3,
                linewidth=0.8,
                label=label,
            )
        axes.set_yticks(place, names, fontsize=5)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel("(value - mean of the constraint) / its standard deviation", fontsize=8)
        axes.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    words = "Mean and standard deviation after the data; the band is the constraint alone."
    return Image.of(figure, "Pulls of the constrained parameters", words)
