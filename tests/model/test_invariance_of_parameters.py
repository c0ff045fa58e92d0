"""The posterior of a model with formulas of other parameters does not depend on origin and unit of their predictors.

A model of x' = unit (x + shift) is the model of x in other coordinates: what the priors are of changes by the sizes of
columns alone, so that log densities differ by a constant, and draws with one seed are the same.
"""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmm as bmm
from bayesmm.design.parameters import residual_labels
from bayesmm.errors import BayesmmWarning, DataError, PriorError
from bayesmm.inference.profile import profiles
from bayesmm.likelihood.marginal import generalised, generalised_coordinates, marginal
from bayesmm.likelihood.problem import integrate
from bayesmm.posterior.auxiliaries import auxiliary_values
from bayesmm.posterior.parameter_values import scalars
from bayesmm.priors import prior_bases, prior_design
from bayesmm.priors.basis import _check_number
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.joint import joint_posterior
from bayesmm.sampling.marginal import as_tree, centre
from bayesmm.storage.runs import Run, no_stats

N = 160
CHANGES = {"origin": (1000.0, 1.0), "unit": (0.0, 1000.0), "both": (-300.0, 0.01)}
QUICK = ["origin", *(pytest.param(change, marks=pytest.mark.slow) for change in ("unit", "both"))]
CASES = {
    "sigma, (1 | g)": (("y ~ f + (1 | g)", "sigma ~ x"), "gaussian"),
    "sigma": (("y ~ f", "sigma ~ x * f"), "gaussian"),
    "sigma, ar": (("y ~ f + ar(t, g)", "sigma ~ x"), "gaussian"),
    "shape": (("count ~ 1 + (1 | g)", "shape ~ x"), "negbinomial"),
    "zi": (("zeros ~ f", "zi ~ x * f"), "zero_inflated_poisson"),
    "phi": (("share ~ 1", "phi ~ x + I(x^2)"), "beta"),
    "sigma, nu": (("y ~ 1", "sigma ~ x", "nu ~ x"), "student"),
    "alpha": (("y ~ 1", "alpha ~ x:f + f"), "skew_normal"),
    "hu": (("zeros ~ 1", "hu ~ b"), "hurdle_poisson"),
}
JOINT = {
    "sigma ~ (1 | g)": (("y ~ f + (1 | g)", "sigma ~ x + (1 | g)"), "gaussian"),
    "sigma ~ (x | g)": (("y ~ f + (1 | g)", "sigma ~ x + (x | g)"), "gaussian"),
    "shape ~ (x | g)": (("count ~ f + (1 | p | g)", "shape ~ x + (x | p | g)"), "negbinomial"),
}


def table() -> pd.DataFrame:
    rng, g = np.random.default_rng(2), np.arange(N) % 16
    x, f = rng.normal(size=N), rng.permutation(np.repeat(["a", "b"], N // 2))
    eta = 0.3 * (f == "b") + 0.4 * rng.normal(size=16)[g]
    mean, shape = np.exp(1 + eta), np.exp(0.7 + 0.3 * x)
    p, phi = 1 / (1 + np.exp(-eta)), np.exp(2 + 0.3 * x)
    return pd.DataFrame(
        {
            "g": [f"g{i:02d}" for i in g], "t": np.arange(N) // 16, "x": x, "f": f, "b": (x > 0.2).astype(int),
            "y": 5 + eta + np.exp(0.3 * x) * rng.normal(size=N),
            "count": rng.negative_binomial(shape, shape / (shape + mean)),
            "zeros": np.where(rng.random(N) < 1 / (1 + np.exp(1 - 0.5 * x)), 0, rng.poisson(mean)),
            "share": np.clip(rng.beta(p * phi, (1 - p) * phi), 0.001, 0.999),
        }
    )  # fmt: skip


def moved(shift: float, unit: float) -> pd.DataFrame:
    return table().assign(x=lambda d: unit * (d.x + shift), b=lambda d: unit * (d.b + shift))


def model(formulas, family: str, data: pd.DataFrame | None = None, **own) -> bmm.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)
        return bmm.Model(formulas, table() if data is None else data, family, **own)


def pair(case: tuple, change: str) -> tuple[bmm.Model, bmm.Model]:
    return model(*case), model(*case, data=moved(*CHANGES[change]))


def ratios(models: tuple[bmm.Model, bmm.Model]) -> dict[str, float]:
    """Return how many times as large the columns of the second prior's design are, by the label of the coefficient."""
    first, second = (prior_design(m.design, m.priors).residual.formulas for m in models)
    found = {}
    for a, b in zip(first, second, strict=True):
        sizes = np.linalg.norm(b.rows, axis=0) / np.linalg.norm(a.rows, axis=0)
        found |= dict(zip((f"{a.parameters[0].name}[{term}]" for term in a.parameters[0].terms), sizes, strict=True))
    for a, b in zip(*(prior_design(m.design, m.priors).blocks for m in models), strict=True):
        found |= dict(zip(a.names.sd_labels, np.linalg.norm(b.Z, axis=0) / np.linalg.norm(a.Z, axis=0), strict=True))
    return found


def compiled(m: bmm.Model):
    if m.family.gaussian:
        return marginal(m.design, m.priors, integrate(m.design, m.priors))
    return generalised(m.design, m.priors)


def at_second(x: np.ndarray, c, places, models) -> np.ndarray:
    """Return the coordinates of the same point in the second model: coefficients and log sds in its units."""
    y, sizes = x.copy(), ratios(models)
    for i, place in enumerate(places):
        if place in sizes and c.at[i] >= 0:
            y[..., c.at[i]] = y[..., c.at[i]] - np.log(sizes[place]) if place.startswith("sd_") else (
                y[..., c.at[i]] / sizes[place]
            )  # fmt: skip
    return y


def points(posterior, x: np.ndarray):
    """Return points as the variables of a posterior, one chain."""
    import xarray as xr

    data = xr.Dataset({"x": (("chain", "draw", "coordinate"), x[None])}, {"chain": [0], "draw": np.arange(len(x))})
    return as_tree(posterior, Run(data, no_stats(), interrupted=False))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("case", CASES)
def test_the_log_posterior_differs_by_a_constant(case, change):
    models = pair(CASES[case], change)
    first, second = map(compiled, models)
    c, rng = first.posterior.coordinates, np.random.default_rng(1)
    x = centre(first, models[0].priors) + 0.2 * rng.normal(size=(4, first.posterior.size))
    y = at_second(x, c, first.places, models)
    values = np.array([p.posterior.many(at) for p, at in ((first, x), (second, y))])
    assert np.isfinite(values).all()
    # columns of 1e3 are rounded to 1e-13, those of their squares to 1e-10 of what is left of them
    assert np.ptp(values[1] - values[0]) <= 1e-8 * np.abs(values).max()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("case", JOINT)
def test_the_joint_log_posterior_differs_by_a_constant(case, change):
    models = pair(JOINT[case], change)
    posteriors = [
        joint_posterior(m.design, prior_design(m.design, m.priors), m.priors, [False] * len(m.design.blocks))
        for m in models
    ]
    c, places = generalised_coordinates(models[0].design, models[0].priors)
    rng = np.random.default_rng(3)
    x = 0.2 * rng.normal(size=(4, posteriors[0].size))
    values = np.array([p.many(at) for p, at in zip(posteriors, (x, at_second(x, c, places, models)), strict=True)])
    assert np.isfinite(values).all()
    assert np.ptp(values[1] - values[0]) <= 1e-8 * np.abs(values).max()


def rows_of(point) -> np.ndarray:
    """Return the own parameters of the rows at a maximised fit, (n, k)."""
    if not point.design.family.gaussian:
        return np.column_stack([np.broadcast_to(own, point.design.n) for own in point.own])
    return (point.sigma * np.exp(point.residual["log_sigma"] @ point.design.residual.formulas[0].rows.T))[:, None]


@pytest.mark.parametrize("change", QUICK)
@pytest.mark.parametrize("case", CASES)
def test_the_mode_is_the_same(case, change):
    models = pair(CASES[case], change)
    first, second = (m.maximize("MAP") for m in models)
    # the density of the coefficients is in their units
    constant = 2 * sum(np.log(size) for place, size in ratios(models).items() if not place.startswith("sd_"))
    assert second.criterion + constant == pytest.approx(first.criterion, abs=1e-7)
    np.testing.assert_allclose(rows_of(second), rows_of(first), rtol=1e-4)
    np.testing.assert_allclose(second.beta, first.beta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("change", QUICK)
@pytest.mark.parametrize("case", ["shape", "zi", "phi", "hu"])
def test_the_maximum_of_the_likelihood_is_the_same(case, change):
    first, second = (m.maximize() for m in pair(CASES[case], change))
    assert first.converged and second.converged
    assert second.criterion == pytest.approx(first.criterion, abs=1e-7)
    np.testing.assert_allclose(rows_of(second), rows_of(first), rtol=1e-5)
    # differences of the mean in what is reported, whose errors are hundreds of times those at the means
    np.testing.assert_allclose(second.predict(), first.predict(), rtol=1e-4)


def test_profile_intervals_are_the_same():
    points = [m.maximize() for m in pair(CASES["shape"], "origin")]
    every = [one for one in scalars(points[0].design) if one.label != "shape"]
    first, second = ([(one.lower, one.upper) for one in profiles(point, every, 0.95)] for point in points)
    np.testing.assert_allclose(second, first, rtol=1e-4)
    points = [m.maximize() for m in pair(CASES["phi"], "unit")]
    first, second = (profiles(point, scalars(point.design)[1:2], 0.95)[0] for point in points)
    assert first.parameter == "phi"
    assert (second.lower, second.upper) == pytest.approx((first.lower, first.upper), rel=1e-4)


def test_a_profile_of_what_is_far_from_the_data_is_refused():
    point = model(*CASES["hu"], data=moved(1000.0, 1.0)).maximize()
    with pytest.raises(DataError, match=r"the profile of hu is not available.*far from the data; write center\(\)"):
        point.profile("hu")
    with pytest.warns(BayesmmWarning, match="hu has no interval: the profile of hu is not available"):
        assert point.confint().isna().sum().tolist() == [1, 1]


def drawn_rows(fit) -> np.ndarray:
    """Return the own parameters of the rows in each draw, (draws, n)."""
    if not fit.design.family.gaussian:
        return np.asarray(auxiliary_values(fit)[0])
    posterior = fit.tree["posterior"]
    change = posterior["log_sigma"].to_numpy() @ fit.design.residual.formulas[0].rows.T
    return (posterior["sigma"].to_numpy()[..., None] * np.exp(change)).reshape(-1, fit.design.n)


@pytest.mark.parametrize("change", QUICK)
@pytest.mark.parametrize("case", ["sigma, (1 | g)", "sigma", "shape", "zi", "phi"])
def test_independent_draws_are_the_same(case, change):
    fits = [
        m.sample(sampler="importance", draws=100, chains=2, seed=4, progress=False) for m in pair(CASES[case], change)
    ]
    for first, second in zip(*(map(drawn_rows, [fit]) for fit in fits), strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-5)
    betas = [fit.tree["posterior"]["beta"].to_numpy() for fit in fits]
    np.testing.assert_allclose(betas[1], betas[0], rtol=1e-5, atol=1e-7)
    means = [fit.predict().draws for fit in fits]
    np.testing.assert_allclose(means[1], means[0], rtol=1e-5, atol=1e-7)


def test_a_probability_that_is_1_at_0_costs_no_row_a_digit(tmp_path):
    """Where x + 1000 is 0, zi is 1 to all digits; rows, simulations and log likelihoods follow from its logit."""
    case = CASES["zi"]
    fits = [m.sample(sampler="importance", draws=100, chains=2, seed=4, progress=False) for m in pair(case, "origin")]
    reported = fits[1].tree["posterior"]["zi"].to_numpy()
    assert (reported == 1).any() or (reported < 1e-100).any()
    fits[1].save(tmp_path / "fit.nc")
    for fit in (fits[1], bmm.load(tmp_path / "fit.nc")):
        np.testing.assert_allclose(drawn_rows(fit), drawn_rows(fits[0]), rtol=1e-6)
        assert fit.loo().elpd == pytest.approx(fits[0].loo().elpd, abs=1e-6)
        np.testing.assert_array_equal(
            fit.predict(kind="response", seed=1).draws, fits[0].predict(kind="response", seed=1).draws
        )
    assert fits[1].evidence(seed=1).log_evidence == pytest.approx(fits[0].evidence(seed=1).log_evidence, abs=1e-6)
    points = [fit.model.maximize("MAP") for fit in fits]
    np.testing.assert_array_equal(points[1].simulate(2, seed=3), points[0].simulate(2, seed=3))
    np.testing.assert_allclose(points[1].fitted, points[0].fitted, rtol=1e-6)


# ----------------------------------------------------------------------------------------------------------------------
# PyMC's graphs


GRAPHS = [("sigma, (1 | g)", "explicit"), ("sigma", "explicit"), ("shape", "explicit"), ("shape", "marginal")]


@pytest.mark.parametrize(("case", "effects"), GRAPHS)
def test_the_graphs_densities_differ_by_a_constant(case, effects):
    models, rng, found = pair(CASES[case], "both"), np.random.default_rng(1), []
    sizes = ratios(models)
    with without_compiler():
        graphs = [m.graph(effects, centred=False) for m in models]
        functions = [g.compile_fn(g.logp(), inputs=g.value_vars, mode=PYTHON) for g in graphs]
        start = graphs[0].initial_point()
        for _ in range(3):
            point = {name: value + 0.2 * rng.normal(size=np.shape(value)) for name, value in start.items()}
            other = dict(point)
            for own in models[0].design.residual.formulas[0].parameters:
                (name,) = {own.name, f"_{own.name}"} & set(point)
                other[name] = point[name] / [sizes[label] for label in residual_labels(own)]
            found.append(functions[1](other) - functions[0](point))
    assert np.isfinite(found).all()
    assert np.ptp(found) <= 1e-8 * np.abs(functions[0](point))


def test_the_graph_has_the_compiled_density_and_reports_what_it_reports():
    """The explicit graph of y ~ f, sigma ~ x * f, its coefficients at some point, against the normal density."""
    m = model(*CASES["sigma"], data=moved(3.0, 2.0))
    graph, d = m.graph("explicit"), m.design
    with without_compiler():
        point = graph.initial_point()
        names = ["beta", "sigma", "log_sigma"]
        outputs = [*graph.replace_rvs_by_values([graph[name] for name in names]), graph.logp(vars=[graph["y"]])]
        given = {name: value + 0.1 for name, value in point.items()}
        beta, sigma, log_sigma, value = graph.compile_fn(outputs, inputs=graph.value_vars, mode=PYTHON)(given)
    sds = sigma * np.exp(d.residual.formulas[0].rows @ log_sigma)
    assert value == pytest.approx(stats.norm(d.X @ beta, sds).logpdf(d.y).sum(), rel=1e-10)


# ----------------------------------------------------------------------------------------------------------------------
# what the priors say, and the density itself


def test_the_density_is_that_of_priors_at_the_means_written_out():
    """log p(y, sigma, eta) of y ~ 1, sigma ~ x * f by a dense normal and the priors at the means by least squares."""
    m = model(("y ~ 1", "sigma ~ x * f"), "gaussian", moved(3.0, 2.0))
    own, d = compiled(m), m.design
    (x,) = 0.3 * np.random.default_rng(5).normal(size=(1, own.posterior.size)) + 0.1
    V, ones = d.residual.formulas[0].rows, np.ones(N)
    names = d.residual.formulas[0].parameters[0].terms
    assert names == ("x", "f[T.b]", "x:f[T.b]")

    def left(column: np.ndarray, *others: np.ndarray) -> np.ndarray:
        return column - np.column_stack(others) @ np.linalg.lstsq(np.column_stack(others), column)[0]

    columns = [left(V[:, 0], ones), left(V[:, 1], ones), left(V[:, 2], ones, V[:, 0], V[:, 1])]
    sds = np.exp(x[0] + np.column_stack(columns) @ x[1:])
    mean, sd = (m.priors["Intercept_centred"].parameters[k] for k in ("mu", "sigma"))
    expected = stats.multivariate_normal(np.full(N, mean), np.diag(sds**2) + sd**2).logpdf(d.y)
    expected += m.priors["sigma"].logpdf(np.exp(x[0])) + x[0]
    widths = [columns[0].std(), 1.0, columns[2].std()]
    expected += sum(stats.norm(0, 1 / width).logpdf(value) for width, value in zip(widths, x[1:], strict=True))
    assert own.posterior(x)[0] == pytest.approx(expected, rel=1e-10)
    # and what is reported gives the rows the same sds
    posterior = points(own, x[None])["posterior"]
    found = posterior["sigma"].to_numpy()[0] * np.exp(posterior["log_sigma"].to_numpy()[0] @ V.T)
    np.testing.assert_allclose(found[0], sds, rtol=1e-12)


def test_a_prior_of_your_own_is_of_what_is_reported():
    """A prior of sigma that is given is of the sd where x is 0; with at='means' it is of that at the mean."""
    formulas, data = ("y ~ 1", "sigma ~ x"), moved(3.0, 2.0)
    given = bmm.Prior("HalfNormal", sigma=2)
    m = model(formulas, "gaussian", data, priors={"sigma": given})
    assert prior_bases(m.design, m.priors).parameters["sigma"].trivial
    own, x = compiled(m), np.array([-0.4, 0.1])
    sds = np.exp(x[0] + x[1] * data.x.to_numpy())
    mean, sd = (m.priors["Intercept_centred"].parameters[k] for k in ("mu", "sigma"))
    expected = stats.multivariate_normal(np.full(N, mean), np.diag(sds**2) + sd**2).logpdf(m.design.y)
    expected += given.logpdf(np.exp(x[0])) + x[0] + stats.norm(0, 1 / data.x.std(ddof=0)).logpdf(x[1])
    assert own.posterior(x)[0] == pytest.approx(expected, rel=1e-10)
    at_means = model(formulas, "gaussian", data, priors={"sigma": bmm.Prior("HalfNormal", sigma=2, at="means")})
    assert not prior_bases(at_means.design, at_means.priors).parameters["sigma"].trivial
    assert dict(at_means.with_priors(dict(at_means.priors)).priors) == dict(at_means.priors)
    with pytest.raises(PriorError, match=r"'sigma' has at='means', which is for coefficients.*that have a formula"):
        model("y ~ 1", "gaussian", data, priors={"sigma": bmm.Prior("HalfNormal", sigma=2, at="means")})


def test_other_data_keep_the_means():
    m = model(*CASES["sigma"], data=moved(3.0, 2.0))
    other = m.with_data(moved(3.0, 2.0).iloc[: N // 2].assign(x=lambda d: d.x + 1))
    assert dict(other.priors) == dict(m.priors)
    known, again = (one.design.spec.bases.parameters["sigma"].R for one in (m, other))
    np.testing.assert_array_equal(again, known)


def test_what_is_said_of_the_priors():
    m = model(("zeros ~ 1", "zi ~ x * f"), "zero_inflated_poisson", moved(3.0, 2.0))
    text = str(m.priors)
    assert re.search(r"zi\s+Uniform\(lower=0, upper=1\) at the means", text)
    assert re.search(r"logit_zi\[x\]\s+Normal\(mu=0, sigma=1\.\d+\) at the means", text)
    assert not re.search(r"logit_zi\[x:f\[T\.b\]\]\s+Normal\(mu=0, sigma=\S+\) at the means", text)
    assert "and of a parameter where those of its formula are" in " ".join(text.split())
    equation = m.equation()
    assert r"\mathrm{logit}\,\bar{\pi} &= \mathrm{logit}\,\pi + " in equation
    assert r"\bar{\pi} &\sim \mathrm{Uniform}" in equation


def test_units_of_two_valued_columns_do_not_count():
    """A number of two values has the prior of a factor of two levels, whatever they are."""
    for b in (table().b, 1000 + 7 * table().b, table().b - 0.5):
        data = table().assign(b=b)
        prior = model(("zeros ~ 1", "hu ~ b"), "hurdle_poisson", data).priors["logit_hu[b]"]
        assert prior.parameters["sigma"] * np.ptp(b) == pytest.approx(2.5)


def test_lazy_frames_have_the_same_priors_and_mode():
    pl = pytest.importorskip("polars")
    formulas = ("y ~ x + (1 | g)", "sigma ~ f * b")
    data = table().assign(b=lambda d: d.b.astype(bool))
    here, there = (bmm.Model(formulas, frame) for frame in (data, pl.from_pandas(data).lazy()))
    bases = [one.design.spec.bases.parameters["sigma"] for one in (here, there)]
    np.testing.assert_allclose(bases[1].R, bases[0].R, atol=1e-12)
    assert not bases[0].trivial
    for place, prior in here.priors.items():
        assert there.priors[place].parameters == pytest.approx(prior.parameters), place
        assert there.priors[place].at == prior.at
    first, second = map(compiled, (here, there))
    x = centre(first, here.priors) + 0.2 * np.random.default_rng(6).normal(size=(3, first.posterior.size))
    np.testing.assert_allclose(second.posterior.many(x), first.posterior.many(x), rtol=1e-9)
    assert there.maximize("MAP").sigma == pytest.approx(here.maximize("MAP").sigma, rel=1e-5)


def test_a_residual_sd_that_is_no_number_is_said():
    m = model(("y ~ 1", "sigma ~ x"), "gaussian", moved(1e4, 1.0))
    with pytest.raises(
        DataError, match=r"the residual sd where x would be 0, far from the data, is beyond the numbers.*center\(\)"
    ):
        m.maximize("MAP")
    for formula, names in (("sigma ~ x:f", "x would"), ("sigma ~ x:z + f", "x, z would")):
        data = moved(1e4, 1.0).assign(z=np.linspace(900, 1000, N))
        with pytest.raises(DataError, match=f"the residual sd where {names} be 0, far"):
            _check_number(model(("y ~ 1", formula), "gaussian", data).design.residual.formulas[0], np.zeros(1))


def test_it_is_said_before_anything_is_sampled_and_of_what_is_made_of_a_fit(monkeypatch):
    """Squares of 1e-160 have few digits: R2, simulations and log likelihoods made of them were wrong."""
    rng = np.random.default_rng(1)
    x, g = rng.normal(size=200), np.arange(200) % 20
    y = 0.3 * x + rng.normal(size=20)[g] + np.exp(0.37 * x) * rng.normal(size=200)
    here = bmm.Model(("y ~ x + (1 | g)", "sigma ~ x"), {"y": y, "x": x, "g": g}).maximize()
    monkeypatch.setattr("bayesmm.sampling.marginal.sample_density", lambda *given: pytest.fail("it was sampled"))
    for far in (1100.0, 2100.0):
        data = {"y": y, "x": x + far, "g": g}
        model = bmm.Model(("y ~ x + (1 | g)", "sigma ~ x"), data)
        if far > 2000:  # sigma itself would be 0
            with pytest.raises(DataError, match="the residual sd where x would be 0"):
                model.sample(50, 50, 2, seed=1, progress=False)
            with pytest.raises(DataError, match="the residual sd where x would be 0"):
                model.maximize()
        else:
            point = model.maximize()
            assert point.loglik == pytest.approx(here.loglik, abs=1e-6)
            assert "No residuals: the sds that" in str(point)
            for use in ("r2", "icc", "simulate"):
                with pytest.raises(DataError, match=r"beyond the numbers that can be computed.* write center\(\)"):
                    getattr(point, use)()
        centred = bmm.Model(("y ~ x + (1 | g)", "sigma ~ center(x)"), data).maximize()
        assert centred.loglik == pytest.approx(here.loglik, abs=1e-6)
        np.testing.assert_allclose(centred.r2().table, here.r2().table, rtol=1e-4)  # the search ends at 1e-6 of an sd


def test_a_formula_of_disc_keeps_its_origin_and_says_so():
    rng = np.random.default_rng(1)
    data = table().assign(k=rng.integers(1, 5, N), year=lambda d: 2000 + d.x)
    for name, said in (("year", 1), ("center(year)", 0)):
        texts = [message.text for message in model(("k ~ f", f"disc ~ {name}"), "cumulative", data).design.messages]
        assert sum("disc is 1 where it is 0" in text for text in texts) == said
