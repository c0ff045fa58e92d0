"""What a run of a model refuses before it begins, and what it promises about its chains."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.sampling import recovery
from bayesmm.sampling.graph import nuts as sampling


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(8), 5)
    return bmm.Model(
        "y ~ x + (1 | g)", {"y": rng.normal(size=8)[g] + rng.normal(size=40), "x": rng.normal(size=40), "g": g}
    )


@pytest.fixture
def no_sampling(monkeypatch):
    monkeypatch.setattr(sampling, "sample_graph", lambda *given, **settings: pytest.fail("sampled"))


@pytest.mark.parametrize("effects", ["auto", "marginal", "explicit"])
def test_random_effects_that_do_not_fit_are_refused_before_sampling(monkeypatch, no_sampling, effects):  # C12, I13
    rows = np.arange(40_000)
    model = bmm.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": np.cos(rows * 1.0), "g": rows // 4}))
    monkeypatch.setattr("bayesmm.runtime.memory.free_memory", lambda: 1e9)
    with pytest.raises(ValueError) as caught:
        model.sample(effects=effects, progress=False)
    # 10,000 effects and the intercept: 8 bytes, twice, for 4,000 draws
    assert str(caught.value) == (
        "4 chains of 1,000 draws of 10,001 coefficients and random effects (10,000 of them for 'g') need 0.64 GB, more "
        "than half of the 1 GB of free memory; take fewer draws, or keep_effects=False, which does not store the "
        "random effects"
    )
    recovery.check_memory(model.design, 1000, 4, keep_effects=False)
    recovery.check_memory(model.design, 700, 4)  # 0.45 GB


def test_chains_do_not_depend_on_how_many_there_are(model):  # J03
    two, four = (model.sample(draws=20, tune=30, chains=chains, seed=5, progress=False) for chains in (2, 4))
    for name in ("sd_g", "sigma", "beta", "b_g"):
        np.testing.assert_array_equal(four.tree["posterior"][name][:2], two.tree["posterior"][name], err_msg=name)
        assert (four.tree["posterior"][name][0] != four.tree["posterior"][name][1]).any()


def test_an_unknown_kind_of_effects_is_refused(model, no_sampling):
    with pytest.raises(
        ValueError, match="effects must be one of auto, marginal, explicit, not 'margnal'; did you mean"
    ):
        model.sample(effects="margnal")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_prior_function_that_fails_is_named(model):  # J13
    def broken(name, dims):
        raise ZeroDivisionError("no width")

    bad = bmm.Model("y ~ x + (1 | g)", model.design.frame, priors={"sd_g": broken})
    with pytest.raises(bmm.PriorError) as caught:
        bad.sample(progress=False)
    assert str(caught.value) == (
        "the function broken given as the prior of sd_g[Intercept] raised ZeroDivisionError: no width"
    )
