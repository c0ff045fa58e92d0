"""A known covariance matrix of the residuals, fcor(V): against metafor, and against the normal density written out."""

import re

import numpy as np
import pandas as pd
import pytest
from invented import draws, invented
from scipy import optimize, stats

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError
from bayesmm.evaluation.graph_vs_reml import check_consistency
from bayesmm.evaluation.prior_sensitivity.draw_densities import integrated_log_likelihood
from bayesmm.posterior.log_likelihood import conditional

# Berkey et al. (1998), Statistics in Medicine 17: two outcomes of five trials, metadat's dat.berkey1998
BERKEY = pd.DataFrame(
    {
        "trial": np.repeat(list("12345"), 2),
        "outcome": ["PD", "AL"] * 5,
        "yi": [0.47, -0.32, 0.2, -0.6, 0.4, -0.12, 0.26, -0.31, 0.56, -0.39],
    }
)
VARIANCES = [0.0075, 0.0077, 0.0057, 0.0008, 0.0021, 0.0014, 0.0029, 0.0015, 0.0148, 0.0304]
COVARIANCES = [0.003, 0.0009, 0.0007, 0.0009, 0.0072]  # of a trial's two
V = np.diag(VARIANCES)
for k, value in enumerate(COVARIANCES):
    V[2 * k, 2 * k + 1] = V[2 * k + 1, 2 * k] = value
FORMULA = "yi ~ 0 + outcome + (0 + outcome | trial) + fcor(V, sigma = FALSE)"
# metafor 3.8.1, rma.mv(yi, V, mods = ~ outcome - 1, random = ~ outcome | trial, struct = "UN"), its optimum polished by
# a dense likelihood: criterion without metafor's 0.5 log|X'X|, coefficients of AL and PD with standard errors, tau, rho
METAFOR = {
    "REML": (
        -4.16465956387244,
        [-0.339215178460862, 0.353428169637262],
        [0.0879051360903968, 0.0588486314881777],
        [0.180696796623064, 0.108319090238178],
        0.60879868223735,
    ),
    "ML": (
        -11.6813137695501,
        [-0.337938115111095, 0.344839168024438],
        [0.0797631532618016, 0.0494598446193918],
        [0.16169266311555, 0.083677945122848],
        0.699230453519927,
    ),
}


@pytest.mark.parametrize("method", METAFOR)
def test_the_multivariate_meta_analysis_is_metafors(method):
    point = bmm.Model(FORMULA, BERKEY, matrices={"V": V}).maximize(method)
    criterion, beta, se, tau, rho = METAFOR[method]
    assert point.converged and point.npar == 5
    assert point.criterion == pytest.approx(criterion, rel=1e-9)
    np.testing.assert_allclose(point.beta, beta, atol=1e-4 * min(se))
    np.testing.assert_allclose(point.fixef()["se"], se, rtol=1e-4)
    Sigma = point.covariances[0]
    np.testing.assert_allclose(np.sqrt(np.diag(Sigma)), tau, rtol=1e-4)
    assert Sigma[0, 1] / np.sqrt(Sigma[0, 0] * Sigma[1, 1]) == pytest.approx(rho, abs=1e-4)


def crossing(seed=2, G=6, m=4):
    """Return data whose residuals are correlated between all rows, those of other groups too, and the matrix."""
    rng, n = np.random.default_rng(seed), G * m
    W = rng.normal(size=(n, 2 * n))
    W = W @ W.T / (2 * n) * np.outer(s := rng.uniform(0.5, 2, n), s)
    g, x = np.repeat(np.arange(G), m), rng.normal(size=n)
    y = 1 + x + 2 * rng.normal(size=G)[g] + np.linalg.cholesky(W) @ rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{k}" for k in g], "id": [f"r{i}" for i in range(n)]}), W


FRAME, W = crossing()
LABELLED = pd.DataFrame(W, FRAME["id"], FRAME["id"])
Z = pd.get_dummies(FRAME["g"]).to_numpy(float)


def dense(tau, sigma, reml=False, rows=slice(None)):
    """Return the criterion, the coefficients and the covariance matrix of y ~ x + (1 | g) + fcor(W)."""
    total = (tau**2 * Z @ Z.T + sigma**2 * W)[rows][:, rows]
    X, y, inverse = np.column_stack([np.ones(len(FRAME)), FRAME["x"]])[rows], FRAME["y"][rows], np.linalg.inv(total)
    information = X.T @ inverse @ X
    beta = np.linalg.solve(information, X.T @ inverse @ y)
    value = -2 * stats.multivariate_normal(X @ beta, total).logpdf(y)
    value += (np.linalg.slogdet(information)[1] - 2 * np.log(2 * np.pi)) if reml else 0.0
    return value, beta, total


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("scaled", [True, False])
def test_rows_of_all_groups_may_be_correlated(method, scaled):
    text = "y ~ x + (1 | g) + fcor(W)" if scaled else "y ~ x + (1 | g) + fcor(W, sigma = FALSE)"
    point = bmm.Model(text, FRAME, matrices={"W": W}).maximize(method)

    def criterion(t):
        return dense(np.exp(t[0]), np.exp(t[1]) if scaled else 1.0, method == "REML")[0]

    best = optimize.minimize(criterion, [0.0] * (1 + scaled), tol=1e-12)
    tau, sigma = np.sqrt(point.covariances[0][0, 0]), point.sigma
    value, beta, _ = dense(tau, sigma, method == "REML")
    assert point.converged and tau > 0.5 and point.npar == 3 + scaled and (scaled or sigma == 1)
    assert point.criterion == pytest.approx(value, rel=1e-10)
    assert point.criterion == pytest.approx(best.fun, rel=1e-8)
    np.testing.assert_allclose([tau, sigma][: 1 + scaled], np.exp(best.x), rtol=1e-4)
    np.testing.assert_allclose(point.beta, beta, rtol=1e-6)


def test_predictions_and_effects_are_those_of_the_dense_model():
    point = bmm.Model("y ~ x + (1 | g) + fcor(W)", FRAME, matrices={"W": W}).maximize()
    tau, sigma, X = np.sqrt(point.covariances[0][0, 0]), point.sigma, np.column_stack([np.ones(len(FRAME)), FRAME["x"]])
    _, beta, total = dense(tau, sigma)
    blup = tau**2 * Z.T @ np.linalg.solve(total, FRAME["y"] - X @ beta)
    np.testing.assert_allclose(point.ranef()["condval"], blup, rtol=1e-6)
    np.testing.assert_allclose(point.linear, X @ beta + Z @ blup, rtol=1e-6)
    columns, inverse = np.column_stack([X, Z]), np.linalg.inv(sigma**2 * W)  # Henderson's equations
    C = np.linalg.inv(columns.T @ inverse @ columns + np.diag([0, 0, *[1 / tau**2] * 6]))
    np.testing.assert_allclose(point.predict(se=True)["se"], np.sqrt(np.diag(columns @ C @ columns.T)), rtol=1e-7)


def test_a_column_of_labels_finds_the_rows_in_any_order_and_some_of_them():
    whole = bmm.Model("y ~ x + fcor(W)", FRAME, matrices={"W": W})
    shuffled = FRAME.sample(frac=1, random_state=1)
    again = bmm.Model("y ~ x + fcor(W, rows = id)", shuffled, matrices={"W": LABELLED})
    assert again.maximize().criterion == pytest.approx(whole.maximize().criterion, rel=1e-12)
    kept = np.arange(3, 20)
    fewer = bmm.Model("y ~ x + fcor(W, rows = id)", FRAME.iloc[kept], matrices={"W": LABELLED}).maximize("ML")
    own = bmm.Model("y ~ x + fcor(W)", FRAME.iloc[kept], matrices={"W": W[np.ix_(kept, kept)]}).maximize("ML")
    gaps = FRAME.assign(y=FRAME["y"].where(np.isin(np.arange(len(FRAME)), kept)))  # rows that are left out
    dropped = bmm.Model("y ~ x + fcor(W)", gaps, matrices={"W": W}).maximize("ML")
    assert fewer.criterion == pytest.approx(own.criterion, rel=1e-12)
    assert dropped.criterion == pytest.approx(own.criterion, rel=1e-12)


def renamed(labels):
    """Return the matrix in its order, with other labels."""
    return pd.DataFrame(W, list(labels), list(labels))


def test_labels_of_a_matrix_are_those_of_the_rows_or_refused():
    n = len(FRAME)
    whole = bmm.Model("y ~ x + fcor(W)", FRAME, matrices={"W": W}).maximize().criterion
    backwards = list(range(n))[::-1]
    said = re.escape("are not those of the data's rows but in another order (the first is '23', and the row's '0')")
    with pytest.raises(DataError, match=said):  # whole numbers in another order than the rows'
        bmm.Model("y ~ x + fcor(W)", FRAME, matrices={"W": renamed(range(n)).loc[backwards, backwards]})
    with pytest.raises(DataError, match=re.escape("(the first is '0', and the row's '23')")):  # or the rows themselves
        bmm.Model("y ~ x + fcor(W)", FRAME.iloc[::-1], matrices={"W": renamed(range(n))})
    with pytest.raises(DataError, match="data's rows but others"):
        bmm.Model("y ~ x + fcor(W)", FRAME, matrices={"W": renamed(range(100 + n, 100, -1))})
    # in the order of the rows: by labels, by an array, and where labels are those of nothing in the table
    turned = W[::-1, ::-1]
    for frame, matrix in (
        (FRAME.iloc[::-1], renamed(range(n)).loc[backwards, backwards]),
        (FRAME.iloc[::-1], turned),
        (FRAME, renamed(range(1, n + 1))),
        (FRAME, LABELLED),
        (FRAME.set_index(np.arange(n) * 2 + 100), renamed(range(n))),
    ):
        found = bmm.Model("y ~ x + fcor(W)", frame, matrices={"W": matrix}).maximize().criterion
        assert found == pytest.approx(whole, rel=1e-10)


def test_a_file_of_rows_in_another_order_is_read_again(tmp_path):
    fit = invented(bmm.Model("y ~ x + (1 | g) + fcor(W)", FRAME.iloc[::-1], matrices={"W": W[::-1, ::-1]}))
    fit.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(conditional(bmm.load(tmp_path / "fit.nc")), conditional(fit))


def test_the_eigenvalues_are_computed_once(monkeypatch):
    seen, original = [], np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda V: seen.append(len(V)) or original(V))
    model = bmm.Model("y ~ x + fcor(W)", FRAME, matrices={"W": W})
    for shift in (1.0, 2.0):
        model = model.with_data(FRAME.assign(y=FRAME["y"] + shift))
    assert seen == [24]
    labelled = bmm.Model("y ~ x + fcor(W, rows = id)", FRAME, matrices={"W": LABELLED})
    labelled.with_data(FRAME.iloc[3:])
    assert seen == [24, 24]
    broken = LABELLED.copy()
    broken.iloc[-1] = broken.iloc[:, -1] = 0.0  # the last row alone is without a variance
    assert bmm.Model("y ~ x + fcor(W, rows = id)", FRAME.iloc[:20], matrices={"W": broken}).design.n == 20
    with pytest.raises(DataError, match="is not positive definite for the rows of the data"):
        bmm.Model("y ~ x + fcor(W, rows = id)", FRAME, matrices={"W": broken})


def test_sigma_is_measured_in_what_the_matrix_leaves():
    small, large = (bmm.Model("y ~ x + fcor(W)", FRAME, matrices={"W": c * W}) for c in (1.0, 1e6))
    scales = [model.priors["sigma"].parameters["sigma"] for model in (small, large)]
    assert scales[0] == pytest.approx(1e3 * scales[1])
    assert small.maximize().sigma == pytest.approx(1e3 * large.maximize().sigma)
    assert bmm.Model(FORMULA, BERKEY, matrices={"V": V}).priors["sigma"].parameters == {"value": 1.0}


def test_the_posterior_is_proportional_to_the_prior_and_the_dense_likelihood():
    from bayesmm.likelihood.marginal import marginal
    from bayesmm.likelihood.problem import integrate

    model = bmm.Model(FORMULA, BERKEY, matrices={"V": V})
    posterior = marginal(model.design, model.priors, integrate(model.design, model.priors)).posterior
    X, Z = model.design.X, model.design.blocks[0]
    mean, scale = (
        np.array([model.priors[f"beta[outcome[{k}]]"].parameters[p] for k in ("AL", "PD")]) for p in ("mu", "sigma")
    )
    differences = []
    for x in np.random.default_rng(1).normal(-1.5, 0.5, (4, 3)):
        s, r = np.exp(x[:2]), np.tanh(x[2])
        Sigma = np.outer(s, s) * [[1, r], [r, 1]]
        total = V + X @ np.diag(scale**2) @ X.T + (Z.index[:, None] == Z.index) * (Z.Z @ Sigma @ Z.Z.T)
        prior = sum(
            model.priors[f"sd_trial[outcome[{k}]]"].logpdf(v) + u for k, v, u in zip(("AL", "PD"), s, x, strict=False)
        )
        eta = model.priors["corr_trial"].parameters["eta"]
        prior += eta * np.log(1 - r**2)  # LKJ, and the Jacobian of the hyperbolic tangent
        differences.append(posterior(x)[0] - prior - stats.multivariate_normal(X @ mean, total).logpdf(BERKEY["yi"]))
    np.testing.assert_allclose(differences, differences[0], rtol=1e-9)


def test_a_row_is_left_out_given_all_others():
    fit = invented(bmm.Model("y ~ x + (1 | g) + fcor(W)", FRAME, matrices={"W": W}))
    eta, sigma = fit.predict(kind="linear").draws.reshape(-1, len(FRAME)), draws(fit, "sigma")
    found = conditional(fit)
    for d, i in ((0, 0), (7, 11)):
        C, r = sigma[d] ** 2 * W, (FRAME["y"] - eta[d]).to_numpy()
        others = np.arange(len(r)) != i
        weights = np.linalg.solve(C[np.ix_(others, others)], C[others, i])
        sd = np.sqrt(C[i, i] - weights @ C[others, i])
        assert found[d, i] == pytest.approx(stats.norm.logpdf(r[i], weights @ r[others], sd), rel=1e-9)


def test_a_level_is_left_out_with_the_covariances_of_its_rows():
    from bayesmm.posterior.log_likelihood import by_level, split_of

    fit = invented(bmm.Model(FORMULA, BERKEY, matrices={"V": V}))
    found, block = by_level(fit, split_of(fit.design, 0)), fit.design.blocks[0]
    beta, sds, R = draws(fit, "beta"), draws(fit, "sd_trial"), draws(fit, "corr_trial")
    for d, k in ((0, 0), (9, 3)):
        own = block.index == k
        Sigma = np.outer(sds[d], sds[d]) * R[d]
        total = V[np.ix_(own, own)] + block.Z[own] @ Sigma @ block.Z[own].T
        expected = stats.multivariate_normal(fit.design.X[own] @ beta[d], total).logpdf(BERKEY["yi"][own])
        assert found[d, k] == pytest.approx(expected, rel=1e-9)


def test_the_integrated_likelihood_of_each_draw_is_that_of_all_rows():
    fit = invented(bmm.Model("y ~ x + (1 | g) + fcor(W)", FRAME, matrices={"W": W}))
    found, how = integrated_log_likelihood(fit)
    assert how == "random effects integrated out exactly"
    for d in (0, 3):
        total = dense(draws(fit, "sd_g")[d, 0], draws(fit, "sigma")[d])[2]
        expected = stats.multivariate_normal(fit.design.X @ draws(fit, "beta")[d], total).logpdf(FRAME["y"])
        assert found[d] == pytest.approx(expected, rel=1e-9)


def test_simulated_responses_have_the_covariances():
    model = bmm.Model("y ~ x + (1 | g) + fcor(W)", FRAME, matrices={"W": W})
    values = {"beta[Intercept]": 0.0, "beta[x]": 0.0, "sd_g[Intercept]": 1.0, "sigma": 0.7}
    found, total = np.cov(model.simulate(values, draws=4000, seed=1).to_numpy()), dense(1.0, 0.7)[2]
    sd = np.sqrt(np.diag(total))
    np.testing.assert_allclose(found / np.outer(sd, sd), total / np.outer(sd, sd), atol=0.1)  # 4.5 standard errors


def test_files_keep_the_matrix_of_the_rows_that_were_used(tmp_path):
    gaps = FRAME.assign(y=FRAME["y"].where(FRAME["x"] < 1))
    fit = invented(bmm.Model("y ~ x + (1 | g) + fcor(W)", gaps, matrices={"W": W}))
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(conditional(again), conditional(fit))


def test_new_responses_need_the_labels_of_the_rows():
    unlabelled = invented(bmm.Model("y ~ x + fcor(W)", FRAME, matrices={"W": W}))
    assert unlabelled.predict(FRAME.head(3)).draws.shape[-1] == 3
    assert unlabelled.predict(kind="response", seed=1).draws.shape[-1] == len(FRAME)
    with pytest.raises(DataError, match=re.escape("says nothing of others; new responses need fcor(W) with rows = id")):
        unlabelled.predict(FRAME.head(3), kind="response")
    known = bmm.Model("y ~ x + fcor(W, rows = id, sigma = FALSE)", FRAME.head(20), matrices={"W": LABELLED})
    fit, new = invented(known), FRAME.tail(4)
    drawn = fit.predict(new, kind="response", seed=1).draws - fit.predict(new, kind="linear").draws
    total = drawn.reshape(-1, 4).std(axis=0) / np.sqrt(np.diag(W)[-4:])
    np.testing.assert_allclose(total, 1, atol=0.4)  # of 80 draws, 5 standard errors


def test_the_equation_has_the_matrix():
    text = bmm.Model("y ~ x + fcor(W)", FRAME, matrices={"W": W}).equation()
    assert r"\sigma^{2}\,{\text{W}}_{ii}" in text
    assert r"{\text{W}}_{ij} / ({\text{W}}_{ii}\,{\text{W}}_{jj})^{1/2}" in text


@pytest.mark.slow
def test_the_graph_has_its_mode_at_reml():
    model = bmm.Model("y ~ x + (1 | g) + fcor(W)", FRAME, matrices={"W": W})
    assert check_consistency(model.design, model.maximize()).ok


OTHER_ORDER = FRAME.set_index("id")
UPPER = np.triu(W)


@pytest.mark.parametrize(
    ("formula", "matrix", "error", "said"),
    [
        ("y ~ x + fcor(W)", None, DataError, "the formula has the matrix W, and no matrices are given"),
        ("y ~ x + fcor(W)", W[:20], DataError, "is 20 x 24; expected as many rows as columns"),
        ("y ~ x + fcor(W)", W[:20, :20], DataError, "is 20 x 20, and the data have 24 rows"),
        ("y ~ x + fcor(W)", UPPER, DataError, "is not symmetric"),
        ("y ~ x + fcor(W)", -W, DataError, "is not positive definite for the rows of the data"),
        ("y ~ x + fcor(W)", W * 0 + 1, DataError, "is not positive definite"),
        ("y ~ x + fcor(W)", np.where(W == W[0, 0], np.nan, W), DataError, "missing or not finite"),
        ("y ~ x + fcor(W)", 3.0, DataError, "is a float; expected a table with the labels as columns, or an array"),
        ("y ~ x + fcor(W, rows = id)", W, DataError, "expected a table with the labels as columns, which rows ="),
        ("y ~ x + fcor(W, rows = g)", LABELLED, DataError, "has no row for 6 of the 6 labels of the data"),
        ("y ~ x + fcor(W, rows = g)", pd.DataFrame(np.eye(6), columns=FRAME["g"].unique()), DataError, "in 4 rows"),
        ("y ~ x + fcor('W')", W, FormulaError, "where the name of a matrix"),
        ("y ~ x + fcor()", W, FormulaError, "lacks its argument V"),
        ("y ~ x + fcor(W, sigma = 2)", W, FormulaError, "where TRUE or FALSE is expected"),
        ("y ~ x + fcor(W) + cosy(g)", W, FormulaError, "a model has one residual structure"),
        ("y ~ x + log(fcor(W))", W, FormulaError, "describes the residuals"),
        ("y | se(se) ~ x + fcor(W)", W, DataError, "both give the sds of the rows"),
        (
            "y ~ x + (1 | gr(id, cov = W)) + fcor(W)",
            LABELLED,
            DataError,
            "is of the levels of a factor and of the rows",
        ),
        ("mvbind(y, x) ~ 1 + fcor(W)", W, FormulaError, "is for one response"),
    ],
)
def test_bad_matrices_are_one_clear_sentence(formula, matrix, error, said):
    with pytest.raises(error, match=re.escape(said)):
        bmm.Model(formula, FRAME.assign(se=1.0), matrices=None if matrix is None else {"W": matrix})


def test_what_cannot_be_is_said():
    with pytest.raises(DataError, match="are not those of the data's rows but in another order"):
        bmm.Model("y ~ x + fcor(W)", OTHER_ORDER, matrices={"W": LABELLED.iloc[::-1, ::-1]})
    with pytest.raises(DataError, match="are not those of the data's rows but others"):
        bmm.Model("y ~ x + fcor(W)", OTHER_ORDER, matrices={"W": LABELLED.add_prefix("a").T.add_prefix("a")})
    with pytest.raises(DataError, match="both say how exact a row is"):
        bmm.Model("y ~ x + fcor(W, sigma = FALSE)", FRAME, weights=np.ones(24), matrices={"W": W})
    with pytest.raises(DataError, match="has none of its kind, so leave it out"):
        bmm.Model("y ~ x + fcor(W)", FRAME.assign(y=1), family="poisson", matrices={"W": W})
    point = bmm.Model("y ~ x + (1 | g) + fcor(W)", FRAME, matrices={"W": W}).maximize()
    with pytest.raises(DataError, match="takes the residuals as independent"):
        point.confint()
    with pytest.raises(DataError, match="takes the residuals as independent"):
        point.fixef(ddf="kenward-roger")
    slopes = bmm.Model("y ~ x + (x | g) + fcor(W)", FRAME, matrices={"W": W})
    with pytest.raises(DataError, match="do not lie within the levels of any grouping factor"):
        slopes.maximize()
    with pytest.raises(DataError, match="Q and I2 are for estimates that are independent"):
        bmm.heterogeneity(bmm.Model(FORMULA, BERKEY, matrices={"V": V}).maximize())
    with pytest.raises(DataError, match=re.escape("a covariance has a structure, here fcor(W)")):
        slopes.sample(sampler="importance")
