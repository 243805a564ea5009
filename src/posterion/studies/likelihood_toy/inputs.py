"""What the toy likelihood is made of: expected and observed events of 90 bins, and their errors.

The form is that of a published LHC-like likelihood (Buckley et al., 1809.05548; Coccaro et al.,
1911.03305): three categories of 30 bins of a falling spectrum with a signal, shape and
normalisation uncertainties. By default the numbers are made here; a file of others can be given.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import TableError

Floats = NDArray[np.float64]

CATEGORIES, BINS = 3, 30
SHAPES = ("ISR", "JES")
RATES = ("ISR", "JES", "LV", "CR")
_EXPECTED = (1000.0, 250.0, 50.0)
_SIGNAL = (55.0, 23.0, 18.0)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Numbers of the model; bins run through the categories one after the other.

    Attributes:
        observed: events, ``(90,)``.
        background: expected ones, ``(90,)``.
        signal: expected ones at signal strength 1, ``(90,)``.
        statistics: relative error of the simulation of each bin, ``(90,)``.
        shape_up, shape_down: factors of each bin at +1 and -1 standard deviation of ISR and of
            JES, ``(2, 90)``.
        rate_up, rate_down: relative changes of each category's sum by ISR, JES, LV and CR,
            ``(4, 3)``.
        source: where they come from.
    """

    observed: Floats
    background: Floats
    signal: Floats
    statistics: Floats
    shape_up: Floats
    shape_down: Floats
    rate_up: Floats
    rate_down: Floats
    source: str


def generate(seed: int = 2018) -> Inputs:
    """Inputs of our own: smooth falling spectra, a broad signal, observed counts drawn.

    Args:
        seed: of the signal's place, of the uncertainties and of the counts.
    """
    rng = np.random.default_rng([seed, 90])
    position = (np.arange(BINS) + 0.5) / BINS
    background, signal, statistics = [], [], []
    shape_up, shape_down = [], []
    for category in range(CATEGORIES):
        slope = 4.2 + 0.4 * rng.normal()
        spectrum = np.exp(-slope * position)
        events = np.round(_EXPECTED[category] * spectrum / spectrum.sum(), 1)
        bump = position**1.5 * np.exp(-3.0 * position)
        background.append(np.maximum(events, 0.1))
        signal.append(_SIGNAL[category] * bump / bump.sum())
        statistics.append(0.027 * np.sqrt(events[0] / background[-1]))
        tilt = (position - 0.3) * np.array([[0.09], [0.05]]) * (1 + 0.1 * rng.normal(size=(2, 1)))
        shape_up.append(1 + tilt)
        shape_down.append(1 - 0.95 * tilt)
    rate_up = rng.uniform(0.01, 0.1, (4, CATEGORIES)) * np.array([1.0, 1.3, 1.8])
    rate_up *= rng.choice([-1.0, 1.0], (4, CATEGORIES))
    rate_down = -rate_up * rng.uniform(0.85, 1.15, (4, CATEGORIES))
    expected = np.concatenate(background)
    return Inputs(
        rng.poisson(expected).astype(float),
        expected,
        np.concatenate(signal),
        np.concatenate(statistics),
        np.concatenate(shape_up, axis=1),
        np.concatenate(shape_down, axis=1),
        rate_up,
        rate_down,
        f"generated with seed {seed}",
    )


def read(path: Path) -> Inputs:
    """Inputs of a JSON file with the names of the published model.

    Raises:
        TableError: the file is missing, no JSON, lacks a name, or has a list of another length.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TableError(f"{path} is no readable JSON file: {error}") from error

    def of(name: str, length: int) -> Floats:
        values = content.get(name) if isinstance(content, dict) else None
        try:
            array = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.shape != (length,) or not np.isfinite(array).all():
            raise TableError(f"{path}: {name!r} must be {length} finite numbers")
        return array

    bins = CATEGORIES * BINS

    def stack(form: str, names: tuple[str, ...], length: int) -> Floats:
        return np.stack([of(form.format(name), length) for name in names])

    return Inputs(
        of("data", bins),
        np.round(of("exp_background", bins), 1),
        of("signal", bins),
        of("epsI_MCstat", bins),
        stack("kpI_{}", SHAPES, bins),
        stack("kmI_{}", SHAPES, bins),
        stack("Kp_{}", RATES, CATEGORIES),
        stack("Km_{}", RATES, CATEGORIES),
        path.name,
    )


def described(inputs: Inputs) -> dict[str, Any]:
    """Sums by category, for the page."""
    parts = (inputs.background, inputs.observed, inputs.signal)
    background, observed, signal = (x.reshape(CATEGORIES, BINS).sum(axis=1) for x in parts)
    return {"background": background, "observed": observed, "signal": signal}
