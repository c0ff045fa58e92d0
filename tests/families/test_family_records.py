"""What the records of families say of themselves, against their own functions."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.families.families import FAMILIES, get_family

PUBLISHED = {"bernoulli", "beta", "binomial", "gamma", "gaussian", "negbinomial", "poisson"}


def inside(own, share):
    """Return a value of a parameter: within its bounds, or above its lower one."""
    low, high = own.bounds
    if np.isfinite(high) and np.isfinite(low):
        return low + share * (high - low)
    return (low if np.isfinite(low) else 0.0) + 2.0 + share


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.mean and not family.ordered])
def test_the_mean_depends_on_the_parameters_that_the_record_names(name):
    family = FAMILIES[name]
    mu = np.array([0.3, 0.6])
    at = [np.array([inside(own, 0.3)]) for own in family.parameters]
    moved = []
    for j, own in enumerate(family.parameters):
        other = [np.array([inside(own, 0.5)]) if k == j else value for k, value in enumerate(at)]
        if not np.allclose(family.expected(mu, at), family.expected(mu, other)):
            moved.append(own.name)
    assert tuple(moved) == family.in_mean


def test_no_name_is_of_two_families():
    names = [name for family in FAMILIES.values() for name in {family.name, *family.aliases}]
    assert sorted(names) == sorted(set(names))


def test_the_paper_is_named_for_its_families_alone():
    named = {
        family.name for family in FAMILIES.values()
        for link in family.links if get_family(family.name, link).residual.published
    }  # fmt: skip
    assert named <= PUBLISHED | {"student", "lognormal"}
    assert {"poisson", "negbinomial", "gamma", "binomial"} <= named
    for name in ("acat", "sratio", "cumulative", "compois", "genpois", "nbinom1", "tweedie", "zero_inflated_poisson"):
        assert name not in named
    for family in FAMILIES.values():
        left, equal, right = family.residual.says.partition(" = ")
        assert not equal or not right.startswith(left)
        assert "0 or 1" not in family.residual.says or family.support.successes


def test_thresholds_are_of_ordered_categories():
    with pytest.raises(DataError, match="the categories of categorical have no order, so that there are no thresholds"):
        get_family("categorical(equidistant)")


def test_counts_that_are_too_large_are_refused():
    y = np.array([10.0, 1_300_000.0, 20.0, 30.0])
    with pytest.raises(DataError, match=r"'y' is above 1,202,604 in row \[1\]; the family is for counts up to"):
        bmm.Model("y ~ 1", {"y": y}, "compois")
    bmm.Model("y ~ 1", {"y": np.array([10.0, 1_200_000.0, 20.0, 30.0])}, "compois")


@pytest.mark.parametrize("name", ["zero_inflated_beta", "hurdle_gamma", "tweedie", "zero_inflated_poisson"])
def test_responses_that_are_all_zero_are_warned_of(name):
    model = bmm.Model("y ~ x", pd.DataFrame({"y": np.zeros(20), "x": np.arange(20.0)}), name)
    assert any("is 0 in every row" in message.text for message in model.design.messages)
    assert all(np.isfinite(value) for prior in model.priors.values() for value in prior.parameters.values())
