"""The page on which a reader picks two parameters and sees the contours of their draws.

The page holds draws, one byte a number, and a script of its own which bins, smooths and draws them.
"""

import base64
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from posterion.core.columns import Column, pick
from posterion.core.density import Window
from posterion.core.errors import SampleError, SettingError
from posterion.core.estimate import Estimate
from posterion.core.statistics import normalised_weights
from posterion.core.summary import summarise
from posterion.reports.blocks import Explorer, Image, Preformatted, Section
from posterion.reports.corner import corner_plot
from posterion.reports.layers import Layer, common_windows
from posterion.reports.page import Page, write_page
from posterion.reports.posterior import closing_sections, tone_of
from posterion.sampling.importance import systematic
from posterion.training.comparing import pair_samples

__all__ = ["contours", "contours_page"]

MASSES = (0.68, 0.95)
LEVELS = 240  # of a column's window; a multiple of the cells of the script's grid
OUTSIDE = 255
_FEWEST = 50  # rows
_BYTES = 3_000_000  # of draws on a page, before they are written as text
_DRAWS = 30_000


def contours(result: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write the page of contours: ``result.contours("page.html")``.

    Args:
        result: as for `contours_page`.
        path: the file to write.
        options: as `contours_page`.

    Raises:
        OutputError: the file could not be written; what was there before is still there.
    """
    write_page(path, contours_page(result, **options))


def contours_page(
    result: Any,
    *,
    samples: Any = None,
    names: str | Iterable[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    title: str | None = None,
) -> Page:
    """The page of contours of a result: regions of 68 % and 95 % of any two columns.

    It opens with the parameter of interest, where there is one, and what it is most correlated
    with; a reader without scripts sees that pair as a picture.

    Args:
        result: a posterior or a fit.
        samples: drawn over it, such as held-out truth; in any form that `posterion.compare` takes.
        names: of parameters or of their elements; all by default.
        n: draws on the page; by default 30 000, fewer where the page would become larger than
            about 4 MB.
        seed: of the draws.
        title: of the page.

    Raises:
        SettingError: fewer than two columns, or no positive number of draws.
        ThetaError: an unknown name, or samples that lack a column.
        SampleError: samples that are not finite, constant in a column, or fewer than 50.
    """
    chosen = pick(result.parameters, names)
    if len(chosen) < 2:
        raise SettingError(f"contours are of two columns; {result.name!r} is shown with one")
    sets = 1 if samples is None else 2
    count = min(_DRAWS, _BYTES // (len(chosen) * sets)) if n is None else n
    if count < 1:
        raise SettingError(f"the number of draws must be positive, got {count}")
    layers = [
        _thinned(layer, chosen, count, seed) for layer in _layers(result, samples, count, seed)
    ]
    columns = layers[0].columns
    first, second = _most_telling(result, layers[0])
    windows = common_windows(layers, columns)
    data = {
        "levels": LEVELS,
        "masses": MASSES,
        "first": first,
        "second": second,
        "columns": [_column(c, windows[c.name]) for c in columns],
        "sets": [_set(layer, windows) for layer in layers],
    }
    pair = [columns[first].name, columns[second].name]
    still = Image.of(
        corner_plot(layers, names=pair),
        f"Contours of {pair[0]} and {pair[1]}",
    )
    overlay = f"; dashed: {layers[1].label}" if sets == 2 else ""
    explorer = Explorer(
        data,
        still,
        f"Regions of highest density that hold 68 % and 95 % of {len(layers[0].x)} draws, and the "
        f"density of each column by itself{overlay}. Pick any two of {len(columns)} columns.",
    )
    return Page(
        title=title or f"Contours of {result.name}",
        lead=[result.status.sentence],
        sections=[
            Section("Contours", [explorer]),
            Section("Health", [Preformatted(result.health.text(100))]),
            *closing_sections(result),
        ],
        badge=result.status.value.replace("_", " "),
        tone=tone_of(result.status),
    )


def _layers(result: Any, samples: Any, n: int, seed: int) -> list[Layer]:
    if samples is None:
        return [Layer.of(result, label="flow", n=n, seed=seed)]
    pair = pair_samples(result, samples, draws=n, seed=seed)
    _check_samples(pair.second, [column.name for column in pair.columns])
    share = normalised_weights(pair.weights_second, len(pair.second))
    return [
        Layer(pair.columns, pair.first, "flow"),
        Layer(pair.columns, pair.second, pair.labels[1], share),
    ]


def _check_samples(x: np.ndarray, names: Sequence[str]) -> None:
    fine = np.isfinite(x)
    if not fine.all():
        row, column = np.argwhere(~fine)[0]
        raise SampleError(
            f"{int((~fine).any(axis=1).sum())} rows of the samples are not finite, the first is "
            f"row {row} in {names[column]!r}: leave them out"
        )
    if len(x) < _FEWEST:
        raise SampleError(f"the samples have {len(x)} rows; contours take at least {_FEWEST}")
    flat = [name for name, part in zip(names, x.T, strict=True) if part.min() == part.max()]
    if flat:
        raise SampleError(f"constant columns have no contours: {', '.join(flat)}")


def _thinned(layer: Layer, chosen: Sequence[int], n: int, seed: int) -> Layer:
    """Some columns of at most ``n`` rows of equal weight."""
    rng = np.random.default_rng([seed, 89])
    rows = rng.permutation(len(layer.x))[:n]
    if layer.weights is not None:
        rows = systematic(layer.weights, min(n, len(layer.x)), rng)
    columns = tuple(layer.columns[i] for i in chosen)
    return Layer(columns, layer.x[rows][:, list(chosen)], layer.label)


def _most_telling(result: Any, layer: Layer) -> tuple[int, int]:
    """The parameter of interest, or a column of the closest pair, and what goes with it most."""
    with np.errstate(all="ignore"):
        strength = np.abs(np.nan_to_num(np.corrcoef(layer.x.T)))
    np.fill_diagonal(strength, -1.0)
    interest = [
        column
        for p in result.parameters
        if getattr(p, "role", None) == "poi"
        for column in p.columns
    ]
    for i, column in enumerate(layer.columns):
        if column.name in interest:
            return i, int(np.argmax(strength[i]))
    i, j = np.unravel_index(int(np.argmax(strength)), strength.shape)
    return int(i), int(j)


def _column(column: Column, window: Window) -> dict[str, Any]:
    return {
        "name": column.name,
        "heading": column.heading,
        "lower": window.lower,
        "upper": window.upper,
        "circle": window.period is not None,
    }


def _set(layer: Layer, windows: dict[str, Window]) -> dict[str, Any]:
    summary = summarise(layer.columns, layer.x)
    codes = [_codes(x, windows[c.name]) for x, c in zip(layer.x.T, layer.columns, strict=True)]
    return {
        "label": layer.label,
        "n": len(layer.x),
        "said": [str(Estimate(m, s)) for m, s in zip(summary.mean, summary.sd, strict=True)],
        "codes": base64.b64encode(np.concatenate(codes).tobytes()).decode("ascii"),
    }


def _codes(x: np.ndarray, window: Window) -> np.ndarray:
    """The level of each draw within the window, or `OUTSIDE`."""
    place = window.place(x)
    level = np.floor((place - window.lower) / (window.upper - window.lower) * LEVELS)
    inside = (place >= window.lower) & (place <= window.upper)
    return np.where(inside, np.clip(level, 0, LEVELS - 1), OUTSIDE).astype(np.uint8)
