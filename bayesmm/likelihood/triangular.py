"""The likelihood of a Gaussian mixed model from its rows, where cross-products have no digits left.

With a residual that is tiny beside the effects, r'Wr - c'M^-1 c is the difference of two large near numbers, and so is
the Schur complement of columns that the random effects explain. A QR factorisation of the rows themselves,

    W^1/2 [Z X] Lambda
            D^1/2       =  Q F,   F'F = M,

loses the square root of that: log|M| = 2 sum log|F_ii|, and the quadratic form is the square of what is left of the
response (Bates et al. 2015, eqs. 18-21; Golub & Van Loan 2013, section 5.3.7). The matrices are dense, so that this is
for problems of moderate size. Symbols as in ``gaussian``.
"""

from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.crossproducts import CrossProducts, Floats
from bayesmm.likelihood.gaussian_factorisation import FixedPrior

# Dense factorisations of this many columns take a twentieth of a second; a search needs some hundred.
MOST_COLUMNS = 600
MOST_NUMBERS = 2e7  # of the rows at once: 160 MB


def possible(cp: CrossProducts) -> bool:
    """Return whether there are rows, and the problem is of moderate size."""
    if cp.source is None or cp.kin is not None:
        return False
    columns = sum(q * G for q, G in zip(cp.q, cp.n_levels, strict=True)) + cp.p
    return columns <= MOST_COLUMNS and cp.n * columns <= MOST_NUMBERS


def amplification(cp: CrossProducts, T: Floats, quad: float) -> tuple[float, float]:
    """Return by how much cross-products amplify rounding at relative factors T: in the quadratic form, in log|M|."""
    with np.errstate(over="ignore"):
        return cp.rWr / quad if quad > 0 else np.inf, float(np.square(T).max(initial=0.0) * cp.largest)


class Factorised(NamedTuple):
    """What `factorise` leaves: C unscaled columns, Lam (m, m), Q's rows of the data, F, Q'r, and the residual."""

    C: Floats
    Lam: Floats
    Q: Floats
    F: Floats
    u: Floats
    e: Floats
    quad: float


def factorise(cp: CrossProducts, T: Floats, prior: FixedPrior) -> Factorised:
    """Factorise at relative factors T, packed in the order of the cross-products."""
    columns = cp.triangle
    C, m = columns[:, :-1], columns.shape[1] - 1
    Lam, at, packed = np.zeros((m, m)), 0, 0
    for q, G in zip(cp.q, cp.n_levels, strict=True):
        Lam[at : at + q * G, at : at + q * G] = np.kron(np.eye(G), T[packed : packed + q * q].reshape(q, q))
        at, packed = at + q * G, packed + q * q
    Lam[range(at, m), range(at, m)] = prior.lam
    r = columns[:, -1] - C[:, at:] @ prior.mean
    D = np.concatenate([np.ones(at), np.sqrt(prior.D)])
    both = np.block([[C @ Lam, r[:, None]], [np.diag(D), np.zeros((m, 1))]])
    Q, F = np.linalg.qr(both)
    size = F[m, m] if len(F) > m else 0.0
    e = Q[: len(C), m] * size if len(F) > m else np.zeros(len(C))
    return Factorised(C, Lam, Q[: len(C), :m], F[:m, :m], np.linalg.solve(F[:m, :m], F[:m, m]), e, float(size**2))


def evaluation(cp: CrossProducts, T: Floats, sigma: float | None, nu: float, prior: FixedPrior, with_flat: bool):
    """Return what `gaussian_likelihood.evaluation` returns; `with_flat` is whether log|M| has the flat columns."""
    found = factorise(cp, T, prior)
    m = len(found.u)
    kept = m if with_flat else m - cp.p + int(prior.D.sum())  # flat columns come last
    diagonal = np.abs(np.diag(found.F)[:kept])
    if not (diagonal > 0).all() or not found.quad >= 0:
        return False, 0.0, 0.0, 0.0, np.zeros(len(T)), np.zeros(cp.p), np.zeros(cp.p)
    at = np.sqrt(found.quad / nu) if sigma is None else sigma
    explained = found.C.T @ found.e / at**2
    inverse = np.linalg.inv(found.F[:kept, :kept])
    trace = np.zeros((m, m))
    trace[:kept, :kept] = found.C[:, :kept].T @ found.Q[:, :kept] @ inverse.T
    slope = np.outer(explained, found.u) - trace
    d_T, end = [np.empty(0)], 0
    for q, G in zip(cp.q, cp.n_levels, strict=True):
        level = end + np.arange(G * q).reshape(G, q)
        d_T.append(slope[level[:, :, None], level[:, None, :]].sum(axis=0).ravel())
        end += G * q
    d_lam, d_mean = np.diag(slope)[end:].copy(), explained[end:]
    return True, float(2 * np.log(diagonal).sum()), found.quad, float(at), np.concatenate(d_T), d_lam, d_mean


def conditional(cp: CrossProducts, T: Floats, sigma: float, prior: FixedPrior, given_fixed: bool):
    """Return the fields of `gaussian.Conditional`."""
    found = factorise(cp, T, prior)
    first = len(found.u) - cp.p
    root = sigma * found.Lam @ np.linalg.inv(found.F)
    effects = root[:first, :first] if given_fixed else root[:first]
    b, modes, covariances, end = found.Lam @ found.u, [], [], 0
    for q, G in zip(cp.q, cp.n_levels, strict=True):
        rows = effects[end : end + G * q].reshape(G, q, -1)
        modes.append(b[end : end + G * q].reshape(G, q))
        covariances.append(rows @ rows.transpose(0, 2, 1))
        end += G * q
    return prior.mean + b[first:], root[first:] @ root[first:].T, tuple(modes), tuple(covariances)
