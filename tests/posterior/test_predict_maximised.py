"""Predictions of a maximised model, and their standard errors, against lme4's and dense formulas."""

import numpy as np
import pandas as pd
import pytest
from references import frame, reference_models

import bayesmm as bmm


def test_fitted_values_are_lme4s(point):
    reference = reference_models()["s002_sleep_rs"]
    effects, (intercept, slope) = reference["ranef"]["Subject"], reference["fixef"].values()
    b = dict(zip(effects["levels"], effects["values"], strict=True))
    data = frame("sleepstudy")
    expected = [
        intercept + b[s][0] + (slope + b[s][1]) * day
        for s, day in zip(data["Subject"].astype(str), data["Days"], strict=True)
    ]
    np.testing.assert_allclose(point.predict()["estimate"], expected, rtol=1e-6)
    np.testing.assert_allclose(point.predict(data)["estimate"], expected, rtol=1e-6)


def dense(point, weights=None):
    """Return the joint covariance of (beta, b), and the rows (X Z) of the fit: Henderson's equations, dense."""
    design, Z, inverse = point.design, [], []
    for block, Sigma in zip(design.blocks, point.covariances, strict=True):
        q = len(block.columns)
        full = np.zeros((design.n, len(block.levels) * q))
        for i, level in enumerate(block.index):
            full[i, level * q : (level + 1) * q] = block.Z[i]
        Z.append(full)
        inverse.append(np.kron(np.eye(len(block.levels)), np.linalg.inv(Sigma)))
    w = np.ones(design.n) if design.weights is None else design.weights
    w = w / point.sigma**2 if weights is None else weights
    rows = np.hstack([design.X, *Z])
    precision, at = rows.T @ (rows * w[:, None]), design.p
    for part in inverse:
        precision[at : at + len(part), at : at + len(part)] += part
        at += len(part)
    return np.linalg.inv(precision), rows


def se_of(C, rows):
    return np.sqrt(np.einsum("ij,jk,ik->i", rows, C, rows))


@pytest.fixture(scope="module")
def crossed():
    data = frame("pastes").assign(x=np.sin(np.arange(60)), w=1.0 + np.arange(60) % 3)
    data["strength"] = data["strength"] + 3 * data["x"] * data["batch"].cat.codes / 5 + data["cask"].cat.codes
    found = bmm.Model("strength ~ x + (x | batch) + (1 | cask) + (1 | batch:cask)", data, weights="w").maximize()
    assert not found.singular
    return found, data


def test_standard_errors_are_those_of_the_dense_equations(point, crossed):
    for found in (point, crossed[0]):
        C, rows = dense(found)
        table = found.predict(se=True)
        np.testing.assert_allclose(table["se"], se_of(C, rows), rtol=1e-8)
        np.testing.assert_allclose(table["sd"], np.hypot(table["se"], found.sigma), rtol=1e-12)


def test_parts_of_the_random_effects_have_their_own_errors(crossed):
    found, data = crossed
    C, rows = dense(found)
    x = found.design.X
    population = found.predict(data, groups="population", se=True)
    np.testing.assert_allclose(population["se"], np.sqrt(np.einsum("ij,jk,ik->i", x, found.beta_cov, x)), rtol=1e-8)
    spread = sum(
        np.einsum("ij,jk,ik->i", block.Z, Sigma, block.Z)
        for block, Sigma in zip(found.design.blocks, found.covariances, strict=True)
    )
    expected = np.sqrt(population["se"] ** 2 + spread + found.sigma**2)
    np.testing.assert_allclose(population["sd"], expected, rtol=1e-10)
    without = rows.copy()
    start = 2
    for block in found.design.blocks:
        end = start + len(block.levels) * len(block.columns)
        without[:, start:end] *= block.group == "batch"
        start = end
    table = found.predict(data, groups=["batch"], se=True)
    np.testing.assert_allclose(table["se"], se_of(C, without), rtol=1e-8)


def test_new_levels_of_a_maximised_model(point):
    data = pd.DataFrame({"Subject": ["new", "308"], "Days": [5.0, 5.0]}, index=["a", "b"])
    table, population = point.predict(data, new_levels="zero", se=True), point.predict(
        data, groups="population", se=True
    )  # fmt: skip
    assert list(table.index) == ["a", "b"] and list(table.columns) == ["estimate", "se", "sd"]
    np.testing.assert_allclose(table.loc["a"], population.loc["a"], rtol=1e-12)  # the spread of a new level too
    assert table.loc["b", "sd"] < population.loc["b", "sd"]
    assert list(point.predict(data, new_levels="zero").columns) == ["estimate"]


def test_a_singular_model_has_standard_errors():
    found = bmm.Model("Yield ~ N + P + (1 | Block)", frame("crop_yield")).maximize()
    table = found.predict(se=True)
    C = np.linalg.inv(found.design.X.T @ found.design.X) * found.sigma**2
    if found.covariances[0].max() == 0:
        np.testing.assert_allclose(table["se"], se_of(C, found.design.X), rtol=1e-8)
    assert np.isfinite(table).all().all()


def test_the_mode_of_the_posterior_has_nearly_the_same_errors(sleep, point):
    # default priors of sleepstudy are wide: at equal variances the errors differ by the prior of the coefficients alone
    mode = sleep.maximize("MAP")
    C, rows = dense(mode)
    np.testing.assert_allclose(mode.predict(se=True)["se"], se_of(C, rows), rtol=1e-3)
    assert (mode.predict(se=True)["se"] < se_of(C, rows)).all()  # and a proper prior can only take from them


def test_a_generalised_model_has_the_errors_of_its_quadratic_approximation():
    found = bmm.Model("ncases ~ ncontrols + (1 | agegp)", frame("esoph"), family="poisson").maximize(method="ML")
    mu = found.fitted
    C, rows = dense(found, weights=mu)  # minus the second derivative of a Poisson log density in eta
    linear, mean = found.predict(kind="linear", se=True), found.predict(se=True)
    np.testing.assert_allclose(linear["se"], se_of(C, rows), rtol=1e-7)
    np.testing.assert_allclose(mean["estimate"], mu, rtol=1e-12)
    np.testing.assert_allclose(mean["se"], linear["se"] * mu, rtol=1e-12)
    assert list(mean.columns) == ["estimate", "se"]
    population, averaged = (found.predict(groups=groups, se=True) for groups in ("population", "averaged"))
    x, factor = found.design.X, np.exp(found.covariances[0][0, 0] / 2)  # E exp(N(0, s^2))
    se = np.sqrt(np.einsum("ij,jk,ik->i", x, found.beta_cov, x))
    np.testing.assert_allclose(population["se"], population["estimate"] * se, rtol=1e-10)
    np.testing.assert_allclose(averaged["estimate"], population["estimate"] * factor, rtol=1e-10)
    # its logarithm is x beta + s^2 / 2: the variance s^2 is estimated too (its covariance: test_joint_errors.py)
    along = np.column_stack([x, np.full(len(x), np.square(found.scaled.bases[0][0, 0]) / 2)])
    se = np.linalg.norm(along @ found.joint.root, axis=1)
    np.testing.assert_allclose(averaged["se"], averaged["estimate"] * se, rtol=1e-6)  # differences in s^2


@pytest.mark.parametrize(
    ("formula", "family"),
    [
        (("y ~ x", "zi ~ z"), "zero_inflated_poisson"),
        (("y ~ x + (1 | g)", "sigma ~ z"), "lognormal"),
        ("y ~ x + (1 | g)", "categorical"),
    ],
)
def test_no_rows_are_predicted_by_no_numbers(formula, family):
    """Formulas of parameters, and the log odds of categories, are read of each row, of none too."""
    rng, n = np.random.default_rng(1), 40
    data = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n), "g": np.resize(list("abcde"), n)})
    counts = rng.poisson(1.5, n)
    data["y"] = {"lognormal": counts + 0.5, "categorical": counts.clip(1, 3)}.get(family, counts)
    point = bmm.Model(formula, data, family).maximize()
    found = point.predict(data.iloc[:0])
    assert found.shape == (0, 3 if family == "categorical" else 1)
    assert list(found.columns) == list(point.predict(data).columns)
