"""What each family asks of a response: trials, groups of one row, exposure, separation, overflow."""

import re

import numpy as np
import pandas as pd
import pytest
from family_data import N, changed, coin, counts, make, refusal, said, table

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError
from bayesmm.families.families import FAMILIES
from bayesmm.formula.formula import parse
from bayesmm.storage.stored_model import described, model_arguments

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
        if not (what == "text" and family == "categorical"):
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


def test_counts_beyond_all_data_are_named():
    model = make(changed(counts(), 5, 1e15), "poisson")
    assert [text for text in said(model, "warning") if "ever counted" in text] == [
        "'y' is 1e+15 in row 5, more than is ever counted; is it a count?"
    ]
    assert not [text for text in said(make(changed(counts(), 5, 1e9), "poisson")) if "ever counted" in text]
