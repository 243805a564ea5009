"""Where to run the expensive theory next."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SettingError
from posterion.emulators.emulator import Emulator
from posterion.emulators.predicting import means_of_networks, moments
from posterion.emulators.tables import matching

__all__ = ["next_points"]


def next_points(emulator: Emulator, candidates: Any, n: int) -> NDArray[np.int64]:
    """The candidates at which running the theory would teach the emulator most.

    The first is where the networks differ most, the largest epistemic part. Each further one is
    where they would still differer most if those before were known: what networks say together
    at two points tells how much the one says of the other (greedy choice by variance, as for
    Gaussian processes: MacKay, Neural Computation 4 (1992) 590). Points next to each other are
    thus not chosen twice, and a whole batch can be run at once.

    Args:
        emulator: of what is known so far; its networks must differ, so it takes two at least.
        candidates: points, as for `Emulator.predict`; all are predicted by every network at once,
            8 bytes a point, network and target.
        n: how many to choose.

    Returns:
        Their places among the candidates, the most wanted first, ``(n,)``.

    Raises:
        SettingError: more points are asked for than there are, or there is one network only.
    """
    points = matching(candidates, emulator.inputs.names)
    networks = emulator.networks
    if not 1 <= n <= len(points):
        raise SettingError(f"{n} of {len(points)} candidates cannot be chosen")
    if len(networks) < 2:
        raise SettingError("one network alone differs from none: give several chains or draws")
    scaled = emulator.inputs.scaled(points)
    means = means_of_networks(emulator.joint, networks, scaled).astype(np.float64)
    noise = moments(emulator.joint, networks, scaled, emulator.targets)[0].aleatoric
    apart = (means - means.mean(axis=0)) / len(networks) ** 0.5
    chosen: list[int] = []
    left = np.ones(len(points), bool)
    for _ in range(n):
        variance = np.sum(apart**2, axis=(0, 2))
        place = int(np.argmax(np.where(left, variance, -1.0)))
        chosen.append(place)
        left[place] = False
        at = apart[:, place]  # (networks, targets)
        known = np.sum(at**2, axis=0) + noise[place] + 1e-12
        shared = np.einsum("kt,kpt->pt", at, apart)
        # Of what a measurement there with its noise would tell, nothing stays to be learned.
        keep = 1 - np.sqrt(noise[place] / known)
        apart = apart - (keep / np.maximum(np.sum(at**2, 0), 1e-12) * shared)[None] * at[:, None]
    return np.array(chosen)
