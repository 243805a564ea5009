"""Parameters, targets and frames: what is declared, what is evaluated, and in which coordinates."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from posterion.bijections.support import SupportMap
from posterion.core.errors import DensityError, GradientError, ParameterError, ThetaError
from posterion.targets import Frame, Parameter, Target
from posterion.targets.target import v_and_log_det, x_and_log_det

RNG = np.random.default_rng(0)


# Parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lower": 1.0, "upper": 1.0}, r"'a': lower 1.0 is not below upper 1.0"),
        ({"lower": 2.0, "upper": 1.0}, "not below"),
        ({"lower": np.nan}, "lower is NaN"),
        ({"upper": np.nan}, "upper is NaN"),
        ({"lower": 0.0, "periodic": True}, "needs both lower and upper"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"scale": np.inf}, "scale must be positive"),
        ({"shape": (0,)}, "positive integers"),
        ({"prior": 3.0}, "must be a NumPyro distribution, got float"),
        (
            {"prior": dist.Normal(0.0, 1.0), "lower": 50.0},
            r"Normal\(loc=0, scale=1\).*\[50.0, None",
        ),
        ({"prior": dist.Uniform(0.0, 1.0), "upper": -1.0}, "none of 2000 draws"),
    ],
)
def test_unusable_declarations_are_named(settings, message):
    with pytest.raises(ParameterError, match=message):
        Parameter("a", **settings)


def test_a_parameter_knows_its_size_label_and_measure():
    plain = Parameter("w", shape=(2, 2), unit="fm")
    assert (plain.size, plain.columns) == (4, ["w[0,0]", "w[0,1]", "w[1,0]", "w[1,1]"])
    assert plain.tex == "w [fm]"
    assert plain.measure() == "flat in w [fm]"
    assert Parameter("m", prior=dist.Normal(1.0, 2.0)).measure() == "m ~ Normal(loc=1, scale=2)"
    cut = Parameter("m", prior=dist.Normal(1.0, 2.0), lower=0.0)
    assert cut.measure() == "m ~ Normal(loc=1, scale=2), cut to [0, inf], not renormalised"
    assert Parameter("a", lower=-np.inf, upper=np.inf).lower is None
    with pytest.raises(ParameterError, match="non-empty"):
        Parameter("")


# Targets: evaluation ------------------------------------------------------------------------


def test_targets_need_parameters_of_different_names():
    with pytest.raises(ParameterError, match="at least one"):
        Target(lambda t: 0.0, [])
    with pytest.raises(ParameterError, match="duplicate parameter names: a;"):
        Target(lambda t: 0.0, [Parameter("a"), Parameter("b"), Parameter("a")])


def shapes_density(t):
    return -(t["m"].sum() ** 2) - (t["v"] ** 2).sum() - t["s"]


def test_theta_has_each_parameters_shape_however_the_density_is_written():
    parameters = [Parameter("m", shape=(2, 3)), Parameter("s"), Parameter("v", shape=(2,))]
    x = RNG.normal(size=(7, 9))
    expected = -(x[:, :6].sum(1) ** 2) - (x[:, 7:] ** 2).sum(1) - x[:, 6]

    def batched(t):
        assert t["m"].shape[1:] == (2, 3) and t["s"].ndim == 1
        return -(t["m"].sum((1, 2)) ** 2) - (t["v"] ** 2).sum(1) - t["s"]

    for target in (
        Target(shapes_density, parameters),
        Target(shapes_density, parameters, plain=True),
        Target(batched, parameters, vectorized=True),
        Target(batched, parameters, vectorized=True, plain=True),
        Target(shapes_density, parameters, plain=True, workers=2),
    ):
        np.testing.assert_allclose(target.evaluate(x), expected, rtol=1e-12)
        theta = target.unflatten(x)
        assert theta["m"].shape == (7, 2, 3)
        np.testing.assert_array_equal(target.flatten(theta), x)
        target.close()


def test_theta_with_other_names_or_shapes_is_refused():
    target = Target(lambda t: -(t["x"] ** 2), [Parameter("x"), Parameter("y", shape=(2,))])
    x, y = np.zeros(3), np.zeros((3, 2))
    with pytest.raises(ThetaError, match=r"unknown names \['z'\] and lacks \['y'\]"):
        target.flatten({"x": x, "z": x})
    with pytest.raises(DensityError, match=r"theta\['y'\] must have shape"):
        target.flatten({"x": x, "y": x})
    with pytest.raises(DensityError, match="has 2 rows, others 3"):
        target.flatten({"x": x, "y": y[:2]})


def test_the_density_runs_in_float64_and_leaves_the_flags():
    seen = []

    def density(t):
        seen.append(t["x"].dtype)
        return -0.5 * t["x"] ** 2 + 1e7

    target = Target(density, [Parameter("x")])
    x = np.array([[1e-3], [2e-3]])
    np.testing.assert_allclose(target.evaluate(x) - 1e7, -0.5 * x[:, 0] ** 2, rtol=1e-2)
    assert set(seen) == {np.dtype("float64")}
    assert jnp.ones(1).dtype == np.float32


def test_more_points_than_a_chunk():
    target = Target(lambda t: -t["x"], [Parameter("x")])
    x = np.arange(40_000.0)[:, None]
    np.testing.assert_array_equal(target.evaluate(x), -x[:, 0])


@pytest.mark.parametrize("plain", [None, True])
@pytest.mark.parametrize("vectorized", [False, True])
def test_priors_are_added_exactly_once(plain, vectorized):
    parameters = [
        Parameter("a", prior=dist.Normal(1.0, 2.0)),
        Parameter("b"),
        Parameter("c", shape=(2,), prior=dist.LogNormal(0.3, 0.5)),
    ]
    target = Target(lambda t: -(t["b"] ** 2), parameters, plain=plain, vectorized=vectorized)
    x = np.abs(RNG.normal(size=(5, 4))) + 0.1
    expected = -(x[:, 1] ** 2) + stats.norm(1, 2).logpdf(x[:, 0])
    expected += stats.lognorm(s=0.5, scale=np.exp(0.3)).logpdf(x[:, 2:]).sum(1)
    np.testing.assert_allclose(target.evaluate(x), expected, rtol=1e-12)
    assert target.measure()[1] == "flat in b"
    kinds = [kind for kind, _, _ in target.kinds]
    assert kinds == ["real", "real", "log", "log"]
    assert target.unscaled.tolist() == [False, True, False, False]


def test_bounds_and_priors_meet_in_the_support():
    cases = {
        "interval": Parameter("a", prior=dist.Uniform(0.0, 2.0), upper=1.5),
        "above": Parameter("a", prior=dist.Exponential(1.0)),
        "circle": Parameter("a", lower=0.0, upper=2.0, periodic=True),
        "below": Parameter("a", upper=1.0, scale=2.0),
    }
    for kind, parameter in cases.items():
        assert Target(lambda t: 0.0, [parameter]).kinds[0][0] == kind
    assert Target(lambda t: 0.0, [cases["interval"]]).kinds == [("interval", 0.0, 1.5)]


# Targets: densities that are broken ----------------------------------------------------------


@pytest.mark.parametrize(
    ("density", "error", "message"),
    [
        (lambda t: jnp.stack([t["x"], t["x"]]), DensityError, "one real number per point"),
        (lambda t: t["x"] + 1j, DensityError, "complex128"),
        (lambda t: t["x"] > 0, DensityError, "dtype bool"),
        (lambda t: "low", DensityError, "it returned 'low'"),
        (lambda t: None, DensityError, "is a return missing"),
        (lambda t: t["z"], ThetaError, "asks for 'z', which is no parameter; parameters: x"),
        (lambda t: 1 / 0, DensityError, "ZeroDivisionError"),
        (lambda t: np.linalg.cholesky(-np.eye(2)), DensityError, "raised LinAlgError"),
    ],
)
@pytest.mark.parametrize("plain", [None, True])
def test_broken_densities_have_named_errors(density, error, message, plain):
    target = Target(density, [Parameter("x")], plain=plain)
    with pytest.raises(error, match=None if plain else message) as caught:
        target.evaluate(np.ones((3, 1)))
    assert str(caught.value)


def test_a_vectorized_density_must_return_one_number_per_point():
    for plain in (None, True):
        target = Target(lambda t: t["x"].sum(), [Parameter("x")], vectorized=True, plain=plain)
        with pytest.raises(DensityError, match=r"\(n,\)|shape \(3,\)"):
            target.evaluate(np.ones((3, 1)))


def branching(t):
    return float(t["x"]) * 2 if t["x"] > 0 else 0.0


def test_code_that_jax_cannot_trace_falls_back_to_plain_and_says_so(caplog):
    target = Target(branching, [Parameter("x")], name="branching")
    with caplog.at_level(logging.WARNING, logger="posterion"):
        assert target.evaluate(np.array([[1.0], [-1.0]])).tolist() == [2.0, 0.0]
    assert "'branching' cannot be traced by JAX" in caplog.text
    assert not target.has_gradient
    with pytest.raises(GradientError, match="NUTS needs the gradient"):
        target.require_gradient("NUTS")
    with pytest.raises(GradientError, match="plain=False"):
        Target(branching, [Parameter("x")], plain=False).evaluate(np.ones((1, 1)))


def test_the_point_is_named_where_a_plain_density_raises():
    def density(t):
        if t["x"] > 1.5:
            raise ValueError("too far")
        return -t["x"]

    target = Target(density, [Parameter("x")], plain=True)
    with pytest.raises(DensityError, match=r"ValueError: too far at .*x.*2\."):
        target.evaluate(np.array([[1.0], [2.0]]))


def test_workers_need_an_importable_density():
    target = Target(lambda t: -t["x"], [Parameter("x")], plain=True, workers=1)
    with pytest.raises(DensityError, match="top of an importable module"):
        target.evaluate(np.ones((3, 1)))
    target.close()


# Frames -------------------------------------------------------------------------------------

KINDS = ["real", "interval", "above", "below", "log", "circle"]


def all_kinds_frame(origins=None):
    lower = np.tril(RNG.normal(size=(6, 6))) * 0.2 + np.diag([1.0, 0.9, 0.8, 1.1, 0.7, 1.0])
    lower[5, :5] = 0.0
    lower[5, 5] = 1.0
    a = np.array([1e5, -2.0, 1e-5, 7.0, 0.3, 0.0])
    b = np.array([1e4, 5.0, 1e-6, 2.0, 0.5, 4.0])
    with jax.enable_x64(True):
        support = SupportMap(KINDS, jnp.asarray(a), jnp.asarray(b))
    location = np.array([0.3, -0.2, 0.5, 0.1, -0.4, 0.0])
    return Frame.of(location, lower, support, 1e7, origins)


def test_frames_go_there_and_back_in_float64():
    frame = all_kinds_frame()
    v = np.clip(RNG.normal(size=(500, 6)), -3, 3)
    x, log_det = x_and_log_det(frame, v)
    assert ((x[:, 1] > -2) & (x[:, 1] < 5) & (x[:, 2] > 1e-5) & (x[:, 3] < 7)).all()
    assert ((x[:, 4] > 0) & (x[:, 5] >= 0) & (x[:, 5] <= 4)).all()
    back, back_log_det = v_and_log_det(frame, x)
    np.testing.assert_allclose(back, v, atol=2e-9)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-7)


def test_nothing_lies_beyond_the_bounds():
    """Not even where the map would give a finite value; circles have no beyond."""
    frame = all_kinds_frame()
    x, _ = x_and_log_det(frame, np.zeros((8, 6)))
    x[0, 1], x[1, 1] = -2.1, 5.1  # interval (-2, 5)
    x[2, 2] = 0.9e-5  # above 1e-5
    x[3, 3] = 7.1  # below 7
    x[4, 4] = -0.1  # log
    x[5, 5], x[6, 5] = -1.0, 9.0  # circle [0, 4)
    log_det = v_and_log_det(frame, x)[1]
    assert np.isneginf(log_det[:5]).all()
    assert np.isfinite(log_det[5:]).all()


def test_the_log_determinant_of_a_frame_is_that_of_its_jacobian():
    frame = all_kinds_frame()
    v = 0.5 * RNG.normal(size=(4, 6))
    _, log_det = x_and_log_det(frame, v)
    with jax.enable_x64(True):
        jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda u: frame.to_x(u[None])[0][0])))
        found = np.linalg.slogdet(np.asarray(jacobian(jnp.asarray(v)))).logabsdet
    np.testing.assert_allclose(found, log_det, atol=1e-10)


def test_a_cut_circle_gives_values_in_the_declared_range():
    """The circle [0, 10) cut at 7: an interval from 7 to 17, told as 0 to 10."""
    with jax.enable_x64(True):
        support = SupportMap(["interval"], jnp.asarray([7.0]), jnp.asarray([17.0]))
    frame = Frame.of(np.zeros(1), np.eye(1), support, 0.0, ((0.0, 10.0),))
    assert not frame.circular.any()
    v = np.linspace(-4, 4, 101)[:, None]
    x, log_det = x_and_log_det(frame, v)
    assert (x >= 0).all() and (x < 10).all()
    assert (x < 7).sum() > 10 and (x > 7).sum() > 10
    back, back_log_det = v_and_log_det(frame, x)
    np.testing.assert_allclose(back, v, atol=1e-8)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-8)
    turned, _ = v_and_log_det(frame, x + 10.0)  # the same points, one turn further
    np.testing.assert_allclose(turned, v, atol=1e-6)


def test_the_density_in_a_frame_integrates_to_that_in_physical_units():
    """Evidence is invariant: the sum over v of exp(in_frame) is the integral over x."""
    target = Target(lambda t: -((t["x"] - 2.0) ** 2) + 1e7, [Parameter("x", lower=0.0, upper=3.0)])
    frame = Frame.of(np.array([0.4]), np.array([[0.7]]), target.support(), 1e7)
    v = np.linspace(-12, 12, 8001)[:, None]
    with jax.enable_x64(True):
        value = np.asarray(jax.jit(target.in_frame)(frame, jnp.asarray(v)))
    total = np.trapezoid(np.exp(value), v[:, 0])
    exact = np.sqrt(np.pi) * (stats.norm.cdf(np.sqrt(2)) - stats.norm.cdf(-2 * np.sqrt(2)))
    assert total == pytest.approx(exact, rel=1e-8)
    single, score = jax.jit(target.value_and_score)(frame, jnp.asarray(v[3500:4500], jnp.float32))
    assert single.dtype == score.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(single), value[3500:4500], atol=2e-6, rtol=2e-6)
    slope = np.gradient(value, v[:, 0])[3500:4500]
    np.testing.assert_allclose(np.asarray(score)[:, 0], slope, atol=2e-4)
