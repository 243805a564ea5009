"""Distillation: the student follows the teacher, by the divergence between the two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterion
from bijection_cases import perturbed, quick_jit
from posterion.core.errors import SettingError
from posterion.training.distillation import Distillation, stacked, through_student, through_teacher

SMALL = {"transforms": 2, "hidden": (8,)}


def curved(n=3000, seed=0):
    a = np.random.default_rng(seed).normal(size=(n, 3))
    return np.stack([a[:, 0], a[:, 1] + 0.5 * a[:, 0] ** 2, 10 + 3 * a[:, 2]], axis=1)


@pytest.fixture(scope="module")
def teacher():
    return posterion.fit(
        posterion.flows.maf(3, **SMALL), curved(), epochs=60, batch=200, quiet=True
    )


def test_the_student_follows_the_teacher(teacher):
    untaught = posterion.distill(
        teacher, posterion.flows.iaf(3, **SMALL), steps=200, polish=200, rate=1e-9, quiet=True
    )
    student = posterion.distill(
        teacher, posterion.flows.iaf(3, **SMALL), steps=2000, polish=400, quiet=True
    )
    one, other = ([check.value for check in result.health.checks] for result in (untaught, student))
    assert max(other) < 0.05 < min(one) and max(other) < 0.5 * min(one)
    assert student.status.name == "fitted" and untaught.status.name == "misfit"
    assert student.flow.bijection.fast == "forward"
    x = student.sample(20_000, seed=1)
    gain = student.log_prob(x) - teacher.log_prob(x)
    stated = student.health.check("KL(student || teacher)")
    assert gain.mean() == pytest.approx(stated.value, abs=4 * 1.4 * stated.error)
    again = student.health.check("KL(teacher || student)")
    y = teacher.sample(20_000, seed=1)
    back = (teacher.log_prob(y) - student.log_prob(y)).mean()
    assert back == pytest.approx(again.value, abs=4 * 1.4 * again.error)
    assert "oord2018" in student.citations


def test_layers_are_those_of_the_whole(teacher):
    """Layer by layer both come to the end of the bijection itself; the parameters are affine."""
    student = perturbed(posterion.flows.iaf(3, **SMALL), 0.2)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)), jnp.float32)

    @quick_jit
    def passes(flow, student, x):
        z, down = through_teacher(stacked(flow), x, None)
        outer, up = through_student(stacked(student), x, None)
        whole = jax.vmap(flow.bijection.inverse_and_log_det)(x)
        other = jax.vmap(student.bijection.forward_and_log_det)(x)
        return z, down, outer, up, whole, other

    z, down, outer, up, whole, other = passes(teacher.flow, student, x)
    np.testing.assert_allclose(z, whole[0], atol=1e-5)
    np.testing.assert_allclose(outer, other[0], atol=1e-5)
    np.testing.assert_allclose(down.slopes.sum(axis=(0, 2)), -whole[1], atol=1e-5)
    np.testing.assert_allclose(up.slopes.sum(axis=(0, 2)), other[1], atol=1e-5)
    np.testing.assert_allclose(down.ends[-1], x)
    np.testing.assert_allclose(up.ends[0], x * jnp.exp(up.slopes[0]) + up.shifts[0], atol=1e-5)


@pytest.mark.parametrize("layerwise", [True, False])
def test_the_loss_is_zero_where_the_two_are_one_and_not_elsewhere(layerwise):
    flow, student = posterion.flows.maf(3, **SMALL), posterion.flows.iaf(3, **SMALL)
    inputs = {"teacher": flow, "x": flow.sample(jax.random.key(0), (100,)), "context": None}
    loss = quick_jit(Distillation(64, layerwise, False))
    assert loss(student, inputs, jax.random.key(1), {})[0] < 1e-9  # identities, both
    assert loss(perturbed(student, 0.1), inputs, jax.random.key(1), {})[0] > 1e-2


def test_a_student_of_another_build(teacher):
    flow = posterion.flows.realnvp(3, transforms=4, hidden=(16,))
    student = posterion.distill(teacher, flow, steps=1500, polish=400, quiet=True)
    assert student.health.check("KL(student || teacher)").value < 0.1


def test_a_conditional_teacher():
    rng = np.random.default_rng(0)
    c = rng.uniform(-1, 1, (2000, 1))
    x = 2 * c + rng.normal(size=(2000, 2)) * [1.0, 0.3]
    teacher = posterion.fit(
        posterion.flows.maf(2, context_dim=1, **SMALL),
        x,
        context=c,
        epochs=30,
        batch=200,
        rate=1e-2,
        quiet=True,
    )
    iaf = posterion.flows.iaf(2, context_dim=1, **SMALL)
    student = posterion.distill(teacher, iaf, context=c, steps=1500, polish=200, quiet=True)
    assert student.health.check("KL(student || teacher)").value < 0.05
    for result, bound in ((teacher, 0.15), (student, 0.25)):
        mean = result.sample(4000, context=[[0.5]], seed=1).mean(axis=(0, 1))
        np.testing.assert_allclose(mean, 1.0, atol=bound)
    with pytest.raises(SettingError, match="context="):
        posterion.distill(teacher, iaf)


def test_students_that_do_not_fit(teacher):
    with pytest.raises(SettingError, match=r"student takes events \(2,\)"):
        posterion.distill(teacher, posterion.flows.iaf(2, **SMALL))
