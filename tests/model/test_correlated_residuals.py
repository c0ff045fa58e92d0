"""Correlated residuals and a formula of sigma: everything against V written out, V = Z Sigma Z' + sigma^2 D C D.

Numbers of nlme (gls, lme 3.1-162) are for the data in tests/data: Orthodont (Pinheiro & Bates 2000, section 1.4) and a
simulated set of series with unequal times; a dense likelihood in R confirmed them to 1e-11.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import draws, invented
from scipy import stats

import bayesmm as bmm
from bayesmm.design.residual.independent import whitened
from bayesmm.design.residual.reals import to_reals
from bayesmm.design.residual.structure import values_by_label
from bayesmm.errors import DataError, FormulaError
from bayesmm.evaluation.graph_vs_reml import check_consistency
from bayesmm.likelihood.gaussian import evaluate
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.problem import orthogonal_problem

DATA = Path(__file__).parents[1] / "data"


def orthodont():
    data = pd.read_csv(DATA / "orthodont.csv")
    return data.assign(Sex=pd.Categorical(data["Sex"], ["Male", "Female"]))


def unequal_times():
    return pd.read_csv(DATA / "unequal_times.csv").astype({"id": str, "grp": str})


# ----------------------------------------------------------------------------------------------------------------------
# V written out


def correlation(kind, frame, rho):
    """Return C, (n, n), of the rows of a table: 0 for rows of different series g."""
    t, g = frame["t"].to_numpy(), frame["g"].to_numpy()
    gap = np.abs(t[:, None] - t)
    if kind == "unstr":
        visits = np.unique(t)
        R = np.eye(len(visits))
        R[np.triu_indices(len(visits), 1)] = rho
        R = R + np.triu(R, 1).T
        at = np.searchsorted(visits, t)
        C = R[at][:, at]
    elif kind == "cosy":
        C = np.where(gap == 0, 1.0, rho[0])
    else:
        C = rho[0] ** gap
    return np.where(g[:, None] == g, C, 0.0)


def dense(design, C, d, sigma, covariances, reml):
    """Return the REML criterion or the ML deviance (Bates et al. 2015, eq. 34 and 41)."""
    V = sigma**2 * C * d[:, None] * d
    for block, Sigma in zip(design.blocks, covariances, strict=True):
        V = V + (block.index[:, None] == block.index) * (block.Z @ Sigma @ block.Z.T)
    inverse = np.linalg.inv(V)
    A = design.X.T @ inverse @ design.X
    r = design.y - design.X @ np.linalg.solve(A, design.X.T @ inverse @ design.y)
    p = design.p if reml else 0
    total = (design.n - p) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ inverse @ r
    return total + (np.linalg.slogdet(A)[1] if reml else 0.0)


TERMS = {"ar": "ar(t, g)", "car": "car(t, g)", "cosy": "cosy(g)", "unstr": "unstr(t, g)"}
RHO = {"ar": [-0.6], "car": [0.35], "cosy": [0.4], "unstr": [0.5, -0.2, 0.3, 0.1, 0.4, 0.2]}


def table(seed, missing=0.3, groups=7):
    """Return series of at most four whole times, visits missing at random, the last with a single row."""
    rng = np.random.default_rng(seed)
    g, t = np.repeat(np.arange(groups), 4), np.tile(np.arange(4), groups)
    kept = (rng.uniform(size=len(g)) > missing) | (g < 2)
    kept[g == groups - 1] = t[g == groups - 1] == 2
    order = rng.permutation(np.flatnonzero(kept))
    g, t = g[order], t[order]
    names = {"g": [f"g{i}" for i in g], "h": [f"h{i}" for i in rng.integers(4, size=len(g))]}
    x = rng.normal(size=len(g))
    f = np.array(["a", "b"])[rng.integers(2, size=len(g))]
    y = 1 + x + rng.normal(size=groups)[g] + rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "x": x, "t": t.astype(float), "f": f, **names})


def sds_of(frame, delta):
    return np.exp(delta * (frame["f"] == "b").to_numpy())


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(TERMS)),
    st.integers(0, 10**6),
    st.sampled_from(["", " + (1 | g)", " + (x | g)", " + (1 | g) + (1 | h)"]),
    st.booleans(),
    st.floats(0, 2),
)
def test_the_criterion_and_its_gradient_are_those_of_the_dense_likelihood(kind, seed, bars, reml, size):
    """Unbalanced, visits missing, a series of one row, a factor crossed with the series, singular (size 0)."""
    frame = table(seed)
    design = bmm.Model((f"y ~ x{bars} + {TERMS[kind]}", "sigma ~ f"), frame).design
    values = values_by_label(design.residual) | {kind: np.array(RHO[kind]), "log_sigma": np.array([0.3])}
    problem = orthogonal_problem(whitened(design, values))
    rng, prior = np.random.default_rng(seed), FixedPrior(np.zeros(design.p), np.ones(design.p), np.zeros(design.p))
    theta = size * rng.normal(size=len(problem.free))
    C, d = correlation(kind, frame, RHO[kind]), sds_of(frame, 0.3)

    def expected(theta):
        T, at, found = problem.packed(theta), 0, {}
        for k, q in zip(problem.cp.order, problem.cp.q, strict=True):
            B = problem.bases[k] @ T[at : at + q * q].reshape(q, q)
            found[k] = B @ B.T
            at += q * q
        return dense(design, C, d, 1.0, [found[k] for k in range(len(found))], reml)

    value = evaluate(problem.cp, problem.packed(theta), 1.0, prior, integrate_flat=reml)
    nu = design.n - (design.p if reml else 0)
    got = nu * np.log(2 * np.pi) + value.logdet + value.quad - problem.cp.sum_log_weights
    got += problem.log_det if reml else 0.0
    assert got == pytest.approx(expected(theta), rel=1e-9)
    steps = 1e-5 * np.eye(len(theta))  # central differences of a criterion of about 50: right to about 1e-7
    slopes = [(expected(theta + h) - expected(theta - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(-2 * problem.gradient(value.d_T, theta), slopes, atol=2e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(TERMS))
def test_the_graph_has_its_mode_at_reml(kind):
    # the random effects integrated out of PyMC's density under flat priors, without any code of the likelihood
    effects = "" if kind in ("unstr", "cosy") else " + (1 | g)"  # which are such correlations themselves
    model = bmm.Model((f"y ~ x{effects} + {TERMS[kind]}", "sigma ~ f"), table(11, missing=0.1, groups=30))
    found = check_consistency(model.design, model.maximize())
    assert found.ok, found.message


@pytest.mark.parametrize(
    ("formula", "method", "criterion", "fixed", "parameters"),
    [
        (
            "distance ~ age*Sex + cosy(Subject)", "REML", None, None,
            {"sigma": 2.28488267327712, "cosy": 0.631838849893138},
        ),
        (
            ("distance ~ age*Sex + (1 | Subject)", "sigma ~ Sex"), "REML", 415.220479572623,
            [16.340625, 0.784375, 1.03210227272727, -0.304829545454545],
            {"sd_Subject[Intercept]": 1.84757100771411, "sigma": 1.6698229930421,
             "log_sigma[Sex[T.Female]]": np.log(0.781300697421885 / 1.6698229930421)},
        ),
    ],
)  # fmt: skip
def test_orthodont_is_that_of_nlme(formula, method, criterion, fixed, parameters):
    point = bmm.Model(formula, orthodont()).maximize(method)
    assert point.converged
    if criterion is not None:
        assert point.criterion == pytest.approx(criterion, rel=1e-9)
        np.testing.assert_allclose(point.beta, fixed, rtol=1e-6)
    for label, value in parameters.items():
        assert point.parameters[label] == pytest.approx(value, rel=1e-5), label


@pytest.mark.parametrize(
    ("formula", "method", "criterion", "fixed", "parameters"),
    [
        (
            "y ~ time + x + grp + car(time, id)", "REML", 409.829938249769,
            [1.78596441043638, 0.308111609632789, 0.438671239146741, 1.28605597712123],
            {"sigma": 1.19650753898376, "car": 0.754895131612535},
        ),
        (
            ("y ~ time + x + grp + (1 | id) + car(time, id)", "sigma ~ grp"), "ML", 383.215401212679,
            [1.74926609192332, 0.306673270413888, 0.446713110623602, 1.29273958165872],
            {"sd_id[Intercept]": 0.7535423413386, "sigma": 0.693901965081024, "car": 0.534639430910048,
             "log_sigma[grp[T.b]]": np.log(1.03740096450495 / 0.693901965081024)},
        ),
    ],
)  # fmt: skip
def test_series_with_unequal_times_are_those_of_nlme(formula, method, criterion, fixed, parameters):
    point = bmm.Model(formula, unequal_times()).maximize(method)
    assert point.criterion == pytest.approx(criterion, rel=1e-9)
    np.testing.assert_allclose(point.beta, fixed, rtol=1e-6)
    for label, value in parameters.items():
        assert point.parameters[label] == pytest.approx(value, rel=1e-5), label


def test_without_an_intercept_sigma_has_a_coefficient_for_each_level():
    data = orthodont()
    with_one, without = (
        bmm.Model(("distance ~ age + (1 | Subject)", text), data).maximize()
        for text in ("sigma ~ Sex", "sigma ~ 0 + Sex")
    )
    assert without.criterion == pytest.approx(with_one.criterion, abs=1e-8) and without.npar == with_one.npar
    expected = [np.log(with_one.sigma), np.log(with_one.sigma) + with_one.residual["log_sigma"][0]]
    np.testing.assert_allclose(without.residual["log_sigma"], expected, atol=1e-5)


def test_compound_symmetry_is_a_random_intercept_where_it_is_positive():
    data = orthodont()
    terms = "cosy(Subject)", "(1 | Subject)"
    one, other = (bmm.Model(f"distance ~ age + {term}", data).maximize("ML") for term in terms)
    assert one.criterion == pytest.approx(other.criterion, abs=1e-7)
    between = other.covariances[0][0, 0]
    assert one.residual["cosy"][0] == pytest.approx(between / (between + other.sigma**2), abs=1e-5)


def test_a_correlation_of_0_that_cannot_be_below_is_an_estimate():
    # REML of this table with ar(), which may be negative, is below 0
    frame = table(4, missing=0.1, groups=30)
    assert bmm.Model("y ~ x + (1 | g) + ar(t, g)", frame).maximize().residual["ar"][0] < 0
    found = bmm.Model("y ~ x + (1 | g) + car(t, g)", frame).maximize()
    plain = bmm.Model("y ~ x + (1 | g)", frame).maximize()
    assert found.singular and found.residual["car"][0] < 1e-4
    assert found.criterion == pytest.approx(plain.criterion, abs=1e-3)


def test_rows_in_another_order_and_series_of_other_names_are_the_same_model():
    data = unequal_times()
    formula = "y ~ time + (1 | id) + car(time, id)"
    point = bmm.Model(formula, data).maximize()
    mixed = data.sample(frac=1, random_state=1).assign(id=lambda frame: "s" + frame["id"])
    again = bmm.Model(formula, mixed).maximize()
    assert again.criterion == pytest.approx(point.criterion, abs=1e-7)


def test_log_likelihoods_of_draws_are_those_of_the_dense_normal():
    from bayesmm.posterior.log_likelihood import by_level, by_row, conditional, split_by

    frame = table(5)
    fit = invented(bmm.Model(("y ~ x + (1 | g) + ar(t, g)", "sigma ~ f"), frame))
    fit.tree["posterior"]["ar"][:] = np.tanh(fit.tree["posterior"]["ar"])
    eta = fit.predict(kind="linear").draws.reshape(-1, len(frame))
    rows, split = conditional(fit), split_by(fit.design, "g")
    levels, alone = by_level(fit, split), by_row(fit, split)
    fixed, y = draws(fit, "beta") @ fit.design.X.T, frame["y"].to_numpy()
    for s in (0, 31):
        d = sds_of(frame, draws(fit, "log_sigma")[s, 0]) * draws(fit, "sigma")[s]
        R = correlation("ar", frame, draws(fit, "ar")[s]) * d[:, None] * d
        np.testing.assert_allclose(rows[s], given_the_others(R, y - eta[s]), rtol=1e-8)
        g = fit.design.blocks[0].index
        V = R + draws(fit, "sd_g")[s, 0] ** 2 * (g[:, None] == g)
        np.testing.assert_allclose(alone[s], given_the_others(V, y - fixed[s]), rtol=1e-8)
        own = g == 3
        expected = stats.multivariate_normal.logpdf((y - fixed[s])[own], cov=V[np.ix_(own, own)])
        assert levels[s, 3] == pytest.approx(expected, rel=1e-9)


def given_the_others(V, r):
    P = np.linalg.inv(V)  # Sundararajan & Keerthi (2001)
    return stats.norm.logpdf(P @ r / np.diag(P), scale=np.diag(P) ** -0.5)


# the others go through the same code, a root of their own each
OTHERS = [pytest.param(kind, marks=pytest.mark.slow) for kind in TERMS if kind != "ar"]


@pytest.mark.parametrize("kind", ["ar", *OTHERS])
def test_simulated_residuals_have_the_correlations(kind):
    frame = table(7, missing=0.0)
    model = bmm.Model((f"y ~ x + {TERMS[kind]}", "sigma ~ f"), frame)
    own = model.design.residual.parameters[0]
    labels = [kind] if own.terms is None else [f"{kind}[{term}]" for term in own.terms]
    values = {"beta[Intercept]": 0.0, "beta[x]": 0.0, "sigma": 2.0, "log_sigma[f[T.b]]": 0.5}
    drawn = model.simulate(values | dict(zip(labels, RHO[kind], strict=True)), draws=6000, seed=1).to_numpy()
    d = 2.0 * sds_of(frame, 0.5)
    # of 6,000 draws a correlation has a standard error of at most 0.013
    np.testing.assert_allclose(np.cov(drawn) / (d[:, None] * d), correlation(kind, frame, RHO[kind]), atol=0.06)


def test_files_new_data_and_the_equation_know_the_structures(tmp_path):
    frame = table(5)
    model = bmm.Model("y ~ x + (1 | g) + unstr(t, g); sigma ~ f", frame)
    fit = invented(model)
    fit.tree["posterior"]["unstr"][:] = RHO["unstr"]
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.design.residual.rows, model.design.residual.rows)
    assert again.design.formula == model.design.formula
    other = model.with_data(table(6))
    assert other.design.residual.parameters == model.design.residual.parameters
    assert r"e^{2 v_{i}' \eta}" in model.equation() and r"\mathrm{corr}" in model.equation()
    few = frame.head(3)
    assert fit.predict(few, kind="response", seed=1).draws.shape[-1] == 3


BAD = [
    ("ar(t, g)", {"t": 1.0}, DataError, "ar(): time 1 of series 'g"),
    ("ar(t)", {}, DataError, "gr= says which series a row is of"),
    ("ar(t, g)", {"t": np.linspace(0, 3, 24)}, DataError, "not whole numbers"),
    ("ar(f, g)", {}, DataError, "'f' holds text where numbers are expected"),
    ("ar(time, g)", {}, FormulaError, "column 'time' is not in the data"),
    ("ar(t, g, p = 2)", {}, FormulaError, "ar() has no argument 'p'"),
    ("ar()", {}, FormulaError, "ar() lacks its argument time"),
    ("ar(t, g) + cosy(g)", {}, FormulaError, "a model has one residual structure"),
    ("x:ar(t, g)", {}, FormulaError, "is part of no term"),
    ("car(t, log(x))", {}, FormulaError, "where a column of the data is expected"),
    ("car(t, g)", {"t": 1.0}, DataError, "car(): time 1 of series 'g"),
    ("cosy(id)", {"id": np.arange(24)}, DataError, "every series has one row"),
    ("cosy(1)", {}, FormulaError, "a column of the data is expected"),
    ("unstr(x, g)", {}, DataError, "there are 24 distinct times"),
    ("unstr(t, g)", {"t": 1.0}, DataError, "factor 't' has one level"),
    ("unstr(t, g)", {"g": "a"}, DataError, "unstr(): time 0 of series 'a' stands in"),
    ("unstr(v, id)", {"v": np.arange(24) % 2, "id": np.arange(24)}, DataError, "no series has both time 0 and time 1"),
]


@pytest.mark.parametrize(("term", "change", "error", "said"), BAD)
def test_bad_terms_are_one_clear_sentence(term, change, error, said):
    frame = table(1, missing=0.0, groups=7).head(24).assign(**change)
    with pytest.raises(error, match=re.escape(said)):
        bmm.Model(f"y ~ x + {term}", frame)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("phi ~ f", FormulaError, "the parameters are sigma"),
        ("sigm ~ f", FormulaError, "did you mean 'sigma'?"),
        ("sigma ~ z", FormulaError, "column 'z' is not in the data"),
        ("sigma ~ 1", DataError, "names no column"),
        ("sigma ~ f + f2", DataError, "depend on others"),
        ("sigma ~ offset(x)", FormulaError, "it can have fixed and random effects only"),
        ("sigma", FormulaError, "no '~'"),
        (3, FormulaError, "the formula is of type int"),
        ("log(sigma) ~ f", FormulaError, "a further formula is of a parameter"),
    ],
)
def test_bad_formulas_of_sigma_are_one_clear_sentence(text, error, said):
    frame = table(1).assign(f2=lambda frame: frame["f"])
    with pytest.raises(error, match=re.escape(said)):
        bmm.Model(("y ~ x", text), frame)
    with pytest.raises(FormulaError, match="sigma has two formulas"):
        bmm.Model(("y ~ x", "sigma ~ f", "sigma ~ x"), frame)


@pytest.mark.parametrize("kind", ["ar", "cosy"])
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_series_may_cross_the_levels_of_a_factor_with_one_effect_in_each(kind, method):
    frame = table(1)
    model = bmm.Model(f"y ~ x + (1 | h) + {TERMS[kind]}", frame)
    point, design = model.maximize(method), model.design
    rho, ones = next(iter(point.residual.values())), np.ones(design.n)

    def criterion(s, sigma, r):
        return dense(design, correlation(kind, frame, [r]), ones, sigma, [np.array([[s**2]])], method == "REML")

    s = np.sqrt(point.covariances[0][0, 0])
    best = criterion(s, point.sigma, rho[0])
    assert point.converged and point.criterion == pytest.approx(best, rel=1e-9)
    for step in (0.98, 1.02):  # no lower anywhere near
        moved = (s * step + 0.01, point.sigma, rho[0]), (s, point.sigma * step, rho[0]), (s, point.sigma, rho[0] * step)
        assert all(criterion(*other) > best for other in moved)


def test_what_cannot_be_is_said():
    frame = table(1)
    with pytest.raises(DataError, match="do not lie within the levels of any grouping factor"):
        bmm.Model("y ~ x + (x | h) + ar(t, g)", frame).maximize()
    with pytest.raises(DataError, match=re.escape("effects='marginal' is not possible with the residuals of ar(t, g)")):
        bmm.Model("y ~ x + (1 | h) + ar(t, g)", frame).effects("marginal")
    with pytest.raises(DataError, match=re.escape("leave it out")):
        bmm.Model("y ~ x + (1 | g) + ar(t, g)", frame.assign(y=1), family="poisson")


def test_intervals_and_means_go_by_the_normal_distribution():
    point = bmm.Model(("distance ~ age + Sex + cosy(Subject)", "sigma ~ Sex"), orthodont()).maximize()
    wald, table = point.confint(method="wald"), point.fixef()
    np.testing.assert_allclose(wald["upper"], table["estimate"] + stats.norm.ppf(0.975) * table["se"])
    means = bmm.emmeans(point, "Sex")
    age = orthodont()["age"].mean()
    assert means.table["estimate"].iloc[0] == pytest.approx(point.beta @ [1.0, age, 0.0])
    with pytest.raises(DataError, match="a profile likelihood is not possible"):
        point.confint()


def test_coordinates_of_a_search_go_there_and_back():
    design = bmm.Model("y ~ x + car(t, g); sigma ~ f", table(1)).design
    values = values_by_label(design.residual)
    assert to_reals(design.residual, values) == pytest.approx([0.0, 0.0])  # the middle of (0, 1), and a ratio of 1


def test_tests_of_models_with_structures():
    """p-values and intervals are by z; nesting asks for the structures; influence is not judged."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": np.repeat(list("abcdefgh"), 6), "t": np.tile(np.arange(6), 8)})
    data["x"] = rng.normal(size=48)
    data["y"] = data["x"] + rng.normal(size=8).repeat(6) + rng.normal(size=48)
    plain, ar, car = (bmm.Model(f"y ~ x{term}", data).maximize("ML") for term in ("", " + ar(t, g)", " + car(t, g)"))
    table = ar.fixef()
    np.testing.assert_allclose(ar.pvalues, 2 * stats.norm.sf(np.abs(table["estimate"] / table["se"])), rtol=1e-9)
    half = stats.norm.ppf(0.975) * table["se"]
    np.testing.assert_allclose(ar.conf_int()["upper"], table["estimate"] + half, rtol=1e-9)
    assert np.isfinite(ar.summary().loc["beta[x]", "p"])
    assert not bmm.lrt(plain, ar).notes and bmm.lrt(plain, ar).table["Pr(>Chisq)"].notna().any()
    assert any("car is 0 under the smaller model, at the boundary" in note for note in bmm.lrt(plain, car).notes)
    more = bmm.Model("y ~ x + I(x^2) + (1 | g)", data).maximize("ML")
    found = bmm.lrt(ar, more)
    assert any("its residuals ar(t, g) are not among the other's" in note for note in found.notes)
    check = next(check for check in ar.checks() if check.name == "influential groups")
    assert np.isnan(check.value)
