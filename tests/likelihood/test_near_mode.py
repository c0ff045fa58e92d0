"""Polynomials in the place of the random effects, near a posterior's mode: against the exact posterior."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmm as bmm
from bayesmm.likelihood import box, eliminated
from bayesmm.likelihood import near_mode as near
from bayesmm.likelihood.conditional_gaussian import recover
from bayesmm.likelihood.eliminated import is_costly, polynomials
from bayesmm.likelihood.gaussian import relative_sds
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.interpolated_likelihood import whole_likelihood
from bayesmm.likelihood.marginal import generalised, marginal, terms
from bayesmm.likelihood.near_mode import natural_parameters, near_mode
from bayesmm.likelihood.packed import unpacked
from bayesmm.likelihood.posterior import Parameters, PosteriorData, SearchedPosterior
from bayesmm.priors import prior_design
from bayesmm.runtime.threads import in_threads
from bayesmm.sampling.marginal import centre, units
from bayesmm.sampling.mode import find_mode

STUDENT = bmm.Prior("StudentT", nu=4, mu=0, sigma=1)
FORMULAS = {
    "slopes": ("y ~ x + (x | g)", {}),
    "independent": ("y ~ x + (x || g)", {}),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", {}),
    "crossed slopes": ("y ~ x + f + (x | g) + (1 | h)", {"weights": "w"}),
    "nested": ("y ~ x + (1 | h / k)", {}),
    "an sd that may be 0": ("y ~ x + (1 | g) + (1 | k2)", {}),
    "known errors": ("y | se(w) ~ x + (1 | g)", {}),
    "a prior that is not normal": (
        "y ~ x + (1 | g)",
        {"priors": {"beta[x]": bmm.Prior("StudentT", nu=4, mu=0, sigma=1)}},
    ),
    "flat priors": ("y ~ x + (x | g)", {"priors": {"beta": bmm.Prior("Flat"), "Intercept": bmm.Prior("Flat")}}),
    "a coefficient that is fixed": ("y ~ x + (1 | g)", {"priors": {"beta[x]": bmm.Prior("Fixed", value=0.5)}}),
    "an sd that is fixed": ("y ~ x + (x || g)", {"priors": {"sd_g[x]": bmm.Prior("Fixed", value=0.7)}}),
    "no coefficients": ("y ~ 0 + (1 | g)", {}),
}


def data(seed=1, G=80, n=900):
    rng = np.random.default_rng(seed)
    g, h, x = rng.integers(G, size=n), rng.integers(30, size=n), rng.normal(size=n)
    g[:G] = np.arange(G)
    frame = pd.DataFrame({"g": g, "h": h, "x": x, "w": rng.uniform(0.5, 2, n), "k": rng.integers(3, size=n)})
    frame["f"], frame["k2"] = np.array(list("uvw"))[rng.integers(3, size=n)], np.arange(n) * 7 % 40
    b = rng.multivariate_normal([0, 0], [[1, 0.3], [0.3, 0.5]], G)
    frame["y"] = 2 + 0.5 * x + b[g, 0] + b[g, 1] * x + rng.normal(size=30)[h] + rng.normal(size=n)
    return frame


def at_its_mode(formula, options, frame=None):
    model = bmm.Model(formula, data() if frame is None else frame, **options)
    own = marginal(model.design, model.priors, model._integrated)
    return model, own, find_mode(own.posterior, centre(own, model.priors), units(own, model.priors))


def taken_always(monkeypatch):
    monkeypatch.setattr(eliminated, "COSTLY", 0.0)
    monkeypatch.setattr(eliminated, "most_terms", lambda cp: 12_000)
    monkeypatch.setattr(near, "COSTLY_GRADIENT", 0.0)


@pytest.fixture
def always(monkeypatch):
    """Polynomials whatever an evaluation costs."""
    taken_always(monkeypatch)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", FORMULAS)
def test_the_density_and_its_gradient_are_those_of_the_exact_posterior(name):
    _, own, mode = at_its_mode(*FORMULAS[name])
    made = near_mode(own, mode.x, mode.factor)
    assert made is not own.posterior
    x = mode.x + 1.2 * np.random.default_rng(2).standard_normal((60, len(mode.x))) @ mode.factor.T
    # ten times what is promised of terms that were left out: their number is not one
    np.testing.assert_allclose(made.many(x), own.posterior.many(x), rtol=0, atol=1e-6)
    for at in x[:20]:
        value, slope = made(at)
        exact, expected = own.posterior(at)
        assert value == pytest.approx(exact, abs=1e-6)
        # in sds; a polynomial's slope misses by its error times its degree squared, at most (Markov)
        np.testing.assert_allclose(slope @ mode.factor, expected @ mode.factor, atol=1e-4)


@pytest.mark.usefixtures("always")
def test_the_density_is_the_normal_one_that_scipy_has():
    model, own, mode = at_its_mode("y ~ x + (x | g)", {}, data(G=12, n=60))
    made = near_mode(own, mode.x, mode.factor)
    design = prior_design(model.design, model.priors)
    sds = [model.priors[place].parameters["sigma"] for place in ("Intercept_centred", "beta[x]")]
    Z = design.blocks[0].Z[:, :, None] * (design.blocks[0].index[:, None] == np.arange(12))[:, None, :]
    centre_at = model.priors["Intercept_centred"].parameters["mu"]

    def exact(x):
        at = natural_parameters(own, x[None])
        L = at.L[0].reshape(2, 2)
        V = np.einsum("niG,ij,mjG->nm", Z, L @ L.T, Z) + at.positive[0, 0] ** 2 * np.eye(60)
        V += design.X @ np.diag(np.square(sds)) @ design.X.T
        return stats.multivariate_normal(design.X[:, 0] * centre_at, V).logpdf(design.y)

    c = own.posterior.coordinates
    nothing = Parameters(np.zeros(4), np.zeros(1), np.zeros(0))
    prior = SearchedPosterior(c, lambda at: (0.0, nothing))  # log prior and Jacobian alone
    for x in mode.x + np.random.default_rng(3).standard_normal((10, len(mode.x))) @ mode.factor.T:
        assert made(x)[0] == pytest.approx(exact(x) + prior(x)[0], abs=1e-6)
    differences = [(made(mode.x + h)[0] - made(mode.x - h)[0]) / 2e-5 for h in 1e-5 * np.eye(len(mode.x))]
    np.testing.assert_allclose(made(mode.x)[1], differences, atol=1e-4)  # of differences: 1e-10 / 1e-5 and less


@pytest.mark.usefixtures("always")
def test_outside_of_the_box_it_is_the_exact_posterior():
    _, own, mode = at_its_mode("y ~ x + (x | g)", {})
    made = near_mode(own, mode.x, mode.factor)
    assert made is not own.posterior
    for far in (9.0, -9.0):
        x = mode.x + far * mode.factor @ np.array([1.0, 0, 0, 0])
        assert made(x)[0] == own.posterior(x)[0]
        np.testing.assert_array_equal(made(x)[1], own.posterior(x)[1])


def test_cheap_posteriors_and_those_of_many_entries_stay_as_they_are():
    _, own, mode = at_its_mode("y ~ x + (x | g)", {})
    problem = own.integrated.problem
    assert not is_costly(problem.cp, problem.theta)
    assert near_mode(own, mode.x, mode.factor) is own.posterior


@pytest.mark.usefixtures("always")
def test_polynomials_that_miss_are_not_used(monkeypatch):
    _, own, mode = at_its_mode("y ~ x + (x | g)", {})
    true = eliminated.interpolated

    def wrong(*arguments):
        found = true(*arguments)
        return replace(found, terms=found.terms * (1 + 1e-6))

    monkeypatch.setattr(eliminated, "interpolated", wrong)
    assert near_mode(own, mode.x, mode.factor) is own.posterior


@pytest.mark.usefixtures("always")
def test_a_posterior_that_reaches_down_to_0_is_right_too():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"y": rng.normal(size=200), "x": rng.normal(size=200), "g": rng.integers(20, size=200)})
    _, own, mode = at_its_mode("y ~ x + (1 | g)", {}, frame)
    made = near_mode(own, mode.x, mode.factor)
    assert made is not own.posterior
    x = mode.x + 2 * rng.standard_normal((100, len(mode.x))) @ mode.factor.T
    np.testing.assert_allclose(made.many(x), own.posterior.many(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampler", ["nutpie", "importance"])
def test_the_draws_are_those_of_the_exact_posterior(monkeypatch, sampler):
    model = bmm.Model("y ~ x + (x | g)", data())
    exact = model.sample(seed=1, sampler=sampler, progress=False, keep_effects=False).summary()
    taken_always(monkeypatch)
    calls, true = [], eliminated.interpolated
    monkeypatch.setattr(eliminated, "interpolated", lambda *own: calls.append(1) or true(*own))
    own = model.sample(seed=2, sampler=sampler, progress=False, keep_effects=False).summary()
    assert calls
    assert min(exact["ess_bulk"].min(), own["ess_bulk"].min()) > 2000
    mcse = np.hypot(exact["sd"] / np.sqrt(exact["ess_bulk"]), own["sd"] / np.sqrt(own["ess_bulk"]))
    assert (np.abs(exact["mean"] - own["mean"]) < 5 * mcse).all()
    np.testing.assert_allclose(own["sd"], exact["sd"], rtol=5 * np.sqrt(2 / 2 / 2000))  # of an sd: 1 / sqrt(2 n)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", ["slopes", "crossed slopes", "a prior that is not normal", "flat priors"])
def test_coefficients_come_back_as_from_the_exact_distribution(name):
    _, own, mode = at_its_mode(*FORMULAS[name])
    rng, problem, sd = np.random.default_rng(6), own.integrated.problem, own.integrated.sd
    x = mode.x + np.repeat([1.0, 4.0], [180, 20])[:, None] * rng.standard_normal((200, len(mode.x))) @ mode.factor.T
    at, way = natural_parameters(own, x), terms(own.integrated)
    T, sigma, mean = at.L[:, way.take] * way.scale / at.positive[:, :1], at.positive[:, 0], np.zeros((200, len(sd)))
    mean[:, way.sampled] = at.coefficients - way.at
    near = polynomials(problem.cp, problem.theta.free, T[:100], 1.0, FixedPrior(mean[0], *relative_sds(sd, 1.0)))
    assert not near.left.box.has(T).all()  # the others are taken exactly
    given = problem.cp, T, sigma, mean, sd
    exact = recover(*given, np.random.default_rng(1), keep_effects=False).fixed
    found = recover(*given, np.random.default_rng(1), keep_effects=False, near=near).fixed
    assert (near.left.box.has(T)).sum() > 150
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6 * exact.std(axis=0).max())


def test_chains_come_back_from_several_threads_as_from_one():
    model = bmm.Model("y ~ x + (x | g)", data(G=400, n=2400))
    own = marginal(model.design, model.priors, model._integrated)
    problem, T = own.integrated.problem, np.tile([0.9, 0.0, 0.2, 0.6], (30, 1))
    given = T, np.ones(30), np.zeros((30, 2)), own.integrated.sd
    alone = [recover(problem.cp, *given, np.random.default_rng(k)) for k in range(4)]
    for _ in range(5):
        cp = replace(problem.cp)  # whose words are not made yet: all threads ask for them at once
        together = in_threads(lambda k, cp=cp: recover(cp, *given, np.random.default_rng(k)), range(4))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one.fixed, other.fixed)
            np.testing.assert_array_equal(one.effects[0], other.effects[0])


GENERALISED = {
    "bernoulli": ("yes ~ x + (1 | g)", "bernoulli", {}),
    "poisson with slopes": ("count ~ x + (x || g)", "poisson", {}),
    "negative binomial": ("count ~ x + (1 | g)", "negbinomial", {"weights": "w"}),
    "gamma": ("size ~ x + (1 | g)", "gamma", {"link": "log"}),
    "no factor": ("count ~ x", "negbinomial", {}),
    "ordered": ("rating ~ x + (1 | g)", "cumulative", {}),
    "an sd that is fixed": ("count ~ x + (1 | g)", "poisson", {"priors": {"sd_g": bmm.Prior("Fixed", value=0.8)}}),
    "an sd that may be 0": ("noise ~ x + (1 | g)", "bernoulli", {}),
    "ordered, an sd that may be 0": ("sorted ~ x + (1 | g)", "cumulative", {}),
}


def responses(G=150, n=1200):
    rng, frame = np.random.default_rng(7), data(G=G, n=n)
    eta = 0.3 + 0.4 * frame["x"] + rng.normal(0, 0.7, G)[frame["g"]]
    frame["yes"], frame["count"] = rng.random(n) < 1 / (1 + np.exp(-eta)), rng.poisson(np.exp(eta))
    frame["size"], frame["noise"] = rng.gamma(2.0, np.exp(eta) / 2), rng.random(n) < 0.4
    frame["sorted"] = rng.integers(1, 4, n)
    frame["rating"] = 1 + (np.asarray(eta)[:, None] + rng.logistic(size=(n, 1)) > [-0.7, 0.9]).sum(axis=1)
    return frame


def of_family(name):
    formula, family, options = GENERALISED[name]
    model = bmm.Model(formula, responses(), family, **options)
    own = generalised(model.design, model.priors)
    return model, own, find_mode(own.posterior, centre(own, model.priors), units(own, model.priors))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", GENERALISED)
def test_generalised_densities_are_those_by_quadrature(name):
    _, own, mode = of_family(name)
    made = near_mode(own, mode.x, mode.factor)
    assert unpacked(made.words, PosteriorData).likelihood[0] == whole_likelihood().address
    x = mode.x + 1.2 * np.random.default_rng(2).standard_normal((60, len(mode.x))) @ mode.factor.T
    expected = own.posterior.many(x)
    # beyond the draws, where the density is e^-8 of its peak and less, the promise is that of the faces of the box
    promised = near.PRECISION * np.where(expected < expected.max() - 8, near.AT_EDGE, 1)
    assert (np.abs(made.many(x) - expected) < promised).all()
    for at in x[:10]:
        value, slope = made(at)
        exact, expected = own.posterior(at)
        assert value == pytest.approx(exact, abs=near.PRECISION)
        np.testing.assert_allclose(slope @ mode.factor, expected @ mode.factor, atol=0.05)  # in sds, see above
        step = 1e-5 * mode.factor[:, 0]
        rise = (made(at + step)[0] - made(at - step)[0]) / 2
        assert rise == pytest.approx(slope @ step, abs=1e-8)  # and exactly that of the polynomial


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    "of", [lambda: of_family("an sd that may be 0")[1:], lambda: at_its_mode(*FORMULAS["an sd that may be 0"])[1:]]
)
def test_down_to_a_variance_of_next_to_nothing_it_is_the_polynomial(of, monkeypatch):
    """Where the data allow 0, draws of the sd go there; without this each of them would cost an exact evaluation."""
    own, mode = of()
    boxes, true = [], box.box_around
    for where in (near, eliminated):
        monkeypatch.setattr(where, "box_around", lambda *given: boxes.append(true(*given)) or boxes[-1])
    made = near_mode(own, mode.x, mode.factor)
    (floor,) = boxes[0].floor[boxes[0].floor > 0]
    weak = int(np.argmax(np.abs(mode.factor).max(axis=1)))
    x = np.tile(mode.x, (8, 1))
    at = natural_parameters(own, x)
    sds = [
        at.L[0, entry] / (at.positive[0, 0] if own.integrated else 1) for entry in boxes[0].entry[boxes[0].floor > 0]
    ]
    x[:, weak] += np.log(np.linspace(0.03, 2, 8) * floor / sds[0])
    exact = own.posterior.settled(mode.x) if own.integrated is None else own.posterior
    missed = np.abs(made.many(x) - exact.many(x))
    assert (missed > 0).any() and (missed < (near.PRECISION if own.integrated is None else 1e-6)).all()
    for one in x[::3]:
        np.testing.assert_allclose(made(one)[1] @ mode.factor, exact(one)[1] @ mode.factor, atol=0.05)


def test_a_box_with_a_floor_has_the_parameters_back():
    rng = np.random.default_rng(3)
    T = np.column_stack([np.exp(rng.normal(-1, [0.2, 0.6, 0.6], (500, 3))), rng.normal(size=500)])
    entry, diagonal = np.arange(4), np.array([0, 1, 2, box.ALONE])
    made = box.box_around(entry, diagonal, T, T[0], factors=2)
    # the spread of the first is too small, and the third is no entry of a factor
    assert (made.floor > 0).tolist() == [False, True, False, False]
    inside = T[made.has(T)]
    inside[::2, 1] = np.linspace(0.03, 1, len(inside[::2])) * made.floor[1]
    np.testing.assert_allclose(made.parameters(made.places(inside)), inside, rtol=1e-9)
    assert made.has(inside[::2]).all() and not made.has(inside[:1] * [1, 0, 1, 1]).any()


@pytest.mark.usefixtures("always")
def test_a_generalised_density_is_exact_outside_of_the_box():
    _, own, mode = of_family("bernoulli")
    made, settled = near_mode(own, mode.x, mode.factor), own.posterior.settled(mode.x)
    for far in (9.0, -9.0):
        x = mode.x + far * mode.factor[:, 0]
        assert made(x)[0] == settled(x)[0]
        np.testing.assert_array_equal(made(x)[1], settled(x)[1])


@pytest.mark.parametrize("name", ["bernoulli", "gamma"])
def test_generalised_draws_are_those_by_quadrature(monkeypatch, name):
    formula, family, options = GENERALISED[name]
    model = bmm.Model(formula, responses(), family, **options)
    fits = []
    for cost, seed in ((np.inf, 1), (0.0, 2)):
        monkeypatch.setattr(near, "COSTLY_GRADIENT", cost)
        fits.append(model.sample(seed=seed, effects="marginal", progress=False, keep_effects=False).summary())
    exact, own = fits
    assert min(exact["ess_bulk"].min(), own["ess_bulk"].min()) > 2000
    mcse = np.hypot(exact["sd"] / np.sqrt(exact["ess_bulk"]), own["sd"] / np.sqrt(own["ess_bulk"]))
    assert (np.abs(exact["mean"] - own["mean"]) < 5 * mcse).all()
    np.testing.assert_allclose(own["sd"], exact["sd"], rtol=5 * np.sqrt(2 / 2 / 2000))


def test_polynomials_are_refused_where_they_would_cost_more_than_they_save():
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"g": rng.integers(240, size=2000), "h": rng.integers(240, size=2000)})
    frame["f"], frame["y"] = rng.integers(300, size=2000).astype(str), rng.normal(size=2000)
    few, many = (bmm.Model(f"y ~ {fixed} + (1 | g) + (1 | h)", frame)._integrated.problem for fixed in ("1", "f"))
    assert is_costly(few.cp, few.theta)
    assert not is_costly(many.cp, many.theta)


def test_a_fit_without_random_effects_takes_them_for_its_coefficients(monkeypatch):
    model = bmm.Model("y ~ x + (x | g)", data())
    kept = model.sample(seed=4, progress=False).summary()
    calls, true = [], eliminated.interpolated
    taken_always(monkeypatch)
    monkeypatch.setattr(eliminated, "interpolated", lambda *own: calls.append(1) or true(*own))
    found = model.sample(seed=4, progress=False, keep_effects=False).summary()
    assert calls == [1, 1]  # sampling, and its recovery
    both = [name for name in found.index if name in kept.index]
    assert "beta[x]" in both
    mcse = np.hypot(*(own.loc[both, "sd"] / np.sqrt(own.loc[both, "ess_bulk"]) for own in (kept, found)))
    assert (np.abs(kept.loc[both, "mean"] - found.loc[both, "mean"]) < 5 * mcse).all()
