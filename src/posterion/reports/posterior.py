"""The page and the corner plot of a learned posterior."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from posterion.bundles import metric_rows, publication_facts
from posterion.core.citations import cite
from posterion.core.estimate import Estimate
from posterion.core.summary import Summary, number_texts, summarise
from posterion.reports.blocks import Block, Image, Preformatted, Prose, Section, Table
from posterion.reports.corner import LIMIT, corner_plot
from posterion.reports.curves import Sampler, break_even, effective_samples_plot, training_plot
from posterion.reports.layers import Layer, Truth
from posterion.reports.page import Page, write_page
from posterion.reports.panels import panel_plot
from posterion.reports.style import Picture

__all__ = [
    "closing_sections",
    "corner",
    "figure_table",
    "posterior_page",
    "posterior_sections",
    "report",
    "summary_table",
    "tone_of",
]

_PANELS = 30
_FIELDS = ("value", "truth", "published", "floor", "source")


def corner(
    result: Any,
    *,
    names: str | Iterable[str] | None = None,
    n: int = 100_000,
    seed: int = 0,
    weighted: bool = False,
    truth: Truth | Mapping[str, Any] | None = None,
    **options: Any,
) -> Picture:
    """The corner plot of a result's draws: ``result.corner()``.

    Args:
        result: with ``draw`` and ``parameters``.
        names: of parameters or of their elements; all by default.
        n: number of draws.
        seed: of the draws.
        weighted: correct by importance weights; needs the density.
        truth: exact densities: a `Truth`, or name to ``(x, density)``.
        options: as `posterion.reports.corner_plot`: ``truth2``, ``levels``, ``limit``, ``title``.
    """
    exact = truth if isinstance(truth, Truth) or truth is None else Truth(truth)
    layer = Layer.of(result, names=names, n=n, seed=seed, weighted=weighted, truth=exact)
    return corner_plot(layer, **options)


def report(result: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write the page of a result: ``result.report("report.html")``.

    Args:
        result: as for `posterior_page`.
        path: the file to write.
        options: as `posterior_page`.

    Raises:
        OutputError: the file could not be written; what was there before is still there.
    """
    write_page(path, posterior_page(result, **options))


def posterior_page(
    result: Any,
    *,
    truth: Truth | None = None,
    figures: Mapping[str, Any] | None = None,
    samplers: Sequence[Sampler] = (),
    chains: Sequence[Layer] = (),
    extra_sections: Sequence[Section] = (),
    title: str | None = None,
    n: int = 100_000,
    seed: int = 0,
) -> Page:
    """The page of any posterior: what it is, whether to believe it, how it came about.

    Args:
        result: a posterior; with its density at hand the page also shows what its draws are worth.
        truth: exact densities, drawn over the draws and listed beside them.
        figures: numbers by name, each a value or a thing with ``value``, ``truth``, ``published``,
            ``floor``, ``source`` (such as `posterion.studies.Figure`).
        samplers: for the figure of effective draws: the flow first, then chains. By default the
            flow alone, from its weights, where the density is at hand.
        chains: draws from elsewhere, drawn over the flow's.
        extra_sections: a study's own, after the posterior.
        title: of the page.
        n: number of draws shown.
        seed: of the draws.
    """
    sections = posterior_sections(
        result, truth=truth, samplers=samplers, chains=chains, n=n, seed=seed
    )
    if figures:
        numbers = figure_table(figures, "What came out, beside what it is measured against.")
        sections.insert(1, Section("Figures", [numbers]))
    return Page(
        title=title or f"Posterior of {result.name}",
        lead=[result.status.sentence],
        sections=[*sections, *extra_sections, *closing_sections(result)],
        badge=result.status.value.replace("_", " "),
        tone=tone_of(result.status),
    )


def posterior_sections(
    result: Any,
    *,
    truth: Truth | None = None,
    samplers: Sequence[Sampler] = (),
    chains: Sequence[Layer] = (),
    prefix: str = "",
    n: int = 100_000,
    seed: int = 0,
) -> list[Section]:
    """Health, posterior, learning and worth of the draws; arguments as for `posterior_page`.

    ``prefix`` stands before each section's title, for pages of several results.
    """
    layer = Layer.of(result, label="flow", n=n, seed=seed, truth=truth)
    sections = [
        Section(f"{prefix}Health", [Preformatted(result.health.text(100))]),
        Section(f"{prefix}Posterior", _posterior_blocks(result, layer, truth, chains)),
    ]
    learning = _learning_blocks(result)
    if learning:
        sections.append(Section(f"{prefix}Learning", learning))
    worth = _worth_blocks(result, samplers, n, seed)
    if worth:
        sections.append(Section(f"{prefix}What the draws are worth", worth))
    return sections


def closing_sections(result: Any, *, prefix: str = "") -> list[Section]:
    """Publication, settings, versions, provenance and citations of a result."""
    sections = []
    publication = result.publication
    if publication:
        sections.append(Section(f"{prefix}Publication", _publication_blocks(result)))
    origin = {k: v for k, v in result.provenance.items() if k != "publication"}
    for name, facts in (
        ("Settings", result.settings),
        ("Provenance", origin),
        ("Versions", result.versions),
    ):
        if facts:
            sections.append(Section(f"{prefix}{name}", [Table.of_facts(facts)]))
    if result.citations:
        said = Prose("If you use this result, please cite what it rests on:")
        sections.append(Section(f"{prefix}Citations", [said, Preformatted(cite(result))]))
    return sections


def _publication_blocks(result: Any) -> list[Block]:
    publication = result.publication
    roles = {p.name: role for p in result.parameters if (role := getattr(p, "role", None))}
    facts = publication_facts(publication)
    facts |= {"licence": result.provenance["licence"]} if "licence" in result.provenance else {}
    if interest := [name for name, role in roles.items() if role == "poi"]:
        facts["of interest"] = interest
    blocks: list[Block] = [Table.of_facts(facts)]
    head, *rows = metric_rows(publication.get("metrics") or {})
    if rows:
        blocks.append(Table(head, rows, "Draws beside samples of the truth, each metric's floor."))
    if publication.get("citation"):
        blocks += [Prose("Please cite the analysis:"), Preformatted(publication["citation"])]
    return blocks


def summary_table(summary: Summary, truth: Truth | None = None, caption: str = "") -> Table:
    """Means, spreads and intervals, beside those of exact densities where there are any."""
    head, *rows = summary.rows()
    exact = [truth.moments(column) if truth else None for column in summary.columns]
    shown = any(moments is not None for moments in exact)
    heads = [*head[:4], *(("exact mean", "exact sd") if shown else ()), *head[4:]]
    cells: list[list[Any]] = []
    for row, moments, sd in zip(rows, exact, summary.sd, strict=True):
        beside = [None, None] if moments is None else [number_texts([m], sd)[0] for m in moments]
        cells.append([*row[:4], *(beside if shown else ()), *row[4:]])
    return Table(heads, cells, caption)


def figure_table(figures: Mapping[str, Any], caption: str = "") -> Table:
    """Figures as a table: ours beside truth, published and floor; empty columns are left out.

    Args:
        figures: by name; a value, a mapping, or a thing with those attributes.
        caption: above the table.
    """
    rows = []
    for name, figure in figures.items():
        if isinstance(figure, Mapping):
            rows.append([name, *(figure.get(key) for key in _FIELDS)])
        elif hasattr(figure, "value") and not isinstance(figure, Estimate):
            rows.append([name, *(getattr(figure, key, None) for key in _FIELDS)])
        else:
            rows.append([name, figure, *[None] * (len(_FIELDS) - 1)])
    heads = ["figure", "ours", "exact", "published", "floor", "source"]
    kept = [k for k in range(len(heads)) if k < 2 or any(row[k] not in (None, "") for row in rows)]
    return Table([heads[k] for k in kept], [[row[k] for k in kept] for row in rows], caption)


def tone_of(status: Any) -> Literal["good", "warn", "bad"]:
    """The badge's tone: good, warn where the draws may still serve with care, bad where not."""
    if status.ok:
        return "good"
    careful = ("unwitnessed", "budget_exhausted", "interrupted", "not_checked", "undertrained")
    careful = (*careful, "overconfident", "chains_disagree", "unproven", "unfaithful")
    return "warn" if status.value in careful else "bad"


def _posterior_blocks(
    result: Any, layer: Layer, truth: Truth | None, chains: Sequence[Layer]
) -> list[Block]:
    count = f"{len(layer.x):,}".replace(",", "\N{NO-BREAK SPACE}")
    summary = summarise(layer.columns, layer.x, layer.weights)
    caption = (
        f"{count} independent draws of the flow. Intervals: equal tails, and the shortest (HPD)"
    )
    if any(column.periodic for column in layer.columns):
        caption += ". On a circle the mean is a direction, and an end may pass the cut"
    evidence = getattr(result, "log_evidence", None)
    blocks: list[Block] = [
        *([] if evidence is None else [Prose(f"Log evidence: {evidence}.")]),
        summary_table(summary, truth, f"{caption}."),
    ]
    layers = [layer, *chains]
    dashed = " Dashed: exact." if truth else ""
    if len(layer.columns) > 1:
        hidden = len(layer.columns) > LIMIT
        first = f" The first {LIMIT} of {len(layer.columns)} columns." if hidden else ""
        blocks.append(
            Image.of(
                corner_plot(layers),
                f"Corner plot of {result.name}",
                f"Densities of each column and regions of each pair that hold 68 % and 95 % of the "
                f"draws.{dashed}{first}",
            )
        )
    names = [column.name for column in layer.columns[:_PANELS]]
    known = [name for name in names if truth is not None and truth.curve(name) is not None]
    blocks.append(
        Image.of(
            panel_plot(layers, names=known or names),
            f"Densities of {result.name}",
            f"Each column by itself.{dashed}",
        )
    )
    return blocks


def _learning_blocks(result: Any) -> list[Block]:
    history = {k: v for k, v in dict(result.history or {}).items() if len(v) > 0}
    if not {"step", "epoch"} & set(history) or not {"loss", "ess"} & set(history):
        return []
    if "phase" in history:
        return _phases(history)
    picture = training_plot(history)
    if "epoch" not in history and "ess" not in history:
        caption = "Mean loss of a segment of steps, one point a segment."
        return [Image.of(picture, "Loss against step", caption)]
    if "ess" not in history:
        caption = "Loss of the training rows and, dashed, of the held-out ones, one point an epoch."
        return [Image.of(picture, "Loss against epoch", caption)]
    caption = (
        "Loss and effective sample size of the batches, one point a segment. The lower axis is "
        "drawn by the distance from one."
    )
    return [Image.of(picture, "Loss and ESS against step", caption)]


def _phases(history: dict[str, Any]) -> list[Block]:
    """The curve of each loss of a flow on a surface by itself."""
    said = (
        "First phase: mean squared distance of the training rows and, dashed, of the held-out ones "
        "from the surface, coordinates in units of their spread, one point an epoch.",
        "Second phase: minus the mean log-density on the surface of the same rows.",
    )
    phase = np.asarray(history["phase"])
    first = np.array([np.argmax(phase == k) for k in phase])
    history = history | {"epoch": np.arange(len(phase)) - first + 1.0}
    return [
        Image.of(
            training_plot({name: np.asarray(y)[phase == k] for name, y in history.items()}),
            f"Loss of phase {k} against epoch",
            caption,
        )
        for k, caption in enumerate(said, 1)
        if np.any(phase == k)
    ]


def _worth_blocks(result: Any, samplers: Sequence[Sampler], n: int, seed: int) -> list[Block]:
    shown = list(samplers)
    if not shown and result.has_density:
        weights = result.importance_sample(n, seed=seed).log_weights
        shown.append(Sampler.of_weights("flow", weights))
    if not shown:
        return []
    picture = effective_samples_plot(shown, cost="calls" if len(shown) > 1 else None)
    caption = (
        "Effective draws against draws: of a flow by its importance weights, of a chain by its "
        "autocorrelation length."
    )
    blocks: list[Block] = [Image.of(picture, "Effective draws against draws", caption)]
    for other in shown[1:]:
        beyond = [(kind, break_even(shown[0], other, kind)) for kind in ("calls", "seconds")]
        said = [f"{b:,.0f} by {k}".replace(",", " ") for k, b in beyond if math.isfinite(b)]
        if said:
            blocks.append(
                Prose(
                    f"{shown[0].label} is cheaper than {other.label}, learning included, beyond "
                    f"{' and '.join(said)} effective draws."
                )
            )
    return blocks
