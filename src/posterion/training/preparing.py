"""Samples looked through once: what is wrong with them, and the frame in which a flow learns."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np
from numpy.typing import NDArray

from posterion.bijections.support import SupportMap, straightened
from posterion.core.errors import SampleError
from posterion.core.progress import progress
from posterion.targets.frame import Frame
from posterion.targets.target import v_and_log_det
from posterion.training.discrete import look_for_repeats
from posterion.training.ranges import warn
from posterion.training.samples import Samples
from posterion.training.whitened import as_seen, uncorrelating

Floats = NDArray[np.float64]

CHUNK = 65536
_SHOWN = 5
_ROWS_A_COORDINATE = 10
_WIDEST = 512  # context that is left uncorrelated
_SAME = 1 - 1e-9
_FLAT = 1e-12


@dataclass(frozen=True)
class Prepared:
    """How rows become what a flow learns from: coordinates of the frame, in float32.

    Attributes:
        frame: of the coordinates.
        location, scale: of the context, each of its width.
        mixing: what leaves the scaled context uncorrelated, ``(width, width)``; ``None`` where it
            stays as it is.
        seen: its least and greatest values, ``(2, width)``.
        mean_weight: of the rows.
        rows: that can be used.
        effective: what they are worth, ``(sum w)^2 / sum w^2``.
        dropped: rows left out, as they are not finite or outside of the support.
        notes: what to know of the samples.
    """

    frame: Frame
    location: Floats
    scale: Floats
    mixing: Floats | None
    seen: Floats
    mean_weight: float
    rows: int
    effective: float
    dropped: int
    notes: tuple[str, ...]

    def __call__(
        self, samples: Samples, chunk: np.ndarray, *, given: bool = False
    ) -> dict[str, np.ndarray]:
        """``v``, ``context`` and ``weight`` of the usable rows of a chunk, float32.

        If ``given``, also the context as it was given, float64.
        """
        x, context, weights = samples.cut(chunk)
        if self.dropped:
            kept = _usable(self.frame.support, samples.finite(chunk), x)[0]
            x, context, weights = x[kept], context[kept], weights[kept]
        v, _ = v_and_log_det(self.frame, x)
        return {
            "v": v.astype(np.float32),
            "context": self.condition(context),
            "weight": (weights / self.mean_weight).astype(np.float32),
            **({"given": context.astype(np.float64)} if given else {}),
        }

    @property
    def seen_by(self) -> str:
        """What tells how the flow sees its context."""
        parts = (self.location, self.scale, np.zeros(0) if self.mixing is None else self.mixing)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]

    def condition(self, context: np.ndarray) -> np.ndarray:
        """The context as the flow sees it, float32."""
        return as_seen(context, self.location, self.scale, self.mixing).astype(np.float32)


@dataclass
class _Sums:
    """Weighted sums about a first mean, so that nothing cancels."""

    origin: Floats
    weight: float = 0.0
    first: Floats = field(init=False)
    second: Floats = field(init=False)

    def __post_init__(self):
        dim = len(self.origin)
        self.first, self.second = np.zeros(dim), np.zeros((dim, dim))

    def add(self, values: Floats, weights: Floats) -> None:
        moved = values - self.origin
        self.weight += float(weights.sum())
        self.first += weights @ moved
        self.second += (moved * weights[:, None]).T @ moved

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and covariance."""
        mean = self.first / self.weight
        return self.origin + mean, self.second / self.weight - np.outer(mean, mean)


def prepare(
    samples: Samples,
    support: SupportMap,
    *,
    whiten: str,
    mixes: bool,
    drop: bool,
    commuting: Callable[[Floats, Floats], tuple[Floats, Floats]] | None = None,
    quiet: bool | None = None,
) -> Prepared:
    """Looks through all rows, in chunks.

    Args:
        samples: the rows.
        support: of their coordinates.
        whiten: whether the frame takes their full covariance, their scales, or nothing.
        mixes: whether the context, which always takes its scales, is left uncorrelated.
        drop: leave out rows that are not finite or outside of the support, and count them.
        commuting: what makes of means and variances those by which a symmetric flow is scaled.
        quiet: no progress bar.

    Raises:
        SampleError: rows that cannot be used (unless dropped), negative or no weights, a constant
            or discrete column, two columns that are one, fewer rows than coordinates.
    """
    names = [column for parameter in samples.parameters for column in parameter.columns]
    plain = Frame.plain(support)
    inner: _Sums | None = None
    outer: _Sums | None = None
    bad = _Bad(names, samples.context)
    repeats: list[str] | None = None
    seen: np.ndarray | None = None
    count, used, squares = 0, 0, 0.0
    with progress("looking through the samples", total=samples.rows.count, quiet=quiet) as bar:
        for chunk in samples.rows.chunks(CHUNK):
            x, context, weights = samples.cut(chunk)
            finite = samples.finite(chunk)
            kept, outside = _usable(support, finite, x)
            bad.note(count, chunk, finite, kept, outside)
            if weights[kept].min(initial=0.0) < 0:
                row = count + int(np.flatnonzero(kept & (weights < 0))[0])
                raise SampleError(
                    f"the weight of row {row} is negative; weights count events: make "
                    "them positive first (neural resampling, 2007.11586), or leave such rows out"
                )
            x, context, weights = x[kept], context[kept], weights[kept]
            count += len(chunk)
            used += len(x)
            squares += float(np.square(weights).sum())
            if len(x):
                if inner is None and whiten == "full":
                    support = straightened(support, x, weights)
                    plain = Frame.plain(support)
                u, _ = v_and_log_det(plain, x)
                inner = inner or _Sums(u.mean(axis=0))
                inner.add(u, weights)
                each, theirs = samples.conditions(context, weights)
                if len(each):
                    outer = outer or _Sums(each.mean(axis=0))
                    outer.add(each, theirs)
                    ends = np.stack([each.min(axis=0), -each.max(axis=0)])
                    seen = ends if seen is None else np.minimum(seen, ends)
                repeats = look_for_repeats(names, x) if repeats is None else repeats
            bar.update(count)
    bad.judge(drop)
    dim = len(names)
    if inner is None or used <= dim:
        raise SampleError(f"there are {used} usable rows for {dim} coordinates; more are needed")
    if outer is None or seen is None:
        raise SampleError("all sets of the context are empty")
    if not inner.weight > 0:
        raise SampleError("all weights are zero")
    mean, covariance = inner.moments()
    circular = plain.circular
    _look_at(names, mean, covariance, circular)
    if commuting is not None:
        mean, variance = commuting(mean, np.diag(covariance))
        covariance = np.diag(variance)
    enough = used >= _ROWS_A_COORDINATE * dim
    location, lower = _whitening(mean, covariance, circular, whiten if enough else "scale", whiten)
    context_mean, context_covariance = outer.moments()
    scale = np.sqrt(np.maximum(np.diag(context_covariance), 0))
    flat = scale <= _FLAT * (1 + np.abs(context_mean))
    notes = [*samples.notes, *(repeats or ())]
    for note in repeats or ():
        warn(note)
    if flat.any():
        names = samples.context[: len(flat)]  # of sets: features, by the first point
        which = ", ".join(n for n, f in zip(names, flat, strict=True) if f)
        notes.append(f"the context's {which} does not vary: nothing is learned of it")
        warn(notes[-1])
    if bad.total and drop:
        notes.append(f"dropped: {bad.text()}")
    scale = np.where(flat, 1.0, scale)
    effective = inner.weight**2 / squares
    several = samples.sets is None and 1 < len(scale) <= _WIDEST
    several = several and effective >= _ROWS_A_COORDINATE * len(scale)
    mixing = uncorrelating(context_covariance, scale) if mixes and several else None
    alike = 1 if samples.sets is None else samples.sets.points
    return Prepared(
        Frame.of(location, lower, support, 0.0),
        np.tile(context_mean, alike),
        np.tile(scale, alike),
        mixing,
        np.tile(seen * [[1], [-1]], (1, alike)),
        inner.weight / used,
        used,
        effective,
        bad.total,
        tuple(notes),
    )


def _usable(
    support: SupportMap, finite: NDArray[np.bool_], x: np.ndarray
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows are finite and inside, ``(n,)``; which coordinates are outside, ``(n, dim)``."""
    with jax.enable_x64(True):
        lower, upper = map(np.asarray, support.ends())
    outside = (x < lower) | (x > upper)
    usable = np.logical_and(finite, ~outside.any(axis=1))
    return np.asarray(usable), outside


class _Bad:
    """Rows that cannot be used, and why."""

    def __init__(self, names: list[str], context: Sequence[str]):
        self.names = names
        self.columns = [*names, *(f"context {name}" for name in context), "weight"]
        self.first: list[int] = []
        self.not_finite = 0
        self.holes = np.zeros(len(self.columns), int)
        self.outside = np.zeros(len(names), int)
        self.total = 0

    def note(
        self,
        start: int,
        chunk: np.ndarray,
        finite: np.ndarray,
        kept: np.ndarray,
        outside: np.ndarray,
    ) -> None:
        rows = np.flatnonzero(~kept)
        self.first += (start + rows[: _SHOWN - len(self.first)]).tolist()
        holes = ~(np.isfinite(chunk) | finite[:, None])
        self.not_finite += int((~finite).sum())
        self.holes[: chunk.shape[1]] += holes.sum(axis=0)
        self.outside += outside.sum(axis=0)
        self.total += len(rows)

    def text(self) -> str:
        """What is wrong with how many."""
        parts = []
        if self.not_finite:
            worst = np.flatnonzero(self.holes)[:_SHOWN]
            where = ", ".join(self.columns[i] for i in worst)
            parts.append(f"{self.not_finite} rows are not finite, in {where}")
        parts += [
            f"{n} rows have {name} outside of its support"
            for name, n in zip(self.names, self.outside, strict=True)
            if n
        ]
        return "; ".join(parts)

    def judge(self, drop: bool) -> None:
        if self.total and not drop:
            shown = ", ".join(map(str, self.first))
            raise SampleError(
                f"{self.text()} (the first: {shown}); mend them, or leave them out by drop=True"
            )


def _look_at(names: list[str], mean: Floats, covariance: Floats, circular: np.ndarray) -> None:
    """Constant columns and columns that are one."""
    sd = np.sqrt(np.maximum(np.diag(covariance), 0))
    flat = np.flatnonzero(sd <= _FLAT * (1 + np.abs(mean)))
    if flat.size:
        raise SampleError(
            f"constant: {', '.join(names[i] for i in flat[:_SHOWN])}; such columns have no "
            "density: leave them out"
        )
    correlation = np.abs(covariance / np.outer(sd, sd))
    pairs = np.argwhere(np.triu(correlation > _SAME, 1) & ~circular[:, None] & ~circular)
    if len(pairs):
        shown = "; ".join(f"{names[i]} and {names[j]}" for i, j in pairs[:_SHOWN])
        raise SampleError(f"the same up to scale: {shown}; leave one of them out")


def _whitening(
    mean: Floats, covariance: Floats, circular: np.ndarray, kind: str, asked: str
) -> tuple[Floats, Floats]:
    """Location and triangular scale of the coordinates that are not on a circle."""
    dim = len(mean)
    line = ~circular
    if asked == "none":
        return np.zeros(dim), np.eye(dim)
    covariance = np.where(line[:, None] & line, covariance, np.eye(dim))
    if kind == "scale":
        covariance = np.diag(np.diag(covariance))
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    # Sums of columns leave it singular: their flow still has a width of a thousandth.
    lower = np.asarray(np.linalg.cholesky((1 - 1e-6) * correlation + 1e-6 * np.eye(dim)), float)
    return np.where(line, mean, 0.0), scale[:, None] * lower
