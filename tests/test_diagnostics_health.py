"""The health report: golden files of its print, and verdicts that must be right.

``POSTERION_GOLDEN=write pytest tests/test_diagnostics_health.py`` writes the golden files anew;
read them before they are committed.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posterion.core.errors import BundleError, SettingError
from posterion.core.estimate import Estimate
from posterion.core.registry import from_tree, to_tree
from posterion.core.status import Status
from posterion.diagnostics import (
    CrossChains,
    Divergences,
    EnergyDistance,
    ExactChain,
    ExactSampleEss,
    Findings,
    Health,
    NonFinite,
    Thresholds,
    WeightReport,
    assess,
    compare_modes,
    weigh,
)

GOLDEN = Path(__file__).parent / "golden"

GOOD = Findings(
    name="banana",
    weights=WeightReport(
        Estimate(0.99931, 0.00012), 0.18, 4.1e-5, Estimate(-1.57583, 0.00031), NonFinite(100_000)
    ),
    chain=ExactChain(0.991, Estimate(1.061, 0.011), 1.048, 1, 94_250.0, 7),
    exact=ExactSampleEss(Estimate(0.9987, 0.0009), 0.22, 3.2, 4000),
    divergences=Divergences(
        Estimate(3.5e-4, 2.1e-5),
        Estimate(3.4e-4, 2.2e-5),
        Estimate(9.1e-4, 8.8e-4),
        Estimate(5.7e-4, 8.8e-4),
    ),
    witness_evidence=Estimate(-1.562, 0.021),
    cross=CrossChains("NUTS", 4, 4000, 1.004, 1850.0, 1420.0, 0),
    distance=EnergyDistance(0.0004, 0.31, (925, 925)),
    modes=compare_modes([1.0], [1.0], n_flow=20_000, n_witness=900),
    measure=(
        "flat in x, y [fm]",
        "-5 < y < 30 fm; modes of x were searched for within -50 < x < 50",
    ),
    calls={"scouting": 48_000, "learning": 768_000, "health": 120_000},
    seconds={"learning": 12.9, "compiling": 9.6, "health": 2.2},
)
MISSED_MODE = replace(
    GOOD,
    name="two modes",
    exact=ExactSampleEss(Estimate(8.5e-25, 5.4e-25), 4.4, 1100.0, 4000),
    weights=replace(GOOD.weights, log_evidence=Estimate(-0.35667, 0.0003)),
    divergences=replace(GOOD.divergences, forward=Estimate(10.85, 0.38), gap=Estimate(10.85, 0.38)),
    witness_evidence=Estimate(0.012, 0.018),
    cross=CrossChains("NUTS", 4, 4000, 1.83, 7.0, 25.0, 0),
    distance=EnergyDistance(0.41, 15.2, (925, 8)),
    modes=compare_modes([1.0, 0.0], [0.712, 0.288], n_flow=20_000, n_witness=300),
)
TRUNCATED_TAIL = replace(
    GOOD,
    name="truncated",
    exact=ExactSampleEss(Estimate(0.0), np.inf, np.inf, 4000, unreachable=92),
    weights=replace(GOOD.weights, log_evidence=Estimate(-1.5990, 0.0003)),
    divergences=replace(GOOD.divergences, forward=Estimate(np.inf), gap=Estimate(np.inf)),
)
UNDERTRAINED = replace(
    GOOD,
    name="funnel",
    weights=WeightReport(
        Estimate(0.213, 0.041), 0.93, 0.012, Estimate(-0.08, 0.02), NonFinite(100_000, 0, 0, 310)
    ),
    chain=ExactChain(0.48, Estimate(21.4, 2.2), 12.9, 0, 4673.0, 913),
    exact=ExactSampleEss(Estimate(0.09, 0.04), 1.8, 410.0, 4000),
    divergences=Divergences(
        Estimate(np.inf), Estimate(0.71, 0.05), Estimate(0.93, 0.04), Estimate(0.22, 0.07)
    ),
    witness_evidence=Estimate(-0.02, 0.05),
    cross=CrossChains("NUTS", 4, 4000, 1.12, 61.0, 80.0, 132),
    distance=None,
)
BUDGET = replace(
    UNDERTRAINED,
    name="NO",
    stop="budget",
    exact=None,
    divergences=None,
    witness_evidence=None,
    cross=None,
    modes=None,
    notes=("learning stopped at 20 000 density calls",),
)
NOTHING = Findings(name="banana", calls={"learning": 64_000})

CASES = {
    "good": (GOOD, Status.converged),
    "missed_mode": (MISSED_MODE, Status.mode_collapse_suspected),
    "truncated_tail": (TRUNCATED_TAIL, Status.missing_tail_suspected),
    "undertrained": (UNDERTRAINED, Status.undertrained),
    "budget_exhausted": (BUDGET, Status.budget_exhausted),
    "not_checked": (NOTHING, Status.not_checked),
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    findings, status = CASES[case]
    health = assess(findings)
    assert health.status is status
    path = GOLDEN / f"health_{case}.txt"
    if os.environ.get("POSTERION_GOLDEN") == "write":
        path.write_text(f"{health}\n", encoding="utf-8")
    assert f"{health}\n" == path.read_text(encoding="utf-8")
    assert repr(health) == str(health) == health.text()


@pytest.mark.parametrize("case", CASES)
def test_forms_of_the_report(case: str) -> None:
    health = assess(CASES[case][0])
    assert max(len(line) for line in health.text().splitlines()) <= 80
    assert health.text(ascii=True).isascii()
    prose, *_, facts = health.text(60).split("\n\n")
    assert max(len(line) for line in (prose + "\n" + facts).splitlines()) <= 60
    html = health._repr_html_()
    assert health.status.sentence in html.replace("&#x27;", "'")
    assert html.count("<table>") == html.count("</table>")
    assert "<script" not in assess(replace(GOOD, name="<script>"))._repr_html_()


@pytest.mark.parametrize("case", CASES)
def test_json_and_tree_round_trips(case: str) -> None:
    health = assess(CASES[case][0])
    card = json.loads(json.dumps(health.to_json(), allow_nan=False))
    assert card["status"] == CASES[case][1].value
    assert card["sentence"] == health.status.sentence
    again = Health.from_json(card)
    assert str(again) == str(health)
    assert json.dumps(again.to_json()) == json.dumps(health.to_json())
    arrays: dict[str, np.ndarray] = {}
    assert str(from_tree(to_tree(health, arrays), arrays)) == str(health)
    assert not arrays


def test_malformed_cards_are_refused() -> None:
    card = assess(GOOD).to_json()
    for part, value in {
        "status": "splendid",
        "checks": [{"name": "x"}],
        "reasons": "text",
        "evidence": {"value": True, "error": 1.0},
        "calls": 3,
        "name": 5,
    }.items():
        with pytest.raises(BundleError, match="health card"):
            Health.from_json(card | {part: value})
    verdict = [card["checks"][0] | {"verdict": "splendid"}]
    with pytest.raises(BundleError, match="splendid"):
        Health.from_json(card | {"checks": verdict})
    del card["modes"]
    with pytest.raises(BundleError, match="lacks 'modes'"):
        Health.from_json(card)


def names(findings: Findings, **limits: float) -> tuple[Status, list[str]]:
    """The status, and the names of the findings that made it."""
    health = assess(findings, Thresholds(**limits))
    bad = [c.name for c in health.checks if c.verdict == "bad"]
    assert len(bad) == len(health.reasons)
    assert all(any(r.startswith(n) for r in health.reasons) for n in bad)
    return health.status, bad


def test_each_finding_alone_is_named() -> None:
    w, e, d = GOOD.weights, GOOD.exact, GOOD.divergences
    assert w and e and d
    heavy = replace(w, k_hat=0.9, max_share=1e-3)
    cases = {
        "flow ESS/N": (
            replace(GOOD, weights=replace(w, ess_fraction=Estimate(0.6, 0.01))),
            "undertrained",
        ),
        "flow k-hat": (replace(GOOD, weights=heavy), "missing_tail_suspected"),
        "exact-sample ESS/N": (
            replace(GOOD, exact=replace(e, fraction=Estimate(0.4, 0.05))),
            "missing_tail_suspected",
        ),
        "exact-sample k-hat": (
            replace(GOOD, exact=replace(e, k_hat=1.3, largest=200.0)),
            "missing_tail_suspected",
        ),
        "log evidence pull": (
            replace(GOOD, witness_evidence=Estimate(-1.4, 0.02), exact=None),
            "missing_tail_suspected",
        ),
        "gap of KL(p||q)": (
            replace(GOOD, divergences=replace(d, gap=Estimate(0.3, 0.02))),
            "missing_tail_suspected",
        ),
        "distance to chains, z": (
            replace(GOOD, distance=EnergyDistance(0.1, 6.0, (900, 900))),
            "witness_disagrees",
        ),
        "modes missed": (
            replace(GOOD, modes=compare_modes([0.99, 0.01], [0.9, 0.1], n_flow=999, n_witness=500)),
            "mode_collapse_suspected",
        ),
        "draws where p is not finite": (
            replace(GOOD, weights=replace(w, counts=NonFinite(100_000, 500, 0, 0))),
            "density_not_finite",
        ),
    }
    for name, (findings, status) in cases.items():
        assert names(findings) == (Status[status], [name])


def test_an_evidence_that_its_own_points_contradict_does_not_condemn():
    """Sequential Monte Carlo can be wrong too: a lack that none of its points sees is no lack."""
    health = assess(replace(GOOD, witness_evidence=Estimate(-1.4, 0.02)))
    check = health.check("log evidence pull")
    assert check is not None and check.verdict == "warn" and "yet no point" in check.note
    assert health.status is Status.converged


def test_what_is_harmless_does_not_alarm() -> None:
    w, e = GOOD.weights, GOOD.exact
    assert w and e
    for findings in (
        replace(GOOD, weights=replace(w, k_hat=2.9, max_share=1.01e-5)),  # no weight is large
        replace(GOOD, exact=replace(e, k_hat=1.4, largest=1.2)),
        replace(GOOD, exact=replace(e, k_hat=0.8, largest=50.0)),  # a warning
        replace(GOOD, witness_evidence=Estimate(-1.7, 0.02)),  # the witness's own lack
        replace(GOOD, witness_evidence=Estimate(-1.54, 0.001)),  # a small difference
        replace(GOOD, witness_evidence=Estimate(-1.2, 0.2)),  # a vague witness
        replace(
            GOOD,
            cross=CrossChains("NUTS", 4, 4000, 1.4, 20.0, 30.0, 0),  # chains without convergence
            distance=EnergyDistance(0.5, 9.0, (900, 20)),
        ),
        replace(GOOD, modes=compare_modes([0.9, 0.1], [1.0, 0.0], n_flow=9000, n_witness=500)),
        replace(GOOD, modes=compare_modes([0.99, 0.01], [0.97, 0.03], n_flow=9000, n_witness=60)),
        replace(GOOD, density=NonFinite(1_000_000, 900, 0, 0)),  # met elsewhere, by scouting
        replace(GOOD, stop="budget"),
    ):
        assert names(findings) == (Status.converged, [])
    assert "budget" in str(assess(replace(GOOD, stop="budget")))


def test_verdict_needs_a_witness() -> None:
    assert assess(replace(GOOD, exact=None, distance=None)).status is Status.unwitnessed
    assert assess(replace(GOOD, exact=None)).status is Status.converged
    lonely = replace(GOOD, exact=None, cross=replace(GOOD.cross, r_hat=1.3))
    assert assess(lonely).status is Status.unwitnessed


def test_how_learning_ended() -> None:
    assert assess(replace(GOOD, stop="interrupted")).status is Status.interrupted
    assert assess(replace(GOOD, stop="failed")).status is Status.failed
    assert assess(Findings(stop="budget")).status is Status.budget_exhausted
    dead = replace(GOOD, weights=weigh(np.full(100, -np.inf)))
    assert assess(dead).status is Status.failed
    assert assess(replace(MISSED_MODE, stop="budget")).status is Status.mode_collapse_suspected
    without = replace(MISSED_MODE, modes=None)
    assert assess(without).status is Status.mode_collapse_suspected


def test_slightly_short_is_undertrained_not_blind() -> None:
    w, e = GOOD.weights, GOOD.exact
    assert w and e
    short = replace(
        GOOD,
        weights=replace(w, ess_fraction=Estimate(0.88, 0.001)),
        exact=replace(e, fraction=Estimate(0.86, 0.01)),
    )
    assert names(short) == (Status.undertrained, ["exact-sample ESS/N"])


def test_thresholds_can_be_set() -> None:
    assert names(GOOD, exact_ess_fraction=0.9999)[1] == ["exact-sample ESS/N"]
    assert names(UNDERTRAINED, ess_fraction=0.1)[1] != names(UNDERTRAINED)[1]
    with pytest.raises(SettingError, match="k_hat"):
        Thresholds(k_hat=float("nan"))


def test_everything_measured_is_printed() -> None:
    text = str(assess(GOOD))
    for part in (
        "0.99931 ± 0.00012",
        "-1.57583 ± 0.00031",
        "-1.562 ± 0.021",
        "1.061 ± 0.011",
        "NUTS, 4 chains, 4000 draws",
        "flat in x, y [fm]",
        "scouting 48 000, learning 768 000, health 120 000",
        "compiling 9.6",
        "0.99870 ± 0.00090",
    ):
        assert part in text
    assert "not measured" not in text
    assert "cross-check chains" in str(assess(BUDGET))
    line = assess(GOOD).check("flow ESS/N")
    assert line is not None and line.value == 0.99931
    assert assess(GOOD).check("nonsense") is None
