"""Which way a generalised model is sampled, by what a row costs in its family."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.families.families import get_family
from bayesmm.likelihood.costs import CANONICAL_COST, TOGETHER_COST, gradient_cost
from bayesmm.sampling.choose_graph import settled_effects


def model(family: str, link: str | None = None, rows: int = 4, groups: int = 600):
    rng = np.random.default_rng(1)
    data = {"y": rng.integers(1, 9, groups * rows), "g": np.repeat(np.arange(groups), rows)}
    return bmm.Model("y ~ 1 + (1 | g)", pd.DataFrame(data), family=get_family(family, link))


@pytest.mark.parametrize(
    ("family", "link", "cost"),
    [
        ("poisson", "log", CANONICAL_COST),
        ("negbinomial", "log", TOGETHER_COST),
        ("gamma", "log", TOGETHER_COST),
        ("gamma", "inverse", get_family("gamma").cost),  # whose rows are taken one by one
        ("weibull", "log", get_family("weibull").cost),
    ],
)
def test_a_row_costs_what_its_kernel_takes(family, link, cost):
    design = model(family, link).design
    assert gradient_cost(design) == 16 * design.n * cost
    assert TOGETHER_COST < get_family("gamma").cost


def test_effects_are_integrated_out_as_long_as_that_is_quick():
    # 0.8 and 4 ms for each gradient; with 600 groups few of these are needed
    quick, slow, few = model("negbinomial"), model("weibull", rows=30, groups=90), model("weibull")
    assert settled_effects(few.design, few.priors, "auto") == "marginal"
    assert settled_effects(few.design, few.priors, "auto", compiled=False) == "explicit"
    assert settled_effects(quick.design, quick.priors, "auto") == "marginal"
    assert settled_effects(slow.design, slow.priors, "auto") == "explicit"


@pytest.mark.parametrize(
    ("family", "groups", "rows", "expected"),
    [
        ("hurdle_poisson", 20, 20, "explicit"),
        ("hurdle_poisson", 4, 20, "marginal"),  # few groups, whose sd is hardly known
        ("hurdle_poisson", 20, 3, "marginal"),  # few rows in each
        ("poisson", 20, 20, "marginal"),  # a node takes so little that it does not matter
    ],
)
def test_costly_nodes_are_for_what_mixes_badly_written_out(family, groups, rows, expected):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.poisson(1.5, groups * rows), "g": np.repeat(np.arange(groups), rows).astype(str)})
    assert bmm.Model("y ~ 1 + (1 | g)", data, family).effects() == expected


def test_few_rows_are_those_of_a_typical_level_and_a_function_as_prior_is_for_the_graph():
    """One level with nearly all rows says nothing of the others; a graph of PyMC takes far longer than ours."""
    rng = np.random.default_rng(1)
    uneven = np.concatenate([np.zeros(381, int), np.arange(1, 20)])
    data = pd.DataFrame({"y": rng.poisson(2.0, 400), "g": uneven.astype(str), "h": np.repeat(np.arange(20), 20)})
    assert bmm.Model("y ~ 1 + (1 | g)", data, "negbinomial").effects() == "marginal"
    assert bmm.Model("y ~ 1 + (1 | h)", data, "negbinomial").effects() == "explicit"
    custom = {"sd": lambda name, dims=None: None}
    assert bmm.Model("y ~ 1 + (1 | h)", data, "negbinomial", priors=custom).effects() == "marginal"
