"""Cluster-robust standard errors against the formulas with n x n matrices, and against what they must be equal to."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.inference import cluster_robust as module

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

SAME = (
    1e-7  # of formulas with inverses of n x n matrices; the square root of G costs half of the digits where G is flat
)
FEW = 1e-9  # of the same computation in other units or another order


def sleep():
    """Return sleepstudy with subjects of 3 to 10 days, two of whom have one day alone, and weights."""
    data = bmm.load_dataset("sleepstudy")
    kept = np.random.default_rng(5).random(len(data)) < 0.7
    few = data["Subject"].isin(data["Subject"].unique()[:2])
    data = data[kept & (~few | (data["Days"] == 3)) | (few & (data["Days"] == 3))].reset_index(drop=True)
    return data.assign(w=1 + data["Days"] % 3, late=(data["Days"] > 5).astype(float))


def random_part(point):
    """Return Z Sigma Z' of the random effects, (n, n)."""
    V = 0.0
    for block, Sigma in zip(point.design.blocks, point.covariances, strict=True):
        V = V + (block.index[:, None] == block.index) * (block.Z @ Sigma @ block.Z.T)
    return V


def symmetric(G, power):
    values, vectors = np.linalg.eigh((G + G.T) / 2)
    kept = values > 1e-11 * values.max()
    return (vectors[:, kept] * values[kept] ** power) @ vectors[:, kept].T


def dense(X, y, V, cluster, kind):
    """Return covariance (p, p) and degrees of freedom (p,) by the definitions, with n x n matrices throughout."""
    n, labels = len(y), pd.unique(np.asarray(cluster))
    W = np.linalg.inv(V)
    M = np.linalg.inv(X.T @ W @ X)
    IH = np.eye(n) - X @ M @ X.T @ W
    e, total, p_ = IH @ y, 0.0, []
    for label in labels:
        rows = np.flatnonzero(np.asarray(cluster) == label)
        S = np.eye(n)[rows]
        A = np.eye(len(rows)) * (np.sqrt(len(labels) / (len(labels) - 1)) if kind == "CR1" else 1.0)
        if kind == "CR2":
            D = np.linalg.cholesky(S @ V @ S.T).T
            A = D.T @ symmetric(D @ S @ IH @ V @ IH.T @ S.T @ D.T, -0.5) @ D
        T = M @ X[rows].T @ np.linalg.inv(S @ V @ S.T) @ A
        u = T @ e[rows]
        total = total + np.outer(u, u)
        p_.append(IH.T @ S.T @ T.T)  # columns p_i of each coefficient
    df = []
    for j in range(X.shape[1]):
        P = np.column_stack([each[:, j] for each in p_])
        Omega = P.T @ V @ P
        df.append(np.trace(Omega) ** 2 / np.sum(Omega**2))
    return total, np.array(df)


def check(point, V, kind, cluster, given=None):
    """Compare a table with the dense formulas; V is the covariance of the residuals, beside that of the effects."""
    design = point.design
    kept = [j for j in range(design.p) if j not in design.aliased]
    X, y = design.X[:, kept], design.y - design.offset
    covariance, df = dense(X, y, V + random_part(point), cluster, kind)
    found = bmm.cluster_robust(point, given, kind=kind)
    np.testing.assert_allclose(
        found.covariance.to_numpy()[np.ix_(kept, kept)], covariance, rtol=SAME, atol=SAME * np.abs(covariance).max()
    )
    np.testing.assert_allclose(found.table["df"].to_numpy()[kept], df, rtol=SAME)
    np.testing.assert_allclose(found.table["se"].to_numpy()[kept], np.sqrt(np.diag(covariance)), rtol=SAME)
    assert found.table["se"].isna().sum() == len(design.aliased)
    return found


@pytest.mark.parametrize("kind", module.KINDS)
def test_a_mixed_model_with_weights(kind):
    data = sleep()
    point = bmm.Model("Reaction ~ Days + late + (Days | Subject)", data, weights="w").maximize()
    found = check(point, np.diag(point.sigma**2 / data["w"].to_numpy()), kind, data["Subject"])
    assert (found.kind, found.cluster, found.clusters) == (kind, "Subject", 18)


@pytest.mark.parametrize("kind", module.KINDS)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_nested_factors_have_the_outer_one_as_clusters(kind, method):
    data = bmm.load_dataset("pastes").drop(index=[3, 7, 20, 21, 22])
    data["x"] = np.arange(len(data)) % 4
    point = bmm.Model("strength ~ x + (1 | batch/cask)", data).maximize(method)
    found = check(point, point.sigma**2 * np.eye(len(data)), kind, data["batch"])
    assert (found.cluster, found.clusters) == ("batch", 10)


def test_a_linear_model_and_values_of_another_column():
    data = sleep()
    point = bmm.Model("Reaction ~ Days + late", data).maximize()
    V = point.sigma**2 * np.eye(len(data))
    check(point, V, "CR2", data["Subject"], given=data["Subject"])
    check(point, V, "CR2", data["Subject"], given=data["Subject"].to_numpy())
    # by its labels, also where it has others and another order, as the whole table that rows were left out of
    more = pd.concat([pd.Series(["other"], index=[999]), data["Subject"].astype(str)])[::-1]
    check(point, V, "CR2", data["Subject"], given=more)


def test_missing_rows_and_a_dependent_column():
    data = sleep().assign(twice=lambda d: 2 * d["Days"])
    data.loc[[4, 9], "Days"] = np.nan
    point = bmm.Model("Reaction ~ Days + twice + late + (1 | Subject)", data.assign(twice=2 * data["Days"])).maximize()
    used = data.dropna()
    check(point, point.sigma**2 * np.eye(len(used)), "CR2", used["Subject"], given=data["Subject"])


def test_a_coefficient_of_one_cluster_alone():
    # its leverage is 1 and G is singular: the generalised inverse
    data = sleep()
    data["only"] = (data["Subject"] == data["Subject"].unique()[5]).astype(float)
    point = bmm.Model("Reaction ~ only + Days + (1 | Subject)", data).maximize()
    found = bmm.cluster_robust(point)
    design = point.design
    V = random_part(point) + point.sigma**2 * np.eye(len(data))
    covariance, df = dense(design.X, design.y, V, data["Subject"], "CR2")
    np.testing.assert_allclose(found.covariance.to_numpy()[[0, 2], [0, 2]], np.diag(covariance)[[0, 2]], rtol=1e-5)
    np.testing.assert_allclose(found.table["df"].to_numpy()[[0, 2]], df[[0, 2]], rtol=1e-5)


def test_correlated_residuals():
    data = sleep()
    point = bmm.Model("Reaction ~ Days + ar(Days, Subject)", data).maximize()
    (rho,) = next(iter(point.residual.values()))
    days, same = data["Days"].to_numpy(), data["Subject"].to_numpy()[:, None] == data["Subject"].to_numpy()
    V = point.sigma**2 * same * rho ** np.abs(days[:, None] - days)
    check(point, V, "CR2", data["Subject"], given="Subject")


def test_sds_by_a_formula_and_by_strata_and_known_ones():
    data = sleep()
    point = bmm.Model(("Reaction ~ Days + (1 | Subject)", "sigma ~ late"), data).maximize()
    sds = np.exp(np.log(point.auxiliaries["sigma"]) + next(iter(point.residual.values()))[-1] * data["late"].to_numpy())
    check(point, np.diag(sds**2), "CR2", data["Subject"])
    point = bmm.Model("Reaction | se(w) ~ Days + (1 | Subject)", data).maximize()
    check(point, np.diag(data["w"].to_numpy() ** 2.0), "CR2", data["Subject"])
    point = bmm.Model("Reaction | se(w, sigma = TRUE) ~ Days + (1 | Subject)", data).maximize()
    check(point, np.diag(data["w"].to_numpy() ** 2.0 + point.sigma**2), "CR2", data["Subject"])


def test_several_responses():
    data = sleep().assign(other=lambda d: d["Reaction"] / 7 + d["Days"] ** 2)
    point = bmm.Model("mvbind(Reaction, other) ~ Days + (1 | Subject)", data).maximize()
    same = bmm.cluster_robust(point)
    np.testing.assert_allclose(bmm.cluster_robust(point, data["Subject"].to_numpy()).covariance, same.covariance)
    np.testing.assert_allclose(bmm.cluster_robust(point, data["Subject"]).covariance, same.covariance)
    np.testing.assert_allclose(point.fixef(se="CR2", cluster="Subject"), same.table)


def pairs():
    """Return 12 families of two sibs with three rows each, and the covariance of the sibs, 1/2 within a family."""
    rng, ids = np.random.default_rng(2), [f"i{k:02d}" for k in range(24)]
    A = pd.DataFrame(np.kron(np.eye(12), [[1, 0.5], [0.5, 1]]), ids, ids)
    effects = np.linalg.cholesky(A.to_numpy()) @ rng.normal(size=24)
    data = pd.DataFrame({"id": np.repeat(ids, 3), "family": np.repeat(np.arange(12), 6), "x": rng.normal(size=72)})
    return data.assign(y=effects.repeat(3) + 0.3 * data["x"] + rng.normal(size=72)), A


@pytest.mark.parametrize("kind", module.KINDS)
def test_kin_are_correlated(kind):
    data, A = pairs()
    point = bmm.Model("y ~ x + (1 | gr(id, cov = A))", data, matrices={"A": A}).maximize()
    among = np.kron(A.to_numpy(), np.ones((3, 3)))
    V = point.sigma**2 * np.eye(72) + point.covariances[0][0, 0] * among
    covariance, df = dense(point.design.X, data["y"].to_numpy(), V, data["family"], kind)
    found = bmm.cluster_robust(point, data["family"], kind=kind)
    np.testing.assert_allclose(found.covariance, covariance, rtol=SAME, atol=SAME * np.abs(covariance).max())
    np.testing.assert_allclose(found.table["df"], df, rtol=SAME)
    with pytest.raises(bmm.DataError, match=r"matrices\['A'\] makes kin lie in different levels of id"):
        bmm.cluster_robust(point, data["id"], kind=kind)


def test_balanced_data_have_the_models_own_standard_errors_and_degrees_of_freedom():
    # every subject has the same X: GLS is least squares, and CR2 is unbiased whatever the covariance
    point = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy")).maximize()
    table = point.fixef(se="CR2", cluster="Subject")
    np.testing.assert_allclose(table["se"], table["se_model"], rtol=1e-6)  # REML's optimum is at 1e-7
    np.testing.assert_allclose(table["df"], 17, rtol=1e-9)
    known = point.fixef(ddf="satterthwaite")
    np.testing.assert_allclose(table[["estimate", "se", "df", "t"]], known[["estimate", "se", "df", "t"]], rtol=1e-5)


def test_units_order_and_coding_change_nothing_else():
    data = sleep()
    table = bmm.Model("Reaction ~ Days + (Days | Subject)", data).maximize().fixef(se="CR2")
    other = data.assign(Reaction=1e6 + 1e-3 * data["Reaction"], Days=1e9 + 60 * data["Days"])
    again = bmm.Model("Reaction ~ Days + (Days | Subject)", other).maximize().fixef(se="CR2")
    np.testing.assert_allclose(again.loc["Days", ["se", "df"]].to_numpy(float),
                               table.loc["Days", ["se", "df"]].to_numpy(float) * [1e-3 / 60, 1], rtol=1e-5)  # fmt: skip
    mixed = bmm.Model("Reaction ~ Days + (Days | Subject)", data.sample(frac=1, random_state=1)).maximize()
    np.testing.assert_allclose(mixed.fixef(se="CR2"), table, rtol=1e-5)
    point = bmm.Model("Reaction ~ I(Days - 4) + (Days | Subject)", data).maximize()
    moved = bmm.cluster_robust(point)
    np.testing.assert_allclose(moved.table.loc["I(Days - 4)"], table.loc["Days"], rtol=1e-5)
    # the mean at day 0, from the coefficients at day 4
    at = moved.contrast({"Intercept": 1, "I(Days - 4)": -4})
    np.testing.assert_allclose(at.iloc[0], table.loc["Intercept", at.columns], rtol=1e-5)


def test_clusters_computed_together_or_apart_give_the_same(monkeypatch):
    point = bmm.Model("Reaction ~ Days + (Days | Subject)", sleep()).maximize()
    expected = bmm.cluster_robust(point).table
    monkeypatch.setattr(module, "TOGETHER", 1)
    np.testing.assert_allclose(bmm.cluster_robust(point).table, expected, rtol=FEW)
    monkeypatch.setattr(module, "MOST_ROWS", 8)
    with pytest.raises(bmm.DataError, match="dense matrices of a cluster's rows, and one has"):
        bmm.cluster_robust(point)


def test_wrong_variances_are_made_good():
    # equal variances are assumed and are not: the model's standard error of the slope is wrong, CR2's is right
    rng, found = np.random.default_rng(1), []
    data = pd.DataFrame({"g": np.repeat(np.arange(40), 5), "x": np.tile(np.arange(5.0), 40)})
    for _ in range(60):
        data["y"] = rng.normal(size=200) + data["x"] * rng.normal(size=40).repeat(
            5
        )  # slopes differ; the model has none
        table = bmm.Model("y ~ x + (1 | g)", data).maximize().fixef(se="CR2").loc["x"]
        found.append((table["estimate"], table["se"], table["se_model"]))
    estimates, se, se_model = np.array(found).T
    # the sd of 60 estimates is known to 9 %; the model's standard error is about half of it
    assert np.sqrt(np.mean(se**2)) == pytest.approx(estimates.std(ddof=1), rel=0.3)
    assert np.sqrt(np.mean(se_model**2)) < 0.75 * estimates.std(ddof=1)


@pytest.mark.parametrize(
    ("formula", "family", "asked", "expected"),
    [
        ("Reaction ~ Days + (1 | Subject) + (1 | late)", "gaussian", {"se": "CR2"}, "effects of Subject go across"),
        ("Reaction ~ s(Days) + (1 | Subject)", "gaussian", {"se": "CR2"}, "random effects of s"),
        ("Reaction ~ Days + ar(Days, Subject)", "gaussian", {"se": "CR2", "cluster": "Days"}, "holds whole series"),
        ("Days ~ late + (1 | Subject)", "poisson", {"se": "CR2"}, "linear models, and this model's family is poisson"),
        ("Reaction ~ Days", "gaussian", {"se": "CR2"}, "cluster is needed"),
        ("Reaction ~ Days", "gaussian", {"se": "CR2", "cluster": "Subject"}, "names 'Subject', which is no grouping"),
        ("Reaction ~ Days", "gaussian", {"se": "CR2", "cluster": [1, 2]}, "a value for each of the"),
        ("Reaction ~ Days", "gaussian", {"se": "CR2", "cluster": np.ones(115)}, "has one level"),
        ("Reaction ~ Days", "gaussian", {"se": "CR2", "cluster": np.ones((115, 1))}, "for each row.*not a ndarray"),
        ("Reaction ~ Days + (1 | Subject)", "gaussian", {"se": "CR4"}, "se must be one of CR0, CR1, CR2, not 'CR4'"),
        ("Reaction ~ Days + (1 | Subject)", "gaussian", {"cluster": "Subject"}, "ask for them by se='CR2'"),
        ("Reaction ~ Days + (1 | Subject)", "gaussian", {"se": "CR2", "ddf": "satterthwaite"}, "no ddf; leave it out"),
        ("Reaction ~ Days + (1 | Subject)", "gaussian", {"se": "CR2", "exponentiate": True}, "no exponentiate"),
    ],
)  # fmt: skip
def test_where_it_cannot_be_one_sentence_says_so(formula, family, asked, expected):
    data = sleep()
    point = bmm.Model(formula, data, family).maximize()
    with pytest.raises(ValueError, match=expected) as caught:
        point.fixef(**asked)
    assert "\n" not in str(caught.value)


def test_other_words_of_what_is_missing():
    data = sleep()
    point = bmm.Model("Reaction ~ Days + (1 | Subject)", data).maximize()
    with pytest.raises(ValueError, match="cluster is missing in 1 row of the model"):
        bmm.cluster_robust(point, [None, *data["Subject"].astype(str)[1:]])
    with pytest.raises(ValueError, match=r"'Dyas' is no coefficient with an estimate.*did you mean 'Days'"):
        bmm.cluster_robust(point).contrast({"Dyas": 1})
    with pytest.raises(bmm.DataError, match="mode of a posterior"):
        bmm.cluster_robust(bmm.Model("Reaction ~ Days + (1 | Subject)", data).maximize("MAP"))
    said = str(bmm.cluster_robust(point))
    assert said.startswith("Cluster-robust standard errors (CR2), 18 clusters: Subject") and "SE (model)" in said


@pytest.mark.slow  # such a likelihood compiles for a minute
def test_random_effects_of_sigma_leave_no_covariance_matrix():
    point = bmm.Model(("Reaction ~ Days", "sigma ~ (1 | Subject)"), sleep()).maximize()
    with pytest.raises(bmm.DataError, match="without random effects of sigma, which this one has of Subject"):
        bmm.cluster_robust(point, "Subject")


def test_lazy_rows_are_elsewhere():
    polars = pytest.importorskip("polars")
    point = bmm.Model("Reaction ~ Days + (1 | Subject)", polars.from_pandas(sleep()).lazy()).maximize()
    with pytest.raises(bmm.DataError):
        bmm.cluster_robust(point)
