"""Figures of categories: what the bars, the areas and the steps are."""

import warnings
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm import plots

matplotlib.use("Agg")
HERE = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fit():
    data = pd.read_csv(HERE / "data" / "wine.csv").assign(x=np.linspace(-1, 1, 72))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bmm.Model("rating ~ temp + x", data, "acat").sample(
            draws=100, tune=200, chains=2, seed=1, progress=False
        )


def test_bars_are_the_shares_and_the_fitted_probabilities(fit):
    found = plots.plot_categories(fit, by="temp")
    bars = np.array([[patch.get_y(), patch.get_height()] for patch in found[0].patches]).reshape(2, 5, 2, 2)
    cold = (fit.design.frame["temp"] == "cold").to_numpy()
    shares = [(fit.design.y[cold] == k).mean() for k in range(1, 6)]
    np.testing.assert_allclose(bars[0, :, 0, 1], shares, atol=1e-12)
    p = fit.predict().draws.mean(axis=(0, 1))
    np.testing.assert_allclose(bars[1, :, 1, 1], p[~cold].mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(bars[..., 1].sum(axis=1), 1.0)
    np.testing.assert_allclose(bars[:, 1:, :, 0], np.cumsum(bars[..., 1], axis=1)[:, :-1])
    assert [text.get_text() for text in found.figure.legends[0].get_texts()] == ["1", "2", "3", "4", "5"]


def test_steps_are_cumulative_shares(fit):
    found = plots.plot_categories(fit, by="temp", cumulative=True)
    assert len(found) == 2
    warm = (fit.design.frame["temp"] == "warm").to_numpy()
    _, share = found[1].lines[1].get_data()
    np.testing.assert_allclose(share, [(fit.design.y[warm] <= k).mean() for k in range(1, 6)])
    assert plots.plot_categories(fit, cumulative=True, ax=plt.subplots()[1])[0].get_ylabel()


def test_predictions_of_categories_are_stacked(fit):
    lines = pd.DataFrame({"temp": np.repeat(["cold", "warm"], 9), "x": np.tile(np.linspace(-1, 1, 9), 2)})
    predicted = fit.predict(lines)
    p = predicted.draws.mean(axis=(0, 1))
    areas = predicted.plot()
    assert len(areas) == 2 and len(areas[0].collections) == 5
    top = areas[1].collections[1].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(p[9:, :2].sum(axis=1).max())
    curves = predicted.plot(cumulative=True)
    np.testing.assert_allclose(curves[0].lines[2].get_ydata(), p[:9, :3].sum(axis=1))
    rows = fit.predict(lines.iloc[[0, 9]]).plot()
    assert [label.get_text() for label in rows[0].get_yticklabels()] == ["cold", "warm"]
    assert rows[0].get_ylabel() == "temp" and rows.figure.get_suptitle().endswith("Held: x = -1.")
    np.testing.assert_allclose([bar.get_width() for bar in rows[0].patches[:2]], p[[0, 9], 0])
    assert len(fit.predict(lines.iloc[[0, 9]]).plot(cumulative=True)) == 1


def test_what_has_no_categories_is_said(fit):
    other = bmm.Model("rating ~ temp", fit.design.frame.assign(rating=fit.design.y), "gaussian")
    plain = other.sample(draws=50, tune=50, chains=2, seed=1, progress=False)
    with pytest.raises(ValueError, match="no ordered categories"):
        plots.plot_categories(plain)
    with pytest.raises(ValueError, match="have none"):
        plain.predict().plot(cumulative=True)
    with pytest.raises(ValueError, match="this model are"):
        plots.plot_categories(fit, by="site")
    with pytest.raises(ValueError, match="leave ax= out"):
        plots.plot_categories(fit, by="temp", cumulative=True, ax=plt.subplots()[1])
    with pytest.raises(ValueError, match="no rows"):
        fit.predict(fit.design.frame.iloc[:0]).plot()
