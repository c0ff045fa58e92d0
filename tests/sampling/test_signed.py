"""Sds of either sign: the same density, whose draws are turned back into sds, correlations and effects."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import bayesmm as bmm
from bayesmm.likelihood.coordinates import SIGNED
from bayesmm.likelihood.marginal import generalised_structure
from bayesmm.priors import prior_design
from bayesmm.sampling.joint import joint_posterior, ready
from bayesmm.sampling.mode import Mode
from bayesmm.sampling.signed import crossing, in_logarithms
from bayesmm.storage.runs import Run

G, H = 5, 4


def data():
    rng = np.random.default_rng(3)
    x, g, h = rng.normal(size=60).round(1), np.arange(60) % G, np.arange(60) % H
    return pd.DataFrame({"x": x, "g": g, "h": h, "count": rng.poisson(np.exp(0.3 * x))})


def both(chosen):
    """Return the posterior of a model in logarithms and that in which the sds `chosen` have a sign."""
    model = bmm.Model("count ~ x + (x | g) + (1 | h)", data(), "poisson")
    own = prior_design(model.design, model.priors)
    given = model.design, own, model.priors, (False, False)
    return joint_posterior(*given), joint_posterior(*given, None, chosen)


def drawn(x):
    return Run(xr.Dataset({"x": (("chain", "draw", "place"), x[None])}), xr.Dataset(), False)


@pytest.mark.parametrize("chosen", [(0,), (1, 2), (0, 1, 2)])
def test_a_sign_changes_no_density_and_is_turned_into_that_of_effects_and_correlations(chosen):
    plain, signed = both(chosen)
    structure = generalised_structure(bmm.Model("count ~ x + (x | g) + (1 | h)", data(), "poisson").design)
    c, x = plain.coordinates, 0.4 * np.random.default_rng(1).normal(size=(8, plain.size))
    at = c.at[list(chosen)]
    whole = x.copy()
    whole[:, at] = np.exp(whole[:, at])
    # the density of x is that of log x, less the Jacobian
    np.testing.assert_allclose(signed.many(whole), plain.many(x) - x[:, at].sum(axis=1), rtol=1e-12)
    flipped, (pair,), t = whole.copy(), c.pair_at, plain.size - 2 * G - H
    terms = ((0, slice(t, t + 2 * G, 2)), (1, slice(t + 1, t + 2 * G, 2)), (2, slice(t + 2 * G, None)))
    for scalar, effects in terms:
        if scalar in chosen:
            flipped[:, c.at[scalar]] *= -1
            flipped[:, effects] *= -1
            flipped[:, pair] *= -1 if scalar < 2 else 1
    np.testing.assert_allclose(signed.many(flipped), signed.many(whole), rtol=1e-12)
    for values in (whole, flipped):
        back = in_logarithms(drawn(values), c, chosen, structure, (G, H)).posterior["x"].to_numpy()[0]
        np.testing.assert_allclose(back, x, atol=1e-12)


@pytest.mark.parametrize("bars", ["(1 | h) + cs(0 + t | g)", "cs(0 + t | g) + (1 | h)"])
def test_effects_of_a_covariance_structure_keep_their_signs(bars):
    """All effects are coordinates, the sds of a structure are none of the scalars: both moved the places once."""
    table = data().assign(t=np.where(np.arange(60) % 3 == 0, "u", "v"))
    model = bmm.Model(f"count ~ x + {bars}", table, "poisson")
    own = prior_design(model.design, model.priors)
    given, structure = (model.design, own, model.priors, (False, False)), generalised_structure(own)
    plain, signed = joint_posterior(*given), joint_posterior(*given, None, (0,))
    c, x = plain.coordinates, 0.4 * np.random.default_rng(1).normal(size=(8, plain.size))
    whole, first = x.copy(), plain.size - 2 * G - H + (2 * G if bars.startswith("cs") else 0)
    whole[:, c.at[0]] = np.exp(whole[:, c.at[0]])
    flipped = whole.copy()
    flipped[:, c.at[0]] *= -1
    flipped[:, first : first + H] *= -1
    np.testing.assert_allclose(signed.many(flipped), signed.many(whole), rtol=1e-12)
    levels = [len(block.levels) for block in model.design.blocks]
    back = in_logarithms(drawn(flipped), c, (0,), structure, levels).posterior["x"].to_numpy()[0]
    np.testing.assert_allclose(back, x, atol=1e-12)


def test_only_sds_of_free_blocks_are_given_a_sign():
    """With the structure first, the family's shape was taken for the sd that comes after it."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {"g": np.arange(240) % 12, "h": np.arange(240) % 8, "t": np.where(np.arange(240) % 5, "u", "v")}
    )
    table["count"] = rng.negative_binomial(2, 0.3, 240)
    for bars in ("cs(0 + t | g) + (1 | h)", "(1 | h) + cs(0 + t | g)"):
        model = bmm.Model(f"count ~ 1 + {bars}", table, "negbinomial")
        made = ready(model.design, model.priors, lambda rule: [False, False], {}).model
        signed = [
            name for name, kind in zip(made.places, made.posterior.coordinates.kind, strict=False) if kind == SIGNED
        ]
        assert signed == ["sd_h[Intercept]"]


def test_a_centred_column_behind_a_structure_is_given_no_sign():
    """What is sampled of the block has the columns without a structure alone, and other numbers of them."""
    table = data().assign(t=np.where(np.arange(60) % 3 == 0, "u", "v"))
    model = bmm.Model("count ~ x + cs(0 + t | g) + (x | g)", table, "poisson")
    own = prior_design(model.design, model.priors)
    structure = generalised_structure(own)
    c = joint_posterior(model.design, own, model.priors, [(False,) * 4]).coordinates
    mode = Mode(np.zeros(c.sizes[2]), np.eye(c.sizes[2]), 0.0)
    assert structure.kept[0].tolist() == [2, 3]
    for flags, expected in (((False, False, True, True), 0), ((True, True, False, False), 2)):
        assert len(crossing(structure, model.priors, c, mode, [0], [flags])) == expected


def test_the_gradient_goes_on_through_0():
    _, signed = both((0, 1, 2))
    x = 0.4 * np.random.default_rng(2).normal(size=signed.size)
    for value in (-0.3, 0.0, 1e-8):
        x[0] = value
        rises = [(signed(x + h)[0] - signed(x - h)[0]) / 2e-5 for h in 1e-5 * np.eye(len(x))]
        np.testing.assert_allclose(signed(x)[1], rises, rtol=1e-6, atol=1e-6)


def made(model, centred=False):
    return ready(model.design, model.priors, lambda rule: [centred] * len(model.design.blocks), {})


def kinds(model, centred=False):
    return made(model, centred).model.posterior.coordinates.kind[:1].tolist()


def test_sds_have_a_sign_where_0_is_within_reach_and_their_prior_is_smooth_there():
    rng = np.random.default_rng(5)
    g = np.arange(400) % 20
    table = {"g": g, "none": rng.poisson(2.0, 400), "much": rng.poisson(np.exp(1 + 1.5 * rng.normal(size=20)[g]))}

    def model(response, prior=None):
        return bmm.Model(f"{response} ~ 1 + (1 | g)", table, "poisson", {"sd": prior} if prior else None)

    assert kinds(model("none")) == [SIGNED]
    assert kinds(model("none", bmm.Prior("HalfNormal", sigma=1.0))) == [SIGNED]
    for other in (bmm.Prior("Exponential", lam=1.0), bmm.Prior("Gamma", alpha=2.0, beta=1.0)):
        assert kinds(model("none", other)) != [SIGNED]
    assert kinds(model("none"), centred=True) != [SIGNED]
    assert kinds(model("much")) != [SIGNED]


def test_a_draw_is_reported_the_same_whatever_its_sign():
    model = bmm.Model("count ~ x + (1 | h)", data(), "poisson")
    own = made(model)
    assert own.model.posterior.coordinates.kind[0] == SIGNED
    x = own.at.centre.copy()
    other = x.copy()
    other[[0, *range(len(x) - H, len(x))]] *= -1
    trees = [own.tree(own.model, Run(drawn(v[None]).posterior, xr.Dataset(), False))["posterior"] for v in (x, other)]
    for name in ("sd_h", "b_h", "beta"):
        np.testing.assert_array_equal(trees[0][name], trees[1][name])
    assert trees[0]["sd_h"].item() == pytest.approx(abs(x[0]))


def test_the_posterior_of_an_sd_near_0_is_that_of_a_grid():
    """Of 12 groups of 10 coins, the intercept taken out by another grid: within 4.5 Monte Carlo errors."""
    rng = np.random.default_rng(8)
    g, y = np.arange(120) % 12, rng.integers(0, 2, 120)
    priors = {"sd": bmm.Prior("HalfNormal", sigma=1.0), "Intercept": bmm.Prior("Normal", mu=0.0, sigma=1.5)}
    fit = bmm.Model("y ~ 1 + (1 | g)", {"y": y, "g": g}, "bernoulli", priors).sample(
        effects="explicit", centred=False, seed=3, progress=False
    )
    sd, beta, z = np.linspace(0, 4, 201), np.linspace(-3, 3, 121), np.linspace(-6, 6, 121)
    successes = np.bincount(g, y)
    eta = beta[:, None, None] + sd[:, None] * z
    log_p = successes[:, None, None, None] * eta - 10 * np.logaddexp(0, eta)
    inner = np.log((np.exp(log_p) * stats.norm.pdf(z)).sum(axis=-1)).sum(axis=0)
    p = np.exp(inner + stats.norm.logpdf(beta, 0, 1.5)[:, None] + stats.norm.logpdf(sd)).sum(axis=0)
    p[0] /= 2  # the end of the trapezoidal rule
    p /= p.sum()
    mean, found = p @ sd, fit.summary().loc["sd_g[Intercept]"]
    spread = np.sqrt(p @ sd**2 - mean**2)
    assert found["ess_bulk"] > 1000  # in logarithms about half as many
    assert found["mean"] == pytest.approx(mean, abs=4.5 * spread / np.sqrt(found["ess_bulk"]))
    assert found["sd"] == pytest.approx(spread, rel=4.5 / np.sqrt(found["ess_bulk"]))
