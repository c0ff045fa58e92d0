"""Known covariances among levels, (1 | gr(g, cov = A)): everything against V = s^2 Z K Z' + sigma^2 I, written out."""

import re

import numpy as np
import pandas as pd
import pytest
from influence import dfbetas
from invented import draws, invented
from scipy import optimize, stats

import bayesmm as bmm
from bayesmm.design.matrices import read_matrices
from bayesmm.errors import DataError, FormulaError
from bayesmm.evaluation.checks.fitted import of_point
from bayesmm.evaluation.checks.groups import _Parts
from bayesmm.evaluation.graph_vs_reml import check_consistency

FORMULA = "y ~ x + (1 | gr(animal, cov = A))"
# Mrode (2014), Linear Models for the Prediction of Animal Breeding Values, example 2.1
PEDIGREE = pd.DataFrame(
    {"id": list("123456"), "sire": ["0", "0", "1", "1", "4", "5"], "dam": ["0", "0", "2", "0", "3", "2"]}
)
RELATIONSHIP = np.array(
    [
        [1, 0, 0.5, 0.5, 0.5, 0.25],
        [0, 1, 0.5, 0, 0.25, 0.625],
        [0.5, 0.5, 1, 0.25, 0.625, 0.5625],
        [0.5, 0, 0.25, 1, 0.625, 0.3125],
        [0.5, 0.25, 0.625, 0.625, 1.125, 0.6875],
        [0.25, 0.625, 0.5625, 0.3125, 0.6875, 1.125],
    ]
)


def made(seed=1, G=12, n=40):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(G, 3 * G))
    A = A @ A.T / (3 * G)
    labels = [f"a{i}" for i in rng.permutation(G)]
    index = np.concatenate([np.arange(G), rng.integers(G, size=n - G)])
    b = np.linalg.cholesky(A) @ rng.normal(size=G)
    x = rng.normal(size=n)
    y = 1 + x + 1.5 * b[index] + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "x": x, "animal": np.array(labels)[index], "h": [f"h{i}" for i in index % 3]})
    return frame, pd.DataFrame(A, labels, labels)


def dense(frame, K, s, sigma, reml):
    levels, index = np.unique(frame["animal"], return_inverse=True)
    V = s**2 * K.loc[levels, levels].to_numpy()[index][:, index] + sigma**2 * np.eye(len(frame))
    X, inverse = np.column_stack([np.ones(len(frame)), frame["x"]]), np.linalg.inv(V)
    information = X.T @ inverse @ X
    beta = np.linalg.solve(information, X.T @ inverse @ frame["y"])
    r = frame["y"] - X @ beta
    value = np.linalg.slogdet(V)[1] + r @ inverse @ r + (len(frame) - 2 * reml) * np.log(2 * np.pi)
    return value + (np.linalg.slogdet(information)[1] if reml else 0.0), V, r, beta


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_the_maximum_is_that_of_the_dense_likelihood(method):
    frame, A = made()
    shuffled = A.sample(frac=1, random_state=2)  # rows and columns in other orders, matched by their labels
    point = bmm.Model(FORMULA, frame, matrices={"A": shuffled}).maximize(method)
    best = optimize.minimize(lambda t: dense(frame, A, *np.exp(t), method == "REML")[0], [0.0, 0.0], tol=1e-10)
    s, sigma = np.exp(best.x)
    value, V, r, beta = dense(frame, A, s, sigma, method == "REML")
    assert point.converged and point.npar == 4
    assert point.criterion == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose([np.sqrt(point.covariances[0][0, 0]), point.sigma], [s, sigma], rtol=1e-4)
    np.testing.assert_allclose(point.beta, beta, rtol=1e-4)
    levels, index = np.unique(frame["animal"], return_inverse=True)
    K, Z = A.loc[levels, levels].to_numpy(), np.eye(len(levels))[index]
    blup = s**2 * K @ Z.T @ np.linalg.solve(V, r)
    np.testing.assert_allclose(point.ranef()["condval"], blup, atol=1e-3)
    C = np.linalg.inv(Z.T @ Z / sigma**2 + np.linalg.inv(K) / s**2)  # var(b | y, beta)
    np.testing.assert_allclose(point.ranef()["condsd"], np.sqrt(np.diag(C)), rtol=1e-3)
    np.testing.assert_allclose(point.linear, frame["y"] - r + blup[index], atol=1e-3)


def test_standard_errors_of_predictions_are_those_of_henderson():
    frame, A = made()
    point = bmm.Model(FORMULA, frame, matrices={"A": A}).maximize()
    levels, index = np.unique(frame["animal"], return_inverse=True)
    Z = np.column_stack([np.ones(len(frame)), frame["x"], np.eye(len(levels))[index]])
    prior = np.zeros((2 + len(levels),) * 2)
    prior[2:, 2:] = np.linalg.inv(point.covariances[0][0, 0] * A.loc[levels, levels].to_numpy())
    C = np.linalg.inv(Z.T @ Z / point.sigma**2 + prior)
    np.testing.assert_allclose(point.predict(se=True)["se"], np.sqrt(np.einsum("ij,jk,ik->i", Z, C, Z)), rtol=1e-7)


def test_an_identity_matrix_is_the_plain_model_and_another_factor_may_stand_beside():
    frame, A = made()
    eye = pd.DataFrame(np.eye(len(A)), A.index, A.columns)
    plain = bmm.Model("y ~ x + (1 | animal) + (1 | h)", frame).maximize()
    found = bmm.Model(f"{FORMULA} + (1 | h)", frame, matrices={"A": eye}).maximize()
    assert found.criterion == pytest.approx(plain.criterion, abs=1e-8)
    np.testing.assert_allclose(found.ranef()["condval"], plain.ranef()["condval"], atol=1e-4)


def test_a_pedigree_gives_the_relationship_matrix_of_the_textbook():
    matrix = read_matrices({"A": PEDIGREE.sample(frac=1, random_state=3)}, ["A"])["A"]
    found = pd.DataFrame(matrix.values, matrix.labels, matrix.labels).loc[list("123456"), list("123456")]
    np.testing.assert_array_equal(found, RELATIONSHIP)


@pytest.mark.slow
def test_the_graph_has_its_mode_at_reml():
    frame, A = made()
    model = bmm.Model(FORMULA, frame, matrices={"A": A})
    assert check_consistency(model.design, model.maximize()).ok


def test_simulated_effects_have_the_covariance():
    frame, A = made()
    model = bmm.Model(FORMULA, frame, matrices={"A": A})
    values = {"beta[Intercept]": 0.0, "beta[x]": 0.0, "sd_animal[Intercept]": 2.0, "sigma": 0.5}
    drawn = model.simulate(values, draws=20_000, seed=1).to_numpy()
    V = dense(frame, A, 2.0, 0.5, True)[1]
    np.testing.assert_allclose(np.cov(drawn), V, atol=0.06 * V.max())  # 6 standard errors of a variance


def test_files_other_data_and_rows_keep_the_matrix(tmp_path):
    frame, A = made()
    model = bmm.Model(FORMULA, frame, matrices={"A": A})
    fit = invented(model)
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.design.blocks[0].relation.K, model.design.blocks[0].relation.K)
    fewer = frame[frame["animal"] != "a0"]
    assert model.with_data(fewer).maximize().converged
    eta = fit.predict(kind="linear").draws.reshape(-1, len(frame))
    from bayesmm.posterior.log_likelihood import conditional

    np.testing.assert_allclose(conditional(fit), stats.norm.logpdf(frame["y"], eta, draws(fit, "sigma")[:, None]))


def changed(A, **how):
    return A.assign(**how)


FRAME, MATRIX = made()
ASYMMETRIC = MATRIX.copy()
ASYMMETRIC.iloc[0, 1] += 1.0
GAP = MATRIX.copy()
GAP.iloc[2, 2] = np.nan
OTHER = MATRIX.rename(index={"a0": "b0"})


@pytest.mark.parametrize(
    ("formula", "matrices", "error", "said"),
    [
        (FORMULA, None, DataError, "the formula has cov = A, and no matrices are given"),
        (FORMULA, {"a": MATRIX}, DataError, "did you mean 'a'?"),
        (FORMULA, {"A": MATRIX, "B": MATRIX}, DataError, "matrices has 'B', which the formula does not name"),
        (FORMULA, [MATRIX], DataError, "matrices should be a mapping"),
        (FORMULA, {"A": MATRIX.to_numpy()}, DataError, "is a ndarray; expected a table with the labels"),
        (FORMULA, {"A": MATRIX.iloc[:5]}, DataError, "is 5 x 12; expected as many rows as columns"),
        (FORMULA, {"A": ASYMMETRIC}, DataError, "is not symmetric"),
        (FORMULA, {"A": GAP}, DataError, "missing or not finite"),
        (FORMULA, {"A": OTHER}, DataError, "other labels of its rows than of its columns"),
        (FORMULA, {"A": -MATRIX}, DataError, "is not positive definite for the levels of 'animal'"),
        (FORMULA, {"A": MATRIX * 0 + 1}, DataError, "is not positive definite"),
        (FORMULA, {"A": MATRIX.drop("a0").drop(columns="a0")}, DataError, "has no row for 1 of the 12 levels"),
        (FORMULA, {"A": MATRIX.astype(str)}, DataError, "holds other values than numbers"),
        ("y ~ (x | gr(animal, cov = A))", {"A": MATRIX}, DataError, "has 2 effects in a level, and it can have one"),
        (f"{FORMULA} + (0 + x | animal)", {"A": MATRIX}, DataError, "copy the column under another name"),
        ("y ~ (1 | gr(animal))", {"A": MATRIX}, FormulaError, "gr() takes a grouping factor and the name of a matrix"),
        ("y ~ gr(animal, cov = A)", {"A": MATRIX}, FormulaError, "it stands after the bar of a group term"),
        (FORMULA, {"A": PEDIGREE.assign(sire=[1, 0, 0, 0, 0, 0], id=list("abcdef"))}, DataError, "sire holds numbers"),
        (FORMULA, {"A": PEDIGREE.assign(id="1")}, DataError, "has the id '1' twice"),
        (FORMULA, {"A": PEDIGREE.assign(sire=["6", "0", "1", "1", "4", "5"])}, DataError, "among its own ancestors"),
    ],
)
def test_bad_matrices_are_one_clear_sentence(formula, matrices, error, said):
    with pytest.raises(error, match=re.escape(said)):
        bmm.Model(formula, FRAME, matrices=matrices)


def test_what_cannot_be_is_said():
    model = bmm.Model(FORMULA, FRAME, matrices={"A": MATRIX})
    twice = bmm.Model(
        f"{FORMULA} + (1 | gr(h, cov = B))",
        FRAME,
        matrices={"A": MATRIX, "B": pd.DataFrame(np.eye(3), ["h0", "h1", "h2"], ["h0", "h1", "h2"])},
    )
    with pytest.raises(DataError, match=re.escape("effects='marginal' is not possible")):
        twice.effects("marginal")
    with pytest.raises(DataError, match="a covariance has a structure"):
        twice.maximize("MAP")
    with pytest.raises(DataError, match="is not possible with the known covariance of"):
        model.maximize().confint()
    with pytest.raises(ValueError, match="cannot be left out with its effect integrated out"):
        invented(model).loo(by="animal")
    with pytest.raises(DataError, match="is not in the data of the fit"):
        model.maximize().predict(FRAME.head(1).assign(animal="new"), new_levels="zero")


def test_influence_is_that_of_the_dense_refit():
    frame, A = made()
    point = bmm.Model(FORMULA, frame, matrices={"A": A}).maximize()
    block, X, y = point.design.blocks[0], point.design.X, point.design.y
    K = A.loc[list(block.levels), list(block.levels)].to_numpy()
    V = point.covariances[0][0, 0] * K[block.index][:, block.index] + point.sigma**2 * np.eye(len(y))
    moved, se = dfbetas(_Parts.of(of_point(point)), block), np.sqrt(np.diag(point.beta_cov))
    for g in (0, 5):
        keep = block.index != g
        inverse = np.linalg.inv(V[np.ix_(keep, keep)])
        beta = np.linalg.solve(X[keep].T @ inverse @ X[keep], X[keep].T @ inverse @ y[keep])
        np.testing.assert_allclose(moved[g], (point.beta - beta) / se, rtol=1e-6, atol=1e-9)  # as for independent ones


def test_another_covariance_is_another_model():
    frame, A = made()
    related = bmm.Model(FORMULA, frame, matrices={"A": A}).maximize("ML")
    independent = bmm.Model("y ~ x + (1 | animal) + (1 | h)", frame).maximize("ML")
    found = bmm.lrt(related, independent)
    assert any("is not part of one of the other's" in note for note in found.notes)
    assert found.table["Pr(>Chisq)"].isna().all()
