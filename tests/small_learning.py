"""Targets and settings that are learned in a few seconds."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from posterion.targets import Parameter, Target

SMALL: dict[str, Any] = {
    "layers": 2,
    "hidden": (8,),
    "particles": 200,
    "pretrain": 100,
    "steps": 600,
    "batch": 64,
    "check_draws": 2000,
    "attempts": 1,
    "chains": 0,
    "quiet": True,
}
"""Settings for `learn`: enough for a normal, no more."""

MEAN, COVARIANCE = np.array([0.3, -1.0]), np.array([[1.0, 0.5], [0.5, 0.8]])
LOG_Z = 2.0
_PRECISION = np.linalg.inv(COVARIANCE)
_LOG_NORM = float(np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(COVARIANCE)[1])


def normal_log_density(theta):
    """A correlated normal of integral e^2, in ``x`` of shape (n, 2)."""
    shift = theta["x"] - MEAN
    return LOG_Z - _LOG_NORM - 0.5 * jnp.sum((shift @ _PRECISION) * shift, axis=-1)


def plain_log_density(theta):
    """The same in NumPy, of ``a`` and ``b``."""
    shift = np.stack([theta["a"], theta["b"]], axis=-1) - MEAN
    return LOG_Z - _LOG_NORM - 0.5 * np.sum((shift @ _PRECISION) * shift, axis=-1)


NORMAL = Target(
    normal_log_density, [Parameter("x", shape=(2,), scale=5.0)], vectorized=True, name="normal"
)
PLAIN = Target(
    plain_log_density,
    [Parameter("a", scale=5.0), Parameter("b", scale=5.0)],
    vectorized=True,
    plain=True,
    name="plain normal",
)
