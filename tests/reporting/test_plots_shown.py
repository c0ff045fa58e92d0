"""What each figure shows, number by number: bands, bars, lines and marks against the draws that they are made of."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fake_fits import posterior_near
from scipy.special import ndtri
from scipy.stats import binom, rankdata
from test_plots_data import by_look, frame

import bayesmm as bmm
from bayesmm.display.figures import ACCENT, GREY, INK, LIGHT
from bayesmm.posterior.density import density
from bayesmm.posterior.predict import predict
from bayesmm.posterior.residuals import replicates, thinned
from bayesmm.reporting import plots
from bayesmm.reporting.plots import shrinkage
from bayesmm.reporting.plots.comparison import REACH
from bayesmm.reporting.plots.predictive import draw_counts
from bayesmm.reporting.plots.sampling import BAND, ENERGY_BINS, RANK_BINS

pytestmark = pytest.mark.usefixtures("headless")

SPACE = 0.01  # of the widest of the things compared: grids of 200 points stand for curves


@pytest.fixture(scope="module")
def linear():
    """Return a posterior of lines whose draws differ enough to be told apart."""
    return posterior_near(bmm.Model("`y_$a^$` ~ x + (x | `_g`)", frame()), spread=0.1)


@pytest.fixture(scope="module")
def counted():
    """Return a posterior of counts."""
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(8), 12)
    n = rng.poisson(np.exp(0.8 + 0.4 * rng.normal(size=8)[g]))
    data = pd.DataFrame({"n": n, "x": rng.normal(size=96), "g": [f"g{i}" for i in g]})
    return posterior_near(bmm.Model("n ~ x + (1 | g)", data, "poisson"))


@pytest.fixture(scope="module")
def binary():
    """Return a posterior of a response of 0 and 1."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(size=200), "g": np.repeat(np.arange(10), 20)})
    data["y"] = (rng.random(200) < 1 / (1 + np.exp(-1.5 * data["x"]))).astype(int)
    return posterior_near(bmm.Model("y ~ x + (1 | g)", data, "bernoulli"))


def segments(collection):
    """Return the two ends of horizontal or vertical lines, (lines, 2, 2)."""
    return np.array([path.vertices for path in collection.get_paths()])


def band_at(ax, x):
    """Return the lower and the upper edge of the first band of a panel at its points x."""
    edge = ax.collections[0].get_paths()[0].vertices
    return np.array([[edge[edge[:, 0] == at, 1].min(), edge[edge[:, 0] == at, 1].max()] for at in x]).T


def test_a_caterpillar_has_the_intervals_of_ranef(linear):
    (ax, _) = plots.plot_effects(linear, linear.model.maximize())
    frame_ = linear.ranef().query("term == 'Intercept'").sort_values("mean")
    assert segments(ax.collections[0])[..., 0] == pytest.approx(frame_[["lower", "upper"]].to_numpy())


def test_a_density_has_an_area_of_one_over_the_interval_of_the_summary(linear):
    axes = plots.plot_variances(linear, intervals=False)
    row = linear.summary().loc["sigma"]
    edge = axes[3].collections[0].get_paths()[0].vertices
    x, height = by_look(axes[3], color=GREY)[0].get_data()
    assert np.trapezoid(height, x) == pytest.approx(1.0, abs=SPACE) and edge[:, 1].max() == height.max()
    bar = segments(axes[3].collections[1])[0, :, 0]
    assert bar == pytest.approx(row[["lower", "upper"]].to_numpy(dtype=float))


def test_the_bands_of_lines_are_those_of_predict_and_the_average_line_that_of_the_population(linear):
    axes, block = plots.plot_lines(linear), linear.design.blocks[0]
    for g in (0, 5):
        x = by_look(axes[g], color=INK, linestyle="-")[0].get_xdata()
        rows = pd.DataFrame({"x": x, "_g": [block.levels[g]] * len(x)})
        own = predict(thinned(linear), rows).to_frame()
        assert band_at(axes[g], x) == pytest.approx(own[["lower", "upper"]].to_numpy().T)
        average = predict(thinned(linear), rows, groups="population").to_frame()["mean"]
        assert by_look(axes[g], color=ACCENT)[0].get_ydata() == pytest.approx(average.to_numpy())


def test_the_band_of_a_predictive_density_holds_95_percent_of_the_replicated_ones(linear):
    (ax,) = plots.plot_predictive(linear)
    x, observed = by_look(ax, color=ACCENT)[0].get_data()
    assert observed == pytest.approx(np.interp(x, *density(linear.design.y), left=0, right=0))
    heights = np.array([np.interp(x, *density(y), left=0, right=0) for y in replicates(linear)[:200]])
    assert band_at(ax, x) == pytest.approx(np.quantile(heights, [0.025, 0.975], axis=0))
    assert by_look(ax, linestyle="--")[0].get_ydata() == pytest.approx(heights.mean(axis=0))


def test_a_rootogram_has_the_expected_counts_with_their_intervals(counted):
    (ax,) = plots.plot_predictive(counted)
    at, expected = by_look(ax, marker="o")[0].get_data()
    found = np.array([[(y == k).sum() for k in at] for y in replicates(counted)])
    assert expected == pytest.approx(found.mean(axis=0))
    ends = np.quantile(found, [0.025, 0.975], axis=0)
    assert segments(ax.collections[0])[..., 1].T == pytest.approx(ends)


def test_zeros_have_a_bar_of_their_own_where_others_share_one():
    rng = np.random.default_rng(4)
    observed = np.where(rng.random(400) < 0.4, 0, rng.poisson(rng.gamma(2.0, 10.0, size=400)))
    drawn = rng.poisson(20, size=(50, 400))
    ax = plt.subplots()[1]
    draw_counts(ax, observed, drawn)
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_width(), bar.get_height()) for bar in ax.patches]
    wide = round(bars[1][1] / bars[0][1])  # counts in a bar
    assert wide > 1 and bars[0][0] == 0 and bars[0][2] == (observed == 0).sum()
    starts = [at - (wide - 1) / 2 for at, _, _ in bars[1:]]
    assert starts == pytest.approx(1 + wide * np.arange(len(starts)))
    counted = [((observed >= start) & (observed < start + wide)).sum() for start in starts]
    assert [height for _, _, height in bars[1:]] == counted and sum(counted) == (observed > 0).sum()
    expected = by_look(ax, marker="o")[0].get_ydata()
    assert expected.sum() == pytest.approx(400) and expected[0] == (drawn == 0).sum(axis=1).mean()


def test_the_intervals_of_shares_are_those_of_binomial_counts(binary):
    (ax,) = plots.plot_predictive(binary)
    fitted = predict(thinned(binary)).draws.reshape(-1, 200).mean(axis=0)
    for collection, rows in zip(ax.collections, np.array_split(np.argsort(fitted, kind="stable"), 10), strict=True):
        ends = segments(collection)[0]
        assert ends[0, 0] == pytest.approx(fitted[rows].mean())
        p = fitted[rows].mean()  # the probabilities of a bin differ little
        assert ends[:, 1] == pytest.approx(binom.ppf([0.025, 0.975], 20, p) / 20, abs=0.1001)  # two counts of 20


def test_the_quartiles_of_residuals_are_those_of_equal_bins(linear):
    (ax,) = plots.plot_residuals(linear)
    x, residuals = by_look(ax, marker="o", color=GREY)[0].get_data()
    parts = np.array_split(np.argsort(x, kind="stable"), 6)
    quartiles = np.array([np.quantile(residuals[part], [0.25, 0.5, 0.75]) for part in parts]).T
    lower, upper = by_look(ax, color=INK, linestyle="--")
    shown = [lower.get_ydata(), by_look(ax, color=ACCENT)[0].get_ydata(), upper.get_ydata()]
    assert np.array(shown) == pytest.approx(quartiles)


def test_sorted_residuals_are_over_the_normal_quantiles_of_their_places(linear):
    (ax,) = plots.plot_qq(linear)
    expected = ndtri((np.arange(48) + 0.5) / 48)
    at = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() != "None"])
    assert np.sort(at) == pytest.approx(expected)
    diagonal = by_look(ax, linestyle="--")[0]
    assert diagonal.get_xdata() == pytest.approx(diagonal.get_ydata())


def test_traces_are_the_draws_and_ranks_count_them_chain_by_chain(linear):
    left, right = plots.plot_traces(linear)[-2:]
    draws = linear.tree["posterior"]["sigma"].values
    assert [line.get_ydata() for line in left.lines] == [pytest.approx(chain) for chain in draws]
    ranks = rankdata(draws, method="ordinal").reshape(draws.shape)
    for c, patch in enumerate(right.patches[1:]):
        expected, _ = np.histogram(ranks[c] - 0.5, np.linspace(0, draws.size, RANK_BINS + 1))
        assert list(patch.get_data().values) == list(expected)
    band = right.patches[0].get_extents().transformed(right.transData.inverted())
    assert [band.y0, band.y1] == pytest.approx(binom.ppf([(1 - BAND) / 2, (1 + BAND) / 2], 200, 1 / RANK_BINS))


def test_energies_and_their_steps_are_drawn_to_one_scale(linear):
    axes = plots.plot_energy(linear)
    energy = linear.tree["sample_stats"]["energy"].values[1]
    light, dark = (patch.get_data() for patch in axes[1].patches)
    assert len(light.values) == ENERGY_BINS and (light.edges == dark.edges).all()
    for shown, values in ((light, energy - energy.mean()), (dark, np.diff(energy))):
        assert shown.values == pytest.approx(np.histogram(values, shown.edges, density=True)[0])


def test_the_forest_has_the_intervals_and_the_map_in_posterior_sds(linear):
    comparison = linear.compare(consistency=False)
    (ax,), table = plots.plot_comparison(comparison), comparison.table
    scaled = table[["lower", "upper", "map"]].sub(table["mean"], axis=0).div(table["sd"], axis=0)
    bars = next(c for c in ax.collections if len(c.get_paths()) == len(table))
    assert segments(bars)[..., 0] == pytest.approx(scaled[["lower", "upper"]].to_numpy())
    near = scaled["map"][scaled["map"].abs() <= REACH].to_numpy()  # the correlation of this posterior has hardly an sd
    assert len(near) >= 5 and by_look(ax, marker="x")[0].get_xdata() == pytest.approx(near)


def test_arrows_of_shrinkage_point_at_the_posterior_means_and_pooled_lines_are_where_they_are_said(linear, monkeypatch):
    monkeypatch.setattr(shrinkage, "SHORTEST", 0.0)
    ax = plots.plot_shrinkage(linear)[0]
    partial = linear.coef()["_g"].to_numpy() @ np.array([[1, 0], [linear.design.frame["x"].mean(), 1]])
    arrows = [text for text in ax.texts if text.arrow_patch is not None]
    assert arrows
    for arrow in arrows:
        assert np.abs(partial - arrow.xyann).sum(axis=1).min() > 0 and arrow.arrowprops["arrowstyle"] == "->"
        assert np.abs(partial - arrow.xy).sum(axis=1).min() == pytest.approx(0.0)
    single = posterior_near(bmm.Model("`y_$a^$` ~ x + (1 | `_g`)", frame()))
    (ax,) = plots.plot_shrinkage(single)
    pooled = np.polyfit(single.design.frame["x"], single.design.y, 1)[1]
    dashed = by_look(ax, color=GREY, linestyle="--")[0].get_ydata()
    assert dashed == pytest.approx([pooled, pooled])
    solid = by_look(ax, color=INK, linestyle="-")[0].get_ydata()
    assert solid == pytest.approx([single.fixef()["mean"]["Intercept"]] * 2)


def test_what_priors_expect_is_drawn_with_the_observed_responses_sorted_and_their_mean(linear):
    left, right = plots.plot_prior_predictive(linear.model, draws=60, seed=1)
    y = linear.design.y
    assert by_look(left, color=ACCENT)[0].get_ydata() == pytest.approx(np.sort(y))
    assert by_look(right, color=ACCENT)[0].get_xdata() == pytest.approx([y.mean()] * 2)
    drawn = linear.model.prior_predictive(60, 1)["prior_predictive"]["y"].values[0]
    wide, half = (np.quantile(np.sort(drawn, axis=1), p, axis=0) for p in ((0.025, 0.975), (0.25, 0.75)))
    for collection, ends, ink in zip(left.collections, (wide, half), (LIGHT, GREY), strict=True):
        edge = collection.get_paths()[0].vertices[:, 1]
        assert [edge.min(), edge.max()] == pytest.approx([ends[0].min(), ends[1].max()])
        assert matplotlib.colors.to_hex(collection.get_facecolor()[0]) == ink
