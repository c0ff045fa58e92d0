"""The consistency check: REML found from the explicit graph's own density."""

import numpy as np
import pytest
from references import frame

import bayesmm as bmm
from bayesmm.evaluation.graph_vs_reml import check_consistency
from bayesmm.evaluation.likelihood_vs_reml import GAP

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@pytest.mark.parametrize(
    "formula, name",
    [
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
        ("Level ~ Genotype + (1 | Patient)", "thyroxine_genotype"),
        ("Glucose ~ Time + (0 + Time | Patient)", "glucose"),
    ],
)
def test_graph_and_likelihood_have_one_optimum(formula, name):
    model = bmm.Model(formula, frame(name))
    point = model.maximize()
    found = check_consistency(model.design, point)
    assert found.ok
    assert found.gap == pytest.approx(found.criterion - point.criterion, abs=1e-12)
    assert -1e-6 < found.gap < 1e-6  # regular optima: the search's gradient of 1e-3 leaves about its square


def test_a_wrong_criterion_is_seen():
    """What the check is for: had the likelihood a wrong constant or term, the gap would show it."""
    from dataclasses import replace

    model = bmm.Model("Level ~ 1 + (1 | Patient)", frame("thyroxine"))
    point = model.maximize()
    found = check_consistency(model.design, replace(point, criterion=point.criterion + 10 * GAP))
    assert not found.ok
    assert "NOT the same optimum" in found.message


def test_too_many_effects_is_said():
    rng = np.random.default_rng(1)
    data = {"y": rng.normal(size=1000), "g": np.repeat(np.arange(500), 2)}
    model = bmm.Model("y ~ 1 + (1 | g)", data)
    found = check_consistency(model.design, model.maximize())
    assert np.isnan(found.criterion)
    assert "500 random effects are too many" in found.message
