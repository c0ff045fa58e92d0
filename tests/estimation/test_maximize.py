"""REML and ML against lme4's optimum, the marginal mode against its own definition, and the awkward cases."""

import numpy as np
import pandas as pd
import pytest
from references import frame, names, reference_models

import bayesmm as bmm
from bayesmm.estimation.optimizer import Search, newton

# Issue tolerances against the polished optimum: coefficients 1e-5 relative, SEs and sds 1e-4 relative, criterion
# one-sided 1e-6. A coefficient near 0 is compared on the scale of its standard error instead (1e-5 of it).
FIXEF, SD, CRITERION = 1e-5, 1e-4, 1e-6
# Where sd(Genotype B) and its correlation are not identified, lme4's own point on the ridge means nothing.
RIDGE = "s000_genotype_slope_lmer"
# lme4 reports a singular estimate to about 1e-4 of sigma.
SINGULAR_ABS = 1e-4


@pytest.fixture(scope="module")
def fits():
    cache = {}

    def get(name):
        if name not in cache:
            ref = reference_models()[name]
            cache[name] = bmm.Model(ref["formula"], frame(ref["data"])).maximize(ref["method"])
        return cache[name]

    return get


pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


def components(ref):
    """Yield ((factor, row, column or None), value) of lme4's VarCorr, in our names."""
    for row in ref["varcorr"]:
        group = row["group"]
        if group.endswith((".1", ".2")):
            group = group[:-2]
        yield (_swap(group), row["var1"], row["var2"]), row["sdcor"]


def _swap(group):
    """lme4 writes (1 | a/b) as b:a; we write a:b, as the user did in (1 | a:b)."""
    return {"Class:School": "School:Class", "cask:batch": "batch:cask"}.get(group, group)


def ours(point):
    """Return our varcorr as {(factor, var1, var2): sdcor}, with R's names of columns."""
    table = {}
    for row in point.varcorr().itertuples():
        key = [None if pd.isna(v) else _r_name(v) for v in (row.var1, row.var2)]
        table[row.grp, *key] = row.sdcor
    return table


def _r_name(column):
    return "(Intercept)" if column == "Intercept" else column.replace("[T.", "").replace("]", "")


@pytest.mark.parametrize("name", names("lmer"))
def test_criterion_is_never_above_lme4(fits, name):
    ref, point = reference_models()[name], fits(name)
    assert point.converged
    assert point.criterion <= ref["criterion"] + CRITERION * abs(ref["criterion"])
    assert point.criterion <= ref["default_criterion"] + CRITERION * abs(ref["criterion"])
    # and not below it either, by more than what two double-precision optimisers can differ by at one optimum
    assert point.criterion == pytest.approx(ref["criterion"], rel=1e-8)


@pytest.mark.parametrize("name", names("lmer"))
def test_fixed_effects(fits, name):
    ref, table = reference_models()[name], fits(name).fixef()
    estimate, se = (np.array(list(ref[key].values())) for key in ("fixef", "se"))
    np.testing.assert_allclose(table["se"], se, rtol=SD)
    assert np.all(np.abs(table["estimate"] - estimate) <= FIXEF * np.maximum(np.abs(estimate), se))
    assert [_r_name(c) for c in table.index] == list(ref["fixef"])


@pytest.mark.parametrize("name", [name for name in names("lmer") if name != RIDGE])
def test_variance_components(fits, name):
    ref, point = reference_models()[name], fits(name)
    table, expected = ours(point), dict(components(ref))
    assert {k: None for k in table} == {k: None for k in expected}  # the same rows, and in lme4's order
    assert list(table) == list(expected) or name.startswith("x_school_nested") or name.startswith("x_pastes")
    for key, value in expected.items():
        # a correlation is compared absolutely: it may be 0
        absolute = SINGULAR_ABS * (1 if key[2] else point.sigma)
        assert table[key] == pytest.approx(value, rel=SD, abs=absolute), key


def test_unidentified_ridge_keeps_what_is_identified(fits):
    """Genotype does not vary within a patient: only var(b0) and var(b0 + b1) are identified."""
    ref, point = reference_models()[RIDGE], fits(RIDGE)
    sd0, sd1, corr = (row["sdcor"] for row in ref["varcorr"][:3])
    total = point.covariances[0].sum()
    assert np.sqrt(point.covariances[0][0, 0]) == pytest.approx(sd0, rel=SD)
    assert total == pytest.approx(sd0**2 + sd1**2 + 2 * corr * sd0 * sd1, rel=2 * SD)


@pytest.mark.parametrize("name", [name for name in names("lmer") if name != RIDGE])
def test_random_effects(fits, name):
    ref, table = reference_models()[name], fits(name).ranef()
    for group, effects in ref["ranef"].items():
        mine = table[table["grpvar"] == _swap(group)].pivot(index="grp", columns="term", values="condval")
        sds = table[table["grpvar"] == _swap(group)].pivot(index="grp", columns="term", values="condsd")
        levels = [":".join(reversed(v.split(":"))) if _swap(group) != group else v for v in effects["levels"]]
        terms = ["Intercept" if t == "(Intercept)" else t for t in effects["terms"]]
        columns = {_r_name(c): c for c in mine.columns}
        chosen = [columns[_r_name(t)] for t in terms]
        expected = np.array(effects["values"])
        scale = max(np.abs(expected).max(), SINGULAR_ABS * fits(name).sigma)
        np.testing.assert_allclose(mine.loc[levels, chosen], expected, atol=2 * SD * scale, rtol=0)
        if effects["cond_sd"] is not None:
            np.testing.assert_allclose(
                sds.loc[levels, chosen], effects["cond_sd"], rtol=2 * SD, atol=SINGULAR_ABS * fits(name).sigma
            )


@pytest.mark.parametrize("name", names("lmer"))
def test_likelihood_and_information_criteria(fits, name):
    ref, point = reference_models()[name], fits(name)
    for mine, theirs in (
        (point.loglik, "loglik"),
        (point.aic, "aic"),
        (point.bic, "bic"),
        (point.deviance, "ml_deviance"),
    ):
        if ref[theirs] is not None:
            # criteria agree to 1e-8; the ML deviance is not at its own optimum for REML fits, so theta's 1e-5 shows,
            # and on the ridge, where lme4's Newton steps could not be taken to the end, more of it
            sampled = 1e-3 if name == RIDGE else 1e-4
            assert mine == pytest.approx(ref[theirs], abs=sampled if theirs == "ml_deviance" else 1e-5), theirs


@pytest.mark.parametrize("name", [name for name in names("lmer") if name != RIDGE])
def test_scaled_residuals(fits, name):
    got = np.quantile(fits(name).scaled_residuals, [0, 0.25, 0.5, 0.75, 1])  # R's type 7
    np.testing.assert_allclose(got, list(reference_models()[name]["resid_q"].values()), atol=1e-3)


@pytest.mark.parametrize("name", ["s002_sleep_rs", "x_sleep_rs_ml", "s000_ri_lmer"])
def test_bic_by_the_rule_of_nlme(fits, name):
    lme = {"s002_sleep_rs": "x_sleep_rs_lme", "x_sleep_rs_ml": None, "s000_ri_lmer": "s000_lme_ri"}[name]
    point = fits(name)
    if lme is None:
        assert point.bic_nlme == point.bic
    else:
        # nlme's optimiser stops where the log-likelihood is still about 1e-6 short
        assert point.bic_nlme == pytest.approx(reference_models()[lme]["bic"], abs=1e-4)


@pytest.mark.parametrize("name", [n for n in names("lm") if n not in ("s003_LMod2_numeric", "s003_LReg")])
def test_no_random_part_is_least_squares(name):
    ref = reference_models()[name]
    point = bmm.Model(ref["formula"], frame(ref["data"])).maximize("REML")
    estimate, se = (np.array(list(v.values()) if isinstance(v, dict) else v) for v in (ref["fixef"], ref["se"]))
    np.testing.assert_allclose(point.fixef()["estimate"], estimate, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(point.fixef()["se"], se, rtol=1e-8)
    assert point.sigma == pytest.approx(ref["sigma"], rel=1e-10)
    assert point.message == "no variance ratio to optimise: least squares"


def test_singular_fit_says_so_and_is_exactly_zero(fits):
    point = fits("x_school_wrong")
    assert point.singular
    assert ours(point)["Class", "(Intercept)", None] == 0.0
    assert not fits("s002_sleep_rs").singular


def test_correlation_at_one_is_singular(fits):
    point = fits("x_school_slope")
    assert point.singular
    assert ours(point)["School", "(Intercept)", "Hours"] == pytest.approx(-1, abs=1e-6)


def test_sleepstudy_numbers_of_the_documents(fits):
    point = fits("s002_sleep_rs")
    assert round(point.criterion, 4) == 1743.6283
    assert np.round(point.varcorr()["sdcor"], 4).tolist() == [24.7405, 5.9221, 0.0656, 25.5918]


@pytest.mark.parametrize("factor", [1e-10, 1e10])
def test_units_of_a_predictor_do_not_matter(fits, factor):
    """BAD_INPUTS E07: internal scaling, estimates on the user's scale."""
    data = frame("sleepstudy").assign(Days=lambda d: d["Days"] * factor)
    point, base = bmm.Model("Reaction ~ Days + (Days | Subject)", data).maximize(), fits("s002_sleep_rs")
    assert point.fixef().loc["Days", "estimate"] * factor == pytest.approx(
        base.fixef().loc["Days", "estimate"], rel=1e-7
    )
    sds, base_sds = (np.sqrt(np.diag(p.covariances[0])) for p in (point, base))
    np.testing.assert_allclose(sds * [1, factor], base_sds, rtol=1e-5)
    # the Jacobian of the REML integral: -2 log(1 / factor)
    assert point.criterion - base.criterion == pytest.approx(2 * np.log(factor), abs=1e-6)


@pytest.mark.parametrize("shift, factor", [(0, 1e12), (1e7, 1), (0, 1e-9)])
def test_units_and_origin_of_the_response_do_not_matter(fits, shift, factor):
    data = frame("sleepstudy").assign(Reaction=lambda d: shift + d["Reaction"] * factor)
    point, base = bmm.Model("Reaction ~ Days + (Days | Subject)", data).maximize(), fits("s002_sleep_rs")
    # 1e7 / 25 leaves about 1e-16 x 4e5 of relative precision in the residuals
    np.testing.assert_allclose(point.varcorr()["sdcor"][:2], base.varcorr()["sdcor"][:2] * factor, rtol=1e-6)


def test_weights_of_two_are_doubled_rows():
    data = frame("sleepstudy")
    weighted = bmm.Model("Reaction ~ Days + (Days | Subject)", data, weights=np.full(len(data), 2.0)).maximize("ML")
    doubled = bmm.Model("Reaction ~ Days + (Days | Subject)", pd.concat([data, data])).maximize("ML")
    # sigma^2 is divided by a different n: 180 rows of weight 2 against 360 rows, so only the coefficients must agree
    # exactly where the relative factors do
    assert weighted.fixef()["estimate"].to_numpy() == pytest.approx(doubled.fixef()["estimate"].to_numpy(), rel=1e-6)


def test_row_order_level_names_and_equivalent_formulas_do_not_matter():
    data = frame("pastes")
    base = bmm.Model("strength ~ 1 + (1 | batch/cask)", data).maximize()
    shuffled = data.sample(frac=1, random_state=1).assign(batch=lambda d: "b" + d["batch"].astype(str))
    other = bmm.Model("strength ~ 1 + (1 | batch) + (1 | batch:cask)", shuffled).maximize()
    assert other.criterion == pytest.approx(base.criterion, rel=1e-12)
    np.testing.assert_allclose(other.varcorr()["sdcor"], base.varcorr()["sdcor"], rtol=1e-6)


def test_perfect_fit_is_an_error():
    data = pd.DataFrame({"y": [1.0, 2.0, 3.0, 4.0], "x": [1.0, 2.0, 3.0, 4.0], "g": list("aabb")})
    with pytest.raises(bmm.DataError, match="fit the 4 rows of 'y' exactly, so no residual variance is left"):
        bmm.Model("y ~ x + (1 | g)", data).maximize()


@pytest.mark.parametrize("slope", [0.0, 1.0])
@pytest.mark.parametrize("method", ["REML", "ML", "MAP"])
def test_a_response_that_its_groups_fit_exactly_is_an_error(method, slope):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(6), 4), "x": rng.normal(size=24)})
    data["y"] = data["g"] ** 2.0 + slope * data["x"]
    with pytest.raises(bmm.DataError) as caught:
        bmm.Model("y ~ x + (1 | g)", data).maximize(method)
    assert str(caught.value) == (
        "the random effects fit the 24 rows of 'y' exactly, so no residual variance is left to estimate; use fewer, or "
        "one row for each level where all its rows have the same response"
    )
    # a residual of a hundred-thousandth of the groups' differences is one
    small = 1e-4 * rng.normal(size=24)
    point = bmm.Model("y ~ x + (1 | g)", data.assign(y=data["y"] + small)).maximize()
    assert point.sigma == pytest.approx(np.std(small), rel=0.5)  # 17 degrees of freedom: sd of sigma 0.17


def test_aliased_column_is_nan_and_the_rest_as_without_it():
    data = frame("sleepstudy").assign(Twice=lambda d: 2 * d["Days"])
    point = bmm.Model("Reaction ~ Days + Twice + (Days | Subject)", data).maximize()
    base = bmm.Model("Reaction ~ Days + (Days | Subject)", data).maximize()
    assert np.isnan(point.fixef().loc["Twice"]).all()
    assert point.npar == base.npar
    assert point.criterion == pytest.approx(base.criterion, rel=1e-10)


@pytest.mark.parametrize(
    "call, message",
    [
        (dict(method="reml"), r"method must be one of REML, ML, MAP, not 'reml'; did you mean 'REML'\?"),
        (dict(nagq=7), "nagq must be 1 for the gaussian family"),
        (
            dict(start=3),
            r"start should be a mapping of places to numbers, such as \{'sd_Subject\[Intercept\]': 1.0\}, not 3",
        ),
        (dict(start={"sigma": "25"}), r"start\['sigma'\] should be a number, not '25'"),
        (
            dict(start={"sd_Subject[Dais]": 1.0}),
            r"which is no standard deviation or correlation of the model.*did you mean 'sd_Subject\[Days\]'\?",
        ),
        (dict(start={"sigma": -1}), r"start\['sigma'\] must be a positive number, not -1"),
    ],
)
def test_wrong_arguments(call, message):
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy"))
    with pytest.raises(ValueError, match=message):
        model.maximize(**call)


def test_start_changes_the_way_and_not_the_end(fits):
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy"))
    near = model.maximize(start={"sd_Subject[Intercept]": 24.7, "sd_Subject[Days]": 5.9, "sigma": 25.6})
    assert near.criterion == pytest.approx(fits("s002_sleep_rs").criterion, rel=1e-12)
    assert near.optimum.evaluations < fits("s002_sleep_rs").optimum.evaluations


@pytest.mark.parametrize("value", [1e300, 1e12])
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_a_start_from_which_no_search_finds_back_is_refused(value, family):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.poisson(3, 40), "x": rng.normal(size=40), "g": np.arange(40) % 8})
    model = bmm.Model("y ~ x + (x | g)", data, family=family)
    text = rf"start\['sd_g\[Intercept\]'\] is {value:g}, which is so far from what .*; take a value at most \d"
    with pytest.raises(ValueError, match=text.replace("+", r"\+")):
        model.maximize(start={"sd_g[Intercept]": value})
    # where the search from a start does not converge, those from the usual ones are asked too
    near = model.maximize(start={"sd_g[Intercept]": 1000.0})
    assert near.converged and near.loglik == pytest.approx(model.maximize().loglik, abs=1e-6)


def test_a_start_of_sigma_far_from_the_response_is_refused():
    data = pd.DataFrame({"y": np.arange(40.0) % 7, "g": np.arange(40) % 8})
    model = bmm.Model("y ~ 1 + (1 | g)", data)
    for value in (1e-300, 1e300):
        with pytest.raises(
            ValueError, match=r"start\['sigma'\] is 1e.300, which is so far .* a value between 2e-08 and 2e"
        ):
            model.maximize(start={"sigma": value})


def test_newton_stops_where_the_criterion_ends():
    """A Hessian by differences over the edge is not finite; the steps end there instead of in LAPACK's error."""

    def edge(x):
        inside = x.sum() < 3.0
        return (float(x @ x - 4 * x.sum()), 2 * x - 4) if inside else (np.inf, np.full(3, np.nan))

    at = np.full(3, 1.0 - 1e-9)
    np.testing.assert_array_equal(newton(Search(edge), at), at)
