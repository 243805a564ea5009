"""Jets without Pythia: spectra that look like those of QCD, and a response in closed form.

It keeps the study running where the extra ``hep`` is not installed. It is no simulation: the
spectra, the resolution and its tails are only of the right size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.studies.jets.events import COLUMNS, PT, selected
from posterion.studies.jets.kinematics import NAMES, wrapped

__all__ = ["parametrised"]

Floats = NDArray[np.float64]

_TAIL = 0.06  # share of jets that lose energy, or gain a neighbour's


def parametrised(jets: int, *, seed: int) -> dict[str, Floats]:
    """Pairs of jets in `events.COLUMNS`: generated, measured, and measured once more."""
    rng = np.random.default_rng([seed, 19])
    parts: list[dict[str, Floats]] = []
    found = 0
    while found < jets:
        part = _part(2 * (jets - found) + 100, rng)
        part["event"] = part["event"] + sum(len(p["event"]) for p in parts)
        parts.append(part)
        found += len(part["event"])
    return {name: np.concatenate([p[name] for p in parts])[:jets] for name in COLUMNS}


def _part(count: int, rng: np.random.Generator) -> dict[str, Floats]:
    # Falling spectra with a bias of pT^4 are about flat in log pT, and fewer at high pT.
    share = 1 - np.sqrt(1 - rng.uniform(size=count))
    pt = 12.0 * (1.6 * PT[1] / 12.0) ** share
    eta = np.clip(1.5 * rng.standard_normal(count), -4, 4)
    phi = rng.uniform(-np.pi, np.pi, count)
    m = pt * np.exp(np.log(0.17) - 0.1 * np.log(pt / 50) + 0.4 * rng.standard_normal(count))
    gen = np.stack([pt, eta, phi, m], axis=1)
    both = {"gen": gen, "reco": _measured(gen, rng), "again": _measured(gen, rng)}
    keep = np.zeros(count, bool)
    for rows in both.values():
        keep |= selected(rows[:, 0], rows[:, 1])
    table: dict[str, Any] = {"event": np.arange(keep.sum()) * 1.0, "jet": np.zeros(keep.sum())}
    for kind, rows in both.items():
        table |= {f"{kind}_{name}": rows[keep, i] for i, name in enumerate(NAMES)}
    return table


def _measured(gen: Floats, rng: np.random.Generator) -> Floats:
    pt, eta, phi, m = gen.T
    n = len(gen)
    # The resolution is worse at the edge of the tracker, and there is a tail to either side.
    resolution = np.sqrt(0.3**2 / pt + 0.02**2) * (1 + 0.08 * eta**2)
    lost = rng.uniform(size=n) < _TAIL
    tail = np.where(rng.uniform(size=n) < 0.8, -1.0, 0.7) * rng.exponential(2.5, n)
    pull = rng.standard_normal(n) + np.where(lost, tail, 0.0)
    scale = np.exp(resolution * pull - 0.4 / pt)
    angle = 0.015 * (20 / pt) ** 0.7
    wide = rng.standard_t(4, (n, 2)) * angle[:, None]
    seen = rng.beta(9.0, 2.0, n) ** (8.0 / (6.0 + np.sqrt(pt)))
    return np.stack(
        [pt * scale, eta + wide[:, 0], wrapped(phi + wide[:, 1]), m * seen * scale], axis=1
    )
