"""Measuring the health of a posterior anew: scouts first, then everything that `learn` asks."""

import time

from posterion.core.estimate import Estimate
from posterion.diagnostics import Health
from posterion.targets.target import Target, x_of
from posterion.training.assessment import Witness, measure
from posterion.training.method import DEFAULT
from posterion.training.posterior import Posterior
from posterion.training.scouting import Ground, first_frame, lay_out, survey


def find_witness(target: Target, *, particles: int, seed: int) -> tuple[Ground, Witness]:
    """Independent points of a target, by sequential Monte Carlo, and the ground they lie on.

    Args:
        target: the target.
        particles: their number.
        seed: integer seed.

    Raises:
        DensityError: the density is finite nowhere.
    """
    frame, calls, searched = first_frame(target, seed)
    found, pool = survey(target, frame, particles=particles, seed=seed)
    ground = lay_out(target, frame, found, calls, searched, whiten=True, pool=pool)
    evidence = Estimate(found.log_evidence, found.error)
    return ground, Witness(x_of(frame, found.u), evidence, found.ancestors, ground.modes, frame)


def check_posterior(
    posterior: Posterior,
    target: Target,
    *,
    seed: int,
    particles: int = DEFAULT.particles,
    draws: int = DEFAULT.check_draws,
) -> Health:
    """Health of a posterior against its density, with fresh draws and a fresh witness.

    Args:
        posterior: such as one that was loaded.
        target: its density.
        seed: of the draws and the witness.
        particles: of the witness.
        draws: of the flow.

    Raises:
        SettingError: the target has other parameters.
        DensityError: the density is finite nowhere.
    """
    posterior = posterior.with_target(target)
    began = time.perf_counter()
    ground, witness = find_witness(target, particles=particles, seed=seed)
    return measure(
        posterior,
        target,
        witness,
        draws=draws,
        seed=seed,
        calls={"scouting": ground.calls},
        seconds={"scouting": time.perf_counter() - began},
        searched=ground.searched,
    )
