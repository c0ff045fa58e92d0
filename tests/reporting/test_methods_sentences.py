"""The methods paragraph has every part of the model, and says of which parameter a prior is."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.reporting import tables, words


def table():
    rng, n = np.random.default_rng(1), 60
    data = pd.DataFrame({"x": rng.normal(10, 1, n), "t": np.arange(n) // 6, "g": [f"g{i % 6}" for i in range(n)]})
    y = rng.normal(size=n)
    return data.assign(y=y, y2=100 * rng.normal(size=n), o=np.digitize(y, [-0.5, 0.5]) + 1)


SAID = {
    "autoregression and sigma": (
        ("y ~ x + (1 | g) + ar(t, g)", "sigma ~ x"), "gaussian",
        "; first-order autoregressive residuals (ar(t, g)); the formula sigma ~ x.",
    ),
    "thresholds": ("o ~ cs(center(x)) + (1 | g)", "cumulative", "with effects of center(x) on each threshold; random"),
    "both": ("o ~ t + cs(center(x))", "cumulative", "effects t and with effects of center(x) on each threshold"),
    "responses": (
        "mvbind(y, y2) ~ x", "gaussian",
        "of y, y2 to 120 observations in 60 rows, with the fixed effects y_Intercept, y2_Intercept, y_x, y2_x; "
        "residuals with an sd for each response, correlated within a row.",
    ),
    "apart": ("mvbind(y, y2, rescor = FALSE) ~ x", "gaussian", "for each response, independent within a row."),
    "random sigma": (("y ~ x", "sigma ~ (1 | g)"), "gaussian", "a Bayesian linear mixed model of y"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_the_sentence_about_the_model(name):
    formula, family, said = SAID[name]
    formula = list(formula) if isinstance(formula, tuple) else formula
    assert said in words.model_sentence(bmm.Model(formula, table(), family).design)


def test_the_data_table_has_each_response_and_the_effects_of_thresholds():
    rows = tables.data_table(bmm.Model("mvbind(y, y2) ~ x", table()).design).rows
    spread = [text for name, text in rows if name == "Response"]
    assert len(spread) == 2 and spread[1].startswith("y2: ")
    assert f"mean {table()['y2'].mean():.4g}," in spread[1] and dict(rows)["Observations"] == "120 in 60 rows"
    own = dict(tables.data_table(bmm.Model("o ~ cs(center(x))", table(), "cumulative").design).rows)
    assert own["Fixed effects, each threshold"] == "center(x)" and "Fixed effects" not in own


def test_priors_of_thresholds_are_those_at_the_means():
    """StudentT(3, 0, 2.5) is not the prior of the threshold itself, whose sd is many times that of x about 10."""
    model = bmm.Model("o ~ x", table(), "cumulative")
    assert r"\tau_{\text{1|2}} - \sum_{k} \beta_{k} \bar{x}_{k} &\sim" in model.equation()
    assert "for threshold[1|2] at the predictors' means" in words.prior_sentence(model.priors, model.design)
    alone = bmm.Model("o ~ 1", table(), "cumulative")
    assert r"\tau_{\text{1|2}} &\sim" in alone.equation()
    assert "for threshold[1|2]," in words.prior_sentence(alone.priors, alone.design)
