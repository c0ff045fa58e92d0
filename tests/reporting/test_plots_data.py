"""The figures that look at data: lines, shrinkage, residuals, predictive checks, priors, energies."""

from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fake_fits import fake_block, fake_design, fake_draws, fake_fit, fake_stats, posterior_near

import bayesmm as bmm
from bayesmm.design.parameters import Parameter
from bayesmm.display.figures import ACCENT, INK
from bayesmm.evaluation.prior_marginals import prior_marginal
from bayesmm.posterior.residuals import replicate_scores
from bayesmm.priors.prior import Prior
from bayesmm.reporting import plots
from bayesmm.reporting.plots.chosen import largest, said
from bayesmm.reporting.plots.lines import POINTS
from bayesmm.reporting.plots.residuals import ENVELOPE, envelope
from bayesmm.reporting.plots.shrinkage import complete_pooling, own_regressions


@pytest.fixture(autouse=True)
def headless():
    """Draw without a screen, and end with no figure open."""
    matplotlib.use("Agg", force=True)
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()  # a label that is wrong mathematics raises here
    plt.close("all")


def frame(groups=6, rows=8, seed=0):
    """Return a table whose groups have lines of their own, with names that are not to be read as mathematics."""
    rng = np.random.default_rng(seed)
    group, x = np.repeat(np.arange(groups), rows), np.tile(np.linspace(0, 3, rows), groups)
    a, b = 10 + 3 * rng.normal(size=groups), 2 + rng.normal(size=groups)
    y = a[group] + b[group] * x + 0.5 * rng.normal(size=groups * rows)
    return pd.DataFrame({"y_$a^$": y, "x": x, "_g": [f"$g_{g:03d}" for g in group]})


@pytest.fixture(scope="module")
def linear():
    """Return a posterior about the REML estimates of the lines."""
    return posterior_near(bmm.Model("`y_$a^$` ~ x + (x | `_g`)", frame()))


@pytest.fixture(scope="module")
def counted():
    """Return a posterior of counts about the ML estimates."""
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(8), 12)
    mean = np.exp(0.8 + 0.4 * rng.normal(size=8)[g])
    data = pd.DataFrame({"n": rng.poisson(mean), "x": rng.normal(size=96), "g": [f"g{i}" for i in g]})
    return posterior_near(bmm.Model("n ~ x + (1 | g)", data, "poisson"))


def by_look(ax, **look):
    """Return the lines of this colour, style or marker."""
    return [line for line in ax.lines if all(getattr(line, f"get_{k}")() == v for k, v in look.items())]


def heading(axes):
    return np.ravel(axes)[0].figure.get_suptitle()


# ----------------------------------------------------------------------------------------------------------------------
# which levels


def test_the_levels_with_the_most_rows_are_shown_and_it_is_said():
    block = SimpleNamespace(group="_g", levels=tuple("abcd"), index=np.array([0, 1, 1, 2, 2, 2, 3]))
    assert list(largest(block, 2)) == [1, 2]
    assert list(largest(block, 9)) == [0, 1, 2, 3]
    assert said(block, 4) == "4 levels of  _g"
    assert said(block, 2) == "the 2 levels of  _g with the most rows, of 4"
    assert "the first 5 of 18 levels of Subject (all with 10 rows)" == said(fake_block(), 5)


# ----------------------------------------------------------------------------------------------------------------------
# lines and shrinkage


def test_the_line_of_each_group_is_its_mean_along_x_with_its_rows(linear):
    axes = plots.plot_lines(linear)
    assert [ax.get_title(loc="left") for ax in axes] == [rf"\$g_{g:03d}" for g in range(6)]
    design, block = linear.design, linear.design.blocks[0]
    means = linear.coef()["_g"].to_numpy()
    for g, ax in enumerate(axes):
        (line,) = by_look(ax, color=INK, linestyle="-")
        x, y = line.get_data()
        assert len(x) == POINTS and (x[0], x[-1]) == (0.0, 3.0)
        # the figure has 400 of the 800 draws, whose sd is 1 % of the values: 5 standard errors are 0.1 %
        assert y == pytest.approx(means[g, 0] + means[g, 1] * x, rel=2e-3)
        (dots,) = by_look(ax, marker="o")
        assert np.array_equal(dots.get_ydata(), design.y[block.index == g])
        band = ax.collections[0].get_paths()[0].vertices
        assert band[:, 1].min() < y.min() and band[:, 1].max() > y.max()
    assert axes[0].get_ylim() == axes[5].get_ylim()
    assert heading(axes).startswith("Regressions: 6 levels of  _g")


def test_lines_of_counts_are_on_the_scale_of_the_response(counted):
    axes = plots.plot_lines(counted)
    assert all(by_look(ax, color=INK, linestyle="-")[0].get_ydata().min() > 0 for ax in axes)
    assert axes[0].get_ylabel() == "n" and axes[-1].get_xlabel() == "x"


def test_of_400_groups_20_lines_and_60_arrows_are_drawn():
    data = frame(400, 4)
    data = pd.concat([data, data[data["_g"].isin(["$g_123", "$g_399"])]])
    fit = posterior_near(bmm.Model("`y_$a^$` ~ x + (x | `_g`)", data), draws=50)
    axes = plots.plot_lines(fit)
    assert len(axes) == 20 and {r"\$g_123", r"\$g_399"} <= {ax.get_title(loc="left") for ax in axes}
    assert "the 20 levels of  _g with the most rows, of 400" in heading(axes).replace("\n", " ")
    ax = plots.plot_shrinkage(fit)[0]
    assert len(by_look(ax, marker="o", color="C0") or by_look(ax, marker="o")[0].get_xdata()) == 60


def test_no_numeric_predictor_is_an_error(linear):
    with pytest.raises(ValueError, match="x is 'z'; lines are drawn along one of x"):
        plots.plot_lines(linear, x="z")
    fit = posterior_near(bmm.Model("`y_$a^$` ~ 1 + (1 | `_g`)", frame()))
    with pytest.raises(ValueError, match="the model has no numeric predictor to draw lines along"):
        plots.plot_lines(fit)
    with pytest.raises(ValueError, match="group is 'h'; the grouping factors of this model are _g"):
        plots.plot_lines(linear, group="h")
    treated = frame().assign(b=lambda data: np.arange(len(data)) % 2 == 0)  # true or false is no number to go along
    fit = posterior_near(bmm.Model("`y_$a^$` ~ b + (1 | `_g`)", treated))
    with pytest.raises(ValueError, match="the model has no numeric predictor to draw lines along"):
        plots.plot_lines(fit)


def test_shrinkage_starts_at_each_groups_own_regression_and_ends_at_its_posterior_mean(linear):
    ax = plots.plot_shrinkage(linear)[0]
    data = linear.design.frame
    own = np.array([np.polyfit(part["x"], part["y_$a^$"], 1)[::-1] for _, part in data.groupby("_g", sort=True)])
    A = np.array([[1, data["x"].mean()], [0, 1]])  # the mean of y at the mean of x: intercept + slope * mean
    own = own @ A.T
    assert np.column_stack(by_look(ax, marker="D")[0].get_data()) == pytest.approx(own)
    partial = linear.coef()["_g"].to_numpy() @ A.T
    assert np.column_stack(by_look(ax, marker="o")[0].get_data()) == pytest.approx(partial)
    pooled = A @ np.polyfit(data["x"], data["y_$a^$"], 1)[::-1]
    assert np.ravel(by_look(ax, marker="X")[0].get_data()) == pytest.approx(pooled)
    assert np.ravel(by_look(ax, marker="P")[0].get_data()) == pytest.approx(A @ linear.fixef()["mean"].to_numpy())
    assert ax.get_xlabel().startswith("Mean at average x")
    assert [text.get_text() for text in ax.texts if text.get_text()] == [rf"\$g_{g:03d}" for g in range(6)]


def test_the_ellipse_holds_95_percent_of_the_groups(linear):
    ax = plots.plot_shrinkage(linear)[0]
    around = np.column_stack(by_look(ax, linestyle="--")[0].get_data())
    sds, R = (linear.tree["posterior"][name].mean(("chain", "draw")).values for name in ("sd__g", "corr__g"))
    A = np.array([[1, linear.design.frame["x"].mean()], [0, 1]])
    Sigma, centre = A @ (R * np.outer(sds, sds)) @ A.T, A @ linear.fixef()["mean"].to_numpy()
    distance = np.einsum("ni,ij,nj->n", around - centre, np.linalg.inv(Sigma), around - centre)
    assert distance == pytest.approx(5.991, rel=0.02)  # the 95 % quantile of chi-squared(2); sds vary by 1 %


def test_own_regressions_of_counts_solve_the_score_equations_and_a_group_of_zeros_has_none(counted):
    own = own_regressions(counted, 0, np.arange(8))
    design, slope = counted.design, counted.fixef()["mean"]["x"]
    for g in range(8):
        rows = design.blocks[0].index == g
        mean = np.exp(own[g, 0] + slope * design.X[rows, 1])
        assert mean.sum() == pytest.approx(design.y[rows].sum())
    beta = complete_pooling(counted, design.blocks[0])
    assert np.isfinite(beta).all()
    data = counted.design.frame.assign(n=lambda d: np.where(d["g"] == "g3", 0, d["n"]))
    fit = posterior_near(bmm.Model("n ~ x + (1 | g)", data, "poisson"))
    assert np.isnan(own_regressions(fit, 0, np.array([3]))).all()
    assert "1 with no estimate of its own" in heading(plots.plot_shrinkage(fit)).replace("\n", " ")


# ----------------------------------------------------------------------------------------------------------------------
# residuals


def test_residuals_are_drawn_at_their_fitted_means(linear):
    ax = plots.plot_residuals(linear)[0]
    dots = by_look(ax, marker="o")[0]
    design, block = linear.design, linear.design.blocks[0]
    b = linear.coef()["_g"].to_numpy()[block.index]
    fitted = b[:, 0] + b[:, 1] * design.X[:, 1]
    assert dots.get_xdata() == pytest.approx(fitted, rel=2e-3)
    sigma = float(linear.sigma()["mean"].iloc[0])
    assert dots.get_ydata() == pytest.approx((design.y - fitted) / sigma, abs=1e-6)
    (medians,) = by_look(ax, color=ACCENT)
    assert len(medians.get_xdata()) == 6  # 48 rows, 8 in each bin


def test_a_bend_shows_in_the_medians():
    data = frame(6, 30).assign(
        **{"y_$a^$": lambda d: 10 + 4 * (d["x"] - 1.5) ** 2 + 0.1 * np.sin(99 * d["x"]) + d["x"]}
    )
    fit = posterior_near(bmm.Model("`y_$a^$` ~ x + (1 | `_g`)", data))
    medians = by_look(plots.plot_residuals(fit)[0], color=ACCENT)[0].get_ydata()
    assert min(medians[0], medians[-1]) > 0.5 > -0.5 > medians[len(medians) // 2]


def test_the_envelope_holds_all_normal_samples_at_its_probability():
    for n in (12, 200):
        low, high, places = envelope(n)
        rng, inside = np.random.default_rng(5), 0
        for _ in range(1000):
            sample = np.sort(rng.standard_normal(n))
            sample = (sample / sample.std())[places]
            inside += bool(((sample >= low) & (sample <= high)).all())
        # binomial sd of 0.007 for the 1,000, and as much for the 999 that made the envelope: 4 of sqrt(2) * 0.007
        assert inside / 1000 == pytest.approx(ENVELOPE, abs=0.04)


def test_an_outlier_is_marked_outside_the_envelope():
    good = posterior_near(bmm.Model("`y_$a^$` ~ x + (x | `_g`)", frame(12, 10)))
    axes = plots.plot_qq(good)
    assert "all inside the envelope" in heading(axes).replace("\n", " ")
    data = frame(12, 10)
    data.loc[40, "y_$a^$"] += 8.0
    axes = plots.plot_qq(posterior_near(bmm.Model("`y_$a^$` ~ x + (x | `_g`)", data)))
    (marked,) = by_look(axes[0], marker="D")
    assert marked.get_xdata()[-1] == max(line.get_xdata().max() for line in axes[0].lines)
    assert f"{len(marked.get_xdata())} outside the envelope" in heading(axes)


def test_quantile_residuals_of_counts_are_normal_when_the_model_holds(counted):
    axes = plots.plot_qq(counted)
    assert "all inside the envelope" in heading(axes).replace("\n", " ")
    assert "quantile residual" in axes[0].get_ylabel()


def test_scores_of_replicates_are_normal_with_ties_and_without():
    rng = np.random.default_rng(6)
    for replicated in (rng.poisson(0.5, (200, 300)), rng.normal(size=(200, 300))):
        scores = np.sort(replicate_scores(replicated).ravel())
        # 60,000 normal numbers, evenly spread in each row: the 1 in 1,000 at either end within 5 of their errors
        assert scores[60] == pytest.approx(-3.09, abs=0.2) and scores[-61] == pytest.approx(3.09, abs=0.2)
        assert scores.std() == pytest.approx(1.0, abs=0.01)


def test_quantile_residuals_are_those_of_new_groups():
    """Two rows a group: fitted effects follow their rows, which would all be inside and the line too flat."""
    rng, G = np.random.default_rng(4), 300
    g, x = np.repeat(np.arange(G), 2), rng.normal(size=2 * G)
    y = rng.poisson(np.exp(1.0 + 0.3 * x + rng.normal(0, 0.8, G)[g]))
    fit = posterior_near(bmm.Model("n ~ x + (1 | g)", pd.DataFrame({"n": y, "x": x, "g": g}), "poisson"))
    axes = plots.plot_qq(fit)
    assert "all inside the envelope" in heading(axes).replace("\n", " ")
    shown = np.concatenate([line.get_ydata() for line in by_look(axes[0], marker="o")])
    assert shown.std() == pytest.approx(1.0, abs=0.1)  # 600 rows in 300 groups: its own sd is below 0.04
    medians = by_look(plots.plot_residuals(fit)[0], color=ACCENT)[0].get_ydata()
    assert np.abs(medians).max() < 0.6  # of 50 rows each; over fitted effects they rise from below -0.6 to above


def test_a_wrong_distribution_of_counts_is_outside_the_envelope():
    rng, G = np.random.default_rng(5), 40
    g = np.repeat(np.arange(G), 10)
    y = rng.poisson(np.exp(1.0 + rng.normal(0, 0.3, G)[g]) * rng.gamma(0.7, 1 / 0.7, 10 * G))
    fit = posterior_near(bmm.Model("n ~ 1 + (1 | g)", pd.DataFrame({"n": y, "g": g}), "poisson"))
    assert " outside the envelope" in heading(plots.plot_qq(fit))


def test_what_needs_the_random_effects_says_so():
    draws = {name: value for name, value in fake_draws(fake_design()).items() if not name.startswith("b_")}
    fit = fake_fit(draws=draws)
    for draw in (plots.plot_residuals, plots.plot_qq, plots.plot_predictive, plots.plot_shrinkage):
        with pytest.raises(ValueError, match="keep_effects"):
            draw(fit)


# ----------------------------------------------------------------------------------------------------------------------
# predictive checks


def test_the_rootogram_has_the_observed_counts_and_marks_those_outside(counted):
    (ax,) = plots.plot_predictive(counted)
    y = counted.design.y
    heights = [patch.get_height() for patch in ax.patches]
    assert heights[: int(y.max()) + 1] == list(np.bincount(y.astype(int)))
    assert sum(heights) == len(y)
    assert len(by_look(ax, marker="D")[0].get_xdata()) <= 2  # of 12 bars or so, each outside 1 time in 20
    excess = counted.design.frame.assign(n=lambda d: np.where(np.arange(len(d)) % 2 == 0, 0, d["n"] + 2))
    (ax,) = plots.plot_predictive(posterior_near(bmm.Model("n ~ x + (1 | g)", excess, "poisson")))
    assert 0.0 in by_look(ax, marker="D")[0].get_xdata()


def test_the_density_of_the_responses_is_over_that_of_replicates_and_by_group_each_has_its_rows(linear):
    (ax,) = plots.plot_predictive(linear)
    x, height = by_look(ax, color=ACCENT)[0].get_data()
    assert np.trapezoid(height, x) == pytest.approx(1.0, abs=0.02)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() > height.max() / 2
    axes = plots.plot_predictive(linear, group="_g")
    assert len(axes) == 6 and "by 6 levels of  _g" in heading(axes)
    marks = by_look(axes[2], marker="|")[0].get_xdata()  # 8 rows are too few for a density
    assert np.array_equal(marks, linear.design.y[linear.design.blocks[0].index == 2])


def test_a_response_of_0_and_1_is_drawn_as_shares_of_its_fitted_probabilities():
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(10), 20), rng.normal(size=200)
    y = rng.random(200) < 1 / (1 + np.exp(-1.5 * x))
    fit = posterior_near(bmm.Model("y ~ x + (1 | g)", pd.DataFrame({"y": y.astype(int), "x": x, "g": g}), "bernoulli"))
    (ax,) = plots.plot_predictive(fit)
    shares = [line.get_ydata()[0] for line in by_look(ax, marker="o")]
    assert len(shares) == 10 and np.mean(shares) == pytest.approx(y.mean())
    assert ax.get_xlabel() == "fitted probability"


# ----------------------------------------------------------------------------------------------------------------------
# priors, energies, forest


def test_the_prior_is_drawn_as_its_density_and_the_intercept_where_its_prior_is(linear):
    axes = plots.plot_priors(linear)
    names = [ax.get_title(loc="left") for ax in axes]
    at_means = [f"{place} at the means" for place in ("sd__g[Intercept]", "sd__g[x]", "corr__g[Intercept, x]")]
    assert names == ["Intercept_centred", "beta[x]", *at_means, "sigma"]
    x, height = by_look(axes[1], linestyle="--", color=ACCENT)[0].get_data()
    assert height == pytest.approx(np.exp(linear.model.priors["beta[x]"].logpdf(x)))
    mean = by_look(axes[0], marker="o")[0].get_xdata()[0]
    fixed = linear.fixef()["mean"]
    assert mean == pytest.approx(fixed["Intercept"] + fixed["x"] * linear.design.X[:, 1].mean())
    assert "as wide as the prior" in axes[3].texts[0].get_text()
    assert axes[3].get_xlim()[0] >= -0.1 * axes[3].get_xlim()[1]


def test_flat_and_custom_priors_are_named(linear):
    priors = {"beta": Prior("Flat"), "sigma": 0.5}
    model = bmm.Model("`y_$a^$` ~ x + (x | `_g`)", frame(), priors=priors)
    axes = plots.plot_priors(posterior_near(model, sigma=0.5, fixed=("sigma",)))
    assert axes[1].texts[0].get_text() == "its prior is flat"
    assert "held fixed by its prior" in axes[5].texts[0].get_text()


def test_the_prior_of_one_correlation_of_three_is_the_marginal_of_lkj():
    block = fake_block(columns=("a", "b", "c"), partition=((0, 1, 2),))
    design = fake_design([block])
    found = prior_marginal(design, {"corr_Subject": Prior("LKJ", eta=1.0)}, Parameter("corr", "r", 0, (0, 1)))
    # uniform over correlation matrices: of uniform triples, those with a positive determinant
    r = np.random.default_rng(0).uniform(-1, 1, size=(200_000, 3))
    kept = r[1 + 2 * r.prod(axis=1) - (r**2).sum(axis=1) > 0, 0]
    for p in (0.1, 0.3, 0.8):
        # 120,000 draws: the error of a quantile is sqrt(p (1 - p) / n) / density, at most 0.003; 4 of them
        assert found.quantile(p) == pytest.approx(np.quantile(kept, p), abs=0.012)


def test_energies_show_each_chains_e_bfmi():
    stats = fake_stats()
    stats["energy"][2] = np.cumsum(stats["energy"][2]) * 3
    axes = plots.plot_energy(fake_fit(stats=stats))
    assert len(axes) == 4
    assert "too low" in axes[2].get_title(loc="left") and "too low" not in axes[0].get_title(loc="left")
    with pytest.raises(ValueError, match="recorded no energies"):
        plots.plot_energy(fake_fit(stats=None))


def test_the_forest_takes_a_fit_too():
    fit = fake_fit()
    (ax,) = plots.plot_comparison(fit)
    assert by_look(ax, marker="D")[0].get_xdata() == pytest.approx(
        -fit.compare(consistency=False).table["difference"].to_numpy()
    )


def test_plots_is_a_public_name():
    assert bmm.plots is plots
    assert set(plots.__all__) <= set(dir(plots))
