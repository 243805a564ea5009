"""Probabilities of labels that hold what they say: logits scaled and shifted."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from posterion.core.errors import ShapeError
from posterion.diagnostics._arrays import Floats

__all__ = ["corrected_probabilities", "logistic_correction"]

_LEAST = 1e-7  # of a probability, before its logarithm
_PRIOR = 1.0  # rows that speak for no correction: two classes may be told apart without error


def corrected_probabilities(p: ArrayLike, correction: ArrayLike) -> Floats:
    """Probabilities after a correction.

    Args:
        p: of label 1, any shape; or of classes, along the last axis.
        correction: (slope, shift) of the logit; (slope,) of the logarithms of classes.

    >>> corrected_probabilities([0.5, 0.9], [2.0, 0.0]).round(3).tolist()
    [0.5, 0.988]
    """
    p, slope = np.clip(np.asarray(p, float), _LEAST, 1.0), np.ravel(correction)
    if len(slope) == 1:
        return np.asarray(special.softmax(slope[0] * np.log(p), axis=-1))
    p = np.minimum(p, 1 - _LEAST)
    return np.asarray(special.expit(slope[0] * special.logit(p) + slope[1]))


def logistic_correction(p: ArrayLike, labels: ArrayLike) -> Floats:
    """The correction that makes labels most probable.

    Of two classes slope and shift of the logit (Platt, Advances in Large Margin Classifiers (1999)
    61), of several one slope (temperature: Guo et al., 1706.04599). Unlike a conformal factor it
    promises nothing for a finite number of rows; the calibration error of further rows tells.

    Args:
        p: probabilities of label 1, (n,), or of classes, (n, classes), of rows that were not
            trained on.
        labels: 0 or 1, or numbers of classes, (n,).

    Returns:
        (slope, shift) or (slope,).

    Raises:
        ShapeError: other shapes, or no rows.
    """
    p, labels = np.asarray(p, float), np.asarray(labels, float).ravel()
    if p.ndim not in (1, 2) or len(p) != len(labels) or not len(p):
        raise ShapeError(f"probabilities (n,) or (n, classes) and labels (n,): {p.shape}")
    several = p.ndim == 2

    def cost(found: Floats) -> float:
        q = np.clip(corrected_probabilities(p, found), _LEAST, 1 - _LEAST)
        if several:
            likely = np.log(q[np.arange(len(q)), labels.astype(int)])
        else:
            likely = np.where(labels > 0.5, np.log(q), np.log1p(-q))
        nothing = np.array([1.0]) if several else np.array([1.0, 0.0])
        return float((-likely.sum() + 0.5 * _PRIOR * np.sum((found - nothing) ** 2)) / len(q))

    start = np.array([1.0]) if several else np.array([1.0, 0.0])
    bounds = [(0.05, 20.0), (-20.0, 20.0)][: len(start)]
    return np.asarray(optimize.minimize(cost, start, method="L-BFGS-B", bounds=bounds).x)
