"""The words, the figures and the page of the study."""

from collections.abc import Mapping, Sequence
from typing import Any

from posterion.core.estimate import Estimate
from posterion.reports import Page, Preformatted, Prose, Section, Table
from posterion.reports.blocks import Block
from posterion.studies.base import Figure
from posterion.studies.jets.kinematics import NAMES
from posterion.studies.jets.learning import WORDS
from posterion.studies.jets.measuring import SHARP, Direction, Measured
from posterion.studies.jets.pictures import cube, marginals, transforms
from posterion.studies.jets.tables import Pairs
from posterion.studies.likelihoods.rows import aligned

__all__ = ["chain_rate", "figures_of", "page", "text"]

_ALPHA = 0.01
_AUC = "area under the curve of a classifier between drawn and true jets; 0.5 is truth"


def chain_rate(pairs: Pairs) -> float | None:
    """Jets a second of Pythia, one response and FastJet on both; ``None`` where none ran."""
    costs = pairs.costs
    if not costs:
        return None
    # Events were clustered three times, and responded to twice: once is for the floor.
    each = costs["Pythia"] + costs["response"] / 2 + costs["FastJet"] * 2 / 3
    return 1e3 * costs["pairs an event"] / each


def figures_of(pairs: Pairs, directions: Sequence[Direction]) -> dict[str, Figure]:
    """Every number of every model, beside truth against truth."""
    figures = {"pairs": Figure(len(pairs.gen))}
    rate = chain_rate(pairs)
    for name, value in pairs.costs.items():
        key = "pairs_an_event" if name == "pairs an event" else f"{name.lower()}_ms_an_event"
        figures[f"chain.{key}"] = Figure(value)
    if rate is not None:
        figures["chain.jets_a_second"] = Figure(rate)
    for direction in directions:
        task = direction.task
        planted, floor = direction.judge.planted, direction.judge.floor
        figures[f"{task.name}.planted_shift.auc"] = Figure(planted.value)
        figures[f"{task.name}.planted_shift.auc.error"] = Figure(planted.error)
        figures[f"{task.name}.test_jets"] = Figure(len(task.test[0]))
        for row in direction.rows:
            key = f"{task.name}.{row.learned.model}"
            figures[f"{key}.auc"] = Figure(
                row.auc.value, truth=0.5, floor=None if floor is None else floor.value, source=_AUC
            )
            figures[f"{key}.auc.error"] = Figure(row.auc.error)
            for name, value in row.figures.items():
                figures[f"{key}.{name}"] = Figure(value, floor=row.floors.get(name))
            figures[f"{key}.seconds"] = Figure(row.learned.seconds)
            if rate is not None:
                figures[f"{key}.faster_than_chain"] = Figure(row.figures["jets_a_second"] / rate)
    return figures


def text(pairs: Pairs, directions: Sequence[Direction]) -> str:
    """For the terminal."""
    parts = [_source(pairs)]
    for direction in directions:
        parts.append(f"\n{_TITLES[direction.task.name]}")
        parts.append(aligned(*_table(direction)))
        parts.append(_judged(direction))
        parts.append(_verdict(direction))
    parts.append(_speeds(pairs, directions))
    return "\n".join(parts)


def page(pairs: Pairs, directions: Sequence[Direction]) -> Page:
    """The page of the study."""
    sections = [Section("Jets", [Prose(_source(pairs)), Prose(_about(pairs)), *_costs(pairs)])]
    for direction in directions:
        blocks: list[Block] = [Table(*_table(direction)), Prose(_judged(direction))]
        blocks += [marginals(direction)]
        if (inside := cube(direction)) is not None:
            blocks.append(inside)
        blocks.append(transforms(direction))
        for row in direction.rows:
            name = f"health of {row.learned.model}"
            blocks.append(Preformatted(row.learned.fit.health.text(100), name, folded=True))
        title, good = _TITLES[direction.task.name], _uniform(direction) > _ALPHA
        badge = "transforms uniform" if good else "transforms not uniform"
        sections.append(Section(title, blocks, badge, "good" if good else "bad"))
    sections.append(Section("Speed", [Prose(_speeds(pairs, directions))]))
    good = all(_uniform(d) > _ALPHA and d.valid for d in directions)
    lead = [f"{_TITLES[d.task.name]}: {_verdict(d)}" for d in directions]
    return Page("What a detector makes of a jet", lead, sections, tone="good" if good else "warn")


def _uniform(direction: Direction) -> float:
    """Whether transforms of the first model are uniform: the least p-value times their number."""
    figures = direction.rows[0].figures
    return min(1.0, len(NAMES) * min(figures[f"pit.{name}.ks_p"] for name in NAMES))


def _verdict(direction: Direction) -> str:
    """Of the first model, by jets that it never saw."""
    row, p = direction.rows[0], _uniform(direction)
    said = f"{WORDS[row.learned.model]}: transforms of {len(row.levels)} jets that it never saw are"
    if p > _ALPHA:
        return f"{said} uniform (KS, p = {p:.2g}): use it, as far as that many jets can tell."
    return (
        f"{said} not uniform (KS, p = {p:.2g}): train it longer or on more jets, and trust it no "
        "further than the ratios show."
    )


def _table(direction: Direction) -> tuple[list[str], list[list[Any]]]:
    heads = [
        "model",
        "AUC",
        *(f"largest error of a ratio, {name}, %" for name in NAMES),
        *(f"PIT, KS p, {name}" for name in NAMES),
        *(f"cube, KS p, {name}" for name in NAMES),
        "mean log-density",
        "jets/s",
        "seconds of fit",
    ]
    lines: list[list[Any]] = []
    for row in direction.rows:
        rate, seconds = row.figures["jets_a_second"], row.learned.seconds
        last = [f"{row.figures['log_prob']:.3f}", f"{rate:.3g}", f"{seconds:.0f}"]
        lines.append([row.learned.model, _auc(row.auc), *_cells(row.figures), *last])
    if (floor := direction.judge.floor) is not None:
        cells = _cells(direction.rows[0].floors)
        lines.append(["truth against truth", _auc(floor), *cells, "", "", ""])
    # One line a figure: a row of so many columns fits on no page.
    turned = [[head, *(line[i + 1] for line in lines)] for i, head in enumerate(heads[1:])]
    kept = [line for line in turned if any(line[1:])]
    return [heads[0], *(line[0] for line in lines)], kept


def _cells(figures: Mapping[str, float]) -> list[str]:
    def shown(key: str, form: str, factor: float = 1.0) -> str:
        return form.format(factor * figures[key]) if key in figures else ""

    return [
        *(shown(f"marginal.{name}.largest", "{:.2f}", 100.0) for name in NAMES),
        *(shown(f"pit.{name}.ks_p", "{:.3g}") for name in NAMES),
        *(shown(f"cube.{name}.ks_p", "{:.3g}") for name in NAMES),
    ]


def _auc(found: Estimate) -> str:
    return f"{found.value:.4f} \N{PLUS-MINUS SIGN} {found.error:.4f}"


def _judged(direction: Direction) -> str:
    planted = _auc(direction.judge.planted)
    said = (
        "AUC is that of a classifier that sees the pulls of drawn and true jets beside the jet "
        f"that they are given. On energies scaled by 2 % it reaches {planted}"
    )
    if not direction.valid:
        return f"{said}, less than {SHARP}: it is too blunt to judge, and the row of AUC is void."
    return f"{said}."


def _source(pairs: Pairs) -> str:
    count = f"{len(pairs.gen):,}".replace(",", " ")
    said = f"{count} pairs of jets from {pairs.source}"
    return f"{said} ({'; '.join(pairs.notes)})." if pairs.notes else f"{said}."


def _about(pairs: Pairs) -> str:
    if not pairs.cut:
        return _PRIOR
    return (_STAND_IN if pairs.stand_in else _EVENTS) + _PRIOR + _WINDOW


def _costs(pairs: Pairs) -> list[Block]:
    if not pairs.costs:
        return []
    rows = [
        [name, value, "ms an event" if name != "pairs an event" else ""]
        for name, value in ((n, round(v, 3)) for n, v in pairs.costs.items())
    ]
    return [Table(["of the simulation", "cost", ""], rows, "Three clusterings and two responses.")]


def _speeds(pairs: Pairs, directions: Sequence[Direction]) -> str:
    best: Measured = max(directions[0].rows, key=lambda row: row.figures["jets_a_second"])
    rate = best.figures["jets_a_second"]
    said = f"{WORDS[best.learned.model].capitalize()} gives {rate:.2g} jets a second"
    chain = chain_rate(pairs)
    if chain is None:
        return f"{said}; no simulation ran to compare with."
    return (
        f"{said}, Pythia, response and FastJet {chain:.3g} on one core: {rate / chain:.0f} times."
    )


_TITLES = {
    "simulation": "Simulation, p(reco | gen)",
    "correction": "Correction, p(gen | reco)",
}
_PRIOR = (
    "The response p(reco | gen) does not depend on the spectrum of the jets that are given. The "
    "correction p(gen | reco) does: the spectrum of the table is its prior, and where the jets in "
    "question fall more steeply it is not theirs."
)
_EVENTS = (
    "Events of QCD at 13 TeV are generated with a bias of pT^4, so that jets (anti-kt, R = 0.4) "
    "are about as many in each interval of log pT, and have no weights. The detector measures each "
    "stable particle for itself: charged ones by a tracker, others by calorimeters of the "
    "resolution a/sqrt(E) + b/E + c. "
)
_STAND_IN = (
    "No event was simulated: spectra like those of QCD and a response in closed form, with tails "
    "that depend on pT and eta, stand for Pythia, FastJet and the detector. "
)
_WINDOW = (
    " Jets that are given are within 20 < pT < 500 GeV and |eta| < 2.5; those that find no partner "
    "within 0.2 are left out."
)
