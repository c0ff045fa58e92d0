"""What the further families say of tiny data, of equal responses, and of impossible ones: nothing silent."""

import numpy as np
import pytensor.tensor as pt
import pytest
from family_data import N, make, refusal, said
from other_densities import LOG_DENSITIES, SMOOTH, example

import bayesmm as bmm
from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.links import LINKS
from bayesmm.posterior.means import mean_of

COUNTS = [name for name in LOG_DENSITIES if FAMILIES[name].support.counts]
POSITIVE = [name for name in LOG_DENSITIES if FAMILIES[name].support.positive]
TRIALS = [name for name in LOG_DENSITIES if FAMILIES[name].support.trials]
SHARES = [name for name in LOG_DENSITIES if FAMILIES[name].support.proportion]
REAL = [name for name in LOG_DENSITIES if name not in (*COUNTS, *POSITIVE, *TRIALS, *SHARES)]
WITH_ZEROS = [name for name in COUNTS if FAMILIES[name].support.zero]


def fitted(name, y, **more):
    return make(y, name, **({"trials": "n"} if name in TRIALS else {}), **more)


def with_one(value, length=N):
    y = np.arange(length) % 7 + 1.0
    y[5] = value
    return y


@pytest.mark.parametrize("name", SMOOTH)
def test_six_rows(name):
    """Either a maximum with finite numbers, or a sentence that says what has none."""
    y = example(FAMILIES[name], np.random.default_rng(5), 6, 8)
    data = {"y": y, "x": np.linspace(-1, 1, 6), "g": list("aabbcc"), "n": np.full(6, 8)}
    formula = "y | trials(n) ~ x + (1 | g)" if name in TRIALS else "y ~ x + (1 | g)"
    point = bmm.Model(formula, data, name).maximize()
    assert np.isfinite(point.loglik) and np.isfinite(point.beta).all()
    assert point.converged or point.message.startswith("NOT converged: ")
    assert np.isfinite(mean_of(point.design.family, point.linear, point.own)).all()


@pytest.mark.parametrize("name", [*POSITIVE, *REAL])
def test_a_constant_response_is_refused(name):
    assert "is constant (2); a model needs one that varies" in refusal(np.full(N, 2.0), name)


@pytest.mark.parametrize("name", [*COUNTS, *TRIALS])
def test_equal_counts_have_no_maximum_and_say_so(name):
    """2 in every row: no more variance than Poisson or binomial counts have, and no zeros."""
    point = fitted(name, np.full(N, 2.0)).maximize()
    if name == "truncated_poisson":  # mu / (1 - exp(-mu)) is 2
        assert point.converged
        assert mean_of(point.design.family, point.linear, ())[0] == pytest.approx(2.0, rel=1e-6)
    else:
        assert not point.converged
        if name != "compois":  # one count and no other, which no family is
            assert "where the family is the" in point.message


@pytest.mark.parametrize("name", WITH_ZEROS)
def test_zeros_in_every_row(name):
    model = fitted(name, np.zeros(N))
    assert "is 0 in every row" in said(model, "warning")[0]
    assert not model.maximize().converged


@pytest.mark.parametrize("name", [name for name in COUNTS if name not in WITH_ZEROS])
def test_no_zeros_where_none_can_be(name):
    other = name.replace("truncated", "hurdle")
    assert f"is 0 in row [5]; the family has counts above 0 only; did you mean '{other}'?" in refusal(with_one(0), name)
    point = fitted(name, np.ones(N)).maximize()  # the less mu, the likelier
    assert not point.converged
    assert "grow without bound" in point.message


@pytest.mark.parametrize("name", [name for name in COUNTS if name.startswith(("zero", "hurdle"))])
def test_no_zeros_where_some_are_expected(name):
    (text,) = said(fitted(name, np.arange(N) % 5 + 1), "warning")
    assert "is 0 in no row" in text
    assert f"did you mean the family 'truncated_{name.split('_')[-1]}'?" in text


@pytest.mark.parametrize("name", COUNTS)
def test_what_is_no_count(name):
    assert "is negative in row [5]" in refusal(with_one(-1), name)
    assert "is no whole number in row [5]" in refusal(with_one(2.5), name)
    assert "infinite in row [5]" in refusal(with_one(np.inf), name)


@pytest.mark.parametrize("name", POSITIVE)
def test_what_is_not_above_zero(name):
    for value in (0.0, -3.0):
        assert "is 0 or less in row [5]; the family needs values above 0" in refusal(with_one(value), name)


@pytest.mark.parametrize("name", ["hurdle_gamma", "hurdle_lognormal"])
def test_amounts_beside_zeros(name):
    assert "is negative in row [5]; the family needs values of 0 or more" in refusal(with_one(-1), name)
    assert "is 2 in every row where it is above 0" in refusal(np.arange(N) % 2 * 2.0, name)
    (text,) = said(fitted(name, np.arange(N) % 7 + 1.0), "warning")
    assert "is 0 in no row" in text and f"did you mean the family '{name.removeprefix('hurdle_')}'?" in text
    model = fitted(name, np.zeros(N))
    assert "is 0 in every row" in said(model, "warning")[0]
    assert not model.maximize().converged


def shares_with(value):
    y = np.linspace(0.1, 0.9, N)
    y[5], y[7] = value, 0.0
    return y


@pytest.mark.parametrize("name", SHARES)
def test_shares_that_there_cannot_be(name):
    for value in (-0.1, 1.2):
        assert "is outside 0 to 1 in row [5]" in refusal(shares_with(value), name)
    assert "infinite in row [5]" in refusal(shares_with(np.inf), name)
    assert "is constant (0.5)" in refusal(np.full(N, 0.5), name)
    mixed = np.where(np.arange(N) % 2 == 0, 0.0, 0.5)
    assert "is 0.5 in every row where it is" in refusal(mixed, name)


def test_shares_of_1_need_a_family_that_has_them():
    text = refusal(shares_with(1.0), "zero_inflated_beta")
    assert "is 1 in row [5]" in text and "did you mean 'zero_one_inflated_beta' or 'ordered_beta'?" in text
    (text,) = said(make(np.linspace(0.1, 0.9, N), "zero_inflated_beta"), "warning")
    assert "is 0 in no row" in text and "did you mean the family 'beta'?" in text


@pytest.mark.parametrize("name", ["ordered_beta", "zero_one_inflated_beta"])
def test_shares_of_which_an_end_is_never_seen(name):
    assert not said(make(shares_with(1.0), name), "warning")
    (text,) = said(make(np.linspace(0.1, 0.9, N), name), "warning")
    assert "is 0 or 1 in no row" in text and "did you mean the family 'beta'?" in text
    (text,) = said(make(shares_with(0.5), name), "warning")
    assert "is 1 in no row" in text and "did you mean the family 'zero_inflated_beta'?" in text
    assert "did you mean 'bernoulli'?" in refusal(np.arange(N) % 2.0, name)


def test_angles_in_degrees():
    text = refusal(np.arange(N) * 15.0, "von_mises")
    assert "is no angle from -pi to pi" in text and "degrees are np.deg2rad(angle)" in text
    assert "is the same angle" in refusal(np.linspace(0, 6, N), "von_mises")


def test_a_shift_stays_below_the_smallest_response():
    y = np.random.default_rng(1).lognormal(size=N) + 0.5
    point = make(y, "shifted_lognormal").maximize()
    assert point.auxiliaries["ndt"] < y.min()
    model = make(y, "shifted_lognormal")
    assert model.priors["ndt"].parameters == {"lower": 0.0, "upper": y.min()}


@pytest.mark.parametrize("name", TRIALS)
def test_successes_that_there_cannot_be(name):
    assert "has more successes than trials in row [5]" in refusal(with_one(9), name, trials="n")
    assert "has a negative number of successes in row [5]" in refusal(with_one(-1), name, trials="n")
    assert "trials" in refusal(with_one(2), name)
    for y, how in ((np.zeros(N), "no success"), (np.full(N, 8), "no failure")):
        model = fitted(name, y)
        assert how in said(model, "warning")[0]
        assert not model.maximize().converged


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("zip", "zero_inflated_poisson"),
        ("zinb", "zero_inflated_negbinomial"),
        ("beta_binomial", "betabinomial"),
        ("truncated_nbinom2", "truncated_negbinomial"),
        ("wald", "inverse_gaussian"),
        ("ordbeta", "ordered_beta"),
        ("zoib", "zero_one_inflated_beta"),
        ("ziGamma", "hurdle_gamma"),
        ("com_poisson", "compois"),
        ("llogis", "loglogistic"),
        ("circular", "von_mises"),
        ("Weibull", "weibull"),
        ("skewnormal", "skew_normal"),
    ],
)
def test_names_that_others_have(name, meant):
    assert f"family '{name}' is not known; did you mean '{meant}'?" in refusal(with_one(2), name)


def test_starts_within_the_bounds_of_a_parameter():
    model = make(np.arange(N) % 4, "zero_inflated_poisson")
    with pytest.raises(ValueError, match=r"start\['zi'\] must be a number between 0 and 1, not 2"):
        model.maximize(start={"zi": 2})
    one, other = model.maximize(), model.maximize(start={"zi": 0.6})
    assert one.criterion == pytest.approx(other.criterion, abs=1e-7)


def test_values_within_the_bounds_of_a_parameter():
    given = {"Intercept": 0.3, "beta[x]": 0.4, "sd_g[Intercept]": 0.0}
    model = make(np.arange(N) % 4, "zero_inflated_poisson")
    for value in (-0.1, 0.0, 1.0, 2.0):
        with pytest.raises(ValueError, match=r"parameters\['zi'\] should be between 0 and 1, not"):
            model.simulate({**given, "zi": value}, 1, seed=1)
    skewed = make(np.linspace(0, 1, N) ** 2, "skew_normal")
    left = skewed.simulate({**given, "sigma": 1.0, "alpha": -5.0}, 4000, seed=1).to_numpy()
    third = ((left - left.mean(axis=1, keepdims=True)) ** 3).mean()
    # skewness (4 - pi) / 2 (b delta)^3 / (1 - (b delta)^2)^1.5 of delta = -5 / sqrt(26): -0.851; 96,000 draws
    assert third == pytest.approx(-0.851, abs=0.05)


@pytest.mark.parametrize("name", ["zero_inflated_poisson", "skew_normal"])
def test_profiles_and_modes_of_parameters_with_bounds(name):
    rng = np.random.default_rng(8)
    y = FAMILIES[name].draw(rng, np.full(60, 2.0), None, (0.3,) if name.startswith("zero") else (1.0, 4.0))
    own = FAMILIES[name].auxiliaries[-1]
    model = bmm.Model("y ~ 1", {"y": y}, name)
    point, mode = model.maximize(), model.maximize(method="MAP")
    interval = point.confint(method="profile").loc[own]
    assert interval["lower"] < point.auxiliaries[own] < interval["upper"]
    assert mode.converged and interval["lower"] < mode.auxiliaries[own] < interval["upper"]


@pytest.mark.parametrize("name", ["truncated_poisson", "truncated_negbinomial", "hurdle_poisson", "hurdle_negbinomial"])
def test_a_count_above_zero_has_no_density_where_the_mean_is_0(name):
    family, aux = get_family(name), (np.array(0.3), np.array(0.4))[: len(get_family(name).parameters)]
    padded = np.array([*map(float, aux), 0.0, 0.0])[:2]
    assert family.kernels.density(LINKS["log"].code, 2.0, 1.0, -800.0, padded)[0] == -np.inf
    inside, value = family.graph_density("log", pt.constant(2.0), pt.constant(-800.0), None, aux)
    assert not inside.eval() and np.isfinite(value.eval())
