"""Both graphs of models whose parameters differ from row to row have the compiled densities."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.design.parameters import free_auxiliaries
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.likelihood.pointwise import log_densities
from bayesmm.likelihood.quadrature import evaluate, prepare
from bayesmm.likelihood.row_functions import codes
from bayesmm.priors import prior_design
from bayesmm.sampling.graph.explicit import build_explicit
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.graph.marginal_glmm import build_marginal_glmm

CASES = {
    "cumulative": "k ~ x + (1 | g)",
    "student": ("r ~ x + (1 | g)", "sigma ~ z", "nu ~ 0 + f"),
    "zero_inflated_negbinomial": ("n ~ x + (1 | g)", "zi ~ x", "shape ~ z"),
    "skew_normal": ("r ~ x + (1 | g)", "alpha ~ z"),
    "disc": ("k ~ x + (1 | g)", "disc ~ z"),
    "nominal": "k ~ x + cs(z) + (1 | g)",
    "cumulative(equidistant)": "k ~ x + (1 | g)",
    "sratio": "k ~ x + cs(f) + (1 | g)",
    "acat": "m ~ x + cs(z + f) + (1 | g)",
}
FAMILIES = {"disc": "cumulative", "nominal": "cumulative"}


def model(family):
    rng = np.random.default_rng(5)
    n = 48
    table = {
        "x": rng.normal(size=n) + 3, "z": rng.normal(size=n), "f": np.tile(["p", "q"], n // 2), "g": np.arange(n) % 6,
        "k": rng.integers(1, 5, n), "r": rng.normal(size=n), "n": rng.poisson(1.5, n),
        "m": rng.integers(1, 7, n),
    }  # fmt: skip
    return bmm.Model(CASES[family], pd.DataFrame(table), FAMILIES.get(family, family))


def evaluated(graph, names, terms, seed=2):
    """Return the values of variables and of terms at a random point near the graph's initial one."""
    with without_compiler():
        point = graph.initial_point(random_seed=1)
    rng = np.random.default_rng(seed)
    point = {name: value + 0.1 * rng.normal(size=np.shape(value)) for name, value in point.items()}
    outputs = [*graph.replace_rvs_by_values([graph[name] for name in names]), *terms]
    return graph.compile_fn(outputs, inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore")(point)


def own_values(design, given):
    """Return the own parameters as compiled code has them, from what a graph calls them."""
    names = [own.name for own in free_auxiliaries(design)] + [own.name for own in design.residual.parameters]
    return np.concatenate([np.atleast_1d(given[name]) for name in names])


def named(design):
    return [*(own.name for own in free_auxiliaries(design)), *(own.name for own in design.residual.parameters)]


@pytest.mark.parametrize("family", CASES)
def test_the_explicit_graph_has_the_compiled_density(family):
    made = model(family)
    design = made.design
    graph = build_explicit(design, made.priors)
    names = ["beta", "b_g", *named(design)]
    found = evaluated(graph, names, graph.logp(vars=[graph["y"]], sum=False))
    values = dict(zip(names, found, strict=False))
    eta = design.X @ values["beta"] + values["b_g"][design.blocks[0].index, 0]
    aux = own_parameters(design).rows(own_values(design, values))
    ones = np.ones(design.n)
    size = ones if design.size is None else design.size
    expected = log_densities(*codes(design.family), design.y, size, ones, eta[None], aux[None])[0]
    np.testing.assert_allclose(found[-1], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", CASES)
def test_the_marginal_graph_has_the_compiled_density(family):
    made = model(family)
    design, own = made.design, prior_design(made.design, made.priors)
    graph = build_marginal_glmm(design, made.priors)
    names = ["beta", "sd_g", *named(design)]
    found = evaluated(graph, names, graph.logp(vars=[graph["marginal_likelihood"]], sum=False))
    values = dict(zip(names, found, strict=False))
    order = np.argsort(design.blocks[0].index, kind="stable")
    aux = own_parameters(design).rows(own_values(design, values))[order]
    expected = evaluate(prepare(design), values["beta"], np.diag(values["sd_g"]), aux, LATTICE)
    # the graph has the intercept, and thresholds, at the predictors' means: rounding, and the lattice's own error
    assert np.sum(found[-1]) == pytest.approx(expected.value, abs=1e-7)
    assert own.X.shape == design.X.shape


def test_responses_are_drawn_from_the_prior():
    tree = model("cumulative").prior_predictive(draws=40, seed=1)
    y = tree["prior_predictive"]["y"].to_numpy()
    assert set(np.unique(y)) <= {1, 2, 3, 4} and len(np.unique(y)) > 2
    assert (np.diff(tree["prior"]["threshold"].to_numpy(), axis=-1) > 0).all()
