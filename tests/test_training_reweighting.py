"""Results under another prior: the truth is the conjugate normal's."""

import re
from dataclasses import replace

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import kstest, multivariate_normal, norm

import posterion
from fake_results import FakeResult
from posterion import Parameter, errors, flows
from posterion.bijections.support import support_of
from posterion.core.estimate import Estimate
from posterion.core.status import Status
from posterion.diagnostics import Health
from posterion.targets import Target
from posterion.targets.frame import Frame
from posterion.training import Fit, Posterior, Reweighted

MEAN, COVARIANCE = np.array([1.0, 0.4]), np.array([[0.25, 0.1], [0.1, 0.3]])
OLD = norm(0.0, 1.0)  # of nu; mu has none
NEW_MU, NEW_NU = dist.Normal(0.0, 1.0), dist.Normal(0.5, 0.7)
PARAMETERS = (Parameter("mu", unit="fb"), Parameter("nu", prior=dist.Normal(0.0, 1.0)))


def exact(mean, covariance, parameters, **more):
    """A fit whose flow is the identity: exactly the normal of its frame."""
    with jax.enable_x64(True):
        support = support_of([None] * len(mean), [False] * len(mean))
    frame = Frame.of(np.array(mean), np.linalg.cholesky(covariance), support, 0.0)
    flow = flows.maf(len(mean), transforms=1, hidden=(4,))
    given = {"form": "dict", "context": (), "health": Health(Status.fitted, "toy")} | more
    empty = {"history": {}, "settings": {}, "versions": {}, "citations": (), "provenance": {}}
    none = {"context_location": np.zeros(0), "context_scale": np.ones(0)}
    return Fit("toy", parameters, flow, frame, **given, **empty, **none)


@pytest.fixture(scope="module")
def kept():
    return exact(MEAN, COVARIANCE, PARAMETERS)


def conjugate(*, mu=(0.0, 1.0), nu=(0.5, 0.7)):
    """Mean, covariance and log-evidence ratio where mu gets a prior and nu another one."""
    old, new = np.diag([0.0, 1.0]), np.diag([mu[1] ** -2.0, nu[1] ** -2.0])
    precision = np.linalg.inv(COVARIANCE)
    after = np.linalg.inv(precision - old + new)
    mean = after @ (precision @ MEAN + new @ [mu[0], nu[0]])
    at = np.zeros(2)
    ratio = norm.logpdf(0, *mu) + norm.logpdf(0, *nu) - OLD.logpdf(0)
    ratio += multivariate_normal.logpdf(at, MEAN, COVARIANCE)
    return mean, after, ratio - multivariate_normal.logpdf(at, mean, after)


def test_the_conjugate_answer(kept):
    new = kept.reinterpret(prior={"mu": NEW_MU, "nu": NEW_NU})
    mean, covariance, ratio = conjugate()
    summary = new.summary(n=200_000, seed=1)
    worth = summary.effective
    assert worth > 60_000 and summary.size == 200_000
    error = np.sqrt(np.diag(covariance) / worth)
    assert (np.abs(summary.mean - mean) < 5 * error).all()  # false alarms: 1 in a million
    np.testing.assert_allclose(summary.covariance, covariance, atol=5 / np.sqrt(worth))
    found = new.log_evidence_ratio
    assert 0 < found.error < 0.01 and abs(found.pull(Estimate(ratio, 0.0))) < 5
    x = {"mu": np.array([0.1, 1.5]), "nu": np.array([0.0, 0.7])}
    truth = multivariate_normal.logpdf(np.stack([x["mu"], x["nu"]], 1), mean, covariance)
    np.testing.assert_allclose(new.log_prob(x), truth, atol=5 * found.error)
    assert new.ess == pytest.approx(100_000 * new.weighed.ess_fraction.value)
    assert [p.prior_in_words for p in new.parameters] == [
        "Normal(loc=0, scale=1)",
        "Normal(loc=0.5, scale=0.7)",
    ]
    with pytest.raises(errors.DensityError, match="knows no evidence"):
        new.log_evidence  # noqa: B018
    assert "effective, new prior" in str(new) and "mu [fb] ~ Normal(loc=0, scale=1)" in str(new)


def test_draws_of_equal_weight_are_exact_and_different(kept):
    new = kept.reinterpret({"mu": NEW_MU, "nu": NEW_NU}, n=20_000)
    mean, covariance, _ = conjugate()
    draws = new.sample(20_000, seed=3)
    for i, name in enumerate(("mu", "nu")):
        assert len(np.unique(draws[name])) > 19_900  # of float32
        p = kstest(draws[name], norm(mean[i], covariance[i, i] ** 0.5).cdf).pvalue
        assert p > 1e-4  # false alarms: 1 in 10 000
    again = new.sample(20_000, seed=3)
    assert (again["mu"] == draws["mu"]).all() and new.sample(1, seed=4)["mu"].shape == (1,)
    array = replace(kept, form="array").reinterpret({"nu": NEW_NU})
    assert array.sample(7, seed=0).shape == (7, 2)


def test_a_prior_alone_leaves_the_others_and_none_is_flat(kept):
    new = kept.reinterpret({"nu": None})
    precision = np.linalg.inv(COVARIANCE) - np.diag([0.0, 1.0])
    mean = np.linalg.solve(precision, np.linalg.inv(COVARIANCE) @ MEAN)
    found = new.summary(n=200_000)
    assert (np.abs(found.mean - mean) < 5 * found.mean_error).all()
    assert new.parameters[1].prior is None and new.parameters[0] is kept.parameters[0]
    # There and back again: each weight is that of the result itself.
    back = new.reinterpret({"nu": dist.Normal(0.0, 1.0)})
    assert isinstance(back.source, Reweighted)
    assert abs(back.log_evidence_ratio.value + new.log_evidence_ratio.value) < 0.02
    found = back.summary(n=200_000)
    assert (np.abs(found.mean - MEAN) < 5 * found.mean_error).all()


def test_a_joint_prior_and_an_earlier_result(kept):
    joint = dist.MultivariateNormal(np.zeros(2), np.array([[1.0, 0.3], [0.3, 0.5]]))
    new = kept.reinterpret({("nu", "mu"): joint})
    order = np.array([[0.5, 0.3], [0.3, 1.0]])  # of mu and nu
    precision = np.linalg.inv(COVARIANCE) - np.diag([0.0, 1.0]) + np.linalg.inv(order)
    mean = np.linalg.solve(precision, np.linalg.inv(COVARIANCE) @ MEAN)
    found = new.summary(n=100_000)
    assert (np.abs(found.mean - mean) < 5 * found.mean_error).all()
    earlier = exact([0.0], [[1.0]], (Parameter("other"),))
    found = kept.reinterpret({"mu": earlier, "nu": NEW_NU}).summary(n=100_000)
    assert (np.abs(found.mean - conjugate()[0]) < 5 * found.mean_error).all()


def test_too_few_draws_and_heavy_tails_are_refused(kept):
    with pytest.raises(
        errors.ReweightingError, match=r"mu is 0.999 \+- 0.5, its new prior 4 \+- 0.1"
    ):
        kept.reinterpret({"mu": dist.Normal(4.0, 0.1)})
    with pytest.raises(errors.ReweightingError, match=r"(\d+) of 10000 .* 20.00% are needed"):
        kept.reinterpret({"mu": dist.Normal(1.5, 0.05)}, least=0.2, n=10_000)
    narrow = exact([0.0], [[0.9]], (Parameter("x", prior=dist.Normal(0.0, 1.0)),))
    with pytest.raises(errors.ReweightingError, match="k-hat is"):
        narrow.reinterpret({"x": None}, least=1e-4)  # a likelihood far wider than the prior
    with pytest.raises(errors.ReweightingError, match="Learn it again with this prior"):
        kept.reinterpret({"mu": dist.Uniform(7.0, 8.0)})  # not one draw


def test_what_is_no_prior_is_named(kept):
    for prior, error, message in [
        ({"mu_SIG": NEW_MU}, errors.ThetaError, "no parameter mu_SIG; known: mu, nu"),
        ({"mu": 3.0}, errors.ParameterError, "must be a NumPyro distribution"),
        (NEW_MU, errors.ParameterError, "a dict of parameter names"),
        ({}, errors.ParameterError, "a dict of parameter names"),
        ({("mu", "nu"): NEW_MU}, errors.ParameterError, "the parameters have 2 coordinates"),
    ]:
        with pytest.raises(error, match=message):
            kept.reinterpret(prior)
    bounded = replace(kept, parameters=(replace(PARAMETERS[0], lower=0.0), PARAMETERS[1]))
    with pytest.raises(errors.ParameterError, match="none of 2000 draws"):
        bounded.reinterpret({"mu": dist.Uniform(-3.0, -2.0)})
    cut = bounded.reinterpret({"mu": NEW_MU})
    assert re.search("5[01]% of the new prior of mu is beyond", str(cut.summary()))


def test_a_density_at_hand_weighs_both_and_knows_joint_priors():
    mean, covariance = np.zeros(2), np.eye(2)
    joint = dist.MultivariateNormal(mean, covariance)
    target = Target(
        lambda t: norm_log(t["a"] - 1.0) + norm_log(t["b"]),
        [Parameter("a"), Parameter("b")],
        prior={("a", "b"): joint},
        name="two",
    )
    # The flow is wrong on purpose: the weights against the density mend it.
    fit = exact([0.4, 0.1], 0.5 * covariance, target.described_parameters)
    posterior = Posterior(
        *("two", fit.parameters, fit.flow, fit.frame, fit.health, Estimate(-2.0, 0.0)),
        *({}, {}, {}, (), {}),
        target=target,
    )
    with pytest.raises(errors.ParameterError, match="one prior together: give that of b too"):
        posterior.reinterpret({"a": NEW_MU})
    new = posterior.reinterpret({"a": dist.Normal(0.0, 0.5), "b": dist.Normal(0.0, 1.0)})
    found = new.summary(n=100_000, weighted=True)
    assert (np.abs(found.mean - [1 / 5, 0.0]) < 5 * found.mean_error).all()
    assert new.log_evidence.value == -2.0 + new.log_evidence_ratio.value
    with pytest.raises(errors.ParameterError, match="in words only"):
        replace(posterior, target=None).reinterpret({"a": NEW_MU, "b": NEW_MU})


def norm_log(x):
    return -0.5 * x**2


def test_a_file_keeps_it(kept, tmp_path):
    new = kept.reinterpret({"mu": NEW_MU, "nu": NEW_NU})
    new.save(tmp_path / "new.posterion")
    again = posterion.load(tmp_path / "new.posterion")
    assert repr(again) == repr(new) and again.ess == new.ess
    x = {"mu": np.array([0.1]), "nu": np.array([0.3])}
    np.testing.assert_allclose(again.log_prob(x), new.log_prob(x), atol=1e-6)
    draws = new.sample(100, seed=1)
    np.testing.assert_array_equal(again.sample(100, seed=1)["mu"], draws["mu"])
    assert abs(again.reinterpret({"mu": None}).log_evidence_ratio.value) < 5
    mixture = dist.MixtureSameFamily(
        dist.Categorical(np.array([0.5, 0.5])), dist.Normal(np.array([0.0, 1.0]), np.ones(2))
    )
    odd = kept.reinterpret({"mu": mixture})
    if posterion.targets.parameter.keep(mixture).family is None:
        with pytest.raises(errors.BundleError, match="the prior of mu in words only"):
            odd.save(tmp_path / "odd.posterion")


def test_it_is_traced_profiled_and_a_prior_itself(kept):
    new = kept.reinterpret({"mu": NEW_MU, "nu": NEW_NU})
    mean, covariance, _ = conjugate()
    prior = new.as_numpyro()
    x = np.asarray(prior.sample(jax.random.key(0), (5000,)))
    error = np.sqrt(np.diag(covariance) / 5000)
    assert (np.abs(x.mean(axis=0) - mean) < 5 * error).all()
    truth = multivariate_normal.logpdf(x[:10], mean, covariance)
    np.testing.assert_allclose(prior.log_prob(x[:10]), truth, atol=0.02)
    t = new.profile("mu", mean[0] + np.array([0.0, 0.5])).t
    np.testing.assert_allclose(t, [0.0, 0.25 / covariance[0, 0]], atol=1e-4)


def test_any_result_and_a_condition():
    fake = FakeResult()
    new = fake.reinterpret({"m": dist.Normal(2.5e-3, 4e-5)})
    assert abs(new.summary("m", n=50_000)["m"]["sd"] / (4e-5 / np.sqrt(2)) - 1) < 0.02
    with pytest.raises(errors.DensityError, match="no density that can be climbed"):
        new.profile("m")
    flow = flows.maf(1, transforms=1, hidden=(4,), context_dim=1)
    one = exact([0.0], [[1.0]], (Parameter("x"),))
    conditional = replace(
        one, flow=flow, context=("e",), context_location=np.zeros(1), context_scale=np.ones(1)
    )
    with pytest.raises(errors.SettingError, match="needs a context"):
        conditional.reinterpret({"x": NEW_MU})
    found = conditional.given([2.0]).reinterpret({"x": NEW_MU}).summary()
    assert abs(found["x"]["sd"] - np.sqrt(0.5)) < 0.01
