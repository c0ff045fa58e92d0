"""Fits to the data of two factors."""

import pytest
from factorial_data import factorial
from invented import invented

import bayesmm as bmm


@pytest.fixture(scope="module")
def data():
    return factorial()


@pytest.fixture(scope="module")
def logit(data):
    return invented(bmm.Model("hit ~ a + x + (x | g)", data, family="bernoulli"))


@pytest.fixture(scope="module")
def linear(data):
    return bmm.Model("y ~ a * b + x", data).maximize()
