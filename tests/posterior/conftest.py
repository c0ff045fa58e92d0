"""The sleep study's model and its REML fit."""

import pytest
from references import frame

import bayesmm as bmm

SLEEP = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model(SLEEP, frame("sleepstudy"))


@pytest.fixture(scope="module")
def point(sleep):
    return sleep.maximize()
