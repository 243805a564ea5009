"""A HistFactory workspace of our own: a search in one region with two control regions.

Three channels of smooth falling spectra; a signal of strength ``mu``, top quarks and dibosons whose
rates are free (``mu_top``, ``mu_vv``) and held by their control regions, and fake leptons. Every
kind of constraint occurs: normsys (``btag``, ``theory``), histosys (``jes``, ``jer``), shapesys (of
the fakes), staterror and lumi. The form is that of pyhf's JSON schema 1.0.0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BINS = {"SR": 6, "CR_top": 4, "CR_vv": 4}
_EVENTS = {
    "SR": {"signal": 24.0, "top": 70.0, "vv": 45.0, "fakes": 14.0},
    "CR_top": {"top": 620.0, "vv": 25.0},
    "CR_vv": {"top": 40.0, "vv": 260.0},
}
_SIMULATED = 25.0  # events for each expected one
_LUMI = 0.017


def generate(seed: int = 2021) -> dict[str, Any]:
    """The workspace, of 30 coordinates and 14 bins; the counts are drawn at ``mu = 1``.

    Args:
        seed: of the sizes of the uncertainties and of the counts.
    """
    rng = np.random.default_rng([seed, 61])
    channels, observations = [], []
    for channel, bins in _BINS.items():
        samples = [
            _sample(channel, name, events, bins, rng) for name, events in _EVENTS[channel].items()
        ]
        total = np.sum([sample["data"] for sample in samples], axis=0)
        channels.append({"name": channel, "samples": samples})
        observations.append({"name": channel, "data": rng.poisson(total).astype(float).tolist()})
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "sigmas": [_LUMI],
        "inits": [1.0],
        "bounds": [[1 - 5 * _LUMI, 1 + 5 * _LUMI]],
    }
    config = {"poi": "mu", "parameters": [lumi]}
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "search", "config": config}],
        "version": "1.0.0",
    }


def _sample(
    channel: str, name: str, events: float, bins: int, rng: np.random.Generator
) -> dict[str, Any]:
    place = (np.arange(bins) + 0.5) / bins
    spectrum = place**2 * np.exp(-2 * place) if name == "signal" else np.exp(-2.2 * place)
    nominal = events * spectrum / spectrum.sum()
    modifiers: list[dict[str, Any]] = []
    if name == "fakes":  # from data: no luminosity, one uncertainty a bin
        spread = nominal * rng.uniform(0.25, 0.4, bins)
        modifiers.append(_modifier(f"fakes_{channel}", "shapesys", spread.tolist()))
        return {"name": name, "data": nominal.tolist(), "modifiers": modifiers}
    rate = {"signal": "mu", "top": "mu_top", "vv": "mu_vv"}[name]
    modifiers.append(_modifier(rate, "normfactor", None))
    for source, size in (("jes", 0.08), ("jer", 0.04)):
        tilt = 1 + size * rng.uniform(0.7, 1.3) * (place - 0.3)
        data = {"hi_data": (nominal * tilt).tolist(), "lo_data": (nominal / tilt).tolist()}
        modifiers.append(_modifier(source, "histosys", data))
    modifiers.append(_modifier("btag", "normsys", _ends(0.05 if name == "top" else 0.01, rng)))
    if name == "signal":
        modifiers.append(_modifier("lumi", "lumi", None))
        modifiers.append(_modifier("theory_signal", "normsys", _ends(0.1, rng)))
    else:
        if channel == "SR":  # of the extrapolation from the control regions
            modifiers.append(_modifier(f"theory_{name}", "normsys", _ends(0.08, rng)))
        error = np.sqrt(nominal / _SIMULATED)
        modifiers.append(_modifier(f"staterror_{channel}", "staterror", error.tolist()))
    return {"name": name, "data": nominal.tolist(), "modifiers": modifiers}


def _modifier(name: str, kind: str, data: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "data": data}


def _ends(size: float, rng: np.random.Generator) -> dict[str, float]:
    """Factors at one standard deviation up and down, not quite symmetric."""
    return {"hi": 1 + size * rng.uniform(0.8, 1.2), "lo": 1 - size * rng.uniform(0.8, 1.2)}
