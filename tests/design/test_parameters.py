"""The names of parameters: labels, places of priors, variables of the posterior."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.design.parameters import (
    BlockNames,
    block_parameters,
    coefficients,
    effect_labels,
    is_at_means,
    is_coefficient,
    variable_of,
    variance_parameters,
)

ROWS = 24
FRAME = pd.DataFrame(
    {
        "x": np.arange(ROWS) % 7,
        "g": [f"g{i}" for i in np.arange(ROWS) % 4],
        "h": [f"h{i}" for i in np.arange(ROWS) // 4],
        "y": np.sin(np.arange(ROWS)),
    }
)


@pytest.fixture(scope="module")
def model():
    return bmm.Model("y ~ x + (x | g) + (x || h)", FRAME)


def test_the_names_are_those_of_the_documentation():
    names = BlockNames("Subject", ("Intercept", "Days"))
    assert (names.sd, names.corr, names.effects) == ("sd_Subject", "corr_Subject", "b_Subject")
    assert names.sd_labels == ("sd_Subject[Intercept]", "sd_Subject[Days]")
    assert names.corr_label(0, 1) == "corr_Subject[Intercept, Days]"
    assert (names.sd_at_means, names.corr_at_means) == ("sd_Subject_centred", "corr_Subject_centred")
    assert names.effect_dims == ("Subject", "Subject_term")
    assert names.corr_dims == ("Subject_term", "Subject_term_bis")
    assert (names.index, names.Z) == ("index_Subject", "Z_Subject")


def test_a_model_has_each_parameter_once(model):
    labels = [parameter.label for parameter in coefficients(model.design) + variance_parameters(model.design)]
    own = ["sd_h[Intercept]", "sd_h[x]", "sd_g[Intercept]", "sd_g[x]", "corr_g[Intercept, x]", "sigma"]
    assert labels == ["beta[Intercept]", "beta[x]", *own]  # the factor with more levels first
    assert [is_coefficient(label) for label in labels] == [True, True] + [False] * 6
    assert effect_labels(model.design.blocks[0])[3:5] == ["b_g[g3, Intercept]", "b_g[g0, x]"]


def test_every_place_of_a_prior_is_a_name_of_the_list(model):
    design, blocks = model.design, [block.names for block in model.design.blocks]
    places = {p.label for k, block in enumerate(design.blocks) for p in block_parameters(k, block) if p.kind == "sd"}
    places |= {"Intercept_centred", "beta[x]", "sigma", blocks[0].corr}
    assert set(model.priors) == places
    assert is_coefficient("Intercept_centred")


def test_every_parameter_is_an_element_of_a_variable_of_the_graph(model):
    graph = model.graph("explicit")
    for parameter in coefficients(model.design) + variance_parameters(model.design):
        variable = graph[variable_of(model.design, parameter)]
        assert variable.ndim == len(parameter.terms)
    for block in model.design.blocks:
        assert graph.named_vars_to_dims[block.names.effects] == block.names.effect_dims
        assert {block.names.index, block.names.Z} <= set(graph.named_vars)


def test_what_is_at_the_means_stands_beside_what_is_reported():
    assert is_at_means("sd_g_centred", ["sd_g", "sd_g_centred"])
    assert not is_at_means("sd_g", ["sd_g", "sd_g_centred"])
    assert not is_at_means("sd_g_centred", ["sd_g_centred"])  # of a factor called g_centred


def test_the_priors_of_a_factor_called_centred_are_drawn():
    frame = FRAME.rename(columns={"g": "g_centred"})
    prior = bmm.Model("y ~ x + (1 | g_centred)", frame).prior_predictive(draws=5, seed=1)["prior"]
    assert {"sd_g_centred", "b_g_centred"} <= set(prior.data_vars)
