"""Families: the table, the links, the print and the equation."""

import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from family_data import N, coin, counts, make

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.families import links
from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.family import SHARES
from bayesmm.families.links import LINKS
from bayesmm.reporting.mathml import mathml

ROOT = Path(__file__).parents[2]

# ----------------------------------------------------------------------------------------------------------------------
# the table


def test_the_register():
    assert [family.number for family in FAMILIES.values()] == list(range(len(FAMILIES)))
    assert all(getattr(links, link.name.upper()) == link.code for link in LINKS.values())
    assert {family.name for family in FAMILIES.values()} == set(FAMILIES)
    assert all(link in LINKS for family in FAMILIES.values() for link in family.links)
    assert all(family.link == family.links[0] for family in FAMILIES.values())


def test_a_family_with_each_link_comes_back_from_a_pickle():  # as models do that other processes fit
    made = [get_family(name, link) for name, family in FAMILIES.items() for link in family.links]
    assert pickle.loads(pickle.dumps(made)) == made
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_families_that_a_family_names_exist(family):
    limits = [parameter.limit for parameter in family.parameters]
    named = {*limits, family.of_one_trial, family.overdispersed, family.outliers, family.skewed, family.more_zeros}
    assert named <= {"", *FAMILIES}
    assert set(family.residuals) == set(family.links)
    aux = tuple(
        np.array([{SHARES: 0.5, (1.0, 2.0): 1.4}.get(parameter.bounds, 2.5)]) for parameter in family.parameters
    )
    mu = np.full(3, 0.4)
    assert family.first(np.array([0.2, 0.4, 0.7]), mu).shape == (len(aux),)
    assert family.variance(mu, (0.3, 1.1) if family.every else aux).shape == mu.shape  # of all thresholds


@pytest.mark.parametrize("name", list(FAMILIES)[:8])
def test_the_families_that_are_used_most_are_in_the_help_and_the_others_are_not_far(name):
    from bayesmm.cli import options

    assert f'"{name}"' in bmm.Model.__doc__
    assert re.search(rf"Distribution of the response: .*\b{name}\b", inspect.getsource(options))
    assert all("another of docs/families.md" in text for text in (bmm.Model.__doc__, inspect.getsource(options)))


@pytest.mark.parametrize("name", LINKS)
def test_links_are_inverse_to_each_other_and_have_their_slopes(name):
    link, eta = LINKS[name], np.linspace(0.2, 1.5, 7)
    np.testing.assert_allclose(link.function(link.inverse(eta)), eta, rtol=1e-12)
    step = 1e-6  # central differences: step^2 of curvature and 1e-16 / step of rounding, 1e-10
    slope = (link.inverse(eta + step) - link.inverse(eta - step)) / (2 * step)
    np.testing.assert_allclose(link.slope(eta), slope, rtol=1e-8)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        wild = link.inverse(np.array([-1e4, 1e4]))
    assert not np.isnan(wild[1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["logit", "probit", "cloglog"])
def test_slopes_of_probabilities_vanish_far_out_without_a_warning(name):
    slopes = LINKS[name].slope(np.array([-1e4, -800.0, 800.0, 1e4]))
    assert np.isfinite(slopes).all() and (slopes >= 0).all() and (slopes < 1e-300).all()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gausian", "'gaussian'"),  # F20
        ("Poisson", "'poisson'"),
        ("nbinom2", "'negbinomial'"),
        ("negative binomial", "'negbinomial'"),
        ("normal", "'gaussian'"),
        ("logistic", "'bernoulli'"),
        ("t", "'student'"),
    ],
)
def test_unknown_families_are_refused_with_the_nearest(name, hint):
    with pytest.raises(DataError, match=f"family '{name}' is not known; did you mean {hint}"):
        get_family(name)


def test_a_link_that_the_family_has_not_is_refused():
    with pytest.raises(DataError, match=r"link 'probbit' is not one of the binomial family.*did you mean 'probit'"):
        get_family("binomial", "probbit")
    with pytest.raises(DataError, match="the poisson family, which has the link log"):
        get_family("poisson", "logit")
    assert get_family("beta", "cloglog").link == "cloglog"
    assert get_family("beta").link == "logit"


@pytest.mark.parametrize("bounds", [(0.0, np.inf), (0.0, 1.0), (1.0, 2.0), (-np.inf, np.inf)])
@pytest.mark.parametrize("at", [-700.0, -3.0, 0.0, 0.5, 30.0])
def test_a_parameter_moves_on_the_real_line_within_its_bounds(bounds, at):
    own = bmm.Auxiliary("a", bounds=bounds)
    value, rate = own.moved(at)
    assert bounds[0] <= value <= bounds[1]
    if abs(at) < 20:
        assert own.free(value) == pytest.approx(at, abs=1e-9)
        assert rate == pytest.approx((own.moved(at + 1e-6)[0] - own.moved(at - 1e-6)[0]) / 2e-6, rel=1e-8)


def test_the_page_of_families_is_made_from_their_records():
    from bayesmm.families.overview import page

    # after a change: python -m bayesmm.families.overview > docs/families.md
    assert (ROOT / "docs" / "families.md").read_text(encoding="utf-8") == page()


# ----------------------------------------------------------------------------------------------------------------------
# print and equation


def test_printing_says_family_and_link():
    text = str(make(coin(), "bernoulli", link="cloglog"))
    assert "bernoulli" in text
    assert "cloglog" in text
    assert "on the complementary log-log scale of y" in text


EQUATIONS = {
    "cumulative": (r"\mathrm{logit}\,P({\text{y}}_{i} \le k) &= \tau_{k} - \eta_{i}", r"\eta_{i} &= \beta_{\text{x}}"),
    "sratio": (r"{\text{y}}_{i} = k \mid {\text{y}}_{i} \ge k", r"\tau_{k} - \eta_{i}"),
    "acat": (r"{\text{y}}_{i} \in \{k, k + 1\}", r"\tau_{k} - \eta_{i}"),
    "categorical": (r"\log P({\text{y}}_{i} = \text{2}) - \log P({\text{y}}_{i} = \text{1})", r"\mu_{\text{2}}"),
    "skew_normal": (r"\mathrm{SkewNormal}(\text{mean } \mu_{i}", r"\alpha &\sim \mathrm{Normal}"),
    "exgaussian": (r"\mathrm{ExGaussian}", r"\tau &\sim \mathrm{Half"),
    "betabinomial": (r"\mathrm{BetaBinomial}(n_{i}", r"\phi &\sim \mathrm{InverseGamma}"),
    "nbinom1": (r"\text{variance } \mu_{i} (1 + \phi))", r"\phi &\sim \mathrm{Exponential}"),
    "genpois": (r"\mathrm{GeneralisedPoisson}", r"\phi &\sim \mathrm{Exponential}"),
    "lognormal": (r"\mathrm{LogNormal}(\text{median } \mu_{i}", r"\log \mu_{i} &= "),
    "inverse_gaussian": (r"\mu_{i}^{3} / \lambda)", r"\lambda &\sim \mathrm{LogNormal}"),
    "exponential": (r"\mathrm{Exponential}(\text{mean } \mu_{i})", r"\log \mu_{i} &= "),
    "weibull": (r"\mathrm{Weibull}(\text{mean } \mu_{i}", r"\kappa &\sim \mathrm{LogNormal}"),
    "zero_inflated_poisson": (r"\mathrm{ZeroInflatedPoisson}", r"\pi &\sim \mathrm{Uniform}"),
    "zero_inflated_negbinomial": (r"\mathrm{ZeroInflatedNegBinomial}", r"\pi &\sim \mathrm{Uniform}"),
    "zero_inflated_binomial": (r"\mathrm{ZeroInflatedBinomial}(n_{i}", r"\pi &\sim \mathrm{Uniform}"),
    "hurdle_poisson": (r"\mathrm{HurdlePoisson}", r"\pi &\sim \mathrm{Uniform}"),
    "hurdle_negbinomial": (r"\mathrm{HurdleNegBinomial}", r"\pi &\sim \mathrm{Uniform}"),
    "tweedie": (r"\mathrm{Tweedie}(\text{mean } \mu_{i}", r"p &\sim \mathrm{Uniform}"),
    "truncated_poisson": (r"\mathrm{ZeroTruncatedPoisson}", r"\log \mu_{i} &= "),
    "truncated_negbinomial": (r"\mathrm{ZeroTruncatedNegBinomial}", r"\kappa &\sim "),
    "hurdle_gamma": (r"\mathrm{HurdleGamma}(\text{mean above } 0\ \mu_{i}", r"\pi &\sim \mathrm{Uniform}"),
    "hurdle_lognormal": (r"\mathrm{HurdleLogNormal}(\text{median above } 0", r"\pi &\sim \mathrm{Uniform}"),
    "zero_inflated_beta": (r"\mathrm{ZeroInflatedBeta}", r"\mathrm{logit}\,\mu_{i} &= "),
    "loglogistic": (r"\mathrm{LogLogistic}(\text{median } \mu_{i}", r"\log \mu_{i} &= "),
    "shifted_lognormal": (r"{\text{y}}_{i} &\sim \tau + \mathrm{LogNormal}", r"\log \mu_{i} &= "),
    "compois": (r"\mathrm{ConwayMaxwellPoisson}(\text{mean } \mu_{i}", r"\log \mu_{i} &= "),
    "von_mises": (r"\mathrm{VonMises}(\text{direction } \mu_{i}", r"\kappa &\sim \mathrm{Gamma}"),
    "ordered_beta": (r"\mathrm{OrderedBeta}", r"c_{0} &\sim \mathrm{Normal}"),
    "zero_one_inflated_beta": (r"\mathrm{ZeroOneInflatedBeta}", r"\gamma &\sim \mathrm{Uniform}"),
    "asymmetric_laplace": (r"\mathrm{AsymmetricLaplace}(\text{quantile } q = \mu_{i}", r"q &= 0.5"),
    "poisson": (r"\mathrm{Poisson}(\mu_{i})", r"\log \mu_{i} &= "),
    "negbinomial": (r"\text{variance } \mu_{i} + \mu_{i}^{2} / \kappa)", r"\kappa &\sim \mathrm{InverseGamma}"),
    "bernoulli": (r"\mathrm{Bernoulli}(\mu_{i})", r"\mathrm{logit}\,\mu_{i} &= "),
    "binomial": (r"\mathrm{Binomial}(n_{i},\ \mu_{i})", r"{\text{y}}_{i} &\sim"),
    "gamma": (r"\text{variance } \mu_{i}^{2} / \kappa)", r"\log \mu_{i} &= "),
    "beta": (r"/ (1 + \phi))", r"\phi &\sim "),
    "student": (r"\mathrm{StudentT}(\nu,\ \mu_{i},\ \sigma)", r"\nu &\sim \mathrm{Gamma}"),
    "gaussian": (r"\mathcal{N}(\mu_{i},\ \sigma^{2})", r"\sigma &\sim "),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_equations(family):
    support = FAMILIES[family].support
    y = np.random.default_rng(1).beta(2, 3, N) if support.proportion or support.angle else np.minimum(counts(), 7) + 1
    y = coin() if family == "bernoulli" else y
    formula = "cbind(y, n - y) ~ x + (1 | g)" if FAMILIES[family].support.trials else "y ~ x + (1 | g)"
    latex = make(y, family, formula).equation()
    for piece in EQUATIONS[family]:
        assert piece in latex
    assert latex.count("{") == latex.count("}")
    assert mathml(latex).startswith("<math")  # reports set it


def test_the_equation_of_a_weighted_count():
    model = make(counts(), "poisson", weights="n")
    assert r"\mathrm{Poisson}(\mu_{i})\quad \text{(row } i \text{ counted } w_{i} \text{ times)}" in model.equation()
