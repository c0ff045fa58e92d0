"""Slopes that hardly differ beside intercepts that the data know well: each column of a factor is centred by itself."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.likelihood.coordinates import LOG, SIGNED
from bayesmm.sampling.joint import by_rule, powers_of_sds, ready


def reaction_times(seed, slope=0.0):
    """Return log-normal times of 24 subjects and 20 items; `slope` is the sd of the subjects' own slopes."""
    rng = np.random.default_rng(seed)
    s, i = np.divmod(np.arange(480), 20)
    late = (s + i) % 2
    eta = 6.3 + 0.05 * late + 0.5 * rng.normal(size=24)[s] + slope * rng.normal(size=24)[s] * late
    eta += 0.1 * rng.normal(size=20)[i]
    times = np.exp(eta + 0.15 * rng.normal(size=480))
    return pd.DataFrame({"rt": times, "cond": np.array(["early", "late"])[late], "subj": s, "item": i})


FORMULA = "rt ~ cond + (cond | subj) + (1 | item)"


def test_each_column_is_centred_by_its_own_reliability():
    known = [np.array([0.99, 0.3]), np.array([0.5])]
    assert by_rule(known, bmm.Model(FORMULA, reaction_times(2), "lognormal").design.blocks) == [(True, False), (True,)]
    powers = powers_of_sds(known)
    np.testing.assert_allclose(np.concatenate(powers), [0.01, 0.0, 0.5], rtol=1e-13)


@pytest.mark.parametrize(("shares", "centred"), [([0.99, 0.45, 0.9], False), ([0.6, 0.51, 0.9], True)])
def test_columns_with_a_structure_are_centred_together_by_the_least_known(shares, centred):
    model = bmm.Model("rt ~ cond + cs(stage | subj)", reaction_times(2).assign(stage=list("abc") * 160), "lognormal")
    assert by_rule([np.array(shares)], model.design.blocks) == [(centred,) * 3]


def test_a_weak_slope_has_a_sign_beside_a_centred_intercept():
    model = bmm.Model(FORMULA, reaction_times(2), "lognormal")
    seen = []

    def flags(rule):
        seen.extend(rule())
        return seen

    found = ready(model.design, model.priors, flags, {})
    kinds = found.model.posterior.coordinates.kind[:3]
    assert seen[0] == (True, False) and list(kinds[:2]) == [LOG, SIGNED]


@pytest.mark.slow
@pytest.mark.parametrize("data", [2, 3])  # whose R-hat or ESS failed with all columns of the subjects alike
def test_weak_slopes_pass_their_checks_at_the_defaults(data):
    fit = bmm.Model(FORMULA, reaction_times(data), "lognormal").sample(seed=1, progress=False)
    assert all(check.ok for check in fit.checks()) and fit.summary()["ess_bulk"].min() > 1000
