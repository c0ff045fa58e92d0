"""Several responses, mvbind(y1, y2): against nlme, a covariance matrix written out, and models of each response.

The reference is nlme 3.1-162's lme() of the stacked marks of mlmRev's Gcsemv, confirmed by a dense normal likelihood in
R; tests/reference/structures.json has its call.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from invented import invented
from numpy.testing import assert_allclose
from pytensor.compile.mode import Mode
from scipy import stats
from structure_references import structures

import bayesmm as bmm
from bayesmm.design.residual.independent import whitened
from bayesmm.design.residual.responses import spread
from bayesmm.errors import DataError, FormulaError, PriorError
from bayesmm.estimation.profiled import criterion_at, flat
from bayesmm.estimation.reml import relative_factors, start_entries
from bayesmm.formula.formula import parse
from bayesmm.likelihood.gaussian import evaluate
from bayesmm.likelihood.problem import orthogonal_problem
from bayesmm.posterior.log_likelihood import conditional
from bayesmm.priors.scales import robust_scale

PYTHON = Mode(linker="py", optimizer="fast_compile")  # quicker than compiling a graph that is evaluated once
SHARED = "mvbind(y1, y2) ~ x * f + (1 | p | g)"


def gcse():
    return bmm.load_dataset("gcse")


def made(rows=60, gaps=True, seed=4):
    """Return a table of three responses in ten groups, some of them missing; y2 is in other units."""
    rng = np.random.default_rng(seed)
    g = np.arange(rows) % 10
    x, f = rng.normal(2, 1, rows), rng.choice(["a", "b"], rows)
    b = rng.multivariate_normal(np.zeros(3), [[1, 0.5, 0], [0.5, 1, 0.3], [0, 0.3, 1]], 10)
    e = rng.multivariate_normal(np.zeros(3), [[1, 0.6, 0.2], [0.6, 1, -0.3], [0.2, -0.3, 1]], rows)
    y = b[g] + e + np.outer(x, [0.5, -1, 0.2])
    data = pd.DataFrame({"g": [f"g{k}" for k in g], "x": x, "f": f, "y1": y[:, 0], "y2": 100 * y[:, 1], "y3": y[:, 2]})
    if gaps:
        data.loc[[3, 11], "y1"] = np.nan
        data.loc[[5, 12, 30], "y2"] = np.nan
    return data


def near():
    """Return the same table with y2 in units in which it is small, as the draws of `invented` are."""
    data = made()
    return data.assign(y2=data["y2"] / 100)


def quiet(formula, data, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bmm.Model(formula, data, **given)


# ----------------------------------------------------------------------------------------------------------------------
# estimates


def test_the_bivariate_model_of_nlme():
    ours, theirs = (
        bmm.Model("mvbind(written, course) ~ gender + (1 | p | school)", gcse()).maximize("REML"),
        structures()["k08_gcse_2resp_reml"],
    )
    assert ours.criterion <= theirs["criterion"] * (1 + 1e-9)  # theirs has a gradient of 1e-7
    assert ours.criterion == pytest.approx(theirs["criterion"], rel=1e-9)
    assert list(ours.design.coefficients) == [
        "written_Intercept", "course_Intercept", "written_gender[T.M]", "course_gender[T.M]",
    ]  # fmt: skip
    assert_allclose(ours.fixef()["se"], list(theirs["fixef_se"].values()), rtol=1e-5)
    moved = (ours.fixef()["estimate"] - list(theirs["fixef"].values())) / ours.fixef()["se"]
    assert np.abs(moved).max() < 1e-5
    table = ours.varcorr().set_index(["grp", "var1", "var2"])["sdcor"]
    expected = [*theirs["random_sd"].values(), theirs["random_corr_matrix"][0][1]]
    assert_allclose(table["school"], expected, rtol=1e-5)
    assert_allclose(
        table["Residual"], [*theirs["residual_sd"].values(), theirs["residual_corr_matrix"][0][1]], rtol=1e-5
    )
    blups = ours.ranef().pivot(index="grp", columns="term", values="condval")
    shown = blups.loc[theirs["blups"]["rows"], ["written_Intercept", "course_Intercept"]]
    assert_allclose(shown, theirs["blups"]["values"], rtol=1e-4)
    assert ours.npar == theirs["npar"] and ours.design.n == theirs["n"]


def dense(design, own, effects, reml):
    """Return the criterion with the covariance matrix of all stacked rows written out."""
    sds = np.array([own[f"sigma_{name}"][0] for name in design.responses])[design.response_codes]
    R = np.eye(len(design.responses))
    if "rescor" in own:
        R[np.triu_indices(len(R), 1)] = own["rescor"]
        R = R + np.triu(R, 1).T
    same = design.table_rows[:, None] == design.table_rows
    V = same * R[design.response_codes][:, design.response_codes] * np.outer(sds, sds)
    for index, ZT in effects:
        V = V + (index[:, None] == index) * (ZT @ ZT.T)
    inverse, X, p = np.linalg.inv(V), design.X, design.p if reml else 0
    A = X.T @ inverse @ X
    r = design.y - X @ np.linalg.solve(A, X.T @ inverse @ design.y)
    total = (design.n - p) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ inverse @ r
    return total + (np.linalg.slogdet(A)[1] if reml else 0.0)


@pytest.mark.parametrize(
    "formula",
    [
        "mvbind(y1, y2, y3) ~ x + (1 | p | g)",
        "mvbind(y1, y2) ~ x * f + (x | g)",
        "mvbind(y1, y2, rescor = FALSE) ~ 0 + f + (1 | g)",
        "mvbind(y1, y2) ~ x + (1 | p | g) + (1 | q | h)",
    ],
)
@pytest.mark.parametrize("reml", [True, False])
def test_the_criterion_is_that_of_the_covariance_matrix_written_out(formula, reml):
    design = quiet(formula, made().assign(h=np.arange(60) % 7)).design
    values = {"sigma_y1": 0.8, "sigma_y2": 130.0, "sigma_y3": 1.2, "rescor": [0.4, -0.2, 0.3]}
    own = {p.name: np.atleast_1d(values[p.name])[: p.size] for p in design.residual.parameters}
    problem = orthogonal_problem(whitened(design, own))
    x = start_entries(problem, 0.7) + 0.1
    value = evaluate(problem.cp, problem.packed(x), 1.0, flat(problem.cp.p), integrate_flat=reml)
    factors = zip(problem.cp.order, relative_factors(problem, x), strict=True)
    effects = [(design.blocks[k].index, problem.columns[k].Z @ T) for k, T in factors]
    expected = dense(design, own, effects, reml)
    assert criterion_at(problem, value, reml, 1.0) == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
def test_without_correlations_it_is_two_models():
    data = made()
    both = quiet("mvbind(y1, y2, rescor = FALSE) ~ x * f + (x | g)", data).maximize("ML")
    own = [quiet(f"{y} ~ x * f + (x | g)", data).maximize("ML") for y in ("y1", "y2")]
    assert both.criterion == pytest.approx(sum(point.criterion for point in own), rel=1e-8)
    for name, point in zip(("y1", "y2"), own, strict=True):
        shown = both.fixef().loc[[f"{name}_{term}" for term in point.design.coefficients]]
        assert_allclose(shown["estimate"], point.fixef()["estimate"], rtol=1e-4)
        assert_allclose(shown["se"], point.fixef()["se"], rtol=1e-4)
        assert both.residual[f"sigma_{name}"][0] == pytest.approx(point.sigma, rel=1e-4)


@pytest.mark.parametrize("terms", ["0 + f", "0 + x + f", "f", "x * f", "f:x", "0 + x"])
def test_each_response_has_the_columns_that_it_has_alone(terms):
    data = made()
    both = quiet(f"mvbind(y1, y2) ~ {terms} + (1 | g)", data).design
    for k, name in enumerate(("y1", "y2")):
        alone, rows = quiet(f"{name} ~ {terms} + (1 | g)", data).design, both.response_codes == k
        own = [both.coefficients.index(f"{name}_{term}") for term in alone.coefficients]
        assert_allclose(both.X[rows][:, own], alone.X)
        assert not both.X[~rows][:, own].any()
    assert both.p == 2 * alone.p


@pytest.mark.slow
def test_units_of_one_response_are_nothing_to_the_estimates():
    data = made()
    a, b = quiet(SHARED, data).maximize("ML"), quiet(SHARED, data.assign(y2=data["y2"] * 1e6)).maximize("ML")
    n2 = int((a.design.response_codes == 1).sum())
    assert b.criterion == pytest.approx(a.criterion + 2 * n2 * np.log(1e6), rel=1e-9)
    assert b.residual["rescor"][0] == pytest.approx(a.residual["rescor"][0], abs=1e-5)


def test_units_of_one_response_are_nothing_to_the_others():
    data = made()
    first = quiet(SHARED, data)
    second = quiet(SHARED, data.assign(y2=data["y2"] * 1e6))
    of_y1 = [name for name in first.priors if "y1" in name]
    assert of_y1 and all(first.priors[name] == second.priors[name] for name in of_y1)
    assert first.priors["beta[y1_Intercept]"] != first.priors["beta[y2_Intercept]"]


def test_priors_are_those_of_each_response_alone():
    data = made()
    both = quiet("mvbind(y1, y2) ~ x * f + (x | g)", data).priors
    for name in ("y1", "y2"):
        alone = quiet(f"{name} ~ x * f + (x | g)", data).priors
        pairs = {
            "beta[{}_f[T.b]]": "beta[f[T.b]]", "beta[{}_x]": "beta[x]", "beta[{}_x:f[T.b]]": "beta[x:f[T.b]]",
            "sd_g[{}_Intercept]": "sd_g[Intercept]", "sd_g[{}_x]": "sd_g[x]", "sigma_{}": "sigma",
        }  # fmt: skip
        for own, theirs in pairs.items():
            mine, other = both[own.format(name)].parameters, alone[theirs].parameters
            assert mine == pytest.approx(other), own
        mine, other = both[f"beta[{name}_Intercept]"].parameters, alone["Intercept_centred"].parameters
        assert mine == pytest.approx(other, rel=1e-9)
    assert spread(data["x"].to_numpy()) == robust_scale(data["x"].to_numpy())


@pytest.mark.slow
def test_the_residual_search_ends_where_a_refit_of_permuted_rows_does():
    data = made()
    a = quiet(SHARED, data).maximize()
    b = quiet(SHARED, data.sample(frac=1, random_state=1)).maximize()
    assert a.criterion == pytest.approx(b.criterion, rel=1e-9)


# ----------------------------------------------------------------------------------------------------------------------
# rows


def test_missing_responses_are_used_and_said():
    data = made()
    data.loc[7, ["y1", "y2"]] = np.nan
    model = bmm.Model("mvbind(y1, y2) ~ x + (1 | p | g)", data)
    assert model.design.n == 120 - 5 - 2
    said = [message.text for message in model.design.messages]
    assert "responses are missing (y1: 3, y2: 4); the other responses of their rows are used" in said
    assert "all responses are missing in row [7]; it is left out" in said
    assert (3, "y2") in set(model.design.row_labels) and (3, "y1") not in set(model.design.row_labels)
    said = r"responses are missing .*in rows \[3, 5, 7, 11, 12, ...\] \(6 in all\); missing='drop'"
    with pytest.raises(DataError, match=said):
        bmm.Model("mvbind(y1, y2) ~ x + (1 | p | g)", data, missing="error")


def test_a_stacked_frame_is_read_as_it_is():
    model = quiet(SHARED, made())
    again = model.with_data(model.design.frame)
    assert_allclose(again.design.X, model.design.X)
    assert_allclose(again.design.y, model.design.y)
    assert list(again.design.row_labels) == list(model.design.row_labels)


@pytest.fixture(scope="module")
def point():
    return quiet(SHARED, made()).maximize()


def test_predictions_are_of_each_response(point):
    data = made()
    new = data.drop(columns=["y1", "y2", "y3"]).iloc[:4]
    found = point.predict(new)
    assert list(found.index) == [(i, y) for i in range(4) for y in ("y1", "y2")]
    here = point.predict()
    assert_allclose(found.loc[(0, "y2")], here.loc[(0, "y2")])
    assert len(point.predict(new.iloc[:0])) == 0
    with pytest.raises(DataError, match="'g'"):
        point.predict(new.assign(g="other"))
    assert_allclose(point.predict(new.assign(response="y2"))["estimate"], found["estimate"].xs("y2", level="response"))
    alone = point.augment(new)
    assert_allclose(alone[".fitted"], found["estimate"])
    assert list(point.simulate(2, seed=1).index) == list(here.index)


def test_marginal_means_are_of_one_response(point):
    means = bmm.emmeans(point, ["f", "response"]).table
    assert list(means["response"]) == ["y1", "y2"] * 2
    beta = point.fixef()["estimate"]
    x = float(point.design.frame["x"].mean())
    expected = beta["y2_Intercept"] + beta["y2_f[T.b]"] + x * (beta["y2_x"] + beta["y2_x:f[T.b]"])
    assert means["estimate"].iloc[3] == pytest.approx(expected)
    with pytest.raises(DataError, match="an average over the responses y1, y2 has no unit"):
        bmm.emmeans(point, "f")


# ----------------------------------------------------------------------------------------------------------------------
# a posterior, of invented draws


@pytest.fixture(scope="module")
def fit():
    return invented(quiet(SHARED, near()))


def test_the_log_likelihood_of_a_row_is_that_of_its_responses_together(fit):
    design, post = fit.design, fit.tree["posterior"]
    found = conditional(fit)
    assert found.shape == (found.shape[0], 60)
    beta = post["beta"].to_numpy().reshape(-1, design.p)
    b = post["b_g"].to_numpy().reshape(len(beta), -1, 2)
    for s in (0, 7):
        sds = [float(post[f"sigma_{y}"].to_numpy().ravel()[s]) for y in ("y1", "y2")]
        rho = float(post["rescor"].to_numpy().ravel()[s])
        V = np.outer(sds, sds) * [[1, rho], [rho, 1]]
        mean = design.X @ beta[s] + np.sum(design.blocks[0].Z * b[s][design.blocks[0].index], axis=1)
        for row in (0, 3, 5, 59):
            at = np.flatnonzero(design.table_rows == row)
            k = design.response_codes[at]
            expected = stats.multivariate_normal.logpdf(design.y[at], mean[at], V[np.ix_(k, k)])
            assert found[s, row] == pytest.approx(expected, rel=1e-9)


def test_leave_one_out_is_by_row_of_the_table(fit):
    found = fit.loo(refit=False)
    assert len(found.table) == 60 and list(found.table.index[:3]) == [0, 1, 2]
    assert len(fit.loo(by="g", refit=False).table) == 10
    with pytest.raises(ValueError, match="a row of several responses"):
        fit.loo(integrated=True)


def test_new_responses_of_a_row_are_correlated(fit):
    drawn = fit.predict(near().iloc[:1], kind="response", seed=1).draws.reshape(-1, 2)
    mean = fit.predict(near().iloc[:1]).draws.reshape(-1, 2)
    sds = np.column_stack([fit.tree["posterior"][f"sigma_{y}"].to_numpy().ravel() for y in ("y1", "y2")])
    z = (drawn - mean) / sds
    rho = float(fit.tree["posterior"]["rescor"].mean())
    assert np.corrcoef(z.T)[0, 1] == pytest.approx(rho, abs=4 / np.sqrt(len(z)))
    frame = fit.predict(near().iloc[:2]).to_frame()
    assert list(frame.index) == [(0, "y1"), (0, "y2"), (1, "y1"), (1, "y2")]


def test_tables_name_the_responses(fit):
    table = fit.varcorr()
    keys = list(table[["grp", "var1", "var2"]].fillna("").itertuples(index=False, name=None))
    assert keys == [
        ("g", "y1_Intercept", ""), ("g", "y2_Intercept", ""), ("g", "y1_Intercept", "y2_Intercept"),
        ("Residual", "y1", ""), ("Residual", "y2", ""), ("Residual", "y1", "y2"),
    ]  # fmt: skip
    assert list(fit.sigma().index) == ["sigma_y1", "sigma_y2"]
    assert {"sigma_y1", "sigma_y2", "rescor[y1, y2]", "beta[y1_x]"} <= set(fit.summary().index)
    assert "rescor[y1, y2]" in str(fit)
    with pytest.raises(DataError, match=r"R.2 is of one response, and mvbind"):
        fit.r2()


def test_the_file_has_it_all(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert again.model.formula == fit.model.formula and again.design.coefficients == fit.design.coefficients
    assert list(again.design.row_labels) == list(fit.design.row_labels)
    pd.testing.assert_frame_equal(again.summary(), fit.summary())
    assert_allclose(again.predict(near().iloc[:3]).draws, fit.predict(near().iloc[:3]).draws)


def test_the_equation_has_a_predictor_for_each_response(fit):
    text = fit.model.equation()
    assert r"{\text{y1}}_{i} &\sim \mathcal{N}(\mu_{\text{y1},i},\ \sigma_{\text{y1}}^{2})" in text
    assert r"\rho_{\text{y1, y2}}" in text
    assert r"\mu_{\text{y2},i} &= \beta_{\text{y2\_Intercept}} + \beta_{\text{y2\_x}}\,{\text{x}}_{i}" in text
    assert r"\sigma_{\text{y2}} &\sim \mathrm{HalfStudentT}" in text


def test_the_print_of_a_point(point):
    text = str(point)
    assert "Residual y1" in text and "         y2" in text.replace("Residual", "        ")
    assert "Number of obs: 115, groups: g, 10" in text


# ----------------------------------------------------------------------------------------------------------------------
# the formula, and what cannot be


def test_formulas_are_equal_where_they_say_the_same():
    assert parse("mvbind(y1,y2)~x+(1|p|g)") == parse("mvbind(y1, y2) ~ x + (1 | p | g)")
    assert parse("mvbind(y1, y2) ~ x + (1 | g)") != parse("mvbind(y1, y2) ~ x + (1 | p | g)")
    assert parse("mvbind(y1, y2) ~ x") != parse("mvbind(y1, y2, rescor = FALSE) ~ x")


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("mvbind(y1) ~ x", "two or more; for a single response write y1 ~ x"),
        ("mvbind() ~ x", "two or more"),
        ("mvbind(y1, y1) ~ x", "'y1' stands twice in mvbind"),
        ("mvbind(y1, log(y2)) ~ x", r"make log\(y2\) a column first"),
        ("mvbind(y1, 2) ~ x", "takes columns of the data"),
        ("mvbind(y1, y2, rescor = 0) ~ x", "rescor is TRUE"),
        ("mvbind(y1, y2, cor = TRUE) ~ x", "rescor = FALSE for residuals"),
        ("mvbind(y1, y2) ~ x + y1", "'y1' also stands on the right"),
        ("mvbind(y1, y2) ~ response", "rename yours"),
        ("mvbind(y1, y2) ~ x + (1 | p | g) + (1 | p | f)", "give each a name of its own"),
        ("mvbind(y1, y2) ~ x + (1 | p | g) + (0 + x | p | g)", "write one, with all its effects"),
        ("mvbind(y1, y2) ~ x + (1 | p || g)", "of two bars each is single"),
        ("mvbind(y1, y2) ~ x + (1 | gr(g, cov = A))", "possible for one response"),
        ("mvbind(y1, y2) ~ x + (1 | gr(g, by = f))", "needs a name for what the responses share"),
        ("mvbind(y1, y2) ~ x + (1 | p | mm(g, f))", "are independent; leave 'p' and a bar out"),
        ("mvbind(y1, y2) ~ x + ar(x, g)", r"ar\(x, g\) is for one response"),
        ("mvbind(y1, y2) ~ s(x, by = f)", "is possible for one response"),
        ("mvbind(y1, y2) ~ t2(x, z)", "is possible for one response"),
        ("mvbind(y1, y2) | se(x) ~ 1", r"se\(\) is possible for one response"),
        ("mvbind(y1, y2) | cens(f) ~ 1", r"cens\(\) is possible for one response"),
        ("mvbind(y1, y2) ~ x; sigma ~ f", "each with a sigma of its own"),
        ("y1 ~ x + (1 | p | g)", "has one bar"),
        ("y1 ~ mvbind(y2, x)", "mvbind"),
    ],
)
def test_formulas_that_cannot_be(formula, said):
    with pytest.raises(FormulaError, match=said):
        quiet(formula, made().assign(z=1.0), matrices={"A": np.eye(10)} if "cov" in formula else None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.drop(columns="y2"), "response 'y2' is not in the data"),
        (lambda d: d.assign(y2=d["f"]), "response 'y2' holds text"),
        (lambda d: d.assign(y2="1.5"), "convert them with pandas.to_numeric"),
        (lambda d: d.assign(y2=np.nan), "response 'y2' has no value in any of the 60 rows"),
        (lambda d: d.assign(y2=3.0), r"response 'y2' is the same in all its rows \(3\)"),
        (lambda d: d.assign(y2=np.where(d.index == 8, np.inf, d["y2"])), r"\(8, 'y2'\)"),
        (
            lambda d: d.assign(y1=d["y1"].where(d.index < 30), y2=d["y2"].where(d.index >= 30)),
            "no row has both y1 and y2",
        ),
        (lambda d: d.assign(g=[f"r{i}" for i in range(60)]), "cannot be told apart from the residuals of mvbind"),
        (lambda d: d.iloc[:0], "no rows"),
        (lambda d: d.assign(g="a"), "one level"),
    ],
)
def test_data_that_cannot_be(change, said):
    with pytest.raises((DataError, FormulaError), match=said):
        quiet("mvbind(y1, y2) ~ x + (1 | p | g)", change(made()))


def test_arguments_that_cannot_be():
    with pytest.raises(DataError, match="not for the poisson family"):
        quiet(SHARED, made(), family="poisson")
    with pytest.raises(DataError, match="not for the gaussian family with the log link"):
        quiet(SHARED, made(), link="log")
    with pytest.raises(DataError, match="weights of several responses are a column"):
        quiet(SHARED, made(), weights=np.ones(60))
    with pytest.raises(PriorError, match="there is a prior of 'sigma'"):
        quiet(SHARED, made(), priors={"sigma": bmm.Prior("HalfNormal", sigma=1)})


def test_weights_divide_the_variances_of_both_responses():
    design = quiet(SHARED, made().assign(w=np.arange(60) + 1.0), weights="w").design
    assert_allclose(design.weights, design.table_rows + 1.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")
def test_the_graph_has_the_density_of_the_two_responses_together():
    model = quiet("mvbind(y1, y2) ~ x + (1 | p | g)", made())
    graph = model.graph("explicit")
    start, names = graph.initial_point(), ("sigma_y1", "sigma_y2", "rescor", "beta", "b_g")
    logp = graph.compile_logp(vars=[graph["y"]], sum=True, mode=PYTHON)(start)
    outputs = graph.replace_rvs_by_values([graph[name] for name in names])
    values = graph.compile_fn(outputs, inputs=graph.value_vars, on_unused_input="ignore", mode=PYTHON)(start)
    s1, s2, rho, beta, b = (np.asarray(value) for value in values)
    design = model.design
    mean = design.X @ beta + np.sum(design.blocks[0].Z * b[design.blocks[0].index], axis=1)
    sds = np.array([s1.item(), s2.item()])
    V, total = np.outer(sds, sds) * np.array([[1, rho.item()], [rho.item(), 1]]), 0.0
    for row in range(60):
        at = np.flatnonzero(design.table_rows == row)
        k = design.response_codes[at]
        total += stats.multivariate_normal.logpdf(design.y[at], mean[at], V[np.ix_(k, k)])
    assert logp == pytest.approx(total, rel=1e-9)
