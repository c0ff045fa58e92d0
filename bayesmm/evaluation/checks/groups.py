"""Groups that make a result: how far the coefficients would move without each level of a grouping factor."""

import math
from dataclasses import dataclass

import numpy as np

from bayesmm.design.records import Block, Design
from bayesmm.design.terms import FixedTerm, fixed_terms
from bayesmm.display.text_tables import apart
from bayesmm.evaluation.checks.check import Check
from bayesmm.evaluation.checks.fitted import Fitted
from bayesmm.evaluation.prior_marginals import AT_MEANS
from bayesmm.likelihood.orthogonal import root_mean_square
from bayesmm.runtime.messages import label_text

NAME = "influential groups"
FEWEST = 3  # levels; without one of two there is no comparison
# Standard errors by which a coefficient may move: Belsley, Kuh & Welsch (1980), Regression Diagnostics, section 2.1,
# have 2 / sqrt(n) to look at and 1 for few observations; of few groups each has its share, so 3 / sqrt(G) is beside it.
LARGE, SHARE = 1.0, 3.0
UNDETERMINED = 1e-8  # smallest eigenvalue of P_II, which is 1 where a row says nothing about the others
MOST_EFFECTS = 1_000  # random effects in all, whose covariance matrix is dense
MOST_NUMBERS = 5_000_000  # rows times random effects: 40 MB
MOST_WORK = 2e9  # multiplications for all levels: a second
MOST_KINDS = 40  # of rows that are compared two by two, 780 pairs; ours
DIGITS = 9  # of a column of unit size, to which rows are of one kind
SAME = 1e-9  # share of the largest standard error, below which a contrast is none


def influential_groups(fitted: Fitted) -> Check:
    """Return the check of the levels of every grouping factor."""
    design = fitted.design
    if fitted.trouble:
        return _nothing(fitted.trouble)
    if design.residual.correlated is not None:
        many = "a single response" if design.responses else f"a model without {design.residual.text}"
        return _nothing(f"judged for {many}")
    if not design.p:
        return _nothing("judged by the coefficients of the mean, of which the model has none")
    blocks = [block for block in design.blocks if len(block.levels) >= FEWEST]
    if not blocks:
        return _nothing("judged for grouping factors of three levels or more")
    effects = sum(len(block.levels) * len(block.columns) for block in design.blocks)
    rows = max(np.bincount(block.index).max() for block in blocks)
    if effects > MOST_EFFECTS or design.n * effects > MOST_NUMBERS or design.n * effects * rows > MOST_WORK:
        return _nothing(f"judged for models of at most {MOST_EFFECTS:,} random effects")
    parts, terms = _Parts.of(fitted), judged_terms(design)
    moved = [np.nan_to_num(moves_of_terms(parts, block, terms)) / _limit(block) for block in blocks]
    block, share = max(zip(blocks, moved, strict=True), key=lambda pair: pair[1].max())
    g, j = np.unravel_index(np.argmax(share), share.shape)
    value, limit = float(share[g, j] * _limit(block)), _limit(block)
    shown, most = apart(value, limit, 2)
    name, level = terms[j].label, label_text(block.levels[g])
    what = f"a contrast of {name}" if len(terms[j].columns) > 1 else name
    found = f"without {level} of {block.group}, {what} would move by {shown} standard errors (limit {most})"
    if value <= limit:
        return Check(NAME, True, value, limit, f"{found}, and by less without any other group")
    advice = f"look at the rows of {level}, and fit the model without them too."
    return Check(NAME, True, value, limit, f"{found}: {advice}", note=True)


def _limit(block: Block) -> float:
    return max(LARGE, SHARE / math.sqrt(len(block.levels)))


def judged_terms(design: Design) -> list[FixedTerm]:
    """Return the terms whose coefficients are judged, those at the means of what a term is a margin of.

    Together, and at the means, because where a predictor has its zero and which level is a factor's first decide what
    a coefficient is of.
    """
    moved, found = design.spec.bases.fixed.moved, []
    for term in fixed_terms(design):
        if term.columns:
            label = design.coefficients[term.columns[0]] if len(term.columns) == 1 else term.label
            found.append(term._replace(label=label + (AT_MEANS if moved[list(term.columns)].any() else "")))
    return found


def moves_of_terms(parts: "_Parts", block: Block, terms: list[FixedTerm]) -> np.ndarray:
    """Return by how many standard errors the coefficients of each term move without each level, (G, terms).

    Of several columns it is the largest of `contrasts`, which are the same in every coding.
    """
    moved, out = moves(parts, block), []
    for term in terms:
        C, cov = contrasts(parts.columns[:, term.columns]), parts.cov[np.ix_(term.columns, term.columns)]
        se = np.sqrt(np.maximum(np.einsum("mi,ij,mj->m", C, cov, C), 0.0))
        unit = np.divide(1.0, se, out=np.zeros(len(se)), where=se > SAME * se.max(initial=0.0))
        out.append((np.abs(moved[:, term.columns] @ C.T) * unit).max(axis=1, initial=0.0))
    return np.column_stack(out)


def contrasts(columns: np.ndarray) -> np.ndarray:
    """Return what is compared of a term with the columns (n, k), (m, k): its values between each two kinds of rows.

    These are the levels of a factor. Of many kinds, as of polynomials, each about the mean of the rows.
    """
    if columns.shape[1] == 1:
        return np.ones((1, 1))
    kinds = np.unique(np.round(columns, DIGITS), axis=0)
    if len(kinds) > MOST_KINDS:
        return kinds - columns.mean(axis=0)
    first, second = np.triu_indices(len(kinds), 1)
    return kinds[first] - kinds[second]


@dataclass(frozen=True, eq=False)
class _Parts:
    """The rows times the roots of their information, in which the marginal covariance is I + U U'.

    Attributes
    ----------
    U : (n, Q) float64
        The random effects, each in units of its covariance matrix.
    K : (Q, Q) float64
        (I + U'U)^-1, so that (I + U U')^-1 is I - U K U'.
    X : (n, p) float64
        (I + U U')^-1 times the columns of the coefficients at the means, of unit size.
    residuals : (n,) float64
        The same of the working response about its generalised least squares fit: of a linear model the residuals about
        the conditional modes, wherever the effects of the fit are.
    cov : (p, p) float64
        Of these coefficients given the variances, (X' V^-1 X)^-1; zeros for those that are not estimated.
    to_zero : (p, p) float64
        Makes of them the coefficients of the model.
    columns : (n, p) float64
        Of these coefficients.
    """

    U: np.ndarray
    K: np.ndarray
    X: np.ndarray
    residuals: np.ndarray
    cov: np.ndarray
    to_zero: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, fitted: Fitted) -> "_Parts":
        design, root = fitted.design, np.sqrt(fitted.information)[:, None]
        effects = [np.zeros((design.n, 0))]
        for block, H in zip(design.blocks, fitted.roots, strict=True):
            Z = block.Z @ H * root
            levels = np.eye(len(block.levels)) if block.relation is None else block.relation.root
            wide = levels[block.index][:, :, None] * Z[:, None, :]
            effects.append(wide.reshape(design.n, -1))
        basis, U = design.spec.bases.fixed, np.hstack(effects)
        X, p = basis.taken_out(design.X), design.p
        if design.family.ordered:  # the thresholds move together as an intercept does
            X = np.column_stack([X - X.mean(axis=0), np.ones(design.n)])
        sizes = np.where((found := root_mean_square(X)) > 0, found, 1.0)
        columns = X / sizes
        X = columns * root
        K = np.linalg.inv(np.eye(U.shape[1]) + U.T @ U)
        working = root[:, 0] * (fitted.eta - design.offset)
        working += np.divide(fitted.score, root[:, 0], out=np.zeros(design.n), where=root[:, 0] > 0)
        solved = X - U @ (K @ (U.T @ X))
        # Not that of a posterior, whose prior and spread of variances it has: P is a projection with this one only
        known = [*np.flatnonzero(np.isfinite(np.diag(fitted.beta_cov))), *range(p, X.shape[1])]
        cov = np.zeros((X.shape[1], X.shape[1]))
        cov[np.ix_(known, known)] = np.linalg.pinv((X.T @ solved)[np.ix_(known, known)], hermitian=True)
        left = working - X @ (cov @ (solved.T @ working))
        return cls(U, K, solved, left - U @ (K @ (U.T @ left)), cov, basis.inverse / sizes[:p], columns[:, :p])


def moves(parts: _Parts, block: Block) -> np.ndarray:
    """Return by how much each coefficient at the means moves when a level is left out, (G, p), in the units of `parts`.

    The variance parameters are held. With P = V^-1 - V^-1 X cov(beta) X' V^-1 and the rows I of the level, beta less
    that without them is cov(beta) (V^-1 X)_I' (P_II)^-1 (P y)_I, as for rows with a coefficient each. Exact for a
    linear model; for other families one step of Newton's method.

    Returns
    -------
    (G, p) float64
        The coefficient with all rows less that without; NaN where it is then not determined.
    """
    rows = np.split(np.argsort(block.index, kind="stable"), np.cumsum(np.bincount(block.index))[:-1])
    out = np.full((len(block.levels), len(parts.to_zero)), np.nan)
    for g, at in enumerate(rows):
        U, X = parts.U[at], parts.X[at]
        P = np.eye(len(at)) - U @ parts.K @ U.T - X @ parts.cov @ X.T
        if np.linalg.eigvalsh(P)[0] > UNDETERMINED:
            out[g] = (parts.cov @ (X.T @ np.linalg.solve(P, parts.residuals[at])))[: len(parts.to_zero)]
    return out


def _nothing(text: str) -> Check:
    return Check(NAME, True, math.nan, LARGE, text)
