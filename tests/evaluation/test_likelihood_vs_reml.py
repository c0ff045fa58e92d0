"""The consistency check of fit.consistency(): the compiled marginal posterior under flat priors against REML."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_fits import posterior_near
from references import frame

import bayesmm as bmm
from bayesmm.evaluation import likelihood_vs_reml
from bayesmm.evaluation.consistency import consistency
from bayesmm.evaluation.likelihood_vs_reml import GAP, check_likelihood

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

ROUNDING = 1e-6  # of r'Wr, up to 5e8 where there is no intercept, 2e-16 each; with one the largest seen is 1e-12


def crossed():
    """Return rows of two crossed factors with a predictor far from 0, and effects of one factor alone."""
    rng = np.random.default_rng(0)
    data = {"g": np.repeat(np.arange(30), 4), "h": np.tile(np.arange(10), 12), "x": 2000 + rng.normal(size=120)}
    data |= {"z": rng.normal(size=120), "w": rng.uniform(0.5, 2, size=120)}
    return data | {"y": data["x"] + rng.normal(size=30)[data["g"]] + rng.normal(size=120)}


@pytest.mark.parametrize(
    "formula, data, options",
    [
        ("Reaction ~ Days + (Days | Subject)", frame("sleepstudy"), {}),
        ("Reaction ~ Days + (Days || Subject)", frame("sleepstudy"), {}),
        ("Reaction ~ Days", frame("sleepstudy"), {}),
        ("Glucose ~ Time + (0 + Time | Patient)", frame("glucose"), {}),
        ("y ~ x * z + (x + z | g) + (1 | h)", crossed(), {}),  # singular: correlations of 1 and sds of 0
        ("y ~ x + (x | g) + (0 + z | h)", crossed(), {"weights": "w"}),
        ("y ~ 0 + x + (1 | g)", crossed(), {}),
    ],
)
def test_the_sampled_likelihood_has_its_mode_at_reml(formula, data, options):
    model = bmm.Model(formula, data, **options)
    found = check_likelihood(model.design, model.maximize())
    assert found.ok and found.of == "likelihood"
    assert abs(found.gap) < ROUNDING


def test_the_criterion_is_that_of_the_dense_formula():
    """-2 log of the integral over flat coefficients, Harville (1974, Biometrika 61(2)), at lme4's estimates."""
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy"))
    design, point = model.design, model.maximize()
    block, X = design.blocks[0], design.X
    V = point.sigma**2 * np.eye(design.n)
    V += (block.Z @ point.covariances[0] @ block.Z.T) * (block.index[:, None] == block.index)
    W = np.linalg.inv(V)
    r = design.y - X @ np.linalg.solve(X.T @ W @ X, X.T @ W @ design.y)
    dets = np.linalg.slogdet(V)[1] + np.linalg.slogdet(X.T @ W @ X)[1]
    dense = (design.n - design.p) * np.log(2 * np.pi) + dets + r @ W @ r
    assert check_likelihood(design, point).criterion == pytest.approx(dense, abs=1e-8)


@pytest.mark.parametrize("off", [10 * GAP, -10 * GAP])  # another constant or term
def test_a_wrong_criterion_is_seen(off):
    model = bmm.Model("Level ~ 1 + (1 | Patient)", frame("thyroxine"))
    point = model.maximize()
    found = check_likelihood(model.design, replace(point, criterion=point.criterion + off))
    assert not found.ok and "NOT the same optimum" in found.message
    assert found.gap == pytest.approx(-off, abs=ROUNDING)


@pytest.mark.parametrize("far", [0.9, 1.01, 1.3])
def test_a_point_that_is_no_optimum_is_seen(far):
    model = bmm.Model("Level ~ 1 + (1 | Patient)", frame("thyroxine"))
    point = model.maximize()
    moved = replace(point, covariances=tuple(far**2 * Sigma for Sigma in point.covariances), sigma=far * point.sigma)
    # all sds times far: only the factor of sigma moves, and nu (2 log far + far^-2 - 1) is what that costs
    nu = model.design.n - model.design.p
    expected = nu * (2 * np.log(far) + far**-2 - 1)
    assert check_likelihood(model.design, moved).gap == pytest.approx(expected, abs=ROUNDING)
    assert not check_likelihood(model.design, moved).ok


def test_what_cannot_be_checked_is_said(monkeypatch):
    data = crossed() | {"k": 2 * crossed()["x"]}
    model = bmm.Model("y ~ x + k + (1 | g)", data)
    found = check_likelihood(model.design, model.maximize())
    assert np.isnan(found.criterion) and found.ok and "linearly dependent" in found.message
    monkeypatch.setattr(likelihood_vs_reml, "structured_terms", lambda design, **how: ["a structure of one's own"])
    model = bmm.Model("y ~ x + (1 | g)", data)
    found = check_likelihood(model.design, model.maximize())
    assert np.isnan(found.criterion) and found.ok and "fit.consistency('graph') checks that" in found.message


def test_the_check_says_which_of_the_two_was_looked_at():
    fit = posterior_near(bmm.Model("Level ~ Genotype + (1 | Patient)", frame("thyroxine_genotype")))
    ordinary, asked = fit.consistency(), fit.compare(consistency="graph").consistency
    assert (ordinary.of, asked.of) == ("likelihood", "graph")
    assert ordinary.ok and asked.ok
    text = " ".join(str(ordinary).split())
    assert "the density that is sampled, with its priors flat, has its maximum at the REML estimates (crit" in text
    assert text.endswith("The PyMC graph was not looked at: fit.consistency('graph') does that.")
    assert "the density of the PyMC graph, with its priors flat and the effects" in " ".join(str(asked).split())
    assert fit.compare(consistency=True).consistency.of == "likelihood"
    with pytest.raises(ValueError, match="of should be 'likelihood' or 'graph', not 'grpah'"):
        fit.consistency("grpah")


def test_nothing_checks_the_package_unless_it_is_asked_to(monkeypatch):
    fit = posterior_near(bmm.Model("Level ~ Genotype + (1 | Patient)", frame("thyroxine_genotype")))
    monkeypatch.setattr("bayesmm.evaluation.consistency.check_likelihood", None)  # which fails where it is called
    compared = fit.compare()
    assert compared.consistency is None and "onsistency" not in str(compared)
    for wrong in (1, None, "likelihood", "grpah"):
        with pytest.raises(ValueError, match="consistency should be True, False or 'graph'"):
            fit.compare(consistency=wrong)


def test_a_generalised_model_has_no_reml_to_check():
    seeds = {"y": [0, 1, 2, 4, 1, 0, 3, 2], "g": ["a", "b", "c", "d"] * 2}
    model = bmm.Model("y ~ 1 + (1 | g)", seeds, "poisson")
    with pytest.raises(ValueError, match="compares with REML, which a poisson model does not have"):
        consistency(SimpleNamespace(design=model.design, model=model))


@pytest.mark.slow
def test_compare_and_its_check_load_no_pymc():
    code = """
import sys
import bayesmm as bmm
from fake_fits import posterior_near
from references import frame
fit = posterior_near(bmm.Model("Level ~ 1 + (1 | Patient)", frame("thyroxine")))
assert fit.compare().consistency is None and fit.consistency().ok
print(sorted({"pymc", "pytensor"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}{code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
