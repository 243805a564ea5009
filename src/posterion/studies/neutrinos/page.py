"""The page of the study: what was found, whether to believe it, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from posterion.core.citations import cite
from posterion.reports import (
    Heading,
    Image,
    Page,
    Picture,
    Preformatted,
    Prose,
    Section,
    Table,
    figure_table,
)
from posterion.reports.posterior import tone_of
from posterion.studies.base import Figure
from posterion.studies.neutrinos import tabulated
from posterion.studies.neutrinos.comparison import Chain
from posterion.studies.neutrinos.derived import WORDS, Derived
from posterion.studies.neutrinos.figures import Measured
from posterion.studies.neutrinos.options import Settings

_CHAIN_CITATIONS = (
    "hoffman2014",
    "cabezas2024",
    "foremanmackey2013",
    "goodman2010",
    "terbraak2006",
)


@dataclass(frozen=True, eq=False)
class Findings:
    """All that the page shows.

    Fields: `settings`; `seed`; `result`, what was saved; by ordering: `main`, the posteriors of the
    first release, `runs` (those of the other methods, by name), `chains` (by key), `derived` (and
    of "both"); `others`, by label and ordering, of further releases; `figures` of metrics.json;
    `pictures` by the names of their files; `notes`.
    """

    settings: Settings
    seed: int
    result: Any
    main: Mapping[str, Measured]
    runs: Mapping[str, Mapping[str, Measured]]
    chains: Mapping[str, Mapping[str, Chain]]
    derived: Mapping[str, Derived]
    others: Mapping[str, Mapping[str, Measured]]
    figures: Mapping[str, Figure]
    pictures: dict[str, Picture] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def release(self) -> str:
        """The number of the first release."""
        return next(iter(self.main.values())).case.tables.release


def study_page(found: Findings) -> Page:
    """The page."""
    sections = [_summary(found)]
    sections += [_ordering(found, ordering) for ordering in found.main]
    sections += [_derived(found)]
    if found.others:
        sections.append(_releases(found))
    sections += [
        _learning(found),
        _worth(found),
        Section(
            "Health", [Preformatted(m.posterior.health.text(100)) for m in found.main.values()]
        ),
        _rests(found),
        Section("All figures", [figure_table(found.figures, tabulated.FIGURES_CAPTION)]),
        *_closing(found),
    ]
    return Page(
        title=f"Neutrino oscillations: the posterior of NuFIT {found.release}",
        lead=_lead(found),
        sections=sections,
        badge=found.result.status.value.replace("_", " "),
        tone=tone_of(found.result.status),
    )


def _lead(found: Findings) -> list[str]:
    lead = [
        "Six parameters of three-neutrino oscillations, learned from the chi-squared tables of a "
        f"global fit as if they were the likelihood. {found.result.status.sentence}"
    ]
    if len(found.main) == 2:
        p = found.figures["both.probability_IO"]
        lead.append(
            f"With equal prior odds the inverted ordering has the probability {p.value:.4f} "
            f"(exactly {p.truth:.4f})."
        )
    return lead


def _image(found: Findings, name: str, alt: str, caption: str) -> Image:
    return Image.of(found.pictures[name], alt, caption)


def _summary(found: Findings) -> Section:
    return Section("Summary", [tabulated.summary(found.figures, tuple(found.main))])


def _ordering(found: Findings, ordering: str) -> Section:
    measured = found.main[ordering]
    word = WORDS[ordering]
    return Section(
        f"{word.capitalize()} ordering",
        [
            tabulated.parameters(measured),
            _image(
                found,
                f"corner-{ordering}",
                f"Corner plot of the {word} ordering",
                "Filled: draws of the flow. Dashed: the exact marginals, by summation over the "
                "tables. Regions hold 68 % and 95 %.",
            ),
            _image(
                found,
                f"profiles-{ordering}",
                f"Delta chi-squared of each parameter, {word} ordering",
                "−2 log of the marginal density over its maximum, of the draws and exactly, beside "
                "NuFIT's own profile. A profile maximises over the other parameters, a marginal "
                "averages over them: where the two differ, volume matters.",
            ),
            tabulated.ranges(measured),
        ],
    )


def _derived(found: Findings) -> Section:
    blocks: list[Any] = [
        Heading("Magnitudes of the leptonic mixing matrix"),
        *(tabulated.mixing(name, one, found.release) for name, one in found.derived.items()),
        Heading("CP violation"),
        tabulated.jarlskog(found.derived),
        _image(found, "jarlskog", "Jarlskog invariant", "Densities of J and of its largest value."),
        Heading("Effective masses"),
        Prose(
            "The lightest mass is unknown: it is no parameter of the posterior, and the plots run "
            "over it. Majorana phases are uniform and independent in the darker bands; the lighter "
            "ones reach over all of them."
        ),
        _image(
            found,
            "masses",
            "Effective masses against the lightest mass",
            "Left: of beta decay, 3-sigma intervals. Right: of neutrinoless double beta decay.",
        ),
        tabulated.lightest(found.derived),
    ]
    return Section("Mixing matrix, CP violation, masses", blocks)


def _releases(found: Findings) -> Section:
    every = {found.release: found.main, **found.others}
    blocks: list[Any] = [tabulated.releases(every)]
    for ordering in found.main:
        name = f"releases-{ordering}"
        text = f"Densities of {WORDS[ordering]} ordering by release"
        blocks.append(_image(found, name, text, f"{text}."))
    return Section("Releases", blocks)


def _learning(found: Findings) -> Section:
    blocks: list[Any] = []
    for ordering in found.main:
        word = WORDS[ordering]
        blocks += [
            _image(
                found,
                f"training-{ordering}",
                f"Loss and ESS against step, {word} ordering",
                f"{word.capitalize()} ordering: loss and effective sample size of the batches, one "
                "point a segment. The lower axis is drawn by the distance from one.",
            )
        ]
    return Section("Learning", blocks)


def _worth(found: Findings) -> Section:
    blocks: list[Any] = [Prose(tabulated.WORTH), *(Prose(note) for note in found.notes)]
    for ordering in found.main:
        name = f"effective-{ordering}"
        word = WORDS[ordering]
        blocks += [
            _image(
                found,
                name,
                f"Effective draws against draws, {word} ordering",
                f"{word.capitalize()} ordering. Left: the figure of the INT poster, effective "
                "draws against draws. Right: against density calls, learning included.",
            ),
            tabulated.costs(
                ordering,
                found.main[ordering],
                found.runs.get(ordering, {}),
                found.chains.get(ordering, {}),
                found.figures,
            ),
        ]
    return Section("What the draws are worth", blocks)


def _health(found: Findings) -> Section:
    reports = [measured.posterior.health.text(100) for measured in found.main.values()]
    return Section("Health", [Preformatted(report) for report in reports])


def _rests(found: Findings) -> Section:
    return Section(
        "What the findings rest on",
        [
            *(Prose(text) for text in tabulated.measure_texts(found.main)),
            tabulated.other_measures(found.main),
            Prose(tabulated.neglect_text(found.main, found.settings.theta13_theta23)),
        ],
    )


def _closing(found: Findings) -> Sequence[Section]:
    result = found.result
    facts = {**asdict(found.settings), "seed": found.seed}
    keys = (*result.citations, *(_CHAIN_CITATIONS if found.chains else ()))
    said = Prose("If you use this result, please cite what it rests on:")
    return [
        Section(
            "Settings",
            [
                Table.of_facts(facts, "Of the study."),
                Table.of_facts(result.settings, "Of the learning."),
            ],
        ),
        Section("Provenance", [Table.of_facts(result.provenance)]),
        Section("Versions", [Table.of_facts(result.versions)]),
        Section("Citations", [said, Preformatted(cite(dict.fromkeys(keys)))]),
    ]
