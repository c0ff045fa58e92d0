"""The mode of the marginal posterior of generalised models, beside a dense optimisation of the same density."""

import numpy as np
import pandas as pd
import pytest
from references import frame
from scipy.optimize import minimize
from scipy.special import gammaln

import bayesmm as bmm
from bayesmm.errors import PriorError

ESOPH = "ncases ~ ncontrols + (1 + ncontrols | agegp)"


def laplace(y, eta, Z, density, curvature):
    """Return Laplace's log marginal likelihood with spherical effects, by dense linear algebra: Z has L in it."""
    u = np.zeros(Z.shape[1])
    for _ in range(50):
        slope, weight = curvature(y, eta + Z @ u)
        step = np.linalg.solve(Z.T @ (weight[:, None] * Z) + np.eye(len(u)), Z.T @ slope - u)
        u = u + step
        if np.abs(step).max() < 1e-12:
            break
    weight = curvature(y, eta + Z @ u)[1]
    half_log_det = np.linalg.slogdet(Z.T @ (weight[:, None] * Z) + np.eye(len(u)))[1] / 2
    return density(y, eta + Z @ u).sum() - u @ u / 2 - half_log_det


def bernoulli(y, eta):
    return y * eta - np.logaddexp(0, eta)


def bernoulli_slopes(y, eta):
    p = 1 / (1 + np.exp(-eta))
    return y - p, p * (1 - p)


def crossed():
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 12), "h": np.tile(np.arange(6), 16), "x": rng.normal(size=96)})
    eta = 0.3 + 0.8 * data["x"] + rng.normal(size=8)[data["g"]] + 0.7 * rng.normal(size=6)[data["h"]]
    return data.assign(y=(rng.random(96) < 1 / (1 + np.exp(-eta))).astype(int))


def test_two_crossed_factors_by_laplace():
    data = crossed()
    model = bmm.Model("y ~ x + (1 | g) + (1 | h)", data, "bernoulli")
    point = model.maximize("MAP")
    assert point.converged and point.method == "MAP" and point.nagq == 1
    X, mean = np.column_stack([np.ones(96), data["x"]]), data["x"].mean()
    Zs = [pd.get_dummies(data[name]).to_numpy(float) for name in "gh"]
    y, priors = data["y"].to_numpy(float), model.priors

    def minus(v):
        Z = np.hstack([abs(sd) * block for sd, block in zip(v[2:], Zs, strict=True)])
        prior = sum(priors[f"sd_{name}[Intercept]"].logpdf(abs(sd)) for name, sd in zip("gh", v[2:], strict=True))
        prior += priors["Intercept_centred"].logpdf(v[0] + v[1] * mean) + priors["beta[x]"].logpdf(v[1])
        return -laplace(y, X @ v[:2], Z, bernoulli, bernoulli_slopes) - prior

    found = minimize(minus, [0, 0, 1, 1], method="Nelder-Mead", options=dict(xatol=1e-7, fatol=1e-12, maxiter=4000))
    sds = [float(np.sqrt(S[0, 0])) for S in point.covariances]
    # Nelder-Mead stops where the density is flat to 1e-12: 1e-6 in a parameter of unit curvature
    assert [*point.beta, *sds] == pytest.approx([*found.x[:2], *np.abs(found.x[2:])], abs=2e-5)
    assert point.criterion == pytest.approx(2 * found.fun, abs=1e-8)


def test_esoph_by_quadrature():
    data = frame("esoph")
    model = bmm.Model(ESOPH, data, "poisson")
    point = model.maximize("MAP")
    assert point.converged and point.nagq == 0
    assert "random effects integrated out numerically" in str(point)
    y, x = data["ncases"].to_numpy(float), data["ncontrols"].to_numpy(float)
    design, priors = model.design, model.priors
    index, eta_prior = design.blocks[0].index, priors["corr_agegp"].parameters["eta"]
    node, weight = np.polynomial.hermite_e.hermegauss(30)  # at the mode 25 nodes are off by 3e-10, 30 by 1e-11
    grid = np.array(np.meshgrid(node, node)).reshape(2, -1)
    log_weight = np.add.outer(np.log(weight), np.log(weight)).ravel() - np.log(2 * np.pi)

    def marginal(beta, L):
        total = -gammaln(y + 1).sum()
        for g in range(6):
            rows, u = index == g, np.zeros(2)
            A = np.column_stack([np.ones(rows.sum()), x[rows]])
            fixed, A = A @ beta, A @ L
            for _ in range(30):
                mu = np.exp(fixed + A @ u)
                H = A.T @ (mu[:, None] * A) + np.eye(2)
                u = u + np.linalg.solve(H, A.T @ (y[rows] - mu) - u)
            C = np.linalg.cholesky(A.T @ (np.exp(fixed + A @ u)[:, None] * A) + np.eye(2))
            nodes = u[:, None] + np.linalg.solve(C.T, grid)
            eta = fixed[:, None] + A @ nodes
            f = y[rows] @ eta - np.exp(eta).sum(axis=0) - (nodes**2).sum(axis=0) / 2
            total += np.logaddexp.reduce(log_weight + (grid**2).sum(axis=0) / 2 + f) - np.log(np.diag(C)).sum()
        return total

    def minus(v):
        (b0, b1, s0, s1), r = v[:4] * [1, 0.01, 1, 0.01], np.tanh(v[4])
        s0, s1 = abs(s0), abs(s1)
        prior = priors["Intercept_centred"].logpdf(b0 + b1 * x.mean()) + priors["beta[ncontrols]"].logpdf(b1)
        prior += priors["sd_agegp[Intercept]"].logpdf(s0) + priors["sd_agegp[ncontrols]"].logpdf(s1)
        L = np.array([[s0, 0], [s1 * r, s1 * np.sqrt(1 - r * r)]])  # of the effects at the mean of ncontrols
        L = np.array([[1, -x.mean()], [0, 1]]) @ L
        return -marginal(np.array([b0, b1]), L) - prior - (eta_prior - 1) * np.log(1 - r * r)

    T = np.array([[1, x.mean()], [0, 1]])
    S = T @ point.covariances[0] @ T.T
    sds = np.sqrt(np.diag(S))
    mine = np.array([*point.beta, *sds, np.arctanh(S[0, 1] / sds[0] / sds[1])]) / [1, 0.01, 1, 0.01, 1]
    found = minimize(minus, [0, 1, 1, 1, 0], method="Nelder-Mead", options=dict(xatol=1e-5, fatol=1e-9, maxiter=800))
    assert mine == pytest.approx(found.x, abs=1e-3)  # where the density is flat to 1e-9: 3e-5 and its own simplex
    assert point.criterion == pytest.approx(2 * found.fun, abs=1e-6)


def test_flat_priors_give_the_likelihood_s_optimum():
    flat = {"beta": bmm.Prior("Flat"), "sd": bmm.Prior("HalfFlat"), "corr": bmm.Prior("LKJ", eta=1)}
    model = bmm.Model(ESOPH, frame("esoph"), "poisson", priors=flat | {"Intercept": bmm.Prior("Flat")})
    mode, ml = model.maximize("MAP"), model.maximize("ML", nagq=25)
    assert mode.beta == pytest.approx(ml.beta, rel=1e-5)
    assert mode.covariances[0] == pytest.approx(ml.covariances[0], rel=1e-4)
    assert mode.loglik == pytest.approx(ml.loglik, abs=1e-8)  # 25 nodes are off by 2e-9, the lattice by 3e-12
    assert mode.beta_cov == pytest.approx(ml.beta_cov, rel=1e-3)


def test_fixed_priors_are_held_and_functions_refused():
    data = crossed()
    model = bmm.Model("y ~ x + (1 | g)", data, "bernoulli", priors={"sd_g[Intercept]": 0.5, "beta[x]": 1.0})
    point = model.maximize("MAP")
    assert point.covariances[0][0, 0] == pytest.approx(0.25) and point.beta[1] == pytest.approx(1.0)
    assert point.converged and point.beta_cov[1, 1] == 0
    custom = bmm.Model("y ~ x + (1 | g)", data, "bernoulli", priors={"beta[x]": lambda name: None})
    with pytest.raises(PriorError, match="the marginal mode needs densities in closed form"):
        custom.maximize("MAP")
