"""Predictions of a posterior: equal to what is computed by hand from the draws; what is refused."""

import json
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from invented import CHAINS, DRAWS, draws, invented
from references import frame
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.posterior.draws import factor_draws
from bayesmm.posterior.effects import level_stream
from bayesmm.results import Fit


def nested_frame():
    rng = np.random.default_rng(4)
    n = 96
    data = pd.DataFrame({"g": np.repeat([f"g{i}" for i in range(6)], 16), "p": np.tile(np.repeat(["a", "b"], 8), 6)})
    data["x"], data["f"] = rng.normal(size=n), np.tile(["u", "v", "w", "u"], 24)
    data["w"], data["off"] = rng.uniform(0.5, 2, n), rng.normal(size=n)
    data["y"] = 5 + data["x"] + data["off"] + data["g"].map(lambda g: int(g[1])) + rng.normal(size=n)
    return data.set_index(pd.Index([f"row {i}" for i in range(n)]))


NESTED = "y ~ f + scale(x) + offset(off) + (scale(x) | g) + (1 | g:p)"


@pytest.fixture(scope="module")
def fit(sleep):
    return invented(sleep)


@pytest.fixture(scope="module")
def nested():
    return invented(bmm.Model(NESTED, nested_frame(), weights="w"))


def flat(predictions):
    return predictions.draws.reshape(CHAINS * DRAWS, -1)


# a posterior, by hand -------------------------------------------------------------------------------------------------


def by_hand(fit, factors):
    """Return X beta + Z b + offset of the rows of the fit, row by row."""
    design, out = fit.design, np.empty((CHAINS * DRAWS, fit.design.n))
    beta = draws(fit, "beta")
    for i in range(design.n):
        out[:, i] = beta @ design.X[i] + design.offset[i]
        for block in design.blocks:
            if block.group in factors:
                out[:, i] += draws(fit, f"b_{block.name}")[:, block.index[i]] @ block.Z[i]
    return out


@pytest.mark.parametrize(
    ("groups", "factors"),
    [("conditional", ("g", "g:p")), ("population", ()), (["g"], ("g",)), (["g:p"], ("g:p",)), ([], ())],
)
def test_linear_predictors_are_those_of_the_draws(nested, groups, factors):
    expected, data = by_hand(nested, factors), nested_frame()
    for given in (None, data):
        made = nested.predict(given, kind="linear", groups=groups)
        np.testing.assert_allclose(flat(made), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(flat(nested.predict(given, groups=groups)), expected, rtol=1e-12, atol=1e-12)
    needed = {"f", "x", "off"} | ({"g"} if "g" in factors else set()) | ({"g", "p"} if "g:p" in factors else set())
    made = nested.predict(data[sorted(needed)], kind="linear", groups=groups)  # no other column is needed
    np.testing.assert_allclose(flat(made), expected, rtol=1e-12, atol=1e-12)


def test_the_result_is_a_tree_and_a_table_with_the_row_labels(nested):
    data = nested_frame().iloc[[5, 3, 90]]
    made = nested.predict(data, seed=7)
    variable = made.tree["predictions"]["mean"]
    assert variable.dims == ("chain", "draw", "obs") and variable.shape == (CHAINS, DRAWS, 3)
    assert json.loads(made.tree.attrs["bayesmm"]) == {
        "kind": "mean", "groups": "conditional", "new_levels": "error", "response": "y", "seed": 7,
        "columns": ["f", "x", "off", "g", "p"],
    }  # fmt: skip
    table, values = made.to_frame(), flat(made)
    assert list(table.index) == ["row 5", "row 3", "row 90"]
    np.testing.assert_allclose(table["mean"], values.mean(axis=0))
    np.testing.assert_allclose(table["sd"], values.std(axis=0, ddof=1))
    np.testing.assert_allclose(table[["lower", "upper"]], np.quantile(values, [0.025, 0.975], axis=0).T)
    np.testing.assert_allclose(made.to_frame(0.5)["lower"], np.quantile(values, 0.25, axis=0))
    with pytest.raises(ValueError, match="ci_prob must be a probability between 0 and 1"):
        made.to_frame(1)
    assert "Predictions (mean) of 3 rows from 80 draws" in str(made)
    assert list(nested.predict().to_frame().index) == list(nested_frame().index)


def test_many_rows_are_predicted_in_parts(nested, monkeypatch):
    whole = nested.predict(kind="response", seed=3, new_levels="sample")
    monkeypatch.setattr("bayesmm.posterior.predict.CHUNK", CHAINS * DRAWS * 7)
    parts = nested.predict(kind="linear")
    np.testing.assert_allclose(flat(parts), by_hand(nested, ("g", "g:p")), rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(sys.modules["bayesmm.posterior.predictions"], "CHUNK", CHAINS * DRAWS * 7)
    pd.testing.assert_frame_equal(parts.to_frame(), nested.predict(kind="linear").to_frame())
    assert whole.draws.shape == (CHAINS, DRAWS, 96)


def test_responses_add_the_residual_of_each_row(nested):
    mean, weights = by_hand(nested, ("g", "g:p")), nested.design.weights
    for data, w in ((None, weights), (nested_frame(), np.ones(96))):  # other data have the weight 1
        noise = (flat(nested.predict(data, kind="response", seed=1)) - mean) / draws(nested, "sigma")[:, None]
        scaled = noise * np.sqrt(w)
        assert abs(scaled.mean()) < 4.5 / np.sqrt(scaled.size)
        assert scaled.var() == pytest.approx(1, abs=4.5 * np.sqrt(2 / scaled.size))
        # and each row has its own: the squares are not related to the weights
        assert abs(np.corrcoef((scaled**2).mean(axis=0), w + 0.0)[0, 1]) < 0.5 if data is None else True


# new levels -----------------------------------------------------------------------------------------------------------


def test_new_levels_are_drawn_by_their_label(fit):
    data = pd.DataFrame({"Subject": ["new", "308", "other", "new"], "Days": [0.0, 1, 2, 3]})
    made = flat(fit.predict(data, kind="linear", new_levels="sample", seed=5))
    beta, L = draws(fit, "beta"), factor_draws(fit, fit.design.blocks[0])
    for i, label in ((0, "new"), (2, "other"), (3, "new")):
        z = level_stream(5, "Subject", label).standard_normal((CHAINS * DRAWS, 2))
        x = np.array([1.0, data["Days"][i]])
        expected = beta @ x + np.einsum("sij,sj->si", L, z) @ x
        np.testing.assert_allclose(made[:, i], expected, rtol=1e-12, atol=1e-12)
    shuffled = flat(fit.predict(data.iloc[[3, 2, 1, 0]], kind="linear", new_levels="sample", seed=5))
    np.testing.assert_array_equal(shuffled, made[:, [3, 2, 1, 0]])
    alone = flat(fit.predict(data.iloc[[2]], kind="linear", new_levels="sample", seed=5))
    np.testing.assert_array_equal(alone[:, 0], made[:, 2])
    assert not np.array_equal(flat(fit.predict(data, kind="linear", new_levels="sample", seed=6)), made)


def test_new_effects_have_the_covariance_of_each_draw(fit):
    block, many = fit.design.blocks[0], 400
    data = pd.DataFrame({"Subject": np.repeat([f"n{i}" for i in range(many)], 2), "Days": np.tile([0.0, 1.0], many)})
    made = flat(fit.predict(data, kind="linear", new_levels="sample", seed=5)).reshape(-1, many, 2)
    b = b_of(made, fit)
    L = factor_draws(fit, block)
    z = np.linalg.solve(L[:, None], b[..., None])[..., 0]
    n = z.shape[0] * many
    assert abs(z.mean(axis=(0, 1))).max() < 4.5 / np.sqrt(n)
    assert np.abs(np.einsum("smi,smj->ij", z, z) / n - np.eye(2)).max() < 4.5 * np.sqrt(2 / n)


def b_of(made, fit):
    """Return the (intercept, slope) effects of levels with one row at 0 and one at 1."""
    beta = draws(fit, "beta")
    intercept = made[:, :, 0] - beta[:, :1]
    return np.stack([intercept, made[:, :, 1] - beta.sum(axis=1)[:, None] - intercept], axis=2)


def test_new_levels_as_zero_are_the_population(fit):
    data = pd.DataFrame({"Subject": ["new", "308"], "Days": [2.0, 2.0]})
    zero, population = (fit.predict(data, new_levels="zero"), fit.predict(data, groups="population"))
    np.testing.assert_array_equal(flat(zero)[:, 0], flat(population)[:, 0])
    assert not np.array_equal(flat(zero)[:, 1], flat(population)[:, 1])


def test_nested_levels_are_new_on_their_own(nested):
    data = nested_frame().iloc[[0, 0]].assign(p=["a", "z"])  # a new g0:z in the old g0
    made = flat(nested.predict(data, kind="linear", new_levels="sample", seed=1))
    block = nested.design.blocks[1]
    z = level_stream(1, "g:p", "g0:z").standard_normal((CHAINS * DRAWS, 1))
    old = draws(nested, "b_g:p")[:, block.levels.index("g0:a"), 0]
    new = draws(nested, "sd_g:p")[:, 0] * z[:, 0]
    np.testing.assert_allclose(made[:, 1] - made[:, 0], new - old, atol=1e-9)  # the ridge of the factor is 1e-12


# links and families ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(list("abcdef"), 10), "x": rng.normal(size=60), "n": rng.integers(1, 9, 60)})
    return data.assign(y=rng.poisson(np.exp(0.3 * data["x"])), k=rng.binomial(data["n"], 0.4))


def test_means_are_on_the_scale_of_the_response(counts):
    made = invented(bmm.Model("y ~ x + (x | g)", counts, family="poisson"))
    linear = flat(made.predict(kind="linear"))
    np.testing.assert_allclose(linear, by_hand(made, ("g",)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(flat(made.predict()), np.exp(linear), rtol=1e-12)
    response = flat(made.predict(kind="response", seed=1))
    assert (response == np.floor(response)).all() and (response >= 0).all()
    excess = (response - np.exp(linear)) / np.exp(linear / 2)
    assert abs(excess.mean()) < 4.5 / np.sqrt(excess.size)


def test_binomial_responses_need_trials(counts):
    made = invented(bmm.Model("k ~ x + (1 | g)", counts, family="binomial", trials="n"))
    probability = flat(made.predict())
    assert ((probability > 0) & (probability < 1)).all()
    for arguments in ({}, {"data": counts, "trials": "n"}, {"data": counts, "trials": counts["n"].to_numpy()}):
        response = flat(made.predict(kind="response", seed=1, **arguments))
        assert (response <= counts["n"].to_numpy()).all()
        error = np.sqrt((probability * (1 - probability) * counts["n"].to_numpy()).mean() / response.size)
        assert abs((response - probability * counts["n"].to_numpy()).mean()) < 4.5 * error
    assert flat(made.predict(counts, kind="response", trials=0)).max() == 0
    named = invented(bmm.Model("k | trials(n) ~ x + (1 | g)", counts, family="binomial"))
    np.testing.assert_array_equal(
        flat(named.predict(counts, kind="response", seed=1)), flat(made.predict(kind="response", seed=1))
    )
    share = invented(bmm.Model("k / n ~ x + (1 | g)", counts, family="binomial"))  # the trials are a column here too
    assert np.array_equal(
        flat(share.predict(counts, kind="response", seed=1)),
        flat(share.predict(counts, kind="response", trials="n", seed=1)),
    )
    other_order = counts["n"].sample(frac=1, random_state=1)  # the trials of the same rows, by their labels
    assert np.array_equal(
        flat(made.predict(counts, kind="response", trials=other_order, seed=1)),
        flat(made.predict(counts, kind="response", trials="n", seed=1)),
    )
    with pytest.raises(ValueError, match="without data= the rows are those of the fit, with theirs"):
        made.predict(kind="response", trials=3)
    for trials, text in (
        (None, "responses of a binomial model on other data need trials=: a column's name, or the numbers"),
        ("m", "the trials column 'm' is not in the data (columns: g, x, n, y, k)"),
        ([1, 2], "2 trials for 60 rows; expected one number of trials for each row of the data"),
        (
            np.ma.masked_array(np.full(60, 5), mask=np.arange(60) == 3),  # a masked number of trials is missing
            "trials are whole numbers of 0 or more, and are missing or something else in row [3]",
        ),
        (
            pd.Series(5, index=range(1, 61)),
            "the index of the trials does not fit that of the data: it has no label [0], and the data have no label "
            "[60]; expected the same labels in any order, or values without an index (.to_numpy()) in the order of "
            "the rows",
        ),
    ):
        with pytest.raises(DataError) as caught:
            made.predict(counts, kind="response", trials=trials)
        assert str(caught.value) == text


def test_averages_over_groups_are_those_of_many_new_groups(counts):
    made = invented(bmm.Model("y ~ x + (x | g)", counts, family="poisson"))
    rows = counts[["x"]].iloc[:4]  # the grouping column is not needed
    averaged = flat(made.predict(rows, groups="averaged"))
    L, Z = factor_draws(made, made.design.blocks[0]), np.column_stack([np.ones(4), rows["x"]])
    variance = np.square(np.einsum("sij,mi->smj", L, Z)).sum(axis=2)
    linear = flat(made.predict(rows, kind="linear", groups="population"))
    np.testing.assert_allclose(averaged, np.exp(linear + variance / 2), rtol=1e-12)
    np.testing.assert_allclose(flat(made.predict(groups="averaged"))[:, :4], averaged, rtol=1e-12)


@pytest.mark.parametrize(("link", "tolerance"), [("logit", 1e-5), ("probit", 1e-5), ("cloglog", 2e-4)])
def test_averages_over_other_links_are_those_of_quadrature(counts, link, tolerance):
    from bayesmm.families.links import LINKS
    from bayesmm.posterior.means import averaged

    inverse = LINKS[link].inverse
    for spread in (0.0, 0.5, 2.0, 8.0):  # the tolerance is the rule's error at 8, see REACH
        z = np.linspace(-9, 9, 200_001)
        exact = np.trapezoid(inverse(0.7 + spread * z) * stats.norm.pdf(z), z)
        assert averaged(inverse, link, np.array([0.7]), np.array([spread]))[0] == pytest.approx(
            exact, abs=tolerance if spread > 2 else 1e-10
        )
    if link == "probit":  # closed form
        assert averaged(inverse, link, 0.7, 2.0) == pytest.approx(stats.norm.cdf(0.7 / np.sqrt(5)), abs=1e-12)


def test_an_average_over_an_identity_link_is_the_population(fit):
    np.testing.assert_array_equal(flat(fit.predict(groups="averaged")), flat(fit.predict(groups="population")))


def test_rows_without_an_estimate_are_refused():
    data = nested_frame().assign(x2=lambda d: 2 * d["x"])
    found = bmm.Model("y ~ x + x2 + (1 | g)", data).maximize()
    assert np.isfinite(found.predict(data, se=True)).all().all()
    with pytest.raises(DataError) as caught:
        found.predict(data.assign(x2=lambda d: d["x2"] + (np.arange(96) == 7)))
    assert str(caught.value) == (
        "REML and ML have no estimate of x2 apart from other coefficients, which row [7] would need"
    )


# bad inputs, section K ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["posterior", "maximised"])
def predict(request, nested):
    return nested.predict if request.param == "posterior" else nested.model.maximize().predict


POSSIBLE = {
    True: "new_levels='sample' draws the effects of a new level from a posterior, 'zero' takes them as 0",
    False: "groups='population' leaves out all random effects, and new_levels='zero' takes those of a new level as 0; "
    "to draw them, new_levels='sample', takes a posterior, sample()",
}


def test_bad_data_are_refused_in_a_sentence(nested, predict):
    data = nested_frame()
    unseen = (
        "1 level of 'g' (0) is not in the data of the fit, which have 'g0', 'g1', 'g2', 'g3', 'g4' and 1 more; "
        + POSSIBLE[predict == nested.predict]
    )
    cases = [
        (data.assign(g="zz"), unseen.replace("(0)", "('zz')")),  # K01
        (
            data.assign(f="q"),
            "factor 'f' has 1 level that the data of the fit do not have ('q'); allowed are 'u', 'v', 'w'",
        ),  # K02
        (data.drop(columns="x"), "column 'x', which the model needs, is not in the data (columns: "),  # K03
        (data.assign(x=np.where(np.arange(96) == 3, np.nan, 1)), "1 of 96 rows has missing values (x: 1): row [3]"),
        (data.assign(x="1.0"), "'x' "),  # K05
        (data.assign(g=0), unseen.replace("(0)", "('0')")),  # K06
    ]
    for given, text in cases:
        with pytest.raises(DataError) as caught:
            predict(given)
        assert str(caught.value).startswith(text), str(caught.value)
        assert "\n" not in str(caught.value)


def test_odd_data_are_fine(nested, predict):
    data = nested_frame()
    shape = lambda made: len(made) if isinstance(made, pd.DataFrame) else made.draws.shape[2]  # noqa: E731
    values = lambda made: (made if isinstance(made, pd.DataFrame) else made.to_frame()).iloc[:, 0].to_numpy()  # noqa: E731
    assert shape(predict(data.iloc[:0])) == 0  # K07
    assert values(predict(data.iloc[:0])).shape == (0,)
    expected = values(predict(data))
    for given in (
        data.drop(columns=["y", "w"]).assign(extra=1),  # K08
        data.to_dict("list"),  # K09
        pl.from_pandas(data),
        data.assign(
            f=pd.Categorical(data["f"], ["w", "v", "u"]), g=pd.Categorical(data["g"], sorted(set(data["g"]))[::-1])
        ),
    ):  # K10
        np.testing.assert_allclose(values(predict(given)), expected, rtol=1e-12)
    part = data.iloc[10:13]  # K11: scale(x) keeps the mean and sd of the fit
    np.testing.assert_allclose(values(predict(part)), expected[10:13], rtol=1e-12)


def test_too_many_draws_are_refused_with_an_estimate(fit, monkeypatch):  # K12
    monkeypatch.setattr("bayesmm.runtime.memory.free_memory", lambda: 1e6)
    data = pd.DataFrame({"Subject": ["308"] * 1000, "Days": np.zeros(1000)})
    text = (
        "80 draws of 1,000 rows need 0.0013 GB, more than half of the 0.001 GB of free memory; predict at most 390 rows"
    )
    with pytest.raises(ValueError, match=text):
        fit.predict(data)
    assert fit.predict(data.iloc[:390]).draws.shape[2] == 390


def test_wrong_arguments_are_refused(fit, point):
    cases = [
        ({"kind": "men"}, "kind must be one of mean, response, linear, not 'men'; did you mean 'mean'?"),
        ({"new_levels": "nul"}, "new_levels must be one of error, sample, zero, not 'nul'"),
        (
            {"groups": "populaton"},
            "groups must be one of conditional, population, averaged or a list of grouping factors (Subject), not "
            "'populaton'; did you mean 'population'?",
        ),
        (
            {"groups": "Subject"},
            "groups must be one of conditional, population, averaged or a list of grouping factors (Subject), not "
            "'Subject'; for the effects of this factor alone write groups=['Subject']",
        ),
        ({"groups": ["subject"]}, "groups names 'subject'; the grouping factors are Subject; did you mean 'Subject'?"),
        (
            {"groups": "averaged", "kind": "linear"},
            "groups='averaged' is a mean over new groups, so kind must be 'mean'; for 'linear' use groups='population'",
        ),
    ]
    for arguments, text in cases:
        with pytest.raises(ValueError) as caught:
            fit.predict(**arguments)
        assert str(caught.value) == text
    with pytest.raises(ValueError, match="kind='response' needs a posterior"):
        point.predict(kind="response")
    with pytest.raises(ValueError) as caught:
        point.predict(new_levels="sample")
    assert str(caught.value) == (
        "new_levels='sample' needs a posterior, sample(); here new_levels='zero' takes the effects of a new level as "
        "0, and with se=True the column sd has their spread"
    )


def test_a_fit_without_its_effects_predicts_the_population(sleep, fit):
    posterior = fit.tree["posterior"].to_dataset().drop_vars("b_Subject")
    bare = Fit(sleep, xr.DataTree.from_dict({"posterior": posterior}))
    with pytest.raises(ValueError, match="keep_effects=False, so the effects of Subject are not known"):
        bare.predict()
    np.testing.assert_array_equal(flat(bare.predict(groups="population")), flat(fit.predict(groups="population")))


# coverage -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # 200 posteriors by importance sampling: about a minute
def test_intervals_of_new_groups_cover_as_often_as_they_say():
    rng, hits, datasets = np.random.default_rng(8), 0, 200
    for _ in range(datasets):
        b = rng.normal(0, [2.0, 1.0], (13, 2))
        g, x = np.repeat(np.arange(13), 6), rng.normal(size=78)
        y = 3 + b[g, 0] + (1 + b[g, 1]) * x + rng.normal(size=78)
        data = pd.DataFrame({"g": [f"g{i}" for i in g], "x": x, "y": y})
        model = bmm.Model("y ~ x + (x | g)", data[g < 12])
        made = model.sample(sampler="importance", draws=250, chains=4, seed=int(rng.integers(1e6)), progress=False)
        table = made.predict(data[g == 12], kind="response", new_levels="sample", seed=1).to_frame(ci_prob=0.9)
        row = int(rng.integers(6))
        hits += table["lower"].iloc[row] <= data["y"][g == 12].iloc[row] <= table["upper"].iloc[row]
    assert 0.85 <= hits / datasets <= 0.95  # 90 % has a standard error of 2.1 % here


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_a_seed_is_a_whole_number_of_0_or_more(fit, seed):
    with pytest.raises(ValueError, match="seed must be None or a whole number of 0 or more, not"):
        fit.predict(kind="response", seed=seed)


def test_a_spline_beyond_its_boundary_warns_with_the_line_that_asks():
    data = frame("sleepstudy")
    point = bmm.Model("Reaction ~ bs(Days, df = 4)", data).maximize()
    with pytest.warns(bmm.BayesmmWarning, match=r"beyond the data of the fit, 0 to 9, in row \[0\]") as caught:
        point.predict(pd.DataFrame({"Days": [12.0]}))
    assert caught[0].filename == __file__
