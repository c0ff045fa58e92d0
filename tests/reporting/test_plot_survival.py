"""The figure of a censored response: what is drawn, what the other figures say of one, and its residuals."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fake_fits import posterior_near
from scipy import stats
from scipy.special import gamma

import bayesmm as bmm
from bayesmm import plots
from bayesmm.display.figures import Plot
from bayesmm.posterior.residuals import residuals_of_new_groups
from bayesmm.posterior.survival import fitted_survival, observed_survival

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@pytest.fixture(autouse=True)
def closed(headless):
    yield


@pytest.fixture(scope="module")
def kidney():
    return pd.read_csv(Path(__file__).parents[1] / "data" / "kidney.csv")


@pytest.fixture(scope="module")
def fit(kidney):
    return posterior_near(bmm.Model("time | cens(1 - status) ~ age + sex + (1 | id)", kidney, "weibull"))


def test_the_steps_are_kaplan_and_meiers_and_the_curve_is_the_mean_of_the_rows(fit, kidney):
    found = plots.plot_survival(fit)
    assert isinstance(found, Plot) and len(found) == 1
    fitted, steps, marks = found[0].lines[:3]
    known = observed_survival(fit.design.y, fit.design.limits)
    x, y = steps.get_data()
    for t, share in zip(known.end, known.share, strict=True):
        assert y[np.flatnonzero(x == t)[-1]] == pytest.approx(share)
    assert sorted(marks.get_xdata()) == sorted(kidney.loc[kidney["status"] == 0, "time"])
    t, curve = fitted.get_data()
    eta = fit.predict(kind="linear").draws.reshape(-1, 76)
    shape = fit.tree["posterior"]["shape"].to_numpy().ravel()[:, None]
    at = t[40]
    each = stats.weibull_min.sf(at, shape, scale=np.exp(eta) / gamma(1 + 1 / shape))
    # the figure takes every fourth draw of 800, all within a hundredth of each other
    assert curve[40] == pytest.approx(each.mean(), abs=2e-3)
    assert "P(time > t)" in found[0].get_ylabel()


def test_a_panel_for_each_value_of_a_column(fit):
    found = plots.plot_survival(fit, by="sex")
    assert [ax.get_title(loc="left") for ax in found] == ["f", "m"]
    women = fit.design.frame["sex"].to_numpy() == "f"
    curve = found[0].lines[0].get_ydata()
    again = fitted_survival(fit, found[0].lines[0].get_xdata(), women).mean(axis=0)
    np.testing.assert_allclose(curve, again)


def test_what_it_refuses(fit, kidney):
    plain = posterior_near(bmm.Model("time ~ age + (1 | id)", kidney, "weibull"))
    with pytest.raises(ValueError, match="neither censored nor truncated; use plot_predictive"):
        plots.plot_survival(plain)
    with pytest.raises(ValueError, match="by is 'disease'; the columns of this model are"):
        plots.plot_survival(fit, by="disease")
    with pytest.raises(ValueError, match="by = 'id' has 38 values, and there is room for 12 panels"):
        plots.plot_survival(fit, by="id")
    with pytest.raises(ValueError, match="ax= is for one panel"):
        plots.plot_survival(fit, by="sex", ax=plt.subplots()[1])


@pytest.mark.parametrize("name", ["plot_predictive", "plot_group_means", "plot_shrinkage"])
def test_figures_that_take_responses_for_known_say_what_to_use(fit, name):
    with pytest.raises(ValueError, match=r"use plot_(survival|effects)"):
        getattr(plots, name)(fit)


def test_the_others_are_drawn(fit):
    for name in ("plot_residuals", "plot_qq", "plot_effects", "plot_lines"):
        assert len(getattr(plots, name)(fit))
    residuals = residuals_of_new_groups(fit)
    assert np.isfinite(residuals).all() and 0.7 < residuals.std() < 1.3


def test_intervals_are_drawn_straight_across():
    rng = np.random.default_rng(0)
    y = np.floor(rng.gamma(3.0, 2.0, 60))
    data = pd.DataFrame({"y": y, "end": y + 1.0, "c": "interval", "x": rng.normal(size=60)})
    fit = posterior_near(bmm.Model("y | cens(c, end) ~ x", data, "gamma"))
    x, share = plots.plot_survival(fit)[0].lines[1].get_data()
    whole = [np.mean(y + 1 > t) for t in x[1:-1]]
    np.testing.assert_allclose(share[1:-1], whole, atol=1e-6)


def test_a_truncated_curve_is_that_of_what_can_be_seen():
    rng = np.random.default_rng(4)
    y = rng.normal(0.5, 1.0, 4000)
    data = pd.DataFrame({"y": y[y > 0], "x": rng.normal(size=(y > 0).sum())})
    fit = posterior_near(bmm.Model("y | trunc(lb = 0) ~ x", data))
    t = np.array([-1.0, 0.0, 0.5, 1.5])
    wanted = [np.mean(data["y"] > at) for at in t]
    # 2,760 rows: a share is known to 0.01
    np.testing.assert_allclose(fitted_survival(fit, t).mean(axis=0), wanted, atol=0.03)
