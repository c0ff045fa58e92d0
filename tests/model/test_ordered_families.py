"""Sequential and adjacent categories, scales, effects of thresholds: ordinal, direct maxima, grids; bad input."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError
from bayesmm.estimation.glmm import Warm, criterion_of, make_problem

HERE = Path(__file__).parents[1]
REFERENCES = json.loads((HERE / "reference" / "row_parameters.json").read_text())
CRITERION, IN_SE = 1e-4, 1e-3  # of -2 log likelihood, and of estimates in standard errors: the issue's


def wine():
    return pd.read_csv(HERE / "data" / "wine.csv")


# ----------------------------------------------------------------------------------------------------------------------
# beside R's ordinal


def test_the_scale_is_that_of_clm():
    """clm's scale is exp(z' zeta), and disc its inverse."""
    own = REFERENCES["k09_wine_clm_scale_probit"]
    point = bmm.Model(("rating ~ temp + contact", "disc ~ temp"), wine(), "cumulative", link="probit").maximize()
    assert point.criterion == pytest.approx(own["criterion"], abs=CRITERION) and point.npar == own["npar"]
    values, ses = list(own["coefficients"].values()), np.array(list(own["coef_se"].values()))
    found = [*point.residual["threshold"], *point.beta, -point.residual["log_disc"][0]]
    np.testing.assert_allclose(np.array(found) / ses, np.array(values) / ses, atol=IN_SE)
    np.testing.assert_allclose(point.fixef()["se"], ses[4:6], rtol=2e-3)
    assert point.own_se["log_disc[temp[T.warm]]"] == pytest.approx(ses[6], rel=2e-3)
    assert point.own_se["threshold[3|4]"] == pytest.approx(ses[2], rel=2e-3)
    assert_fitted(point, own)


def test_effects_of_each_threshold_are_those_of_clm():
    """clm adds nominal effects to the thresholds; ours have the sign of the other coefficients."""
    own = REFERENCES["k09_wine_clm_nominal"]
    point = bmm.Model("rating ~ temp + cs(contact)", wine(), "cumulative").maximize()
    assert point.criterion == pytest.approx(own["criterion"], abs=CRITERION) and point.npar == own["npar"]
    values, ses = list(own["coefficients"].values()), np.array(list(own["coef_se"].values()))
    found = [*point.residual["threshold"], *-point.residual["cs"], *point.beta]
    np.testing.assert_allclose(np.array(found) / ses, np.array(values) / ses, atol=IN_SE)
    assert point.own_se["cs[contact[T.yes], 2|3]"] == pytest.approx(ses[5], rel=2e-3)
    assert_fitted(point, own)


def assert_fitted(point, own):
    fitted = [row[k - 1] for row, k in zip(point.predict().to_numpy(), wine()["rating"], strict=True)]
    np.testing.assert_allclose(fitted[:5], own["fitted_prob_rows1to5"], atol=1e-4)


# ----------------------------------------------------------------------------------------------------------------------
# beside likelihoods that are written out here


def sequential(tau, eta):
    """Return the probabilities of a stopping ratio model, (n, K), for tau (n, K - 1)."""
    stops = special.expit(tau - eta[:, None])
    reached = np.cumprod(np.hstack([np.ones((len(eta), 1)), 1 - stops]), axis=1)
    return reached * np.hstack([stops, np.ones((len(eta), 1))])


def adjacent(tau, eta):
    """Return those of an adjacent-category model."""
    sums = np.hstack([np.zeros((len(eta), 1)), np.cumsum(eta[:, None] - tau, axis=1)])
    return special.softmax(sums, axis=1)


def cumulative(tau, eta):
    """Return those of a cumulative one."""
    ends = np.zeros((len(eta), 1)), np.ones((len(eta), 1))
    return np.diff(np.hstack([ends[0], special.expit(tau - eta[:, None]), ends[1]]), axis=1)


def log_likelihood(of, tau, eta, k):
    p = of(np.broadcast_to(tau, (len(eta), np.shape(tau)[-1])), eta)
    return np.log(np.maximum(p[np.arange(len(eta)), k - 1], 1e-300)).sum()


def columns():
    data = wine()
    warm, yes = (data["temp"] == "warm").to_numpy(float), (data["contact"] == "yes").to_numpy(float)
    return data["rating"].to_numpy(), warm, yes


@pytest.mark.parametrize(("family", "of"), [("sratio", sequential), ("acat", adjacent)])
@pytest.mark.parametrize("specific", [False, True])
def test_maximum_is_that_of_a_likelihood_that_is_written_out(family, of, specific):
    k, warm, yes = columns()

    def deviance(x):
        tau = x[:4] - yes[:, None] * x[5:] if specific else x[:4]
        return -2 * log_likelihood(of, tau, x[4] * warm + (0 if specific else x[5] * yes), k)

    start = np.concatenate([[-1.0, 0.5, 1.5, 2.0, 1.0], np.zeros(4 if specific else 1)])
    best = optimize.minimize(deviance, start, method="BFGS", options={"gtol": 1e-6})
    formula = "rating ~ temp + cs(contact)" if specific else "rating ~ temp + contact"
    point = bmm.Model(formula, wine(), family).maximize()
    assert point.converged and point.npar == len(start)
    assert point.criterion == pytest.approx(best.fun, abs=1e-6)
    found = [*point.residual["threshold"], *point.beta, *point.residual.get("cs", ())]
    np.testing.assert_allclose(found, best.x, atol=2e-4)
    ses = [point.own_se[f"threshold[{j}|{j + 1}]"] for j in range(1, 5)]
    h, eye = 1e-3, np.eye(len(start))
    H = [[(deviance(best.x + h * (a + b)) - deviance(best.x + h * (a - b)) - deviance(best.x - h * (a - b))
           + deviance(best.x - h * (a + b))) / (4 * h * h) for a in eye] for b in eye]  # fmt: skip
    np.testing.assert_allclose(ses, np.sqrt(2 * np.diag(np.linalg.inv(H)))[:4], rtol=2e-3)


@pytest.mark.parametrize(("link", "nagq"), [("logit", 1), ("probit", 1), ("logit", 9)])
def test_a_sequential_model_is_a_binary_one_of_its_steps(link, nagq):
    """Each row is as many rows of 0 and 1 as it has steps: exact, so that any integral is the same."""
    rows = [
        {"stop": int(row.rating == k), "step": f"s{k}", "temp": row.temp, "contact": row.contact, "judge": row.judge}
        for row in wine().itertuples()
        for k in range(1, min(row.rating, 4) + 1)
    ]
    binary = bmm.Model("stop ~ 0 + step + temp + contact + (1 | judge)", pd.DataFrame(rows), "bernoulli", link=link)
    ours = bmm.Model("rating ~ temp + contact + (1 | judge)", wine(), "sratio", link=link)
    one, other = (model.maximize(nagq=nagq) for model in (ours, binary))
    assert one.criterion == pytest.approx(other.criterion, abs=1e-8)
    np.testing.assert_allclose([*one.residual["threshold"], *-one.beta], other.beta, atol=1e-4)
    assert one.covariances[0][0, 0] == pytest.approx(other.covariances[0][0, 0], rel=1e-4)


def test_random_effects_of_an_adjacent_model_by_a_dense_grid():
    """At the estimates by 15 nodes: the likelihood over a grid of each judge's effect, and no step that raises it."""
    (k, warm, yes), judge = columns(), pd.factorize(wine()["judge"])[0]
    point = bmm.Model("rating ~ temp + contact + (1 | judge)", wine(), "acat").maximize(nagq=15)
    u = np.linspace(-8, 8, 401)

    def total(x):
        out = 0.0
        for g in range(9):
            rows = judge == g
            eta = x[4] * warm[rows] + x[5] * yes[rows]
            f = [log_likelihood(adjacent, x[:4], eta + x[6] * at, k[rows]) for at in u]
            out += special.logsumexp(np.array(f) + stats.norm.logpdf(u)) + np.log(u[1] - u[0])
        return out

    x = np.array([*point.residual["threshold"], *point.beta, np.sqrt(point.covariances[0][0, 0])])
    assert total(x) == pytest.approx(point.loglik, abs=1e-5)
    steps = [(total(x + 0.01 * e) - total(x - 0.01 * e)) / 0.02 for e in np.eye(7)]
    np.testing.assert_allclose(steps, 0, atol=2e-3)


def test_equidistant_thresholds():
    """They are on a line: the maximum is that of a first threshold and a distance; of three categories nothing else."""
    k, warm, _ = columns()

    def deviance(x):
        return -2 * log_likelihood(cumulative, x[0] + np.exp(x[1]) * np.arange(4), x[2] * warm, k)

    best = optimize.minimize(deviance, [-1.0, 0.3, 1.0], method="BFGS", options={"gtol": 1e-6})
    point = bmm.Model("rating ~ temp", wine(), "cumulative(equidistant)").maximize()
    assert point.criterion == pytest.approx(best.fun, abs=1e-6) and point.npar == 3
    first, second = point.residual["threshold"]
    assert [first, np.log(second - first), point.beta[0]] == pytest.approx(list(best.x), abs=2e-4)
    three = wine().assign(rating=np.clip(wine()["rating"], 2, 4) - 1)
    one, other = (bmm.Model("rating ~ temp", three, f).maximize() for f in ("cumulative(equidistant)", "cumulative"))
    assert one.criterion == pytest.approx(other.criterion, abs=1e-9)
    assert bmm.Model("rating ~ temp", wine(), "acat(equidistant)").maximize().npar == 3
    table = bmm.lrt(point, bmm.Model("rating ~ temp", wine(), "cumulative").maximize()).table
    assert table["Df"].iloc[1] == 2 and 0 < table["Pr(>Chisq)"].iloc[1] < 1


@pytest.mark.parametrize("last", [5, 6])
def test_symmetric_thresholds(last):
    """clm's parameters: the middle, one threshold or two, and distances from it that are the same on both sides."""
    k, warm, _ = columns()
    rng = np.random.default_rng(3)
    if last == 6:  # five thresholds, the middle of which is one
        k = k + (rng.uniform(size=len(k)) < 0.4)

    def thresholds(x):
        if last == 5:
            low, high = x[0], x[0] + np.exp(x[1])
            return np.array([low - np.exp(x[2]), low, high, high + np.exp(x[2])])
        near, far = np.exp(x[1]), np.exp(x[1]) + np.exp(x[2])
        return x[0] + np.array([-far, -near, 0.0, near, far])

    def deviance(x):
        return -2 * log_likelihood(cumulative, thresholds(x), x[3] * warm, k)

    best = optimize.minimize(deviance, [0.0, 0.3, 0.3, 1.0], method="BFGS", options={"gtol": 1e-6})
    data = wine().assign(rating=k)
    point, free, even = (
        bmm.Model("rating ~ temp", data, f).maximize()
        for f in ("cumulative(symmetric)", "cumulative", "cumulative(equidistant)")
    )
    assert point.criterion == pytest.approx(best.fun, abs=1e-6) and point.npar == 4
    np.testing.assert_allclose(
        [*point.residual["threshold"], *point.beta], [*thresholds(best.x)[:3], best.x[3]], atol=2e-4
    )
    tau = np.array([float(own) for own in point.own])
    np.testing.assert_allclose(tau + tau[::-1], tau[0] + tau[-1], atol=1e-9)
    assert np.all(np.diff(tau) > 0)
    assert bmm.lrt(point, free).table["Df"].iloc[1] == last - 4
    assert bmm.lrt(even, point).table["Df"].iloc[1] == 1


def test_proportional_odds_are_tested_by_effects_of_thresholds():
    """R's anova(clm(rating ~ temp + contact), clm(rating ~ temp, nominal = ~ contact)): 173.0 - 172.4 on 3 df."""
    small = bmm.Model("rating ~ temp + contact", wine(), "cumulative").maximize()
    large = bmm.Model("rating ~ temp + cs(contact)", wine(), "cumulative").maximize()
    table = bmm.lrt(small, large).table
    chisq = small.criterion - REFERENCES["k09_wine_clm_nominal"]["criterion"]
    assert table["Df"].iloc[1] == 3
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(stats.chi2.sf(chisq, 3), abs=1e-4)


# ----------------------------------------------------------------------------------------------------------------------
# posteriors


@pytest.mark.parametrize(("family", "of"), [("sratio", sequential), ("acat", adjacent)])
def test_posterior_of_either_family_is_that_of_a_grid(family, of):
    """Two thresholds that need not ascend on a grid of 0.02: means and sds within 4.5 Monte Carlo errors."""
    rng, t = np.random.default_rng(2), np.arange(-5, 5, 0.02)
    k = rng.choice([1, 2, 3], 40, p=[0.3, 0.2, 0.5])
    model = bmm.Model("k ~ 1", pd.DataFrame({"k": k}), family)
    sigma, counts = model.priors["threshold[1|2]"].parameters["sigma"], np.bincount(k)[1:]
    pairs = np.array(np.meshgrid(t, t, indexing="ij")).reshape(2, -1).T
    log_p = np.log(of(pairs, np.zeros(len(pairs)))) @ counts + stats.t.logpdf(pairs, 3, 0, sigma).sum(axis=1)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    found = model.sample(seed=1, progress=False).summary()
    for j, label in enumerate(("threshold[1|2]", "threshold[2|3]")):
        mean = p @ pairs[:, j]
        sd = np.sqrt(p @ pairs[:, j] ** 2 - mean**2)
        ess = found.loc[label, "ess_bulk"]
        assert found.loc[label, "mean"] == pytest.approx(mean, abs=4.5 * sd / np.sqrt(ess))
        assert found.loc[label, "sd"] == pytest.approx(sd, rel=4.5 / np.sqrt(2 * ess))


CASES = {
    "acat": ("rating ~ temp + cs(contact) + (1 | judge)", "acat"),
    "disc": (("rating ~ temp + contact + (1 | judge)", "disc ~ temp"), "cumulative"),
    "equidistant": ("rating ~ temp + contact + (1 | judge)", "cumulative(equidistant)"),
    "symmetric": ("rating ~ temp + contact + (1 | judge)", "cumulative(symmetric)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_all_that_is_done_with_a_posterior_of_these(name, tmp_path):
    formula, family = CASES[name]
    model = bmm.Model(formula, wine(), family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.sample(draws=200, tune=300, chains=2, seed=3, progress=False)
        p = fit.predict()
        assert p.draws.shape == (2, 200, 72, 5)
        np.testing.assert_allclose(p.draws.sum(axis=-1), 1, atol=1e-12)
        new = wine().iloc[:3].assign(judge=99)
        assert fit.predict(new, new_levels="sample", seed=1).draws.shape == (2, 200, 3, 5)
        y = fit.predict(kind="response", seed=1).draws
        assert set(np.unique(y)) <= {1, 2, 3, 4, 5}
        assert np.isfinite(fit.loo().elpd)
        assert "threshold[1|2]" in fit.compare().table["parameter"].to_list()
        fit.save(tmp_path / "fit.nc")
        again = bmm.load(tmp_path / "fit.nc")
        pd.testing.assert_frame_equal(again.summary(), fit.summary())
        np.testing.assert_allclose(again.predict().draws, p.draws)
        assert model.simulate(fit, draws=2, seed=1).shape == (72, 2)
        assert "\\tau_{" in model.equation()
        assert str(fit) and bmm.emmeans(fit, "temp", kind="mean") is not None


def test_draws_of_a_scaled_model_are_those_of_its_probabilities():
    """Simulated shares of each category beside the predicted probabilities, within five standard errors."""
    point = bmm.Model(("rating ~ temp", "disc ~ temp"), wine(), "cumulative").maximize()
    drawn = point.simulate(draws=2000, seed=1).to_numpy()
    p, rows = point.predict().to_numpy(), (wine()["temp"] == "warm").to_numpy()
    for part in (rows, ~rows):
        shares = [(drawn[part] == k).mean() for k in range(1, 6)]
        np.testing.assert_allclose(shares, p[part].mean(axis=0), atol=5 * 0.5 / np.sqrt(2000 * part.sum()))


# ----------------------------------------------------------------------------------------------------------------------
# what there is not


@pytest.mark.parametrize(
    ("formula", "family", "said"),
    [
        ("rating ~ cs(contact)", "poisson", "has no thresholds; write its columns without cs"),
        ("rating ~ cs(contact)", "gaussian", "has no thresholds; write its columns without cs"),
        ("rating ~ contact + cs(contact)", "acat", "leave it out in one of the two"),
        ("rating ~ cs(0 + contact)", "acat", "leave '0 \\+' out"),
        ("rating ~ cs(1)", "acat", "names no column"),
        ("rating ~ cs(contact + yes)", "acat", "depend on others"),
        ("rating ~ cs(year)", "cumulative", "goes from 2015 to 2019"),
        (
            ("rating ~ temp", "disc ~ temp"),
            "categorical",
            "besides the thresholds.*disc is a parameter of cumulative, sratio, acat",
        ),
        (("rating ~ temp", "disc ~ 0 + temp"), "cumulative", "disc"),
        ("rating ~ temp", "acat(symmetrical)", "did you mean 'symmetric'"),
        ("rating ~ temp", "cumulative(symmetric2)", "mirror each other about 0"),
        ("rating ~ temp", "categorical(symmetric)", "have no order"),
        ("rating ~ temp", "poisson(equidistant)", "has no thresholds"),
    ],
)
def test_what_cannot_be(formula, family, said):
    data = wine().assign(yes=lambda d: (d["contact"] == "yes").astype(int), year=2015 + np.arange(72) % 5)
    with pytest.raises((DataError, FormulaError), match=said):
        bmm.Model(formula, data, family)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("rating ~ cs()", "names no terms"),
        ("rating ~ cs(temp) + cs(contact)", "a formula has one cs"),
        ("rating ~ temp * cs(contact)", "not multiplied"),
        ("rating ~ cs(temp + (1 | judge))", "fixed effects only"),
        ("rating ~ cs(cs(temp))", "another cs"),
        ("rating ~ temp - cs(contact)", "cs\\(\\) is not taken away"),
        (("rating ~ temp", "disc ~ cs(contact)"), "effects only"),
        ("rating ~ cs(s(x))", "not possible in cs"),
    ],
)
def test_where_effects_of_thresholds_do_not_stand(formula, said):
    with pytest.raises(FormulaError, match=said):
        bmm.Model(formula, wine().assign(x=1.0), "acat")


def test_one_word_means_two_things_by_its_place():
    """cs(terms) has effects of thresholds, cs(terms | g) compound symmetry."""
    data = wine().assign(judge=wine()["judge"].astype(str))
    design = bmm.Model("rating ~ cs(contact) + cs(1 + temp | judge)", data, "acat").design
    assert design.residual.parameters[1].terms[0] == "contact[T.yes], 1|2"
    assert design.blocks[0].parts[0].covariance.name == "cs"


def test_effects_of_thresholds_that_cross_are_refused_by_the_search():
    """Without a common effect a threshold may pass another one in no row of the data."""
    data = pd.DataFrame({"k": [1, 2, 3] * 20, "x": np.linspace(-1, 1, 60)})
    data.loc[data["x"].abs() < 0.5, "k"] = 2
    point = bmm.Model("k ~ cs(x)", data, "cumulative").maximize()
    low, high = point.residual["threshold"]
    slopes = point.residual["cs"]
    for x in (-1.0, 1.0):
        assert low - slopes[0] * x < high - slopes[1] * x


def test_a_column_that_is_not_there_is_underlined_in_the_formula():
    with pytest.raises(FormulaError, match="column 'contcat' is not in the data") as caught:
        bmm.Model("rating ~ temp + cs(contcat)", wine(), "acat")
    line, below = str(caught.value).split("\n")[1:3]
    assert line[below.index("^") : below.rindex("^") + 1] == "contcat"


def test_random_effects_of_the_discrimination_by_a_dense_grid():
    """Laplace's approximation beside the integral over each judge's log disc, which scatters little: close to it."""
    data = wine()
    model = bmm.Model(("rating ~ temp", "disc ~ 1 + (1 | judge)"), data, "cumulative")
    problem = make_problem(model.design)
    criterion = criterion_of(problem, 1, Warm(np.zeros(9)))
    x = np.concatenate([np.zeros(1), [0.1], problem.moved(problem.aux)])
    value, slope = criterion(x)
    found = [(criterion(x + 1e-5 * e)[0] - criterion(x - 1e-5 * e)[0]) / 2e-5 for e in np.eye(len(x))]
    np.testing.assert_allclose(slope, found, atol=1e-5)
    (k, _, _), judge, u = columns(), pd.factorize(data["judge"])[0], np.linspace(-7, 7, 301)
    eta, tau = problem.offset, problem.own.natural(x[problem.parts[2]])
    sd, total = problem.bases[0][0, 0] * problem.factors(x[problem.parts[1]])[0][0, 0], 0.0
    for g in range(9):
        rows = judge == g
        f = [log_likelihood(cumulative, d * tau, d * eta[rows], k[rows]) for d in np.exp(sd * u)]
        total += special.logsumexp(np.array(f) + stats.norm.logpdf(u)) + np.log(u[1] - u[0])
    assert 0.1 < sd < 0.3 and -value / 2 == pytest.approx(total, abs=0.01)
