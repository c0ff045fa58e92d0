"""Satterthwaite against lmerTest, Kenward-Roger against pbkrtest, nlme's rule against nlme."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from references import frame, inference, r_name

import bayesmm as bmm
from bayesmm.inference import kenward_roger as kenward_roger_module
from bayesmm.inference import satterthwaite as satterthwaite_module
from bayesmm.inference.containment import nested_chain
from bayesmm.inference.satterthwaite import satterthwaite
from bayesmm.likelihood.problem import orthogonal_problem, scaled_columns

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

# The reference is taken where lme4 stops by default: about 1e-5 from the optimum in theta, and lmerTest's derivatives
# are by Richardson's differences; both leave the fifth digit. The p-value is compared by its logarithm, which has the
# relative error of t and df, not t^2 times it.
SAME = 1e-4
# These three stop so early that the fourth digit of the reference is not the optimum's.
STOPPED = [name for name, ref in inference("lmer").items() if "stopped" in ref]
# At lme4's own stopping point only lmerTest's differences remain.
AT_ITS_POINT = 1e-6
# nlme's optimiser leaves 1e-6 of the standard errors.
NLME = 2e-5


def fitted(ref):
    return bmm.Model(ref["formula"], frame(ref["data"])).maximize(ref["method"])


def compare(table, expected, tolerance):
    assert [r_name(name) for name in table.index] == list(expected)
    for name, row in table.iterrows():
        for key, value in expected[r_name(name)].items():
            if key == "p":
                assert np.log(row["p"] + 1e-320) == pytest.approx(np.log(value + 1e-320), rel=tolerance), name
            else:
                assert row[key] == pytest.approx(value, rel=tolerance), (name, key)


@pytest.mark.parametrize("name", [name for name in inference("lmer") if name not in STOPPED])
def test_satterthwaite(name):
    ref = inference("lmer")[name]
    compare(fitted(ref).fixef(ddf="satterthwaite"), ref["satterthwaite"], SAME)


@pytest.mark.parametrize("name", STOPPED)
def test_satterthwaite_where_lme4_stopped(name, monkeypatch):
    ref = inference("lmer")[name]
    point, (theta, sigma) = fitted(ref), (np.array(ref["stopped"][key]) for key in ("theta", "sigma"))
    # away from the optimum the Hessian depends on the parameters: lme4's are the entries of the columns' own factor
    monkeypatch.setattr(satterthwaite_module, "orthogonal_problem", lambda d: orthogonal_problem(d, scaled_columns(d)))
    scale = np.sqrt(np.mean(point.design.blocks[0].Z ** 2, axis=0))
    own = theta * scale[[0, 1, 1]]  # the rows (0, 0), (1, 0), (1, 1) of the factor of the scaled columns
    there = satterthwaite(replace(point, sigma=float(sigma), optimum=replace(point.optimum, parameters=own)))
    for j, (key, expected) in enumerate(ref["satterthwaite"].items()):
        row = np.eye(len(ref["satterthwaite"]))[j]
        assert there.df(row) == pytest.approx(expected["df"], rel=AT_ITS_POINT), key
    # and the optimum is near: 1e-3 in df
    monkeypatch.undo()
    table = point.fixef(ddf="satterthwaite")
    np.testing.assert_allclose(table["df"], [row["df"] for row in ref["satterthwaite"].values()], rtol=1e-3)


@pytest.mark.parametrize("name", [name for name, ref in inference("lmer").items() if "kenward_roger" in ref])
def test_kenward_roger(name):
    ref = inference("lmer")[name]
    compare(fitted(ref).fixef(ddf="kenward-roger"), ref["kenward_roger"], SAME)


@pytest.mark.parametrize("name", inference("nlme"))
def test_rule_of_nlme(name):
    ref = inference("nlme")[name]
    table = fitted(ref).fixef(ddf="containment")
    names = [r_name(coefficient) for coefficient in table.index]
    keys = {"se": "se", "df": "df", "t": "t", "p": "p"}
    expected = {name: {key: ref["flat"][f"fixef.{name}.{theirs}"] for key, theirs in keys.items()} for name in names}
    compare(table, expected, NLME)


def direct_kenward_roger(point):
    """Return Kenward & Roger's Phi, Phi_A, P and W from their formulas with n x n matrices, weights and all."""
    design = point.design
    w = np.ones(design.n) if design.weights is None else design.weights
    G = [np.diag(1 / w)]
    V = point.sigma**2 * G[0]
    for block, covariance in zip(design.blocks, point.covariances, strict=True):
        same = block.index[:, None] == block.index
        V = V + same * (block.Z @ covariance @ block.Z.T)
        for part in block.partition:
            for a, i in enumerate(part):
                for j in part[a:]:
                    unit = np.zeros_like(covariance)
                    unit[i, j] = unit[j, i] = 1
                    G.append(same * (block.Z @ unit @ block.Z.T))
    inverse, X = np.linalg.inv(V), design.X
    Phi = np.linalg.inv(X.T @ inverse @ X)
    P = [-X.T @ inverse @ g @ inverse @ X for g in G]
    Q = [[X.T @ inverse @ g @ inverse @ h @ inverse @ X for h in G] for g in G]
    twice = np.array(
        [
            [
                np.trace(inverse @ g @ inverse @ h) - 2 * np.trace(Phi @ Q[i][j]) + np.trace(Phi @ P[i] @ Phi @ P[j])
                for j, h in enumerate(G)
            ]
            for i, g in enumerate(G)
        ]
    )
    W = 2 * np.linalg.inv(twice)
    v = range(len(G))
    middle = sum(W[i, j] * (Q[i][j] - P[i] @ Phi @ P[j]) for i in v for j in v)
    return Phi, Phi + 2 * Phi @ middle @ Phi, P, W


def test_kenward_roger_is_its_definition_with_weights_and_crossed_factors():
    data = frame("schoolclass").iloc[:120]
    w = 1.0 + np.arange(len(data)) % 3
    point = bmm.Model("Grade ~ Hours + (Hours | School) + (1 | Class)", data, weights=w).maximize()
    # the two ways differ by the rounding of inverses with condition 1e4
    np.testing.assert_allclose(
        kenward_roger_module.kenward_roger(point).adjusted, direct_kenward_roger(point)[1], rtol=1e-7
    )


def test_units_do_not_matter():
    data = frame("sleepstudy").assign(Days=lambda d: d["Days"] * 1e6, Reaction=lambda d: d["Reaction"] * 1e-4)
    point = bmm.Model("Reaction ~ Days + (Days || Subject)", data).maximize()
    base = bmm.Model("Reaction ~ Days + (Days || Subject)", frame("sleepstudy")).maximize()
    for ddf in ("satterthwaite", "kenward-roger"):
        # the two optima agree to about 1e-7
        np.testing.assert_allclose(point.fixef(ddf=ddf)["df"], base.fixef(ddf=ddf)["df"], rtol=1e-5)


def test_balanced_one_way_layout_has_the_classical_f_test():
    """Patients within genotypes: F on 1 and 10, whichever way (and t^2 for a single coefficient)."""
    point = bmm.Model("Level ~ Genotype + (1 | Patient)", frame("thyroxine_genotype")).maximize()
    means = frame("thyroxine_genotype").groupby(["Patient", "Genotype"], observed=True)["Level"].mean().reset_index()
    classical = bmm.anova(bmm.Model("Level ~ Genotype", means).maximize()).table.loc["Genotype"]
    for ddf in ("satterthwaite", "kenward-roger", "containment"):
        row = bmm.anova(point, ddf=ddf).table.loc["Genotype"]
        assert row["F value"] == pytest.approx(classical["F value"], rel=1e-6)  # REML's optimum
        assert row["DenDF"] == pytest.approx(10, rel=1e-5)  # differences of the gradient
        assert row["Pr(>F)"] == pytest.approx(classical["Pr(>F)"], rel=1e-4)  # by t^2 from the two


def one_way(q, ddf, seed=0):
    """Return rows of q + 1 treatments on q + 1 + ddf groups of 3 rows, and the exact F: that of the group means."""
    rng, groups = np.random.default_rng(seed), q + 1 + ddf
    treatment = np.arange(groups) % (q + 1)
    y = rng.normal(size=(groups, 3)) + (rng.normal(0, 3, groups) + treatment)[:, None]
    rows = pd.DataFrame({"y": y.ravel(), "t": treatment.repeat(3).astype(str), "g": np.arange(groups).repeat(3)})
    between = pd.Series(y.mean(axis=1)).groupby(treatment).agg(["mean", "size"])
    total = ((y.mean(axis=1) - y.mean()) ** 2).sum()
    explained = (between["size"] * (between["mean"] - y.mean()) ** 2).sum()
    return rows.assign(g=rows["g"].astype(str)), (explained / q) / ((total - explained) / ddf)


@pytest.mark.parametrize("ddf", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("q", [1, 2, 3, 4, 5, 6])
def test_few_denominator_degrees_of_freedom_keep_the_classical_f_test(q, ddf):
    """Kenward & Roger's formulas are 0/0 at 2 degrees of freedom and divide by 0 at 4."""
    rows, F = one_way(q, ddf)
    point = bmm.Model("y ~ t + (1 | g)", rows).maximize()
    assert point.parameters["sd_g[Intercept]"] > 0.5
    for method in ("satterthwaite", "kenward-roger"):
        row = bmm.anova(point, ddf=method).table.loc["t"]
        assert row["F value"] == pytest.approx(F, rel=1e-6)  # REML's optimum
        assert row["DenDF"] == pytest.approx(ddf, rel=1e-5)  # differences of the gradient


def test_split_plot_with_2_whole_plot_degrees_of_freedom():
    """2 blocks of 3 treatments on whole plots of 4 subplots: MS(treatment) / MS(whole plot) on 2 and 2."""
    grid = pd.MultiIndex.from_product([list("AB"), list("uvw"), list("1234")], names=["block", "tr", "sub"])
    d = grid.to_frame(index=False)
    d["whole"] = d["block"] + d["tr"]
    rng = np.random.default_rng(1)
    d["y"] = d["whole"].map(dict(zip(sorted(set(d["whole"])), rng.normal(0, 2, 6), strict=True))) + rng.normal(size=24)
    means = d.groupby(["block", "tr"])["y"].mean().reset_index()
    classical = bmm.anova(bmm.Model("y ~ block + tr", means).maximize()).table.loc["tr"]
    point = bmm.Model("y ~ block + sub + tr + (1 | whole)", d).maximize()
    row = bmm.anova(point, ddf="kenward-roger").table.loc["tr"]
    assert row["F value"] == pytest.approx(classical["F value"], rel=1e-6)
    assert row["DenDF"] == pytest.approx(2, rel=1e-6)
    assert row["Pr(>F)"] == pytest.approx(classical["Pr(>F)"], rel=1e-6)


@pytest.mark.parametrize(("q", "groups"), [(2, 4), (2, 5), (3, 5), (3, 6)])
def test_an_unstructured_covariance_has_hotellings_t2(q, groups):
    """A factor within groups that all have it: F = (nu - q + 1) / (nu q) T^2 on q and nu - q + 1, nu = groups - 1."""
    rng, repeats = np.random.default_rng(0), 20
    means = 3 * rng.normal(size=(groups, q + 1)) + np.arange(q + 1)
    d = pd.DataFrame({"g": np.arange(groups).repeat((q + 1) * repeats).astype(str)})
    d["f"] = np.tile(np.array(list("abcd"))[: q + 1].repeat(repeats), groups)
    d["y"] = means.ravel().repeat(repeats) + 0.3 * rng.normal(size=len(d))
    found = d.groupby(["g", "f"])["y"].mean().unstack().to_numpy()
    contrasts = found[:, 1:] - found[:, :1]
    mean, nu = contrasts.mean(axis=0), groups - 1
    T2 = groups * mean @ np.linalg.solve(np.cov(contrasts.T), mean)
    point = bmm.Model("y ~ f + (f | g)", d).maximize()
    assert not point.singular  # where it is, the estimate is not that of the sample covariance
    row = bmm.anova(point, ddf="kenward-roger").table.loc["f"]
    assert row["DenDF"] == pytest.approx(nu - q + 1, rel=1e-4)  # the information is nearly singular
    assert row["F value"] == pytest.approx((nu - q + 1) / (nu * q) * T2, rel=1e-4)


def as_written(q, A1, A2):
    """Kenward & Roger's (1997) degrees of freedom and factor, as the paper has them."""
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    c1, c2, c3 = (c / (3 * q + 2 * (1 - g)) for c in (g, q - g, q + 2 - g))
    B, E = (A1 + 6 * A2) / (2 * q), 1 / (1 - A2 / q)
    rho = 2 / q * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B)) / (2 * E**2)
    m = 4 + (q + 2) / (q * rho - 1)
    return m, m / (E * (m - 2))


@pytest.mark.parametrize("q", [2, 3, 6, 12])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("A2", [1e-6, 0.01, 0.3, 0.7])
def test_away_from_the_singularity_the_formulas_are_kenward_and_rogers(q, share, A2):
    matched = kenward_roger_module._matched(q, share * q, A2)
    np.testing.assert_allclose(matched, as_written(q, share * q * A2, A2), rtol=1e-8)  # q rho - 1 cancels at 1e-6


def test_where_kenward_and_rogers_formulas_break_down_there_is_no_number():
    """Between the two exact designs E* and V* have their poles at different places: lambda was 0.02, say, or -5."""
    assert np.isnan(kenward_roger_module._matched(3, 2.5, 2.95)).all()
    table = pd.DataFrame({"npar": [2], "F value": [np.nan], "DenDF": [np.nan], "Pr(>F)": [np.nan]}, index=["t"])
    shown = bmm.inference.anova.Anova("Analysis of variance", "y", table)
    assert "breaks down for 't'" in str(shown) and "breaks down" in shown._repr_html_()


def test_several_columns_in_one_term_balanced():
    """A factor of 3 levels within subjects of a balanced layout: the F of the two-way analysis of variance."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"s": np.repeat(np.arange(8), 6), "f": np.tile(list("abc"), 16)})
    data["y"] = rng.normal(size=48) + 2 * rng.normal(size=8)[data["s"]] + 0.5 * (data["f"] == "c")
    data["s"] = data["s"].astype("category")
    point = bmm.Model("y ~ f + (1 | s)", data).maximize()
    classical = bmm.anova(bmm.Model("y ~ s + f", data).maximize()).table
    plain = bmm.anova(point).table.loc["f"]
    assert plain["F value"] == pytest.approx(classical.loc["f", "F value"], rel=1e-6)
    for ddf in ("satterthwaite", "kenward-roger", "containment"):
        row = bmm.anova(point, ddf=ddf).table.loc["f"]
        assert (row["npar"], row["DenDF"]) == (2, pytest.approx(classical.loc["Residuals", "Df"], rel=1e-5))
        assert row["F value"] == pytest.approx(classical.loc["f", "F value"], rel=1e-5)


def test_linear_model_has_its_residual_degrees_of_freedom():
    table = bmm.Model("Level ~ Patient", frame("thyroxine")).maximize().fixef(ddf="satterthwaite")
    assert (table["df"] == 12).all()
    assert list(table.columns) == ["estimate", "se", "df", "t", "p"]


def test_aliased_coefficient_is_nan():
    data = frame("sleepstudy").assign(Twice=lambda d: 2 * d["Days"])
    point = bmm.Model("Reaction ~ Days + Twice + (Days | Subject)", data).maximize()
    base = bmm.Model("Reaction ~ Days + (Days | Subject)", data).maximize()
    for ddf in ("satterthwaite", "kenward-roger", "containment"):
        table = point.fixef(ddf=ddf)
        assert table.loc["Twice"].isna().all()
        assert table.loc["Days", "df"] == pytest.approx(base.fixef(ddf=ddf).loc["Days", "df"], rel=1e-5)


def test_the_default_table_has_no_degrees_of_freedom():
    point = bmm.Model("Reaction ~ Days + (1 | Subject)", frame("sleepstudy")).maximize()
    assert list(point.fixef().columns) == ["estimate", "se", "t"]


def test_correlation_of_the_coefficients():
    point = bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy")).maximize()
    assert point.fixef_corr().loc["Days", "Intercept"] == pytest.approx(-0.137553434305553, rel=1e-5)
    assert np.diag(point.fixef_corr()) == pytest.approx(1)


def test_chain_of_groups():
    data = frame("schoolclass")
    chain = nested_chain(bmm.Model("Grade ~ Hours + (1 | School/Class)", data).design)
    assert [int(index.max()) + 1 for index in chain] == [12, 35]


@pytest.mark.parametrize(
    "formula, method, ddf, error, message",
    [
        ("Grade ~ Hours + (1 | School)", "REML", "satterthwait", ValueError, "did you mean 'satterthwaite'"),
        ("Grade ~ Hours + (1 | School)", "ML", "kenward-roger", bmm.DataError, "is for REML, and this fit is by ML"),
        (
            "Grade ~ Hours + (1 | School) + (1 | Class)",
            "REML",
            "containment",
            bmm.DataError,
            "nested in one chain, and of Class, School 'School' is not nested in 'Class'",
        ),
        ("Grade ~ Hours + (1 | School)", "MAP", "satterthwaite", bmm.DataError, r"the mode of a posterior \(MAP\)"),
    ],
)
def test_errors(formula, method, ddf, error, message):
    point = bmm.Model(formula, frame("schoolclass")).maximize(method)
    with pytest.raises(error, match=message):
        point.fixef(ddf=ddf)


def test_too_many_random_effects_for_kenward_roger(monkeypatch):
    monkeypatch.setattr(kenward_roger_module, "MOST_EFFECTS", 17)
    point = bmm.Model("Reaction ~ Days + (1 | Subject)", frame("sleepstudy")).maximize()
    with pytest.raises(bmm.DataError, match="dense matrices of all 18 random effects, and 17 is the most"):
        point.fixef(ddf="kenward-roger")


def nested_rows():
    """Return 6 levels of w with 3 of m in each and 3 rows in each of those: the layout of nlme's Machines."""
    rng = np.random.default_rng(3)
    d = pd.DataFrame({"w": np.arange(6).repeat(9).astype(str), "m": np.tile(np.array(list("ABC")).repeat(3), 6)})
    d["y"] = rng.normal(0, 2, 6).repeat(9) + rng.normal(0, 1, 18).repeat(3) + rng.normal(0, 0.5, 54)
    return d.assign(x=rng.normal(size=54), z=np.arange(6).repeat(9) ** 2.0, five=5.0)


@pytest.mark.parametrize(
    ("formula", "df"),
    [
        # levels of 6, 18 and 54 units; with a constant column 6 - (1 + p_1), 18 - (6 + p_2), 54 - (18 + p_3)
        ("y ~ m + (1 | w/m)", {"Intercept": 36, "m[T.B]": 10, "m[T.C]": 10}),
        ("y ~ m + (1 | w)", {"Intercept": 46, "m[T.B]": 46, "m[T.C]": 46}),
        ("y ~ m + x + z + (1 | w/m)", {"Intercept": 35, "m[T.B]": 10, "m[T.C]": 10, "x": 35, "z": 4}),
        ("y ~ 0 + five + x + (1 | w)", {"five": 47, "x": 47}),  # a constant column is an intercept
        # without one: 6 - p_1, 18 - (6 + p_2) + 1, 54 - (18 + p_3) + 1
        ("y ~ m - 1 + (1 | w/m)", {"m[A]": 10, "m[B]": 10, "m[C]": 10}),
        ("y ~ m - 1 + (1 | w)", {"m[A]": 46, "m[B]": 46, "m[C]": 46}),
        ("y ~ 0 + x + z + (1 | w/m)", {"x": 36, "z": 5}),
    ],
)
def test_rule_of_nlme_with_and_without_an_intercept(formula, df):
    """What `getFixDF` of R's nlme 3.1 gives, written out level by level."""
    table = bmm.Model(formula, nested_rows()).maximize().fixef(ddf="containment")
    assert table["df"].to_dict() == df


def test_rule_of_nlme_without_an_intercept_in_the_analysis_of_variance():
    point = bmm.Model("y ~ m - 1 + (1 | w/m)", nested_rows()).maximize()
    assert bmm.anova(point, ddf="containment").table["DenDF"].to_dict() == {"m": 10}


def test_rule_of_nlme_for_a_term_whose_columns_differ_in_level():
    """In 10 groups of 6 rows f is a, b and c; in 10 others it is d alone: only the column of d is between groups.

    getFixDF: t tests by column, 20 - (1 + 1) and 120 - (20 + 2); the F test at the innermost column, 120 - (20 + 3).
    """
    rng = np.random.default_rng(1)
    d = pd.DataFrame({"g": np.arange(20).repeat(6), "f": list("abcabc") * 10 + list("dddddd") * 10})
    d = d.assign(y=rng.normal(size=120) + rng.normal(0, 2, 20).repeat(6), g=d["g"].astype(str))
    point = bmm.Model("y ~ f + (1 | g)", d).maximize()
    expected = {"Intercept": 98, "f[T.b]": 98, "f[T.c]": 98, "f[T.d]": 18}
    assert point.fixef(ddf="containment")["df"].to_dict() == expected
    assert bmm.anova(point, ddf="containment").table.loc["f", "DenDF"] == 97


def test_rule_of_nlme_gives_the_intercept_the_largest():
    """getFixDF's max(dfX): 40 groups of 30 pairs and 10 single rows have 38 df between them and 30 within."""
    g = np.concatenate([np.arange(30).repeat(2), np.arange(30, 40)])
    rng = np.random.default_rng(1)
    d = pd.DataFrame(
        {"g": g.astype(str), "z": rng.normal(size=40)[g], "y": rng.normal(size=70) + rng.normal(size=40)[g]}
    )
    table = bmm.Model("y ~ z + (1 | g)", d).maximize().fixef(ddf="containment")
    assert table["df"].to_dict() == {"Intercept": 38, "z": 38}


def test_too_few_groups_for_the_rule_of_nlme():
    data = pd.DataFrame({"g": np.repeat(list("ab"), 10), "x": np.repeat([0.0, 1.0], 10)})
    data["y"] = np.random.default_rng(1).normal(size=20)
    with pytest.raises(bmm.DataError, match="leaves no degrees of freedom for the coefficient 'x'"):
        bmm.Model("y ~ x + (1 | g)", data).maximize().fixef(ddf="containment")


def test_other_families_have_none():
    data = frame("esoph")
    point = bmm.Model("ncases ~ ncontrols + (1 | agegp)", data, family="poisson").maximize("ML")
    with pytest.raises(bmm.DataError, match="Satterthwaite's method is for the gaussian family, and this model's is p"):
        point.fixef(ddf="satterthwaite")
    with pytest.raises(bmm.DataError, match="ddf='satterthwaite' is for the gaussian family"):
        bmm.anova(point, ddf="satterthwaite")


def test_a_generalised_model_with_as_many_coefficients_as_rows_has_no_degrees_of_freedom():
    data = {"y": [1, 2, 3, 4, 5, 6], "f": list("abcdef"), "g": list("ppqqrr")}
    point = bmm.Model("y ~ f + (1 | g)", data, "poisson").maximize()
    with pytest.raises(bmm.DataError, match="is for the gaussian family, and this model's is poisson"):
        point.fixef(ddf="containment")
