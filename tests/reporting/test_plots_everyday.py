"""What every plot has in common: one kind of object, axes of one's own, whole names, axes that end where draws do."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fake_fits import posterior_near

import bayesmm as bmm
from bayesmm.display.figures import Plot, heading, panels, view
from bayesmm.posterior.predictions import Predictions
from bayesmm.reporting import plots

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"site": np.repeat(list("abcdef"), 8), "x": np.tile(np.arange(8.0), 6)})
    data["y"] = 3 + 0.5 * data["x"] + rng.normal(size=6).repeat(8) + rng.normal(size=48)
    return posterior_near(bmm.Model("y ~ x + (1 | site)", data))


ONE = ("plot_comparison", "plot_shrinkage", "plot_residuals", "plot_qq", "plot_group_means", "plot_predictive")


# of models of their own: tests/model/test_standard_errors.py, tests/model/test_smooths.py, test_plot_survival.py,
# test_plot_categories.py
ELSEWHERE = {"save_figures", "plot_prior_predictive", "forest", "smooths", "plot_survival", "plot_categories"}


@pytest.mark.parametrize("name", sorted(set(plots.__all__) - ELSEWHERE))
def test_every_plot_is_a_plot_that_can_be_saved(fit, name, tmp_path):
    found = getattr(plots, name)(fit)
    assert isinstance(found, Plot) and len(found) == len(list(found)) == len(found.axes)
    assert all(ax.figure is found.figure for ax in found)
    assert found.save(tmp_path / "a" / "b" / f"{name}.png").stat().st_size > 1000


@pytest.mark.parametrize("name", sorted(set(plots.__all__) - {"plot_prior_predictive", "forest", "smooths"}))
def test_figures_of_a_posterior_say_what_a_maximised_fit_has(fit, name, tmp_path):
    point = fit.model.maximize()
    said = rf"^{name} draws a posterior, from sample\(\), not a PointFit; bmm.plots.smooths and bmm.predictions"
    with pytest.raises(TypeError, match=said):
        getattr(plots, name)(point, *([tmp_path] if name == "save_figures" else []))


def test_figures_alone_are_offered():
    assert sorted(dir(plots)) == sorted(plots.__all__)


@pytest.mark.parametrize("name", ONE)
def test_single_panels_go_into_axes_of_ones_own(fit, name):
    figure, (first, second) = plt.subplots(1, 2)
    found = getattr(plots, name)(fit, ax=second)
    assert found[0] is second and found.figure is figure
    assert second.get_legend() is not None and second.get_title(loc="left") and not figure.get_suptitle()
    assert not first.lines and not first.collections


@pytest.mark.parametrize("ax", ["left", np.array([1, 2])])
def test_what_is_no_axes_is_said(fit, ax):
    with pytest.raises(TypeError, match="ax should be one of Matplotlib's Axes"):
        plots.plot_qq(fit, ax=ax)


def test_a_figure_by_group_has_no_place_in_one_panel(fit):
    with pytest.raises(ValueError, match="ax= is for one panel"):
        plots.plot_predictive(fit, "site", ax=plt.subplots()[1])


def test_titles_of_panels_are_whole_and_wrapped():
    _, axes = panels(3, 2.0, 2.0)
    name = "corr_subj[Intercept, cond[T.incongruent]:FoodTreatment[T.Satiated]]"
    heading(axes[0], name)
    lines = axes[0].get_title(loc="left").split("\n")
    assert len(lines) > 1 and "".join(line.removeprefix("  ") for line in lines) == name


def test_a_heavy_tail_is_cut_near_the_interval_and_says_how_far_it_goes():
    draws = np.random.default_rng(0).standard_cauchy(20_000)
    low, high = np.quantile(draws, [0.025, 0.975])
    ax = panels(1, 3.0, 2.0)[1][0]
    view(ax, draws, [0.5])
    assert ax.get_xlim()[1] < high + high - low and ax.get_xlim()[0] > low - (high - low)
    said = sorted(text.get_text() for text in ax.texts)
    assert said == sorted([f"\u25c0 to {np.quantile(draws, 0.001):.3g}", f"to {np.quantile(draws, 0.999):.3g} \u25b6"])
    other = panels(1, 3.0, 2.0)[1][0]
    view(other, np.random.default_rng(0).normal(size=20_000), [30.0], ends=[900.0])
    assert 30 < other.get_xlim()[1] < 40 and other.texts[0].get_text() == "to 900 \u25b6"  # an estimate stays in view


def test_estimates_far_off_the_scale_of_shrinkage_are_named(fit):
    data = fit.design.frame.copy()
    data.loc[data["site"] == "f", "x"] = 3.0 + 0.001 * np.arange(8)  # next to nothing is known of its slope
    data.loc[data["site"] == "f", "y"] += 3 * np.arange(8)
    ax = plots.plot_shrinkage(posterior_near(bmm.Model("y ~ x + (x | site)", data)))[0]
    assert any(text.get_text().startswith("f: ") for text in ax.texts)
    assert max(np.abs(ax.get_ylim())) < 1000  # its own slope is 3,000


def test_no_shrinkage_is_a_line_of_45_degrees(fit):
    assert plots.plot_shrinkage(fit)[0].get_aspect() == 1.0


def predictions(table, rows):
    draws = np.random.default_rng(0).normal(size=(2, 100, rows)) + np.arange(rows)
    tree = xr.DataTree.from_dict({"predictions": xr.Dataset({"mean": (("chain", "draw", "obs"), draws)})})
    tree.attrs["bayesmm"] = '{"new_levels": "sample", "columns": ["x", "same"]}'
    return Predictions(tree, np.arange(rows), table)


def test_predictions_are_bands_along_a_number_with_a_panel_for_each_combination():
    table = pd.DataFrame(
        {"x": np.tile([0.0, 1.0, 2.0], 2), "g": np.repeat(["a", "b"], 3), "same": 1.25, "unused": "no"}
    )
    found = predictions(table, 6)
    plot = found.plot()
    assert [ax.get_title(loc="left") for ax in plot] == ["g = a", "g = b"]
    frame = found.to_frame()
    wide = plot[1].collections[0].get_paths()[0].vertices[:, 1]
    assert [wide.min(), wide.max()] == pytest.approx([frame["lower"][3], frame["upper"][5]])
    assert plot[1].lines[0].get_ydata() == pytest.approx(frame["mean"][3:])
    words = [text.get_text() for text in plot.figure.legends[0].get_texts()]
    assert words == ["posterior mean", "50 % interval", "95 % interval"]
    assert plot.figure.get_suptitle().split("\n") == [
        "Predictions: mean response",
        "The effects of new groups are drawn from their distribution.",
        "Held: same = 1.25.",
    ]
    with pytest.raises(ValueError, match="need 2 panels"):
        found.plot(ax=plt.subplots()[1])
    near = table.assign(g=np.repeat([12341.4, 12341.6], 3), same=20231.0)  # as one to five digits
    plot = predictions(near, 6).plot()
    assert len(list(plot)) == 2 and "Held: same = 20231." in plot.figure.get_suptitle()


def test_predictions_of_few_rows_are_a_row_each():
    plot = predictions(pd.DataFrame({"g": ["a", "b"]}), 2).plot(ax=plt.subplots()[1])
    assert [text.get_text() for text in plot[0].get_yticklabels()] == ["a", "b"] and plot[0].get_ylabel() == "g"
    with pytest.raises(ValueError, match="no rows"):
        predictions(pd.DataFrame({"g": []}), 0).plot()


def test_a_new_site_is_drawn_with_its_spread(fit):
    new = {"x": [0.0, 3.0, 7.0], "site": ["new"] * 3}
    found = fit.predict(new, new_levels="sample", seed=1)
    known = fit.predict({**new, "site": ["a"] * 3}, seed=1)
    assert list(found.table.columns) == ["x", "site"]
    heights = []
    for each in (found, known):
        corners = each.plot()[0].collections[0].get_paths()[0].vertices
        heights.append(np.ptp(corners[corners[:, 0] == 3.0, 1]))
    assert heights[0] > 2 * heights[1]  # sd between sites about 1, of a known site's mean about 0.35


def test_figures_make_their_folder(fit, tmp_path):
    paths = plots.save_figures(fit, tmp_path / "new" / "folder")
    assert all(path.is_file() for path in paths)


def test_a_repr_is_short():
    assert repr(Plot(SimpleNamespace(), np.arange(3))) == "Plot(3 panels; .figure, .axes, .save(path))"
