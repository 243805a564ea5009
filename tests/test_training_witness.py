"""What looks past the flow: dispersed copies, hopeless starts, bridges between modes, falls."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.bijections.affine import Affine
from posterion.bijections.compose import Chain
from posterion.core.errors import CheckpointError
from posterion.core.status import Status
from posterion.diagnostics.modes import find_modes
from posterion.distributions.bases import Normal
from posterion.distributions.flow import Flow
from posterion.optimisation import Guard, Trained, leaves_of, restore
from posterion.sampling.smc import Scouted
from posterion.studies.stress.targets import known_target
from posterion.targets import Parameter, Target
from posterion.targets.frame import Frame
from posterion.training import learn
from posterion.training.assessment import hopeless, measure
from posterion.training.refresh import disperse, exact_points
from posterion.training.scouting import _merge_bridged
from small_learning import NORMAL as SMALL_TARGET
from small_learning import SMALL

NORMAL = Target(
    lambda t: -0.5 * jnp.sum(t["x"] ** 2, -1),
    [Parameter("x", shape=(2,), scale=1.0)],
    vectorized=True,
)
FRAME = Frame.plain(NORMAL.support())


def draws(n):
    return np.random.default_rng(1).normal(size=(n, 2))


def shifted(by):
    return Flow(Normal(2), Chain([Affine(jnp.array([by, 0.0]), jnp.zeros(2))]))


def test_dispersed_particles_stay_those_of_the_target():
    v = draws(4000)
    moved, acceptance, calls = disperse(NORMAL, FRAME, v, sweeps=4, seed=2)
    assert 0.5 < acceptance < 1 and calls == 4000 * 13
    assert np.median(np.linalg.norm(moved - v, axis=1)) > 0.1
    np.testing.assert_allclose(moved.mean(0), 0.0, atol=4 / np.sqrt(4000))
    np.testing.assert_allclose(moved.var(0), 1.0, atol=4 * np.sqrt(2 / 4000))


def test_particles_come_where_neither_they_nor_the_flow_were():
    """A gap in the particles, as a crack of the flow leaves one, is filled by copies."""
    v = draws(4000)
    v = v[np.abs(v[:, 0] - 0.5) > 0.1]
    points, _ = exact_points(NORMAL, shifted(0.0), FRAME, v, seed=3)
    past = points[len(v) :]
    assert len(past) == 3 * len(v)
    assert np.mean(np.abs(past[:, 0] - 0.5) < 0.1) > 0.02


@pytest.mark.parametrize(("by", "lost"), [(0.0, False), (0.5, False), (4.0, True)])
def test_a_flow_beside_the_target_is_hopeless(by, lost):
    given, calls = hopeless(NORMAL, shifted(by), FRAME, draws(500), seed=1)
    assert given is lost
    assert calls == 500 * 19 + 1500 * 13 + 2000


def test_modes_in_ten_dimensions_are_not_joined_by_their_tails():
    known = known_target("two-modes")
    frame = Frame.plain(known.target.support())
    kept = []
    for seed in range(6):
        u = known.draw(np.random.default_rng(seed), 2048) / 50.0
        value = known.target.evaluate(50.0 * u) + 10 * np.log(50.0)
        found = Scouted(u, value, 0.0, 0.1, 0, 1, 0, 0, 0.7, 100, True)
        modes = find_modes(u, log_density=value, periods=[None] * 10)
        kept.append(_merge_bridged(known.target, frame, found, modes)[0].count)
    assert kept == [2] * 6


class Broken(Normal):
    """A normal that loses every fourth draw."""

    def sample_and_log_prob(self, key, shape=(), context=None):
        z, log_prob = super().sample_and_log_prob(key, shape, context)
        lost = jnp.abs(z[..., :1]) > 1.15
        return jnp.where(lost, jnp.nan, z), log_prob


def test_draws_that_are_not_finite_are_counted_and_noted():
    good = learn(SMALL_TARGET, seed=1, **SMALL)
    flow = Flow(Broken(2), good.flow.bijection)
    health = measure(
        replace(good, flow=flow), SMALL_TARGET, None, draws=2000, seed=1, calls={}, seconds={}
    )
    (note,) = [note for note in health.notes if "not finite" in note]
    assert 300 < int(note.split()[0]) < 700
    assert not health.status.ok and health.status is not Status.density_not_finite
    assert health.check("draws where p = 0").value == pytest.approx(0.25, abs=0.06)


# Falls --------------------------------------------------------------------------------------


def state(value):
    return Trained.start({"w": jnp.full(3, value)})


def test_a_fall_goes_back_to_the_best_at_half_the_rate():
    guard = Guard(state(0.0))
    for k, score in enumerate((0.5, 0.9, 0.3)):
        guard.watch(state(float(k)), score)
    assert guard.low == 1 and guard.slower == 1.0
    assert guard.watch(state(3.0), 0.6).params["w"][0] == 3.0 and guard.low == 0
    back = [guard.watch(state(9.0), 0.1).params["w"][0] for _ in range(3)]
    assert back == [9.0, 9.0, 1.0] and guard.slower == 0.5
    assert float(guard.last(state(9.0)).params["w"][0]) == 9.0
    guard.watch(state(9.0), 0.1)
    assert float(guard.last(state(9.0)).params["w"][0]) == 1.0


def test_it_gives_up_going_back():
    guard = Guard(state(1.0))
    guard.watch(state(1.0), 0.9)
    ends = [float(guard.watch(state(9.0), 0.0).params["w"][0]) for _ in range(20)]
    assert ends.count(1.0) == 3 and guard.slower == 0.125


def test_a_guard_is_kept_and_restored():
    guard = Guard(state(0.0))
    for score in (0.9, 0.1, 0.1):
        guard.watch(state(score), score)
    arrays = {**leaves_of(state(0.1), "state"), **guard.leaves("state")}
    again = Guard.restored(restore(state(0.0), "state", arrays), "state", arrays)
    assert (again.score, again.low, again.returns) == (0.9, 2, 0)
    assert jax.tree.all(jax.tree.map(np.array_equal, again.best, guard.best))
    with pytest.raises(CheckpointError, match="start anew"):
        Guard.restored(state(0.0), "state", leaves_of(state(0.1), "state"))
