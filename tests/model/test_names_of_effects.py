"""Random effects of several parameters: whose they are in coef(), in names and in the equation.

The draws are random numbers, so that every expected value is a sum of means written out here.
"""

import numpy as np
import pandas as pd
import pytest
from invented import draws, invented

import bayesmm as bmm
from bayesmm.errors import DataError

N, GROUPS = 60, 5


def table(categories=("a", "b", "c")):
    rng = np.random.default_rng(4)
    y = pd.Categorical(rng.permutation(np.resize(categories, N)), categories=categories)
    g = np.resize([f"g{i}" for i in range(GROUPS)], N)
    x = rng.normal(size=N)
    return pd.DataFrame({"y": y, "x": x, "c_x": x**2, "g": g, "sigma_g": np.resize(list("uvw"), N), "z": x + 1.0})


def mean(fit, name):
    return draws(fit, name).mean(axis=0)


@pytest.mark.parametrize("categories", [("a", "b", "c"), ("a", "b", "b_c"), ("no", "yes, often", "d")])
@pytest.mark.parametrize("terms", ["x", "x + c_x"])
def test_coefficients_of_categories_in_one_block_are_each_categorys_own(categories, terms):
    """No name is taken apart: "b_c" is no column of "b", nor is "often, x" one of "yes"."""
    fit = invented(bmm.Model(f"y ~ {terms} + (1 | p | g)", table(categories), "categorical"))
    (block,), columns = fit.design.blocks, terms.split(" + ")
    assert block.group == "g"
    found = fit.coef()["g"]
    levels, slopes, b = mean(fit, "mu"), mean(fit, "beta_mu").reshape(len(columns), 2), mean(fit, "b_g")
    for k, category in enumerate(categories[1:]):
        wide = found.to_numpy().reshape(GROUPS, 2, 1 + len(columns))[:, k]
        np.testing.assert_allclose(wide[:, 0], levels[k] + b[:, k])
        np.testing.assert_allclose(wide[:, 1:], np.tile(slopes[:, k], (GROUPS, 1)))
        own = [f"mu{category}_{name}" for name in ("Intercept", *columns)]
        assert list(found.columns)[k * len(own) : (k + 1) * len(own)] == own
    assert set(fit.fixef().index) == set(found.columns)
    assert list(block.names.sd_labels) == [f"sd_g[mu{category}_Intercept]" for category in categories[1:]]


def test_coefficients_of_categories_in_blocks_of_their_own():
    fit = invented(bmm.Model("y ~ x + (1 | g)", table(("a", "b", "b_c")), "categorical"))
    levels, slopes = mean(fit, "mu"), mean(fit, "beta_mu")
    for k, name in enumerate(("mub_g", "mub_c_g")):
        found = fit.coef()[name]
        assert list(found.columns) == ["Intercept", "x"]
        np.testing.assert_allclose(found["Intercept"], levels[k] + mean(fit, f"b_{name}")[:, 0])
        np.testing.assert_allclose(found["x"], slopes[k])


def test_coefficients_of_two_parameters_in_one_block_without_the_mean():
    data = table().assign(y=np.random.default_rng(1).normal(size=N))
    formulas = ("y ~ x", "sigma ~ 1 + (1 | p | g)", "nu ~ z + (1 | p | g)")
    fit = invented(bmm.Model(formulas, data, "student"))
    assert fit.design.blocks[0].group == "g"
    found, b = fit.coef()["g"], mean(fit, "b_g")
    assert list(found.columns) == ["sigma_Intercept", "nu_Intercept", "nu_z"]
    np.testing.assert_allclose(found["sigma_Intercept"], np.log(draws(fit, "sigma")).mean() + b[:, 0])
    np.testing.assert_allclose(found["nu_Intercept"], np.log(draws(fit, "nu")).mean() + b[:, 1])
    np.testing.assert_allclose(found["nu_z"], mean(fit, "log_nu")[0])


def test_a_block_of_parameters_beside_one_of_the_mean_has_another_name():
    data = table().assign(y=np.random.default_rng(1).normal(size=N))
    formulas = ("y ~ x + (1 | g)", "sigma ~ 1 + (1 | p | g)", "nu ~ 1 + (1 | p | g)")
    model = bmm.Model(formulas, data, "student")
    assert [block.group for block in model.design.blocks] == ["g", "sigma_nu_g"]


def test_a_column_called_as_the_effects_of_a_parameter_is_refused():
    """Both would be 'sigma_g' in coef() and ranef(), and share the random numbers of their new levels."""
    data = table().assign(y=np.random.default_rng(1).normal(size=N))
    with pytest.raises(
        DataError, match=r"\(1 \| sigma_g\) and \(1 \| g\) in the formula of sigma would both be called"
    ):
        bmm.Model(("y ~ x + (1 | sigma_g)", "sigma ~ 1 + (1 | g)"), data, "student")
    with pytest.raises(DataError, match=r"and the smooth s\(x\) would both be called 's\(x\)'"):
        bmm.Model("y ~ s(x) + (1 | `s(x)`)", data.rename(columns={"sigma_g": "s(x)"}))


def test_the_equation_of_categories_has_the_columns_of_the_data():
    model = bmm.Model("y ~ x + (x | p | g)", table(("no", "yes, often", "d")), "categorical")
    first, second = model.equation().splitlines()[1:3]
    for line, category in ((first, "yes, often"), (second, "d")):
        assert rf"\delta_{{\text{{x, {category}}}}}\,{{\text{{x}}}}_{{i}}" in line
        assert rf"b_{{\text{{mu{category}\_Intercept}},\text{{g}}[i]}} + " in line
        assert rf"b_{{\text{{mu{category}\_x}},\text{{g}}[i]}}\,{{\text{{x}}}}_{{i}}" in line
    assert r"g \in \text{g}" in model.equation()
