"""Priors of a model: defaults by hand, which choice wins, what each mistake says, and the table."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from scipy import stats

from bayesmm.design.design import make_design
from bayesmm.errors import BayesmmWarning, PriorError
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse
from bayesmm.priors import Prior, coefficient_prior, default_priors, resolve_priors

FAMILY = get_family("gaussian")


# --- defaults --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.normal(300, 50, n),
            "x": rng.normal(5, 2, n),
            "d": np.tile([0.0, 1.0], 30),
            "e": rng.uniform(10, 20, n),
            "g": np.repeat([f"g{i}" for i in range(10)], 6),
            "h": np.tile(["a", "b", "c"], 20),
        }
    )


def designed(formula, frame):
    return make_design(parse(formula), frame)


def defaults(formula, frame):
    return default_priors(designed(formula, frame), FAMILY)


def test_defaults_follow_the_scale_of_the_data(frame):
    priors = defaults("y ~ x + (x | g)", frame)
    y, x = frame["y"], frame["x"]
    mad = 1.4826 * np.median(np.abs(y - np.median(y)))
    expected = {
        "Intercept_centred": Prior("Normal", mu=y.mean(), sigma=2.5 * y.std()),
        "beta[x]": Prior("Normal", mu=0, sigma=2.5 * y.std() / x.std()),
        "sd_g[Intercept]": Prior("HalfStudentT", nu=3, sigma=mad),
        "sd_g[x]": Prior("HalfStudentT", nu=3, sigma=mad / x.std()),
        "corr_g": Prior("LKJ", eta=2),
        "sigma": Prior("HalfStudentT", nu=3, sigma=mad),
    }
    assert list(priors) == list(expected)  # the model's order
    for place, prior in expected.items():
        assert priors[place].distribution == prior.distribution
        assert priors[place].parameters == pytest.approx(prior.parameters, rel=1e-12)  # the order of the sums


def test_defaults_change_units_with_the_data(frame):
    formula = "y ~ x + (x | g)"
    before, after = defaults(formula, frame), defaults(formula, frame.assign(y=1000 * frame["y"], x=frame["x"] / 60))
    factors = {"Intercept_centred": 1e3, "beta[x]": 6e4, "sd_g[Intercept]": 1e3, "sd_g[x]": 6e4, "sigma": 1e3}
    for place, factor in factors.items():
        assert after[place].parameters["sigma"] == pytest.approx(factor * before[place].parameters["sigma"])


def test_the_scale_is_the_sd_where_most_values_are_equal(frame):
    y = np.where(np.arange(60) % 5 == 0, frame["y"], 300.0)  # a median absolute deviation of 0
    priors = defaults("y ~ x + (1 | g)", frame.assign(y=y))
    assert priors["sigma"].parameters["sigma"] == pytest.approx(np.std(y, ddof=1))


def test_an_offset_is_taken_out_of_the_response_first(frame):
    priors = defaults("y ~ x + offset(e) + (1 | g)", frame)
    rest = frame["y"] - frame["e"]
    assert priors["Intercept_centred"].parameters == pytest.approx({"mu": rest.mean(), "sigma": 2.5 * rest.std()})


def test_group_means_have_the_intercepts_prior(frame):
    priors = defaults("y ~ 0 + h + x + (1 | g)", frame)
    y, x = frame["y"], frame["x"]
    for level in "abc":
        prior = priors[f"beta[h[{level}]]"]
        assert prior.parameters == pytest.approx({"mu": y.mean(), "sigma": 2.5 * y.std()})
    assert priors["beta[x]"].parameters == pytest.approx({"mu": 0, "sigma": 2.5 * y.std() / x.std()})
    assert "Intercept" not in priors
    assert "Intercept_centred" not in priors


def test_through_the_origin_sizes_count_and_not_deviations(frame):
    rms = lambda v: np.sqrt(np.mean(v**2))  # noqa: E731
    prior = defaults("y ~ 0 + x + (1 | g)", frame)["beta[x]"]
    assert prior.parameters == pytest.approx({"mu": 0, "sigma": 2.5 * rms(frame["y"]) / rms(frame["x"])})


def test_shares_of_a_whole_are_not_as_tight_as_indicators(frame):
    share = np.linspace(0.4, 0.6, 60)
    prior = defaults("y ~ 0 + p + q + (1 | g)", frame.assign(p=share, q=1 - share))["beta[p]"]
    assert prior.parameters == pytest.approx(
        {"mu": frame["y"].mean(), "sigma": 2.5 * frame["y"].std() / np.std(share, ddof=1)}
    )


def test_models_without_a_part_have_no_places_for_it(frame):
    assert list(defaults("y ~ x", frame)) == ["Intercept_centred", "beta[x]", "sigma"]
    assert list(defaults("y ~ 0 + (x || g)", frame)) == ["sd_g[Intercept]", "sd_g[x]", "sigma"]


# --- choices ---------------------------------------------------------------------------------------------------------


def resolved(formula, frame, user):
    return resolve_priors(designed(formula, frame), FAMILY, user)


def test_the_stronger_choice_wins(frame):
    wide, narrow, tight = (Prior("HalfNormal", sigma=s) for s in (30, 3, 0.3))
    priors = resolved("y ~ x + d + (x | g) + (1 | h)", frame, {"sd": wide, "sd_g": narrow, "sd_g[x]": tight})
    assert priors["sd_h[Intercept]"] == wide
    assert priors["sd_g[Intercept]"] == narrow
    assert priors["sd_g[x]"] == tight
    assert priors["sigma"].distribution == "HalfStudentT"  # "sd" is of random effects
    near = Prior("Normal", mu=0, sigma=1)
    priors = resolved("y ~ x + d + (1 | g)", frame, {"beta": near, "beta[d]": Prior("Laplace", b=2)})
    assert (priors["beta[x]"], priors["beta[d]"].distribution) == (near, "Laplace")
    assert priors["Intercept_centred"] == defaults("y ~ x + d + (1 | g)", frame)["Intercept_centred"]


def test_numbers_fix_and_functions_are_custom(frame):
    priors = resolved("y ~ x + (x | g)", frame, {"sigma": 25, "sd_g[x]": np.float64(5), "beta[x]": len})
    assert priors["sigma"] == Prior("Fixed", value=25)
    assert priors["sd_g[x]"].parameters == {"value": 5.0}
    assert priors["beta[x]"] == Prior("Custom", function=len)


def test_the_mapping_goes_round(frame):
    design = designed("y ~ x + (x | g)", frame)
    priors = default_priors(design, FAMILY)
    assert resolve_priors(design, FAMILY, priors) == priors == dict(priors)
    edited = dict(priors) | {"beta[x]": Prior("Normal", mu=1, sigma=2)}
    again = resolve_priors(design, FAMILY, edited)
    assert dict(again) == edited
    assert again != priors


def test_the_intercepts_prior_is_at_the_means_or_at_zero(frame):
    here = Prior("Normal", mu=250, sigma=50)
    assert next(iter(resolved("y ~ x", frame, {"Intercept": here}))) == "Intercept"
    assert resolved("y ~ x", frame, {"Intercept_centred": here})["Intercept_centred"] == here
    with pytest.raises(PriorError, match="both 'Intercept_centred' and 'Intercept'"):
        resolved("y ~ x", frame, {"Intercept": here, "Intercept_centred": here})


def test_a_choice_without_effect_is_a_warning(frame):
    with pytest.warns(BayesmmWarning, match=r"prior of 'sd' has no effect: .* \(sd_g\)"):
        resolved("y ~ x + (x | g)", frame, {"sd": 1.0, "sd_g": 2.0})
    with pytest.warns(BayesmmWarning, match="'sd_g' has no effect"):  # an edited copy names every place
        resolved("y ~ x + (1 | g)", frame, {**defaults("y ~ x + (1 | g)", frame), "sd_g": 2.0})


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (
            {"beta[xx]": 1.0},
            "no parameter 'beta[xx]' to give a prior; did you mean 'beta[x]'? (names: Intercept_cen",
        ),
        ({"sd_G": 1.0}, "did you mean 'sd_g'?"),
        ({"x": Prior("Normal", mu=0, sigma=1)}, "did you mean 'beta[x]'?"),
        ({"zz": 1.0}, "no parameter 'zz'"),
        ({"beta[Intercept]": 1.0}, "did you mean 'Intercept'?"),
        ({3: 1.0}, "no parameter 3"),
        ({"sd": Prior("Normal", mu=0, sigma=10)}, "standard deviation is above 0; use Prior('HalfNormal', sigma=10)"),
        ({"sigma": Prior("StudentT", nu=3, sigma=2)}, "use Prior('HalfStudentT', nu=3, sigma=2)"),
        ({"sd_g[x]": Prior("Cauchy", beta=2)}, "use Prior('HalfCauchy', beta=2)"),
        ({"sd": Prior("Flat")}, "use Prior('HalfFlat')"),
        ({"sd": Prior("Laplace", b=4)}, "use Prior('Exponential', lam=0.25)"),
        ({"sd": Prior("Uniform", lower=-1, upper=9)}, "give it lower=0"),
        ({"sigma": 0}, "standard deviation is above 0"),
        ({"sd_g": -3.0}, "standard deviation is above 0"),
        ({"corr": 0.3}, "the prior of 'corr' should be Prior('LKJ', eta=...), not 0.3 (fixed)"),
        ({"corr_g": Prior("Normal", sigma=1)}, "should be Prior('LKJ', eta=...)"),
        ({"corr_g": print}, "should be Prior('LKJ', eta=...)"),
        ({"beta": Prior("LKJ", eta=2)}, "which is for correlations"),
        ({"beta[x]": Prior("HalfNormal", sigma=1, on="variance")}, "is a coefficient, not a standard deviation"),
        ({"beta": "normal(0, 1)"}, "the prior of 'beta' is 'normal(0, 1)', but should be a Prior such as"),
        ({"beta": True}, "but should be a Prior such as"),
        ({"beta": None}, "but should be a Prior such as"),
        ([("beta", 1.0)], "priors should be a mapping of names to priors, not list"),
    ],
)
def test_mistakes_in_the_choice_name_the_place(frame, user, message):
    with pytest.raises(PriorError) as caught:
        resolved("y ~ x + (x | g)", frame, user)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("formula", "key", "value"),
    [("y ~ x + (1 | g)", "corr", Prior("LKJ", eta=1)), ("y ~ 1 + (1 | g)", "beta", 1.0), ("y ~ x", "sd", 1.0)],
)
def test_a_class_that_the_model_has_not_is_said_to_be_that(frame, formula, key, value):
    with pytest.raises(PriorError, match=f"the prior of '{key}' is for .*, of which the model has none"):
        resolved(formula, frame, {key: value})


def test_without_an_intercept_neither_name_is_one(frame):
    with pytest.raises(PriorError, match="no parameter 'Intercept' to give a prior"):
        resolved("y ~ 0 + x", frame, {"Intercept": 1.0})


# --- the coefficients' prior, for the marginal likelihood ------------------------------------------------------------


def test_coefficient_priors_as_means_and_sds(frame):
    design = designed("y ~ x + d + e", frame)
    choice = {"Intercept": Prior("Flat"), "beta[x]": 1.5, "beta[d]": Prior("StudentT", nu=3, sigma=1)}
    found = coefficient_prior(resolve_priors(design, FAMILY, choice), design)
    np.testing.assert_array_equal(found.normal, [True, True, False, True])
    np.testing.assert_array_equal(found.mean[:2], [0.0, 1.5])
    np.testing.assert_array_equal(found.sd[:2], [np.inf, 0.0])
    assert np.isnan(found.sd[2])
    assert found.sd[3] == pytest.approx(2.5 * frame["y"].std() / frame["e"].std())


def test_a_model_without_coefficients_has_an_empty_prior(frame):
    design = designed("y ~ 0 + (1 | g)", frame)
    found = coefficient_prior(default_priors(design, FAMILY), design)
    assert found.mean.shape == found.sd.shape == found.normal.shape == (0,)


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_says_what_each_prior_means_for_the_response(frame):
    choice = {
        "beta[x]": Prior("Normal", mu=0, sigma=10),
        "sd_g[Intercept]": Prior("HalfNormal", sigma=100),
        "sd_g[x]": Prior("Uniform", lower=0, upper=40, on="variance"),
        "sigma": 25,
    }
    lines = str(resolved("y ~ x + (x | g)", frame, choice)).splitlines()
    assert [line.split()[0] for line in lines] == list(defaults("y ~ x + (x | g)", frame))
    assert lines[1].endswith("95 % between -19.6 and 19.6 units of y per unit of x")  # 1.96 sds
    assert lines[2].endswith("95 % between 0 and 196 units of y")  # 1.96 sds: half-normal
    assert lines[3].endswith("95 % between 1 and 6.24 units of y per unit of x")  # sqrt(1), sqrt(39)
    assert lines[4].endswith("each correlation: 95 % between -0.81 and 0.81")  # 2 Beta(2, 2) - 1
    assert lines[5].endswith("held at 25 units of y")
    assert "at the predictors' means" in lines[0]
    lowest = str(resolved("y ~ x + (1 | g)", frame, {"sd": Prior("Exponential", lam=0.05)})).splitlines()[2]
    assert lowest.endswith("95 % between 0 and 59.9 units of y")  # -log(0.05) / 0.05; its lower end was "-0"


def test_the_bound_on_a_correlation_is_what_lkj_draws(frame):
    text = str(resolved("y ~ x + e + (x + e | g)", frame, {"corr": Prior("LKJ", eta=3)}))
    # a marginal of LKJ(eta) on (q, q) is 2 Beta(a, a) - 1 with a = eta - 1 + q / 2 = 3.5
    bound = 2 * stats.beta.ppf(0.975, 3.5, 3.5) - 1
    assert f"between {-bound:.2f} and {bound:.2f}" in text


def test_improper_and_custom_priors_print(frame):
    def wide(name, dims):
        return pm.Normal(name, 0, 100, dims=dims)

    text = str(resolved("y ~ x + (1 | g)", frame, {"Intercept": Prior("Flat"), "beta": wide, "sd": Prior("HalfFlat")}))
    assert "improper: every value counts the same, in units of y with every predictor at 0" in text
    assert "as the function wide says, in units of y per unit of x" in text


def test_a_long_name_does_not_break_the_table(frame):
    name = "b" * 10_000
    lines = str(defaults(f"y ~ {name} + (1 | g)", frame.rename(columns={"x": name}))).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) < 500  # a name of 200 and a unit of 200 characters, and the numbers


def test_many_coefficients_are_counted_not_listed(frame):
    many = frame.assign(f=[f"level {i}" for i in range(60)])
    text = str(defaults("y ~ f", many.assign(y=np.arange(60.0))))
    assert len(text.splitlines()) == 41
    assert text.splitlines()[-1] == "... and 21 more"


@pytest.mark.parametrize(
    ("formula", "place"),
    [
        ("y ~ f * h + (1 | g)", "beta[f[T.b]:h[T.q]]"),
        ("y ~ 0 + f : h", "beta[f[b]:h[q]]"),
        ("y ~ x + (0 + f : h | g)", "sd_g[f[b]:h[q]]"),
    ],
)
def test_an_empty_cell_has_the_prior_of_an_indicator(frame, formula, place):
    y = frame["y"]
    cells = frame.assign(f=np.tile(list("aabb"), 15), h=np.tile(list("pqpp"), 15))  # no row with f = b and h = q
    mad = 1.4826 * np.median(np.abs(y - np.median(y)))
    # the column of zeros counts as one of size 1
    expected = mad if place.startswith("sd") else 2.5 * y.std()
    assert defaults(formula, cells)[place].parameters["sigma"] == pytest.approx(expected, rel=1e-12)
