"""Priors: of one parameter, of several together, of an earlier analysis; and what a file keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from fake_results import MEAN as M_MEAN
from fake_results import SD, W_COVARIANCE, W_MEAN, FakeResult
from posterion.core.columns import columns_of
from posterion.core.errors import ParameterError
from posterion.core.registry import from_tree, to_tree
from posterion.sampling import sample_chain
from posterion.targets import Parameter, Target
from posterion.targets.kept import KeptPrior, keep
from posterion.training import learn, load
from small_learning import SMALL

MEAN, COVARIANCE = np.array([1.0, -2.0, 0.5]), np.diag([1.0, 4.0, 0.25]) + 0.3
NORMALS = dist.MultivariateNormal(jnp.asarray(MEAN), jnp.asarray(COVARIANCE))
ABC = [Parameter("a"), Parameter("b"), Parameter("c")]


def nothing(theta):
    return 0.0


# One parameter ------------------------------------------------------------------------------


def test_a_vector_prior_has_its_own_ends_and_widths():
    prior = dist.Uniform(jnp.array([0.0, 1.0]), jnp.array([1.0, 3.0]))
    parameter = Parameter("w", shape=(2,), prior=prior)
    assert Target(nothing, [parameter]).kinds == [("interval", 0.0, 1.0), ("interval", 1.0, 3.0)]
    assert [(c.lower, c.upper) for c in columns_of([parameter])] == [(0.0, 1.0), (1.0, 3.0)]
    narrower = Parameter("w", shape=(2,), prior=prior, lower=0.5)
    assert [c.lower for c in columns_of([narrower])] == [0.5, 1.0]
    normals = Parameter("w", shape=(3,), prior=NORMALS)
    kinds = Target(nothing, [normals]).kinds
    np.testing.assert_allclose([k[1] for k in kinds], MEAN, rtol=1e-6)
    np.testing.assert_allclose([k[2] for k in kinds], np.sqrt(np.diag(COVARIANCE)), rtol=1e-6)
    x = np.random.default_rng(0).normal(size=(5, 3))
    expected = stats.multivariate_normal(MEAN, COVARIANCE).logpdf(x)
    np.testing.assert_allclose(Target(nothing, [normals]).evaluate(x), expected, rtol=1e-5)


def test_bounds_that_cut_nothing_are_not_said():
    beta = Parameter("e", prior=dist.Beta(8.0, 2.0), lower=0.0, upper=1.0)
    assert beta.measure() == "e ~ Beta(concentration1=8, concentration0=2)"
    assert (
        "cut to [0.5, inf], not ren" in Parameter("e", prior=dist.Beta(8, 2), lower=0.5).measure()
    )


def test_a_prior_on_a_strange_support_is_named():
    with pytest.raises(ParameterError, match="on _Simplex is not supported"):
        _ = Target(nothing, [Parameter("w", shape=(2,), prior=dist.Dirichlet(jnp.ones(2)))]).kinds


# Several parameters -------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [None, True])
def test_a_normal_of_several_parameters_is_added_once(plain):
    parameters = [Parameter("first", prior=dist.Normal(0.0, 1.0)), *ABC]
    prior = {("c", "a", "b"): NORMALS}
    target = Target(nothing, parameters, prior=prior, plain=plain)
    x = np.random.default_rng(1).normal(size=(6, 4))
    expected = stats.multivariate_normal(MEAN, COVARIANCE).logpdf(x[:, [3, 1, 2]])
    expected += stats.norm.logpdf(x[:, 0])
    np.testing.assert_allclose(target.evaluate(x), expected, rtol=1e-5)
    said = "c, a, b ~ MultivariateNormal(loc, covariance_matrix, precision_matrix, scale_tril)"
    assert target.measure() == ["first ~ Normal(loc=0, scale=1)", said]
    np.testing.assert_allclose([k[1] for k in target.kinds], [0, *MEAN[[1, 2, 0]]], rtol=1e-6)
    assert not target.unscaled.any()


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({("a", "z"): NORMALS}, "there is no parameter z; parameters: a, b, c"),
        ({("a", "b"): NORMALS}, r"values of shape \(3,\); the parameters have 2"),
        ({"a": 3.0}, "must be a NumPyro distribution or an earlier result, got float"),
        ({"a": dist.Normal(0, 1), ("c", "a", "b"): NORMALS}, "'a' has two priors"),
        (NORMALS, "prior is an earlier result, or a dict"),
    ],
)
def test_unusable_joint_priors_are_named(prior, message):
    with pytest.raises(ParameterError, match=message):
        Target(nothing, ABC, prior=prior)


def test_bounds_beyond_a_joint_prior_are_named():
    parameters = [Parameter("a", lower=40.0), *ABC[1:]]
    with pytest.raises(ParameterError, match=r"prior of a, b, c: none of 2000 draws"):
        Target(nothing, parameters, prior={("a", "b", "c"): NORMALS})
    cut = Target(nothing, [Parameter("a", lower=0.0), *ABC[1:]], prior={("a", "b", "c"): NORMALS})
    assert cut.measure()[0].endswith("scale_tril), a cut to [0, inf], not renormalised")
    assert cut.kinds[0][:2] == ("above", 0.0)


# An earlier analysis ------------------------------------------------------------------------


def test_an_earlier_result_is_the_prior_of_the_next():
    """Its parameters are taken over; density and score are those of its flow."""
    target = Target(lambda t: -(t["new"] ** 2), [Parameter("new")], prior=FakeResult())
    assert target.names == ("m", "w", "phi", "new")
    assert target.measure() == ["m, w, phi ~ the posterior of 'fake'", "flat in new"]
    x = np.tile([M_MEAN + SD, 1.2, -2.1, 0.7, 0.4], (3, 1))
    theta = target.unflatten(x)
    expected = FakeResult().log_prob({k: theta[k] for k in ("m", "w", "phi")}) - 0.16
    np.testing.assert_allclose(target.evaluate(x), expected, rtol=1e-5)
    assert target.has_gradient
    kinds = target.kinds
    assert [kind for kind, _, _ in kinds] == ["above", "real", "real", "circle", "real"]
    np.testing.assert_allclose(kinds[0][1:], [0.0, M_MEAN], rtol=0.1)
    np.testing.assert_allclose(kinds[1][1:], [W_MEAN[0], 0.5], rtol=0.1)  # by 4000 draws


def test_an_earlier_result_must_fit():
    for changed, message in (
        (Parameter("m", unit="MeV"), "'m' has unit 'MeV'"),
        (Parameter("w", shape=(3,)), r"'w' has shape \(3,\)"),
        (Parameter("w", shape=(2,), unit="fm", prior=dist.Normal(0.0, 1.0)), "two priors"),
    ):
        with pytest.raises(ParameterError, match=message):
            Target(nothing, [changed], prior=FakeResult())


def test_the_posterior_with_an_earlier_result_as_prior_is_the_conjugate_normal():
    """W of the earlier result, measured again: precisions add. Held to 5 standard errors."""
    again = np.array([1.4, -2.2])

    def log_likelihood(theta):
        return -0.5 * jnp.sum((theta["w"] - again) ** 2) / 0.25

    target = Target(
        log_likelihood, prior={"w": marginal()}, parameters=[Parameter("w", shape=(2,))]
    )
    chain = sample_chain(target, draws=4000, chains=4, seed=1, quiet=True)
    precision = np.linalg.inv(W_COVARIANCE) + np.eye(2) / 0.25
    mean = np.linalg.solve(precision, np.linalg.solve(W_COVARIANCE, W_MEAN) + again / 0.25)
    w = chain.draws["w"].reshape(-1, 2)
    error = np.sqrt(np.diag(np.linalg.inv(precision)) / 1000)
    assert (np.abs(w.mean(0) - mean) < 5 * error).all()


def marginal():
    return dist.MultivariateNormal(jnp.asarray(W_MEAN.copy()), jnp.asarray(W_COVARIANCE.copy()))


# Files --------------------------------------------------------------------------------------

KEPT = [
    dist.Normal(1.0, 2.0),
    dist.LogNormal(0.3, 0.5),
    dist.Beta(2.0, 3.0),
    dist.Uniform(jnp.array([0.0, 1.0]), 4.0),
    dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0),
    dist.StudentT(3.0, 1.0, 2.0),
    dist.VonMises(0.0, 2.0),
    dist.Normal(jnp.zeros(3), 1.0).to_event(1),
    NORMALS,
    dist.MixtureSameFamily(
        dist.Categorical(jnp.ones(2) / 2), dist.Normal(jnp.array([0.0, 3.0]), 1)
    ),
]


def through_a_file(parameter):
    arrays: dict[str, np.ndarray] = {}
    return from_tree(to_tree(parameter, arrays), arrays)


@pytest.mark.parametrize("prior", KEPT, ids=lambda p: type(p).__name__)
def test_a_prior_comes_back_from_a_file_and_serves_again(prior):
    shape = tuple(prior.batch_shape) + tuple(prior.event_shape)
    parameter = Parameter("w", shape=shape, prior=prior)
    again = through_a_file(parameter)
    value = prior.sample(jax.random.key(1), (4,))
    np.testing.assert_allclose(again.prior.log_prob(value), prior.log_prob(value), rtol=1e-5)
    assert again.measure() == parameter.measure()
    x = np.asarray(value, np.float64).reshape(4, -1)
    first, second = (Target(nothing, [p]).evaluate(x) for p in (parameter, again))
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert through_a_file(again).prior.described == again.prior.described


def test_what_a_file_cannot_hold_is_kept_in_words():
    shifted = dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(1.0, 2.0)
    )
    again = through_a_file(Parameter("m", prior=shifted))
    assert again.prior == KeptPrior("TransformedDistribution()")
    with pytest.raises(ParameterError, match=r"words only.*give the parameter anew"):
        Target(nothing, [again])
    assert keep(None) is None


def test_a_learned_posterior_with_priors_is_saved_and_loaded(tmp_path):
    parameters = [Parameter("a", prior=dist.Normal(0.0, 1.0)), Parameter("b"), Parameter("c")]
    prior = {("b", "c"): marginal()}
    target = Target(lambda t: -0.5 * (t["a"] - t["b"]) ** 2, parameters, prior=prior, name="both")
    result = learn(target, seed=1, **SMALL)
    result.save(tmp_path / "both.posterion")
    again = load(tmp_path / "both.posterion")
    np.testing.assert_array_equal(again.sample(5, seed=1)["b"], result.sample(5, seed=1)["b"])
    assert float(again.parameters[0].prior.log_prob(0.5)) == pytest.approx(stats.norm.logpdf(0.5))
    assert again.parameters[1].prior.described.startswith("b, c ~ MultivariateNormal")
    later = Target(lambda t: -(t["a"] ** 2), prior=again)
    assert later.measure() == ["a, b, c ~ the posterior of 'both'"]
    x = np.array([[0.1, 1.0, -2.0]])
    expected = again.log_prob(target.unflatten(x)) - 0.01
    np.testing.assert_allclose(later.evaluate(x), expected, rtol=1e-5)
    assert keep(again.as_numpyro()).family == "posterion.posterior"
