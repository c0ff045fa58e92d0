"""Figures of few and of many groups, of far estimates and of long names: what is shown and what is said."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_fits import fake_fit, posterior_near
from test_plots_data import by_look, frame, heading

import bayesmm as bmm
from bayesmm.display.figures import name_axes, panels, plain
from bayesmm.reporting import gallery, plots
from bayesmm.reporting.plots.comparison import REACH

pytestmark = pytest.mark.usefixtures("headless")


@pytest.fixture(scope="module")
def linear():
    """Return a posterior about the REML estimates of the lines."""
    return posterior_near(bmm.Model("`y_$a^$` ~ x + (x | `_g`)", frame()))


def key_of(ax):
    return [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_the_means_of_all_groups_are_over_the_intervals_of_their_replicates(linear):
    (ax,) = plots.plot_group_means(linear)
    design, block = linear.design, linear.design.blocks[0]
    means = np.array([design.y[block.index == g].mean() for g in range(6)])
    names = [text.get_text() for text in ax.get_yticklabels()]
    order = [list(block.levels).index(name.replace(r"\$", "$").strip()) for name in names]
    assert by_look(ax, marker="o")[0].get_xdata() == pytest.approx(means[order])
    lower, upper = np.array([path.vertices[:, 0] for path in ax.collections[0].get_paths()]).T
    assert (lower < means[order]).all() and (means[order] < upper).all()
    sigma = float(linear.sigma()["mean"].iloc[0])
    # of 8 rows about their fitted lines: +- 1.96 sigma / sqrt(8), and the spread of the lines (0.01 of each value)
    assert upper - lower == pytest.approx(2 * 1.96 * sigma / np.sqrt(8), rel=0.35)
    assert "0 outside their intervals" in heading(ax).replace("\n", " ")


def test_a_group_whose_mean_the_model_does_not_give_is_marked_and_400_groups_have_no_names():
    data = frame(400, 4)
    data.loc[data["_g"] == "$g_007", "y_$a^$"] += 60.0
    priors = {"sd": 0.001}  # effects that cannot follow the group
    fit = posterior_near(bmm.Model("`y_$a^$` ~ x + (1 | `_g`)", data, priors=priors), draws=50)
    b = fit.tree["posterior"]["b__g"]
    fit.tree["posterior"]["b__g"] = b * 0
    (ax,) = plots.plot_group_means(fit)
    outside = by_look(ax, marker="D")[0]
    assert data[data["_g"] == "$g_007"]["y_$a^$"].mean() == pytest.approx(max(outside.get_xdata()))
    assert f"{len(outside.get_xdata())} outside" in heading(ax).replace("\n", " ")
    assert len(ax.collections[0].get_paths()) == 400 and not ax.get_yticklabels()
    assert key_of(ax) == ["observed", "95 % of the replicated means", "observed outside"]


def test_the_panels_of_lines_share_the_scale_of_the_rows_in_them():
    data = frame(25, 4)
    data = pd.concat([data, data[data["_g"] != "$g_024"]])  # the last group has fewer rows and is not drawn
    data.loc[data["_g"] == "$g_024", "y_$a^$"] += 1000.0
    axes = plots.plot_lines(posterior_near(bmm.Model("`y_$a^$` ~ x + (x | `_g`)", data), draws=50))
    assert axes[0].get_ylim()[1] < 100
    inner = axes[1].get_yticklabels() + axes[0].get_xticklabels()
    assert not any(text.get_visible() for text in inner) and axes[0].get_yticklabels()[0].get_visible()


def test_the_key_of_few_rows_names_the_rows(linear):
    assert key_of(plots.plot_predictive(linear, group="_g")[0]) == ["an observed row", "density of the replicates"]
    assert "observed" in key_of(plots.plot_predictive(linear)[0])


def test_an_estimate_far_from_the_posterior_is_an_arrow_at_the_edge():
    comparison = fake_fit().compare(consistency=False)
    table = comparison.table.copy()
    table.loc[0, "point"] = table.loc[0, "mean"] + 50 * table.loc[0, "sd"]
    table.loc[1, "map"] = table.loc[1, "mean"] - 50 * table.loc[1, "sd"]
    (ax,) = plots.plot_comparison(replace(comparison, table=table))
    rows = len(table)
    assert [tuple(np.ravel(line.get_data())) for line in by_look(ax, marker=">") if len(line.get_xdata())] == [
        (REACH, rows - 1)
    ]
    assert [tuple(np.ravel(line.get_data())) for line in by_look(ax, marker="<") if len(line.get_xdata())] == [
        (-REACH, rows - 2)
    ]
    assert ax.get_xlim()[1] < 2 * REACH and "farther out" in key_of(ax)
    assert "farther out" not in key_of(plots.plot_comparison(comparison)[0])


def test_names_are_cut_in_their_middle_so_that_their_ends_stay():
    label = "sd_" + "g" * 60 + "[Intercept]"
    assert plain(label).endswith("[Intercept]") and plain(label).startswith("sd_ggg") and len(plain(label)) == 34
    assert plain("short") == "short" and plain("x" * 34) == "x" * 34
    assert "..." in plain("a\n" * 40) and "\n" not in plain("a\n" * 40)


def test_long_names_of_axes_take_more_lines():
    _, axes = panels(3, 2.0, 2.0)
    name_axes(axes[0], "sd, on the logit scale of a response with a name per unit of another", "short")
    assert axes[0].get_xlabel().count("\n") >= 1 and axes[0].get_ylabel() == "short"
    axes[0].figure.canvas.draw()
    box = axes[0].xaxis.label.get_window_extent()
    assert box.width <= axes[0].figure.bbox.width / 3


def test_effects_of_zeros_have_no_regressions_of_their_own():
    """The line that was called the fixed effect was the intercept of the mean, on another scale than the effects."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.repeat(list("abcdef"), 20), "k": rng.poisson(2, 120), "x": rng.normal(size=120)})
    fit = posterior_near(bmm.Model(["k ~ x + (1 | g)", "zi ~ 1 + (1 | g)"], data, "zero_inflated_poisson"))
    for group, said in (("zi_g", "the effects of zi_g are of zi"), ("g", "differs from row to row")):
        with pytest.raises(ValueError, match=said):
            plots.plot_shrinkage(fit, group)
    assert gallery.shrinkage(fit, 0) == () and gallery.shrinkage(fit, 1) == ()
