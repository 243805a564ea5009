"""``compare``: a result, or any draws, beside samples of the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.core.columns import Column, column_matrix, columns_of
from posterion.core.errors import DensityError, SampleError, SettingError, ThetaError
from posterion.core.estimate import Estimate
from posterion.core.progress import progress
from posterion.core.result import Result
from posterion.core.statistics import effective_size, normalised_weights
from posterion.diagnostics.comparison import Comparison, Metric, compare_samples
from posterion.sampling.chain import Chain
from posterion.targets.target import Target
from posterion.training.classifier import classify
from posterion.training.samples import gather_samples

__all__ = ["Pair", "compare", "compare_pair", "pair_samples"]

_CLASSIFIED = 20_000


@dataclass(frozen=True, eq=False)
class Pair:
    """Two samples with the same columns.

    Attributes:
        columns: of both.
        first: what is judged, ``(n, d)``.
        second: the reference, ``(m, d)``.
        weights_first: ``(n,)``; None where all are equal.
        weights_second: ``(m,)``.
        log_ratio: log of the exact density over the first's own, ``(n,)``, where it is at hand.
        labels: what the two are called.
        notes: what to know about them.
    """

    columns: tuple[Column, ...]
    first: np.ndarray
    second: np.ndarray
    weights_first: np.ndarray | None = None
    weights_second: np.ndarray | None = None
    log_ratio: np.ndarray | None = None
    labels: tuple[str, str] = ("draws", "samples")
    notes: tuple[str, ...] = ()


def compare(
    first: Any,
    samples: Any,
    *,
    weights: Any = None,
    weights_first: Any = None,
    target: Target | None = None,
    draws: int | None = None,
    classifier: bool = True,
    batches: int = 100,
    repeats: int = 20,
    seed: int = 0,
) -> Comparison:
    """Compare a result with samples that it never saw; printing what comes back gives the table.

    Every metric of `posterion.diagnostics.compare_samples` stands beside its floor, truth against
    truth with the same sizes, and beside what a plain normal gives. With them: a classifier of the
    two samples, and, where the density is at hand, ESS/N of the weights.

    Args:
        first: a result, which is drawn from; or draws: an array ``(n, d)``, a dict of arrays, a
            DataFrame, a :class:`~posterion.sampling.Chain`, the path of a table.
        samples: the reference, in any of these forms. Columns are matched by name where both have
            names, else by their order. A chain is thinned to what it is worth.
        weights: of ``samples``, ``(m,)`` or the name of a column.
        weights_first: of ``first``, where it is no result.
        target: the density, where ``first`` is a result without it.
        draws: from a result; by default as many as the samples are worth.
        classifier: whether to train one, on at most 20 000 rows of each.
        batches: of the KS p-value.
        repeats: of the floor.
        seed: of the draws, the floor and the classifier.

    Raises:
        ThetaError: the samples lack a column of ``first``; the message names it.
        SampleError: other widths, a constant column, rows that are not finite, too few rows.
        SettingError: weights or a density for what cannot have them.
    """
    pair = pair_samples(
        first,
        samples,
        weights=weights,
        weights_first=weights_first,
        target=target,
        draws=draws,
        seed=seed,
    )
    return compare_pair(pair, classifier=classifier, batches=batches, repeats=repeats, seed=seed)


def compare_pair(
    pair: Pair,
    *,
    classifier: bool = True,
    batches: int = 100,
    repeats: int = 20,
    seed: int = 0,
) -> Comparison:
    """The comparison of two samples that are matched already; arguments as in `compare`."""
    with progress("comparing", total=repeats) as bar:
        found = compare_samples(
            pair.first,
            pair.second,
            names=[column.name for column in pair.columns],
            weights_first=pair.weights_first,
            weights_second=pair.weights_second,
            periods=[column.period for column in pair.columns],
            log_ratio=pair.log_ratio,
            batches=batches,
            repeats=repeats,
            labels=pair.labels,
            seed=seed,
            step=lambda: bar.update(advance=1),
        )
    further = (_told_apart(pair, seed),) if classifier else ()
    return found.extended(*further, notes=pair.notes)


def pair_samples(
    first: Any,
    samples: Any,
    *,
    weights: Any = None,
    weights_first: Any = None,
    target: Target | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> Pair:
    """Two samples with the columns of the first, in its order; arguments as in `compare`."""
    second, theirs, weights_second, named, notes = _table(samples, weights, "samples")
    log_ratio = None
    if isinstance(first, Result):
        if weights_first is not None:
            raise SettingError("weights_first is for draws; those of a result have none")
        columns, by_name, label = columns_of(first.parameters), True, str(first.name)
        if getattr(first, "form", "dict") == "array":
            by_name = False
        order, extra = _matched(columns, theirs, by_name and named, label)
        count = draws
        if count is None:
            share = normalised_weights(weights_second, len(second))
            count = max(1, round(effective_size(share, len(second))))
        x, log_ratio = _drawn(first, count, seed, target)
        own = None
    else:
        if target is not None or draws is not None:
            raise SettingError("target and draws are for a result; draws are compared as they are")
        label = "draws"
        x, columns, own, by_name, more = _table(first, weights_first, label)
        notes += more
        order, extra = _matched(columns, theirs, by_name and named, label)
        if named and not by_name:
            columns = theirs
    if extra:
        notes.append(f"not compared, as {label} has no such columns: {', '.join(extra)}")
    return Pair(
        columns,
        x,
        second[:, order],
        own,
        weights_second,
        log_ratio,
        (label, "samples"),
        tuple(notes),
    )


def _table(
    samples: Any, weights: Any, label: str
) -> tuple[np.ndarray, tuple[Column, ...], np.ndarray | None, bool, list[str]]:
    """Rows, columns, weights, whether the columns have names of their own, and notes."""
    notes = []
    if isinstance(samples, Chain):
        step = max(1, int(np.ceil(samples.chains * samples.length / max(samples.effective, 1.0))))
        if step > 1:
            notes.append(f"of the chain of {label} every {step}th draw: what it is worth")
        thinned = {k: a[:, ::step] for k, a in samples.draws.items()}
        flat = {k: a.reshape(-1, *a.shape[2:]) for k, a in thinned.items()}
        gathered = gather_samples(flat, weights=weights, parameters=samples.parameters)
    else:
        gathered = gather_samples(samples, weights=weights)
    rows = np.concatenate(list(gathered.rows.chunks()))
    x, _, w = gathered.cut(rows)
    named = gathered.form == "dict"
    kept = w if gathered.weighted else None
    return x, columns_of(gathered.parameters), kept, named, [*notes, *gathered.notes]


def _matched(
    ours: tuple[Column, ...], theirs: tuple[Column, ...], by_name: bool, label: str
) -> tuple[list[int], list[str]]:
    """Where our columns are among theirs, and which of theirs are not ours."""
    known = [column.name for column in theirs]
    if not by_name:
        if len(ours) != len(theirs):
            raise SampleError(f"{label} has {len(ours)} columns, the samples {len(theirs)}")
        return list(range(len(ours))), []
    wanted = [column.name for column in ours]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ThetaError(
            f"the samples lack {', '.join(missing)} of {label}; they have {', '.join(known)}"
        )
    return [known.index(name) for name in wanted], [n for n in known if n not in wanted]


def _drawn(
    result: Any, n: int, seed: int, target: Target | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draws, and the log of the density over the result's own where it is at hand."""
    if target is not None and hasattr(result, "with_target"):
        result, target = result.with_target(target), None
    elif target is None:
        target = getattr(result, "target", None)
    elif list(target.names) != [p.name for p in result.parameters]:
        raise SettingError(f"the target's parameters {list(target.names)} are not the result's")
    if getattr(result, "has_density", False):
        try:
            found: Any = result.importance_sample(n, seed=seed)
        except DensityError:  # a fit does not weigh its draws
            pass
        else:
            ratio = np.asarray(found.log_p, np.float64) - np.asarray(found.log_q, np.float64)
            return column_matrix(result.parameters, found.draws), ratio
    theta: Mapping[str, Any] = result.named(n, seed=seed)
    x = column_matrix(result.parameters, theta)
    if target is None or getattr(result, "on_surface", False):
        return x, None
    return x, target.evaluate(x) - result.log_prob(theta)


def _told_apart(pair: Pair, seed: int) -> Metric:
    """The classifier two-sample test."""
    rng = np.random.default_rng([seed, 79])
    parts = []
    for x, w in ((pair.first, pair.weights_first), (pair.second, pair.weights_second)):
        rows = rng.permutation(len(x))[:_CLASSIFIED]
        parts.append((x[rows], None if w is None else w[rows]))
    (a, wa), (b, wb) = parts
    found = classify(a, b, weights_first=wa, weights_second=wb, seed=seed)
    n, m = (
        rows if w is None else rows * effective_size(normalised_weights(w, len(w)), len(w)) / len(w)
        for rows, w in zip(found.rows, (wa, wb), strict=True)
    )
    spread = np.sqrt((n + m + 1) / (12 * n * m))  # of equal distributions: Mann and Whitney, 1947
    return Metric("auc", "classifier AUC", found.auc.value, Estimate(0.5, float(spread)))
