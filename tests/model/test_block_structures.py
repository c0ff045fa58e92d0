"""cs(), ar1(), ident() and gr(g, by = f): records against matrices, REML and ML against glmmTMB and nlme."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import toeplitz as toeplitz_matrix
from structure_references import dense, structures, table

import bayesmm as bmm
from bayesmm.design.covariance import autoregressive, compound_symmetry, identity, toeplitz
from bayesmm.design.covariance.structure import factor_derivatives, factor_of, searched
from bayesmm.errors import DataError, FormulaError

OATS = table("oats")
GROWTH = table("orthodont").assign(a=lambda frame: frame["age"] - 11)
SERIES = table("autoregressive")
MODELS = {
    "k06_oats_cshet_ml": ("yield ~ nitro + cs(0 + Variety | Block)", OATS),
    "k06_oats_diag_variety_ml": ("yield ~ nitro + diag(0 + Variety | Block)", OATS),
    "k06_oats_pdblocked_reml": ("yield ~ nitro + (1 | Block) + ident(0 + Variety | Block)", OATS),
    "k06_orthodont_by_sex_ml": ("distance ~ a*Sex + (a | gr(Subject, by = Sex))", GROWTH),
    "k06_orthodont_by_sex_reml": ("distance ~ a*Sex + (a | gr(Subject, by = Sex))", GROWTH),
    "k06_simdev_ar1_ml": ("y ~ t + x + ar1(0 + factor(t) | id)", SERIES),
    "k06_simdev_ar1_reml": ("y ~ t + x + ar1(0 + factor(t) | id)", SERIES),
}


def ar1(sd, rho, q):
    return sd**2 * rho ** np.abs(np.subtract.outer(np.arange(q), np.arange(q)))


def cs(sds, r):
    return np.outer(sds, sds) * (r + (1 - r) * np.eye(len(sds)))


@pytest.mark.parametrize("q", [1, 2, 4])
def test_factors_and_derivatives(q):
    # exact matrices; central differences of step 1e-6 are good to 1e-9
    sds, more = list(np.linspace(0.5, 2, q)), q > 1
    cases = [
        (compound_symmetry.covariance, sds + [0.3] * more, cs(np.array(sds), 0.3)),
        (compound_symmetry.covariance, sds + [-0.2] * more, cs(np.array(sds), -0.2)),
        (autoregressive.covariance, [1.7] + [-0.6] * more, ar1(1.7, -0.6, q)),
        (autoregressive.covariance, [1.7] + [0.0] * more, ar1(1.7, 0.0, q)),
        (identity.covariance, [1.7], 1.7**2 * np.eye(q)),
        (toeplitz.covariance, sds + [0.3] * more + [0.0] * (q - 2), None),
    ]
    for covariance, values, Sigma in cases:
        L = factor_of(covariance, values, q)
        assert len(covariance.entries(q)) == len(values)
        if Sigma is not None:
            assert_allclose(L @ L.T, Sigma, atol=1e-13)
        assert_allclose(L, np.tril(L))
        for D, step in zip(factor_derivatives(covariance, values, q), 1e-6 * np.eye(len(values)), strict=True):
            there, back = (factor_of(covariance, np.array(values) + h, q) for h in (step, -step))
            assert_allclose(D, (there - back) / 2e-6, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_the_maximum_is_the_reference(name):
    reference, (formula, data) = structures()[name], MODELS[name]
    method = reference["estimator"]
    point = bmm.Model(formula, data).maximize(method)
    assert point.converged and point.npar == reference["npar"]
    # by sex the reference is singular, and a search that ends at 1e-7 of it
    assert point.criterion <= reference["criterion"] * (1 + 1e-8) and point.criterion > reference["criterion"] - 1e-5
    assert_allclose(dense(point.design, point.covariances, point.sigma, method == "REML"), point.criterion, rtol=1e-8)
    if "orthodont" not in name:  # whose reference level is another
        assert_allclose(point.beta, list(reference["fixef"].values()), rtol=1e-4)
    assert_allclose(point.sigma, reference["residual_sd"], rtol=1e-4)


def test_toeplitz_correlations_and_their_partial_ones():
    rng = np.random.default_rng(1)
    for q in (2, 3, 5):
        sds, own = rng.uniform(0.5, 2, q), rng.uniform(-0.9, 0.9, q - 1)
        L = factor_of(toeplitz.covariance, [*sds, *own], q)
        R = L @ L.T / np.outer(sds, sds)
        assert_allclose(R, toeplitz_matrix(R[0]), atol=1e-12)
        assert_allclose(np.diag(R), 1)
        assert_allclose(searched(toeplitz.covariance, [*sds, *R[0, 1:]], q), [*sds, *own], atol=1e-10)


def test_toeplitz_effects_without_a_residual_are_those_of_glmmtmb():
    # glmmTMB holds the residual variance at sqrt(eps)
    reference, data = structures()["k06_sleep_toep_noresid_ml"], table("sleep6days").assign(se=2.0**-13)
    data["day"] = data["day"].astype(str)
    point = bmm.Model("Reaction | se(se) ~ Days + toep(0 + day | Subject)", data).maximize("ML")
    assert_allclose(point.criterion, reference["criterion"], rtol=1e-9)
    assert_allclose(np.sqrt(np.diag(point.covariances[0])), list(reference["random_sd"].values()), rtol=1e-4)
    assert_allclose(point.parameters["corr_Subject[toep(0 + day), lag 2]"], reference["toep_corr_by_lag"][1], rtol=1e-4)
    values = point.parameters | {"corr_Subject[toep(0 + day), lag 1]": -0.9, "corr_Subject[toep(0 + day), lag 2]": -0.9}
    with pytest.raises(ValueError, match="the correlations of toep\\(0 \\+ day\\) in 'Subject' cannot hold together"):
        point.design and bmm.Model("Reaction | se(se) ~ Days + toep(0 + day | Subject)", data).simulate(values, 1)
    with pytest.raises(DataError, match="partial autocorrelations"):
        bmm.Model("yield ~ nitro + toep(0 + Variety | Block)", OATS).maximize("ML").profile(
            "corr_Block[toep(0 + Variety), lag 1]"
        )


def test_estimates_by_name():
    point = bmm.Model(*MODELS["k06_oats_cshet_ml"]).maximize("ML")
    reference, found = structures()["k06_oats_cshet_ml"], point.parameters
    for level, sd in reference["random_sd"].items():
        assert found[f"sd_Block[Variety[{level}]]"] == pytest.approx(sd, rel=1e-4)
    assert found["corr_Block[cs(0 + Variety)]"] == pytest.approx(reference["random_corr_matrix"][0][1], rel=1e-4)
    point = bmm.Model(*MODELS["k06_simdev_ar1_reml"]).maximize()
    reference = structures()["k06_simdev_ar1_reml"]
    assert point.parameters["corr_id[ar1(0 + factor(t)), lag 1]"] == pytest.approx(reference["ar1_rho"], rel=1e-4)
    assert_allclose(point.covariances[0], reference["G_matrix"]["values"], rtol=1e-3)
    assert "autoregressive" in bmm.Model(*MODELS["k06_simdev_ar1_reml"]).design.blocks[0].parts[0].covariance.words


def test_a_covariance_matrix_for_each_level_of_another_factor():
    point = bmm.Model(*MODELS["k06_orthodont_by_sex_ml"]).maximize("ML")
    reference = structures()["k06_orthodont_by_sex_ml"]["random_sd"]
    found = point.parameters
    for sex in ("Male", "Female"):
        for mine, theirs in (("Intercept", "(Intercept)"), ("a", "a")):
            ours = found[f"sd_Subject[{mine}:Sex[{sex}]]"]
            assert ours == pytest.approx(reference[f"Sex{sex}:{theirs}"], rel=2e-3)
    assert not point.covariances[0][:2, 2:].any()
    eta = point.predict(GROWTH.head(8))["estimate"]
    assert_allclose(eta, point.fitted[:8], rtol=1e-8)
    new = GROWTH.head(4).assign(Subject="new")
    sd = point.predict(new, new_levels="zero", se=True)["sd"]
    block, S = point.design.blocks[0], point.covariances[0]
    own = np.einsum("ij,jk,ik->i", block.Z[:4], S, block.Z[:4])
    se = point.predict(new, new_levels="zero", se=True)["se"]
    assert_allclose(sd**2 - se**2, own + point.sigma**2, rtol=1e-6)


def test_ident_is_the_nested_factor():
    one = bmm.Model("yield ~ nitro + (1 | Block) + ident(0 + Variety | Block)", OATS).maximize()
    other = bmm.Model("yield ~ nitro + (1 | Block/Variety)", OATS).maximize()
    assert one.criterion == pytest.approx(other.criterion, abs=1e-7)


def test_profiles_beside_a_structure_are_those_of_the_nested_factor():
    one = bmm.Model("yield ~ nitro + (1 | Block) + ident(0 + Variety | Block)", OATS).maximize("ML").confint()
    other = bmm.Model("yield ~ nitro + (1 | Block/Variety)", OATS).maximize("ML").confint()
    assert_allclose(one.loc["sd_Block[Intercept]"], other.loc["sd_Block[Intercept]"], rtol=1e-6)
    assert_allclose(one.loc["sd_Block[ident(0 + Variety)]"], other.loc["sd_Block:Variety[Intercept]"], rtol=1e-6)


BAD = [
    ("yield ~ cs(0 + Variety || Block)", FormulaError, "has a single bar, as in cs(x | g)"),
    ("yield ~ tpe(0 + Variety | Block)", FormulaError, "'tpe' is no covariance structure"),
    ("yield ~ nitro + (1 | gr(Block, by = nitro))", DataError, "needs a factor, and 'nitro' holds numbers"),
    ("yield ~ nitro + (1 | gr(Block, by = Variety))", DataError, "and a level has several"),
    ("yield ~ nitro + (1 | gr(Block, by = Block))", FormulaError, "gr() takes a grouping factor"),
    ("yield ~ nitro + (1 | gr(Block, by = nix))", FormulaError, "is not in the data"),
    ("yield ~ ar1(Variety)", FormulaError, "is the covariance structure of a group term"),
    ("yield ~ (1 | Block) + cs(1 + nitro | Block)", FormulaError, "both let Intercept vary over Block"),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "error", "said"), BAD)
def test_bad_structures_are_one_clear_sentence(formula, error, said):
    with pytest.raises(error, match=re.escape(said)):
        bmm.Model(formula, OATS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["k06_oats_cshet_ml", "k06_simdev_ar1_reml", "toep"])
def test_both_graphs_have_their_mode_at_reml(name):
    model = bmm.Model(*MODELS.get(name, ("yield ~ nitro + toep(0 + Variety | Block)", OATS)))
    from bayesmm.evaluation.graph_vs_reml import check_consistency

    assert check_consistency(model.design, model.maximize()).ok
