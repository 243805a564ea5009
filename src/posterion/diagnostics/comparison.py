"""Two samples side by side: each distance beside its floor, truth against truth.

Each of these metrics depends on the numbers of draws: it means something only beside its floor,
and one that is at its floor cannot be improved. Nor does that accept a model by itself: where a
plain normal is at the floor too, the metric is blind to what the model adds.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from posterion.core.errors import SampleError, SettingError
from posterion.core.estimate import Estimate
from posterion.diagnostics._arrays import Floats
from posterion.diagnostics.auc import area_under_curve
from posterion.diagnostics.compared import Comparison, Metric
from posterion.diagnostics.distances import (
    SIGMAS,
    Sample,
    cut_open,
    laid_open,
    measure,
    ruler_of,
)
from posterion.diagnostics.weights import clean_log_weights, ess_fraction

__all__ = ["Comparison", "Metric", "compare_samples"]

_LABELS = {
    "ks_p": "KS p-value",
    "ks": "KS distance",
    "wasserstein": "Wasserstein",
    "wasserstein_sd": "Wasserstein / sd",
    **{f"width_{s}": f"HPDI width, {s} sigma" for s in SIGMAS},
    **{f"ends_{s}": f"HPDI ends / sd, {s} sigma" for s in SIGMAS},
    **{f"relative_ends_{s}": f"HPDI ends, rel., {s} sigma" for s in SIGMAS},
    "quantile": "quantiles / sd",
    "sliced": "sliced Wasserstein / sd",
    "frobenius": "correlations, Frobenius",
}
_BETTER = ("ks_p",)
_JOINT = ("sliced", "frobenius")
_SHOWN = {"wasserstein", *(f"{k}ends_{s}" for k in ("", "relative_") for s in SIGMAS)}
_PER_BATCH = 5  # effective rows below which a batch's p-value says nothing
_FEWEST = 400  # effective rows below which the region of 3 sigma is that of the outermost rows


def compare_samples(
    first: ArrayLike,
    second: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    weights_first: ArrayLike | None = None,
    weights_second: ArrayLike | None = None,
    periods: Sequence[float | int | None] | None = None,
    log_ratio: ArrayLike | None = None,
    batches: int = 100,
    repeats: int = 20,
    gaussian: bool = True,
    labels: tuple[str, str] = ("first", "second"),
    seed: int = 0,
    step: Callable[[], Any] | None = None,
) -> Comparison:
    """How far a sample is from a reference, by the metrics of 2309.09743 and more.

    One number a column, of which the median and the worst are judged:

    - KS p-value: of the two-sample test, by Kolmogorov's law with Stephens' correction, averaged
      over disjoint batches of 1/100 of the rows; about 0.5 for equal distributions, and somewhat
      more where a batch has only tens of rows.
    - KS distance: of all rows.
    - Wasserstein: the 1-Wasserstein distance, in the unit of the column and in its sd.
    - HPDI width: relative error of the width of the region of highest density at 1, 2 and 3 sigma.
      It is the shortest interval; where the reference's region is a union of intervals that is at
      least 5 % narrower, both are measured as unions.
    - HPDI ends: the largest distance of an end to the other sample's nearest, in sd; and relative
      to the ends themselves, averaged, as the published scripts do: unstable near zero.
    - quantiles: the largest error of those at -3, -2, ..., 3 sigma, in sd.

    Of all columns together: the mean Wasserstein distance of 64 projections at random of the
    standardised rows, and the Frobenius norm of the difference of Pearson's correlation matrices.

    The floor is the same metric between two bootstrap samples of the reference of the same sizes
    (Kish's effective ones where there are weights), ``repeats`` times. A split of the reference
    into halves has only half of the rows, and the factor sqrt(2) that would make up for it does not
    hold for the ends of intervals, which converge as n^(-1/3). Measured on normals, two peaks and
    an exponential, 5000 rows against 5000: the bootstrap gives mean and spread of the true floor
    within 10 % for most metrics; at 3 sigma, where a few rows decide, up to 25 % too little. Of 100
    comparisons of truth with truth (2000 rows, five columns) 5 were called above the floor, and of
    their single figures 1 in 20; with 40 columns the median at 3 sigma was so in 3 of 14.

    Rows are taken as independent: thin a chain first, or its autocorrelation is seen as a
    difference.

    Args:
        first: what is judged, ``(n, d)``.
        second: the reference, ``(m, d)``.
        names: of the columns.
        weights_first: ``(n,)``, not negative.
        weights_second: ``(m,)``, not negative.
        periods: per column, its period or None. A circle is cut opposite to the mean direction of
            the reference.
        log_ratio: the log of the exact density over that of ``first``, up to a constant, at its
            rows ``(n,)``: adds ESS/N of the weights, and the area under the curve of the best
            possible classifier, AUC = E_q[w F_q(w)].
        batches: of the p-value.
        repeats: of the floor.
        gaussian: measure beside it a normal with the mean and covariance of the reference.
        labels: what the two are called.
        seed: of batches, directions and floors.
        step: called after each repetition, such as to move a bar.

    Raises:
        SampleError: no rows of finite numbers, other widths, a constant column, unusable weights,
            or too few rows.
        SettingError: names or periods of another number, ``batches`` or ``repeats`` too small.

    >>> rng = np.random.default_rng(0)
    >>> found = compare_samples(rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2)), seed=1)
    >>> found.at_floor, found["ks_p"].at_floor
    (True, True)
    """
    if batches < 1 or repeats < 3:
        raise SettingError(f"batches >= 1 and repeats >= 3 are needed, got {batches}, {repeats}")
    a, b = _matrix(first, labels[0]), _matrix(second, labels[1])
    if a.shape[1] != b.shape[1]:
        raise SampleError(f"{labels[0]} has {a.shape[1]} columns, {labels[1]} {b.shape[1]}")
    names = tuple(names or (f"x[{j}]" for j in range(a.shape[1])))
    if len(names) != a.shape[1]:
        raise SettingError(f"{len(names)} names for {a.shape[1]} columns")
    _require_finite(a, names, labels[0])
    _require_finite(b, names, labels[1])
    one, notes = _sample(a, weights_first, labels[0])
    two, more = _sample(b, weights_second, labels[1])
    needed = max(_PER_BATCH * batches, _FEWEST)
    for sample, label in ((one, labels[0]), (two, labels[1])):
        _require_spread(sample, names, label)
        if sample.effective < needed:
            least = _FEWEST // _PER_BATCH
            raise SampleError(
                f"{label} is worth {sample.effective:.0f} rows; the KS test in {batches} batches "
                f"needs {_PER_BATCH * batches}, the intervals of 3 sigma {_FEWEST}: give more rows"
                + (f", or {least} batches" if sample.effective >= _FEWEST else "")
            )
    one, two = _on_lines(one, two, periods)
    rng = np.random.default_rng([seed, 73])
    ruler = ruler_of(two, batches=batches, seed=seed)
    found = measure(one, two, ruler, rng)
    sizes = round(one.effective), round(two.effective)
    normal = None
    if gaussian:
        covariance = np.atleast_2d(np.cov(two.x.T, aweights=two.weights, ddof=0))
        drawn = rng.multivariate_normal(ruler.location, covariance, sizes[0], method="eigh")
        normal = measure(Sample(drawn), two, ruler, rng)
    floors = []
    for _ in range(repeats):
        pair = two.resampled(sizes[0], rng), two.resampled(sizes[1], rng)
        floors.append(measure(*pair, ruler, rng))
        if step is not None:
            step()
    stacked = {key: np.stack([floor[key] for floor in floors]) for key in found}
    metrics = [_judged(key, found[key], stacked[key], normal, names) for key in found]
    limit = _largest_by_chance(stacked)
    if log_ratio is not None:
        metrics += _against_density(log_ratio, len(a), weights_first)
    rows, worth = (len(a), len(b)), (one.effective, two.effective)
    kept = tuple(notes + more)
    return Comparison(names, rows, worth, tuple(metrics), limit, repeats, batches, kept, labels)


def _judged(
    key: str, value: Floats, floor: Floats, normal: dict[str, Floats] | None, names: Sequence[str]
) -> Metric:
    typical, extreme = _figures(key, floor)
    found = Metric(
        key,
        _LABELS[key],
        float(np.median(value)),
        _spread(typical),
        larger_is_better=key in _BETTER,
        gaussian=None if normal is None else float(np.median(normal[key])),
        columns=() if key in _JOINT else tuple(float(v) for v in value),
        kind="shown" if key in _SHOWN else "test",
    )
    if len(value) == 1:
        return found
    j = int(np.argmin(value) if key in _BETTER else np.argmax(value))
    return replace(found, worst=float(value[j]), worst_floor=_spread(extreme), column=names[j])


def _figures(key: str, floor: Floats) -> tuple[Floats, Floats]:
    """Median and worst of each repetition ``(repeats, columns)``."""
    return np.median(floor, axis=1), floor.min(axis=1) if key in _BETTER else floor.max(axis=1)


def _largest_by_chance(floors: dict[str, Floats]) -> float:
    """The largest pull that one in twenty repetitions exceeds, each against all the others."""
    pulls = []
    for key, floor in floors.items():
        if key in _SHOWN:
            continue
        for x in _figures(key, floor)[: floor.shape[1]]:
            n = len(x)
            mean = (x.sum() - x) / (n - 1)
            square = (np.square(x).sum() - np.square(x)) / (n - 1) - np.square(mean)
            sd = np.sqrt(np.maximum(square * (n - 1) / (n - 2), 1e-300))
            pulls.append((x - mean) / sd * (-1 if key in _BETTER else 1))
    largest = np.sort(np.max(pulls, axis=0))
    return float(largest[min(int(np.ceil(0.95 * (len(largest) + 1))), len(largest)) - 1])


def _spread(values: Floats) -> Estimate:
    """The mean, and the standard deviation from one repetition to the next."""
    if not np.isfinite(values).all():  # an end at zero has no relative error
        return Estimate(float(np.median(values)))
    return Estimate(values.mean(), values.std(ddof=1))


def _against_density(log_ratio: ArrayLike, n: int, weights: ArrayLike | None) -> list[Metric]:
    log_w = np.asarray(log_ratio, np.float64)
    if log_w.shape != (n,):
        raise SampleError(f"log_ratio has the shape {log_w.shape}; expected ({n},)")
    if weights is not None:
        raise SettingError("log_ratio is of draws of equal weight: give no weights_first")
    clean, _ = clean_log_weights(log_w)
    if not np.isfinite(clean).any():
        raise SampleError("log_ratio is finite nowhere")
    w = np.exp(clean - clean.max())
    ranks = np.where(np.isfinite(clean), clean, clean[np.isfinite(clean)].min() - 1.0)
    best = area_under_curve(ranks, ranks, weights_first=w)
    fraction, half, one = ess_fraction(clean), Estimate(0.5, 0.0), Estimate(1.0, 0.0)
    return [
        Metric("ess", "ESS/N", fraction.value, one, larger_is_better=True, kind="limit"),
        Metric("best_auc", "best possible AUC", best.value, half, kind="limit"),
    ]


def _matrix(x: ArrayLike, name: str) -> Floats:
    array = np.asarray(x)
    array = array[:, None] if array.ndim == 1 else array
    if array.dtype.kind not in "biuf" or array.ndim != 2 or array.size == 0:
        raise SampleError(
            f"{name} must be rows of numbers (n, d), got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.float64)


def _require_finite(x: Floats, names: Sequence[str], name: str) -> None:
    bad = ~np.isfinite(x)
    if bad.any():
        rows = np.flatnonzero(bad.any(axis=1))
        column = names[int(np.argmax(bad[int(rows[0])]))]
        raise SampleError(
            f"{name}: {len(rows)} of {len(x)} rows are not finite, the first is row {rows[0]} "
            f"({column}); count and remove them"
        )


def _require_spread(sample: Sample, names: Sequence[str], name: str) -> None:
    constant = [n for n, same in zip(names, np.ptp(sample.x, axis=0) == 0, strict=True) if same]
    if constant:
        raise SampleError(f"{name}: constant, leave out: {', '.join(constant)}")


def _sample(x: Floats, weights: ArrayLike | None, name: str) -> tuple[Sample, list[str]]:
    """Rows with a weight above zero, and what to know about them."""
    if weights is None:
        return Sample(x), []
    w = np.asarray(weights)
    if w.dtype.kind not in "biuf" or w.shape != (len(x),):
        raise SampleError(f"the weights of {name} have the shape {w.shape}; expected ({len(x)},)")
    w = w.astype(np.float64)
    if not np.isfinite(w).all() or w.min() < 0 or not w.sum() > 0:
        raise SampleError(f"the weights of {name} must be finite, not negative, not all zero")
    kept = w > 0
    share = w[kept] / w.sum()
    equal = None if np.ptp(share) == 0 else share
    lost = int((~kept).sum())
    return Sample(x[kept], equal), [f"{lost} rows of {name} have the weight zero"] if lost else []


def _on_lines(
    first: Sample, second: Sample, periods: Sequence[float | int | None] | None
) -> tuple[Sample, Sample]:
    """Circles cut open, of both samples at the same place."""
    if periods is None:
        return first, second
    if len(periods) != first.x.shape[1]:
        raise SettingError(f"{len(periods)} periods for {first.x.shape[1]} columns")
    xs = first.x.copy(), second.x.copy()
    for j, period in enumerate(periods):
        if period is None:
            continue
        if not period > 0:
            raise SettingError(f"periods[{j}] must be positive or None, got {period}")
        cut = cut_open(second.x[:, j], second.weights, period)
        for x in xs:
            x[:, j] = laid_open(x[:, j], cut, period)
    return Sample(xs[0], first.weights), Sample(xs[1], second.weights)
