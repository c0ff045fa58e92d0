"""Linear models without bars against R's summary.lm and anova.lm."""

import numpy as np
import pandas as pd
import pytest
from references import frame, inference, r_name

import bayesmm as bmm
from bayesmm.inference.linear import linear_summary

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

# Two least-squares solutions by QR agree to about the condition number (1e3 here) times the rounding unit; a p-value of
# 1e-250 multiplies that by its logarithm.
SAME = 1e-8
RESIDUALS = ("min", "q1", "med", "q3", "max")


def fitted(name):
    ref = inference("lm")[name]
    data = frame(ref["data"])
    if name == "s003_LMod2_numeric":  # the document's slip: FamID as a number
        data = data.assign(FamID=data["FamID"].astype(int))
    return bmm.Model(ref["formula"], data).maximize()


def flat(point):
    """Return all numbers of a linear model under the reference's keys."""
    found, table = linear_summary(point), bmm.anova(point).table
    ml = bmm.lrt(point, point).points[0]
    numbers = {"sigma": found.sigma, "df_resid": found.df_resid, "r2": found.r2, "adj_r2": found.adj_r2}
    numbers |= {"F.stat": found.F, "F.df1": found.F_df[0], "F.df2": found.F_df[1], "F.p": found.F_p}
    numbers |= {"logLik": ml.loglik, "AIC": ml.aic, "BIC": ml.bic, "nobs": ml.design.n}
    numbers |= {f"resid_q.{key}": value for key, value in zip(RESIDUALS, found.residuals, strict=True)}
    for name, row in found.coefficients.iterrows():
        numbers |= {
            f"fixef.{r_name(name)}.{a}": row[b] for a, b in zip(("est", *"tp"), ("estimate", *"tp"), strict=True)
        }
        numbers[f"fixef.{r_name(name)}.se"] = row["se"]
    for name, row in table.iterrows():
        numbers |= {f"anova.{name}.{a}": v for a, v in zip(("df", "ss", "ms", "F", "p"), row, strict=True)}
    return numbers


# 284 coefficients on 4,860 rows take some seconds
LARGE = "s003_LReg"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == LARGE else ()) for name in inference("lm")]
)
def test_every_number_of_r(name):
    mine, ref = flat(fitted(name)), inference("lm")[name]["flat"]
    for key, value in ref.items():
        # an R^2 of 0 has no relative error
        assert mine[key] == pytest.approx(value, rel=SAME, abs=1e-14 if value == 0 else 0.0), key


def test_weights_and_offset_as_r():
    """R: lm(Reaction ~ Days, weights = w, offset = o) is the least squares of sqrt(w) rows; R^2 leaves o out."""
    data = frame("sleepstudy").assign(o=lambda d: 3.0 * d["Days"])
    w = 1.0 + data["Days"].to_numpy()
    found = linear_summary(bmm.Model("Reaction ~ Days + offset(o)", data, weights=w).maximize())
    X = np.column_stack([np.ones(len(data)), data["Days"]])
    y = (data["Reaction"] - data["o"]).to_numpy()
    root = np.sqrt(w)
    beta, rss = np.linalg.lstsq(X * root[:, None], y * root)[:2]
    total = np.sum(w * (y - np.average(y, weights=w)) ** 2)
    np.testing.assert_allclose(found.coefficients["estimate"], beta, rtol=SAME)
    assert found.sigma == pytest.approx(np.sqrt(rss[0] / (len(data) - 2)), rel=SAME)
    assert found.r2 == pytest.approx(1 - rss[0] / total, rel=SAME)


def test_without_intercept_r2_is_about_zero():
    found = linear_summary(bmm.Model("Reaction ~ 0 + Days", frame("sleepstudy")).maximize())
    data = frame("sleepstudy")
    rss = np.sum((data["Reaction"] - found.coefficients.loc["Days", "estimate"] * data["Days"]) ** 2)
    assert found.r2 == pytest.approx(1 - rss / np.sum(data["Reaction"] ** 2), rel=SAME)
    assert found.F_df == (1, 179)


def test_aliased_columns_are_nan_and_cost_no_degree_of_freedom():
    data = frame("sleepstudy").assign(Twice=lambda d: 2 * d["Days"])
    point = bmm.Model("Reaction ~ Days + Twice", data).maximize()
    found, base = linear_summary(point), linear_summary(bmm.Model("Reaction ~ Days", data).maximize())
    assert np.isnan(found.coefficients.loc["Twice"]).all()
    assert (found.df_resid, found.F) == (178, pytest.approx(base.F, rel=SAME))
    assert list(bmm.anova(point).table.index) == ["Days", "Residuals"]  # R leaves a term without columns out


def test_ml_fit_has_the_same_summary():
    model = bmm.Model("Level ~ Patient", frame("thyroxine"))
    a, b = (linear_summary(model.maximize(method)) for method in ("REML", "ML"))
    pd.testing.assert_frame_equal(a.coefficients, b.coefficients, rtol=1e-12)
    assert a.sigma == pytest.approx(b.sigma, rel=1e-12)


def test_print_is_that_of_summary_lm():
    text = str(bmm.Model("Level ~ Patient", frame("thyroxine")).maximize())
    for line in (
        "Linear model fit by REML",
        " -1.46667 -0.41667 0.06667 0.28333 2.33333",
        " Patient[T.6]   3.5333     0.8395   4.209   0.0012",
        "Residual standard error: 1.028 on 12 degrees of freedom",
        "Multiple R-squared: 0.9028, adjusted R-squared: 0.8622",
        "F-statistic: 22.28 on 5 and 12 DF, p-value: 1.09e-05",
    ):
        assert line in text.split("\n")
    assert "<2e-16" in str(bmm.Model("Reaction ~ Days", frame("sleepstudy")).maximize())


def test_print_of_anova():
    text = str(bmm.anova(bmm.Model("Level ~ Patient", frame("thyroxine")).maximize()))
    assert " Patient    5 117.78  23.557 22.2816 1.09e-05" in text.split("\n")


def test_only_linear_models():
    point = bmm.Model("Reaction ~ Days + (1 | Subject)", frame("sleepstudy")).maximize()
    with pytest.raises(bmm.DataError, match="is for a formula without bars, and this one has 1 grouping factor"):
        linear_summary(point)
    mode = bmm.Model("Reaction ~ Days", frame("sleepstudy")).maximize("MAP")
    with pytest.raises(bmm.DataError, match=r"this fit is the mode of a posterior \(MAP\); use maximize\('REML'\)"):
        linear_summary(mode)
