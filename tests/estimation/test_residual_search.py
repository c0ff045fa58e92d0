"""The criterion of REML and ML where the residual has parameters: its derivatives, and the sums it is made of."""

import numpy as np
import pandas as pd
import pytest
from residual_density import TERMS, table

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.estimation.optimizer import differences
from bayesmm.estimation.reml import criterion_at, flat, start_entries, with_slopes
from bayesmm.estimation.residual_search import ResidualSearch
from bayesmm.likelihood.gaussian import evaluate

SCALES = [*((kind, "sigma ~ 0 + f") for kind in TERMS), ("ar", "sigma ~ x"), ("", "joint")]


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("bars", ["", " + (1 | g)", " + (x | g) + (1 | h)"])
@pytest.mark.parametrize(("kind", "scale"), SCALES)
def test_the_criterion_is_that_of_the_rows_and_its_slopes_are_its_differences(kind, scale, bars, reml):
    """Sums times weights and whitened rows are two ways; the differences leave about 1e-8 of a criterion of 1e2."""
    joint = scale == "joint"
    text = f"y | se(se, sigma = TRUE) ~ x{bars}" if joint else (f"y ~ x{bars}{TERMS[kind]}", scale)
    design = bmm.Model(text, table(7), weights=None if joint else "w").design
    own, rng, known = ResidualSearch(design), np.random.default_rng(3), 1.0 if joint else None
    theta = start_entries(own.first, 0.7)
    criterion = with_slopes(own, len(theta), reml, known)
    x = np.concatenate([theta, own.start]) + 0.1 * rng.normal(size=len(theta) + len(own.start))
    value, slopes = criterion(x)
    problem = own.exact(own.values(x[len(theta) :]))
    rows = evaluate(problem.cp, problem.packed(x[: len(theta)]), known, flat(problem.cp.p), integrate_flat=reml)
    np.testing.assert_allclose(value, criterion_at(problem, rows, reml, known), rtol=1e-10)
    np.testing.assert_allclose(slopes, differences(lambda at: criterion(at)[0], x), rtol=1e-6, atol=1e-6)


def test_nothing_passes_over_the_rows_in_a_search():
    """What the criterion is made of has no rows to go back to."""
    design = bmm.Model(("y ~ x + (1 | g) + cosy(g)", "sigma ~ 0 + f"), table(7)).design
    own = ResidualSearch(design)
    problem, at = own.problem(own.start)
    assert at is not None
    assert problem.cp.source is None


@pytest.mark.parametrize("scale", ["sigma ~ f", pytest.param("sigma ~ 0 + f", marks=pytest.mark.slow)])
def test_a_stratum_that_is_fitted_exactly_has_no_sd(scale):
    """Its sd goes to 0 and the likelihood grows without end: no estimate of 1e-7 that says it has converged."""
    rng, n = np.random.default_rng(4), 24
    frame = pd.DataFrame({"x": rng.normal(size=n), "f": np.resize(["a", "b", "b"], n), "g": np.repeat(range(6), 4)})
    frame["y"] = 1 + frame["x"] + np.where(frame["f"] == "a", 0.0, rng.normal(size=n))
    with pytest.raises(DataError, match="the residual sd goes to 0 in 8 of the 24 rows, which the model fits exactly"):
        bmm.Model(("y ~ x + (1 | g)", scale), frame).maximize("ML")


@pytest.mark.parametrize("formula", ["sigma ~ x * f", "sigma ~ x + I(x^2)"])
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_products_of_numbers_far_from_0_are_sought_at_their_means(formula, method):
    """Columns less their own means are nearly dependent there: the search stopped 11 of the log likelihood short."""
    rng = np.random.default_rng(1)
    x, g, f = rng.normal(size=240), np.arange(240) % 20, np.array(list("ab"))[np.arange(240) // 2 % 2]
    y = 0.4 * rng.normal(size=20)[g] + np.exp(0.3 * x + 0.2 * x * (f == "b")) * rng.normal(size=240)
    fits = [
        bmm.Model(("y ~ 1 + (1 | g)", formula), {"y": y, "x": x + far, "g": g, "f": f}).maximize(method)
        for far in (0.0, 60.0, 300.0)
    ]
    # squares of 300 +- 1 have lost three digits to their differences
    assert all(fit.converged for fit in fits)
    assert [fit.loglik for fit in fits[1:]] == pytest.approx([fits[0].loglik] * 2, abs=1e-6)
