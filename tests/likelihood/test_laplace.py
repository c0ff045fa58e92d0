"""Laplace's approximation: against the formula written out, brute-force integration, and an independent package."""

import numpy as np
import pandas as pd
import pytest
from densities import CASES, auxiliaries, codes, differences, log_density, responses
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmm as bmm
from bayesmm.likelihood.crossproducts import Factor
from bayesmm.likelihood.laplace import Response, conditional_modes, laplace
from bayesmm.likelihood.laplace_cholesky import analyse

# Hypothesis draws seeds: a few examples of every case, small enough for a dense Newton iteration each.
few = settings(max_examples=3, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)
SHAPES = {
    "q=1": ((6, 1),),
    "q=2": ((5, 2),),
    "nested and crossed": ((8, 2), (5, 1), (2, 1)),
    "wide": ((25, 2), (24, 2)),
}
N = 50


def problem(family, link, shape, seed):
    """Return layout, response, fixed part, packed factors and auxiliaries, all random."""
    rng = np.random.default_rng(seed)
    factors = []
    for G, q in shape:
        index = np.concatenate([np.arange(G), rng.integers(0, G, N - G)])
        Z = np.column_stack([np.ones(N), rng.normal(size=N)])[:, :q]
        factors.append(Factor(index, np.ascontiguousarray(Z), G))
    layout, _ = analyse(factors)
    y, size = responses(family, rng, N)
    T = np.concatenate([np.tril(rng.normal(0, 0.4, (q, q))).ravel() for q in layout.q])
    fixed = rng.normal(0, 0.3, N)
    if link == "inverse":  # a mean above 0 is needed
        fixed, T = 0.8 + fixed / 5, 0.15 * T
    response = Response(*codes(family, link), y, size, rng.uniform(0.5, 2, N))
    return layout, response, fixed, T, auxiliaries(family, rng)


def dense(layout, T):
    """Return Z (n, J) and Lambda (J, J), written out."""
    J = int((layout.q * layout.n_levels).sum())
    Z, Lam, at, packed = np.zeros((N, J)), np.zeros((J, J)), 0, 0
    for k, (q, G) in enumerate(zip(layout.q, layout.n_levels, strict=True)):
        for g in range(G):
            here = slice(layout.base[k] + g * q, layout.base[k] + (g + 1) * q)
            rows = layout.index[:, k] == g
            Z[rows, here] = layout.Z[rows, at : at + q]
            Lam[here, here] = np.tril(T[packed : packed + q * q].reshape(q, q))
        at, packed = at + q, packed + q * q
    return Z, Lam


def written_out(family, link, layout, response, fixed, T, aux):
    """Return the Laplace value, the mode and H^-1 from SciPy's densities, differentiated by differences."""
    Z, Lam = dense(layout, T)
    ZL, u = Z @ Lam, np.zeros(Z.shape[1])

    def row_values(eta):
        return response.weights * log_density(family, link, response.y, response.size, eta, aux)

    def objective(u):
        return row_values(fixed + ZL @ u).sum() - u @ u / 2

    for _ in range(60):
        eta = fixed + ZL @ u
        slope, D = differences(row_values, eta), -differences(row_values, eta, 2)
        H = ZL.T @ (D[:, None] * ZL) + np.eye(len(u))
        safe = H if np.linalg.eigvalsh(H).min() > 0 else ZL.T @ (np.maximum(D, 0)[:, None] * ZL) + np.eye(len(u))
        step, length = np.linalg.solve(safe, ZL.T @ slope - u), 1.0
        while not objective(u + length * step) >= objective(u) - 1e-9 and length > 1e-6:
            length /= 2
        u = u + length * step
        if np.abs(step).max() < 1e-9:
            break
    return objective(u) - np.linalg.slogdet(H)[1] / 2, u, np.linalg.inv(H), Lam


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family, link", CASES)
@few
@given(seed=seeds)
def test_value_mode_and_covariances_are_those_of_the_formula(family, link, shape, seed):
    layout, response, fixed, T, aux = problem(family, link, SHAPES[shape], seed)
    value, u, inverse, Lam = written_out(family, link, layout, response, fixed, T, aux)
    found = laplace(layout, response, fixed, T, aux, np.zeros(len(u)))
    assert found.ok
    # the written-out version differentiates by differences: about 1e-8 in D, hence in log|H|
    assert found.value == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(found.u, u, atol=1e-6)
    b, at = Lam @ u, conditional_modes(layout, response, fixed, T, aux, found.u)
    C = Lam @ inverse @ Lam.T
    for k, (q, G) in enumerate(zip(layout.q, layout.n_levels, strict=True)):
        here = layout.base[k] + np.arange(G * q).reshape(G, q)
        np.testing.assert_allclose(at.modes[k], b[here], atol=1e-6)
        np.testing.assert_allclose(at.covariances[k], C[here[:, :, None], here[:, None, :]], atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family, link", CASES)
def test_gradient(family, link, shape):
    layout, response, fixed, T, aux = problem(family, link, SHAPES[shape], 3)
    start = np.zeros(int((layout.q * layout.n_levels).sum()))
    found = laplace(layout, response, fixed, T, aux, start)
    rng = np.random.default_rng(0)
    lower = np.concatenate([np.tril(np.ones((q, q))).ravel() for q in layout.q])
    # along random directions, so that every entry counts; sixth-order differences leave 1e-9
    for which, at, gradient, mask in (
        (0, fixed, found.d_fixed, 1.0),
        (1, T, found.d_T, lower),
        (2, aux, found.d_aux, aux > 0),
    ):
        direction = rng.normal(size=len(at)) * mask

        def along(t, which=which, at=at, direction=direction):
            moved = [fixed, T, aux]
            moved[which] = at + t * direction
            return laplace(layout, response, *moved, start).value

        assert gradient @ direction == pytest.approx(differences(along, 0.0, h=2e-3), abs=1e-6, rel=1e-7)


@pytest.mark.parametrize("family, link", [("poisson", "log"), ("student", "identity"), ("beta", "probit")])
def test_singular_factors_are_valid_points(family, link):
    layout, response, fixed, T, aux = problem(family, link, ((6, 2), (4, 1)), 5)
    start = np.zeros(16)
    for entries in ((0, 2), (3,), (0, 2, 3), (4,), range(5)):
        zero = T.copy()
        zero[list(entries)] = 0.0
        value = written_out(family, link, layout, response, fixed, zero, aux)[0]
        found = laplace(layout, response, fixed, zero, aux, start)
        assert found.value == pytest.approx(value, abs=1e-6)
        assert np.isfinite(found.d_T).all()
        near = laplace(layout, response, fixed, np.where(zero == 0, 1e-7 * (T != 0), zero), aux, start)
        assert found.value == pytest.approx(near.value, abs=1e-5)


def test_the_start_of_the_search_does_not_matter():
    layout, response, fixed, T, aux = problem("poisson", "log", SHAPES["wide"], 8)
    rng = np.random.default_rng(1)
    values = [laplace(layout, response, fixed, T, aux, s * rng.normal(size=98)).value for s in (0, 1, 5, 1e3)]
    np.testing.assert_allclose(values, values[0], rtol=1e-12)


@pytest.mark.parametrize("family, link", [("gamma", "log"), ("poisson", "log"), ("beta", "logit")])
def test_a_start_from_which_no_mode_is_found_is_given_up_for_zero(family, link):
    """A line search comes from the modes of wild steps; the criterion is a function of the parameters alone."""
    layout, response, fixed, T, aux = problem(family, link, SHAPES["wide"], 8)
    T, rng = 8 * T, np.random.default_rng(1)
    found = [laplace(layout, response, fixed, T, aux, s * rng.normal(size=98)) for s in (0, 3, 10, 30, 100)]
    assert [one.ok for one in found] == [True] * len(found)
    np.testing.assert_allclose([one.value for one in found], found[0].value, rtol=1e-10)


def test_a_normal_response_is_integrated_exactly():
    """The identity link: Laplace is no approximation, and equals the Gaussian core."""
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"g": rng.integers(0, 9, 80), "h": rng.integers(0, 5, 80), "x": rng.normal(size=80)})
    data["y"] = data["x"] + (1 + data["x"]) * rng.normal(size=9)[data["g"]] + rng.normal(size=80)
    point = bmm.Model("y ~ x + (x || g) + (1 | h)", data).maximize("ML")
    layout, order = analyse([Factor(b.index, b.Z, len(b.levels)) for b in point.design.blocks])
    T = np.concatenate([np.sqrt(point.covariances[k]).ravel() for k in order])
    ones = np.ones(80)
    response = Response(*codes("gaussian", "identity"), point.design.y, ones, ones)
    found = laplace(layout, response, point.design.X @ point.beta, T, np.array([point.sigma, 0.0, 0.0]), np.zeros(23))
    assert found.value == pytest.approx(point.loglik, abs=1e-8)
    np.testing.assert_allclose(found.u[:18].reshape(9, 2) @ T[:4].reshape(2, 2).T, point.modes[0], atol=1e-7)


def simulated(family, G=30, per=8, seed=0):
    rng = np.random.default_rng(seed)
    n = G * per
    data = pd.DataFrame({"g": np.repeat(np.arange(G), per), "h": rng.integers(0, 12, n), "x": rng.normal(size=n)})
    eta = 0.2 + 0.5 * data["x"] + 0.7 * rng.normal(size=G)[data["g"]] + 0.5 * rng.normal(size=12)[data["h"]]
    p = 1 / (1 + np.exp(-eta))
    data["n"] = rng.integers(2, 9, n) if family == "binomial" else 1
    data["y"] = rng.poisson(np.exp(eta)) if family == "poisson" else rng.binomial(data["n"], p)
    return data


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["poisson", "bernoulli", "binomial"])
@pytest.mark.parametrize("bars", ["(1 | g)", "(1 | g) + (1 | h)", "(1 + x | g)"])
def test_the_same_optimum_as_mixedlm(family, bars):
    mixedlm = pytest.importorskip("mixedlm")
    data = simulated(family)
    data["share"] = data["y"] / data["n"]
    left = "y | trials(n)" if family == "binomial" else "y"
    point = bmm.Model(f"{left} ~ x + {bars}", data, family=family).maximize()
    kind = mixedlm.families.Poisson() if family == "poisson" else mixedlm.families.Binomial()
    weights = {"weights": data["n"].to_numpy(float)} if family == "binomial" else {}
    other = mixedlm.glmer(f"{'share' if weights else 'y'} ~ x + {bars}", data, family=kind, **weights)
    # its optimiser stops earlier than ours, at a likelihood that is never higher: 1e-3 of a standard error
    estimate = np.array(list(other.fixef().values()))
    assert np.abs((point.fixef()["estimate"] - estimate) / point.fixef()["se"]).max() < 0.01
    assert point.converged
    if not weights:  # it leaves the binomial coefficients out
        theirs = float(str(other.logLik()).split()[2])
        assert theirs - 1e-3 <= point.loglik <= theirs + 1e-2


@pytest.mark.parametrize(
    "formula, kind, where",
    [
        ("sep ~ x + (1 | g)", "bernoulli", "the coefficients of Intercept, x grow|the coefficient of x grows"),
        ("sep ~ x", "bernoulli", "the coefficients of Intercept, x grow|the coefficient of x grows"),
        ("quasi ~ big + (1 | g)", "bernoulli", "the coefficient of big grows without bound"),
        ("zeros ~ big + (1 | g)", "poisson", "the coefficient of big grows without bound"),
        ("pure ~ x + (1 | g)", "bernoulli", "the sd of Intercept in g grows without bound"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::bayesmm.BayesmmWarning")
def test_no_finite_maximum_is_named(formula, kind, where):
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": np.repeat(np.arange(20), 8), "x": rng.normal(size=160)})
    data = data.assign(sep=(data["x"] > 0).astype(int), big=(data["x"] > 1).astype(float), pure=data["g"] % 2)
    data["quasi"] = np.where(data["big"] == 1, 1, rng.integers(0, 2, 160))
    data["zeros"] = np.where(data["big"] == 1, 0, rng.poisson(2, 160))
    point = bmm.Model(formula, data, family=kind).maximize()
    assert not point.converged
    assert pd.Series([point.message]).str.contains(where).all(), point.message
    assert np.isfinite(point.loglik) and np.isfinite(point.beta).all() and np.isfinite(point.beta_cov).all()
    assert "optimizer: NOT converged" in str(point)


@pytest.mark.parametrize(
    "formula, call, message",
    [
        ("y ~ x + (1 | g)", {"method": "REML"}, r"^REML is defined for gaussian models .* poisson family.*; use 'ML'$"),
        ("y ~ x + (1 | g)", {"nagq": 0}, "nagq should be a whole number of at least 1, not 0"),
        ("y ~ x + (1 | g)", {"nagq": 2.5}, "nagq should be a whole number of at least 1, not 2.5"),
        ("y ~ x + (1 | g)", {"nagq": 1000}, "nagq should be at most 100, and is 1000"),
        (
            "y ~ x + (1 | g) + (1 | h)",
            {"nagq": 7},
            "needs exactly one grouping factor, and the model has g, h; use nagq=1",
        ),
        ("y ~ x", {"nagq": 7}, "needs exactly one grouping factor, and the model has none"),
        (
            "y ~ x + (x + h + I(x^2) | g)",
            {"nagq": 7},
            "at most 3 random effects for each level of g, and the model has 4",
        ),
        ("y ~ x + (1 | g)", {"start": {"sd_g[x]": 1.0}}, r"start names 'sd_g\[x\]'"),
    ],
)
@pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
def test_wrong_arguments(formula, call, message):
    with pytest.raises(ValueError, match=message):
        bmm.Model(formula, simulated("poisson"), family="poisson").maximize(**call)


@pytest.mark.parametrize("family, link", CASES)
@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::bayesmm.BayesmmWarning")
def test_every_family_is_fitted_where_the_gradient_is_zero(family, link):
    """With random effects, and without: there SciPy's density at the estimates is the log-likelihood."""
    rng = np.random.default_rng(6)
    data = pd.DataFrame({"g": np.repeat(np.arange(15), 10), "x": rng.normal(size=150)})
    data["y"], data["n"] = responses(family, rng, 150)
    if family in ("gaussian", "student") and link == "identity":
        data["y"] += data["x"] + rng.normal(size=15)[data["g"]]
    trials = "n" if family == "binomial" else None
    if (family, link) == ("gaussian", "identity"):
        return
    mixed = bmm.Model("y ~ x + (1 | g)", data, family=family, link=link, trials=trials).maximize()
    assert mixed.converged, mixed.message
    assert list(mixed.auxiliaries) == list(mixed.design.family.auxiliaries)
    plain = bmm.Model("y ~ x", data, family=family, link=link, trials=trials).maximize()
    aux = np.zeros(3)
    aux[: len(plain.auxiliaries)] = list(plain.auxiliaries.values())
    X, y, size = plain.design.X, plain.design.y, np.ones(150) if trials is None else plain.design.trials

    def loglik(beta):
        return np.array([log_density(family, link, y, size, X @ b, aux).sum() for b in np.atleast_2d(beta)])

    assert plain.converged, plain.message
    assert plain.loglik == pytest.approx(loglik(plain.beta)[0], abs=1e-9)
    assert plain.npar == 2 + len(plain.auxiliaries)
    for direction in np.eye(2):
        slope = differences(lambda t, d=direction: loglik(plain.beta + t * d)[0], 0.0, h=1e-3)
        assert slope == pytest.approx(0, abs=1e-4)
    # standard errors from the curvature, where no auxiliary is tied to the coefficients
    if not plain.auxiliaries:
        H = np.array(
            [
                [differences(lambda t, a=a, b=b: loglik(plain.beta + t * (a + b))[0], 0.0, 2, 1e-2) for a in np.eye(2)]
                for b in np.eye(2)
            ]
        )
        diagonal = np.diag(H) / 4
        off = (H[0, 1] - diagonal[0] - diagonal[1]) / 2
        cov = np.linalg.inv(-np.array([[diagonal[0], off], [off, diagonal[1]]]))
        np.testing.assert_allclose(plain.beta_cov, cov, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
def test_units_of_predictor_and_response_do_not_matter():
    data = simulated("poisson")
    base = bmm.Model("y ~ x + (x | g)", data, family="poisson").maximize()
    for factor in (1e-8, 1e8):
        point = bmm.Model("y ~ x + (x | g)", data.assign(x=data["x"] * factor), family="poisson").maximize()
        assert point.loglik == pytest.approx(base.loglik, abs=1e-8)
        assert point.fixef().loc["x", "estimate"] * factor == pytest.approx(base.fixef().loc["x", "estimate"], rel=1e-6)
        assert point.fixef().loc["x", "se"] * factor == pytest.approx(base.fixef().loc["x", "se"], rel=1e-5)
    counts = data.assign(y=np.random.default_rng(0).poisson(1e6 * np.exp(0.1 * data["x"] + 0.2 * np.sin(data["g"]))))
    point = bmm.Model("y ~ x + (1 | g)", counts, family="poisson").maximize()
    assert point.converged and point.fixef().loc["x", "estimate"] == pytest.approx(
        0.1, abs=5 * point.fixef().loc["x", "se"]
    )


@pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")
def test_metamorphic():
    """Row order, level names and equivalent formulas; doubled rows are weights of 2; a bernoulli is a binomial of 1."""
    data = simulated("bernoulli")
    base = bmm.Model("y ~ x + (x || g)", data, family="bernoulli").maximize()
    other = data.sample(frac=1, random_state=1).assign(g=lambda d: "level " + d["g"].astype(str))
    same = [
        bmm.Model("y ~ x + (1 | g) + (0 + x | g)", other, family="bernoulli"),
        bmm.Model("y ~ x + (x || g)", data, family="binomial", trials="n"),
    ]
    for model in same:
        assert model.maximize().loglik == pytest.approx(base.loglik, abs=1e-9)
    weighted = bmm.Model("y ~ x", data, family="bernoulli", weights=np.full(len(data), 2.0)).maximize()
    doubled = bmm.Model("y ~ x", pd.concat([data, data]), family="bernoulli").maximize()
    assert weighted.loglik == pytest.approx(doubled.loglik, abs=1e-9)
    np.testing.assert_allclose(weighted.beta_cov, doubled.beta_cov, rtol=1e-6)
    same_point = bmm.Model("y ~ x + (x || g)", data, family="bernoulli").maximize(
        start={"sd_g[Intercept]": 0.3, "sd_g[x]": 2.0}
    )
    assert same_point.loglik == pytest.approx(base.loglik, abs=1e-9)


@pytest.mark.parametrize("family, link", [case for case in CASES if case != ("gaussian", "identity")])
def test_many_nodes_are_the_integral(family, link):
    """Adaptive quadrature at the optimum of nagq=1 and of nagq=25, against the integral over a dense grid."""
    rng = np.random.default_rng(9)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 6), "x": rng.normal(size=48)})
    data["y"], data["n"] = responses(family, rng, 48)
    trials = "n" if family == "binomial" else None
    point = bmm.Model("y ~ x + (1 | g)", data, family=family, link=link, trials=trials).maximize(nagq=25)
    sd = float(np.sqrt(point.covariances[0][0, 0]))
    aux = np.zeros(3)
    aux[: len(point.auxiliaries)] = list(point.auxiliaries.values())
    grid = np.linspace(-9, 9, 4001)
    total, size = 0.0, np.ones(48) if trials is None else point.design.trials
    for g in range(8):
        rows = np.flatnonzero(point.design.blocks[0].index == g)
        eta = (point.design.X[rows] @ point.beta)[:, None] + sd * grid
        with np.errstate(invalid="ignore", divide="ignore"):
            f = log_density(family, link, point.design.y[rows, None], size[rows, None], eta, aux).sum(axis=0)
        f = np.where(np.isfinite(f), f, -np.inf) - grid**2 / 2 - np.log(2 * np.pi) / 2
        total += np.log(np.trapezoid(np.exp(f - f.max()), grid)) + f.max()
    # 25 nodes leave more where the integrand is not log-concave
    assert point.loglik == pytest.approx(total, abs=1e-5 if family == "gaussian" else 1e-6)
