"""Origins and units change no fit of a model whose residuals have a structure: its likelihood, and what it says."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.likelihood.coordinates import values
from bayesmm.likelihood.marginal import marginal
from bayesmm.likelihood.problem import integrate
from bayesmm.sampling.marginal import centre

FORMULAS = {
    "sigma ~ z": (("y ~ x + (1 | g)", "sigma ~ z"), None),
    "sigma ~ z, alone": (("y ~ x", "sigma ~ z"), None),
    "se": ("y | se(se) ~ x + (1 | g)", None),
    "se, sigma": ("y | se(se, sigma = TRUE) ~ x + (1 | g)", None),
    "ar": ("y ~ x + ar(t, g)", "ar"),
    "car": ("y ~ x + (1 | h) + car(t, h)", "car"),
    "cosy": (("y ~ x + cosy(g)", "sigma ~ z"), None),
}
# What is done to the data, and by what the sds and the response are multiplied
CHANGES = {
    "unit of y": (lambda d: d.assign(y=d.y * 1e4, se=d.se * 1e4), 1e4),
    "small unit of y": (lambda d: d.assign(y=d.y * 1e-5, se=d.se * 1e-5), 1e-5),
    "unit of z": (lambda d: d.assign(z=d.z * 1000), 1.0),
    "small unit of z": (lambda d: d.assign(z=d.z / 1000), 1.0),
    "origin of z": (lambda d: d.assign(z=d.z + 2000), 1.0),
    "unit of time": (lambda d: d.assign(t=d.t * 14), 1.0),
    "origin of time": (lambda d: d.assign(t=d.t + 10_000), 1.0),
}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng, n = np.random.default_rng(3), 120
    g, z, x = np.repeat(np.arange(12), 10), rng.normal(size=n), rng.normal(size=n)
    e = rng.normal(size=(12, 10))
    for i in range(1, 10):
        e[:, i] = 0.6 * e[:, i - 1] + 0.8 * e[:, i]
    y = 1 + 0.5 * x + rng.normal(size=12)[g] + np.exp(0.3 * z) * e.ravel()
    names = {"g": [f"g{i}" for i in g], "h": [f"h{i}" for i in g // 2], "t": np.tile(np.arange(10), 12) + 20 * (g % 2)}
    return pd.DataFrame({"y": y, "x": x, "z": z, "se": rng.uniform(0.3, 1, n), **names})


@pytest.fixture(scope="module")
def fits(data):
    return {name: bmm.Model(formula, data).maximize() for name, (formula, _) in FORMULAS.items()}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FORMULAS)
def test_the_likelihood_and_its_maximum_stay(name, change, data, fits):
    """Sums of squares are rounded at about 1e-13 of 1e2 rows, and a search stops at 1e-9 of the criterion."""
    (formula, correlation), (changed, factor), before = FORMULAS[name], CHANGES[change], fits[name]
    after = bmm.Model(formula, changed(data)).maximize()
    jacobian = (after.design.n - after.design.p) * np.log(factor)
    assert before.converged
    assert after.converged
    assert after.singular == before.singular
    np.testing.assert_allclose(after.loglik + jacobian, before.loglik, atol=1e-7)
    np.testing.assert_allclose(after.beta, before.beta * factor, rtol=1e-5)
    for now, then in zip(after.covariances, before.covariances, strict=True):
        np.testing.assert_allclose(now, then * factor**2, rtol=1e-4)
    if correlation:
        power = 14.0 if change == "unit of time" else 1.0
        assert float(after.parameters[correlation]) ** power == pytest.approx(before.parameters[correlation], abs=1e-5)
    if "sigma ~ z" in name:
        scale = {"unit of z": 1000.0, "small unit of z": 0.001}.get(change, 1.0)
        assert after.parameters["log_sigma[z]"] * scale == pytest.approx(before.parameters["log_sigma[z]"], rel=1e-4)
        at_data = np.exp(after.parameters["log_sigma[z]"] * changed(data).z.iloc[0]) * after.sigma
        before_there = np.exp(before.parameters["log_sigma[z]"] * data.z.iloc[0]) * before.sigma
        assert at_data == pytest.approx(before_there * factor, rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", [2, 3, 4, 5])
def test_a_correlation_near_0_is_found_whatever_the_steps(seed, steps):
    """Its power over three steps does not change near 0: the search moves that power."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"y": rng.normal(size=90), "g": np.repeat(np.arange(15), 6), "t": np.tile(np.arange(6), 15)})
    one = bmm.Model("y ~ 1 + ar(t, g)", frame).maximize()
    many = bmm.Model("y ~ 1 + ar(t, g)", frame.assign(t=frame.t * steps)).maximize()
    rho = many.parameters["ar"]
    expected = one.parameters["ar"]
    if steps % 2 == 0 and expected < 0:  # which no power of a step has
        assert rho**steps == pytest.approx(0.0, abs=1e-3)
    else:
        assert np.sign(rho) * abs(rho) ** steps == pytest.approx(expected, abs=1e-5)
        assert many.loglik == pytest.approx(one.loglik, abs=1e-7)


def test_rows_an_even_number_of_steps_apart_have_a_positive_correlation(data):
    """Its sign changes nothing there; its default prior is uniform on the correlation of neighbouring rows."""
    model = bmm.Model("y ~ x + ar(t, g)", data.assign(t=data.t * 2))
    (parameter,) = model.design.residual.parameters
    assert parameter.support == (0.0, 1.0)
    assert model.priors["ar"] == bmm.Prior("Beta", alpha=2, beta=1)
    assert not any("unit of time" in message.text for message in model.design.messages)


def test_a_prior_that_depends_on_the_unit_of_time_is_said(data):
    for steps, said in ((1, 0), (3, 1)):
        model = bmm.Model("y ~ x + ar(t, g)", data.assign(t=data.t * steps))
        assert model.priors["ar"] == bmm.Prior("Uniform", lower=-1, upper=1)
        texts = [message.text for message in model.design.messages]
        assert sum(f"neighbouring rows are {steps} apart" in text for text in texts) == said


@pytest.mark.parametrize("unit", [7.0, 1 / 12])
def test_the_posterior_of_car_does_not_depend_on_the_unit_of_time(unit, data):
    """A gap of 1 has the uniform prior; with another unit rho^gap is the same number and has the same prior."""
    shuffled = data.assign(t=data.t + 0.3 * (data.t % 3))
    formula = "y ~ x + (1 | h) + car(t, h)"
    models = [bmm.Model(formula, shuffled.assign(t=shuffled.t * own)) for own in (1.0, unit)]
    gaps = [m.design.residual.parameters[0].gap for m in models]
    assert gaps[1] == pytest.approx(unit * gaps[0])
    for m, gap in zip(models, gaps, strict=True):
        assert m.priors["car"].parameters == pytest.approx({"alpha": gap, "beta": 1.0})
    first, second = (marginal(m.design, m.priors, integrate(m.design, m.priors)) for m in models)
    x = centre(first, models[0].priors) + 0.3 * np.random.default_rng(1).normal(size=(5, first.posterior.size))
    c, at = first.posterior.coordinates, first.places.index("car")
    rho = 1 / (1 + np.exp(-x[:, c.at[at]]))
    assert values(c, x)[:, at] == pytest.approx(rho)
    other = x.copy()
    # the density of u = rho^gap is that of rho over d u / d rho, and the coordinates are logits
    now = rho ** (1 / unit)
    other[:, c.at[at]] = np.log(now) - np.log1p(-now)
    jacobian = np.log(rho * (1 - rho)) - np.log(now * (1 - now) * unit * now ** (unit - 1))
    found = [p.posterior.many(point) for p, point in ((first, x), (second, other))]
    np.testing.assert_allclose(found[1] + jacobian, found[0], rtol=1e-10)


@pytest.mark.parametrize("formula", [("y ~ x", "sigma ~ year"), ("y ~ x", "sigma ~ f")])
def test_nothing_is_said_of_origins_that_change_no_posterior(formula, data):
    frame = data.assign(year=2000 + data.z, f=np.where(data.z > 0, "a", "b"))
    texts = [message.text for message in bmm.Model(formula, frame).design.messages]
    assert not [text for text in texts if "far from the data" in text]


def test_times_too_near_for_a_correlation_of_rows_one_apart_are_refused(data):
    with pytest.raises(bmm.DataError, match=r"neighbouring rows are 0\.0001 apart"):
        bmm.Model("y ~ x + car(t, g)", data.assign(t=data.t * 1e-4))
