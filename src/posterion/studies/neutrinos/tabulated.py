"""The tables and the sentences of the study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posterion.core.columns import columns_of
from posterion.core.summary import summarise
from posterion.reports import Table, Truth, summary_table
from posterion.studies.base import Figure
from posterion.studies.neutrinos import physics
from posterion.studies.neutrinos.blocks import NAMES
from posterion.studies.neutrinos.comparison import Chain
from posterion.studies.neutrinos.derived import WORDS, Derived
from posterion.studies.neutrinos.figures import Measured, ranges_of
from posterion.studies.neutrinos.published import PUBLISHED_MIXING, PUBLISHED_RANGES

FIGURES_CAPTION = "As in metrics.json. Floor: what perfect draws of this number would give."
WORTH = (
    "A draw of the flow is worth ESS/N effective ones by its importance weights, each of which "
    "costs one density call; a draw of a Markov chain is worth one over its autocorrelation "
    "length. Learning counts scouting and health with it, and compiling in seconds. The walkers of "
    "emcee start at draws of the posterior and pay nothing for their burn-in; delta_CP is cut for "
    "them where it is least probable."
)
_ROWS = (
    ("ESS/N", "ess_fraction", ".5f"),
    ("log evidence", "log_evidence", ".5f"),
    ("autocorrelation of the exact chain", "autocorrelation", ".3f"),
    ("largest Jensen-Shannon divergence", "js_max", ".2e"),
    ("P(sin² θ₂₃ > 1/2)", "upper_octant_probability", ".4f"),
    ("density calls of learning", "density_calls", ",.0f"),
    ("seconds of learning", "learn_seconds", ".1f"),
    ("seconds of compiling", "compile_seconds", ".1f"),
    ("draws per second", "draws_per_second", ",.0f"),
)


def summary(figures: Mapping[str, Figure], orderings: Sequence[str]) -> Table:
    """The main figures, orderings side by side, ours beside exact and floor."""
    heads, rows = [""], []
    for ordering in orderings:
        heads += [ordering, f"{ordering} exact", f"{ordering} floor"]
    for text, key, form in _ROWS:
        row = [text]
        for ordering in orderings:
            figure = figures[f"{ordering}.{key}"]
            row += [_shown(getattr(figure, k), form) for k in ("value", "truth", "floor")]
        rows.append(row)
    return Table(heads, rows, "Ours beside the exact value and what perfect draws would give.")


def parameters(measured: Measured) -> Table:
    """Means, spreads and intervals beside the exact ones."""
    marginals = {n: (m.x, m.density) for n, m in measured.case.truth.marginals.items()}
    columns = columns_of(measured.posterior.parameters)
    x = np.stack([measured.draws[name] for name in NAMES], axis=1)
    count = f"{len(x):,}".replace(",", "\N{NO-BREAK SPACE}")
    caption = (
        f"{count} independent draws of the flow, beside the exact posterior. Intervals: equal "
        "tails, and the shortest (HPD). On the circle of delta_CP the mean is a direction, and an "
        "end may pass the cut."
    )
    return summary_table(summarise(columns, x), Truth(marginals), caption)


def ranges(measured: Measured) -> Table:
    """3-sigma intervals of the draws beside the ranges at Delta chi2 = 9."""
    case = measured.case
    published = PUBLISHED_RANGES.get(case.tables.release, {}).get(case.ordering, {})
    profile = ranges_of(case)
    rows = []
    for parameter in measured.posterior.parameters:
        name = parameter.name
        low, high = _three_sigma(measured, name)
        theirs = published.get(name)
        rows.append(
            [
                f"{name} [{parameter.unit}]" if parameter.unit else name,
                _span(name, low, high),
                _span(name, *profile[name]) if name in profile else None,
                None if theirs is None else _span(name, *theirs[1:]),
                None if theirs is None else _number(name, theirs[0]),
            ]
        )
    heads = ["", "3σ of the draws", "Δχ² = 9, tables", "3σ, published", "best fit, published"]
    return Table(
        heads,
        rows,
        "Central intervals of 99.73 % of the draws, beside where NuFIT's own profile is below 9 "
        "and the published ranges (www.nu-fit.org). delta_CP in 0 to 360 degrees.",
    )


def mixing(name: str, derived: Derived, release: str) -> Table:
    """|U|: 3-sigma intervals of the draws, ranges at Delta chi2 = 9, published ones."""
    draws = physics.interval(derived.magnitudes)
    profile = derived.ranges["magnitudes"]
    published = PUBLISHED_MIXING.get(release) if name == "both" else None
    rows = []
    for i, flavour in enumerate(("e", "μ", "τ")):
        for k in range(3):
            theirs = None if published is None else published[i, k]
            rows.append(
                [
                    f"|U_{flavour}{k + 1}|",
                    f"{np.median(derived.magnitudes[:, i, k]):.4f}",
                    _ends(draws[:, i, k]),
                    _ends(profile[:, i, k]),
                    None if theirs is None else _ends(theirs, 3),
                ]
            )
    heads = ["", "median", "3σ of the draws", "Δχ² = 9, tables", "3σ, published"]
    if published is None:
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    said = "Both orderings." if name == "both" else f"{WORDS[name].capitalize()} ordering."
    return Table(heads, rows, said)


def jarlskog(derived: Mapping[str, Derived]) -> Table:
    """J and its largest value: moments and intervals of draws beside Delta chi2 = 9."""
    rows = []
    for name, one in derived.items():
        pairs = (("J", one.jarlskog, "jarlskog"), ("J_max", one.jarlskog_max, "jarlskog_max"))
        for symbol, x, key in pairs:
            low, median, high = np.quantile(x, [0.16, 0.5, 0.84])
            rows.append(
                [
                    f"{symbol}, {'both orderings' if name == 'both' else WORDS[name]}",
                    f"{median:.5f}",
                    f"[{low:.5f}, {high:.5f}]",
                    _ends(physics.interval(x), 5),
                    _ends(one.ranges[key], 5),
                ]
            )
    return Table(["", "median", "68 % of the draws", "3σ of the draws", "Δχ² = 9, tables"], rows)


def lightest(derived: Mapping[str, Derived]) -> Table:
    """The effective masses at some lightest masses, in meV."""
    rows = []
    for name, one in derived.items():
        for wanted in (1e-4, 1e-2, 1e-1) if one.against else ():
            k = int(np.argmin(np.abs(np.log(one.lightest / wanted))))
            rows.append(
                [
                    f"{WORDS[name]}, {1e3 * one.lightest[k]:.3g} meV",
                    *(_ends(1e3 * one.against[key][:, k], 2) for key in one.against),
                ]
            )
    heads = ["lightest mass", "m_β [meV]", "m_ββ [meV], phases uniform", "m_ββ [meV], all phases"]
    return Table(heads, rows, "3-sigma intervals.")


def releases(every: Mapping[str, Mapping[str, Measured]]) -> Table:
    """Means, spreads, octant and offset of several releases."""
    heads = ["release", *NAMES, "P(sin² θ₂₃ > 1/2)", "χ² above the other ordering"]
    rows = []
    for label, orderings in every.items():
        for ordering, measured in orderings.items():
            truth = measured.case.truth
            rows.append(
                [
                    f"{label} {ordering}",
                    *(f"{truth.mean[n]:.5g} ± {truth.sd[n]:.2g}" for n in NAMES),
                    f"{measured.upper_octant:.4f}",
                    f"{measured.case.tables.offset:.3f}",
                ]
            )
    return Table(heads, rows, "Exact means and standard deviations; octant from the draws.")


def costs(
    ordering: str,
    main: Measured,
    runs: Mapping[str, Measured],
    chains: Mapping[str, Chain],
    figures: Mapping[str, Figure],
) -> Table:
    """What a draw is worth and costs, flows beside chains."""
    rows: list[list[Any]] = []
    flows = {"flow": main, **{_RUNS.get(k, k): v for k, v in runs.items()}}
    for label, measured in flows.items():
        sampler = measured.sampler(label)
        rows.append(
            [
                label,
                f"{sampler.efficiency:.5f}",
                f"{measured.chain.autocorrelation.value:.3f}",
                _shown(measured.posterior.health.calls.get("learning", 0), ",d"),
                _shown(measured.learning_calls, ",d"),
                f"{measured.learning_seconds:.1f}",
                f"{sampler.efficiency:.4f}",
                _shown(sampler.efficiency / measured.seconds_per_weight, ",.0f"),
                None,
                None,
            ]
        )
    for key, chain in chains.items():
        beyond = [figures[f"{ordering}.break_even.{key}_{k}"].value for k in ("calls", "seconds")]
        rows.append(
            [
                chain.label,
                f"{chain.effective / chain.count:.5f}",
                f"{chain.autocorrelation:.1f}",
                None,
                _shown(chain.warmup_calls, ",d"),
                f"{chain.warmup_seconds:.1f}",
                f"{chain.effective / chain.calls:.4f}",
                _shown(chain.effective / chain.seconds, ",.0f"),
                *(_shown(b, ",.0f") if np.isfinite(b) else "never" for b in beyond),
            ]
        )
    heads = [
        "",
        "effective per draw",
        "autocorrelation",
        "calls of learning",
        "calls before the first draw",
        "seconds before it",
        "effective draws per call",
        "and per second",
        "flow cheaper beyond, by calls",
        "by seconds",
    ]
    return Table(heads, rows, f"{WORDS[ordering].capitalize()} ordering.")


_RUNS = {"poster": "flow, the poster's recipe", "budget": "flow, small budget"}


def measure_texts(main: Mapping[str, Measured]) -> list[str]:
    """What is flat, and which findings rest on it."""
    measured = next(iter(main.values()))
    listed = ", ".join(
        f"{p.name} [{p.unit}]" if p.unit else p.name for p in measured.posterior.parameters
    )
    return [
        f"The measure is flat in {listed}, in the box that the tables cover; the evidence is per "
        "unit of these. NuFIT's tables are profiles of its likelihood over what they do not show; "
        "here they stand for the likelihood.",
        "On the flat measure rest: means, intervals and correlations of draws, the probability of "
        "the octant, the evidence of each ordering and with it P(IO), and the intervals of "
        "everything derived. On no measure rest: the ranges at Delta chi2 = 9. P(IO) compares the "
        "orderings at equal prior density per unit, in boxes of equal size but for the sign of the "
        "large splitting.",
    ]


def other_measures(main: Mapping[str, Measured]) -> Table:
    """P(upper octant) under other measures, by reweighting the draws."""
    rows = []
    for ordering, measured in main.items():
        s23, s13, s12 = (measured.draws[f"sin2_theta{p}"] for p in ("23", "13", "12"))
        solar = 10 ** measured.draws["log10_Dm2_21"]
        weights = {
            "flat in the six parameters": np.ones_like(s23),
            "flat in the angles θ": 1 / np.sqrt(np.prod([s * (1 - s) for s in (s12, s13, s23)], 0)),
            "Haar's (sin² θ₁₂, cos⁴ θ₁₃, sin² θ₂₃, δ)": 1 - s13,
            "flat in Δm²₂₁": solar,
        }
        for text, w in weights.items():
            share = w / w.sum()
            rows.append(
                [
                    f"{ordering}: {text}",
                    f"{share[s23 > 0.5].sum():.4f}",
                    f"{share @ s23:.5f}",
                    f"{share @ s12:.5f}",
                    f"{share @ s13:.6f}",
                ]
            )
    heads = ["", "P(sin² θ₂₃ > 1/2)", "mean sin² θ₂₃", "mean sin² θ₁₂", "mean sin² θ₁₃"]
    return Table(heads, rows, "The same draws, reweighted to other measures.")


def neglect_text(main: Mapping[str, Measured], coupled: bool) -> str:
    """What the sum of three tables leaves out."""
    if coupled:
        return (
            "Beside the three terms (theta23, the large splitting, delta_CP), (theta12, the small "
            "splitting) and (theta13) the target holds the term that couples theta13 and theta23."
        )
    return (
        "The target is the sum of three tables: (theta23, the large splitting, delta_CP), "
        "(theta12, the small splitting), and theta13. It neglects what couples theta13 to the "
        "others: the tables of release 5.3 show a correlation of theta13 and theta23 of about "
        "-0.16 (normal ordering) and -0.21 (inverted); --theta13-theta23 adds that term. What "
        "couples the small splitting and theta12 to the others is below 0.07 in chi-squared there."
    )


def _three_sigma(measured: Measured, name: str) -> tuple[float, float]:
    x = measured.draws[name]
    if name == "delta_CP":
        marginal = measured.case.truth.marginals[name]
        cut = float(marginal.x[np.argmin(marginal.density)])
        x = (x - cut) % 360.0 + cut
    low, high = physics.interval(x)
    return float(low), float(high)


def _number(name: str, value: float) -> str:
    if name == "delta_CP":
        return f"{value % 360:.0f}"
    return f"{value:.5f}" if name == "sin2_theta13" else f"{value:.4f}"


def _span(name: str, low: float, high: float) -> str:
    return f"[{_number(name, low)}, {_number(name, high)}]"


def _ends(ends: np.ndarray, digits: int = 4) -> str:
    low, high = (f"{x:.{digits}f}" if np.isfinite(x) else "?" for x in ends)
    return f"[{low}, {high}]"


def _shown(value: Any, form: str) -> str | None:
    if value is None:
        return None
    if value == 0:
        return "0"
    return format(value, form).replace(",", "\N{NO-BREAK SPACE}")
