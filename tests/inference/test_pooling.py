"""Multiply imputed data: Rubin's rules by hand, mixed draws, and what the parts of a result say."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmm as bmm
from bayesmm.inference.pooling import rubin

FORMULA = "Reaction ~ Days + (Days | Subject)"
HAND = 1e-10  # of sums of a few numbers


def frames(m=4):
    """Return sleepstudy with a seventh of its responses made up, m times."""
    data, rng, out = bmm.load_dataset("sleepstudy"), np.random.default_rng(3), []
    missing = np.arange(len(data)) % 7 == 3
    for _ in range(m):
        own = data.copy()
        own.loc[missing, "Reaction"] = 250 + 10 * data["Days"][missing] + 50 * rng.normal(size=missing.sum())
        out.append(own)
    return out


def test_rubins_rules_by_hand():
    # three imputations of one number: every step of Rubin (1987), section 3.3, and Barnard & Rubin (1999) written out
    Q, U, nu = np.array([1.0, 1.4, 1.8]), np.array([0.25, 0.36, 0.16]), 20.0
    row = rubin(Q[:, None], U[:, None], np.array([nu])).iloc[0]
    within, between = (0.25 + 0.36 + 0.16) / 3, ((1.0 - 1.4) ** 2 + 0 + (1.8 - 1.4) ** 2) / 2
    total = within + (4 / 3) * between
    share = (4 / 3) * between / total
    old, observed = 2 / share**2, (nu + 1) / (nu + 3) * nu * (1 - share)
    df = old * observed / (old + observed)
    r = (4 / 3) * between / within
    expected = {
        "estimate": 1.4, "se": np.sqrt(total), "df": df, "t": 1.4 / np.sqrt(total), "lambda": share,
        "fmi": (r + 2 / (df + 3)) / (r + 1), "p": 2 * stats.t.sf(1.4 / np.sqrt(total), df),
        "lower": 1.4 - stats.t.ppf(0.975, df) * np.sqrt(total), "upper": 1.4 + stats.t.ppf(0.975, df) * np.sqrt(total),
    }  # fmt: skip
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=HAND), name
    # without an end of the complete data's degrees of freedom Rubin's own are left
    assert rubin(Q[:, None], U[:, None], np.array([np.inf]))["df"].iloc[0] == pytest.approx(old, rel=HAND)


def test_imputations_that_agree_are_one_fit():
    data = bmm.load_dataset("sleepstudy")
    point = bmm.Model(FORMULA, data).maximize()
    found = bmm.fit_multiple(FORMULA, [data, data.copy(), data], progress=False)
    single = point.fixef(ddf="satterthwaite")
    np.testing.assert_allclose(found.fixef()[["estimate", "se", "t"]], single[["estimate", "se", "t"]], rtol=1e-9)
    np.testing.assert_allclose(found.fixef()["df"], 18 / 20 * 17, rtol=1e-6)  # (nu + 1) / (nu + 3) nu
    np.testing.assert_allclose(found.fixef()["lambda"], 0, atol=1e-12)
    pd.testing.assert_frame_equal(pd.DataFrame(found.varcorr()).drop(columns="between"), pd.DataFrame(point.varcorr()))
    np.testing.assert_allclose(found.varcorr()["between"], 0, atol=1e-9)


@pytest.mark.parametrize("df_com", [None, "residual", 33])
def test_maximised_fits_are_pooled_parameter_by_parameter(df_com):
    tables = frames()
    found = bmm.fit_multiple(FORMULA, tables, df_com=df_com, progress=False, method="ML")
    points = [bmm.Model(FORMULA, table).maximize("ML") for table in tables]
    own = [point.fixef(ddf="satterthwaite") for point in points]
    nu = {None: np.mean([each["df"] for each in own], axis=0), "residual": np.full(2, 180 - 6.0), 33: np.full(2, 33.0)}
    expected = rubin(
        *(np.stack([each[name] for each in own]) ** k for name, k in (("estimate", 1), ("se", 2))), nu[df_com]
    )
    np.testing.assert_allclose(found.fixef(), expected, rtol=1e-6)
    assert list(found.fits) == [1, 2, 3, 4] and all(point.method == "ML" for point in found.fits.values())
    # the averages of the covariance matrices
    Sigma = np.mean([point.covariances[0] for point in points], axis=0)
    sds = np.sqrt(np.diag(Sigma))
    summary = found.summary()["estimate"]
    expected = [*sds, Sigma[0, 1] / sds[0] / sds[1], np.sqrt(np.mean([point.sigma**2 for point in points]))]
    names = ["sd_Subject[Intercept]", "sd_Subject[Days]", "corr_Subject[Intercept, Days]", "sigma"]
    np.testing.assert_allclose(summary[names], expected, rtol=1e-6)
    np.testing.assert_allclose(
        found.varcorr()["sdcor"], [expected[0], expected[1], expected[2], expected[3]], rtol=1e-6
    )
    assert found.summary().loc[names, "se"].isna().all()
    tidy = found.tidy()
    assert {"std.error", "df", "p.value", "conf.low", "lambda", "fmi"} <= set(tidy.columns)
    assert list(tidy["term"]) == [
        "Intercept",
        "Days",
        "sd__Intercept",
        "sd__Days",
        "cor__Intercept.Days",
        "sd__Observation",
    ]


def test_counts_go_by_normal_tests_and_have_ratios():
    data = bmm.load_dataset("esoph")
    tables = {name: data.assign(ncontrols=data["ncontrols"] + shift) for name, shift in (("a", 0), ("b", 3), ("c", 1))}
    tables["b"]["ncases"] = tables["b"]["ncases"] + (np.arange(len(data)) % 9 == 0)
    formula = "ncases ~ ncontrols + (1 | agegp)"
    found = bmm.fit_multiple(formula, tables, family="poisson", progress=False, executor=ThreadPoolExecutor(2))
    own = [point.fixef() for point in found.fits.values()]
    Q, U = np.stack([each["estimate"] for each in own]), np.stack([each["se"] ** 2 for each in own])
    expected = rubin(Q, U, np.full(2, np.inf))
    np.testing.assert_allclose(found.fixef(), expected, rtol=1e-9)
    np.testing.assert_allclose(found.fixef(exponentiate=True)["upper"], np.exp(expected["upper"]), rtol=1e-9)
    assert "poisson (log link)" in str(found)


@pytest.fixture(scope="module")
def posterior():
    own = dict(how="sample", seed=1, draws=200, chains=2, sampler="importance", progress=False)
    return bmm.fit_multiple(FORMULA, frames(3), **own)


def test_draws_are_mixed(posterior):
    fits = list(posterior.fits.values())
    each = [fit.fixef() for fit in fits]
    found = posterior.fixef()
    np.testing.assert_allclose(found["mean"], np.mean([own["mean"] for own in each], axis=0), rtol=1e-9)
    # the variance of a mixture of equal parts of N draws, with N - 1 in each denominator
    N, between = 400, np.var([own["mean"] for own in each], axis=0)
    total = ((N - 1) * np.sum([own["sd"] ** 2 for own in each], axis=0) + 3 * N * between) / (3 * N - 1)
    np.testing.assert_allclose(found["sd"], np.sqrt(total), rtol=1e-9)
    np.testing.assert_allclose(found["r_hat"], np.max([own["r_hat"] for own in each], axis=0), rtol=1e-9)
    np.testing.assert_allclose(found["ess_bulk"], np.sum([own["ess_bulk"] for own in each], axis=0), rtol=1e-9)
    ends = np.quantile(
        np.concatenate([fit.tree["posterior"]["beta"].values[..., 1].ravel() for fit in fits]), [0.025, 0.975]
    )
    np.testing.assert_allclose(found.loc["Days", ["lower", "upper"]].to_numpy(float), ends, rtol=1e-9)
    share = (1 + 1 / 3) * np.var([own["mean"] for own in each], axis=0, ddof=1)
    np.testing.assert_allclose(found["lambda"], share / (share + np.mean([own["sd"] ** 2 for own in each], axis=0)))
    assert posterior.tree["posterior"].sizes["chain"] == 6 and list(posterior.tree.children) == ["posterior"]


def test_the_other_tables_of_mixed_draws(posterior):
    varcorr, summary = posterior.varcorr(), posterior.summary()
    names = ["sd_Subject[Intercept]", "sd_Subject[Days]", "corr_Subject[Intercept, Days]", "sigma"]
    assert list(varcorr["grp"]) == ["Subject"] * 3 + ["Residual"] and list(varcorr["var1"][:2]) == ["Intercept", "Days"]
    np.testing.assert_allclose(varcorr["mean"], summary.loc[names, "mean"])
    np.testing.assert_allclose(varcorr["lambda"], summary.loc[names, "lambda"])
    tidy = posterior.tidy(ci_prob=0.5)
    assert {"rhat", "ess", "lambda"} <= set(tidy.columns) and tidy["effect"].tolist() == ["fixed"] * 2 + [
        "ran_pars"
    ] * 4
    assert tidy["conf.high"].iloc[1] < summary["upper"].iloc[1]
    said = str(posterior)
    assert (
        said.startswith("3 imputations pooled, posterior\nFormula: Reaction")
        and "Draws of all imputations mixed" in said
    )


def test_a_familys_own_parameters_are_pooled_on_their_links():
    """The shape of a negative binomial: Rubin's rules for its logarithm, from which its interval comes back."""
    rng, tables = np.random.default_rng(4), []
    table = pd.DataFrame({"x": rng.normal(size=150)})
    table["y"] = rng.negative_binomial(2, 2 / (2 + np.exp(1 + 0.3 * table["x"])))
    for _ in range(3):
        own = table.copy()
        own.loc[::6, "y"] = rng.negative_binomial(2, 0.4, len(own.loc[::6]))
        tables.append(own)
    found = bmm.fit_multiple("y ~ x", tables, "negbinomial", progress=False).summary().loc["shape"]
    points = [bmm.Model("y ~ x", own, "negbinomial").maximize() for own in tables]
    shapes = np.array([point.auxiliaries["shape"] for point in points])
    errors = np.array([point.summary().loc["shape", "se"] for point in points])
    row = rubin(np.log(shapes)[:, None], ((errors / shapes) ** 2)[:, None], np.array([np.inf])).iloc[0]
    expected = np.exp(row[["estimate", "lower", "upper"]].to_numpy(float))
    # standard errors of shapes come from differences of the gradient, 1e-6 of themselves
    np.testing.assert_allclose(found[["estimate", "lower", "upper"]].to_numpy(float), expected, rtol=1e-5)
    assert found["se"] == pytest.approx(expected[0] * row["se"], rel=1e-5)
    assert found[["t", "p"]].isna().all()


def test_an_interrupted_imputation_counts_no_less(posterior):
    from dataclasses import replace

    first, second, third = posterior.fits.values()
    short = replace(second, tree=second.tree.isel(draw=slice(50)))
    found = type(posterior)({1: first, 2: short, 3: third})
    assert dict(found.tree["posterior"].sizes)["draw"] == 50 and found.tree["posterior"].sizes["chain"] == 6


@pytest.mark.parametrize(
    ("given", "asked", "expected"),
    [
        (1, {}, "takes two imputed data sets or more, and has 1"),
        ("table", {}, "frames should be a list of tables, or a mapping"),
        (2, {"df_com": -1}, "df_com should be a number above 0, 'residual' or None, not -1"),
        (2, {"df_com": "all"}, "df_com should be"),
        (2, {"df_com": 5, "how": "sample"}, "df_com is for how='maximize'"),
        (2, {"how": "bootstrap"}, "how must be one of"),
        ("missing", {}, "the imputation 2 has no fit: .*'Days'"),
        (
            "levels",
            {},
            "the imputations 1 and 2 have different parameters, only one of them has .*; give factors the same",
        ),
    ],
)
def test_what_cannot_be_pooled_is_one_sentence(given, asked, expected):
    first, second = frames(2)
    given = {1: [first], 2: [first, second], "table": first, "missing": [first, second.drop(columns="Days")],
             "levels": [first.assign(f="ab" * 90), second.assign(f=list("abc" * 60))]}[given]  # fmt: skip
    if isinstance(given, list) and "f" in given[0]:
        given[0]["f"] = list("ab" * 90)
    formula = "Reaction ~ Days + f + (1 | Subject)" if isinstance(given, list) and "f" in given[0] else FORMULA
    with pytest.raises(ValueError, match=expected) as caught:
        bmm.fit_multiple(formula, given, progress=False, **asked)
    assert "\n" not in str(caught.value)


def test_a_normal_response_with_effects_of_sigma_is_no_generalised_model():
    found = bmm.fit_multiple(("Reaction ~ Days + (1 | Subject)", "sigma ~ (1 | Subject)"), frames(2), progress=False)
    assert "Family:" not in str(found) and "Family:" not in str(found.fits[1])


def test_maximised_fits_have_no_draws():
    found = bmm.fit_multiple("Reaction ~ Days", frames(2), progress=False)
    with pytest.raises(AttributeError, match="how='sample'"):
        _ = found.tree
    assert found.fixef()["df"].lt(178).all() and "2 imputations pooled, REML" in str(found)  # n - p of a linear model


def test_a_parameter_at_its_bound_in_one_imputation_is_averaged_as_it_is():
    """Its link there is where a search has stopped, which means nothing."""
    rng, tables = np.random.default_rng(8), []
    for zeros in (0.3, 0.2, 0.0):
        y = rng.poisson(4, 200) * (rng.random(200) >= zeros)
        tables.append({"y": np.maximum(y, 1) if zeros == 0 else y})
    found = bmm.fit_multiple("y ~ 1", tables, "zero_inflated_poisson", progress=False)
    values = [bmm.Model("y ~ 1", own, "zero_inflated_poisson").maximize().auxiliaries["zi"] for own in tables]
    assert min(values) < 1e-6
    assert found.summary().loc["zi", "estimate"] == pytest.approx(np.mean(values), rel=1e-6)
    assert "on their links" not in str(found)


def test_a_shape_that_goes_to_infinity_in_one_imputation_does_not_make_the_average_infinite():
    rng = np.random.default_rng(8)
    tables = [{"y": rng.negative_binomial(2, 0.3, 200)}, {"y": rng.binomial(10, 0.4, 200)}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bmm.BayesmmWarning)
        found = bmm.fit_multiple("y ~ 1", tables, "negbinomial", progress=False)
    shape = bmm.Model("y ~ 1", tables[0], "negbinomial").maximize().auxiliaries["shape"]
    # the variance mu + mu^2 / shape is averaged
    assert found.summary().loc["shape", "estimate"] == pytest.approx(2 * shape, rel=1e-4)
