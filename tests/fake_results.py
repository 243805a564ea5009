"""A result whose every answer is known by analysis: normals, and a von Mises across the cut."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import i0e
from scipy.stats import norm, vonmises

from posterion.core.errors import DensityError
from posterion.core.estimate import Estimate
from posterion.core.result import Result
from posterion.core.status import Status
from posterion.core.versions import versions
from posterion.diagnostics import Check, Health
from posterion.targets import Parameter

MEAN, SD = 2.5e-3, 4e-5
W_MEAN = np.array([1.0, -2.0])
W_COVARIANCE = np.array([[0.25, 0.15], [0.15, 0.25]])
PHI_MEAN, KAPPA = 3.0, 4.0  # radians; across the cut at pi


@dataclass(frozen=True)
class FakeSample:
    draws: dict[str, np.ndarray]
    log_weights: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class FakeResult(Result):
    """Follows what training's posterior promises; ``tilt`` makes the density wider than the flow.

    The density is ``flow(m, w, phi) exp(tilt w_0) e^2``: its evidence is known, and w is shifted.
    """

    name: str = "fake"
    target: Any = None
    tilt: float = 0.0
    history: dict[str, np.ndarray] = field(default_factory=lambda: fake_history())
    settings: dict[str, Any] = field(default_factory=lambda: {"method": "default", "layers": 10})
    versions: dict[str, str] = field(default_factory=versions)
    citations: tuple[str, ...] = ("dinh2017",)
    provenance: dict[str, Any] = field(default_factory=lambda: {"seed": 1, "created": "today"})
    log_evidence = Estimate(2.0, 0.001)
    kind = "posterior"
    parameters = (
        Parameter("m", unit="eV²", label=r"$\Delta m^2$", lower=0.0),
        Parameter("w", shape=(2,), unit="fm"),
        Parameter("phi", unit="rad", label=r"$\phi$", lower=-np.pi, upper=np.pi, periodic=True),
    )

    @property
    def health(self):
        checks = (Check("effective draws", 0.998, 0.0001, ">= 0.9", "good"),)
        return Health(Status.converged, self.name, checks=checks, calls={"learning": 1000})

    @property
    def status(self):
        return self.health.status

    def sample(self, n, *, seed):
        generator = np.random.default_rng(seed)
        phi = np.where(True, generator.vonmises(PHI_MEAN, KAPPA, size=n), 0.0)
        return {
            "m": generator.normal(MEAN, SD, size=n),
            "w": generator.multivariate_normal(W_MEAN, W_COVARIANCE, size=n),
            "phi": (phi + np.pi) % (2 * np.pi) - np.pi,
        }

    def log_prob(self, theta):
        difference = theta["w"] - W_MEAN
        square = np.einsum("ni,ij,nj->n", difference, np.linalg.inv(W_COVARIANCE), difference)
        value = norm.logpdf(theta["m"], MEAN, SD) + vonmises.logpdf(theta["phi"], KAPPA, PHI_MEAN)
        determinant = np.linalg.det(2 * np.pi * W_COVARIANCE)
        return value - 0.5 * square - 0.5 * np.log(determinant)

    def importance_sample(self, n, *, seed):
        if self.target is None:
            raise DensityError("no density at hand")
        draws = self.sample(n, seed=seed)
        log_q = self.log_prob(draws)
        log_p = log_q + 2.0 + self.tilt * draws["w"][:, 0]
        return FakeSample(draws, log_p - log_q, log_p, log_q)

    def _sample_flat(self, key, shape=()):
        with jax.enable_x64(True):
            first, second, third = jax.random.split(key, 3)
            m = MEAN + SD * jax.random.normal(first, (*shape, 1), float)
            root = jnp.asarray(np.linalg.cholesky(W_COVARIANCE))
            w = W_MEAN + jax.random.normal(second, (*shape, 2), float) @ root.T
            # rejection-free on purpose: a von Mises by its quantiles on a fine grid
            grid = np.linspace(-np.pi, np.pi, 20_001)
            quantile = jnp.interp(
                jax.random.uniform(third, (*shape, 1), float),
                jnp.asarray(vonmises.cdf(grid, KAPPA)),
                jnp.asarray(grid),
            )
            phi = (PHI_MEAN + quantile + np.pi) % (2 * np.pi) - np.pi
            return jnp.concatenate([m, w, phi], axis=-1)

    def _log_prob_flat(self, x):
        with jax.enable_x64(True):
            x = x.astype(float)
            difference = x[:, 1:3] - W_MEAN
            square = jnp.sum((difference @ np.linalg.inv(W_COVARIANCE)) * difference, axis=1)
            square += ((x[:, 0] - MEAN) / SD) ** 2
            norms = np.log(np.linalg.det(2 * np.pi * W_COVARIANCE) * 2 * np.pi * SD**2)
            circle = KAPPA * (jnp.cos(x[:, 3] - PHI_MEAN) - 1) - np.log(2 * np.pi * i0e(KAPPA))
            return -0.5 * square - 0.5 * norms + circle


def fake_history():
    """Ten segments of a loss that falls and an ESS that rises."""
    step = np.arange(1, 11) * 300
    return {
        "step": step,
        "loss": -2.0 + 3.0 * np.exp(-step / 500),
        "ess": 1 - 0.5 * np.exp(-step / 400),
        "calls": step * 128,
        "seconds": step * 0.002,
    }
