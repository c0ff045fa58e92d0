"""Predictions of responses that are whole numbers: where intervals end, and the figure of 0 and 1."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fake_fits import posterior_near

import bayesmm as bmm

ROUNDING = 1e-12  # of shares of draws


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def data(n=240):
    rng = np.random.default_rng(3)
    g, x = np.arange(n) % 6, rng.normal(size=n).round(1)
    eta = x + 0.5 * rng.normal(size=6)[g]
    table = {"x": x, "g": [f"g{k}" for k in g], "count": rng.poisson(np.exp(eta / 2)), "n": 4}
    yes = (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(int)
    return pd.DataFrame(table | {"yes": yes, "k": rng.binomial(4, 1 / (1 + np.exp(-eta)))})


def fit(formula, family, **further):
    return posterior_near(bmm.Model(formula, data(), family, **further))


@pytest.mark.parametrize(
    ("formula", "family", "further"),
    [("count ~ x + (1 | g)", "poisson", {}), ("k ~ x + (1 | g)", "binomial", {"trials": "n"}),
     ("yes ~ x + (1 | g)", "bernoulli", {})],
)  # fmt: skip
def test_intervals_of_new_counts_end_at_counts_and_hold_their_probability(formula, family, further):
    found = fit(formula, family, **further).predict(kind="response", seed=1)
    for p in (0.5, 0.9):
        frame = found.to_frame(p)
        ends = frame[["lower", "upper"]].to_numpy()
        assert (ends == np.round(ends)).all()
        draws = found.draws.reshape(-1, len(frame))
        assert ((draws >= ends[:, 0]) & (draws <= ends[:, 1])).mean(axis=0).min() >= p - ROUNDING
        assert (draws < ends[:, 0]).mean(axis=0).max() <= (1 - p) / 2 + ROUNDING
        assert (draws > ends[:, 1]).mean(axis=0).max() <= (1 - p) / 2 + ROUNDING
    means = fit(formula, family, **further).predict().to_frame(0.5)["lower"]
    assert (means != np.round(means)).any()  # means are no counts


def words(plot):
    return [text.get_text() for text in plot.figure.legends[0].get_texts()]


def test_the_figure_of_0_and_1_has_probabilities_and_observed_shares():
    own = fit("yes ~ x + (1 | g)", "bernoulli")
    plot = own.predict().plot()
    assert "probability of the response 1" in plot.figure.get_suptitle() and len(plot) == 6
    assert words(plot)[-1] == "observed shares, of 10 rows or more" and "95 % interval" in words(plot)
    table = own.design.frame
    own_rows = table["g"].astype(str) == plot[0].get_title(loc="left").removeprefix("g = ")
    rows = table[own_rows].sort_values("x", kind="stable")
    shares = plot[0].lines[1].get_ydata()
    expected = [rows["yes"].iloc[part].mean() for part in np.array_split(np.arange(40), 4)]
    np.testing.assert_allclose(shares, expected)
    assert plot[0].get_ylim()[0] < 0 and plot[0].get_ylim()[1] > 1
    # other rows have no observed response
    grid = pd.DataFrame({"x": np.linspace(-2, 2, 20), "g": "g1"})
    plot = own.predict(grid).plot()
    assert plot.axes[0].get_ylabel() == "probability that yes is 1" and "observed" not in " ".join(words(plot))
    plot = own.predict(grid, kind="response", seed=1).plot()
    assert words(plot) == ["share of new responses that are 1"] and not plot.axes[0].collections
    assert words(fit("count ~ x + (1 | g)", "poisson").predict().plot())[0] == "posterior mean"


def test_an_axis_of_counts_begins_at_0_where_that_is_near():
    own = fit("count ~ x + (1 | g)", "poisson")
    grid = pd.DataFrame({"x": np.linspace(-2, 2, 20), "g": "g1"})
    for plot in (own.predict(grid).plot(), own.predict(grid, kind="response", seed=1).plot()):
        assert plot[0].get_ylim()[0] == 0 and plot.figure.get_suptitle().endswith("Held: g = g1.")
    rows = own.predict(grid.iloc[[0, -1]], groups="population").plot()
    assert rows[0].get_xlim()[0] == 0 and "Held" not in rows.figure.get_suptitle()  # g has no part in it
    assert own.predict(grid, kind="linear").plot()[0].get_ylim()[0] != 0
    assert bmm.predictions(own, at={"x": [-1.0, 0.0, 1.0]}).plot()[0].get_ylim()[0] == 0
    many = data().assign(count=lambda table: 1000 + table["count"])
    far = posterior_near(bmm.Model("count ~ x + (1 | g)", many, "poisson"))
    assert far.predict(grid).plot()[0].get_ylim()[0] > 100


def test_rows_that_make_no_line_have_probabilities_too():
    table = data().assign(x=lambda d: np.where(d["x"] > 0, "high", "low"))
    own = posterior_near(bmm.Model("yes ~ x", table, "bernoulli"))
    assert "observed" not in " ".join(words(own.predict().plot()))
    plot = own.predict(pd.DataFrame({"x": ["high", "low"]}), kind="response", seed=1).plot()
    assert words(plot) == ["share of new responses that are 1"] and not plot.axes[0].collections
