"""Bounds as mirrors: coordinates in which a chain need not squeeze what is normal on an interval.

The map from the line to an interval makes a density that ends at a bound smooth. Where hardly
anything lies near the bounds it only bends what would be normal: a chain then moves better in the
parameter itself, and a bound reflects it.
"""

import numpy as np

from posterion.bijections.support import SupportMap
from posterion.targets.frame import Frame
from posterion.targets.target import v_and_log_det, x_and_log_det

Floats = np.ndarray

_LEVELS = np.array([0.001, 0.02, 0.16, 0.5, 0.84, 0.98, 0.999])
_NORMAL = np.array([-3.0902, -2.0537, -0.9945, 0.0, 0.9945, 2.0537, 3.0902])
_EDGE, _RARE = 0.01, 0.02


def fold(frame: Frame, window: Floats) -> tuple[Frame, Floats]:
    """Folds the intervals on which draws are more normal than on the line.

    Args:
        frame: the coordinates of the draws.
        window: draws ``(n, chains, dim)`` that decide.

    Returns:
        The coordinates and the draws in them; as they are if nothing is folded.
    """
    kinds = np.array(frame.support.kinds)
    asked = np.flatnonzero(kinds == "interval")
    asked = [i for i in asked if frame.origins[i] is None]
    if not len(asked) and "folded" not in kinds:
        return frame, window
    x = x_and_log_det(frame, window.reshape(-1, frame.dim))[0]
    location, lower = np.asarray(frame.whitening.location), np.asarray(frame.whitening.lower)
    for i in asked:
        a, b = float(frame.support.a[i]), float(frame.support.b[i])
        share = (x[:, i] - a) / (b - a)
        u = location[i] + window.reshape(-1, frame.dim) @ lower[i]
        rare = np.mean(np.minimum(share, 1 - share) < _EDGE) < _RARE
        if rare and _bent(share) < _bent(u):
            kinds[i] = "folded"
    if "folded" not in kinds:
        return frame, window
    support = SupportMap(kinds.tolist(), frame.support.a, frame.support.b)
    dim = frame.dim
    reference = float(frame.reference) - float(np.log(np.diag(lower)).sum())
    plain = Frame.of(np.zeros(dim), np.eye(dim), support, reference, frame.origins)
    return plain, v_and_log_det(plain, x)[0].reshape(window.shape)


def _bent(values: Floats) -> float:
    """How far quantiles are from those of a normal of the same median and width."""
    q = np.quantile(values, _LEVELS)
    return float(np.abs((q - q[3]) / (q[4] - q[2]) * 2 * 0.9945 - _NORMAL).max())
