"""One prior: its density against SciPy and PyMC, its value, and what each mistake in it says."""

import copy
import pickle

import numpy as np
import pymc as pm
import pytest
from pytensor.compile.mode import Mode
from scipy import integrate, stats

from bayesmm.errors import PriorError
from bayesmm.priors import Prior
from bayesmm.priors.distributions import DISTRIBUTIONS
from bayesmm.sampling.graph.distributions import PYMC

PYTHON = Mode(linker="py", optimizer="fast_compile")  # PyTensor without code generation: quick to compile


# --- densities -------------------------------------------------------------------------------------------------------


# distribution, PyMC's parameters, the same in SciPy
KNOWN = [
    ("Normal", {"mu": 1.5, "sigma": 2.5}, stats.norm(1.5, 2.5)),
    ("StudentT", {"nu": 3.5, "mu": -1.0, "sigma": 2.0}, stats.t(3.5, -1, 2)),
    ("Cauchy", {"alpha": 0.5, "beta": 2.0}, stats.cauchy(0.5, 2)),
    ("Laplace", {"mu": 0.3, "b": 1.7}, stats.laplace(0.3, 1.7)),
    ("Uniform", {"lower": -1.0, "upper": 3.0}, stats.uniform(-1, 4)),
    ("Beta", {"alpha": 2.5, "beta": 1.7}, stats.beta(2.5, 1.7)),
    ("Beta", {"alpha": 7.0, "beta": 1.0}, stats.beta(7, 1)),
    ("HalfNormal", {"sigma": 2.0}, stats.halfnorm(0, 2)),
    ("HalfCauchy", {"beta": 2.0}, stats.halfcauchy(0, 2)),
    ("Exponential", {"lam": 0.4}, stats.expon(0, 2.5)),
    ("Gamma", {"alpha": 2.5, "beta": 0.7}, stats.gamma(2.5, 0, 1 / 0.7)),
    ("Gamma", {"alpha": 1.0, "beta": 0.7}, stats.gamma(1.0, 0, 1 / 0.7)),
    ("InverseGamma", {"alpha": 2.5, "beta": 0.7}, stats.invgamma(2.5, 0, 0.7)),
    ("LogNormal", {"mu": 0.3, "sigma": 0.8}, stats.lognorm(0.8, 0, np.exp(0.3))),
]
AT = np.array([-0.8, 0.02, 0.4, 1.0, 2.3, 7.5])


@pytest.mark.parametrize(("name", "parameters", "scipy"), KNOWN)
def test_log_densities_are_scipys(name, parameters, scipy):
    # rounding of a few operations on numbers of order 1; both sides are -inf outside the support
    np.testing.assert_allclose(Prior(name, **parameters).logpdf(AT), scipy.logpdf(AT), rtol=1e-13, atol=1e-14)


def test_half_t_is_twice_the_t_above_zero():
    expected = np.where(AT >= 0, np.log(2) + stats.t.logpdf(AT, 3, 0, 20), -np.inf)
    np.testing.assert_allclose(Prior("HalfStudentT", nu=3, sigma=20).logpdf(AT), expected, rtol=1e-13)


def examples():
    """Return a prior of each distribution of the table but LKJ, and of each positive one on the variance."""
    found = [Prior(name, **parameters) for name, parameters, _ in KNOWN]
    found += [
        Prior("HalfStudentT", nu=3, sigma=20),
        Prior("Flat"),
        Prior("HalfFlat"),
        Prior("Uniform", lower=0, upper=5),
    ]
    positive = [prior for prior in found if prior.support == "positive" or prior == found[-1]]
    return found + [Prior(prior.distribution, on="variance", **prior.parameters) for prior in positive]


EXAMPLES = examples()


def test_every_distribution_has_an_example():
    assert {prior.distribution for prior in EXAMPLES} == set(DISTRIBUTIONS) - {"LKJ"} == set(PYMC)


@pytest.mark.parametrize("prior", EXAMPLES, ids=str)
def test_log_densities_are_pymcs(prior):
    x = AT[AT > 0] if prior.support == "positive" or prior.on == "variance" else AT
    at, jacobian = (x**2, np.log(2 * x)) if prior.on == "variance" else (x, 0.0)
    parameters = {name: np.asarray(value) for name, value in prior.parameters.items()}  # Python's floats become float32
    theirs = pm.logp(PYMC[prior.distribution].dist(**parameters), at).eval(mode=PYTHON) + jacobian
    # rounding; PyMC's half-t and half-Cauchy add log 2 in single precision, 1.9e-9 off
    atol = 2e-9 if prior.distribution in ("HalfStudentT", "HalfCauchy") else 1e-13
    np.testing.assert_allclose(prior.logpdf(x), theirs, rtol=1e-12, atol=atol)


@pytest.mark.parametrize("prior", EXAMPLES, ids=str)
def test_slopes_are_the_differences_of_the_log_density(prior):
    x, h = AT[AT > 0] + 0.001, 1e-6  # off the kink of Laplace and the ends of Uniform
    x = x[np.isfinite(prior.logpdf(x + h))]
    numeric = (prior.logpdf(x + h) - prior.logpdf(x - h)) / (2 * h)
    # central differences: error h^2 f''' / 6, up to 1e-12 * 1e5 near 0.02, and rounding 1e-16 / h of values up to 1e3
    np.testing.assert_allclose(prior.dlogpdf(x), numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("prior", [p for p in EXAMPLES if p.quantile(0.5) is not None], ids=str)
def test_densities_integrate_to_the_probability_between_quantiles(prior):
    lower, upper = prior.quantile(0.1), prior.quantile(0.8)
    mass = integrate.quad(lambda x: np.exp(prior.logpdf(x)), lower, upper, points=[1.0], epsabs=1e-9)[0]
    assert mass == pytest.approx(0.7, abs=1e-6)  # the error that quad was asked for, with room for a kink


def test_the_ends_of_the_support():
    assert Prior("HalfStudentT", nu=3, sigma=20).logpdf(0.0) == pytest.approx(np.log(2) + stats.t.logpdf(0, 3, 0, 20))
    assert Prior("HalfNormal", sigma=2).logpdf(-1e-9) == -np.inf
    assert Prior("HalfNormal", sigma=2).dlogpdf(-1.0) == 0.0
    for prior in (Prior("InverseGamma", alpha=1, beta=1), Prior("LogNormal", mu=0, sigma=1)):
        assert (prior.logpdf(0.0), prior.dlogpdf(0.0)) == (-np.inf, 0.0)
    assert Prior("Gamma", alpha=1, beta=2).dlogpdf(0.0) == -2.0
    assert (
        Prior("InverseGamma", alpha=1, beta=1, on="variance").logpdf(-1.0) == -np.inf
    )  # (-1)^2 is no variance of an sd


def matrix(*r):
    """Return the 3 by 3 correlation matrix with these correlations below the diagonal, by row."""
    R = np.eye(3)
    R[np.tril_indices(3, -1)] = r
    return R + R.T - np.eye(3)


@pytest.mark.parametrize("prior", [Prior("Normal", sigma=1), Prior("HalfNormal", sigma=2, on="variance")])
def test_a_masked_value_has_no_density(prior):
    x = np.ma.masked_array([1.0, 1e20], mask=[False, True])
    for density in (prior.logpdf, prior.dlogpdf):
        with pytest.raises(PriorError, match="a masked value has no density; leave such values out"):
            density(x)
        assert density(x.compressed()) == density(1.0)
    with pytest.raises(PriorError, match="a masked value"):
        Prior("LKJ", eta=2).logpdf(np.ma.masked_array(np.eye(2), mask=[[False, True], [True, False]]))


def test_lkj_is_pymcs_and_uniform_at_shape_1():
    R = matrix(0.3, -0.2, 0.5)
    assert Prior("LKJ", eta=1).logpdf(R) == pytest.approx(-np.log(np.pi**2 / 2))  # the volume of the 3 by 3 matrices
    L = np.linalg.cholesky(R)
    theirs = pm.logp(pm.LKJCorr.dist(n=3, eta=np.asarray(2.5)), L).eval(mode=PYTHON)  # a density of L: dR / dL = L_22
    assert Prior("LKJ", eta=2.5).logpdf(R) == pytest.approx(float(theirs) - np.log(L[1, 1]), rel=1e-12)
    assert Prior("LKJ", eta=2).logpdf(matrix(0.9, 0.9, -0.9)) == -np.inf


def test_the_slope_of_lkj_is_by_correlation():
    prior, r, h = Prior("LKJ", eta=2.5), np.array([0.3, -0.2, 0.5]), 1e-6
    numeric = [(prior.logpdf(matrix(*(r + d))) - prior.logpdf(matrix(*(r - d)))) / (2 * h) for d in h * np.eye(3)]
    slope = prior.dlogpdf(matrix(*r))
    np.testing.assert_allclose(slope[np.tril_indices(3, -1)], numeric, rtol=1e-7)  # h^2 and 1e-16 / h
    np.testing.assert_array_equal(np.diag(slope), 0)
    np.testing.assert_allclose(slope, slope.T)


# --- one prior -------------------------------------------------------------------------------------------------------


def test_a_prior_is_a_value():
    prior = Prior("HalfStudentT", nu=3, sigma=20)
    assert prior == Prior("HalfStudentT", sigma=20.0, nu=3)
    assert prior != Prior("HalfStudentT", nu=3, sigma=20, on="variance")
    assert {prior: 1}[Prior("HalfStudentT", nu=3, sigma=20)] == 1
    assert eval(repr(prior)) == prior
    assert pickle.loads(pickle.dumps(prior)) == copy.deepcopy(prior) == prior
    assert str(prior) == "HalfStudentT(nu=3, sigma=20)"
    assert str(Prior("InverseGamma", alpha=1, beta=2, on="variance")) == "InverseGamma(alpha=1, beta=2) on the variance"
    with pytest.raises(AttributeError):
        prior.distribution = "Normal"
    prior.parameters["sigma"] = 1.0  # a copy
    assert prior.parameters["sigma"] == 20.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Prior("Normal", mu=1, tau=0.04), Prior("Normal", mu=1, sigma=5)),
        (Prior("StudentT", nu=3, lam=0.25), Prior("StudentT", nu=3, mu=0, sigma=2)),
        (Prior("Exponential", scale=4), Prior("Exponential", lam=0.25)),
        (Prior("Gamma", mu=6, sigma=3), Prior("Gamma", alpha=4, beta=2 / 3)),
        (Prior("InverseGamma", mu=2, sigma=1), Prior("InverseGamma", alpha=6, beta=10)),
    ],
    ids=str,
)
def test_pymcs_other_parameters_mean_what_they_mean_there(one, other):
    assert one == other


def test_moments_of_the_other_parameters():
    gamma, inverse = Prior("Gamma", mu=6, sigma=3).parameters, Prior("InverseGamma", mu=2, sigma=1).parameters
    scipy = stats.gamma(gamma["alpha"], 0, 1 / gamma["beta"])
    assert (scipy.mean(), scipy.std()) == pytest.approx((6, 3))
    scipy = stats.invgamma(inverse["alpha"], 0, inverse["beta"])
    assert (scipy.mean(), scipy.std()) == pytest.approx((2, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Norml", {"sigma": 1}), "'Norml' is no known distribution; did you mean 'Normal'?"),
        (("normal", {"sigma": 1}), "did you mean 'Normal'?"),
        ((["Normal"], {}), "is no known distribution"),
        (("Normal", {"sd": 1}), "Normal has no parameter 'sd'; Normal takes mu, sigma"),
        (("HalfNormal", {"sigm": 1}), "HalfNormal has no parameter 'sigm'; did you mean 'sigma'?"),
        (("Normal", {}), "Normal is missing sigma"),  # PyMC would take 1, in whose units?
        (("HalfStudentT", {"sigma": 3}), "HalfStudentT is missing nu"),
        (("Normal", {"sigma": 0}), "sigma of Normal should be above 0, not 0"),
        (("HalfCauchy", {"beta": -2}), "beta of HalfCauchy should be above 0, not -2"),
        (("LKJ", {"eta": 0}), "eta of LKJ should be above 0"),
        (("Normal", {"tau": 0}), "tau of Normal should be above 0"),
        (("Normal", {"tau": 1, "sigma": 1}), "Normal takes sigma or tau, not both"),
        (("Normal", {"sigma": float("inf")}), "sigma of Normal should be one finite number, not inf"),
        (("Normal", {"sigma": "wide"}), "sigma of Normal should be one finite number, not 'wide'"),
        (("Normal", {"sigma": Prior("HalfNormal", sigma=1)}), "and is a prior; the sd of effects has its own"),
        (("Normal", {"sigma": [1, 2]}), "one finite number"),
        (("Normal", {"sigma": True}), "one finite number"),
        (("Uniform", {"lower": 2, "upper": 1}), "lower of Uniform should be below upper, not 2 with 1"),
        (("Flat", {"sigma": 1}), "Flat has no parameter 'sigma'; Flat takes no parameters"),
        (("HalfNormal", {"sigma": 1, "on": "precision"}), "on should be 'sd' or 'variance', not 'precision'"),
        (("LKJ", {"eta": 1, "on": "variance"}), "on='variance' is for the distribution of a standard deviation"),
        (("Fixed", {"value": 1, "on": "variance"}), "on='variance' is for the distribution of a standard deviation"),
        (("Fixed", {}), "Fixed is missing value"),
        (("Custom", {}), "a Custom prior takes one parameter, function"),
        (("Custom", {"function": 3}), "a Custom prior takes one parameter, function"),
    ],
)
def test_mistakes_in_a_prior_are_errors_at_once(arguments, message):
    name, parameters = arguments
    with pytest.raises(PriorError) as caught:
        Prior(name, **parameters)
    assert message in str(caught.value)


def test_fixed_and_custom_priors_have_no_density():
    for prior in (Prior("Fixed", value=3), Prior("Custom", function=print)):
        with pytest.raises(PriorError, match="no density"):
            prior.logpdf(1.0)


def test_numbers_without_names_are_refused():
    """Of a StudentT some packages begin with nu and others with mu, and a scale may be a precision."""
    with pytest.raises(PriorError, match=r"Prior\('Normal', 0, 1\) has numbers without names; parameters go by name"):
        Prior("Normal", 0, 1)
