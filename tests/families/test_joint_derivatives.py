"""Derivatives of categories in all predictors together, against differences; discriminations."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bayesmm.families import acat, categorical, sratio
from bayesmm.families.links import LINKS
from bayesmm.sampling.graph.interpreted import PYTHON

ODDS = np.array([0.9, -1.1, 0.4, 2.3])
KINDS = [
    (categorical.density, categorical.scores, categorical.joint, "logit"),
    (acat.density, acat.scores, acat.joint, "logit"),
    *((sratio.row_density, sratio.scores, sratio.joint, link) for link in ("logit", "probit", "cloglog")),
]
IDS = ["categorical", "acat", "sratio-logit", "sratio-probit", "sratio-cloglog"]


def pieces(joint, code, y, at):
    """Return the first, second and third derivatives at (eta, thresholds)."""
    M = len(at)
    out = np.full(M + M**2 + M**3, np.nan)
    joint(code, y, M - 1.0, at[0], at[1:], out)
    first, second, third = np.split(out, [M, M + M**2])
    return first, second.reshape(M, M), third.reshape(M, M, M)


@pytest.mark.parametrize(("density", "scores", "joint", "link"), KINDS, ids=IDS)
def test_derivatives_in_all_predictors_are_those_of_differences(density, scores, joint, link):
    """The first are those of density and scores; each next order is a difference, of fourth order, of the last."""
    code, h = LINKS[link].code, 1e-3
    for y in range(1, 6):
        for eta in (-2.0, 0.3, 1.7):
            at = np.array([eta, *ODDS])
            first, second, third = pieces(joint, code, float(y), at)
            own = np.empty(4)
            scores(code, float(y), 4.0, eta, ODDS, own)
            expected = [density(code, float(y), 4.0, eta, ODDS)[1], *own]
            np.testing.assert_allclose(first, expected, rtol=1e-12, atol=1e-14)
            assert second[0, 0] == pytest.approx(density(code, float(y), 4.0, eta, ODDS)[2], rel=1e-12, abs=1e-13)
            assert third[0, 0, 0] == pytest.approx(density(code, float(y), 4.0, eta, ODDS)[3], rel=1e-11, abs=1e-12)
            for m, e in enumerate(h * np.eye(5)):
                near, far = ([pieces(joint, code, float(y), at + s * e) for s in (k, -k)] for k in (1, 2))
                for order, found in ((0, second), (1, third)):
                    slope = 8 * (near[0][order] - near[1][order]) - (far[0][order] - far[1][order])
                    np.testing.assert_allclose(found[m], slope / (12 * h), rtol=1e-8, atol=1e-10)


def test_the_density_of_softmax_at_far_log_odds():
    """The log odds of a category that has all of the probability: no derivative is NaN, and the first are 0."""
    first, second, third = pieces(categorical.joint, 0, 3.0, np.array([0.0, -800.0, 800.0, 0.0]))
    assert np.isfinite(second).all() and np.isfinite(third).all()
    np.testing.assert_array_equal(first, 0.0)


def test_pytensor_has_the_compiled_density_of_softmax():
    import pytensor
    import pytensor.tensor as pt

    rng = np.random.default_rng(3)
    y, eta = rng.integers(1, 6, 40).astype(float), rng.normal(size=40) * 2
    at, odds = pt.dvector(), [pt.dscalar() for _ in ODDS]
    _, value = categorical.graph_density("logit", pt.as_tensor_variable(y), at, 1.0, odds)
    slopes = [pytensor.grad(value.sum(), at), *(pytensor.grad(value.sum(), own) for own in odds)]
    found = pytensor.function([at, *odds], [value, *slopes], mode=PYTHON)(eta, *ODDS)
    rows = [categorical.density(0, k, 4.0, e, ODDS) for k, e in zip(y, eta, strict=True)]
    np.testing.assert_allclose(np.column_stack(found[:2]), np.array(rows)[:, :2], rtol=1e-10, atol=1e-12)
    firsts = np.array([pieces(categorical.joint, 0, k, np.array([e, *ODDS]))[0] for k, e in zip(y, eta, strict=True)])
    np.testing.assert_allclose(found[2:], firsts[:, 1:].sum(axis=0), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("module", [acat, sratio])
def test_the_discrimination_multiplies_thresholds_and_predictor(module):
    """The density at disc eta and disc thresholds; scores by differences."""
    for link in module.family.links:
        own, code, h = module.family.scaled, LINKS[link].code, 1e-5
        density = module.row_density if module is sratio else module.density
        for y in (1.0, 3.0, 5.0):
            for eta, disc in ((-1.0, 0.6), (0.4, 1.0), (0.9, 1.8)):
                aux = np.array([*ODDS, disc])
                found = np.array(own.kernels.density(code, y, 4.0, eta, aux))
                assert found[0] == pytest.approx(density(code, y, 4.0, disc * eta, disc * ODDS)[0], rel=1e-13)
                up, down = (np.array(own.kernels.density(code, y, 4.0, eta + s, aux)) for s in (h, -h))
                np.testing.assert_allclose(found[1:], ((up - down) / (2 * h))[:3], rtol=2e-8, atol=2e-8)
                out = np.full(5, np.nan)
                own.kernels.scores(code, y, 4.0, eta, aux, out)
                slopes = [
                    (
                        own.kernels.density(code, y, 4.0, eta, aux + e)[0]
                        - own.kernels.density(code, y, 4.0, eta, aux - e)[0]
                    )
                    / (2 * h)
                    for e in h * np.eye(5)
                ]
                np.testing.assert_allclose(out, slopes, rtol=2e-8, atol=2e-8)
                p = replace(own, link=link).probabilities(link, np.array(eta), tuple(aux))
                assert math.log(p[int(y) - 1]) == pytest.approx(found[0], rel=1e-10)
