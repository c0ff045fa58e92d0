"""Likelihood ratio tests against lme4's anova() and lmtest's lrtest(), and what they say of their own validity."""

import numpy as np
import pytest
from references import frame, inference
from scipy import stats

import bayesmm as bmm
from bayesmm.inference.lrt import mixture_p
from bayesmm.inference.nesting import compare_designs

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

# Two optima of one criterion agree to about 1e-10 of it. Chisq is a difference of two criteria that are a thousand
# times larger, and the logarithm of p is about -Chisq / 2.
SAME = 1e-7
SLEEP, INTERCEPTS = "Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (1 | Subject)"
UNCORRELATED = "Reaction ~ Days + (Days || Subject)"


def fit(formula, data="sleepstudy", method="REML", family="gaussian", **changes):
    return bmm.Model(formula, frame(data).assign(**changes), family=family).maximize(method)


@pytest.mark.parametrize("name", inference("lrt"))
def test_every_number_of_the_reference(name):
    ref = inference("lrt")[name]
    method = "REML" if ref["family"] == "gaussian" else "ML"
    a, b = (fit(formula, ref["data"], method, ref["family"]) for formula in ref["formulas"])
    table, flat = bmm.lrt(a, b, refit=ref["refit"]).table, ref["flat"]
    row = {"m1": 1, "m2": 2} if flat["df"] > 0 else {"m1": 2, "m2": 1}  # ours has the smaller model first
    for key, value in flat.items():
        if key.startswith("m"):
            model, column = key.split(".")
            assert table.loc[row[model], column] == pytest.approx(value, rel=SAME), key
    assert table.loc[2, "Df"] == abs(flat["df"])
    assert table.loc[2, "Chisq"] == pytest.approx(flat["chisq"], rel=1e-6, abs=1e-6)
    assert np.log(table.loc[2, "Pr(>Chisq)"] + 1e-320) == pytest.approx(np.log(flat["p"] + 1e-320), rel=1e-6)


def test_mixture_of_one_more_correlated_effect():
    """Stram & Lee (1994), case 2: one random effect more, correlated with one: half chi2(1), half chi2(2)."""
    found = bmm.lrt(fit(INTERCEPTS), fit(SLEEP))
    chisq = found.table.loc[2, "Chisq"]
    expected = (stats.chi2.sf(chisq, 1) + stats.chi2.sf(chisq, 2)) / 2
    assert found.table.loc[2, "Pr(mixture)"] == pytest.approx(expected, rel=1e-12)
    assert any("at the boundary" in note and "50:50 mixture" in note for note in found.notes)


def test_mixture_of_a_single_variance_is_half_the_p_value():
    found = bmm.lrt(fit("Reaction ~ Days"), fit(INTERCEPTS)).table.loc[2]
    assert found["Df"] == 1
    assert found["Pr(mixture)"] == pytest.approx(found["Pr(>Chisq)"] / 2, rel=1e-12)
    assert mixture_p(0.0, 1) == 1.0  # half the mass is at 0


@pytest.mark.slow
def test_mixture_is_the_distribution_under_the_null():
    """Of 400 simulated nulls about 5 % have a mixture p below 0.05, and far fewer a chi-square one."""
    rng, data, below = np.random.default_rng(5), frame("thyroxine_genotype"), []
    for _ in range(400):
        y = rng.normal(size=len(data))
        large = bmm.Model("y ~ 1 + (1 | Patient)", data.assign(y=y)).maximize("ML")
        small = bmm.Model("y ~ 1", data.assign(y=y)).maximize("ML")
        below.append(bmm.lrt(small, large).table.loc[2, ["Pr(mixture)", "Pr(>Chisq)"]].to_numpy(dtype=float) < 0.05)
    mixture, chisq = np.mean(below, axis=0)
    # 12 groups: the exact size is 0.04 to 0.05; five binomial standard errors are 0.054
    assert 0.01 < mixture < 0.05 + 0.054
    assert chisq < mixture


def test_correlation_alone_is_no_boundary():
    found = bmm.lrt(fit(UNCORRELATED), fit(SLEEP))
    assert np.isnan(found.table.loc[2, "Pr(mixture)"])
    assert not any("boundary" in note for note in found.notes)


def test_two_effects_more_have_no_simple_mixture():
    found = bmm.lrt(fit("Reaction ~ Days"), fit(SLEEP))
    assert np.isnan(found.table.loc[2, "Pr(mixture)"])
    assert any("2 random effects more there is no simple mixture" in note for note in found.notes)


def test_order_does_not_matter_and_three_models_are_a_chain():
    points = [fit(formula) for formula in (SLEEP, INTERCEPTS, UNCORRELATED)]
    found = bmm.anova(*points)
    assert found.models == (INTERCEPTS, UNCORRELATED, SLEEP)
    assert found.table["npar"].tolist() == [4, 5, 6]
    assert found.table["Chisq"].sum() == pytest.approx(42.1392985420282, rel=1e-6)
    assert [point.method for point in found.points] == ["ML"] * 3
    assert found.notes[0] == "3 REML fits refitted by ML"


def test_fits_by_ml_are_not_refitted():
    found = bmm.lrt(fit(INTERCEPTS, method="ML"), fit(SLEEP, method="ML"))
    assert not any("refitted" in note for note in found.notes)


def test_reml_likelihoods_with_other_fixed_effects_mean_nothing():
    small, large = fit("Reaction ~ 1 + (Days | Subject)"), fit(SLEEP)
    assert any("different fixed effects" in note for note in bmm.lrt(small, large, refit=False).notes)
    assert not any("different fixed effects" in note for note in bmm.lrt(small, large).notes)
    assert not any("different fixed effects" in note for note in bmm.lrt(fit(INTERCEPTS), large, refit=False).notes)


def test_reml_against_ml_is_said():
    found = bmm.lrt(fit(INTERCEPTS), fit(SLEEP, method="ML"), refit=False)
    assert any("fitted by REML and by ML" in note for note in found.notes)


@pytest.mark.parametrize(
    "small, large, reason",
    [
        ("Reaction ~ x + (1 | Subject)", SLEEP, "its fixed effects are no linear combinations"),
        ("Reaction ~ Days + (0 + x | Subject)", SLEEP, r"its random term \(x | Subject\) is not part"),
        ("Reaction ~ Days + (1 | g)", SLEEP, r"its random term \(Intercept | g\) is not part"),
        ("Reaction ~ Days + (0 + Days | Subject)", SLEEP, None),
        ("Reaction ~ I(Days - 5) + (I(Days - 5) || Subject)", SLEEP, None),
        ("Reaction ~ Days + (1 | Subject)", "Reaction ~ 1 + Days + I(Days^2) + (0 + Days | Subject)", "Intercept"),
    ],
)
def test_nesting(small, large, reason):
    data = frame("sleepstudy").assign(x=lambda d: np.sin(d["Days"]), g=lambda d: d["Days"].astype("category"))
    small, large = (bmm.Model(formula, data).design for formula in (small, large))
    reasons = compare_designs(small, large).reasons
    assert (reason is None) == (not reasons)
    assert reason is None or any(
        r.startswith(reason.replace("\\", "").split("|")[0][:20]) or reason in r for r in reasons
    )


def test_models_that_are_not_nested_say_so():
    found = bmm.lrt(fit("Reaction ~ x + (1 | Subject)", x=lambda d: np.sin(d["Days"])), fit(SLEEP))
    assert any("models 1 and 2 are not nested" in note and "means nothing" in note for note in found.notes)


def test_equal_numbers_of_parameters():
    found = bmm.lrt(fit(INTERCEPTS), fit("Reaction ~ Days + (0 + Days | Subject)"))
    assert np.isnan(found.table.loc[2, "Pr(>Chisq)"])
    assert any("same number of parameters" in note for note in found.notes)


def test_print():
    text = str(bmm.lrt(fit(INTERCEPTS), fit(SLEEP)))
    lines = [line.split() for line in text.split("\n")]
    assert "npar AIC BIC logLik deviance Chisq Df Pr(>Chisq) Pr(mixture)".split() in lines
    assert "2 6 1763.9 1783.1 -875.97 1751.94 42.1393 2 7.07e-10 3.96e-10".split() in lines  # the document: 7.072e-10
    assert max(map(len, text.split("\n"))) <= 100


@pytest.mark.parametrize(
    "other, message",
    [
        (lambda: fit(SLEEP, method="MAP"), r"fit 2 is the mode of a posterior \(MAP\)"),
        (lambda: fit("Reaction ~ Days + (1 | Subject)", Reaction=lambda d: d["Reaction"] + 1), "different responses"),
        (
            lambda: fit("log(Reaction) ~ Days + (1 | Subject)"),
            r"different responses \('Reaction' and 'log\(Reaction\)'",
        ),
        (
            lambda: bmm.Model(SLEEP, frame("sleepstudy").iloc[:170]).maximize(),
            "use different rows .180 and 170., so that",
        ),
        (lambda: bmm.Model(SLEEP, frame("sleepstudy"), weights=np.full(180, 2.0)).maximize(), "different weights"),
        (
            lambda: bmm.Model(SLEEP, frame("sleepstudy"), family="gamma").maximize("ML"),
            "different families .gaussian and gamma",
        ),
    ],
)
def test_fits_that_can_not_be_compared(other, message):
    with pytest.raises(bmm.DataError, match=message):
        bmm.lrt(fit(INTERCEPTS), other())


@pytest.mark.parametrize("test", [lambda: bmm.lrt(fit(INTERCEPTS), "x"), lambda: bmm.anova("x")])
def test_what_is_no_fit_is_said(test):
    with pytest.raises(TypeError, match=r"expected a fit by maximize\(\), a PointFit, not an object of type str"):
        test()


def test_anova_of_several_takes_no_degrees_of_freedom():
    with pytest.raises(ValueError, match="ddf='satterthwaite' is for the terms of one fit, and 2 were given"):
        bmm.anova(fit(INTERCEPTS), fit(SLEEP), ddf="satterthwaite")
