"""The seam of covariance structures: a toy one goes from the formula to REML, profiles and simulations."""

import pickle

import numpy as np
import pytest
from compound_symmetry import CS, CSH, dense, made, shared, shared_factor, symmetric
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import chi2

import bayesmm as bmm
from bayesmm.design.covariance import diagonal, unstructured
from bayesmm.design.covariance.structure import Covariance, coordinates_of, factor_derivatives, factor_of, values_at
from bayesmm.design.covariance.structures import STRUCTURES, registered
from bayesmm.design.parameters import block_parameters
from bayesmm.formula.formula import parse
from bayesmm.likelihood.problem import orthogonal_problem


@pytest.fixture(autouse=True, scope="module")
def _known():
    with registered(CS), registered(CSH):
        yield


# ----------------------------------------------------------------------------------------------------------------------
# dense maxima


def of_shared(values):
    """Return sd, r and sigma from log sd, a coordinate of r for three columns, and log sigma."""
    return np.exp(values[0]), -0.5 + 1.5 / (1 + np.exp(-values[1])), np.exp(values[-1])


def independent(design, method: str, covariances, starts) -> float:
    """Return the least criterion that SciPy finds: ``covariances(values) -> (list of Sigma, sigma)``."""

    def criterion(values):
        try:
            return dense(design, *covariances(values), method == "REML")
        except np.linalg.LinAlgError:
            return np.inf

    found = [minimize(criterion, start, method="BFGS", options={"gtol": 1e-7}).fun for start in starts]
    return min(found)


def one_block(values):
    sd, r, sigma = of_shared(values)
    return [symmetric(sd, r, 3)], sigma


def with_crossed(values):
    sd, r, sigma = of_shared(values)
    return [symmetric(sd, r, 3), np.exp(2 * values[2]) * np.eye(1)], sigma


def beside_slopes(values):
    """Return a block with a free (2, 2) part and a structure."""
    sd, r, sigma = of_shared(values)
    L = np.array([[np.exp(values[2]), 0.0], [values[3], np.exp(values[4])]])
    Sigma = np.zeros((5, 5))
    Sigma[:2, :2], Sigma[2:, 2:] = L @ L.T, symmetric(sd, r, 3)
    return [Sigma], sigma


def intercept_and_slope(values):
    r = np.tanh(values[1])
    return [symmetric(np.exp(values[0]), r, 2)], np.exp(values[-1])


def each_sd(values):
    sds, (_, r, sigma) = np.exp(values[:3]), of_shared(values[2:])
    return [np.outer(sds, sds) * symmetric(1.0, r, 3)], sigma


MODELS = {
    "y ~ f + x + toy(0 + f | g)": (one_block, [[0.0, 0.5, 0.0], [0.5, -1.0, 0.3]]),
    "y ~ f + x + toy(0 + f | g) + (1 | h)": (with_crossed, [[0.0, 0.5, 0.0, 0.0]]),
    "y ~ f + x + (x | g) + toy(0 + f | g)": (beside_slopes, [[0.0, 0.5, -1.0, 0.01, -4.0, 0.0], [0, -1, 0, 0, -3, 0]]),
    "y ~ f + x + toy(x | g)": (intercept_and_slope, [[-3.0, 0.0, 0.3], [-2.0, 0.4, 0.3], [-2.0, -0.4, 0.3]]),
    "y ~ f + x + toyh(0 + f | g)": (each_sd, [[0.0, 0.0, 0.0, 0.5, 0.0]]),
}


# ----------------------------------------------------------------------------------------------------------------------
# the record


def test_factor_and_derivative():
    # L L' is the matrix; the complex steps are exact, central differences of step 1e-6 good to 1e-9
    for covariance, values in ((CS, [1.3, -0.2]), (CSH, [0.5, 1.5, 2.0, 0.7])):
        L, q = factor_of(covariance, values, 3), 3
        sds = np.full(3, values[0]) if covariance is CS else np.array(values[:3])
        assert_allclose(L @ L.T, np.outer(sds, sds) * symmetric(1.0, values[-1], q), rtol=1e-14)
        assert_allclose(L, np.tril(L))
        derivatives = factor_derivatives(covariance, values, q)
        for i, step in enumerate(1e-6 * np.eye(len(values))):
            by_differences = factor_of(covariance, values + step, q) - factor_of(covariance, values - step, q)
            assert_allclose(derivatives[i], by_differences / 2e-6, atol=1e-8)


def test_coordinates_go_there_and_back():
    entries = CSH.entries(3)
    x = np.array([0.3, -2.0, 1.0, 0.7])
    values, rates = values_at(entries, x)
    assert_allclose(coordinates_of(entries, values), x)
    assert -0.5 < values[3] < 1
    assert_allclose(rates, (values_at(entries, x + 1e-6)[0] - values_at(entries, x - 1e-6)[0]) / 2e-6, rtol=1e-8)
    assert np.isfinite(coordinates_of(entries, [0.0, 0.0, 0.0, 1.0])).all()


def test_todays_structures_are_records():
    assert set(STRUCTURES) == {"us", "diag", "ident", "cs", "ar1", "toep", "toy", "toyh"}
    assert unstructured.covariance.free and not unstructured.covariance.apart and diagonal.covariance.apart
    assert [(e.kind, e.places) for e in unstructured.covariance.entries(2)] == [
        ("sd", ((0,),)), ("sd", ((1,),)), ("corr", ((0, 1),)),
    ]  # fmt: skip
    for name, plain in (("us(x | g)", "(x | g)"), ("diag(x | g)", "(x || g)")):
        one, other = (bmm.Model(f"y ~ x + {term}", made()) for term in (name, plain))
        assert one.design.blocks[0].partition == other.design.blocks[0].partition
        assert str(one.priors) == str(other.priors)
        assert one.maximize().criterion == other.maximize().criterion


def test_a_name_is_registered_once_and_only_inside():
    with pytest.raises(ValueError, match="there is a covariance structure 'toy'"), registered(CS):
        pass
    with registered(Covariance(name="own", words="own", entries=shared, factor=shared_factor)):
        assert "own" in STRUCTURES
    assert "own" not in STRUCTURES


# ----------------------------------------------------------------------------------------------------------------------
# formula, labels, priors


def test_formula():
    names = ("us", "diag", "toy")
    formula = parse("y ~ f + toy(0 + f | a/b) + (1 | h)", (), names)
    assert [str(bar) for bar in formula.bars] == ["toy(0 + f | a)", "toy(0 + f | a:b)", "(1 | h)"]
    assert parse("y ~ us(x | g)") == parse("y ~ (x | g)") and parse("y ~ diag(x | g)") == parse("y ~ (x || g)")
    assert parse("y ~ toy + (1 | toy)", (), names).bars[0].label == "toy"  # a column may be called so
    assert parse("y ~ toy(x) + (1 | g)", ["toy"], names).terms[0].label == "toy(x)"  # and a user's function


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y ~ diog(x | g)", "'diog' is no covariance structure, which are diag, toy, us; did you mean 'diag'?"),
        ("y ~ TOY(x | g)", "did you mean 'toy'?"),
        ("y ~ arma(x | g)", "'arma' is no covariance structure, which are diag, toy, us; if 'arma' is a column"),
        ("y ~ toy(x || g)", "has a single bar, as in toy(x | g)"),
        (
            "y ~ toy(x) + (1 | g)",
            "'toy' is the covariance structure of a group term, which has a bar, as in toy(x | g)",
        ),
        ("y ~ toy(x | a + b)", "write toy(x | a) + toy(x | b)"),
        ("y ~ (x | g) + toy(0 + x | g)", "(x | g) and toy(0 + x | g) both let x vary over g"),
        ("y ~ x:toy(x | g)", "a group term cannot be multiplied"),
    ],
)
def test_what_is_no_structure(text, message):
    with pytest.raises(bmm.FormulaError) as caught:
        parse(text, (), ("us", "diag", "toy"))
    assert message in str(caught.value)


def test_labels_and_default_priors():
    model = bmm.Model("y ~ f + x + (x | g) + toy(0 + f | g)", made())
    (block,) = model.design.blocks
    assert [p.label for p in block_parameters(0, block)] == [
        "sd_g[Intercept]", "sd_g[x]", "sd_g[toy(0 + f)]", "corr_g[Intercept, x]", "corr_g[toy(0 + f)]",
    ]  # fmt: skip
    assert model.priors["corr_g[toy(0 + f)]"] == bmm.Prior("Uniform", lower=-0.5, upper=1)
    assert model.priors["sd_g[toy(0 + f)]"].distribution == "HalfStudentT"
    assert "corr_g[toy(0 + f)]" in str(model.priors) and "corr_g" in model.priors
    assert "toy(0 + f)" in model.equation() and r"\rho" in model.equation()
    own = bmm.Model("y ~ f + toyh(0 + f | g)", made())
    assert own.priors["corr_g[toyh(0 + f), all pairs]"] == bmm.Prior("Uniform", lower=0, upper=0.9)
    assert "sd_g[f[f1]]" in own.priors and "corr_g" not in own.priors
    assert pickle.loads(pickle.dumps(own.design)).blocks[0].parts[0].covariance == CSH


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (bmm.Prior("Normal", sigma=1), "is a correlation between -0.5 and 1; use a number, or Prior('Uniform'"),
        (bmm.Prior("LKJ", eta=2), "is a correlation between -0.5 and 1"),
        (bmm.Prior("Uniform", lower=-1, upper=1), "is a correlation between -0.5 and 1"),
        (1.5, "is a correlation between -0.5 and 1"),
        (1, "holds it at 1, where the covariance matrix is singular"),
    ],
)
def test_priors_that_a_correlation_cannot_have(prior, message):
    with pytest.raises(bmm.PriorError) as caught:
        bmm.Model("y ~ f + toy(0 + f | g)", made(), priors={"corr_g[toy(0 + f)]": prior})
    assert message in str(caught.value)


def test_priors_by_class_and_by_factor():
    given = {"sd": bmm.Prior("HalfNormal", sigma=3), "corr_g[toy(0 + f)]": 0.3}
    priors = bmm.Model("y ~ f + toy(0 + f | g)", made(), priors=given).priors
    assert priors["sd_g[toy(0 + f)]"] == given["sd"] and str(priors["corr_g[toy(0 + f)]"]) == "0.3 (fixed)"
    with pytest.raises(bmm.PriorError, match="the model has no parameter 'sd_g\\[f\\[f0\\]\\]'"):
        bmm.Model("y ~ f + toy(0 + f | g)", made(), priors={"sd_g[f[f0]]": 1.0})


# ----------------------------------------------------------------------------------------------------------------------
# REML and ML


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("formula", MODELS)
def test_maximum_is_that_of_the_dense_formula(formula, method):
    # SciPy's numerical gradients stop within 1e-6 of a criterion of some 200; ours may be lower by that, not higher
    model = bmm.Model(formula, made())
    point = model.maximize(method)
    assert point.converged
    assert_allclose(dense(model.design, point.covariances, point.sigma, method == "REML"), point.criterion, atol=1e-8)
    covariances, starts = MODELS[formula]
    assert abs(point.criterion - independent(model.design, method, covariances, starts)) < 1e-6


def test_a_structure_keeps_its_form():
    point = bmm.Model("y ~ f + x + (x | g) + toy(0 + f | g)", made()).maximize()
    Sigma = point.covariances[0][2:, 2:]
    assert_allclose(Sigma, symmetric(np.sqrt(Sigma[0, 0]), Sigma[0, 1] / Sigma[0, 0], 3), rtol=1e-12)
    assert not point.covariances[0][:2, 2:].any()
    assert point.npar == 4 + 5 + 1  # coefficients; three sds and two correlations; sigma
    table = point.varcorr()
    assert len(table) == 5 + 1 + 3 + 1  # every sd and every correlation, also those that are one parameter


@pytest.mark.parametrize("formula", MODELS)
def test_gradient_in_theta(formula):
    # of a weighted sum of the entries of T, by central differences
    problem = orthogonal_problem(bmm.Model(formula, made()).design)
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=problem.theta.size), rng.normal(size=problem.n_packed)
    steps = 1e-6 * np.eye(len(x))
    by_differences = [weights @ (problem.packed(x + h) - problem.packed(x - h)) / 2e-6 for h in steps]
    assert_allclose(problem.gradient(weights, x), by_differences, atol=1e-7)


def test_the_same_model_by_nested_intercepts():
    # sd^2 r = var(g), sd^2 (1 - r) = var(g:f); everything else must be the same
    data = made()
    point = bmm.Model("y ~ f + x + toy(0 + f | g)", data).maximize()
    nested = bmm.Model("y ~ f + x + (1 | g) + (1 | g:f)", data).maximize()
    of_g, of_both = (float(Sigma[0, 0]) for Sigma in nested.covariances)
    assert_allclose(point.covariances[0], of_g + of_both * np.eye(3), rtol=1e-6)
    assert_allclose(point.criterion, nested.criterion, rtol=1e-12)
    assert_allclose(point.vcov, nested.vcov, rtol=1e-6)
    assert_allclose(point.fixef("satterthwaite"), nested.fixef("satterthwaite"), rtol=1e-4)


def test_generalised_by_nested_intercepts():
    # the normal part of the integrand is integrated exactly, so that Laplace's approximations are the same too
    data = made(groups=20)  # with 12 the correlation is negative
    point = bmm.Model("k ~ f + toy(0 + f | g)", data, family="poisson").maximize()
    nested = bmm.Model("k ~ f + (1 | g) + (1 | g:f)", data, family="poisson").maximize()
    assert point.converged
    assert_allclose(point.criterion, nested.criterion, rtol=1e-9)
    assert_allclose(point.beta, nested.beta, atol=1e-4)


def test_starts():
    model = bmm.Model("y ~ f + x + toy(0 + f | g)", made())
    start = {"sd_g[toy(0 + f)]": 5.0, "corr_g[toy(0 + f)]": -0.4, "sigma": 0.5}
    assert_allclose(model.maximize(start=start).criterion, model.maximize().criterion, rtol=1e-10)
    with pytest.raises(ValueError, match=r"must be a correlation between -0.5 and 1, not -0.7"):
        model.maximize(start={"corr_g[toy(0 + f)]": -0.7})
    with pytest.raises(ValueError, match="which is so far"):
        model.maximize(start={"sd_g[toy(0 + f)]": 1e9})


def test_no_variance_at_all():
    # without group differences REML is at sd = 0: singular, the criterion that of least squares
    data = made()
    data["y"] = np.random.default_rng(8).normal(size=len(data))
    data["y"] -= data.groupby(["g", "f"])["y"].transform("mean") - data.groupby("f")["y"].transform("mean")
    point = bmm.Model("y ~ f + toy(0 + f | g)", data).maximize()
    assert point.singular and abs(point.covariances[0]).max() < 1e-6
    assert_allclose(point.criterion, bmm.Model("y ~ f", data).maximize().criterion, rtol=1e-9)


@pytest.mark.slow
def test_profile_of_the_parameters_of_a_structure():
    # at an end of the 95 % interval the dense deviance, minimised over the others, is 3.84 above its minimum
    model = bmm.Model("y ~ f + x + toy(0 + f | g)", made())
    point, quantile = model.maximize("ML"), chi2.ppf(0.95, 1)
    table = point.confint(level=0.95)
    for label, held in (("sd_g[toy(0 + f)]", 0), ("corr_g[toy(0 + f)]", 1)):
        for end in table.loc[label]:
            fixed = np.log(end) if held == 0 else np.log((end + 0.5) / (1 - end))
            others = lambda v, fixed=fixed, held=held: one_block(np.insert(v, held, fixed))  # noqa: E731
            least = independent(model.design, "ML", others, [[0.0, 0.0]])
            assert_allclose(least - point.criterion, quantile, atol=1e-4)
    nested = bmm.Model("y ~ f + x + (1 | g) + (1 | g:f)", made()).maximize("ML").confint(level=0.95)
    same = ["sigma", "beta[x]", "beta[f[T.f1]]"]
    assert_allclose(table.loc[same], nested.loc[same], rtol=1e-4)


def test_likelihood_ratios_know_what_contains_what():
    fits = [bmm.Model(f"y ~ f + x + {term}", made()).maximize("ML") for term in ("toy(0 + f | g)", "(0 + f | g)")]
    table = bmm.lrt(*fits)
    assert list(table.table["npar"]) == [7, 11] and not any("not nested" in note for note in table.notes)
    other = bmm.Model("y ~ f + x + (x | g)", made()).maximize("ML")
    assert any("its random term toy(" in note for note in bmm.lrt(fits[0], other).notes)


def test_what_has_no_structures_says_so():
    model = bmm.Model("y ~ f + x + toy(0 + f | g)", made())
    one = r"is not available where a covariance has a structure, here toy\(0 \+ f \| g\); "
    with pytest.raises(bmm.DataError, match=one + "use REML or ML, or sample the posterior"):
        model.maximize("MAP")
    with pytest.raises(bmm.DataError, match="sampler='importance' " + one):
        model.sample(sampler="importance")
    with pytest.raises(bmm.DataError, match="Kenward and Roger's method " + one):
        model.maximize().fixef("kenward-roger")
    with pytest.raises(bmm.DataError, match="the profile of a generalised model " + one):
        bmm.Model("k ~ f + toy(0 + f | g)", made(), family="poisson").maximize().confint()
    beside = bmm.Model("y ~ f + x + toy(0 + f | g) + (x | h)", made()).maximize("ML")
    with pytest.raises(bmm.DataError, match="the profile of corr_h"):
        beside.profile("corr_h[Intercept, x]")


def test_parameters_and_simulation():
    model = bmm.Model("y ~ f + x + toy(0 + f | g)", made())
    point = model.maximize()
    assert list(point.parameters)[-3:] == ["sd_g[toy(0 + f)]", "corr_g[toy(0 + f)]", "sigma"]
    assert model.simulate(point.parameters, 3, seed=1).equals(model.simulate(point, 3, seed=1))
    # the covariance of many simulated responses is Z Sigma Z' + sigma^2 I: 6 standard errors, 2 V_ii V_jj / draws
    values = dict(point.parameters) | {"sd_g[toy(0 + f)]": 2.0, "corr_g[toy(0 + f)]": -0.3, "sigma": 0.5}
    draws = model.simulate(values, 4000, seed=2).to_numpy()
    block = model.design.blocks[0]
    V = (block.index[:, None] == block.index) * (block.Z @ symmetric(2.0, -0.3, 3) @ block.Z.T)
    V += 0.25 * np.eye(len(draws))
    error = np.abs(np.cov(draws) - V) / np.sqrt(np.outer(np.diag(V), np.diag(V)))
    assert error.max() < 6 * np.sqrt(2 / 4000)
    with pytest.raises(ValueError, match=r"is a correlation between -0.5 and 1, not -0.8"):
        model.simulate(values | {"corr_g[toy(0 + f)]": -0.8})


def test_predictions_of_a_maximised_fit():
    data = made()
    point, nested = (
        bmm.Model(f"y ~ f + x + {term}", data).maximize() for term in ("toy(0 + f | g)", "(1 | g) + (1 | g:f)")
    )
    assert_allclose(point.predict(), nested.predict(), rtol=1e-6)
    assert_allclose(point.fitted, nested.fitted, rtol=1e-6)
    assert list(point.ranef().columns) == ["grpvar", "term", "grp", "condval", "condsd"]
