"""The card of a bundle: what it holds, in words and numbers that need no code to be read."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from posterion.bundles.archive import FORMAT_VERSION
from posterion.bundles.publication import metric_rows, publication_facts
from posterion.bundles.schema import violations
from posterion.core import portable
from posterion.core.errors import BundleError
from posterion.core.versions import versions

__all__ = ["card_bytes", "card_from_bytes", "describe", "parameter_entry", "result_card"]


def parameter_entry(parameter: Any) -> dict[str, Any]:
    """The card's entry of a `Parameter` (its attributes; a prior in words)."""
    return {
        "name": parameter.name,
        "shape": list(parameter.shape),
        "unit": parameter.unit,
        "label": parameter.label,
        "lower": parameter.lower,
        "upper": parameter.upper,
        "periodic": parameter.periodic,
        "scale": parameter.scale,
        "prior": parameter.prior_in_words,
        "role": getattr(parameter, "role", None),
    }


def result_card(result: Any, **others: Any) -> dict[str, Any]:
    """The card of any result, from what each of them has; ``others`` stand in place or beside."""
    card = {
        "kind": result.kind,
        "name": result.name,
        "parameters": [parameter_entry(p) for p in result.parameters],
        "status": result.status.name,
        "health": {"sentence": result.status.sentence, "report": str(result.health)},
        "provenance": result.provenance,
        "citations": list(result.citations),
        "settings": result.settings,
        "history": {k: v.tolist() for k, v in result.history.items()},
        "licence": str(result.provenance.get("licence", "")),
    } | others
    provenance = dict(card["provenance"])
    publication = provenance.pop("publication", None)
    return card | {"provenance": provenance} | ({"publication": publication} if publication else {})


def card_bytes(card: Mapping[str, Any]) -> bytes:
    """Complete a card, check it against the schema, and write it as JSON.

    Raises:
        BundleError: it does not follow the schema, or holds what JSON cannot.
    """
    defaults = {
        "parameters": [],
        "status": None,
        "health": {},
        "provenance": {},
        "citations": [],
        "licence": "",
        "settings": {},
        "history": {},
    }
    whole = {"format": "posterion", "format_version": FORMAT_VERSION, **defaults}
    whole |= {"versions": versions(), **card}
    try:
        text = portable.dumps(whole).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"the card cannot be written: {error}") from error
    _check(json.loads(text), "the card to write")
    return text


def card_from_bytes(data: bytes, path: Any) -> dict[str, Any]:
    """Read a card and check it against the schema (the object's tree stays a tree).

    Raises:
        BundleError: it is no JSON or does not follow the schema.
    """
    try:
        card = portable.parse(data)
    except ValueError as error:
        raise BundleError(f"{path}: its card cannot be read: {error}") from error
    _check(card, path)
    return {k: v if k == "object" else portable.decode(v) for k, v in card.items()}


def describe(card: Mapping[str, Any]) -> str:
    """The card as text for the terminal: parameters, health, origin, versions, settings."""
    lines = [f"{card['kind']}: {card['name']}", ""]
    publication = card.get("publication") or {}
    facts = publication_facts(publication)
    if facts:
        lines += [*(f"{label}: {value}" for label, value in facts.items()), ""]
    lines += [f"  {row}" for row in _parameter_rows(card["parameters"])]
    health = card["health"]
    if "report" in health:
        lines += ["", health["report"].rstrip()]
    elif card["status"]:
        lines += ["", f"status: {card['status']}", health.get("sentence", "")]
    rows = list(metric_rows(publication.get("metrics") or {}))
    if len(rows) > 1:
        lines += ["", *(f"  {row}" for row in _aligned(rows))]
    for title in ("provenance", "settings", "versions"):
        if card[title]:
            lines += ["", title, *(f"  {key}: {value}" for key, value in card[title].items())]
    lines += ["", f"licence: {card['licence'] or 'not stated'}"]
    if card["citations"]:
        lines.append(f"citations: {', '.join(card['citations'])}")
    if publication.get("citation"):
        lines += ["please cite:", publication["citation"]]
    # a card from elsewhere must not steer the terminal
    return "".join(c for c in "\n".join(lines) if c == "\n" or c.isprintable())


def _check(card: Any, path: Any) -> None:
    found = violations(card, _schema())
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise BundleError(f"{path} does not follow the schema: {'; '.join(found[:3])}{more}")


@cache
def _schema() -> dict[str, Any]:
    file = resources.files("posterion.bundles") / f"card-{FORMAT_VERSION}.schema.json"
    return json.loads(file.read_text())


def _parameter_rows(parameters: list[dict[str, Any]]) -> list[str]:
    roles = any(entry.get("role") for entry in parameters)
    rows = [("parameter", "unit", "support", "prior", *(("role",) if roles else ()))]
    for entry in parameters:
        shape = f"[{', '.join(map(str, entry['shape']))}]" if entry["shape"] else ""
        prior = entry["prior"] or "flat"
        role = (entry.get("role") or "",) if roles else ()
        rows.append((entry["name"] + shape, entry["unit"] or "1", _support(entry), prior, *role))
    return _aligned(rows)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _support(entry: dict[str, Any]) -> str:
    lower, upper = entry["lower"], entry["upper"]
    if lower is None and upper is None:
        return "real"
    text = f"[{_bound(lower, '-inf')}, {_bound(upper, 'inf')}]"
    return f"{text} periodic" if entry["periodic"] else text


def _bound(bound: Any, missing: str) -> str:
    if bound is None:
        return missing
    return "..." if isinstance(bound, list) else f"{bound:g}"
