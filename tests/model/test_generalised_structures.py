"""Covariances with a structure, and known ones of levels, in generalised models: against densities written out.

No package that is a reference fits all of these; Laplace's approximation is short in dense matrices.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invented import draws, invented
from scipy import optimize, stats

import bayesmm as bmm
from bayesmm.design.relations import over_levels
from bayesmm.errors import DataError
from bayesmm.estimation.glmm import Warm, criterion_of
from bayesmm.estimation.natural_likelihood import likelihood_of, natural_problem
from bayesmm.evaluation.prior_sensitivity.draw_densities import integrated_log_likelihood
from bayesmm.likelihood.marginal import generalised, generalised_structure
from bayesmm.likelihood.posterior import Parameters
from bayesmm.priors import prior_design
from bayesmm.sampling.joint import joint_posterior

DATA = Path(__file__).parents[1] / "data"


def counts(seed=1, G=14, m=8):
    """Return counts and yes/no responses of levels that are measured at four times, some of them not at all."""
    rng = np.random.default_rng(seed)
    g, t = np.repeat(np.arange(G), m), np.tile(np.arange(4), G * m // 4)
    kept = rng.random(G * m) < 0.8
    b = rng.normal(size=(G, 4)) @ np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(range(4), range(4)))).T
    x, c = rng.normal(size=G * m), rng.integers(6, size=G * m)
    eta = 0.4 + 0.3 * x + 0.8 * b[g, t] + 0.4 * rng.normal(size=6)[c]
    frame = {"y": rng.poisson(np.exp(eta)), "z": rng.binomial(1, 1 / (1 + np.exp(-eta))), "x": x}
    frame |= {name: [f"{name}{v:02d}" for v in values] for name, values in {"g": g, "t": t, "h": g % 2, "c": c}.items()}
    A = rng.normal(size=(6, 8))
    labels = [f"c{k:02d}" for k in range(6)]
    frame["u"] = 30 * eta + 20 * rng.standard_t(5, len(x))
    frame["v"] = rng.poisson(np.exp(0.5 + np.sin(2 * x) + 0.5 * (c % 3)))
    return pd.DataFrame(frame)[kept].reset_index(drop=True), pd.DataFrame(A @ A.T / 8, labels, labels)


FRAME, A = counts()
DENSITY = {  # log density of y given eta, less what depends on y alone
    "poisson": lambda y, eta: stats.poisson.logpmf(y, np.exp(eta)),
    "bernoulli": lambda y, eta: -np.logaddexp(0, np.where(y == 1, -eta, eta)),
}
MEAN = {"poisson": np.exp, "bernoulli": lambda eta: 1 / (1 + np.exp(-eta))}
WEIGHT = {"poisson": lambda mu: mu, "bernoulli": lambda mu: mu * (1 - mu)}


def wide(block):
    """Return the columns of all effects of a block, (n, G q)."""
    same = block.index[:, None] == np.arange(len(block.levels))
    return (same[:, :, None] * block.Z[:, None, :]).reshape(len(block.Z), -1)


def dense_laplace(design, beta, covariances):
    """Return -2 log likelihood by Laplace's approximation (Bates et al. 2015b, eq. 30), effects in units of V^1/2."""
    family, y, fixed = design.family.name, design.y, design.X @ beta
    parts = [
        np.kron(np.eye(len(b.levels)) if b.relation is None else b.relation.K, Sigma)
        for b, Sigma in zip(design.blocks, covariances, strict=True)
    ]
    L = [vectors * np.sqrt(np.maximum(lengths, 0)) for lengths, vectors in map(np.linalg.eigh, parts)]  # V may be 0
    ZL = np.hstack([wide(b) @ root for b, root in zip(design.blocks, L, strict=True)])
    u = np.zeros(ZL.shape[1])
    for _ in range(200):
        mu = MEAN[family](fixed + ZL @ u)
        H = ZL.T @ (WEIGHT[family](mu)[:, None] * ZL) + np.eye(len(u))
        step = np.linalg.solve(H, ZL.T @ (y - mu) - u)
        u = u + step
        if np.abs(step).max() < 1e-12:
            break
    log_p = DENSITY[family](y, fixed + ZL @ u).sum() - 0.5 * u @ u
    return -2 * log_p + np.linalg.slogdet(H)[1]


CASES = [
    ("y ~ x + cs(0 + t | g)", "poisson"),
    ("y ~ x + ar1(0 + t | g)", "poisson"),
    ("y ~ x + toep(0 + t | g)", "poisson"),
    ("y ~ x + ident(0 + t | g) + (1 | c)", "poisson"),
    ("y ~ x + (x | gr(g, by = h))", "poisson"),
    ("z ~ x + ar1(0 + t | g)", "bernoulli"),
    ("y ~ x + (1 | gr(c, cov = A))", "poisson"),
    ("z ~ x + (1 | gr(c, cov = A))", "bernoulli"),
    ("y ~ x + (1 | gr(c, cov = A)) + ar1(0 + t | g)", "poisson"),
    ("y ~ x + (1 | g) + (1 | gr(c, cov = A))", "poisson"),
]


def model_of(formula, family):
    return bmm.Model(formula, FRAME, family=family, matrices={"A": A} if "cov" in formula else None)


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_the_criterion_is_laplaces_in_dense_matrices(formula, family):
    model = model_of(formula, family)
    point = model.maximize()
    assert point.converged
    assert point.criterion == pytest.approx(dense_laplace(model.design, point.beta, point.covariances), rel=1e-8)


def ar1(sd, r):
    return sd**2 * r ** np.abs(np.subtract.outer(range(4), range(4)))


SEARCHED = {  # parameters on the real line -> the covariance matrices
    "y ~ x + ar1(0 + t | g)": (lambda v: [ar1(np.exp(v[0]), np.tanh(v[1]))], [-0.5, 0.5]),
    "y ~ x + (1 | gr(c, cov = A)) + ar1(0 + t | g)": (
        lambda v: [np.exp([[2 * v[2]]]), ar1(np.exp(v[0]), np.tanh(v[1]))],
        [-0.5, 0.5, -0.5],
    ),
    "y ~ x + (1 | gr(c, cov = A))": (lambda v: [np.exp([[2 * v[0]]])], [-0.5]),
}


@pytest.mark.parametrize("formula", SEARCHED)
def test_no_other_parameters_are_better(formula):
    covariances, start = SEARCHED[formula]
    model = model_of(formula, "poisson")
    point = model.maximize()
    blocks = [b.name for b in model.design.blocks]

    def criterion(v):
        found = covariances(v[2:])
        return dense_laplace(model.design, v[:2], found if blocks[0] == "c" or len(found) == 1 else found[::-1])

    best = optimize.minimize(criterion, [*point.beta, *start], method="BFGS", options={"gtol": 1e-5})
    assert point.criterion == pytest.approx(best.fun, rel=1e-7)
    assert point.criterion < best.fun + 1e-6
    np.testing.assert_allclose(point.beta, best.x[:2], atol=1e-3 * point.fixef()["se"].min())
    found = covariances(best.x[2:])
    for own, other in zip(
        point.covariances, found if blocks[0] == "c" or len(found) == 1 else found[::-1], strict=True
    ):
        np.testing.assert_allclose(own, other, rtol=2e-3, atol=1e-4)


def test_counts_of_sites_are_those_of_r():
    """A dense Laplace approximation in R, which lme4 with chol(K)' Zt in the place of Zt agrees with to 2e-10."""
    sites = pd.read_csv(DATA / "spatial.csv").drop_duplicates("site")
    at, labels = sites[["u", "v"]].to_numpy(), sites["site"].to_numpy()
    K = pd.DataFrame(np.exp(-np.linalg.norm(at[:, None] - at, axis=2) / 3), labels, labels)
    data = pd.read_csv(DATA / "spatial_counts.csv")
    point = bmm.Model("y ~ x + (1 | gr(lev, cov = K))", data, family="poisson", matrices={"K": K}).maximize()
    assert point.criterion == pytest.approx(479.26603183102, rel=1e-9)
    np.testing.assert_allclose(point.beta, [0.220416681519924, 0.38634701717004], atol=1e-4 * 0.0685)
    np.testing.assert_allclose(point.fixef()["se"], [0.356671797102139, 0.0685266537792308], rtol=1e-4)
    assert point.parameters["sd_lev[Intercept]"] == pytest.approx(0.722016365604539, rel=1e-4)
    modes = [-0.159753168506446, 1.09027528492938, -0.219246278440233, -0.346924925039548]
    np.testing.assert_allclose(point.ranef()["condval"].head(4), modes, rtol=1e-4)


def joint_of(model, centred=False):
    """Return the joint log posterior, with all effects written out."""
    own = prior_design(model.design, model.priors)
    flags = [centred] * len(model.design.blocks)
    return joint_posterior(model.design, own, model.priors, flags), flags


def written_density(model, posterior, x, flags):
    """Return log p(y | b) + log p(e) at coordinates x, in dense matrices, for the covariances of the structure."""
    design, structure = prior_design(model.design, model.priors), generalised_structure(model.design)
    c = posterior.coordinates
    sizes = [len(b.levels) * len(b.columns) for b in design.blocks]
    t = len(x) - sum(sizes)
    from bayesmm.likelihood.coordinates import values

    scalars = values(c, x[None])
    found, _ = structure.covariances(c, x[None], scalars)
    gamma, at, eta, total = scalars[0, : -sum(sizes)][-design.p :], t, design.offset.copy(), 0.0
    eta = eta + design.X @ gamma
    for block, (sd, C), size, centred in zip(design.blocks, found, sizes, flags, strict=True):
        L, e = sd[0][:, None] * C[0], x[at : at + size].reshape(len(block.levels), -1)
        if centred:
            total += stats.multivariate_normal(np.zeros(len(L)), L @ L.T).logpdf(e).sum()
            b = over_levels(block, e)
        else:
            total += stats.norm.logpdf(e).sum()
            b = over_levels(block, e @ L.T)
        eta = eta + np.einsum("ij,ij->i", block.Z, b[block.index])
        at += size
    return total + DENSITY[design.family.name](design.y, eta).sum()


@pytest.mark.parametrize(("formula", "family"), CASES)
@pytest.mark.parametrize("centred", [False, True])
def test_the_joint_density_is_that_of_its_parts_with_its_gradient(formula, family, centred):
    model = model_of(formula, family)
    posterior, flags = joint_of(model, centred)
    rng, differences = np.random.default_rng(3), []
    base = rng.normal(0, 0.5, posterior.size)
    sizes = sum(len(b.levels) * len(b.columns) for b in model.design.blocks)
    for k in range(3):  # other effects and coefficients: the priors of the variances stay
        x = base.copy()
        x[-sizes:] = rng.normal(0, 0.5, sizes)
        value, gradient = posterior(x)
        differences.append(value - written_density(model, posterior, x, flags))
        if k == 0:
            for i in [*range(min(8, len(x) - sizes)), len(x) - sizes, len(x) - 1]:
                h = np.zeros(len(x))
                h[i] = 1e-5
                slope = (posterior(x + h)[0] - posterior(x - h)[0]) / 2e-5
                assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-5), i
    np.testing.assert_allclose(differences, differences[0], rtol=1e-10)


def test_the_marginal_density_is_the_integral_of_the_joint_one():
    """Of the two effects of each level, by a fine grid; a difference of two points, so that no constant matters."""
    frame = FRAME.assign(f=FRAME["t"].isin(["t00", "t02"]).map({True: "a", False: "b"}))
    model = bmm.Model("y ~ x + cs(0 + f | g)", frame, family="poisson")
    posterior = generalised(model.design, model.priors).posterior
    joint, _ = joint_of(model)
    design, size = model.design, 2 * len(model.design.blocks[0].levels)
    grid = np.linspace(-7, 7, 141)
    e = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    own, block = prior_design(design, model.priors), design.blocks[0]
    values, t = [], joint.size - size
    for x in np.random.default_rng(2).normal(-0.3, 0.4, (2, t)):
        from bayesmm.likelihood.coordinates import values as scalars_of

        scalars = scalars_of(posterior.coordinates, x[None])
        ((sd, C),) = generalised_structure(design).covariances(posterior.coordinates, x[None], scalars)[0]
        b, fixed, total = e @ (sd[0][:, None] * C[0]).T, own.X @ scalars[0, -design.p :], 0.0
        for k in range(len(block.levels)):
            rows = block.index == k
            eta = fixed[rows, None] + block.Z[rows] @ b.T
            log_p = stats.poisson.logpmf(design.y[rows, None], np.exp(eta)).sum(axis=0) + stats.norm.logpdf(e).sum(
                axis=1
            )
            total += np.log(np.exp(log_p).sum() * (grid[1] - grid[0]) ** 2)
        prior = joint(np.concatenate([x, np.zeros(size)]))[0]  # with e = 0 the joint density has no covariances
        prior -= stats.norm.logpdf(np.zeros(size)).sum() + stats.poisson.logpmf(design.y, np.exp(fixed)).sum()
        values.append(posterior(x)[0] - prior - total)
    assert values[0] == pytest.approx(values[1], abs=1e-5)  # of 1e2; the lattice is good to about 1e-6


@pytest.mark.parametrize(("response", "family"), [("y", "poisson"), ("u", "student")])
def test_the_natural_parameters_of_the_maximum_have_its_likelihood(response, family):
    """Also with an identity link, where the sds are searched in units of the response's; with the gradient."""
    text = f"{response} ~ x + (1 | gr(c, cov = A)) + ar1(0 + t | g)"
    model = bmm.Model(text, FRAME, family=family, matrices={"A": A})
    point, problem = model.maximize(), natural_problem(model.design)
    warm = Warm(np.zeros(sum(len(b.levels) * len(b.columns) for b in model.design.blocks)))
    likelihood = likelihood_of(problem, criterion_of(problem, 1, warm), model.design)
    known = point.parameters
    at = Parameters(
        np.array([known["sd_c[Intercept]"]]), np.array([known[name] for name in likelihood.structure.names]), point.beta
    )
    assert -2 * likelihood(at)[0] == pytest.approx(point.criterion, rel=1e-9)
    away = Parameters(*(1.2 * part for part in at))
    slopes = likelihood(away)[1]
    for k, part in enumerate(away):
        for i in range(len(part)):
            h = 1e-5 * max(abs(part[i]), 1e-3)
            near = [
                away._replace(**{away._fields[k]: part + sign * h * (np.arange(len(part)) == i)}) for sign in (1, -1)
            ]
            slope = (likelihood(near[0])[0] - likelihood(near[1])[0]) / (2 * h)
            assert slopes[k][i] == pytest.approx(slope, rel=1e-4, abs=1e-5), (away._fields[k], i)


def test_a_step_to_the_edge_of_a_parameter_is_refused():
    """A wild step makes a scale 0 in floating point: there is no likelihood there, and no error of the logarithm."""
    model = bmm.Model("u ~ x + (1 | gr(c, cov = A))", FRAME, family="student", matrices={"A": A})
    problem = natural_problem(model.design)
    warm = Warm(np.zeros(sum(len(b.levels) * len(b.columns) for b in model.design.blocks)))
    likelihood = likelihood_of(problem, criterion_of(problem, 1, warm), model.design)
    for positive in ([0.0, 4.0], [1.0, np.inf]):
        value, slopes = likelihood(Parameters(np.ones(1), np.array(positive), np.zeros(2)))
        assert value == -np.inf and all((part == 0).all() for part in slopes)


CURVE = ("v ~ s(x, k = 5) + (1 | c)", "poisson")


@pytest.mark.parametrize(("formula", "family"), [CASES[1], CASES[3], CASES[6], CASES[8], CURVE])
def test_the_mode_is_one_of_the_density_that_it_is_of(formula, family):
    """MAP: no step in a parameter makes the dense density higher."""
    model = model_of(formula, family)
    point = model.maximize("MAP")
    assert point.converged

    def density(beta, covariances):
        assert all(np.diag(Sigma).min() > 0.01 for Sigma in covariances)  # no mode at 0, where a share of it is nothing
        total = dense_laplace(model.design, beta, covariances) / -2
        for block, Sigma in zip(model.design.blocks, covariances, strict=True):
            sd = np.sqrt(Sigma[0, 0])
            place = next(p for p in model.priors if p.startswith(f"sd_{block.name}"))
            total += model.priors[place].logpdf(sd)
        slope, mean = model.priors[f"beta[{model.design.coefficients[1]}]"], model.priors["Intercept_centred"]
        return total + slope.logpdf(beta[1]) + mean.logpdf(beta[0] + beta[1] * model.design.X[:, 1].mean())

    best = density(point.beta, point.covariances)
    for step in (0.99, 1.01):
        for k in range(len(point.covariances)):
            other = [S * step if i == k else S for i, S in enumerate(point.covariances)]
            assert density(point.beta, other) < best
        for k in range(2):
            beta = point.beta.copy()
            beta[k] *= step
            assert density(beta, point.covariances) < best


@pytest.mark.slow
@pytest.mark.parametrize("formula", ["y ~ x + (1 | gr(c, cov = A)) + ar1(0 + t | g)", "y ~ x + cs(0 + t | g)"])
def test_compiled_draws_are_those_of_the_graph(formula):
    model = model_of(formula, "poisson")
    ours = model.sample(draws=1000, seed=1, progress=False)
    graph = model.sample(draws=500, tune=500, seed=2, sampler="pymc", effects="explicit", progress=False)
    a, b = ours.summary(), graph.summary()
    mcse = np.sqrt(a["sd"] ** 2 / a["ess_bulk"] + b["sd"] ** 2 / b["ess_bulk"])
    assert (np.abs(a["mean"] - b["mean"]) < 5 * mcse).all()


def test_a_related_factor_is_simulated_predicted_and_kept(tmp_path):
    model = model_of("y ~ x + (1 | gr(c, cov = A))", "poisson")
    values = {"beta[Intercept]": 4.0, "beta[x]": 0.0, "sd_c[Intercept]": 0.2}
    drawn = np.log(model.simulate(values, draws=4000, seed=1).to_numpy())
    level, K = model.design.blocks[0].index, model.design.blocks[0].relation.K
    means = np.array([drawn[level == k].mean(axis=0) for k in range(len(K))])
    np.testing.assert_allclose(np.cov(means), 0.04 * K + np.diag(np.exp(-4.0) / np.bincount(level)), atol=0.006)
    fit = invented(model)
    eta = fit.predict(kind="linear").draws.reshape(-1, model.design.n)
    expected = draws(fit, "beta") @ model.design.X.T + draws(fit, "b_c")[:, level, 0]
    np.testing.assert_allclose(eta, expected)
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.design.blocks[0].relation.K, K)
    assert r"_{g \in \text{c}} &\sim \mathcal{N}(0,\ s_{\text{c},\text{Intercept}}^{2}\,{\text{A}})" in model.equation()


@pytest.mark.parametrize("formula", ["y ~ x + (1 | gr(c, cov = A))", "y ~ x + (1 | gr(c, cov = A)) + (1 | g)"])
def test_the_integrated_likelihood_of_each_draw_is_laplaces(formula):
    fit = invented(model_of(formula, "poisson"))
    found, how = integrated_log_likelihood(fit)
    assert "Laplace" in how
    for d in (0, 5):
        own = [draws(fit, f"sd_{b.name}")[d] for b in fit.design.blocks]
        expected = dense_laplace(fit.design, draws(fit, "beta")[d], [np.diag(sd**2) for sd in own]) / -2
        assert found[d] == pytest.approx(expected, rel=1e-8)


def test_new_relatives_are_drawn_given_those_of_the_fit():
    frame = FRAME[FRAME["c"] != "c02"]  # which the matrix has
    model = bmm.Model("y ~ x + (1 | gr(c, cov = A))", frame, family="poisson", matrices={"A": A})
    fit, new = invented(model), FRAME[FRAME["c"] == "c02"].head(2)
    at = [A.index.get_loc(level) for level in model.design.blocks[0].levels]
    own, across = A.to_numpy()[np.ix_(at, at)], A.to_numpy()[A.index.get_loc("c02"), at]
    weights = np.linalg.solve(own, across)
    variance = A.loc["c02", "c02"] - weights @ across
    b, sd, z = draws(fit, "b_c")[:, :, 0], draws(fit, "sd_c")[:, 0], []
    for seed in range(40):
        eta = fit.predict(new, kind="linear", new_levels="sample", seed=seed).draws.reshape(-1, 2)
        fixed = np.column_stack([np.ones(2), new["x"]]) @ draws(fit, "beta").T
        effect = eta - fixed.T
        np.testing.assert_allclose(effect[:, 0], effect[:, 1])  # one level
        z.append((effect[:, 0] - b @ weights) / (sd * np.sqrt(variance)))
    assert abs(np.mean(z)) < 5 / np.sqrt(np.size(z)) and abs(np.var(z) - 1) < 5 * np.sqrt(2 / np.size(z))
    with pytest.raises(DataError, match="draws its effect given theirs with new_levels='sample'"):
        fit.predict(new)
    with pytest.raises(DataError, match=re.escape("matrices['A'] has no row for it")):
        fit.predict(new.assign(c="c99"), new_levels="sample")
    with pytest.raises(DataError, match="draws its effect given theirs"):
        model.maximize().predict(new, new_levels="zero")


def test_what_cannot_be_is_said():
    model = model_of("y ~ x + (1 | gr(c, cov = A))", "poisson")
    with pytest.raises(ValueError, match=re.escape("nagq = 7 is not possible with gr(c, cov = A)")):
        model.maximize(nagq=7)
    with pytest.raises(ValueError, match="have a known covariance, so that they are integrated out by no quadrature"):
        model.effects("marginal")
    with pytest.raises(DataError, match="is not possible beside random effects of a parameter of the family"):
        bmm.Model(
            ("y ~ x + (1 | gr(c, cov = A))", "zi ~ (1 | g)"), FRAME, family="zero_inflated_poisson", matrices={"A": A}
        )
    with pytest.raises(DataError, match=re.escape("is not possible with the known covariance of gr(c, cov = A)")):
        model.maximize().confint()
