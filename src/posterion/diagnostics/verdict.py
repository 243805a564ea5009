"""From measured numbers to the verdict: `assess` is a pure function of `Findings`."""

import math
from dataclasses import replace

from posterion.core.estimate import Estimate
from posterion.core.status import Status
from posterion.diagnostics.findings import Findings, Thresholds
from posterion.diagnostics.health import Check, Health, ModeShare, Verdict
from posterion.diagnostics.pareto import k_hat_limit

__all__ = ["assess"]

EXACT_ESS = "exact-sample ESS/N"
EXACT_K_HAT = "exact-sample k-hat"
FLOW_ESS = "flow ESS/N"
FLOW_K_HAT = "flow k-hat"
EVIDENCE = "log evidence pull"
GAP = "gap of KL(p||q)"
NOT_FINITE = "draws where p is not finite"
OUTSIDE = "draws where p = 0"
DISTANCE = "distance to chains, z"
MISSED = "modes missed"

_GRAVEST_FIRST = (
    NOT_FINITE,
    MISSED,
    EXACT_ESS,
    EVIDENCE,
    GAP,
    DISTANCE,
    FLOW_ESS,
    FLOW_K_HAT,
    EXACT_K_HAT,
)


def assess(findings: Findings, thresholds: Thresholds | None = None) -> Health:
    """Judge what was measured; the report names each finding that made the verdict.

    Args:
        findings: measured numbers; None where something was not measured.
        thresholds: the limits; the defaults for None.

    >>> assess(Findings(name="banana")).status.name
    'not_checked'
    """
    f, t = findings, thresholds or Thresholds()
    checks = (
        *_flow_checks(f, t),
        *_exact_checks(f, t),
        *_evidence_checks(f, t),
        *_divergence_checks(f, t),
        *_cross_checks(f, t),
        *_mode_checks(f, t),
        *_finite_checks(f, t),
    )
    bad = {c.name: c for c in checks if c.verdict == "bad"}
    notes = f.notes
    if f.stop == "budget" and not bad and checks:
        notes = (*notes, "learning used up its budget")
    return Health(
        status=_status(f, t, bad, measured=bool(checks)),
        name=f.name,
        reasons=tuple(_reason(bad[name]) for name in _GRAVEST_FIRST if name in bad),
        checks=checks,
        modes=_mode_shares(f),
        witness=f.witness,
        evidence=f.weights.log_evidence if f.weights else None,
        witness_evidence=f.witness_evidence,
        unmeasured=_unmeasured(f),
        calls=dict(f.calls),
        seconds=dict(f.seconds),
        measure=f.measure,
        notes=notes,
    )


def _status(f: Findings, t: Thresholds, bad: dict[str, Check], *, measured: bool) -> Status:
    if f.stop == "failed" or (f.weights is not None and f.weights.ess_fraction.value == 0):
        return Status.failed
    if f.stop == "interrupted":
        return Status.interrupted
    if not measured:
        return Status.budget_exhausted if f.stop == "budget" else Status.not_checked
    if not bad:
        witnessed = f.exact is not None or (f.distance is not None and _trusted(f, t))
        return Status.converged if witnessed else Status.unwitnessed
    if NOT_FINITE in bad:
        return Status.density_not_finite
    poor = FLOW_ESS in bad  # the flow's own weights say so: nothing hides from them
    if MISSED in bad and not (poor and f.stop == "budget"):
        return Status.mode_collapse_suspected
    if not poor:
        blind = _blind(f, t) or EVIDENCE in bad or GAP in bad
        if blind and f.modes is None:
            return Status.mode_collapse_suspected
        if blind or FLOW_K_HAT in bad or EXACT_K_HAT in bad:
            return Status.missing_tail_suspected
        if DISTANCE in bad and EXACT_ESS not in bad:
            return Status.witness_disagrees
    return Status.budget_exhausted if f.stop == "budget" else Status.undertrained


def _blind(f: Findings, t: Thresholds) -> bool:
    """Whether the ESS at independent points falls far below the flow's own."""
    if f.exact is None or f.weights is None:
        return False
    high = f.exact.fraction.value + 3 * _known(f.exact.fraction.error)
    return f.exact.fraction.value < t.exact_ess_fraction and (
        high < f.weights.ess_fraction.value - t.blind
    )


def _flow_checks(f: Findings, t: Thresholds) -> list[Check]:
    checks: list[Check] = []
    if f.weights is not None:
        w = f.weights
        n = w.counts.total
        limit, largest = min(t.k_hat, k_hat_limit(n)), w.max_share * n
        checks += [
            _at_least(FLOW_ESS, w.ess_fraction, t.ess_fraction, note=f"of {n} draws"),
            _tail(FLOW_K_HAT, w.k_hat, limit, largest, t),
        ]
    if f.chain is not None:
        tau = f.chain.autocorrelation
        over = "good" if tau.value <= t.autocorrelation else "warn"
        checks += [
            Check("exact chain: acceptance", f.chain.acceptance),
            Check(
                "exact chain: autocorrelation",
                tau.value,
                tau.error,
                f"<= {t.autocorrelation:g}",
                over,
                f"{f.chain.expected_autocorrelation:.4g} expected from the weights",
            ),
        ]
    return checks


def _exact_checks(f: Findings, t: Thresholds) -> list[Check]:
    if f.exact is None:
        return []
    e, remarks = f.exact, [f"at {f.exact.points} points of {f.witness}"]
    if e.unreachable:
        remarks.append(f"{e.unreachable} of them out of the flow's reach")
    if e.bad:
        remarks.append(f"{e.bad} of them without a density")
    k = _tail(EXACT_K_HAT, e.k_hat, t.exact_k_hat, e.largest, t)
    if k.verdict == "good" and not e.k_hat < t.exact_k_hat_warning:
        k = replace(k, verdict="warn", note=f"above {t.exact_k_hat_warning:g} the ESS is uncertain")
    exact = _at_least(EXACT_ESS, e.fraction, t.exact_ess_fraction, note=", ".join(remarks))
    return [exact, k]


def _evidence_checks(f: Findings, t: Thresholds) -> list[Check]:
    ours, theirs = f.weights.log_evidence if f.weights else None, f.witness_evidence
    checks = [
        Check(name, e.value, e.error)
        for name, e in (("log evidence", ours), (f"log evidence by {f.witness}", theirs))
        if e is not None
    ]
    if ours is None or theirs is None:
        return checks
    known = (Estimate(e.value, _known(e.error)) for e in (ours, theirs))
    pull, difference = next(known).pull(next(known)), ours.value - theirs.value
    wanted = f"> -{t.evidence_pull:g}"
    note = f"difference {difference:+.3g}"
    verdict: Verdict = "good"
    if not (abs(difference) <= t.evidence_difference or abs(pull) <= t.evidence_pull):
        seen = f.exact is None or any(check.verdict == "bad" for check in _exact_checks(f, t))
        verdict = "bad" if difference < 0 and seen else "warn"
        if difference > 0:
            note += f": {f.witness} may have missed a part"
        elif seen:
            note += f": the flow lacks {-math.expm1(difference):.1%} of the probability"
        else:
            note += f": yet no point of {f.witness} lies where the flow lacks any"
    elif abs(pull) > t.evidence_pull:
        note += ", too small to count"
    return [*checks, Check(EVIDENCE, pull, None, wanted, verdict, note)]


def _divergence_checks(f: Findings, t: Thresholds) -> list[Check]:
    d = f.divergences
    if d is None:
        return []
    forward = d.forward if d.forward is not None else d.forward_of_draws
    checks = [
        Check("KL(q||p)", d.reverse.value, d.reverse.error),
        Check("KL(p||q)", forward.value, forward.error),
    ]
    if d.gap is not None:
        limit = max(t.gap, t.gap_pull * _known(d.gap.error))
        verdict = "good" if d.gap.value <= limit else "bad"
        note = f"{f.witness} against the flow's own weights" if verdict == "bad" else ""
        checks.append(Check(GAP, d.gap.value, d.gap.error, f"<= {limit:.2g}", verdict, note))
    return checks


def _cross_checks(f: Findings, t: Thresholds) -> list[Check]:
    checks: list[Check] = []
    trusted = _trusted(f, t)
    if f.cross is not None:
        c = f.cross
        note = f"{c.method}, {c.chains} chains, {c.draws} draws"
        checks += [
            _below("chains: R-hat", c.r_hat, t.r_hat, otherwise="warn", note=note),
            Check(
                "chains: bulk ESS",
                float(c.ess_bulk),
                None,
                f">= {t.chain_ess:g}",
                "good" if c.ess_bulk >= t.chain_ess else "warn",
            ),
            Check("chains: tail ESS", float(c.ess_tail)),
        ]
        if c.divergences is not None:
            share = c.divergences / max(c.draws, 1)
            note = f"{c.divergences} transitions" if c.divergences else ""
            checks.append(
                _below("chains: divergent", share, t.divergent, otherwise="warn", note=note)
            )
    if f.distance is not None:
        n, m = f.distance.points
        note = f"energy distance of {n} exact draws to {m}"
        if not trusted:
            note = "no witness: the chains themselves have not converged"
        over: Verdict = "bad" if trusted else "warn"
        checks.append(_below(DISTANCE, f.distance.z, t.distance_z, otherwise=over, note=note))
    return checks


def _mode_checks(f: Findings, t: Thresholds) -> list[Check]:
    if f.modes is None:
        return []
    missed = [
        i
        for i, (a, b, pull) in enumerate(
            zip(f.modes.flow, f.modes.witness, f.modes.pull, strict=True), 1
        )
        if a < t.mode_ratio * b and pull < -t.mode_pull
    ]
    count = len(f.modes.flow)
    note = f"of {count} found by {f.witness}"
    if missed:
        note += ": number " + ", ".join(str(i) for i in missed[:8]) + (", ..." * (len(missed) > 8))
    return [Check(MISSED, float(len(missed)), None, "0", "bad" if missed else "good", note)]


def _finite_checks(f: Findings, t: Thresholds) -> list[Check]:
    checks: list[Check] = []
    if f.weights is not None:
        c = f.weights.counts
        verdict: Verdict = "good" if c.bad == 0 else "warn"
        if c.bad > t.not_finite * c.total:
            verdict = "bad"
        note = f"{c.nan} NaN, {c.plus_inf} +inf of {c.total} draws" if c.bad else ""
        wanted = f"<= {t.not_finite:g}"
        checks.append(Check(NOT_FINITE, c.bad / c.total, None, wanted, verdict, note))
        share = c.minus_inf / c.total
        over: Verdict = "good" if share <= t.outside else "warn"
        note = f"{c.minus_inf} of {c.total} draws" if c.minus_inf else ""
        checks.append(Check(OUTSIDE, share, None, f"<= {t.outside:g}", over, note))
    if f.density is not None and f.density.bad:
        c = f.density
        note = f"{c.nan} NaN, {c.plus_inf} +inf of {c.total} calls"
        checks.append(Check("all calls: NaN or +inf", c.bad / c.total, None, "0", "warn", note))
    return checks


def _trusted(f: Findings, t: Thresholds) -> bool:
    """Whether the chains may testify against the flow."""
    c = f.cross
    if c is None:
        return True
    divergent = (c.divergences or 0) > t.divergent * c.draws
    return c.r_hat < t.r_hat and c.ess_bulk >= t.chain_ess and not divergent


def _mode_shares(f: Findings) -> tuple[ModeShare, ...]:
    m = f.modes
    if m is None:
        return ()
    columns = zip(m.flow, m.flow_error, m.witness, m.witness_error, m.pull, strict=True)
    return tuple(ModeShare(Estimate(a, ea), Estimate(b, eb), p) for a, ea, b, eb, p in columns)


def _unmeasured(f: Findings) -> tuple[str, ...]:
    parts = {
        "the flow's weights": f.weights,
        "the exact chain": f.chain,
        EXACT_ESS: f.exact,
        "an independent log evidence": f.witness_evidence,
        "divergences": f.divergences,
        "cross-check chains": f.cross,
        "distance to chains": f.distance,
        "modes": f.modes,
    }
    return tuple(name for name, found in parts.items() if found is None)


def _reason(c: Check) -> str:
    note = f" ({c.note})" if c.note else ""
    return f"{c.name} is {c.measured()}, wanted {c.threshold}{note}"


def _at_least(name: str, e: Estimate, limit: float | int, note: str = "") -> Check:
    verdict: Verdict = "good" if e.value >= limit else "bad"
    return Check(name, e.value, _finite(e.error), f">= {limit:g}", verdict, note)


def _below(
    name: str, value: float | int, limit: float | int, *, otherwise: Verdict = "bad", note: str = ""
) -> Check:
    verdict: Verdict = "good" if value < limit else otherwise
    return Check(name, float(value), None, f"< {limit:.3g}", verdict, note)


def _tail(
    name: str, k_hat: float | int, limit: float | int, largest: float, t: Thresholds
) -> Check:
    """A heavy tail of weights counts where one of them is large."""
    over: Verdict = "warn" if largest < t.largest_weight else "bad"
    c = _below(name, k_hat, limit, otherwise=over)
    if c.verdict == "good" or not math.isfinite(largest):
        return c
    times = f"{largest:.3g}" if largest < 1000 else f"{largest:.0f}"
    return replace(c, note=f"the largest weight is {times} times the mean")


def _finite(x: float | int) -> float | None:
    return float(x) if math.isfinite(x) else None


def _known(error: float | int) -> float:
    """An unknown error counts as none."""
    return float(error) if math.isfinite(error) else 0.0
