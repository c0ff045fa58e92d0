"""Intervals from profile likelihoods against lme4's, and the profile against its own definition."""

import numpy as np
import pytest
from references import ABSENT, IMMUNE, frame, inference, r_name
from scipy.optimize import brentq, minimize
from scipy.special import gammaln, logsumexp
from scipy.stats import chi2, nbinom, norm, poisson, t

import bayesmm as bmm
from bayesmm.inference.profile import parameters_of

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

# lme4's ends come from a spline through some ten points of zeta: about 1e-3 of the interval; most are 1e-4.
SAME = 5e-4
# lme4 walks along correlations of 1 and flat ridges with an optimiser that sticks to the bound; there its ends have
# fewer digits: the deviance that it interpolates is above the least one (test_the_ends_where_lme4_differs).
ROUGH = {
    "s003_MMod2": 0.2, "s003_MMod2_ml": 0.2, "s003_MMod3": 0.02, "s003_MMod3_ml": 0.02, "s003_MModTime2": 0.01,
    "s004_lmer": 0.01, "s004_lmer_ml": 0.01,
}  # fmt: skip
LME4_GROUPS = {"School:Class": "Class:School", "batch:cask": "cask:batch"}


def fitted(name):
    ref = inference("lmer")[name]
    return bmm.Model(ref["formula"], frame(ref["data"])).maximize(ref["method"])


def lme4_name(parameter, design):
    """Return lme4's name of a parameter: ``sd_Days|Subject``, ``cor_Days.(Intercept)|Subject``."""
    if parameter.kind == "sigma":
        return "sigma"
    if parameter.kind == "coefficient":
        return r_name(design.coefficients[parameter.terms[0]])
    block = design.blocks[parameter.block]
    terms = [r_name(block.columns[i]) for i in reversed(parameter.terms)]
    return f"{parameter.kind.replace('corr', 'cor')}_{'.'.join(terms)}|{LME4_GROUPS.get(block.group, block.group)}"


# An ML fit has the profile of its REML twin, which is compared every time.
INTERVALS = [
    pytest.param(name, marks=pytest.mark.slow if name.endswith("_ml") else ())
    for name, ref in inference("lmer").items()
    if "confint" in ref
]


@pytest.mark.parametrize("name", INTERVALS)
def test_intervals_of_lme4(name):
    point, ref = fitted(name), inference("lmer")[name]["confint"]
    found = point.confint()
    parameters = parameters_of(point)
    assert found.index.tolist() == [parameter.label for parameter in parameters]
    assert {lme4_name(parameter, point.design) for parameter in parameters} == set(ref)
    for parameter in parameters:
        lower, upper = ref[lme4_name(parameter, point.design)]
        tolerance = ROUGH.get(name, SAME) * (upper - lower)
        assert found.loc[parameter.label].to_numpy() == pytest.approx([lower, upper], abs=tolerance), parameter.label


def deviance(point, sds, corr, sigma, beta):
    """Return the ML deviance of a model with one factor and two effects, from the definition."""
    block, design = point.design.blocks[0], point.design
    r = design.y - design.X @ beta
    Sigma = np.outer(sds, sds) * np.array([[1, corr], [corr, 1]])
    total = 0.0
    for g in range(len(block.levels)):
        rows = block.index == g
        V = block.Z[rows] @ Sigma @ block.Z[rows].T + sigma**2 * np.eye(rows.sum())
        total += np.linalg.slogdet(2 * np.pi * V)[1] + r[rows] @ np.linalg.solve(V, r[rows])
    return total


@pytest.mark.parametrize("place", ["corr_agegp[Intercept, ncontrols]", "sd_agegp[Intercept]", "beta[ncontrols]"])
def test_the_ends_are_where_the_deviance_has_risen_by_the_quantile(place):
    """Nelder & Mead's simplex on the definition, with no derivative, factor or profile of the package."""
    point = fitted("s004_lmer_ml")
    at = {"sd_agegp[Intercept]": 0, "corr_agegp[Intercept, ncontrols]": 2, "beta[ncontrols]": 5}[place]
    estimate = np.array([*point.varcorr()["sdcor"].iloc[:4], *point.beta])
    for end in point.confint().loc[place]:
        if end == 1.0:
            continue

        def held(x, end=end):
            full = np.insert(x, at, end)
            full[[0, 1, 3]] = np.abs(full[[0, 1, 3]])
            return 1e9 if abs(full[2]) >= 1 else deviance(point, full[:2], full[2], full[3], full[4:])

        best = min(
            minimize(
                held, np.delete(start, at), method="Nelder-Mead",
                options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 6000, "maxfev": 6000, "adaptive": True},
            ).fun
            for start in (estimate * [1, 1, 0.9, 1, 1, 1], estimate * [1.5, 0.3, 0.5, 1, 1, 1])
        )  # fmt: skip
        # the simplex ends above the minimum, by up to about 1e-4
        assert best - point.criterion == pytest.approx(chi2.ppf(0.95, 1), abs=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not IMMUNE.exists(), reason=ABSENT)
def test_the_ends_where_lme4_differs():
    """At lme4's end of sd(SexM) the deviance is well below the quantile: ours is the wider and right interval."""
    point = fitted("s003_MMod2_ml")
    estimate = np.array([*point.varcorr()["sdcor"].iloc[:4], *point.beta])
    estimate[2] = 0.95

    def held(x):
        full = np.insert(x, 1, 2.37331122371041)  # lme4's end
        return 1e9 if abs(full[2]) > 1 else deviance(point, np.abs(full[:2]), full[2], full[3], full[4:])

    options = {"xatol": 1e-6, "fatol": 1e-7, "maxiter": 4000, "maxfev": 4000, "adaptive": True}
    best = minimize(held, np.delete(estimate, 1), method="Nelder-Mead", options=options).fun
    assert best - point.criterion < 3.0  # the quantile is 3.84


def test_a_bound_that_is_not_reached_is_the_limit():
    point = bmm.Model("Yield ~ N + P + (1 | Block)", frame("crop_yield")).maximize()
    assert point.confint().loc["sd_Block[Intercept]", "lower"] == 0.0
    corr = fitted("s004_lmer").confint().loc["corr_agegp[Intercept, ncontrols]"]
    assert corr["upper"] == 1.0 and corr["lower"] > -1.0


def test_an_sd_of_zero():
    """Its interval starts at 0, and says nothing of its correlation."""
    point = fitted("x_school_wrong")
    assert point.confint().loc["sd_Class[Intercept]", "lower"] == 0.0
    rng = np.random.default_rng(2)
    data = frame("sleepstudy").assign(y=lambda d: rng.normal(size=len(d)) + 0.01 * d["Days"])
    none = bmm.Model("y ~ Days + (Days | Subject)", data).maximize("ML")
    assert none.singular
    found = none.confint()
    assert (found.loc["sd_Subject[Intercept]", "lower"], found.loc["sd_Subject[Days]", "lower"]) == (0.0, 0.0)
    assert found.loc["corr_Subject[Intercept, Days]"].tolist() == [-1.0, 1.0]


def test_reml_and_ml_fits_have_the_same_profile():
    a, b = fitted("s002_sleep_rs").confint(), fitted("x_sleep_rs_ml").confint()
    np.testing.assert_allclose(a, b, rtol=1e-5)  # the root's own precision, 1e-7, through two optima


def test_units_do_not_matter():
    data = frame("sleepstudy").assign(Days=lambda d: d["Days"] * 1e6, Reaction=lambda d: d["Reaction"] * 1e-3)
    scaled = bmm.Model("Reaction ~ Days + (Days | Subject)", data).maximize().confint()
    base = fitted("s002_sleep_rs").confint()
    factors = np.array([1e-3, 1e-9, 1.0, 1e-3, 1e-3, 1e-9])
    np.testing.assert_allclose(scaled, base * factors[:, None], rtol=1e-5)


def test_profile_of_one_parameter():
    point = fitted("s002_sleep_rs")
    found = point.profile("beta[Days]", level=0.95)
    assert (found.lower, found.upper) == pytest.approx(tuple(point.confint().loc["beta[Days]"]), rel=1e-6)
    assert found.table["value"].is_monotonic_increasing and found.table["zeta"].is_monotonic_increasing
    assert found.table["zeta"].iloc[[0, -1]].tolist() == pytest.approx([-norm.ppf(0.975), norm.ppf(0.975)])
    assert len(found.table) >= 7
    assert found.estimate == pytest.approx(10.467285959595, rel=1e-6)
    assert point.profile("beta[Days]").level == 0.99


def test_wald_and_linear():
    point = fitted("s002_sleep_rs")
    found, table = point.confint(level=0.9, method="wald"), point.fixef()
    assert found.index.tolist() == ["beta[Intercept]", "beta[Days]"]
    half = norm.ppf(0.95) * table["se"].to_numpy()
    np.testing.assert_allclose(found["upper"], table["estimate"] + half, rtol=1e-12)
    linear = bmm.Model("Level ~ Patient", frame("thyroxine")).maximize()
    half = t.ppf(0.975, 12) * linear.fixef()["se"].to_numpy()
    for method in ("profile", "wald"):
        np.testing.assert_allclose(linear.confint(method=method)["lower"], linear.beta - half, rtol=1e-9)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda p: p.confint(method="profil"), "method must be one of profile, wald, not 'profil'; did you mean"),
        (lambda p: p.confint(level=95), "level must be a probability between 0 and 1, such as 0.95, not 95"),
        (lambda p: p.profile("beta[Dais]"), r"is no parameter of the model .*did you mean 'beta\[Days\]'"),
        (lambda p: p.profile("sigma", level=0), "level must be a probability"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(fitted("s002_sleep_rs"))


POISSON = "ncases ~ ncontrols + (1 | agegp)"


@pytest.mark.parametrize("place", ["beta[Intercept]", "beta[ncontrols]"])
def test_other_families_a_coefficient_is_held_by_an_offset(place):
    """The ends are where the model without the column, and c times it as offset, has lost the quantile."""
    data = frame("esoph").assign(one=1.0)
    point = bmm.Model(POISSON, data, family="poisson").maximize("ML")
    name = place.removeprefix("beta[").removesuffix("]")
    column = {"Intercept": "one", "ncontrols": "ncontrols"}[name]
    rest = {"Intercept": "0 + ncontrols", "ncontrols": "1"}[name]
    for end in point.confint().loc[place]:
        formula = f"ncases ~ {rest} + offset(held) + (1 | agegp)"
        held = bmm.Model(formula, data.assign(held=end * data[column]), family="poisson").maximize("ML")
        # the end is known to 1e-7 of the interval, and Laplace's modes to 1e-8
        assert held.deviance - point.deviance == pytest.approx(chi2.ppf(0.95, 1), abs=1e-5)


def test_other_families_an_sd_by_brute_force():
    """The integral over each intercept on a fine grid, minimised by a simplex at the ends of the sd's interval."""
    data = frame("esoph")
    point = bmm.Model(POISSON, data, family="poisson").maximize("ML", nagq=25)
    y, x, index = data["ncases"].to_numpy(), data["ncontrols"].to_numpy(), point.design.blocks[0].index
    u = np.linspace(-9, 9, 721)

    def brute(sd, beta):
        eta = beta[0] + beta[1] * x[:, None] + sd * u
        rows = y[:, None] * eta - np.exp(eta) - gammaln(y + 1)[:, None]
        by_group = np.array([rows[index == g].sum(axis=0) for g in range(index.max() + 1)])
        return -2 * logsumexp(by_group + norm.logpdf(u) + np.log(u[1] - u[0]), axis=1).sum()

    options = {"xatol": 1e-7, "fatol": 1e-8, "maxiter": 2000}
    for end in point.confint().loc["sd_agegp[Intercept]"]:
        best = minimize(lambda beta, sd=end: brute(sd, beta), point.beta, method="Nelder-Mead", options=options).fun
        # the trapezoidal rule is exact to rounding here; the simplex to 1e-6
        assert best - point.deviance == pytest.approx(chi2.ppf(0.95, 1), abs=1e-4)


def test_other_families_have_an_interval_for_each_parameter():
    data = frame("esoph")
    point = bmm.Model("ncases ~ ncontrols + (1 + ncontrols | agegp)", data, family="poisson").maximize("ML")
    found = point.confint()
    assert found.loc["corr_agegp[Intercept, ncontrols]", "upper"] == 1.0
    assert list(point.confint(method="wald").index) == ["beta[Intercept]", "beta[ncontrols]"]
    shape = bmm.Model(POISSON, data, family="negbinomial").maximize("ML")
    lower, upper = shape.confint().loc["shape"]
    assert 0 < lower < shape.auxiliaries["shape"] < upper


def test_models_without_random_effects():
    """The profile of sigma of a linear model: n log(sigma^2) + RSS / sigma^2 has risen by the quantile."""
    point = bmm.Model("Level ~ Patient", frame("thyroxine")).maximize("ML")
    rss, n = point.residuals @ point.residuals, 18
    found = point.profile("sigma", level=0.95)
    for end in (found.lower, found.upper):
        rise = n * np.log(end**2) + rss / end**2 - n * np.log(rss / n) - n
        assert rise == pytest.approx(chi2.ppf(0.95, 1), abs=1e-6)
    counts = bmm.Model("ncases ~ ncontrols", frame("esoph"), family="poisson").maximize("ML")
    wald = counts.confint(method="wald")
    # with some 200 cases the likelihood is nearly quadratic
    np.testing.assert_allclose(counts.confint(), wald, atol=0.05 * (wald["upper"] - wald["lower"]).max())


def test_the_mode_of_a_posterior_has_none():
    point = bmm.Model("Reaction ~ Days + (1 | Subject)", frame("sleepstudy")).maximize("MAP")
    with pytest.raises(bmm.DataError, match=r"a profile likelihood is for a maximised likelihood.*\(MAP\)"):
        point.confint()


@pytest.mark.slow
def test_along_a_ridge_the_other_parameters_follow_to_their_bounds():
    """There are no extra zeros where mined is "no": logit(zi) runs to minus infinity, and its slope against it."""
    data = frame("salamanders")
    formulas = ("count ~ spp + mined + (1 | site)", "zi ~ mined")
    point = bmm.Model(formulas, data, family="zero_inflated_negbinomial").maximize()
    # by a likelihood in SciPy (Gauss-Hermite quadrature with 41 nodes, BFGS from four starts) zeta is -2.07 at 0.80
    shape = point.profile("shape", level=2 * norm.cdf(2.07) - 1)
    assert shape.lower == pytest.approx(0.80, abs=2e-3)
    assert (np.diff(shape.table["zeta"]) > 0).all() and np.diff(shape.table["zeta"]).max() < 1.2
    with pytest.warns(bmm.BayesmmWarning, match="gives zi no lower limit at 95 %: .* rises to 0.306 there"):
        zi = point.profile("zi", level=0.95)
    assert zi.lower == 0 and zi.table["zeta"].iloc[0] == pytest.approx(-0.3055, abs=2e-4)
    with pytest.warns(bmm.BayesmmWarning, match=r"gives logit_zi\[mined\[T.yes\]\] no upper limit"):
        slope = point.profile("logit_zi[mined[T.yes]]", level=0.95)
    assert slope.upper == np.inf


def negbinomial_deviance(y, shape):
    """Return twice what a shape costs beside the Poisson's maximum; the mean is that of the counts, whatever it is."""
    mean = y.mean()
    return 2 * (poisson.logpmf(y, mean).sum() - nbinom.logpmf(y, shape, shape / (shape + mean)).sum())


def student_deviance(y, nu):
    """Return twice what degrees of freedom cost beside the normal's maximum."""
    free = minimize(lambda at: -t.logpdf(y, nu, at[0], np.exp(at[1])).sum(), [y.mean(), np.log(y.std())], tol=1e-10)
    return 2 * (norm.logpdf(y, y.mean(), y.std()).sum() + free.fun)


@pytest.mark.parametrize(
    ("family", "parameter", "deviance"),
    [("negbinomial", "shape", negbinomial_deviance), ("student", "nu", student_deviance)],
)
def test_a_parameter_on_a_plateau_has_its_lower_limit(family, parameter, deviance):
    """Poisson counts, or normal responses: any large value fits as well, and the walk begins where nothing changes."""
    rng = np.random.default_rng(0)
    y = rng.poisson(5, 200) if family == "negbinomial" else rng.normal(size=200)
    lower, upper = bmm.Model("y ~ 1", {"y": y}, family).maximize().confint().loc[parameter]
    assert np.isinf(upper)
    expected = brentq(lambda log: deviance(y, np.exp(log)) - chi2.ppf(0.95, 1), 0, 10)
    assert np.log(lower) == pytest.approx(expected, abs=2e-3)  # zeta is interpolated, as in SAME


def test_a_parameter_without_a_profile_takes_no_other_interval_along():
    """A shape where the year is 0 is 1e-60; the slope and the mean have intervals as with the year centred."""
    rng = np.random.default_rng(1)
    year = rng.uniform(1990, 2020, 300)
    y = rng.negative_binomial(3 * np.exp(0.05 * (year - 2005)), 0.3)
    with pytest.warns(bmm.BayesmmWarning, match="shape has no interval: .* write center"):
        found = bmm.Model(("y ~ 1", "shape ~ year"), {"y": y, "year": year}, "negbinomial").maximize().confint()
    centred = bmm.Model(("y ~ 1", "shape ~ I(year - 2005)"), {"y": y, "year": year}, "negbinomial").maximize()
    assert found.loc["shape"].isna().all()
    np.testing.assert_allclose(found.iloc[1:], centred.confint().iloc[1:], rtol=1e-4)  # ends are found to 1e-5
    with pytest.raises(bmm.DataError, match="write center"):
        bmm.Model(("y ~ 1", "shape ~ year"), {"y": y, "year": year}, "negbinomial").maximize().profile("shape")


def test_coefficients_that_separate_have_one_end():
    """A cell of 0 or 1 alone: the estimate is on a plateau, and its walk grows no more; the other end is inside."""
    y, x = [0] * 20 + [1] * 21 + [0], [0] * 20 + [1] * 22
    with pytest.warns(bmm.BayesmmWarning):
        found = bmm.Model("y ~ x", {"y": y, "x": x}, "bernoulli").maximize().confint()
    # 20 zeros of 20: 2 * 20 log(1 + exp(b)) is the quantile
    end = np.log(np.expm1(chi2.ppf(0.95, 1) / 40))
    assert found.loc["beta[Intercept]"].tolist() == [-np.inf, pytest.approx(end, abs=2e-3)]
    assert np.isinf(found.loc["beta[x]", "upper"]) and 4 < found.loc["beta[x]", "lower"] < 5


def test_a_cell_without_counts_has_one_end():
    """Steps are by standard errors, which a flat likelihood makes 1e5: what is beyond a computer is gone nearer to."""
    rng = np.random.default_rng(0)
    x = np.repeat([0, 1], 100)
    with pytest.warns(bmm.BayesmmWarning):
        found = bmm.Model("y ~ x", {"y": np.where(x == 0, 0, rng.poisson(3, 200)), "x": x}, "poisson").maximize()
        found = found.confint()
    # 100 zeros: 2 * 100 exp(b) is the quantile
    end = np.log(chi2.ppf(0.95, 1) / 200)
    assert found.loc["beta[Intercept]"].tolist() == [-np.inf, pytest.approx(end, abs=2e-3)]


@pytest.mark.parametrize("family", ["nbinom1", "genpois"])
def test_a_dispersion_of_0_has_an_upper_end(family):
    """Its walk begins with steps of 1e-12, which are a plateau that it has to leave."""
    rng = np.random.default_rng(1)
    y = rng.binomial(10, 0.3, 200)  # with less variance than Poisson counts
    found = bmm.Model("y ~ 1", {"y": y}, family).maximize().confint().loc["phi"]
    assert found["lower"] == 0 and 0.01 < found["upper"] < 0.2


def test_a_share_of_zeros_of_almost_1_has_its_lower_end():
    """No number lies between the estimate, 1 - 2e-13, and the bound, which has no logit."""
    rng = np.random.default_rng(1)
    f = np.repeat(["a", "b"], 50)
    y = np.where(f == "a", 0, rng.poisson(1.5, 100))
    with pytest.warns(bmm.BayesmmWarning):
        found = bmm.Model(("y ~ 1", "hu ~ f"), {"y": y, "f": f}, "hurdle_poisson").maximize().confint()
    # 50 zeros: -2 * 50 log(hu) is the quantile
    assert found.loc["hu"].tolist() == [pytest.approx(np.exp(-chi2.ppf(0.95, 1) / 100), abs=1e-4), 1.0]


def test_where_zeta_jumps_there_is_no_end():
    """A search that fell short, 1e6 standard errors away, was taken for an end."""
    rng = np.random.default_rng(1)
    x = np.repeat([0, 1], 30)
    y = np.where(x == 0, 0.0, rng.gamma(2, 1, 60) * (rng.uniform(size=60) < 0.8))
    with pytest.warns(bmm.BayesmmWarning, match=r"gives beta\[x\] no upper limit"):
        found = bmm.Model("y ~ x", {"y": y, "x": x}, "tweedie").maximize().confint()
    assert found.loc["beta[x]"].tolist() == [pytest.approx(3.916, abs=1e-2), np.inf]


@pytest.mark.parametrize("base", [1e3, 1e6, 1e8])
def test_an_end_is_known_by_its_distance_from_the_estimate(base):
    """Wherever the response has its zero."""
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(12), 6), rng.normal(size=72)
    y = 0.5 * x + 0.3 * rng.normal(size=12)[g] + 0.5 * rng.normal(size=72)
    near, far = (
        bmm.Model("y ~ x + (1 | g)", {"y": y + shift, "x": x, "g": g}).maximize().confint() for shift in (0, base)
    )
    ends = far.loc["beta[Intercept]"] - base
    np.testing.assert_allclose(ends, near.loc["beta[Intercept]"], atol=1e-5 + 1e-15 * base)
    np.testing.assert_allclose(far.loc["beta[x]"], near.loc["beta[x]"], rtol=1e-4)


def test_a_correlation_of_almost_minus_1_has_both_ends():
    """A thousand sds from the data an intercept and a slope correlate by -1 + 5e-7, give or take as much."""
    rng = np.random.default_rng(0)
    g, x = np.repeat(np.arange(15), 8), rng.normal(size=120)
    y = x + rng.normal(size=15)[g] + x * rng.normal(size=15)[g] + 0.5 * rng.normal(size=120)
    found = bmm.Model("y ~ x + (x | g)", {"y": y, "x": x + 1000, "g": g}).maximize().confint()
    lower, upper = found.loc["corr_g[Intercept, x]"] + 1
    assert 1e-8 < lower < 5e-7 < upper < 1e-5
