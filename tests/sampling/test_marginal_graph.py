"""The marginal graph against a density by SciPy: y ~ N(X m + offset, V), and the priors of what is sampled."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from scipy import special, stats

from bayesmm.design.design import make_design
from bayesmm.errors import PriorError
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse
from bayesmm.priors import Prior, coefficient_places, resolve_priors
from bayesmm.sampling.graph.explicit import build_explicit
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.graph.marginal import build_marginal

FAMILY = get_family("gaussian")
POINTS = 10
# The dense formula factorises an n x n matrix of condition up to about 1e5 at prior draws: 1e-16 x 1e5, with room.
DENSE_RTOL = 1e-9


@pytest.fixture(scope="module", autouse=True)
def no_compiler():
    with without_compiler():
        yield


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(7)
    n = 48
    return pd.DataFrame(
        {
            "y": rng.normal(300, 50, n),
            "x": rng.normal(20, 1.5, n),  # far from 0, so that it matters where the intercept is
            "v": rng.normal(3, 1, n),
            "w": rng.uniform(0.5, 2.0, n),
            "g": np.repeat([f"g{i}" for i in range(8)], 6),
            "h": np.tile(["a", "b", "c", "d", "e", "f"], 8),
            "coefficient_1": np.tile(["a", "b", "c"], 16),
            "k": np.arange(n) // 3 % 2,
        }
    ).assign(twice=lambda data: 2 * data["x"])


@dataclass(frozen=True)
class Case:
    formula: str
    priors: dict
    arguments: dict
    free: set  # names of the graph's free variables


def case(formula, free, priors=None, **arguments):
    return Case(formula, priors or {}, arguments, set(free.split()))


T = Prior("StudentT", nu=4, mu=1, sigma=5)
FAR = Prior("StudentT", nu=4, mu=250, sigma=60)
ON_VARIANCE = Prior("InverseGamma", alpha=2, beta=900, on="variance")
CASES = {
    "intercept only": case("y ~ 1 + (1 | g)", "sd_g sigma"),
    "correlated slope": case("y ~ v + (v | g)", "sd_g_centred _L_g sigma"),
    "three correlated": case("y ~ v + (v + x | g)", "sd_g_centred _L_g sigma"),
    "uncorrelated": case("y ~ v + (v || g)", "sd_g sigma"),
    "partly correlated": case("y ~ x + v + (1 + v | g) + (0 + x | g)", "sd_g_centred _L_g_0 sigma"),
    "nested": case("y ~ x + (1 | g/k)", "sd_g sd_g:k sigma"),
    "crossed": case("y ~ x + (v | g) + (1 | h)", "sd_g_centred _L_g sd_h sigma"),
    "three factors": case("y ~ x + (1 | g) + (1 | h) + (1 | coefficient_1)", "sd_g sd_h sd_coefficient_1 sigma"),
    "weights": case("y ~ x + (1 | g)", "sd_g sigma", weights="w"),
    "offset": case("y ~ x + offset(v) + (1 | g)", "sd_g sigma"),
    "no random part": case("y ~ x + v", "sigma"),
    "no intercept": case("y ~ 0 + h + (1 | g)", "sd_g sigma"),
    "no fixed part": case("y ~ 0 + (1 | g)", "sd_g sigma"),
    "fixed sigma": case("y ~ v + (v | g)", "sd_g_centred _L_g", {"sigma": 25}),
    "fixed sd": case("y ~ v + (v | g)", "_sd_g_1 _L_g sigma", {"sd_g[Intercept]": 30}),
    "fixed coefficient": case("y ~ x + v + (1 | g)", "sd_g sigma", {"beta[x]": 1.5}),
    "flat": case("y ~ x + v + (1 | g)", "sd_g sigma", {"beta[x]": Prior("Flat")}),
    "all flat": case("y ~ x + (1 | g)", "sd_g sigma", {"beta": Prior("Flat"), "Intercept": Prior("Flat")}),
    "Student-t": case("y ~ x + v + (1 | g)", "sd_g sigma coefficient_1", {"beta[x]": T}),
    "Student-t beside a flat one": case(
        "y ~ x + v + (1 | g)", "sd_g sigma coefficient_1", {"beta[x]": Prior("Flat"), "beta[v]": T}
    ),
    "Student-t and a factor called so": case(
        "y ~ x + (1 | coefficient_1)", "sd_coefficient_1 sigma coefficient__1", {"beta[x]": T}
    ),
    "Student-t on the centred intercept": case(
        "y ~ x + (1 | g)", "sd_g sigma coefficient_0", {"Intercept_centred": FAR}
    ),
    "Student-t on the intercept at 0": case("y ~ x + (1 | g)", "sd_g sigma coefficient_0", {"Intercept": FAR}),
    "normal on the intercept at 0": case(
        # with x, whose mean is 13 sds from 0, the dense formula itself is 5e-9 off (80-bit Cholesky; the graph 2e-12)
        "y ~ v + (1 | g)", "sd_g sigma", {"Intercept": Prior("Normal", mu=50, sigma=9)},
    ),
    "all Student-t": case(
        "y ~ x + v + (1 | g)", "sd_g sigma coefficient_0 coefficient_1 coefficient_2", {"beta": T, "Intercept": FAR}
    ),
    "bounds": case(
        "y ~ x + (1 | g)", "sd_g sigma coefficient_1", {"beta[x]": Prior("Uniform", lower=-9, upper=20)}
    ),
    "aliased": case("y ~ x + twice + (1 | g)", "sd_g sigma"),
    "on the variance": case("y ~ v + (v | g)", "_sd_g_squared _L_g _sigma_squared", {"sd": ON_VARIANCE, "sigma":
    ON_VARIANCE}),
    "mixed sds": case("y ~ v + (v | g)", "_sd_g_0 _sd_g_1 _L_g sigma", {"sd_g[v]": Prior("Exponential", lam=0.1)}),
}  # fmt: skip
each_case = pytest.mark.parametrize("name", CASES)
# a case of each kind; compiling a graph's gradient takes most of a second, and the others have theirs in the slow tests
QUICK = {"intercept only", "correlated slope", "partly correlated", "nested", "crossed", "weights", "no intercept",
         "fixed sd", "flat", "Student-t", "bounds", "on the variance"}  # fmt: skip
each_gradient = pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)


def resolved(name, frame):
    chosen = CASES[name]
    design = make_design(parse(chosen.formula), frame, **chosen.arguments)
    return design, resolve_priors(design, FAMILY, chosen.priors)


def built(name, frame):
    design, priors = resolved(name, frame)
    return design, priors, build_marginal(design, priors)


def compiled(graph, outputs):
    return graph.compile_fn(outputs, inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore")


def prior_draws(graph, draws):
    """Return draws of the priors, and the same on the sampler's coordinates."""
    moved = []
    for rv in graph.free_RVs:
        transform = graph.rvs_to_transforms[rv]
        moved.append(rv if transform is None else transform.forward(rv, *rv.owner.inputs))
    count = len(moved)
    values = pm.draw([*graph.free_RVs, *moved], draws=draws, random_seed=5, mode=PYTHON)
    names = [graph.rvs_to_values[rv].name for rv in graph.free_RVs]
    for each in zip(*values, strict=True):
        natural = {rv.name: value for rv, value in zip(graph.free_RVs, each, strict=False)}
        yield natural, dict(zip(names, each[count:], strict=True))


# --- the density once more, with nothing of the package but the design and the places of the priors ------------------


def density(prior, x):
    """Return the log density of an sd or a coefficient."""
    p = prior.parameters
    if prior.on == "variance":
        return stats.invgamma.logpdf(x**2, p["alpha"], scale=p["beta"]) + np.log(2 * x)
    known = {
        "HalfStudentT": lambda: np.log(2) + stats.t.logpdf(x, p["nu"], 0, p["sigma"]),
        "StudentT": lambda: stats.t.logpdf(x, p["nu"], p["mu"], p["sigma"]),
        "Exponential": lambda: stats.expon.logpdf(x, scale=1 / p["lam"]),
        "Uniform": lambda: stats.uniform.logpdf(x, p["lower"], p["upper"] - p["lower"]),
    }
    return known[prior.distribution]()


def lkj(L, eta=2.0):
    """Return log p of R = L L' under LKJ(eta) (Lewandowski, Kurowicka & Joe 2009, eq. 17), normalised."""
    q = len(L)
    k = np.arange(1, q)
    constant = special.gammaln(eta + (q - 1) / 2) - k / 2 * np.log(np.pi) - special.gammaln(eta + (q - 1 - k) / 2)
    return constant.sum() + 2 * (eta - 1) * np.log(np.diag(L)).sum()


def variance_part(design, priors, natural):
    """Return Cov(y) of effects and residuals, (n, n), and the priors' log density on the sampler's coordinates."""
    total, V = 0.0, np.zeros((design.n, design.n))
    for block in design.blocks:
        sds = []
        for i, column in enumerate(block.columns):
            place = f"sd_{block.name}[{column}]"
            suffix = "_centred" if centred(block, priors) else ""
            sd, part = positive(f"sd_{block.name}{suffix}", i, priors[place], natural)
            sds.append(sd)
            total += part
        R = np.eye(len(sds))
        for number, part in enumerate(block.partition):
            if len(part) > 1:
                L = natural[f"_L_{block.name}" + ("" if len(part) == len(sds) else f"_{number}")]
                R[np.ix_(part, part)] = L @ L.T
                total += lkj(L) + lkj_jacobian(L)
        Sigma = np.outer(sds, sds) * R
        same = block.index[:, None] == block.index[None, :]
        Z = at_means(block) if centred(block, priors) else block.Z
        V += same * (Z @ Sigma @ Z.T)
    sigma, part = positive("sigma", None, priors["sigma"], natural)
    w = np.ones(design.n) if design.weights is None else design.weights
    return V + np.diag(sigma**2 / w), total + part


def centred(block, priors):
    """Return the places of a block whose priors are at the means."""
    return [f"sd_{block.name}[{c}]" for c in block.columns if priors[f"sd_{block.name}[{c}]"].at == "means"]


def at_means(block):
    """Return the columns less their means, of those that are correlated with the intercept, which is the first."""
    Z = block.Z.copy()
    for j in next(part for part in block.partition if 0 in part):
        if j > 0:
            Z[:, j] -= Z[:, j].mean()
    return Z


def positive(name, i, prior, natural):
    """Return an sd and its log density, on the log scale of what is sampled (the sd or the variance)."""
    if prior.distribution == "Fixed":
        return prior.parameters["value"], 0.0
    for key, at in ((name, i), (f"_{name}_{i}", None), (f"_{name}_squared", i)):
        if key in natural:
            value = natural[key] if at is None else natural[key][at]
            break
    if key.endswith("_squared"):  # p(s) ds/dlog s^2 = p(s) s / 2
        return np.sqrt(value), density(prior, np.sqrt(value)) + np.log(np.sqrt(value) / 2)
    return float(value), density(prior, value) + np.log(value)


def lkj_jacobian(L):
    """Return log |dR / dx| for rows L_i = (x_i, 1) / |(x_i, 1)|, |(x_i, 1)| = 1 / L_ii; see test_explicit.py."""
    q, total = len(L), 0.0
    for i in range(1, q):
        total += (i + 2) * np.log(L[i, i]) + (q - 1 - i) * np.log(L[i, i])
    return total


def dense(design, priors, natural):
    """Return the log density of a point: normal coefficients integrated by the formula, the rest at their values."""
    V, total = variance_part(design, priors, natural)
    X = design.X.copy()
    if "Intercept_centred" in priors:
        X[:, 1:] -= X[:, 1:].mean(axis=0)  # the coefficient of the first column is the intercept at the means
    e = design.y - design.offset
    stem = "coefficient_" if "coefficient_1" in design.coords else "coefficient"
    sampled = [j for j, place in enumerate(coefficient_places(priors, design)) if kind(priors[place]) == "sampled"]
    flat = [j for j, place in enumerate(coefficient_places(priors, design)) if kind(priors[place]) == "flat"]
    order = [j for j in range(design.p) if j not in flat] + flat  # how the graph counts its columns
    for j, place in enumerate(coefficient_places(priors, design)):
        prior, x = priors[place], X[:, j]
        if j in sampled:
            value = natural[f"{stem}_{order.index(j)}"]
            total += density(prior, value) + interval_jacobian(prior, value)
            e = e - x * value
        elif prior.distribution == "Fixed":
            e = e - x * prior.parameters["value"]
        elif j not in flat:
            e, V = e - x * prior.parameters["mu"], V + prior.parameters["sigma"] ** 2 * np.outer(x, x)
    return total + integrated_over(X[:, flat], e, V)


def kind(prior):
    return {"Normal": "normal", "Fixed": "fixed", "Flat": "flat"}.get(prior.distribution, "sampled")


def interval_jacobian(prior, value):
    if prior.distribution != "Uniform":
        return 0.0
    lower, upper = prior.parameters["lower"], prior.parameters["upper"]
    return np.log(value - lower) + np.log(upper - value) - np.log(upper - lower)


def integrated_over(X, e, V):
    """Return the log of the integral of N(e | X b, V) over all b (Searle et al. 1992, section 6.6)."""
    information = X.T @ np.linalg.solve(V, X)
    e = e - X @ np.linalg.solve(information, X.T @ np.linalg.solve(V, e))
    constant = 0.5 * X.shape[1] * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(information)[1]
    return stats.multivariate_normal(np.zeros(len(e)), V).logpdf(e) + constant


@each_gradient
def test_the_density_is_the_dense_one_and_its_gradient_is_finite_at_prior_draws(frame, name):
    design, priors, graph = built(name, frame)
    evaluate = compiled(graph, [graph.logp(), graph.dlogp()])
    if any("Flat" in prior.distribution for prior in priors.values()):
        assert not any(rv.owner.op.name == "flat" for rv in graph.free_RVs)
    for natural, point in prior_draws(graph, POINTS):
        found, gradient = evaluate(point)
        np.testing.assert_allclose(found, dense(design, priors, natural), rtol=DENSE_RTOL)
        assert np.isfinite(gradient).all()


@each_case
def test_only_what_can_not_be_integrated_out_is_sampled(frame, name):
    _, _, graph = built(name, frame)
    assert {rv.name for rv in graph.free_RVs} == CASES[name].free
    assert graph.observed_RVs == []


def test_variables_have_the_dimensions_of_the_explicit_graph(frame):
    _, _, graph = built("crossed", frame)
    dims = {name: graph.named_vars_to_dims.get(name, ()) for name in graph.named_vars if not name.startswith("_")}
    assert {name: tuple(each) for name, each in dims.items()} == {
        "sd_g": ("g_term",), "corr_g": ("g_term", "g_term_bis"), "sd_h": ("h_term",), "sigma": (),
        "sd_g_centred": ("g_term",), "corr_g_centred": ("g_term", "g_term_bis"),
        "marginal_likelihood": (),
    }  # fmt: skip
    assert list(graph.coords["g_term"]) == ["Intercept", "v"]


def test_the_density_does_not_depend_on_the_order_of_rows(frame):
    chosen = CASES["crossed"]
    order = np.random.default_rng(1).permutation(len(frame))
    values = []
    for data in (frame, frame.iloc[order]):
        design = make_design(parse(chosen.formula), data)
        graph = build_marginal(design, resolve_priors(design, FAMILY, None))
        point = next(prior_draws(graph, 2))[1]
        values.append(compiled(graph, graph.logp())(point))
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_a_function_as_a_prior_is_sampled(frame):
    design = make_design(parse("y ~ x + v + (1 | g)"), frame)
    chosen = {"beta[v]": lambda name, dims: pm.Laplace(name, 0, 4), "sigma": lambda name, dims: pm.HalfNormal(name, 30)}
    graph = build_marginal(design, resolve_priors(design, FAMILY, chosen))
    assert {rv.name for rv in graph.free_RVs} == {"sd_g", "sigma", "coefficient_2"}
    evaluate = compiled(graph, [graph.logp(), graph.dlogp()])
    for _, point in prior_draws(graph, 3):
        assert np.isfinite(np.concatenate([np.ravel(each) for each in evaluate(point)])).all()


@pytest.mark.parametrize("formula", ["y ~ x", "y ~ x + v", "y ~ 0 + x"])
def test_a_function_as_the_prior_of_coefficients_is_asked_the_same_by_both_graphs(frame, formula):
    """For one number each; without random effects nothing is integrated out, so that the densities are the same."""
    asked = []

    def own(name, dims):
        asked.append(dims)
        return pm.Laplace(name, 2, 4)

    design = make_design(parse(formula), frame)
    priors = resolve_priors(design, FAMILY, dict.fromkeys(("beta", *["Intercept"] * design.has_intercept), own))
    marginal, explicit = build_marginal(design, priors), build_explicit(design, priors)
    assert asked == [()] * (2 * design.p)
    density, full = compiled(marginal, marginal.logp()), compiled(explicit, explicit.logp())
    names = [rv.name for rv in explicit.free_RVs if rv.name != "sigma"]
    order = sorted(names, key=lambda name: name.startswith("_slopes"))  # the intercept first
    for _, point in prior_draws(marginal, 3):
        values = [point[f"coefficient_{j}"] for j in range(design.p)]
        other = {"sigma_log__": point["sigma_log__"]} | dict(zip(order, values, strict=True))
        assert full(other) == pytest.approx(density(point), rel=1e-10)


def test_flat_priors_on_columns_that_depend_on_one_another_are_refused(frame):
    design = make_design(parse("y ~ x + twice + (1 | g)"), frame)
    with pytest.raises(PriorError, match=r"the priors of beta\[x\], beta\[twice\] are flat, but their columns are lin"):
        build_marginal(design, resolve_priors(design, FAMILY, {"beta": Prior("Flat")}))
    # one proper prior bounds both
    build_marginal(design, resolve_priors(design, FAMILY, {"beta[x]": Prior("Flat")}))
