"""Conditions as a flow sees them: about their mean, in units of their spread, uncorrelated.

Without the last, what only differences of correlated conditions tell (the scatter of repeated
measurements, say) is too small beside what they have in common for a network to find it.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_given", "as_seen", "uncorrelating"]

Floats = NDArray[np.float64]

_LEAST = 1e-4  # of a variance, below which a direction does not vary: it is rounding, or a sum


def uncorrelating(covariance: Floats, scale: Floats) -> Floats:
    """The symmetric matrix ``(width, width)`` that leaves scaled conditions uncorrelated.

    Of all such matrices it changes each condition the least (Kessy, Lewin and Strimmer, Am. Stat.
    72, 309 (2018), 1512.00809). Directions in which conditions do not vary stay as they are.

    Args:
        covariance: of the conditions.
        scale: of each; 1 for one that does not vary.
    """
    correlation = covariance / np.outer(scale, scale)
    varies = np.diag(correlation) > 0.5
    correlation = np.where(np.outer(varies, varies), correlation, np.eye(len(scale)))
    variance, direction = np.linalg.eigh(correlation)
    stretch = 1 / np.sqrt(np.where(variance > _LEAST, variance, 1.0))
    return (direction * stretch) @ direction.T


def as_seen(rows: np.ndarray, location: Floats, scale: Floats, mixing: Floats | None) -> Floats:
    """Conditions ``(n, width)`` as a flow sees them."""
    scaled = (rows - location) / scale
    return scaled if mixing is None else scaled @ mixing


def as_given(seen: np.ndarray, location: Floats, scale: Floats, mixing: Floats | None) -> Floats:
    """The inverse of `as_seen`."""
    scaled = seen.astype(np.float64)
    scaled = scaled if mixing is None else np.linalg.solve(mixing, scaled.T).T
    return location + scale * scaled
