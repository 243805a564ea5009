"""A calibrated classifier of two samples: how far they differ, and the weights that mend it."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.core.errors import SampleError, SettingError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.diagnostics.auc import area_under_curve
from posterion.diagnostics.weights import ess
from posterion.networks.perceptron import MLP
from posterion.optimisation.epochs import train_epochs
from posterion.targets.target import pad_rows

_CHUNK = 16384
_SHARES = (0.5, 0.75)  # of the rows: trained on, then held out to stop and to calibrate
_NEWTON = 50
_TEMPERED = (0.0, 20.0)


class CrossEntropy(eqx.Module):
    """Binary cross-entropy of logits, each row with its weight."""

    def __call__(
        self, network: MLP, inputs: dict[str, Array], key: Array, row: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        rows = row["rows"]
        logit = network(inputs["x"][rows].T)[0]
        loss = jnp.mean(inputs["weight"][rows] * jax.nn.softplus(-inputs["sign"][rows] * logit))
        return loss, {"loss": loss}


@eqx.filter_jit
def _logits(network: MLP, x: Array) -> Array:
    return network(x.T)[0]


@register("classifier")
@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """Tells draws of one sample from those of another.

    Attributes:
        network: logit of the first sample, of scaled rows.
        location, scale: of the rows, ``(width,)``.
        slope, offset: the calibration of its logits on rows that it was not trained on.
        auc: area under the curve on rows that it never saw, with its error; 0.5 means that it
            cannot tell them apart (the classifier two-sample test, 1610.06545).
        calibration: mean weight ``D/(1-D)`` of the second sample there: 1 where it is calibrated.
        rows: of each sample, on which ``auc`` stands.
    """

    network: MLP
    location: np.ndarray
    scale: np.ndarray
    slope: float
    offset: float
    auc: Estimate
    calibration: Estimate
    rows: tuple[int, int]

    def log_ratio(self, x: Any) -> np.ndarray:
        """Log of the ratio of densities, first over second sample, at ``(n, width)``: ``(n,)``."""
        return self.offset + self.slope * self._raw(_matrix(x, "x"))

    def weights(self, x: Any) -> np.ndarray:
        """``D/(1-D)`` of mean 1: by these, draws of the second sample follow the first.

        Andreassen and Nachman, 1907.08209; Diefenbacher et al. 2009.03796.
        """
        log_w = self.log_ratio(x)
        w = np.exp(log_w - log_w.max())
        return w / w.mean()

    def _raw(self, x: np.ndarray) -> np.ndarray:
        if x.shape[1] != len(self.location):
            raise SampleError(
                f"rows have {x.shape[1]} columns, the classifier {len(self.location)}"
            )
        return _evaluate(self.network, (x - self.location) / self.scale)

    def __repr__(self) -> str:
        told = abs(self.auc.value - 0.5) > 3 * self.auc.error
        verdict = "can be told apart" if told else "cannot be told apart"
        return (
            f"Classifier(AUC {self.auc}: the samples {verdict}; mean weight of the second "
            f"{self.calibration}; {self.rows[0]} and {self.rows[1]} rows)"
        )


def classify(
    first: Any,
    second: Any,
    *,
    weights_first: Any = None,
    weights_second: Any = None,
    hidden: tuple[int, ...] = (64, 64),
    activation: str = "silu",
    epochs: int = 30,
    batch: int = 512,
    rate: float | int = 2e-3,
    patience: int = 6,
    seed: int = 0,
) -> Classifier:
    """Trains a classifier on half of the rows, calibrates it on a quarter, tests it on the rest.

    Args:
        first: rows ``(n, width)``; conditions may stand beside.
        second: rows ``(m, width)``.
        weights_first: ``(n,)``, not negative.
        weights_second: ``(m,)``, not negative.
        hidden: widths of the network.
        activation: of the network.
        epochs: of its training, at most.
        batch: rows a step.
        rate: learning rate at the start.
        patience: epochs without a lower held-out loss, after which it stops.
        seed: of everything.

    Raises:
        SampleError: not rows of numbers, of different widths, or fewer than 40.
    """
    parts = [_matrix(first, "first"), _matrix(second, "second")]
    if parts[0].shape[1] != parts[1].shape[1]:
        raise SampleError(f"rows of {parts[0].shape[1]} and of {parts[1].shape[1]} columns")
    if min(len(part) for part in parts) < 40:
        raise SampleError(f"each sample needs 40 rows, got {[len(part) for part in parts]}")
    if epochs < 1 or batch < 1 or not rate > 0:
        raise SettingError("a classifier needs positive epochs, batch and rate")
    weights = [
        _weights(w, len(part), name)
        for w, part, name in zip(
            (weights_first, weights_second), parts, ("first", "second"), strict=True
        )
    ]
    both = np.concatenate(parts)
    location, scale = both.mean(axis=0), both.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    rng = np.random.default_rng([seed, 53])
    sets: list[list[Any]] = [[], [], []]
    for part, w, sign in zip(parts, weights, (1.0, -1.0), strict=True):
        order = rng.permutation(len(part))
        ends = [0, *(int(share * len(part)) for share in _SHARES), len(part)]
        for kept, start, stop in zip(sets, ends[:-1], ends[1:], strict=True):
            rows = order[start:stop]
            own = w[rows] / w[rows].sum()  # equal odds
            kept.append(((part[rows] - location) / scale, own, np.full(len(rows), sign)))
    train, valid, test = (
        [np.concatenate(arrays) for arrays in zip(*kept, strict=True)] for kept in sets
    )
    network = MLP(both.shape[1], 1, hidden, activation, key=jax.random.key(seed), zero_output=True)
    inputs = {
        "x": jnp.asarray(train[0], jnp.float32),
        "weight": jnp.asarray(train[1] * len(train[1]), jnp.float32),
        "sign": jnp.asarray(train[2], jnp.float32),
    }

    def held_out(network: MLP) -> float:
        logit = _evaluate(network, valid[0])
        return float(valid[1] @ np.logaddexp(0.0, -valid[2] * logit))

    network, _ = train_epochs(
        CrossEntropy(),
        network,
        inputs,
        len(train[0]),
        held_out,
        epochs=epochs,
        batch=batch,
        rate=rate,
        patience=patience,
        seed=seed,
    )
    slope, offset = _calibrated(_evaluate(network, valid[0]), valid[2], valid[1])
    raw = _evaluate(network, test[0])
    logit, is_first = offset + slope * raw, test[2] > 0
    # Of the logits before their calibration, which makes a constant of what it does not believe.
    auc = area_under_curve(
        raw[is_first],
        raw[~is_first],
        weights_first=test[1][is_first],
        weights_second=test[1][~is_first],
    )
    ratio, w = np.exp(logit[~is_first]), test[1][~is_first] / test[1][~is_first].sum()
    mean = float(w @ ratio)
    error = float(np.sqrt(np.square(w * (ratio - mean)).sum()))
    return Classifier(
        network,
        location,
        scale,
        slope,
        offset,
        auc,
        Estimate(mean, error),
        (int(is_first.sum()), int((~is_first).sum())),
    )


def reweighted_ess(classifier: Classifier, x: Any) -> float:
    """Effective number of draws of the second sample after weighting, of ``n``."""
    return float(ess(classifier.log_ratio(x)))


def _evaluate(network: MLP, x: np.ndarray) -> np.ndarray:
    out = np.empty(len(x))
    for start in range(0, len(x), _CHUNK):
        piece = x[start : start + _CHUNK].astype(np.float32)
        found = _logits(network, jnp.asarray(pad_rows(piece, _CHUNK)))
        out[start : start + len(piece)] = np.asarray(found)[: len(piece)]
    return out


def _calibrated(logit: np.ndarray, sign: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Slope and offset by logistic regression on held-out rows (Platt), by Newton steps."""
    design = np.stack([logit, np.ones_like(logit)], axis=1)
    beta = np.array([1.0, 0.0])
    spread = float(logit.std())
    if not spread > 1e-6:  # it tells nothing apart
        return 1.0, 0.0
    ridge = 1e-6 * np.diag([spread**2, 1.0])
    for _ in range(_NEWTON):
        p = 1 / (1 + np.exp(sign * (design @ beta)))  # of the wrong side
        gradient = design.T @ (weight * sign * p)
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + ridge * weight.sum()
        step = np.linalg.solve(curvature, gradient)
        beta = beta + step * min(1.0, 5.0 / (1e-12 + float(np.abs(step).max())))
        if np.abs(step).max() < 1e-10:
            break
    return float(np.clip(beta[0], *_TEMPERED)), float(beta[1])


def _matrix(x: Any, name: str) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype.kind not in "biuf" or array.ndim != 2:
        raise SampleError(f"{name} must be rows of numbers (n, width), got {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise SampleError(f"{name} is not finite in row {row}")
    return array.astype(np.float64)


def _weights(weights: Any, count: int, name: str) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    w = np.asarray(weights, np.float64)
    if w.shape != (count,) or not np.isfinite(w).all() or w.min() < 0 or not w.sum() > 0:
        raise SampleError(f"the weights of {name} must be {count} numbers that are not negative")
    return w
