"""What a published result says of itself: analysis, data set, licence, citation, metrics."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from posterion.core import portable
from posterion.core.errors import SettingError

__all__ = ["metric_rows", "publication_facts", "publish"]

_HEADS = ("metric", "found", "floor", "Gaussian", "pull")
_FACTS = {"analysis": "analysis", "dataset": "data set", "fixed": "fixed parameters"}


def publish(
    result: Any,
    path: str | os.PathLike[str],
    *,
    analysis: str = "",
    dataset: str = "",
    licence: str = "",
    citation: str = "",
    metrics: Any = None,
) -> Any:
    """Save a result with what a reader must know of it: ``result.publish("kept.posterion", ...)``.

    Parameters say themselves whether they are of interest or nuisances (``Parameter.role``); where
    the target is at hand, the parameters that it holds fixed are kept too.

    Args:
        result: a posterior, a fit, or what came of them.
        path: the file to write.
        analysis: what was measured, such as the title of the paper.
        dataset: the data behind it.
        licence: of the file, by its SPDX name, such as ``"CC-BY-4.0"``.
        citation: of the analysis, as BibTeX or text.
        metrics: what `posterion.compare` gave, or its JSON; kept without the single columns.

    Returns:
        The result with all this, as the file holds it: on its page, and in ``.publication``.

    Raises:
        SettingError: nothing is said, or ``metrics`` is no comparison.
        OutputError: the file could not be written; what was there before is still there.
    """
    said: dict[str, Any] = {"analysis": analysis, "dataset": dataset, "citation": citation}
    if metrics is not None:
        said["metrics"] = _trimmed(metrics)
    fixed = getattr(getattr(getattr(result, "target", None), "log_density", None), "fixed", None)
    if isinstance(fixed, Mapping):
        said["fixed"] = dict(fixed)
    said = {**result.publication, **{k: v for k, v in said.items() if v}}
    if not said and not licence:
        raise SettingError(
            "there is nothing to publish: give analysis, dataset, licence, citation or metrics; "
            "save() writes a file without"
        )
    provenance = {**result.provenance, "publication": said}
    if licence:
        provenance["licence"] = licence
    published = replace(result, provenance=provenance)
    published.save(path)
    return published


def publication_facts(publication: Mapping[str, Any]) -> dict[str, Any]:
    """What fits on a line: analysis, data set, fixed parameters, the verdict of the metrics."""
    facts = {label: publication[key] for key, label in _FACTS.items() if publication.get(key)}
    metrics = publication.get("metrics") or {}
    if metrics.get("verdict"):
        facts["metrics"] = metrics["verdict"]
    return facts


def metric_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The table of a comparison's JSON as text: the head, then each metric beside its floor."""
    yield _HEADS
    for metric in metrics.get("metrics", {}).values():
        yield _row(metric["label"], metric, metric.get("gaussian"))
        if metric.get("worst"):
            yield _row(f"  worst: {metric['worst'].get('column')}", metric["worst"], None)


def _row(label: str, found: Mapping[str, Any], gaussian: Any) -> tuple[str, ...]:
    floor = found["floor"]
    spread = f" ± {floor['sd']:.2g}" if floor["sd"] else ""
    return (
        label,
        f"{found['value']:.3g}",
        f"{floor['mean']:.3g}{spread}",
        "" if gaussian is None else f"{gaussian:.3g}",
        f"{found['pull']:+.1f}" if "pull" in found else "",
    )


def _trimmed(metrics: Any) -> dict[str, Any]:
    """The JSON of a comparison without the numbers of single columns."""
    found = metrics.to_json() if hasattr(metrics, "to_json") else metrics
    try:
        found = dict(portable.decode(found))
        found["metrics"] = {
            key: {k: v for k, v in metric.items() if k != "columns"}
            for key, metric in found["metrics"].items()
        }
        list(metric_rows(found))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingError(
            f"metrics must be what posterion.compare gave, or its JSON, not "
            f"{type(metrics).__name__} ({type(error).__name__}: {error})"
        ) from error
    return found
