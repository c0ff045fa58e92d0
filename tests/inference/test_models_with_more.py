"""Models with more than means and one residual: power, marginal means, and what is said of what is not possible."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from invented import invented
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.evaluation.integral import refusal
from bayesmm.inference.simulation.groups import factors_by_name, outer_factor, resized
from bayesmm.inference.simulation.power_tests import by_t, p_value

N = 60


def table():
    rng = np.random.default_rng(0)
    g = np.arange(N) % 10
    columns = {"y": rng.normal(size=N), "y2": rng.normal(size=N), "x": rng.normal(size=N), "se": np.full(N, 0.5)}
    labels = {"g": [f"g{i}" for i in g], "sex": np.where(g < 5, "m", "f"), "c": np.resize(["a", "b", "d"], N)}
    return pd.DataFrame(columns | labels)


RANDOM_SIGMA = ("y ~ x + (1 | g)", "sigma ~ 1 + (1 | g)")


def test_effects_of_sigma_by_a_factor_are_no_factor_of_their_own():
    design = bmm.Model(RANDOM_SIGMA, table()).design
    assert list(factors_by_name(design)) == ["g"]
    assert design.blocks[outer_factor(design, None)].factors == ("g",)
    with pytest.raises(ValueError, match=r"\(factors: g\)"):
        outer_factor(design, "sigma_g")
    alone = bmm.Model(("y ~ x", "sigma ~ 1 + (1 | g)"), table())
    assert list(factors_by_name(alone.design)) == ["g"]
    more = resized(bmm.Model(RANDOM_SIGMA, table()), 0, 14, seed=1).design
    assert [len(block.levels) for block in more.blocks] == [14, 14]


def test_power_goes_by_z_where_there_are_no_degrees_of_freedom():
    model = bmm.Model("y | se(se, sigma = TRUE) ~ x + (1 | g)", table())
    point = model.maximize()
    assert not by_t(model.design) and by_t(bmm.Model("y ~ x + (1 | g)", table()).design)
    assert not by_t(bmm.Model("c ~ x + (1 | g)", table(), "categorical").design)
    z = point.beta[1] / np.sqrt(point.beta_cov[1, 1])
    assert p_value(point, 1) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)
    found = bmm.power(model, point, groups=[10], simulations=2, seed=1, cores=1, progress=False)
    assert found.method == "z, REML" and found.table["failed"].sum() == 0


def test_means_are_not_averaged_over_what_only_sds_differ_by():
    fit = invented(bmm.Model("y ~ x + (1 | gr(g, by = sex))", table()))
    assert "No other factors to average over" in str(bmm.emmeans(fit, "x", at={"x": [0, 1]}))
    averaged = bmm.emmeans(fit, "x", at={"x": [0, 1]}, groups="averaged", kind="mean")  # over effects of both
    assert "sex (2 levels)" in str(averaged)


def test_what_is_not_possible_is_said_of_what_was_asked():
    with pytest.raises(DataError, match="sampler='importance' is not possible where sigma has random effects"):
        bmm.Model(RANDOM_SIGMA, table()).sample(sampler="importance", progress=False)
    many = invented(bmm.Model(RANDOM_SIGMA, table()))
    assert "effects=" not in refusal(many)
    with pytest.raises(DataError, match=r"each category .* has a level of its own, .* leave '0 \+' out"):
        bmm.Model("c ~ 0 + x", table(), "categorical")
    with pytest.raises(DataError, match=r"mvbind\(y, y2\) needs the rows, and the data are a lazy frame; collect it"):
        bmm.Model("mvbind(y, y2) ~ x + (1 | g)", pl.from_pandas(table()).lazy())
    with pytest.raises(ValueError, match="containment, knapp-hartung, not 'knha'"):
        bmm.Model("y ~ x", table()).maximize().fixef(ddf="knha")
