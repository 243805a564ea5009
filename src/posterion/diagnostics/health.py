"""The health report: what was checked, what came out, and the verdict."""

import math
from dataclasses import asdict, dataclass, field, fields
from html import escape
from typing import Any, Literal, get_args

from posterion.core.errors import BundleError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.core.status import Status
from posterion.diagnostics._layout import Row, html_table, labelled, table, wrap

__all__ = ["Check", "Health", "ModeShare"]

Verdict = Literal["good", "warn", "bad", "info"]

_CHECK_WIDTHS, _MODE_WIDTHS = (29, 26, 10, 7), (6, 22, 22, 6)
_MODES_SHOWN = 12


@register("health_check")
@dataclass(frozen=True)
class Check:
    """One line of the report.

    Args:
        name: what was measured.
        value: the measured number.
        error: its standard error; None where there is none.
        threshold: what is wanted, such as ``">= 0.9"``; empty for information.
        verdict: ``good``, ``warn`` (does not change the status), ``bad`` (does), ``info``.
        note: one remark.
    """

    name: str
    value: float | int
    error: float | int | None = None
    threshold: str = ""
    verdict: Verdict = "info"
    note: str = ""

    def measured(self) -> str:
        """The value, with its error where there is one."""
        if self.error is not None and math.isfinite(self.error):
            return _short(Estimate(self.value, self.error))
        value = float(self.value)
        if value.is_integer() and abs(value) < 1e15:
            return f"{value:.0f}"
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


@register("mode_share")
@dataclass(frozen=True)
class ModeShare:
    """The share of the flow's draws and of the witness in one mode, and their pull."""

    flow: Estimate
    witness: Estimate
    pull: float | int


@register("health")
@dataclass(frozen=True, repr=False)
class Health:
    """The verdict on a result, with everything it rests on; printing it gives the report.

    Args:
        status: the verdict; ``status.sentence`` says what to do.
        name: of the target.
        reasons: what made the status, one finding each.
        checks: the lines of the report.
        modes: shares of flow and witness, heaviest mode first.
        witness: where the independent points come from.
        evidence: log Z by importance sampling; None where it was not measured.
        witness_evidence: the witness's.
        unmeasured: what was not checked.
        calls: density calls by purpose.
        seconds: wall time by purpose.
        measure: reference measure or priors, and how far modes were searched for.
        notes: whatever else the reader must know.
    """

    status: Status
    name: str = ""
    reasons: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    modes: tuple[ModeShare, ...] = ()
    witness: str = "SMC"
    evidence: Estimate | None = None
    witness_evidence: Estimate | None = None
    unmeasured: tuple[str, ...] = ()
    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float | int] = field(default_factory=dict)
    measure: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return self.text()

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        rows = [(name, "; ".join(texts)) for name, texts in _facts(self) if texts]
        parts = [
            '<div class="posterion-health">',
            f"<p><b>{escape(_title(self))}</b><br>{escape(self.status.sentence)}</p>",
            *(f"<p>because {escape(reason)}</p>" for reason in self.reasons),
            html_table(_check_rows(self), head=True) if self.checks else "",
            html_table(_mode_rows(self), head=True) if self.modes else "",
            html_table(rows, head=False) if rows else "",
            "</div>",
        ]
        return "\n".join(part for part in parts if part)

    def text(self, width: int = 80, *, ascii: bool = False) -> str:
        """The printed report.

        Args:
            width: of the lines, at least 40; the tables need 78.
            ascii: nothing beyond ASCII.
        """
        width = max(width, 40)
        title = _title(self)
        lines = [*wrap(title, width), "=" * min(len(title), width)]
        lines += wrap(self.status.sentence, width)
        lines += labelled("because", self.reasons, width)
        if self.checks:
            lines += ["", *table(_check_rows(self), _CHECK_WIDTHS, width)]
        if self.modes:
            lines += ["", *table(_mode_rows(self), _MODE_WIDTHS, width)]
        facts = [line for name, texts in _facts(self) for line in labelled(name, texts, width)]
        text = "\n".join(line.rstrip() for line in lines + ([""] if facts else []) + facts)
        if ascii:
            text = text.replace("±", "+-").encode("ascii", "backslashreplace").decode("ascii")
        return text

    def check(self, name: str) -> Check | None:
        """The line of that name, or None where it was not measured."""
        return next((c for c in self.checks if c.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for the card of a bundle; infinities and NaN as text."""
        return {"status": self.status.value, "sentence": self.status.sentence} | {
            f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "status"
        }

    @classmethod
    def from_json(cls, card: dict[str, Any]) -> "Health":
        """The report that `to_json` wrote.

        Raises:
            BundleError: a part is missing or malformed; the message says which.
        """
        try:
            return cls(
                status=Status(card["status"]),
                name=_text(card["name"]),
                reasons=_texts(card["reasons"]),
                checks=tuple(_check(c) for c in card["checks"]),
                modes=tuple(
                    ModeShare(_estimate(m["flow"]), _estimate(m["witness"]), _number(m["pull"]))
                    for m in card["modes"]
                ),
                witness=_text(card["witness"]),
                evidence=_maybe(card["evidence"]),
                witness_evidence=_maybe(card["witness_evidence"]),
                unmeasured=_texts(card["unmeasured"]),
                calls={_text(k): int(v) for k, v in card["calls"].items()},
                seconds={_text(k): _number(v) for k, v in card["seconds"].items()},
                measure=_texts(card["measure"]),
                notes=_texts(card["notes"]),
            )
        except KeyError as error:
            raise BundleError(f"the health card lacks {error}") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise BundleError(f"the health card is malformed: {error}") from error


def _title(health: Health) -> str:
    subject = f"Health of {health.name}" if health.name else "Health"
    return f"{subject}: {health.status.value.replace('_', ' ')}"


def _short(e: Estimate) -> str:
    """The estimate in a table's column: tiny errors by their power of ten."""
    return str(e) if len(str(e)) <= _MODE_WIDTHS[1] else f"{e.value:.7g} ± {e.error:.1e}"


def _check_rows(health: Health) -> list[Row]:
    rows: list[Row] = [("check", "measured", "wanted", "verdict")]
    for c in health.checks:
        rows.append((c.name, c.measured(), c.threshold, "" if c.verdict == "info" else c.verdict))
        if c.note:
            rows.append((c.note,))
    return rows


def _mode_rows(health: Health) -> list[Row]:
    rows: list[Row] = [("mode", "flow", health.witness, "pull")]
    for i, m in enumerate(health.modes[:_MODES_SHOWN], 1):
        rows.append((str(i), _short(m.flow), _short(m.witness), f"{m.pull:+.1f}"))
    if len(health.modes) > _MODES_SHOWN:
        rows.append((f"and {len(health.modes) - _MODES_SHOWN} more",))
    return rows


def _facts(health: Health) -> list[tuple[str, tuple[str, ...]]]:
    calls = ", ".join(f"{name} {n:,}".replace(",", " ") for name, n in health.calls.items())
    seconds = ", ".join(f"{name} {s:.3g}" for name, s in health.seconds.items())
    unmeasured = ", ".join(health.unmeasured)
    return [
        ("measure", health.measure),
        ("density calls", (calls,) if calls else ()),
        ("seconds", (seconds,) if seconds else ()),
        ("not measured", (unmeasured,) if unmeasured else ()),
        ("note", health.notes),
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate | Check | ModeShare):
        return _plain(asdict(value))
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not (
        isinstance(value, int | float) or value in ("nan", "inf", "-inf")
    ):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is no list")
    return tuple(_text(v) for v in values)


def _estimate(value: Any) -> Estimate:
    return Estimate(_number(value["value"]), _number(value["error"]))


def _maybe(value: Any) -> Estimate | None:
    return None if value is None else _estimate(value)


def _check(value: Any) -> Check:
    verdict = value["verdict"]
    if verdict not in get_args(Verdict):
        raise ValueError(f"unknown verdict {verdict!r}")
    error = None if value["error"] is None else _number(value["error"])
    return Check(
        _text(value["name"]),
        _number(value["value"]),
        error,
        _text(value["threshold"]),
        verdict,
        _text(value["note"]),
    )
