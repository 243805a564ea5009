"""What ``learn`` returns: a posterior that samples itself, with its health."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import ArrayLike

from posterion import bundles
from posterion.bijections.base import apply_batch
from posterion.core.cores import CHUNK, chunks
from posterion.core.errors import BundleError, DensityError, SettingError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.core.result import Result
from posterion.core.settings import check_draws
from posterion.core.status import Status
from posterion.diagnostics import Health, clean_log_weights, ess, log_evidence
from posterion.distributions.flow import Flow
from posterion.sampling.profiling import Profile, flow_density, profile
from posterion.targets.frame import Frame
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target, flatten_theta, pad_rows, unflatten_theta


@eqx.filter_jit
def draw_chunk(flow: Flow, frame: Frame, seed: Array, number: Array) -> tuple[Array, ...]:
    """One chunk of draws: ``x``, ``log|det dx/dv|`` and ``log q(v)``."""
    key = jax.random.fold_in(jax.random.wrap_key_data(seed), number)
    v, log_q = flow.sample_and_log_prob(key, (CHUNK,))
    with jax.enable_x64(True):
        x, log_det = frame.to_x(v)
    return x, log_det, log_q


@eqx.filter_jit
def _density_chunk(flow: Flow, frame: Frame, x: Array) -> Array:
    with jax.enable_x64(True):
        v, log_det = frame.to_v(x)
    value = apply_batch(flow.log_prob, v.astype(jnp.float32))
    with jax.enable_x64(True):
        return value.astype(jnp.float64) + log_det


@dataclass(frozen=True)
class WeightedSample:
    """Draws of a flow with their importance weights against the density.

    Attributes:
        draws: parameter name to ``(n, *shape)``.
        log_weights: ``log p - log q``, ``(n,)``; -inf where the density is zero or not finite.
        log_p, log_q: the density as given, and the flow's.
        log_evidence: of the density, with its standard error.
        ess: effective number of draws.
    """

    draws: dict[str, np.ndarray]
    log_weights: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    log_evidence: Estimate
    ess: float

    @property
    def weights(self) -> np.ndarray:
        """Weights of mean 1, ``(n,)``."""
        w = np.exp(self.log_weights - self.log_weights.max())
        return w / w.mean()

    def __repr__(self) -> str:
        n, names = len(self.log_weights), ", ".join(self.draws)
        return (
            f"WeightedSample({n} draws of {names}; ESS {self.ess:.6g}, log evidence "
            f"{self.log_evidence})"
        )


def _without_target(posterior: "Posterior") -> "Posterior":
    return replace(posterior, target=None)


@register("posterior", kept=_without_target)
@dataclass(frozen=True, eq=False, repr=False)
class Posterior(Result):
    """A learned posterior: independent draws, its density, its evidence, and its health.

    Attributes:
        name: of the target.
        parameters: of the target, in the order of the coordinates.
        flow: the distribution in the frame's coordinates.
        frame: from there to the parameters.
        health: the report; its status says whether to believe the rest.
        log_evidence: integral of the density over the stated measure, with its standard error.
        history: one entry per segment: step, loss, ess, calls, seconds.
        settings, versions, citations, provenance: how it came about.
        target: the density, where it is at hand; a file does not hold it.
    """

    name: str
    parameters: tuple[Parameter, ...]
    flow: Flow
    frame: Frame
    health: Health
    log_evidence: Estimate
    history: dict[str, np.ndarray]
    settings: dict[str, Any]
    versions: dict[str, str]
    citations: tuple[str, ...]
    provenance: dict[str, Any]
    target: Target | None = field(default=None, compare=False)

    @property
    def kind(self) -> str:
        """``"posterior"``."""
        return "posterior"

    @property
    def status(self) -> Status:
        """The verdict of the health report."""
        return self.health.status

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.frame.dim

    def sample(self, n: int, *, seed: int) -> dict[str, np.ndarray]:
        """``n`` independent draws of the flow, by parameter name, float64 ``(n, *shape)``.

        The same seed gives the same draws, and a longer sample begins with the shorter one.
        """
        return unflatten_theta(self.parameters, self._draw(n, seed)[0])

    def log_prob(self, theta: Mapping[str, Any]) -> np.ndarray:
        """Normalised log-density of the flow at ``n`` points, in the stated units, ``(n,)``."""
        x = flatten_theta(self.parameters, theta)
        out = np.empty(len(x))
        for _, start, stop in chunks(len(x)):
            with jax.enable_x64(True):
                padded = jnp.asarray(pad_rows(x[start:stop], CHUNK))
                value = _density_chunk(self.flow, self.frame, padded)
            out[start:stop] = np.asarray(value)[: stop - start]
        return out

    def importance_sample(self, n: int, *, seed: int) -> WeightedSample:
        """``n`` draws with importance weights against the density.

        Raises:
            DensityError: the density is not at hand (load gives none: use :meth:`with_target`),
                or every weight is zero.
        """
        x, log_q, log_p, log_w = self.weigh(n, seed=seed)
        clean, _ = clean_log_weights(log_w)
        return WeightedSample(
            unflatten_theta(self.parameters, x),
            clean,
            log_p,
            log_q,
            log_evidence(clean),
            ess(clean),
        )

    def weigh(self, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates, log q, log p and log-weights, nothing cleaned, of ``n`` draws."""
        if self.target is None:
            raise DensityError(
                f"{self.name!r} has no density at hand: give it with result.with_target(target)"
            )
        x, log_q = self._draw(n, seed)
        log_p = self.target.evaluate(x)
        return x, log_q, log_p, log_p - log_q

    def with_target(self, target: Target) -> "Posterior":
        """The same posterior with its density at hand.

        Raises:
            SettingError: the target has other parameters.
        """
        ours, theirs = [p.name for p in self.parameters], list(target.names)
        if ours != theirs or target.dim != self.dim:
            raise SettingError(f"the target's parameters {theirs} are not the posterior's {ours}")
        return replace(self, target=target)

    def save(self, path: str | Path) -> None:
        """Writes the posterior to one ``.posterion`` file, without the density.

        Raises:
            OutputError: the file cannot be written; the one before is still there.
        """
        bundles.save_object(Path(path), self, bundles.result_card(self))

    def _draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates ``(n, dim)`` and log-density of the flow per unit of them, ``(n,)``."""
        check_draws(n)
        x, log_q = np.empty((n, self.dim)), np.empty(n)
        key = jax.random.key_data(jax.random.key(seed))
        for number, start, stop in chunks(n):
            part, log_det, log_v = draw_chunk(
                self.flow, self.frame, key, jnp.asarray(number, jnp.int32)
            )
            rows = stop - start
            x[start:stop] = np.asarray(part)[:rows]
            log_q[start:stop] = (np.asarray(log_v, np.float64) - np.asarray(log_det))[:rows]
        return x, log_q

    def _sample_flat(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draws ``(*shape, dim)`` in JAX, for use inside other models."""
        count = int(np.prod(shape)) if shape else 1
        v = self.flow.sample(key, (count,))
        with jax.enable_x64(True):
            return self.frame.to_x(v)[0].reshape(*shape, self.dim)

    def density64(self) -> Callable[[Array], Array]:
        """Log-density of coordinates ``(n, dim)``, float64 and differentiable; inside x64."""
        return flow_density(self.flow, self.frame)

    def profile(self, name: str, grid: ArrayLike | None = None, *, seed: int = 0) -> Profile:
        """The profile of one coordinate; see `posterion.profile`."""
        return profile(self, name, grid, seed=seed)

    def _log_prob_flat(self, x: Array) -> Array:
        """Log-density of coordinates ``(n, dim)`` in JAX."""
        with jax.enable_x64(True):
            v, log_det = self.frame.to_v(x)
            v, log_det = v.astype(jnp.float32), log_det.astype(jnp.float32)
        return apply_batch(self.flow.log_prob, v) + log_det


def load(path: str | Path) -> Any:
    """What was saved in a ``.posterion`` file, without its density; nothing in it is run.

    Raises:
        BundleError: missing, truncated, altered, newer or foreign; the message says which.
    """
    try:
        file = Path(path)
    except TypeError as error:
        raise BundleError(f"load takes the path of a .posterion file, not {path!r}") from error
    return bundles.load_object(file)
