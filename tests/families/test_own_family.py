"""A family of the user's own, through the record of those of the package: its numbers, and all that is done with it.

Its densities are SciPy's; where the package has the same family, everything has to be the same.
"""

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from densities import differences
from own_families import BETA_BINOMIAL, OWN_GAMMA, WAITING
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import DataError, FitFileError
from bayesmm.families.families import get_family
from bayesmm.families.links import LINKS
from bayesmm.likelihood import response_kernels as response
from bayesmm.likelihood.row_functions import codes

MODEL = "y ~ x + (1 | g)"


def scipys(family, y, size, mu, aux):
    return {
        "waiting": lambda: stats.expon.logpdf(y, scale=mu),
        "own_gamma": lambda: stats.gamma.logpdf(y, aux[0], scale=mu / aux[0]),
        "beta_binomial": lambda: stats.betabinom.logpmf(y, size, mu * aux[0], (1 - mu) * aux[0]),
    }[family.name]()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(12), 6), rng.normal(size=72)
    mean = np.exp(0.5 + 0.3 * x + 0.5 * rng.normal(size=12)[g])
    n = rng.integers(2, 9, 72)
    k = rng.binomial(n, rng.beta(2 + x**2, 3.0))
    return pd.DataFrame({"y": rng.exponential(mean), "x": x, "g": g, "n": n, "k": k})


@pytest.fixture(scope="module")
def model(data):
    return bmm.Model(MODEL, data, family=WAITING)


@pytest.fixture(scope="module")
def fit(model):
    return model.sample(draws=300, tune=300, chains=2, seed=1, progress=False)


# ----------------------------------------------------------------------------------------------------------------------
# numbers


@pytest.mark.parametrize(
    "family, link",
    [
        (WAITING, "log"),
        (WAITING, "inverse"),
        (OWN_GAMMA, "log"),
        *(
            pytest.param(BETA_BINOMIAL, x, marks=[pytest.mark.slow] * (k > 0))
            for k, x in enumerate(BETA_BINOMIAL.links)
        ),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_compiled_density_is_scipys_and_its_derivatives_are_those_of_the_expression(family, link):
    numbers = codes(get_family(family, link))
    size = 5.0 if family.support.trials else 1.0
    y, aux = 2.0, np.array([3.0, 0.0])
    for eta in (0.2, 0.7, 1.4):

        def value(eta, aux=aux):
            return scipys(family, y, size, LINKS[link].inverse(np.asarray(eta, dtype=float)), aux)

        found = response.derivatives(*numbers, y, size, eta, aux)
        assert found[0] == pytest.approx(float(value(eta)), rel=1e-12)
        # sixth-order differences with steps of 0.005 leave about 1e-10
        lower = [value] + [
            lambda e, k=k: np.array([response.derivatives(*numbers, y, size, at, aux)[k] for at in np.atleast_1d(e)])
            for k in (1, 2)
        ]
        for k, function in enumerate(lower, 1):
            expected = differences(function, np.array([eta]), h=5e-3)
            np.testing.assert_allclose(found[k], expected, rtol=1e-7, atol=1e-7)
        score = response.score_auxiliary(*numbers, y, size, eta, aux)
        if family.parameters:
            expected = differences(lambda a, v=value, e=eta: v(e, np.array([a, 0.0])), 3.0, h=5e-3)
            np.testing.assert_allclose(score[0], expected, atol=1e-7)
        else:
            assert score == (0.0, 0.0, 0.0)


def test_a_density_that_does_not_exist_is_minus_infinity():
    numbers = codes(get_family(WAITING, "inverse"))
    assert response.derivatives(*numbers, 1.0, 1.0, -0.5, np.zeros(3)) == (-np.inf, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("options", [{}, {"nagq": 9}, {"method": "MAP"}], ids=["Laplace", "quadrature", "MAP"])
def test_an_own_gamma_is_the_gamma_of_the_package(data, options):
    own, known = (bmm.Model(MODEL, data, family=family).maximize(**options) for family in (OWN_GAMMA, "gamma"))
    assert own.criterion == pytest.approx(known.criterion, abs=1e-9)
    # the searches end where the gradient is 1e-6: a parameter is that far from its best in units of its se
    np.testing.assert_allclose(own.fixef()["estimate"], known.fixef()["estimate"], atol=1e-6)
    assert own.auxiliaries["shape"] == pytest.approx(known.auxiliaries["shape"], rel=1e-5)


@pytest.mark.slow
def test_the_graph_has_the_density_of_the_package(data):
    own, known = (bmm.Model(MODEL, data, family=family).graph(effects="explicit") for family in (OWN_GAMMA, "gamma"))
    point = known.initial_point()
    # sums of 72 terms of order 1
    assert own.compile_logp()(point) == pytest.approx(float(known.compile_logp()(point)), abs=1e-11)


# ----------------------------------------------------------------------------------------------------------------------
# every room


def test_everything_is_done_with_it(model, fit, tmp_path, unrendered):
    point = model.maximize()
    assert "Family: waiting (log link)" in str(point)
    assert fit.compare(point, consistency=False).table["mean"].notna().all()
    assert np.isfinite(fit.loo().elpd)
    assert np.isfinite(fit.loo(by="g").elpd)
    assert (model.simulate(point, draws=3, seed=1) > 0).all(axis=None)
    predicted = fit.predict(pd.DataFrame({"x": [0.0], "g": ["new"]}), new_levels="sample")
    assert predicted.draws.shape[-1] == 1
    assert np.isfinite(fit.r2().table.to_numpy(dtype=float)).any()
    assert r"\mathrm{waiting}(\mu_{i})" in model.equation()
    page = fit.report(tmp_path / "page.html")
    assert "family=waiting," in page.read_text(encoding="utf-8")


def test_both_graphs_agree(model, fit):
    written_out = model.sample(draws=600, tune=600, chains=2, seed=2, progress=False, effects="explicit")
    for name in ("beta[x]", "sd_g[Intercept]"):
        one, other = (f.summary().loc[name] for f in (fit, written_out))
        assert min(one["ess_bulk"], other["ess_bulk"]) > 100
        error = np.hypot(one["sd"] / np.sqrt(one["ess_bulk"]), other["sd"] / np.sqrt(other["ess_bulk"]))
        assert abs(one["mean"] - other["mean"]) < 5 * error


def test_responses_with_trials(data):
    point = bmm.Model("k | trials(n) ~ x + (1 | g)", data, family=BETA_BINOMIAL, link="probit").maximize()
    assert point.converged
    with pytest.raises(DataError, match="has no trials"):
        bmm.Model("k ~ x + (1 | g)", data, family=BETA_BINOMIAL)


def test_a_saved_fit_asks_for_its_family(fit, tmp_path):
    path = tmp_path / "fit.nc"
    fit.save(path)
    same = bmm.load(path, family=WAITING)
    assert same.model.family == fit.model.family
    with pytest.raises(FitFileError, match=r"one of your own, which is not stored; give it again: load\(path, family="):
        bmm.load(path)
    with pytest.raises(FitFileError, match="the family of the model is 'waiting', a family of your own, and not 'own"):
        bmm.load(path, family=OWN_GAMMA)
    other = bmm.Family(
        name="waiting", links=("log",), support="positive", variance=WAITING.variance, draw=WAITING.draw,
        log_density=lambda y, mu, trials, aux: -pt.log(mu) - y / mu - 0.1,
    )  # fmt: skip
    with pytest.raises(FitFileError, match="log density of the family 'waiting' is not that of the model"):
        bmm.load(path, family=other)


# ----------------------------------------------------------------------------------------------------------------------
# what is said of a record that cannot be used


@pytest.mark.parametrize(
    "change, said",
    [
        ({"name": "two words"}, "the name of a family should be a word such as 'exponential', not 'two words'"),
        ({"links": "log"}, "links of the family 'mine' should be a tuple of identity, log,"),
        ({"links": ("logg",)}, "links of the family 'mine' should be a tuple of"),
        ({"support": "reals"}, "support of the family 'mine' should be one of real, positive,"),
        ({"link": "logit"}, r"link of the family 'mine' should be one of its links \(log\), not 'logit'"),
        ({"mean_of": ("zi",)}, "mean_of of the family 'mine' should be names of its parameters"),
        ({"log_density": None}, "log_density of the family 'mine' should be a function, not None"),
        (
            {"parameters": ("phi",)},
            "a parameter of the family 'mine' should be a bmm.Auxiliary with a word as its name",
        ),
        (
            {"parameters": (bmm.Auxiliary("phi"),)},
            "the default prior of phi of the family 'mine' should be a distribution",
        ),
        ({"parameters": (bmm.Auxiliary("a", prior="HalfNormal"),) * 4}, "should be a tuple of at most three"),
        (
            {"log_density": lambda y, mu: -y / mu},
            r"^log_density of the family 'mine' should take \(y, mu, trials, aux\), not \(y, mu\)$",
        ),
        ({"log_density": lambda mu, y, trials, aux: -y / mu}, r"not \(mu, y, trials, aux\)$"),
        ({"variance": lambda mu: mu}, r"variance of the family 'mine' should take \(mu, aux\), not \(mu\)$"),
        ({"draw": lambda mu, rng, aux: mu}, r"draw of the family 'mine' should take \(rng, mu, trials, aux\), not"),
        ({"cdf": lambda y, mu, trials: y}, r"cdf of the family 'mine' should take \(y, mu, trials, aux\), not"),
    ],
)
def test_a_wrong_record_is_refused_in_a_sentence(change, said):
    record = dict(
        name="mine", links=("log",), support="positive", log_density=WAITING.log_density,
        variance=WAITING.variance, draw=WAITING.draw,
    )  # fmt: skip
    with pytest.raises(ValueError, match=said):
        bmm.Family(**record | change)


def test_functions_may_name_their_arguments_otherwise():
    def density(value, centre, *rest):
        return -value / centre

    own = dict(name="mine", links=("log",), support="positive", log_density=density, draw=WAITING.draw)
    assert bmm.Family(**own, variance=lambda m, a=None, more=2: m**2).variance(3.0) == 9.0
    assert bmm.Family(**own, variance=max).log_density is density  # a built-in function


@pytest.mark.parametrize(
    "density, said",
    [
        (lambda y, mu, trials, aux: 1.0, "should return an expression of PyTensor for each row"),
        (lambda y, mu, trials, aux: pt.sort(pt.stack([y, mu]))[0], "which does not work element by element"),
    ],
)
def test_a_density_that_is_not_one_of_a_row_is_refused_in_a_sentence(data, density, said):
    family = bmm.Family(
        name="mine", links=("log",), support="positive", log_density=density, variance=WAITING.variance,
        draw=WAITING.draw,
    )  # fmt: skip
    with pytest.raises(DataError, match=said):
        bmm.Model(MODEL, data, family=family).maximize()


def test_the_name_of_a_family_of_the_package_is_taken(data):
    twin = bmm.Family(
        name="gamma", links=("log",), support="positive", log_density=WAITING.log_density,
        variance=WAITING.variance, draw=WAITING.draw,
    )  # fmt: skip
    with pytest.raises(DataError, match="family 'gamma' is one of the package; give your own another name"):
        bmm.Model(MODEL, data, family=twin)


def test_values_outside_the_support_are_refused(data):
    with pytest.raises(DataError, match=r"'x' is 0 or less in .* the family needs values above 0"):
        bmm.Model("x ~ y + (1 | g)", data, family=WAITING)
