"""Angles on either side of pi: residuals the shorter way round, and predictions about their mean direction."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from invented import invented

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.families.circle import around, mean_direction, shorter
from bayesmm.posterior.predictions import Predictions
from bayesmm.posterior.residuals import fitted_means


def table(n=60):
    """Return angles about 2.9, of which a third lie beyond pi."""
    rng = np.random.default_rng(2)
    y = shorter(2.9 + 0.5 * rng.normal(size=n))
    return pd.DataFrame({"y": y, "g": [f"g{i % 6}" for i in range(n)]})


def way_round(a, b):
    return np.abs(np.angle(np.exp(1j * (a - b))))


def test_angles_by_complex_numbers():
    rng = np.random.default_rng(0)
    angles = rng.uniform(-9, 9, (50, 3))
    np.testing.assert_allclose(np.exp(1j * shorter(angles)), np.exp(1j * angles))
    assert np.abs(shorter(angles)).max() <= np.pi
    np.testing.assert_allclose(mean_direction(angles, 0), np.angle(np.exp(1j * angles).mean(axis=0)))
    assert np.abs(around(angles, np.array([3.0, -3.0, 0.0])) - [3.0, -3.0, 0.0]).max() <= np.pi


def test_residuals_go_the_shorter_way_round():
    point = bmm.Model("y ~ 1", table(), "von_mises").maximize()
    y = table()["y"].to_numpy()
    assert (y < 0).sum() > 10  # without which there would be nothing to see
    for found in (point.residuals, point.augment()[".resid"].to_numpy()):
        np.testing.assert_allclose(np.abs(found), way_round(y, point.fitted), atol=1e-12)
        np.testing.assert_allclose(np.exp(1j * (point.fitted + found)), np.exp(1j * y))


def test_predictions_are_summed_up_about_the_mean_direction():
    fit = invented(bmm.Model("y ~ 1 + (1 | g)", table(), "von_mises"))
    at = np.array([2.915, -3.0, 0.0])
    made = fit.predict(kind="response", seed=1)
    rng = np.random.default_rng(5)
    drawn = shorter(at + 0.4 * rng.normal(size=(2, 1000, 3)))
    data = xr.Dataset({"response": (("chain", "draw", "obs"), drawn)})
    tree = xr.DataTree.from_dict({"predictions": data})
    tree.attrs.update(made.tree.attrs)
    assert json.loads(made.tree.attrs["bayesmm"])["angle"]
    found = Predictions(tree, np.arange(3), pd.DataFrame(index=range(3))).to_frame()
    assert way_round(found["mean"], at).max() < 5 * 0.4 / np.sqrt(2000)
    np.testing.assert_allclose(found["sd"], 0.4, rtol=5 / np.sqrt(4000))
    np.testing.assert_allclose(found["upper"] - found["lower"], 2 * 1.96 * 0.4, rtol=0.15)  # of two quantiles
    assert "angle" not in json.loads(fit.predict(kind="linear").tree.attrs["bayesmm"])  # which are on a line


def test_means_over_draws_are_directions():
    fit = invented(bmm.Model("y ~ 1 + (1 | g)", table(), "von_mises"))
    draws = fit.predict().draws.reshape(-1, 60)
    expected = np.angle(np.exp(1j * draws).mean(axis=0))
    assert np.abs(draws.mean(axis=0) - expected).max() > 0.05  # not what the mean on the line is
    np.testing.assert_allclose(fit.predict().to_frame()["mean"], expected)
    np.testing.assert_allclose(fit.augment()[".fitted"], expected)
    np.testing.assert_allclose(fitted_means(fit), expected)
    np.testing.assert_allclose(np.abs(fit.augment()[".resid"]), way_round(table()["y"], expected))


def test_averages_of_angles_are_refused():
    fit = invented(bmm.Model("y ~ 1 + (1 | g)", table().assign(x=np.arange(60.0)), "von_mises"))
    with pytest.raises(DataError, match="where the circle is cut"):
        bmm.predictions(fit)
    assert len(bmm.predictions(fit, kind="linear").table)
