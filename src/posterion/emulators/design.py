"""Where to run the expensive theory next."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SettingError
from posterion.core.settings import check_whole
from posterion.emulators.emulator import Emulator
from posterion.emulators.predicting import ROWS, means_of_networks, moments

__all__ = ["next_points"]

Floats = NDArray[np.float64]

_logger = logging.getLogger("posterion")
_ROUNDING = 1e-3  # of a variance in single precision, relative


def next_points(
    emulator: Emulator, candidates: Any, count: int, *, seed: int = 0
) -> NDArray[np.int64]:
    """The candidates at which running the theory would teach the emulator most.

    The first is where the networks differ most, the largest epistemic part. Each further one is
    where they would still differ most if those before were known: what networks say together at two
    points tells how much the one says of the other (greedy choice by variance, as for Gaussian
    processes: MacKay, Neural Computation 4 (1992) 590). Points next to each other are thus not
    chosen twice, and a whole batch can be run at once.

    Of ``n`` networks the differences are ``n - 1`` numbers at each point: after as many choices
    nothing is left that they could say. Further candidates are drawn, with probabilities in
    proportion to the epistemic standard deviation (Kirsch et al., 2106.12059), which spreads a
    large batch where the very largest would crowd in corners.

    What is known only lessens a variance. So each choice asks the networks again only where the
    last known variance exceeds the best found, a chunk of points at a time: memory holds a few
    numbers of each candidate, and of a chunk what each network says.

    The further outside of what was trained on, the more networks differ, and the less that is to be
    believed: candidates are best within it. A warning is logged where others are chosen.

    Args:
        emulator: of what is known so far; its networks must differ, so it takes two at least.
        candidates: points, as for `Emulator.predict`.
        count: how many to choose.
        seed: of those that are drawn.

    Returns:
        Their places among the candidates, the most wanted first, ``(count,)``.

    Raises:
        SettingError: more points are asked for than there are, or there is one network only.
        SampleError: points that are not finite, of another width, or no numbers.
    """
    check_whole(count=count)
    points = emulator._points(candidates)
    networks = emulator.networks
    if not 1 <= count <= len(points):
        raise SettingError(f"{count} of {len(points)} candidates cannot be chosen")
    if len(networks) < 2:
        raise SettingError("one network alone differs from none: give several chains or draws")
    scaled = emulator.inputs.scaled(points)
    spread = moments(emulator.joint, networks, scaled, emulator.targets)[0]
    noise = spread.aleatoric
    variance = spread.epistemic.sum(axis=1)
    bound = (1 + _ROUNDING) * variance  # of what is not known, from above
    known: list[tuple[Floats, Floats]] = []
    chosen: list[int] = []
    for _ in range(min(count, len(networks) - 1)):
        place, at = _most_unknown(emulator, scaled, bound, known)
        chosen.append(place)
        bound[place] = -1.0
        square = np.sum(at**2, axis=0)
        # Of what a measurement there with its noise would tell, nothing stays to be learned.
        keep = 1 - np.sqrt(noise[place] / (square + noise[place] + 1e-12))
        known.append((at, keep / np.maximum(square, 1e-12)))
    if more := count - len(chosen):
        left = np.setdiff1d(np.arange(len(points)), chosen)
        rng = np.random.default_rng([seed, 17])
        # The largest of log-weights with Gumbel's noise are draws without replacement.
        score = 0.5 * np.log(np.maximum(variance[left], 1e-300)) + rng.gumbel(size=len(left))
        chosen += left[np.argsort(-score)[:more]].tolist()
    if outside := int(emulator.inputs.outside(points[chosen]).sum()):
        _logger.warning(
            "%d of the %d points chosen lie outside of what was trained on, where the differences "
            "of networks are least to be believed",
            outside,
            count,
        )
    return np.array(chosen)


def _most_unknown(
    emulator: Emulator, scaled: Floats, bound: Floats, known: list[tuple[Floats, Floats]]
) -> tuple[int, Floats]:
    """The point of the largest variance, and the networks' deviations there.

    ``bound`` is lowered to the variance where that was looked at, and is below zero where a point
    is taken.
    """
    best, place, at = -np.inf, -1, np.empty(0)
    order = np.argsort(-bound, kind="stable")
    for start in range(0, len(order), ROWS):
        if bound[order[start]] < max(best, 0.0):
            break
        rows = order[start : start + ROWS]  # taken ones too: another number would compile anew
        apart = _deviations(emulator, scaled[rows], known)
        variance = np.where(bound[rows] < 0, -1.0, np.sum(apart**2, axis=(0, 2)))
        bound[rows] = variance
        first = int(np.argmax(variance))
        if variance[first] > best:
            best, place, at = variance[first], int(rows[first]), apart[:, first]
    return place, at


def _deviations(emulator: Emulator, x: Floats, known: list[tuple[Floats, Floats]]) -> Floats:
    """Of each network from their mean, without what is known, ``(networks, points, targets)``."""
    means = means_of_networks(emulator.joint, emulator.networks, x).astype(np.float64)
    apart = (means - means.mean(axis=0)) / len(means) ** 0.5
    for at, share in known:
        apart -= (share * np.einsum("kt,kpt->pt", at, apart))[None] * at[:, None]
    return apart
