"""What Model decides by itself: which graph, and which parameterisation."""

import numpy as np
import pandas as pd
import pytest
from references import frame

import bayesmm as bmm
from bayesmm.sampling.graph.centering import CENTRED_ABOVE, centred_by_rule, reliabilities

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


def point(formula, name):
    return bmm.Model(formula, frame(name)).maximize()


def test_reliability_is_one_less_the_shrinkage():
    """Balanced one-way layout: the reliability is n_g s^2 / (n_g s^2 + sigma^2), with n_g = 3 rows a patient."""
    fit = point("Level ~ 1 + (1 | Patient)", "thyroxine")
    between, within = fit.covariances[0][0, 0], fit.sigma**2
    own, expected = (fit.covariances, fit.conditional), 3 * between / (3 * between + within)
    assert reliabilities(*own)[0].mean() == pytest.approx(expected, rel=1e-10)
    k = np.exp(-2 * 2 / np.sqrt(2 * 5))  # two standard errors of log sd, 1 / sqrt(2 (6 - 1)), on the variance
    expected = 3 * k * between / (3 * k * between + within)
    assert reliabilities(*own, 2.0)[0].mean() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("formula", "name", "expected"),
    [
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy", [True]),  # 18 subjects, reliability 0.8
        ("Level ~ 1 + (1 | Patient)", "thyroxine", [True]),  # 6 patients, reliability 0.96
        ("Yield ~ N + P + (1 | Block)", "crop_yield", [False]),  # 5 blocks, reliability 0.54 and uncertain
        ("strength ~ 1 + (1 | batch/cask)", "pastes", [False, False]),  # several factors
    ],
)
def test_the_rule_for_centring(formula, name, expected):
    assert centred_by_rule(point(formula, name)) == expected


def test_the_rule_looks_below_the_estimate():
    fit = point("Yield ~ N + P + (1 | Block)", "crop_yield")
    own = fit.covariances, fit.conditional
    assert reliabilities(*own)[0].mean() > CENTRED_ABOVE > reliabilities(*own, 2.0)[0].mean()


def test_auto_is_marginal_unless_thousands_of_levels_cross():
    assert bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy")).effects() == "marginal"
    rng = np.random.default_rng(1)
    n = 6000
    data = pd.DataFrame({"y": rng.normal(size=n), "a": rng.integers(0, 1500, n), "b": rng.integers(0, 1400, n)})
    assert bmm.Model("y ~ 1 + (1 | a) + (1 | b)", data).effects() == "explicit"


@pytest.mark.parametrize(
    ("family", "bar", "rows", "expected"),
    [
        ("bernoulli", "(1 | g)", 4_000, "marginal"),  # few exponentials a level
        ("bernoulli", "(x + z | g)", 4_000, "explicit"),  # 343 nodes a row
        ("negbinomial", "(x | g)", 90, "marginal"),  # small: quick, and safe from the funnel
        ("negbinomial", "(x | g)", 4_000, "explicit"),
        ("student", "(1 | g)", 90, "explicit"),  # a level may have two modes
        ("gaussian log", "(1 | g)", 90, "explicit"),  # or a plateau beside a narrow one
    ],
)
def test_a_generalised_model_is_integrated_where_that_is_quicker(family, bar, rows, expected):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.normal(size=rows), "z": rng.normal(size=rows), "g": np.arange(rows) % 30})
    name, *link = family.split()
    model = bmm.Model(f"y ~ x + {bar}", data.assign(y=rng.integers(0, 2, rows)), name, link=link[0] if link else None)
    assert model.effects() == expected
    assert model.effects("marginal") == "marginal"


def test_unknown_effects_are_refused():
    model = bmm.Model("Level ~ 1 + (1 | Patient)", frame("thyroxine"))
    with pytest.raises(
        ValueError, match=r"effects must be one of auto, marginal, explicit, not 'margnal'; did you mean"
    ):
        model.effects("margnal")


@pytest.mark.parametrize(
    ("centred", "message"),
    [
        ({"Patent": True}, r"centred names 'Patent'; the grouping factors are Patient; did you mean 'Patient'\?"),
        (3, "centred must be 'auto', True, False, or a mapping of factor to bool, not 3"),
    ],
)
def test_wrong_centring_is_refused(centred, message):
    with pytest.raises(ValueError, match=message):
        bmm.Model("Level ~ 1 + (1 | Patient)", frame("thyroxine")).graph("explicit", centred=centred)
