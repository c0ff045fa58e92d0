"""AIC, AICc, BIC, their differences and weights, beside the formulas of Burnham & Anderson (2002)."""

import numpy as np
import pytest
from references import frame

import bayesmm as bmm

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
SLOPES, INTERCEPTS = "Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (1 | Subject)"


def fit(formula, method="REML", family="gaussian", **changes):
    return bmm.Model(formula, frame("sleepstudy").assign(**changes), family).maximize(method)


def test_lme4s_numbers_of_the_sleep_study():
    """anova(fm1, fm2) of lme4's example: AIC 1802.1 and 1763.9, BIC 1814.8 and 1783.1, logLik -897.04 and -875.97."""
    table = bmm.compare_models({"ints": fit(INTERCEPTS), "slopes": fit(SLOPES)}).table
    assert table.index.tolist() == ["slopes", "ints"]
    np.testing.assert_allclose(table["logLik"], [-875.97, -897.04], atol=0.005)
    np.testing.assert_allclose(table["AIC"], [1763.939, 1802.079], atol=0.0006)
    np.testing.assert_allclose(table["BIC"], [1783.097, 1814.851], atol=0.0006)
    assert table["df"].tolist() == [6, 4]


def test_the_formulas():
    points = {"ints": fit(INTERCEPTS), "slopes": fit(SLOPES)}
    points["quadratic"] = fit("Reaction ~ poly(Days, 2) + (1 | Subject)")
    found = bmm.compare_models(points)
    table, n = found.table, 180
    k, loglik = table["df"], table["logLik"]
    np.testing.assert_allclose(table["AIC"], 2 * k - 2 * loglik, rtol=1e-13)
    np.testing.assert_allclose(table["AICc"], table["AIC"] + 2 * k * (k + 1) / (n - k - 1), rtol=1e-13)
    for key, ending in (("AIC", ""), ("AICc", "_AICc"), ("BIC", "_BIC")):
        likelihood = np.exp(-(table[key] - table[key].min()) / 2)
        np.testing.assert_allclose(table[f"weight{ending}"], likelihood / likelihood.sum(), rtol=1e-12)
        np.testing.assert_allclose(table[f"difference{ending}"], table[key] - table[key].min(), atol=1e-9)
    assert found.notes[0] == "3 REML fits refitted by ML."
    assert any("AICc is the better" in note for note in found.notes)  # 180 < 40 * 6


def test_families_side_by_side():
    points = {name: fit(INTERCEPTS, "ML", name) for name in ("gaussian", "gamma")}
    text = str(bmm.compare_models(points))
    assert " gamma: Reaction ~ Days + (1 | Subject) (gamma, log link)" in text.split("\n")


def test_reml_as_it_is_where_the_fixed_effects_are_the_same():
    pair = {"ints": fit(INTERCEPTS), "slopes": fit("Reaction ~ I(Days - 4) + (Days | Subject)")}  # another origin
    table = bmm.compare_models(pair, refit=False).table
    assert table.loc["slopes", "AIC"] == pytest.approx(fit(SLOPES).aic, rel=1e-9)
    with pytest.raises(bmm.DataError, match="not both are by REML with the same fixed effects"):
        bmm.compare_models(pair | {"flat": fit("Reaction ~ 1 + (Days | Subject)")}, refit=False)
    with pytest.raises(bmm.DataError, match="not both are by REML"):
        bmm.compare_models(pair | {"ml": fit(SLOPES, "ML")}, refit=False)


def test_few_rows_have_no_aicc():
    few = bmm.Model("y ~ x", {"y": [1.0, 2.5, 2.9, 4.2], "x": [0.0, 1.0, 2.0, 3.0]}).maximize("ML")
    assert np.isnan(few.aicc)  # n = 4, 3 parameters: n - npar - 1 is 0


@pytest.mark.parametrize(
    ("fits", "options", "error", "message"),
    [
        (lambda: {"a": fit(SLOPES), "b": fit(SLOPES, "MAP")}, {}, bmm.DataError, r"'b' is the mode of a posterior"),
        (lambda: {"a": fit(SLOPES), "b": fit(INTERCEPTS)}, {"by": "Subject"}, ValueError, "by is for the cross"),
        (
            lambda: {"a": fit(SLOPES), "b": fit(INTERCEPTS)},
            {"integrated": True},
            ValueError,
            "integrated is for the cross",
        ),
        (lambda: {"a": fit(SLOPES), "b": 3}, {}, TypeError, r"'b' is a int"),
        (lambda: {"a": fit(SLOPES)}, {}, ValueError, "at least two fits"),
        (lambda: {"a": fit(SLOPES), "b": fit("log(Reaction) ~ Days")}, {}, bmm.DataError, "different responses"),
        (
            lambda: {"a": fit(SLOPES), "b": fit(SLOPES, "ML", "poisson", Reaction=lambda d: d["Reaction"].round())},
            {},
            bmm.DataError,
            "different responses",
        ),
    ],
)
def test_what_cannot_be_compared(fits, options, error, message):
    with pytest.raises(error, match=message):
        bmm.compare_models(fits(), **options)


def test_what_is_no_fit_is_said():
    model = bmm.Model(SLOPES, frame("sleepstudy"))
    with pytest.raises(TypeError, match=r"compares fits, from maximize\(\) or sample\(\), and 'a' is a Model"):
        bmm.compare_models({"a": model, "b": model.maximize()})
