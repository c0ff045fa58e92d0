"""Kenward and Roger's adjusted covariance and degrees of freedom (1997, Biometrics 53, 983-997), as pbkrtest has them.

V = sum_i gamma_i G_i is linear in its parameters (the entries of the covariance matrices and sigma^2), so that the
second derivatives of V vanish. With Phi = (X'V^-1X)^-1,

    P_i = -X'V^-1 G_i V^-1 X,  Q_ij = X'V^-1 G_i V^-1 G_j V^-1 X,
    I_ij = 1/2 [tr(V^-1 G_i V^-1 G_j) - 2 tr(Phi Q_ij) + tr(Phi P_i Phi P_j)],  W = I^-1,
    Phi_A = Phi + 2 Phi {sum_ij W_ij (Q_ij - P_i Phi P_j)} Phi.

No n x n matrix occurs. With A = Z'DZ, B = Z'DX for the weights D, V = sigma^2 (D^-1 + Z Lam Lam' Z') and
P = Lam (Lam'A Lam + I)^-1 Lam',

    sigma^2 V^-1 = D - D Z P Z'D,
    sigma^4 V^-1 D^-1 V^-1 = D - D Z H Z'D,  H = 2P - PAP,
    sigma^6 V^-1 D^-1 V^-1 D^-1 V^-1 = D - D Z N Z'D,  N = 3P - 3PAP + PAPAP,

and everything above is a product of matrices of the size of the random effects, m.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from bayesmm.design.covariance.structures import check_free
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.checks import check_gaussian, estimated
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.orthogonal import orthonormal, square_root
from bayesmm.likelihood.problem import orthonormal_columns
from bayesmm.runtime.threads import few_threads

# About ten dense m x m matrices are held: 720 MB at this size, and a minute of one core.
MOST_EFFECTS = 3000
# pbkrtest takes a generalised inverse of the information where its smallest eigenvalue is below 1e-10; this one is
# relative, since the parameters have units. Sds of effects 3,000 times sigma leave 5e-10 of an information of 0; the
# least that an estimated sd had was 4e-4.
SINGULAR_INFORMATION = 1e-8
# A design counts as one of the two whose F is exact if its delta, see `_matched`, is below this: what a nearly singular
# information leaves of 0 (up to 1e-6 was seen), and without visible effect away from the formulas' singularity.
EXACT = 1e-5
# F's moments are matched though it has no variance below 4 degrees of freedom and no mean below 2: a continuation of
# the formulas, exact for the two designs and unusable where its correction for the others is as large as this share.
FAR = 0.5


@dataclass(frozen=True, eq=False)
class KenwardRoger:
    """The adjusted covariance and what the degrees of freedom need.

    Attributes
    ----------
    inner : (r, r) float64
        Phi_A, of gamma.
    unadjusted : (r, r) float64
        Phi, of gamma.
    P : (v, r, r) float64
        Of gamma.
    W : (v, v) float64
        Covariance of the variance parameters, from their expected information.
    basis : (r, r) float64
        beta = basis gamma, of the coefficients that can be estimated; gamma's columns are orthonormal.
    """

    inner: Floats
    unadjusted: Floats
    P: Floats
    W: Floats
    basis: Floats

    @property
    def root(self) -> Floats:
        """A square root of the adjusted covariance of beta, (r, r)."""
        return self.basis @ square_root(self.inner)

    @property
    def adjusted(self) -> Floats:
        """The adjusted covariance of beta, (r, r)."""
        return self.basis @ self.inner @ self.basis.T

    def df(self, contrast: Floats) -> float:
        """Return the degrees of freedom of a contrast of shape (r,)."""
        return self.f_test(contrast[None, :])[0]

    def f_test(self, rows: Floats) -> tuple[float, float]:
        """Return the denominator degrees of freedom and the factor that F is multiplied by, for (q, r) contrasts.

        Kenward & Roger (1997), section 3; for q = 1 they are 2 / A_2 and 1. Both are NaN where their formulas have no
        solution that can be used: see `_matched`.
        """
        q, Phi, rows = len(rows), self.unadjusted, rows @ self.basis
        Theta = rows.T @ np.linalg.solve(rows @ Phi @ rows.T, rows)
        M = np.array([Theta @ Phi @ P @ Phi for P in self.P])
        traces = np.trace(M, axis1=1, axis2=2)
        A1 = float(traces @ self.W @ traces)
        A2 = float(np.einsum("ij,iab,jba->", self.W, M, M))
        if A2 <= 0:  # nothing in this contrast depends on an estimated variance ratio
            return np.inf, 1.0
        if q == 1:
            return 2 / A2, 1.0
        return _matched(q, A1 / A2, A2)


def _matched(q: int, a: float, A2: float) -> tuple[float, float]:
    """Return the degrees of freedom m and the factor lambda of F with moments E* and V*; NaN where they fail.

    Kenward & Roger (1997), section 3, have E* = 1 / e, V* = (2/q) V0 / (V1^2 V2), rho = V* / (2 E*^2),
    m = 4 + (q + 2) / (q rho - 1) and lambda = m e / (m - 2), where e = 1 - A2/q, V0 = 1 + c1 B, V1 = 1 - c2 B and
    V2 = 1 - c3 B. As written they are 0/0 at the designs whose F is exact, if m = 2: there e and V1 are both 0. But
    with a = A1/A2

        V1 = e - delta A2/q,  delta = (q - a) ((q + 1) a - 2) / (2 (3 q^2 + 10 q + 12 - 2 (q + 1) a)),
        2 V0 + q V2 = (q + 2) V1,

    by which the zeros cancel: with r = e / V1,

        m = (4 r^2 V0 + (q - 2) V2) / (r^2 V0 - V2),
        lambda = r (4 r^2 V0 + (q - 2) V2) / (2 V0 (r^2 - 1) / V1 + q + 2).

    delta is 0 and r is 1 exactly in the two cases that Kenward and Roger made their formulas right for: a = q, where
    all contrasts share one ratio of variances (an analysis of variance), and a = 2 / (q + 1), Hotelling's T^2.
    """
    t = A2 / q
    delta = (q - a) * ((q + 1) * a - 2) / (2 * (3 * q**2 + 10 * q + 12 - 2 * (q + 1) * a))
    delta = 0.0 if abs(delta) < EXACT else delta
    g = ((q + 1) * a - (q + 4)) / (q + 2)
    D, B = 3 * q + 2 * (1 - g), A2 * (a + 6) / (2 * q)
    V0, V2, V1 = 1 + g / D * B, 1 - (q + 2 - g) / D * B, 1 - t - delta * t
    if delta and abs(V1) < abs(delta * t):  # r - 1 is beyond 1, or V1 is 0
        return np.nan, np.nan
    r_1 = delta * t / V1 if delta else 0.0  # r - 1
    slope = r_1 * (2 + r_1) / V1 if delta else 0.0  # (r^2 - 1) / V1
    top = 4 * (1 + r_1) ** 2 * V0 + (q - 2) * V2
    m = top / ((q + 2) * B / D + slope * V1 * V0)
    scale = (1 + r_1) * top / (2 * V0 * slope + q + 2)
    usable = abs(r_1) < FAR and abs(2 * V0 * slope) < FAR * (q + 2) and m > 0 and scale > 0
    return (m, scale) if usable else (np.nan, np.nan)


@few_threads
def kenward_roger(point: Estimates) -> KenwardRoger:
    """Return Kenward and Roger's adjustment of a Gaussian REML fit.

    Raises
    ------
    DataError
        For another family or method than REML, a covariance structure in whose parameters V is not linear, and more
        than `MOST_EFFECTS` random effects.
    """
    check_gaussian(point, "Kenward and Roger's method")
    design = point.design
    if point.method != "REML":
        raise DataError(f"Kenward and Roger's method is for REML, and this fit is by {point.method}; maximize('REML')")
    check_free(design, "Kenward and Roger's method", "use ddf='satterthwaite'")
    m = sum(len(block.levels) * len(block.columns) for block in design.blocks)
    if m > MOST_EFFECTS:
        raise DataError(
            f"Kenward and Roger's method would need dense matrices of all {m:,} random effects, and {MOST_EFFECTS:,} "
            "is the most that is tried; with so many, ddf='satterthwaite' gives nearly the same"
        )
    Z, Sigma, pairs = _random_part(point)
    X = design.X[:, estimated(design)]
    w = np.ones(design.n) if design.weights is None else design.weights
    # X is made orthonormal and the response's unit 1, so that no scale and no origin costs digits
    V, R = orthonormal(X, w)
    inner = _inner(Z, V, w, Sigma / point.sigma**2, pairs)
    return replace(inner, basis=np.linalg.inv(R) * point.sigma)


def _random_part(point: Estimates) -> tuple[sparse.csr_array, Floats, list[list[tuple[Ints, Ints]]]]:
    """Return Z (n, m), the covariance (m, m) of the random effects, and each parameter's positions in it.

    A parameter is a list of (rows, columns): the ones of its derivative dSigma. All are in the coordinates of
    ``maximize``, which are linear, so that the parameters are others and the answer is the same.
    """
    design, n = point.design, point.design.n
    m = sum(len(block.levels) * len(block.columns) for block in design.blocks)
    rows, columns, values, pairs, start = [], [], [], [], 0
    Sigma = np.zeros((m, m))
    for block, own, covariance in zip(
        design.blocks, orthonormal_columns(design), point.scaled.covariances, strict=True
    ):
        G, q = len(block.levels), len(block.columns)
        place = start + np.arange(G * q).reshape(q, G)
        for a in range(q):
            rows.append(np.arange(n))
            columns.append(place[a][block.index])
            values.append(own.Z[:, a])
            for b in range(q):
                Sigma[place[a], place[b]] = covariance[a, b]
        for part in block.partition:
            for at, a in enumerate(part):
                pairs.append([(place[a], place[a])])
                pairs += [[(place[a], place[b]), (place[b], place[a])] for b in part[at + 1 :]]
        start += G * q
    parts = [np.concatenate([np.empty(0), *part]) for part in (values, rows, columns)]
    Z = sparse.csr_array((parts[0], (parts[1].astype(int), parts[2].astype(int))), shape=(n, m))
    return Z, Sigma, pairs


def _inner(Z: sparse.csr_array, X: Floats, w: Floats, Sigma: Floats, pairs: list) -> KenwardRoger:
    """Return the adjustment for sigma = 1: the formulas of the head of this file; the last parameter is sigma^2."""
    n = len(w)
    weighted = Z.multiply(w[:, None]).T.tocsr()
    A, B, D = (weighted @ Z).toarray(), weighted @ X, X.T @ (X * w[:, None])
    P = _solved(A, Sigma)
    AP = A @ P
    PAP = P @ AP
    H, N = 2 * P - PAP, 3 * P - 3 * PAP + PAP @ AP
    S, U = A - AP @ A, B - AP @ B
    AH = A @ H
    F, Y = A - AH @ A, B - AH @ B
    Phi = np.linalg.inv(D - B.T @ P @ B)
    v, r = len(pairs) + 1, X.shape[1]
    traces, Q_, P_ = np.empty((v, v)), np.empty((v, v, r, r)), np.empty((v, r, r))
    P_[-1] = -(D - B.T @ H @ B)
    Q_[-1, -1] = D - B.T @ N @ B
    traces[-1, -1] = n - np.einsum("ij,ji->", H, A)
    for i, ones in enumerate(pairs):
        P_[i] = -sum(U[a].T @ U[b] for a, b in ones)
        Q_[i, -1] = sum(U[a].T @ Y[b] for a, b in ones)
        Q_[-1, i] = Q_[i, -1].T
        traces[i, -1] = traces[-1, i] = sum(F[b, a].sum() for a, b in ones)
        for j, others in enumerate(pairs):
            Q_[i, j] = sum(U[a].T @ S[np.ix_(b, c)] @ U[d] for a, b in ones for c, d in others)
            traces[i, j] = sum(np.sum(S[np.ix_(d, a)].T * S[np.ix_(b, c)]) for a, b in ones for c, d in others)
    return _adjustment(Phi, P_, Q_, traces)


def _adjustment(Phi: Floats, P: Floats, Q: Floats, traces: Floats) -> KenwardRoger:
    M = Phi @ P
    twice = traces - 2 * np.einsum("ab,ijba->ij", Phi, Q) + np.einsum("iab,jba->ij", M, M)
    # in units of the terms that do not cancel: of effects in the span of X the information itself is rounding
    size = np.sqrt(np.diag(traces))
    unit = 1 / np.where(size > 0, size, 1.0)
    scaled = (twice + twice.T) / 2 * np.outer(unit, unit)
    values, vectors = np.linalg.eigh(scaled)
    kept = values > SINGULAR_INFORMATION * values.max(initial=0.0)  # rounding may be negative, information is not
    W = 2 * (vectors[:, kept] / values[kept]) @ vectors[:, kept].T * np.outer(unit, unit)
    middle = np.einsum("ij,ijab->ab", W, Q) - np.einsum("ij,iab,jbc->ac", W, P, M)
    adjusted = Phi + 2 * Phi @ middle @ Phi
    return KenwardRoger((adjusted + adjusted.T) / 2, Phi, P, W, np.eye(len(Phi)))


def _solved(A: Floats, Sigma: Floats) -> Floats:
    """Return Lam (Lam'A Lam + I)^-1 Lam' = (I + Sigma A)^-1 Sigma for any Sigma, singular or not."""
    return np.linalg.solve(np.eye(len(A)) + Sigma @ A, Sigma)
