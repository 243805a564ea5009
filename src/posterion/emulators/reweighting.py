"""Stored networks under another prior, by weights."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.core.errors import SampleError, SettingError
from posterion.core.status import Status
from posterion.diagnostics.health import Check, Health
from posterion.diagnostics.weights import ess
from posterion.emulators.density import Joint
from posterion.emulators.emulator import Emulator
from posterion.emulators.priors import WeightPrior, make_prior

FEWEST = 20
"""Effective networks below which a reweighted emulator is refused."""


def reweight(emulator: Emulator, prior: Any, *, seed: int = 0) -> Emulator:
    """The emulator under another prior: its networks drawn again by the ratio of the priors.

    Both priors must have the same hyperparameters, or none: then the ratio is exact. The interval's
    correction is that of the first prior, and is left out.

    Args:
        emulator: with networks of its own prior.
        prior: as for :func:`~posterion.emulators.emulate`.
        seed: of the drawing.

    Returns:
        As many networks as before, some of them repeated; the health states their effective number.

    Raises:
        SettingError: an unusable prior, or one of other hyperparameters.
        SampleError: too few effective networks: the priors are too different.
    """
    other = make_prior(prior)
    weights = emulator.joint.parts(jnp.asarray(emulator.networks[0]))[0]
    shapes = [jax.tree.map(jnp.shape, p.hyper(weights)) for p in (emulator.prior, other)]
    if shapes[0] != shapes[1]:
        raise SettingError(
            f"{emulator.prior!r} and {other!r} have other hyperparameters: emulate again"
        )
    log_ratio = np.asarray(
        _log_ratio(emulator.joint, other, jnp.asarray(emulator.networks)), np.float64
    )
    effective = float(ess(log_ratio))
    if not effective >= FEWEST:
        raise SampleError(
            f"under the other prior the {len(log_ratio)} networks are worth {effective:.1f}, "
            f"{FEWEST} are needed: emulate again with that prior"
        )
    chance = np.exp(log_ratio - log_ratio.max())
    rng = np.random.default_rng([seed, 41])
    # Systematic: each network comes up as often as its weight says, but for one.
    places = (np.arange(len(chance)) + rng.random()) / len(chance)
    chosen = np.minimum(np.searchsorted(np.cumsum(chance) / chance.sum(), places), len(chance) - 1)
    health = Health(
        Status.not_checked,
        name=emulator.name,
        checks=(Check("effective networks after weighting", effective, threshold=f">= {FEWEST}"),),
        notes=(f"reweighted from {emulator.prior!r}", f"before: {emulator.status.name}"),
    )
    return replace(
        emulator,
        prior=other,
        theta=emulator.networks[chosen][None],
        factors=np.empty((0, emulator.factors.shape[1])),
        health=health,
        provenance={**emulator.provenance, "reweighted_from": repr(emulator.prior)},
    )


@eqx.filter_jit
def _log_ratio(joint: Joint, other: WeightPrior, thetas: Array) -> Array:
    def one(theta: Array) -> Array:
        weights, hyper, _ = joint.parts(theta)
        return other.log_prob(weights, hyper) - joint.prior.log_prob(weights, hyper)

    return jax.lax.map(one, thetas)
