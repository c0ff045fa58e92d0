"""Satterthwaite's degrees of freedom, as lmerTest has them.

The variance of an estimated contrast l'beta is f(v) = l'C(v)l with v the variance parameters (the relative factors and
sigma). With A the asymptotic covariance of v's estimate, twice the inverse Hessian of the deviance, var f is about
g'Ag, and the degrees of freedom that match it are 2 f^2 / g'Ag (Giesbrecht & Burns 1985, Biometrics 41, 477-486;
Kuznetsova, Brockhoff & Christensen 2017, J Stat Softw 82(13), section 2). v and the coefficients are taken in the
coordinates of ``maximize``, where nothing cancels: these are linear, and the answer does not depend on them.
"""

from dataclasses import dataclass

import numpy as np

from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.profiled import flat
from bayesmm.estimation.weight_units import about_1
from bayesmm.inference.checks import check_gaussian, estimated
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.gaussian import conditional, evaluate
from bayesmm.likelihood.orthogonal import square_root
from bayesmm.likelihood.problem import Problem, orthogonal_problem
from bayesmm.runtime.threads import few_threads

# Step of the central differences of analytic gradients, relative to a parameter of size 1: the cube root of the
# rounding unit balances rounding (1e-11) and curvature (1e-11).
STEP = 6e-6
# A direction in which the deviance curves less than this share of the most, or the other way, says nothing of v:
# lmerTest leaves out eigenvalues below 1e-8 of an unscaled Hessian.
NO_CURVATURE = 1e-9
# Degrees of freedom of independent contrasts that differ by less are one number, as in a balanced design: the rounding
# of the differences. Below 2 it matters, since different ones have no expectation of F to match.
EQUAL = 1e-6


@dataclass(frozen=True, eq=False)
class Satterthwaite:
    """The covariance of the coefficients as a function of the variance parameters, to second moments.

    Attributes
    ----------
    basis : (r, r) float64
        beta = basis gamma (and a constant), of the coefficients that can be estimated.
    inner : (r, r) float64
        C, of gamma.
    derivatives : (v, r, r) float64
        dC / dv.
    parameters : (v, v) float64
        A, the asymptotic covariance of v.
    """

    basis: Floats
    inner: Floats
    derivatives: Floats
    parameters: Floats

    @property
    def root(self) -> Floats:
        """A square root of the covariance of beta, (r, r)."""
        return self.basis @ square_root(self.inner)

    @property
    def covariance(self) -> Floats:
        """The covariance of beta, (r, r)."""
        return self.basis @ self.inner @ self.basis.T

    def df(self, contrast: Floats) -> float:
        """Return the degrees of freedom of a contrast of shape (r,)."""
        return self._df(contrast @ self.basis)

    def _df(self, contrast: Floats) -> float:
        """Return them for a contrast of gamma."""
        variance = contrast @ self.inner @ contrast
        g = np.einsum("i,vij,j->v", contrast, self.derivatives, contrast)
        spread = g @ self.parameters @ g
        return float(2 * variance**2 / spread) if spread > 0 else np.inf

    def df_of_rows(self, rows: Floats) -> float:
        """Return the denominator of an F test of the (q, r) contrasts: Kuznetsova et al. (2017), section 2.

        The contrasts are made independent; each has its own degrees of freedom nu_m; those of F match its expectation,
        E = sum nu_m / (nu_m - 2) over nu_m > 2, and are 2 E / (E - q). Which independent combinations are taken depends
        on the rows they are made from. Here they are orthonormal in the metric of least squares, as lmerTest's for
        sequential tests, so that another coding of the same hypothesis gives the same answer.
        """
        rows = np.linalg.qr((rows @ self.basis).T)[0].T  # the coordinates gamma are those of orthonormal columns
        _, directions = np.linalg.eigh(rows @ self.inner @ rows.T)
        nus = np.array([self._df(row) for row in directions.T @ rows])
        if len(nus) == 1 or np.ptp(nus) < EQUAL * nus.max():
            return float(nus.mean())
        if (nus <= 2).any():
            return 2.0
        E = float(np.sum(1 / (1 - 2 / nus)))
        return 2 * E / (E - len(nus))


@dataclass(frozen=True, eq=False)
class _Criterion:
    """The deviance or REML criterion as a function of v = (theta, sigma / its estimate)."""

    problem: Problem
    reml: bool
    sigma: float

    def gradient(self, v: Floats) -> Floats:
        """Return the criterion's gradient at v."""
        cp, sigma = self.problem.cp, v[-1] * self.sigma
        value = evaluate(cp, self.problem.packed(v[:-1]), sigma, flat(cp.p), integrate_flat=self.reml)
        nu = cp.n - (cp.p if self.reml else 0)
        d_sigma = 2 * (nu - value.quad / sigma**2) / v[-1]
        return np.append(-2 * self.problem.gradient(value.d_T, v[:-1]), d_sigma)

    def covariance(self, v: Floats) -> Floats:
        """Return the covariance of the coefficients gamma at v, (r, r)."""
        problem = self.problem
        return conditional(problem.cp, problem.packed(v[:-1]), v[-1] * self.sigma, flat(problem.cp.p)).fixed_cov


@few_threads
def satterthwaite(point: Estimates) -> Satterthwaite:
    """Return what Satterthwaite's degrees of freedom need of a Gaussian fit by REML or ML.

    Raises
    ------
    DataError
        For another family, or the mode of a posterior.
    """
    check_gaussian(point, "Satterthwaite's method")
    point = about_1(point)  # the steps are relative to sigma
    criterion = _Criterion(orthogonal_problem(point.design), point.method == "REML", point.sigma)
    v = np.append(point.optimum.parameters, 1.0)
    hessian, derivatives = [], []
    for i in range(len(v)):
        h = np.zeros(len(v))
        h[i] = STEP * max(1.0, abs(v[i]))
        hessian.append((criterion.gradient(v + h) - criterion.gradient(v - h)) / (2 * h[i]))
        derivatives.append((criterion.covariance(v + h) - criterion.covariance(v - h)) / (2 * h[i]))
    basis = criterion.problem.basis[estimated(point.design)]
    return Satterthwaite(basis, criterion.covariance(v), np.array(derivatives), 2 * _inverse(np.array(hessian), v))


def _inverse(hessian: Floats, v: Floats) -> Floats:
    """Return the inverse in the directions in which the criterion at v curves upwards, 0 in the others.

    In units of the steps: of an sd that is many times sigma the curvature falls with its square.
    """
    units = np.outer(size := np.maximum(1.0, np.abs(v)), size)
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2 * units)
    inverse = np.where(values > NO_CURVATURE * values.max(), 1 / np.where(values == 0, 1.0, values), 0.0)
    return (vectors * inverse) @ vectors.T * units
