"""The figures show the numbers they claim to, whatever the names, for 4 groups and for 1,000."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fake_fits import fake_block, fake_design, fake_draws, fake_fit, fake_point

import bayesmm as bmm
from bayesmm.display.figures import ACCENT, INK, plain
from bayesmm.posterior.point_estimates import estimate
from bayesmm.reporting import plots
from bayesmm.reporting.plots import components
from bayesmm.storage.atomic_write import slug

pytestmark = pytest.mark.usefixtures("headless")

PNG = b"\x89PNG\r\n\x1a\n"
EVIL = ["a_$b^$", "_hidden", "<script>alert(1)</script>", "$\\frac$", "x" * 5000, "new\nline", r"\$x$"]


@pytest.fixture(autouse=True)
def profiled(monkeypatch):
    """Give the fakes, which have no likelihood, profile intervals of 0.8 to 1.3 times the estimate."""

    def fake_ends(point, parameters, level):
        assert level == 0.95
        return [(0.8 * value, 1.3 * value) for value in (estimate(point, each) for each in parameters)]

    monkeypatch.setattr(components, "ends", fake_ends)


def lines(ax, colour):
    """Return the x positions of the vertical lines of this colour."""
    return [line.get_xdata()[0] for line in ax.lines if line.get_color() == colour and len(line.get_xdata()) == 2]


def key(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(ax, marker):
    return next(line for line in ax.lines if line.get_marker() == marker)


def test_each_variance_parameter_has_its_panel_with_both_fits_marked():
    fit = fake_fit()
    point = fake_point(fit.design, sds=[(21.0, 4.5)], corrs=[0.2], sigma=24.0)
    axes = plots.plot_variances(fit, point)
    assert [ax.get_title(loc="left") for ax in axes] == [
        "sd_Subject[Intercept]",
        "sd_Subject[Days]",
        "corr_Subject[Intercept, Days]",
        "sigma",
    ]
    assert [lines(ax, ACCENT)[0] for ax in axes] == pytest.approx([21.0, 4.5, 0.2, 24.0])
    assert [lines(ax, INK)[0] for ax in axes] == pytest.approx([20.0, 5.0, 0.0, 25.0])  # the MAP of the fake model
    draws = fit.tree["posterior"]["sigma"].values
    assert points(axes[3], "o").get_xdata()[0] == pytest.approx(draws.mean())
    assert key(axes[0].figure) == [
        "posterior density",
        "posterior mean and 95 % interval",
        "REML",
        "its 95 % profile interval",
        "MAP",
    ]
    assert points(axes[1], "|").get_xdata() == pytest.approx([0.8 * 4.5, 1.3 * 4.5])
    assert axes[1].get_xlabel() == "sd, in units of Reaction per unit of Days"
    assert [ax.get_subplotspec().colspan.start for ax in axes] == [0, 1, 0, 1]  # four panels: two rows of two


def test_profile_intervals_come_from_a_table_or_are_left_out():
    fit = fake_fit()
    table = pd.DataFrame({"lower": [20.0], "upper": [31.0]}, index=["sigma"])
    axes = plots.plot_variances(fit, intervals=table)
    assert list(points(axes[3], "|").get_xdata()) == [20.0, 31.0]
    assert not [line for line in axes[0].lines if line.get_marker() == "|"]
    for kept in ({"intervals": False}, {"point": fake_point(fit.design, "MAP")}):
        axes = plots.plot_variances(fit, **kept)
        assert not [line for ax in axes for line in ax.lines if line.get_marker() == "|"]
        assert "its 95 % profile interval" not in key(axes[0].figure)


def test_a_far_estimate_is_still_in_view():
    fit = fake_fit()
    for far in (3.0, 90.0):
        ax = plots.plot_variances(fit, fake_point(fit.design, sigma=far))[3]
        assert ax.get_xlim()[0] < min(far, 25) and ax.get_xlim()[1] > max(far, 25)


def test_a_fixed_parameter_is_drawn_as_one_value():
    draws = fake_draws(fake_design())
    fit = fake_fit(draws=draws | {"sigma": ((), np.full((4, 500), 25.0))})
    ax = plots.plot_variances(fit)[3]
    assert "fixed by its prior" in ax.texts[0].get_text()
    assert len(plots.plot_traces(fit)) == 6


def test_the_caterpillar_is_sorted_and_has_the_modes_of_the_point_fit():
    draws = fake_draws(fake_design())
    dims, effects = draws["b_Subject"]
    shuffled = effects[:, :, np.random.default_rng(0).permutation(18)]
    fit = fake_fit(draws=draws | {"b_Subject": (dims, shuffled)})
    point = fit.model.maximize("REML")
    ax = plots.plot_effects(fit, point)[1]
    means = fit.tree["posterior"]["b_Subject"].values.mean(axis=(0, 1))[:, 1]
    order = np.argsort(means)
    assert points(ax, "o").get_xdata() == pytest.approx(means[order])
    assert points(ax, "D").get_xdata() == pytest.approx(point.modes[0][order, 1])
    assert [text.get_text() for text in ax.get_yticklabels()] == [fit.design.blocks[0].levels[i] for i in order]


@pytest.mark.parametrize(
    ("levels", "drawn", "named"), [(4, 4, True), (40, 40, True), (41, 41, False), (1000, 334, False)]
)
def test_a_caterpillar_for_few_and_for_many_levels(levels, drawn, named):
    block = fake_block("Pupil", levels, ("Intercept",), ((0,),), rows=max(180, levels))
    design = fake_design([block], rows=max(180, levels))
    ax = plots.plot_effects(fake_fit(design, fake_draws(design, draws=50)))[0]
    assert len(points(ax, "o").get_xdata()) == drawn
    assert bool(ax.get_yticklabels()) == named
    assert ax.figure.get_figheight() < 10
    assert ("drawn at even ranks" in ax.figure.get_suptitle()) == (drawn < levels)


def test_a_factor_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"group is 'School'; the grouping factors of this model are Subject"):
        plots.plot_effects(fake_fit(), group="School")
    with pytest.raises(ValueError, match="the model has no grouping factor that puts each row into one level"):
        plots.plot_effects(fake_fit(fake_design(blocks=())))


def test_the_forest_is_in_posterior_sds():
    fit = fake_fit()
    comparison = fit.compare(consistency=False)
    (ax,) = plots.plot_comparison(comparison)
    assert points(ax, "D").get_xdata() == pytest.approx(-comparison.table["difference"].to_numpy())
    assert points(ax, "o").get_ydata()[0] == 5  # the first row of the table is on top
    assert ax.get_yticklabels()[0].get_text() == "sd_Subject[Intercept]"
    right = [text.get_text() for text in ax.figure.axes[1].get_yticklabels()]
    assert right[-1] == "REML | mean (95 % interval)  verdict" and right[0].startswith("20 | ") and "agree" in right[0]


def test_traces_show_every_chain_and_ranks_outside_the_band_where_a_chain_is_elsewhere():
    draws = fake_draws(fake_design())
    sigma = draws["sigma"][1].copy()
    sigma[1] += 3
    axes = plots.plot_traces(fake_fit(draws=draws | {"sigma": ((), sigma)}))
    assert len(axes) == 8 and all(len(ax.lines) == 4 for ax in axes[::2])
    band = axes[7].patches[0].get_bbox()
    heights = [patch.get_data().values for patch in axes[7].patches[1:]]
    assert len(heights) == 4 and all(h.sum() == 500 for h in heights)
    assert heights[1][-1] > band.y1 and heights[1][0] < band.y0
    inside = [patch.get_data().values for patch in axes[1].patches[1:]]
    # 80 steps, each inside with probability 0.99: more than 6 outside happen once in 10,000 times
    assert sum(((h < band.y0) | (h > band.y1)).sum() for h in inside) <= 6


def test_names_are_shown_as_they_are():
    figure, ax = plt.subplots()
    for name in EVIL:
        ax.set_title(plain(name))
        ax.plot([0], [0], label=plain(name))
    legend = ax.legend()
    figure.canvas.draw()  # mathtext would raise here
    assert len(legend.get_texts()) == len(EVIL)  # a leading underscore would be left out
    assert max(len(text.get_text()) for text in legend.get_texts()) < 60


def test_figures_of_hostile_names_are_written_under_safe_names(tmp_path):
    blocks = [
        fake_block("../a_$b^$", EVIL, ("Intercept", "_$x"), name="a"),
        fake_block("_g", 3, ("Intercept",), ((0,),)),
    ]
    design = fake_design(blocks, coefficients=("Intercept", "$_<b>"))
    design.formula.text, design.response = "y ~ `$_<b>` + (1 | `_g$`)", "_$y"
    paths = plots.save_figures(fake_fit(design), tmp_path)
    assert {path.name for path in paths} == {
        "variance_components.png",
        "comparison.png",
        "traces.png",
        f"effects_{slug('../a_$b^$')}.png",
        f"effects_{slug('_g')}.png",
    }
    assert all(path.parent == tmp_path and path.read_bytes().startswith(PNG) for path in paths)
    assert plt.get_fignums() == []


def test_a_model_without_random_effects_has_its_figures(tmp_path):
    paths = plots.save_figures(fake_fit(fake_design(blocks=())), tmp_path)
    assert {path.stem for path in paths} == {"variance_components", "comparison", "traces"}


def test_too_many_parameters_are_counted_in_the_title():
    design = fake_design([fake_block(columns=tuple("abcde"), partition=((0, 1, 2, 3, 4),))])
    axes = plots.plot_variances(fake_fit(design))
    assert len(axes) == 12 and "4 more in fit.varcorr()" in axes[0].figure.get_suptitle()


@pytest.mark.parametrize(
    ("family", "scale", "count"),
    [("poisson", "symlog", 2), ("gamma", "log", 2), ("beta", "linear", 2), ("bernoulli", "linear", 1)],
)
def test_the_prior_predictive_figure_shows_the_observed_responses(family, scale, count):
    rng = np.random.default_rng(1)
    y = {"poisson": rng.poisson(3, 40), "gamma": rng.gamma(2, size=40), "beta": rng.beta(2, 3, 40)}
    frame = pd.DataFrame({"a_$b^$": y.get(family, rng.integers(0, 2, 40)), "g": np.repeat(np.arange(8), 5)})
    model = bmm.Model("`a_$b^$` ~ 1 + (1 | g)", frame, family)
    axes = plots.plot_prior_predictive(model, draws=30, seed=1)
    assert len(axes) == count
    assert axes[-1].get_xscale() == scale
    assert lines(axes[-1], ACCENT)[0] == pytest.approx(model.design.y.mean())
    if count == 2:
        observed = next(line for line in axes[0].lines if line.get_color() == ACCENT)
        assert np.array_equal(observed.get_ydata(), np.sort(model.design.y))
    axes[0].figure.canvas.draw()
