"""A result under another prior: its draws weighted by the new prior over the old one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array
from numpy.typing import NDArray

from posterion import bundles
from posterion.core.columns import column_matrix
from posterion.core.errors import (
    BundleError,
    DensityError,
    ReweightingError,
)
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.core.result import DRAWS, Result, Weighted
from posterion.core.settings import check_draws
from posterion.core.status import Status
from posterion.diagnostics.health import Check, Health
from posterion.diagnostics.weights import WeightReport, clean_log_weights, relative_weights, weigh
from posterion.sampling.profiling import Profile, profile
from posterion.targets.exchange import Exchange
from posterion.targets.frame import Frame
from posterion.targets.parameter import Parameter
from posterion.targets.target import flatten_theta, unflatten_theta

__all__ = ["Reweighted", "reinterpret"]

Floats = NDArray[np.float64]

_CHUNK = 16384
_HEAVIEST = 0.7  # k-hat up to which weighted means converge (Vehtari et al., 1507.02646)
_SHARE = 0.01


@register("reweighted")
@dataclass(frozen=True, eq=False, repr=False)
class Reweighted(Result):
    """A result under another prior; `Result.reinterpret` makes it.

    `summary`, `corner` and the other questions are answered from weighted draws. `sample` gives
    draws of equal weight, exactly, by rejection; `log_prob` is the normalised density.

    Attributes:
        source: the result under its own prior.
        exchange: the priors that were put in and taken out.
        weighed: what the weights say.
        size: number of draws that were weighed.
        log_top: the largest log-weight among them.
        provenance: how it came about.
        notes: what else to know.
    """

    source: Result
    exchange: Exchange
    weighed: WeightReport
    size: int
    log_top: float
    provenance: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``"reweighted"``."""
        return "reweighted"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Of the source, with their new priors."""
        return self.exchange.parameters

    @property
    def name(self) -> str:
        """Of the source."""
        return self.source.name

    @property
    def ess(self) -> float:
        """What the ``size`` weighted draws are worth."""
        return self.size * self.weighed.ess_fraction.value

    @property
    def log_evidence_ratio(self) -> Estimate:
        """Log of the evidence under the new prior over that under the old one.

        A parameter without a prior counts as flat with density 1 in its unit.
        """
        return self.weighed.log_evidence

    @property
    def log_evidence(self) -> Estimate:
        """Log-evidence under the new prior.

        Raises:
            DensityError: the source knows none, as a fit of samples.
        """
        before = getattr(self.source, "log_evidence", None)
        if before is None:
            raise DensityError(
                f"{self.name!r} was learned from samples and knows no evidence, only the "
                f"log_evidence_ratio"
            )
        ratio = self.log_evidence_ratio
        return Estimate(before.value + ratio.value, float(np.hypot(before.error, ratio.error)))

    @property
    def health(self) -> Health:
        """That of the source, and what the weights are worth."""
        before, share = self.source.health, self.weighed.ess_fraction
        checks = (
            Check("effective, new prior", share.value, share.error, f">= {_SHARE:g}", "good"),
            Check("k-hat, new prior", self.weighed.k_hat, None, f"<= {_HEAVIEST:g}", "good"),
        )
        return replace(
            before,
            checks=before.checks + checks,
            evidence=None,
            witness_evidence=None,
            measure=tuple(parameter.measure() for parameter in self.parameters),
            notes=(*before.notes, *self.notes, "all but the last two checks: under the old prior"),
        )

    @property
    def status(self) -> Status:
        """Of the source."""
        return self.health.status

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Of the source."""
        return self.source.history

    @property
    def settings(self) -> dict[str, Any]:
        """Of the source."""
        return self.source.settings

    @property
    def versions(self) -> dict[str, str]:
        """Of the source."""
        return self.source.versions

    @property
    def citations(self) -> tuple[str, ...]:
        """Of the source."""
        return self.source.citations

    @property
    def form(self) -> str:
        """Whether draws are an array or a dict by parameter name, as of the source."""
        return getattr(self.source, "form", "dict")

    def log_ratio(self, x: Any) -> Floats:
        """Log of the new prior over the old one at coordinates ``(n, dim)``, ``(n,)``."""
        return self.exchange.log_ratio(x)

    def sample(self, n: int, *, seed: int) -> Any:
        """``n`` independent draws of equal weight, in the form of the source's.

        Draws of the source are kept with a probability proportional to their weight. A weight
        beyond the largest of the ``size`` that were looked at counts as that.
        """
        x = self._draw(n, seed)
        return x if self.form == "array" else unflatten_theta(self.parameters, x)

    def named(self, n: int, *, seed: int) -> dict[str, np.ndarray]:
        return unflatten_theta(self.parameters, self._draw(n, seed))

    def log_prob(self, theta: Any) -> np.ndarray:
        """Normalised log-density at ``n`` points, in the stated units, ``(n,)``."""
        if hasattr(theta, "keys"):
            x = flatten_theta(self.parameters, {k: np.asarray(theta[k]) for k in theta})
        else:
            x = np.atleast_2d(np.asarray(theta, np.float64))
        ratio = self.log_ratio(x)
        return self.source.log_prob(theta) + ratio - self.log_evidence_ratio.value

    def draw(self, n: int = DRAWS, *, seed: int = 0, weighted: bool = False) -> Weighted:
        given = self.source.draw(n, seed=seed, weighted=weighted)
        ratio, counts = clean_log_weights(
            self.log_ratio(column_matrix(self.parameters, given.draws))
        )
        weights = relative_weights(ratio)
        weights = weights if given.weights is None else weights * given.weights
        bad = f"{counts.bad} of {n} draws have no finite prior: weight zero"
        notes = (*given.notes, *self.notes, *([bad] if counts.bad else []))
        return Weighted(given.draws, weights, notes)

    def save(self, path: str | Path) -> None:
        """Writes it with its source to one ``.posterion`` file.

        Raises:
            BundleError: a file cannot hold one of the priors.
            OutputError: the file cannot be written; the one before is still there.
        """
        if (prior := self.exchange.in_words_only) is not None:
            raise BundleError(
                f"a file holds the prior of {prior.names} in words only; save the result before "
                f"reinterpret, and reinterpret it where it is loaded"
            )
        bundles.save_object(Path(path), self, bundles.result_card(self))

    @property
    def target(self) -> None:
        """None: the density at hand is that under the old prior."""
        return None

    @property
    def frame(self) -> Frame:
        """Of the source."""
        return self._of_source("frame")

    def density64(self) -> Callable[[Array], Array]:
        """Log-density of coordinates ``(n, dim)``, float64 and differentiable; inside x64."""
        before = self._of_source("density64")()
        return lambda x: before(x) + self.exchange.traced(x) - self.weighed.log_evidence.value

    def profile(self, name: str, grid: Any = None, *, seed: int = 0) -> Profile:
        """The profile of one coordinate; see `posterion.profile`."""
        return profile(self, name, grid, seed=seed)

    def _of_source(self, what: str) -> Any:
        if not hasattr(self.source, what):
            raise DensityError(f"a {self.source.kind} has no density that can be climbed")
        return getattr(self.source, what)

    def _draw(self, n: int, seed: int) -> Floats:
        check_draws(n)
        rng, kept, count = np.random.default_rng([seed, 83]), [], 0
        while count < n:
            derived = int(np.random.SeedSequence([seed, len(kept)]).generate_state(1)[0])
            draws = self.source.named(_CHUNK, seed=derived)
            x = column_matrix(self.parameters, draws)
            kept.append(x[np.log(rng.random(_CHUNK)) < self.log_ratio(x) - self.log_top])
            count += len(kept[-1])
        return np.concatenate(kept)[:n]

    def _sample_flat(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        count = int(np.prod(shape)) if shape else 1

        def propose(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            key, x, done = state
            key, first, second = jax.random.split(key, 3)
            proposal = self.source._sample_flat(first, (count,))
            with jax.enable_x64(True):
                proposal = proposal.astype(jnp.float64)
                ratio = self.exchange.traced(proposal) - self.log_top
                chance = jnp.log(jax.random.uniform(second, (count,), jnp.float64))
                x = jnp.where((~done & (chance < ratio))[:, None], proposal, x)
                return key, x, done | (chance < ratio)

        with jax.enable_x64(True):
            nothing = jnp.zeros((count, len(self.columns)), jnp.float64), jnp.zeros(count, bool)
            found = lax.while_loop(lambda state: ~state[2].all(), propose, (key, *nothing))
            return found[1].reshape(*shape, len(self.columns))

    def _log_prob_flat(self, x: Array) -> Array:
        value = self.source._log_prob_flat(x)
        with jax.enable_x64(True):
            ratio = self.exchange.traced(x.astype(jnp.float64))
            return value + (ratio - self.weighed.log_evidence.value).astype(value.dtype)


def reinterpret(
    result: Result,
    prior: Any,
    *,
    n: int = DRAWS,
    seed: int = 0,
    least: float | int = _SHARE,
) -> Reweighted:
    """A result under another prior of some parameters, by weights new prior over old prior.

    Nothing is learned again: the answer is as good as the draws that the new prior favours are
    many. Bounds stay; a prior that reaches beyond them is cut there, not renormalised.

    Args:
        result: a posterior or a fit (of one condition).
        prior: name, or a tuple of names, to a NumPyro distribution or an earlier result; None for
            a flat one. Other parameters keep theirs.
        n: draws to weigh.
        seed: of the draws.
        least: share of the draws that must be effective.

    Returns:
        A result: ``new.sample(n, seed=...)``, ``new.summary()``, ``new.ess``,
        ``new.log_evidence_ratio``.

    Raises:
        ReweightingError: fewer draws are effective, or a few weights decide (k-hat above 0.7).
        ThetaError: an unknown parameter.
        ParameterError: an unusable prior, or an old one that a file holds in words only.
    """
    exchange = Exchange.of(result, prior)
    x = column_matrix(result.parameters, result.named(n, seed=seed))
    log_weights = exchange.log_ratio(x)
    weighed = weigh(log_weights)
    clean, counts = clean_log_weights(log_weights)
    share = weighed.ess_fraction.value
    too_few = not share >= least
    if too_few or weighed.k_hat > _HEAVIEST:
        why = (
            f"{share * n:.0f} of {n} draws are effective under the new prior, {share:.2%}; "
            f"{least:.2%} are needed"
            if too_few
            else f"a few draws carry the weight of the new prior: k-hat is {weighed.k_hat:.2f}, at "
            f"most {_HEAVIEST:g} is needed"
        )
        where = f" ({exchange.beside(x)})" if exchange.new else ""
        raise ReweightingError(
            f"{result.name!r}: {why}{where}. Learn it again with this prior, or take one nearer to "
            f"what the result covers"
        )
    notes = list(exchange.cuts(result.parameters))
    if counts.bad:
        notes.append(f"{counts.bad} of {n} draws have no finite prior: weight zero")
    provenance = {**result.provenance, "prior": list(exchange.measure), "prior seed": seed}
    top = float(clean.max())
    return Reweighted(result, exchange, weighed, n, top, provenance, tuple(notes))
