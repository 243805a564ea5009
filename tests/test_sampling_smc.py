"""Sequential Monte Carlo with gradients, against exact evidences.

Evidences: five standard errors, a false alarm in 2e6 checks if the error is right; seeds are fixed.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core.errors import DensityError
from posterion.diagnostics import mode_fractions
from posterion.sampling.smc import scout
from posterion.targets import Parameter, Target
from posterion.targets.target import x_of
from sampling_targets import (
    CIRCLES_RESULTANT,
    FOUR,
    GAUSSIAN,
    MIXED_EVIDENCE,
    MIXED_T,
    MIXED_X,
    MODES,
    MU,
    frame_of,
    mixed,
)

PARTICLES = 1000


def check_evidence(found, truth, largest_error=0.35):
    assert found.complete
    assert 0 < found.error < largest_error
    assert abs(found.log_evidence - truth) < 5 * found.error


@pytest.fixture(scope="module")
def gaussian() -> Target:
    """One target for many tests: it compiles once."""
    return GAUSSIAN.target()


def test_evidence_and_moments(gaussian):
    case, target = GAUSSIAN, gaussian
    frame = frame_of(target)
    found = scout(target, frame, particles=PARTICLES, seed=1)
    check_evidence(found, case.log_evidence)
    x = x_of(frame, found.u)
    # Particles share ancestors: count a quarter of them as independent; five standard errors.
    worth = PARTICLES / 4
    np.testing.assert_array_less(np.abs(x.mean(0) - case.mean), 5 * case.sd / np.sqrt(worth))
    np.testing.assert_array_less(np.abs(np.log(x.std(0) / case.sd)), 5 / np.sqrt(2 * worth))
    assert found.not_finite == found.excluded == 0
    assert found.value.shape == (PARTICLES,)
    assert found.calls % PARTICLES == 0
    # The value is the density per unit of u.
    expected = target.evaluate(x_of(frame, found.u)) + 2 * np.log(20.0)
    np.testing.assert_allclose(found.value, expected, atol=1e-9)


def test_four_modes_are_all_found_with_their_weights():
    target = FOUR.target()
    frame = frame_of(target)
    found = scout(target, frame, particles=PARTICLES, seed=2)
    check_evidence(found, FOUR.log_evidence)
    share = mode_fractions(x_of(frame, found.u), MODES)
    # As many independent particles as surviving ancestors; four standard errors, false alarm 3e-4.
    error = np.sqrt(0.25 * 0.75 / found.ancestors)
    assert error < 0.06
    np.testing.assert_array_less(np.abs(share - 0.25), 4 * error)


def test_circle_interval_and_holes():
    target = mixed(jnp)
    frame = frame_of(target)
    found = scout(target, frame, particles=PARTICLES, seed=3)
    check_evidence(found, MIXED_EVIDENCE, 0.3)
    assert np.abs(found.u[:, 0]).max() <= np.pi
    phi, t, x = x_of(frame, found.u).T
    turned = np.deg2rad(phi) - MU
    # Spreads below 1/sqrt(2); a quarter of the particles independent; five standard errors.
    limit = 5 * np.sqrt(0.5 / (PARTICLES / 4))
    assert abs(np.cos(turned).mean() - CIRCLES_RESULTANT) < limit
    assert abs(np.sin(turned).mean()) < limit
    assert abs(t.mean() - MIXED_T) < limit * 0.24 * np.sqrt(2)
    assert abs(x.mean() - MIXED_X) < limit * 0.61 * np.sqrt(2)
    # What is not finite is counted, and carries no weight.
    assert found.excluded > PARTICLES / 4
    assert found.not_finite > PARTICLES / 20
    assert x.min() >= 0
    assert x.max() <= 6
    assert np.isfinite(found.value).all()


def test_a_density_that_vanishes_everywhere_is_an_error():
    target = Target(lambda t: -jnp.inf + 0 * t["x"], [Parameter("x", scale=1.0)], name="nowhere")
    with pytest.raises(
        DensityError, match=r"'nowhere' is finite at none of 100 points .* 100 -inf"
    ):
        scout(target, frame_of(target), particles=100, seed=0)


def test_seeds_reproduce_and_an_offset_changes_nothing(gaussian):
    target = gaussian
    frame = frame_of(target)
    first = scout(target, frame, particles=PARTICLES, seed=1)
    again = scout(target, frame, particles=PARTICLES, seed=1)
    other = scout(target, frame, particles=PARTICLES, seed=5)
    np.testing.assert_array_equal(first.u, again.u)
    assert first.log_evidence == again.log_evidence
    assert not np.array_equal(first.u, other.u)
    lifted_target = GAUSSIAN.target(offset=1e7)
    lifted = scout(lifted_target, frame_of(lifted_target), particles=PARTICLES, seed=1)
    # The last digits of 1e7 are 2e-9: hardly a decision of acceptance is another.
    assert lifted.log_evidence - 1e7 == pytest.approx(first.log_evidence, abs=1e-4)
    assert np.isclose(lifted.u, first.u, atol=1e-6).mean() > 0.98


def test_a_budget_ends_the_run(gaussian):
    seen = []
    found = scout(
        gaussian,
        frame_of(gaussian),
        particles=PARTICLES,
        seed=1,
        max_calls=60_000,
        on_stage=lambda beta, calls: seen.append((beta, calls)),
    )
    assert not found.complete
    assert found.calls <= 60_000
    assert [calls for _, calls in seen] == sorted(calls for _, calls in seen)
    assert 0 < seen[-1][0] < 1
