"""Families: the table, what each asks of a response, trials, separation, scales of priors, equations."""

import inspect
import math
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError, PriorError
from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.links import LINKS
from bayesmm.formula.formula import parse
from bayesmm.storage.stored_model import described, model_arguments

N, GROUPS = 24, 6


def table(**columns):
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=N),
            "g": np.repeat([f"g{i}" for i in range(GROUPS)], N // GROUPS),
            "n": np.full(N, 8),
            "row": np.arange(N),
        }
    )
    return frame.assign(**columns)


def counts(seed=1, mean=3.0):
    return np.random.default_rng(seed).poisson(mean, N)


def coin(seed=1):
    return np.random.default_rng(seed).integers(0, 2, N)


def changed(values, row, value):
    values = np.array(values, dtype=float)
    values[row] = value
    return values


def make(y, family, formula="y ~ x + (1 | g)", **more):
    columns = {key: more.pop(key) for key in ("n", "e", "t") if key in more}
    return bmm.Model(formula, table(y=y, **columns), family, **more)


def refusal(y, family, formula="y ~ x + (1 | g)", **more):
    with pytest.raises(DataError) as error:
        make(y, family, formula, **more)
    text = str(error.value)
    assert "\n" not in text
    return text


def said(model, level=None):
    return [message.text for message in model.design.messages if level in (None, message.level)]


# ----------------------------------------------------------------------------------------------------------------------
# the table


def test_codes_are_those_of_the_compiled_densities():
    from bayesmm.families import codes

    for record in (*FAMILIES.values(), *LINKS.values()):
        assert getattr(codes, record.name.upper()) == record.code
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
    named = {*limits, family.of_one_trial, family.overdispersed, family.outliers, family.skewed}
    assert named <= {"", *FAMILIES}
    assert set(family.residuals) == set(family.links)
    aux = tuple(np.array([2.5]) for _ in family.parameters)
    mu = np.full(3, 0.4)
    assert family.start(np.array([0.2, 0.4, 0.7]), mu).shape == (len(aux),)
    assert family.variance(mu, aux).shape == mu.shape


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_in_the_help(name):
    from bayesmm.cli import main

    assert f'"{name}"' in bmm.Model.__doc__
    assert re.search(rf"Distribution of the response: .*\b{name}\b", inspect.getsource(main))


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


# ----------------------------------------------------------------------------------------------------------------------
# responses


@pytest.mark.parametrize("family", ["poisson", "negbinomial"])
def test_counts(family):
    assert refusal(changed(counts(), [3, 7], -1), family) == (  # F01
        "the response 'y' is negative in rows [3, 7]; a count is a whole number of 0 or more"
    )
    assert "is no whole number in row [5]" in refusal(changed(counts(), 5, 3.5), family)  # F02
    assert np.array_equal(make(counts().astype(float), family).design.y, counts())  # F03
    # round-off of a calculation is no fraction
    assert np.array_equal(make(counts() * (1 + 1e-12), family).design.y, counts())
    text = refusal(counts().astype(str), family)  # F04
    assert "holds text" in text
    assert "pandas.to_numeric(data['y'])" in text
    assert "is 0 in every row" in said(make(np.zeros(N), family), "warning")[0]  # F05


def test_bernoulli():
    y = changed(coin(), [1, 2], 2)
    text = refusal(y, "bernoulli")  # F06
    assert f"0 in {(y == 0).sum()} rows, 1 in {(y == 1).sum()} rows, 2 in 2 rows" in text
    assert np.array_equal(make(coin().astype(bool), "bernoulli").design.y, coin())  # F07
    assert "1 in every row" in said(make(np.ones(N), "bernoulli"), "warning")[0]  # F09
    text = refusal(np.where(coin(), 0.2, 0.6), "bernoulli")  # F10
    assert "holds proportions such as 0.6" in text
    assert "y / n ~" in text
    assert "family='beta'" in text


@pytest.mark.parametrize("family", ["bernoulli", "binomial"])
def test_of_two_levels_the_second_is_one(family):
    words = np.where(coin(), "yes", "no")  # F08
    model = make(words, family)
    assert model.family.name == "bernoulli"
    assert np.array_equal(model.design.y, coin())
    note = next(text for text in said(model, "note") if "probability" in text)
    assert "'y' is 'yes' (taken as 1) and not 'no' (as 0)" in note
    assert "y == 'no' ~" in note
    other = make(words, "bernoulli", "y == 'no' ~ x + (1 | g)")
    assert np.array_equal(other.design.y, 1 - coin())
    ordered = pd.Categorical(words, categories=["yes", "no"])
    assert np.array_equal(make(ordered, family).design.y, 1 - coin())
    three = refusal(np.array(["a", "b", "c"] * (N // 3)), family)
    assert "has 3 levels ('a', 'b', 'c')" in three


def test_a_level_that_no_row_has_still_says_what_is_modelled():
    y = pd.Categorical(["no"] * N, categories=["no", "yes"])
    model = make(y, "bernoulli")
    assert not model.design.y.any()
    assert any("is 0 in every row" in text for text in said(model, "warning"))


def test_binomial_responses_in_all_their_spellings():
    y, n = np.minimum(counts(), 8), np.full(N, 8)
    spellings = {
        "cbind(y, n - y) ~ x + (1 | g)": {},
        "y / n ~ x + (1 | g)": {},
        "y | trials(n) ~ x + (1 | g)": {},
        "y | trials(8) ~ x + (1 | g)": {},
        "y ~ x + (1 | g)": {"trials": "n"},
        "y ~ (1 | g) + x": {"trials": n.tolist()},
        "y ~ 1 + x + (1 | g)": {"trials": 8},
    }
    for formula, more in spellings.items():
        design = make(y, "binomial", formula, **more).design
        assert np.array_equal(design.y, y), formula
        assert np.array_equal(design.trials, n), formula
        assert design.family.name == "binomial"


def test_trials_and_weights_together():
    y = np.minimum(counts(), 8)
    design = make(y, "binomial", "y | trials(n) + weights(t) ~ x + (1 | g)", t=np.full(N, 2.0)).design
    assert (design.trials == 8).all()
    assert (design.weights == 2).all()
    again = make(y, "binomial", "y | weights(t) + trials(n) ~ x + (1 | g)", t=changed(np.ones(N), 4, 0)).design
    assert again.n == N - 1
    with pytest.raises(FormulaError, match="trials\\(\\) stands twice"):
        parse("y | trials(n) + trials(m) ~ x")


def grouped(n=None):
    """Return successes `y` in `n` trials, the shares `p`, and a group of 3 rows each."""
    rng = np.random.default_rng(2)
    n = rng.integers(4, 30, 45) if n is None else n
    y = rng.binomial(n, 0.4)
    return pd.DataFrame({"y": y, "n": n, "p": y / n, "f": n - y, "x": rng.normal(size=45), "g": np.arange(45) // 3})


TWICE = "the weights are the numbers of trials that the response '{}' has already"


@pytest.mark.parametrize(
    ("formula", "name", "more"),
    [
        ("y / n ~ x", "y/n", {"weights": "n"}),
        ("y / n | weights(n) ~ x", "y/n", {}),
        ("y / n | weights(2 * n / 2) ~ x", "y/n", {}),
        ("cbind(y, f) ~ x", "cbind(y, f)", {"weights": "n"}),
        ("cbind(y, n - y) | weights(n) ~ x", "cbind(y, n - y)", {}),
        ("y | trials(n) ~ x", "y", {"weights": "n"}),
        ("y | trials(n) + weights(n) ~ x", "y", {}),
        ("y ~ x", "y", {"trials": "n", "weights": "n"}),
        ("y | weights(n) ~ x", "y", {"trials": "n"}),
    ],
)
def test_no_trial_counts_twice(formula, name, more):
    """``y / n`` with weights = n, R's idiom for a number between 0 and 1, has the trials in both."""
    data = grouped()
    for weights in (more, {key: data[column].to_numpy() for key, column in more.items()}):
        with pytest.raises(DataError, match=re.escape(TWICE.format(name))):
            bmm.Model(formula, data, family="binomial", **weights)
    if "2 * n" in formula:
        return
    other = {key: "w" for key in more if key == "weights"} | {key: "n" for key in more if key == "trials"}
    changed_one = data.assign(w=data["n"].where(data.index != 3, 1))
    design = bmm.Model(formula.replace("weights(n)", "weights(w)"), changed_one, family="binomial", **other).design
    if "weights" in other or "weights(n)" in formula:
        np.testing.assert_array_equal(design.weights, changed_one["w"])  # weights that merely differ are weights


def test_weights_of_1_are_no_trials_again():
    ones = grouped(np.ones(45, dtype=int))
    assert (bmm.Model("y / n ~ x", ones, family="binomial", weights="n").design.weights == 1).all()


def test_proportions_with_the_trials_as_weights_are_successes_in_trials():
    """R's glm(p ~ x, binomial, weights = n) and glm(cbind(y, n - y) ~ x, binomial) are one model."""
    data = grouped().assign(rounded=lambda d: d["p"].round(5))
    counts_model = bmm.Model("y / n ~ x + (1 | g)", data, family="binomial")
    n = data["n"].to_numpy()
    for formula, weights in (
        ("p ~ x + (1 | g)", "n"),
        ("rounded ~ x + (1 | g)", n),
        ("p | weights(n) ~ x + (1 | g)", None),
        ("I(y / n) ~ x + (1 | g)", "n"),
    ):
        model = bmm.Model(formula, data, family="binomial", weights=weights)
        assert (model.design.y == data["y"]).all(), formula
        assert (model.design.trials == n).all(), formula
        assert model.design.weights is None, formula
        assert any("are taken as the numbers of trials" in text for text in said(model, "note")), formula
    assert model.maximize().aic == counts_model.maximize().aic  # the same arrays


def test_proportions_that_are_none_of_their_trials():
    data = grouped().assign(w=lambda d: d["n"] + 0.5)
    with pytest.raises(DataError, match="but the weights are no whole numbers in rows"):
        bmm.Model("p ~ x", data, family="binomial", weights="w")
    with pytest.raises(DataError, match=r"but proportion x weight is no whole number of successes in row \[7\]"):
        bmm.Model("p ~ x", data.assign(p=changed(data["p"], 7, 0.123)), family="binomial", weights="n")
    with pytest.raises(DataError, match="for a column of proportions y / n give the trials as weights"):
        bmm.Model("p ~ x", data, family="binomial")


def test_proportions_and_their_trials_survive_files_and_other_data(tmp_path):
    data = grouped()
    for formula, given in (("p ~ x + (1 | g)", {"weights": "n"}), ("p | weights(n) ~ x + (1 | g)", {})):
        model = bmm.Model(formula, data, family="binomial", **given)
        other = model.with_data(data.iloc[:30])
        assert (other.design.trials == data["n"].iloc[:30]).all()
        sure = model.with_data(data.iloc[:30].assign(p=1.0))  # all successes are counts too, not yes and no
        assert (sure.design.family.name, (sure.design.y == data["n"].iloc[:30]).all()) == ("binomial", True)
        record, kept = described(model)
        again = bmm.Model(**model_arguments(record, kept, None, None)).design
        assert (again.y == data["y"]).all() and (again.trials == data["n"]).all() and again.weights is None


def test_rows_without_trials_are_left_out():
    y = np.minimum(counts(), 8)
    for formula, more in (("y | trials(n) ~ x", {}), ("y ~ x", {"trials": "n"})):
        design = make(y, "binomial", formula, n=changed(np.full(N, 8), 3, np.nan), **more).design
        assert design.n == N - 1
        assert 3 not in design.rows


def test_binomial_refusals():
    y = np.minimum(counts(), 8)
    for formula in ("cbind(y, n - y) ~ x", "y / n ~ x", "y | trials(n) ~ x"):
        text = refusal(changed(y, [2, 9], 9), "binomial", formula)  # F11
        assert "has more successes than trials in rows [2, 9]" in text
    trials = {"n": changed(np.full(N, 8), 4, -1)}  # F13
    assert "a negative number of trials in row [4]" in refusal(y, "binomial", "y | trials(n) ~ x", **trials)
    trials = {"n": changed(np.full(N, 8), 4, 8.5)}
    assert "no whole number of trials in row [4]" in refusal(y, "binomial", "y | trials(n) ~ x", **trials)
    trials = {"n": changed(np.full(N, 8), 4, 0)}
    assert "no trial in row [4]" in refusal(changed(y, 4, 0), "binomial", "y | trials(n) ~ x", **trials)
    assert "negative number of successes" in refusal(changed(y, 4, -1), "binomial", "y / n ~ x")
    assert "no whole number of successes" in refusal(changed(y, 4, 2.5), "binomial", "y / n ~ x")
    assert "holds proportions such as" in refusal(y / 8.5, "binomial", "y | trials(n) ~ x")
    assert "family is poisson" in refusal(y, "poisson", trials="n")
    assert "given twice" in refusal(y, "binomial", "y / n ~ x", trials="n")
    assert "given twice" in refusal(y, "binomial", "y | trials(n) ~ x", trials="n")
    assert "3 trials for 24 rows" in refusal(y, "binomial", "y ~ x", trials=[1, 2, 3])
    assert "the trials column 'm'" in refusal(y, "binomial", "y ~ x", trials="m")
    assert "hold text" in refusal(y, "binomial", "y ~ x", trials="g")
    assert "counts successes and failures" in refusal(y, "bernoulli", "cbind(y, n - y) ~ x")


def test_binomial_without_trials():
    model = make(coin(), "binomial", link="probit")  # F12
    assert (model.family.name, model.family.link) == ("bernoulli", "probit")
    assert "has no trials and holds 0 and 1, so the family is bernoulli" in said(model, "note")[0]
    assert "y | trials(n) ~" in refusal(counts(), "binomial")
    assert "holds proportions and has no trials" in refusal(np.where(coin(), 0.2, 0.6), "binomial")  # F10


@pytest.mark.parametrize("successes", [0, 8])
def test_a_binomial_that_never_varies_is_worth_a_warning(successes):
    model = make(np.full(N, successes), "binomial", trials="n")
    assert any("in any row" in text for text in said(model, "warning"))


def test_gamma_and_beta():
    y = np.random.default_rng(1).gamma(2, size=N)
    assert "is 0 in row [3]; the gamma family needs values above 0" in refusal(changed(y, 3, 0), "gamma")  # F18
    assert "is 0 or less in rows [3, 4]" in refusal(changed(y, [3, 4], [-1, 0]), "gamma")
    share = np.random.default_rng(1).beta(2, 3, size=N)
    text = refusal(changed(share, [0, 5], [0, 1]), "beta")  # F19
    assert "is 0 or 1 in rows [0, 5]" in text
    assert "(y * (n - 1) + 0.5) / n" in text
    assert "is outside 0 to 1 in row [2]" in refusal(changed(share, 2, 1.2), "beta")
    for family in ("gamma", "beta", "student", "gaussian"):
        assert "is constant (0.5)" in refusal(np.full(N, 0.5), family)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_number_is_refused(family):
    for y, what in (  # F14, F16, F17, F21
        (np.array(["1", "2", "3"] * 8), "text" if family not in ("bernoulli", "binomial") else "3 levels"),
        (pd.date_range("2024-01-01", periods=N), "dates"),
        (np.arange(N) * (1 + 2j), "complex numbers"),
    ):
        assert what in refusal(y, family)


def test_a_bool_in_a_gaussian_model_is_worth_a_warning():  # F15
    assert any("did you mean a bernoulli model?" in text for text in said(make(coin().astype(bool), "gaussian")))


# ----------------------------------------------------------------------------------------------------------------------
# groups of one row, exposure


def test_groups_of_one_row():
    y, formula = counts(), "y ~ x + (1 | row)"
    for family, answer in (("gaussian", y + 0.5), ("student", y + 0.5)):  # C06
        assert "cannot be told apart from the residual" in refusal(answer, family, formula)
    assert "one response of 0 or 1 says nothing" in refusal(coin(), "bernoulli", formula)  # C07
    assert "one response of 0 or 1 says nothing" in refusal(coin(), "binomial", formula, trials=1)
    for family, more in (("poisson", {}), ("binomial", {"trials": "n"})):
        notes = said(make(np.minimum(y, 8), family, formula, **more), "note")
        assert any("measures the overdispersion" in text for text in notes)
    assert any("the priors divide it" in text for text in said(make(y, "negbinomial", formula), "warning"))


def test_an_exposure_of_zero_is_named():  # I04
    e = changed(np.ones(N), [2, 4], 0)
    assert refusal(counts(), "poisson", "y ~ x + offset(log(e)) + (1 | g)", e=e) == (
        "offset(log(e)): the exposure 'e' is 0 in rows [2, 4]; its logarithm needs values above 0"
    )
    assert "is infinite in row [2]" in refusal(counts(), "poisson", "y ~ x + offset(e)", e=changed(e, 2, np.inf))  # I03


def test_a_count_that_is_its_offset_is_no_constant():
    model = make(counts(), "poisson", "y ~ x + offset(y + 0) + (1 | g)".replace("y + 0", "e"), e=counts())
    assert model.design.offset.any()


# ----------------------------------------------------------------------------------------------------------------------
# separation and overflow


def separation(y, family="bernoulli", formula="y ~ x + (1 | g)", **more):
    return [text for text in said(make(y, family, formula, **more), "warning") if "its prior" in text]


def test_separation_is_named():
    x = table()["x"].to_numpy()
    (text,) = separation((x > 0.3).astype(int))  # F22
    middle = (x[x > 0.3].min() + x[x <= 0.3].max()) / 2
    assert text.startswith(f"x > {middle:.4g} separates 'y'")
    (text,) = separation(np.where(x > 0.3, 8, 0), "binomial", trials="n")
    assert text.startswith("x >")
    e = np.repeat([0, 1], N // 2)
    (text,) = separation(np.maximum(e, coin()), formula="y ~ e + (1 | g)", e=e)  # quasi: only e = 1 is of one kind
    assert text.startswith("e separates 'y', which is the same in every row with e > 0")
    t = np.random.default_rng(9).normal(size=N)
    (text,) = separation((x + t > 0.2).astype(int), formula="y ~ x + t + (1 | g)", t=t)
    assert text.startswith("a combination of x, t separates 'y'")
    (text,) = separation(np.where(e, 0, 1 + counts()), "poisson", "y ~ e + (1 | g)", e=e)
    assert text.startswith("the rows where 'y' is 0 let the coefficient of e grow")


def test_ordinary_data_are_not_separated():
    assert separation(coin()) == separation(counts(), "poisson") == []
    assert separation(np.minimum(counts(), 8), "binomial", trials="n") == []
    x = table()["x"].to_numpy()
    y = changed(x > 0.3, int(np.argmax(x)), 0)  # one row against it
    assert separation(y) == []


def test_scales_that_overflow_are_named():  # F24, J10
    e = np.linspace(1, 500, N)
    (text,) = [text for text in said(make(counts(), "poisson", "y ~ x + offset(e)", e=e)) if "log scale" in text]
    assert "offset(e) goes from 1 to 500" in text
    assert "offset(log(t))" in text
    wide = {"beta[x]": bmm.Prior("Normal", mu=0, sigma=1000)}
    (text,) = [text for text in said(make(counts(), "poisson", priors=wide)) if "one draw of ten" in text]
    assert "x multiplies the mean of 'y'" in text
    quiet = [*said(make(counts(), "poisson")), *said(make(counts(), "negbinomial", "y ~ x + offset(log(e))", e=e))]
    assert not [text for text in quiet if "log scale" in text or "one draw" in text]


# ----------------------------------------------------------------------------------------------------------------------
# priors


def prior(model, place):
    return model.priors[place].parameters


def test_the_intercept_is_centred_at_the_link_of_the_mean():
    y, e = counts(), np.linspace(1, 9, N)
    model = make(y, "poisson", "y ~ x + offset(log(e)) + (1 | g)", e=e)
    assert prior(model, "Intercept_centred")["mu"] == pytest.approx(math.log(y.sum() / e.sum()), rel=1e-12)
    share = (np.minimum(y, 8).sum() + 0.5) / (8 * N + 1)
    for link, function in (("logit", stats.logistic.ppf), ("probit", stats.norm.ppf)):
        model = make(np.minimum(y, 8), "binomial", trials="n", link=link)
        assert prior(model, "Intercept_centred")["mu"] == pytest.approx(function(share), rel=1e-12)
    model = make(y + 1.0, "gamma", link="inverse")
    assert prior(model, "Intercept_centred")["mu"] == pytest.approx(1 / (y + 1).mean(), rel=1e-12)


def test_means_at_the_end_of_their_range_have_finite_priors():
    for y, family, more in (
        (np.zeros(N), "poisson", {}),
        (np.zeros(N), "bernoulli", {}),
        (np.ones(N), "bernoulli", {}),
        (np.full(N, 8), "binomial", {"trials": "n"}),
    ):
        assert math.isfinite(prior(make(y, family, **more), "Intercept_centred")["mu"])
    minus = make(np.linspace(-3, 1, N), "gaussian", link="log")  # a mean below 0 has no logarithm
    assert math.isfinite(prior(minus, "Intercept_centred")["mu"])


def test_scales_are_those_of_the_link():
    frame = table()
    model = make(counts(), "poisson", "y ~ x + (x | g)")
    assert prior(model, "Intercept_centred")["sigma"] == 2.5
    assert prior(model, "beta[x]")["sigma"] == pytest.approx(1 / frame["x"].std(), rel=1e-12)
    assert prior(model, "sd_g[Intercept]") == {"nu": 3.0, "sigma": 1.0}
    assert prior(model, "sd_g[x]")["sigma"] == pytest.approx(0.4 / frame["x"].std(), rel=1e-12)
    coins = make(coin(), "bernoulli", "y ~ x + (x | g)")
    assert prior(coins, "beta[x]")["sigma"] == pytest.approx(2.5 / frame["x"].std(), rel=1e-12)
    assert "on the log scale of y" in str(model.priors)
    # 2.5 probits are beyond any probability that 2.5 logits reach
    probit = make(coin(), "bernoulli", link="probit")
    assert prior(probit, "sd_g[Intercept]")["sigma"] == pytest.approx(stats.logistic.pdf(0) / stats.norm.pdf(0))
    student = make(counts() + 0.5, "student")
    assert prior(student, "sigma") == prior(make(counts() + 0.5, "gaussian"), "sigma")


def test_units_of_the_response_do_not_matter_to_a_gamma_model():
    y = np.random.default_rng(1).gamma(2, size=N)
    one, other = make(y, "gamma"), make(1000 * y, "gamma")
    moved = prior(other, "Intercept_centred")["mu"] - prior(one, "Intercept_centred")["mu"]
    assert moved == pytest.approx(math.log(1000), rel=1e-12)
    assert prior(other, "beta[x]") == pytest.approx(prior(one, "beta[x]"))
    assert prior(one, "beta[x]")["sigma"] == pytest.approx(np.log(y).std(ddof=1) / table()["x"].std(), rel=1e-12)


@pytest.mark.parametrize(("family", "names"), [(row.name, row.auxiliaries) for row in FAMILIES.values()])
def test_auxiliaries_have_places_at_the_end(family, names):
    y = {"bernoulli": coin(), "beta": np.random.default_rng(1).beta(2, 3, N)}.get(family, np.minimum(counts(), 8) + 1)
    more = {"trials": 20} if family == "binomial" else {}
    model = make(y, family, **more)
    places = list(model.priors)
    assert places[len(places) - len(names) :] == list(names)
    assert not {"sigma", "nu", "shape", "phi"} - set(names) & set(places)
    for name in names:
        assert prior(make(y, family, priors={name: 2.0}), name) == {"value": 2.0}
        with pytest.raises(PriorError, match="is above 0"):
            make(y, family, priors={name: bmm.Prior("Normal", mu=0, sigma=1)})
    if not names:
        with pytest.raises(PriorError, match="no parameter 'sigma'"):
            make(y, family, priors={"sigma": 2.0}, **more)


def test_the_variance_of_a_shape_has_no_prior():
    with pytest.raises(PriorError, match="a parameter of the family, not a standard deviation"):
        make(counts(), "negbinomial", priors={"shape": bmm.Prior("HalfNormal", sigma=1, on="variance")})


# Of the draws of a response, 95 % within this many times the largest value (or its inverse); ours is generous: the
# priors allow an effect of e^2.5 for each sd of a predictor. Measured: esoph 28, gamma 19. A prior sd of 50 on the log
# scale gives 1e30 and more.
ABSURD = 300.0


def test_prior_predictive_draws_stay_on_the_scale_of_the_data():
    esoph = bmm.load_dataset("esoph")
    model = bmm.Model("ncases ~ ncontrols + (1 + ncontrols | agegp)", esoph, "poisson")
    y = model.prior_predictive(draws=200, seed=1)["prior_predictive"]["y"].values
    assert np.quantile(y, 0.95) < ABSURD * esoph["ncases"].max()
    data = 1.3 + np.random.default_rng(1).gamma(2, size=N)
    drawn = make(data, "gamma").prior_predictive(draws=200, seed=1)["prior_predictive"]["y"].values
    assert np.quantile(drawn, 0.95) < ABSURD * data.max()
    assert np.quantile(drawn, 0.05) > data.min() / ABSURD
    # of a coin neither side is certain beforehand: both are drawn in most prior draws
    coins = make(coin(), "bernoulli").prior_predictive(draws=200, seed=1)["prior_predictive"]["y"].values[0]
    assert ((coins.mean(axis=1) > 0) & (coins.mean(axis=1) < 1)).mean() > 0.6
    assert 0.35 < coins.mean() < 0.65


# ----------------------------------------------------------------------------------------------------------------------
# print and equation


def test_printing_says_family_and_link():
    text = str(make(coin(), "bernoulli", link="cloglog"))
    assert "bernoulli" in text
    assert "cloglog" in text
    assert "on the complementary log-log scale of y" in text


EQUATIONS = {
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
    y = {"bernoulli": coin(), "beta": np.random.default_rng(1).beta(2, 3, N)}.get(family, np.minimum(counts(), 7) + 1)
    formula = "cbind(y, n - y) ~ x + (1 | g)" if family == "binomial" else "y ~ x + (1 | g)"
    latex = make(y, family, formula).equation()
    for piece in EQUATIONS[family]:
        assert piece in latex
    assert latex.count("{") == latex.count("}")


def test_the_equation_of_a_weighted_count():
    model = make(counts(), "poisson", weights="n")
    assert r"\mathrm{Poisson}(\mu_{i})\quad \text{(row } i \text{ counted } w_{i} \text{ times)}" in model.equation()


def test_counts_beyond_all_data_are_named():
    model = make(changed(counts(), 5, 1e15), "poisson")
    assert [text for text in said(model, "warning") if "ever counted" in text] == [
        "'y' is 1e+15 in row 5, more than is ever counted; is it a count?"
    ]
    assert not [text for text in said(make(changed(counts(), 5, 1e9), "poisson")) if "ever counted" in text]
