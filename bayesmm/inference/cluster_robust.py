"""Cluster-robust standard errors of the coefficients of linear models, with Satterthwaite's degrees of freedom.

The rows of a cluster i have residuals e_i = y_i - X_i beta; V_i is their covariance by the model, W_i = V_i^-1 and
M = (X'WX)^-1. The covariance of the coefficients is estimated by

    M (sum_i X_i' W_i A_i e_i e_i' A_i' W_i X_i) M,

whose expectation is right for any covariance of the rows within a cluster as clusters become many. A_i makes it right
for few clusters if the model's V is (Bell & McCaffrey 2002; Pustejovsky & Tipton 2018, J Bus Econ Stat 36, 672-683):
of CR0 it is I, of CR1 sqrt(m / (m - 1)) I for m clusters, and of CR2, the bias-reduced linearisation,

    A_i = D_i' (D_i (V_i - X_i M X_i') D_i')^(-1/2) D_i,  D_i'D_i = V_i,

with a generalised inverse where a coefficient is of that cluster alone. The variance of c'beta is then a quadratic form
sum_i (p_i'y)^2. With K_i = A_i' W_i X_i M its p_i have Omega_ij = p_i'V p_j = [i = j] c'K_i'V_i K_i c -
c'K_i'X_i M X_j'K_j c under the model, and its degrees of freedom are (sum_i Omega_ii)^2 / sum_ij Omega_ij^2. This is
what R's clubSandwich computes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bayesmm.design.residual.structure import residual_weights
from bayesmm.design.summed import Elsewhere, absent_rows
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import table as text_table
from bayesmm.errors import DataError, listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.checks import check_point, estimated, family_text
from bayesmm.inference.clusters import check_independent, clusters_of
from bayesmm.inference.tails import t_tail
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.orthogonal import orthonormal
from bayesmm.runtime.messages import count
from bayesmm.runtime.threads import few_threads

KINDS = ("CR0", "CR1", "CR2")
MOST_ROWS = 4000  # of a cluster, of which some dense matrices are made: 128 MB each
TOGETHER = 1_000_000  # numbers of a matrix of each of several clusters that are computed together
ROUNDING = 10 * np.finfo(float).eps  # times the rows of a cluster: eigenvalues below this share of the largest are 0


@dataclass(frozen=True, eq=False)
class ClusterRobust(Tabled):
    """Cluster-robust covariance of the coefficients, printed as their table.

    Attributes
    ----------
    kind : {"CR0", "CR1", "CR2"}
    cluster : str
        What the clusters are.
    clusters : int
        How many there are.
    table : pandas.DataFrame
        Index coef; estimate, se, df (Satterthwaite's), t, p; and se_model, the standard error by the model.
    covariance : pandas.DataFrame
        Of the coefficients, (p, p), labelled.
    """

    kind: str
    cluster: str
    clusters: int
    table: pd.DataFrame
    covariance: pd.DataFrame
    _forms: "_Forms"

    def contrast(self, weights: Mapping[str, float]) -> pd.DataFrame:
        """Return the test of a linear combination of coefficients: ``contrast({"a": 1, "b": -1})``.

        Returns
        -------
        pandas.DataFrame
            One row: estimate, se, df, t, p.

        Raises
        ------
        ValueError
            For a name that is no coefficient, or of one that cannot be estimated.
        """
        known = list(self.table.index[self.table["se"].notna()])
        for name in weights:
            if name not in known:
                near = suggest(str(name), known)
                raise ValueError(f"{name!r} is no coefficient with an estimate, as {listing(known, 8)} are{near}")
        row = np.array([float(weights.get(name, 0.0)) for name in known])
        estimate = row @ self.table.loc[known, "estimate"].to_numpy()
        return pd.DataFrame([self._forms.test(row, estimate)], index=["contrast"])

    def __str__(self) -> str:
        numbers = [
            [str(name), *(f"{row[key]:.4g}" for key in self.table.columns)] for name, row in self.table.iterrows()
        ]
        names = {"se": f"SE ({self.kind})", "se_model": "SE (model)"}
        title = f"Cluster-robust standard errors ({self.kind}), {count(self.clusters, 'cluster')}: {self.cluster}"
        return "\n".join([title, "", *text_table(["", *(names.get(key, key) for key in self.table.columns)], numbers)])

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class _Forms:
    """The quadratic forms that the estimated variances are, in coordinates gamma: beta = basis gamma (and a constant).

    Attributes
    ----------
    basis : (r, r) float64
    own : (m, r, r) float64
        K_i'V_i K_i of each cluster.
    shared : (m, r, r) float64
        X_i'K_i.
    M : (r, r) float64
    scores : (m, r) float64
        K_i'e_i.
    """

    basis: Floats
    own: Floats
    shared: Floats
    M: Floats
    scores: Floats

    @cached_property
    def covariance(self) -> Floats:
        """Of beta, (r, r)."""
        root = self.scores @ self.basis.T
        return root.T @ root

    def df(self, row: Floats) -> float:
        """Return the degrees of freedom of the variance of row'beta."""
        c = row @ self.basis
        f = (self.shared @ c) @ np.linalg.cholesky(self.M)
        squares = np.einsum("mr,mr->m", f, f)
        diagonal = np.einsum("r,mrs,s->m", c, self.own, c) - squares
        gram = f.T @ f
        total = np.sum(diagonal**2) + max(np.sum(gram**2) - np.sum(squares**2), 0.0)
        return float(diagonal.sum() ** 2 / total) if total > 0 else np.nan

    def test(self, row: Floats, estimate: float) -> dict[str, float]:
        """Return standard error, degrees of freedom, t and p of row'beta."""
        se, df = float(np.sqrt(row @ self.covariance @ row)), self.df(row)
        t = estimate / se if se > 0 else np.nan
        return {"estimate": estimate, "se": se, "df": df, "t": t, "p": float(t_tail(t, df))}


def robust_table(
    point: Estimates, kind: str | None, cluster: object, ddf: str | None, exponentiate: bool
) -> pd.DataFrame:
    """Return the table of `cluster_robust` for `fixef(se=, cluster=)`; a ValueError for what does not go with it."""
    if kind is None:
        raise ValueError("cluster= is for cluster-robust standard errors; ask for them by se='CR2'")
    if ddf is not None or exponentiate:
        other = "exponentiate" if ddf is None else "ddf"
        raise ValueError(f"se={kind!r} has Satterthwaite's degrees of freedom of its own, and no {other}; leave it out")
    return cluster_robust(point, cluster, kind=kind).table


@few_threads
def cluster_robust(point: Estimates, cluster: object = None, *, kind: str = "CR2") -> ClusterRobust:
    """Return standard errors that hold whatever the covariance of the rows within clusters is.

    Parameters
    ----------
    point : PointFit
        Of a linear model by REML or ML, with or without random effects and residual structures.
    cluster : str or sequence, optional
        A grouping factor or column of the model, or a value for each of its rows (of a pandas Series, by its index).
        All rows that share random effects or correlated residuals must be of one cluster. If not given, the grouping
        factor in whose levels those of all others are nested.
    kind : {"CR2", "CR1", "CR0"}
        CR2 corrects the bias that few clusters make, CR0 does not, and CR1 multiplies by m / (m - 1).

    Returns
    -------
    ClusterRobust

    Raises
    ------
    ValueError
        For another `kind` or a cluster that is none.
    DataError
        For another family, the mode of a posterior, rows that are elsewhere; and where random effects or correlated
        residuals go across clusters, so that these are not independent.

    References
    ----------
    Pustejovsky & Tipton (2018), Journal of Business & Economic Statistics 36(4), 672-683.
    """
    check_point(point)
    if kind not in KINDS:
        raise ValueError(f"se must be one of {listing(KINDS)}, not {kind!r}{suggest(str(kind), KINDS)}")
    _check_linear(point)
    design = point.design
    name, codes = clusters_of(design, cluster)
    m = int(codes.max()) + 1
    if m < 2:
        raise DataError(f"cluster-robust standard errors need two clusters or more, and {name} has one level")
    check_independent(design, name, codes)
    kept = estimated(design)
    forms = _forms(point, kept, codes, kind)
    table = pd.DataFrame(
        np.nan, index=pd.Index(design.coefficients, name="coef"), columns=["estimate", "se", "df", "t", "p"]
    )
    for row, j in zip(np.eye(len(kept)), kept, strict=True):
        table.iloc[j] = forms.test(row, point.beta[j])
    table["se_model"] = np.sqrt(np.diag(point.beta_cov))
    covariance = pd.DataFrame(np.nan, index=design.coefficients, columns=design.coefficients)
    covariance.iloc[kept, kept] = forms.covariance
    return ClusterRobust(kind, name, m, table, covariance, forms)


def _check_linear(point: Estimates) -> None:
    """Raise a DataError where the model has no covariance matrix of its rows that is known at the estimates."""
    design, what = point.design, "cluster-robust standard errors"
    of = [":".join(block.factors) for block in design.blocks if any(block.predictors)]
    if of and design.family.linear:
        raise DataError(f"{what} are for models without random effects of sigma, which this one has of {listing(of)}")
    if not design.family.gaussian:
        raise DataError(f"{what} are for linear models, and this model's family is {family_text(design)}")
    if point.method not in ("REML", "ML"):
        raise DataError(f"{what} are for fits by REML or ML, and this one is the mode of a posterior ({point.method})")
    if isinstance(point.scaled.linear, Elsewhere):
        raise absent_rows(point.scaled.linear.sums.engine)


def _forms(point: Estimates, kept: list[int], codes: Ints, kind: str) -> _Forms:
    design, m = point.design, int(codes.max()) + 1
    X, R = orthonormal(design.X[:, kept], np.ones(design.n))
    r = design.y - design.offset
    for _ in range(2):  # least squares first, so that a far origin of y costs no digits
        r = r - X @ (X.T @ r)
    parts, covariances = list(_of_equal_size(codes)), _Covariances(point)
    XWX, XWr = 0.0, 0.0
    for _, rows in parts:
        WX = np.linalg.solve(covariances(rows), X[rows])
        XWX += np.einsum("cni,cnj->ij", X[rows], WX)
        XWr += np.einsum("cni,cn->i", WX, r[rows])
    M = np.linalg.inv((XWX + XWX.T) / 2)
    e, p = r - X @ (M @ XWr), len(kept)
    own, shared, scores = np.empty((m, p, p)), np.empty((m, p, p)), np.empty((m, p))
    for which, rows in parts:
        V = covariances(rows)
        K = np.linalg.solve(V, X[rows]) @ M
        if kind == "CR2":
            K = _adjusted(V, X[rows], M) @ K
        elif kind == "CR1":
            K = K * np.sqrt(m / (m - 1))
        own[which] = K.transpose(0, 2, 1) @ V @ K
        shared[which] = X[rows].transpose(0, 2, 1) @ K
        scores[which] = np.einsum("cni,cn->ci", K, e[rows])
    return _Forms(np.linalg.inv(R), own, shared, M, scores)


def _of_equal_size(codes: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Give clusters (c,) and their rows (c, n_i): together those of one size, as many as matrices may be held of."""
    order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    if sizes.max() > MOST_ROWS:
        raise DataError(
            f"cluster-robust standard errors need dense matrices of a cluster's rows, and one has {sizes.max():,}; "
            f"{MOST_ROWS:,} is the most that is tried"
        )
    for size in np.unique(sizes):
        found = np.flatnonzero(sizes == size)
        for some in np.array_split(found, -(-len(found) * size**2 // TOGETHER)):
            yield some, order[starts[some][:, None] + np.arange(size)]


class _Covariances:
    """The covariances of rows by the model, as a function of the rows (c, n_i) of clusters: (c, n_i, n_i)."""

    def __init__(self, point: Estimates) -> None:
        design = self.design = point.design
        self.factors = [(block, Sigma) for block, Sigma in zip(design.blocks, point.covariances, strict=True)]
        self.sds = _residual_sds(point)
        self.correlation = design.residual.correlation(design.residual.rows, point.residual)

    def __call__(self, rows: Ints) -> Floats:
        sds, V = self.sds[rows], self._correlations(rows)
        V *= sds[:, :, None] * sds[:, None, :]
        for block, Sigma in self.factors:
            own, level = block.Z[rows], block.index[rows]
            left, right = level[:, :, None], level[:, None, :]
            between = left == right if block.relation is None else block.relation.K[left, right]
            V += between * (own @ Sigma @ own.transpose(0, 2, 1))
        return V

    def _correlations(self, rows: Ints) -> Floats:
        """Return those of the residuals."""
        (c, size), n = rows.shape, self.design.n
        V = np.zeros((c, size, size))
        if self.correlation is None:
            V[:, np.arange(size), np.arange(size)] = 1.0
            return V
        cluster, place = np.full(n, -1), np.zeros(n, dtype=np.int64)
        cluster[rows], place[rows] = np.arange(c)[:, None], np.arange(size)
        i, j = self.correlation.layout.row, self.correlation.layout.column
        here = cluster[i] >= 0
        V[cluster[i[here]], place[i[here]], place[j[here]]] = self.correlation.values[here]
        inverse = np.linalg.inv(V)  # of U, U C U' = I
        return inverse @ inverse.transpose(0, 2, 1)


def _residual_sds(point: Estimates) -> Floats:
    """Return the residual sd of each row at the estimates, (n,)."""
    weights = residual_weights(point.design, point.residual)
    return np.full(point.design.n, point.sigma) if weights is None else point.sigma / np.sqrt(weights)


def _adjusted(V: Floats, X: Floats, M: Floats) -> Floats:
    """Return A of CR2 for clusters with covariances V (c, n, n) and rows X (c, n, r) of the coefficients."""
    L = np.linalg.cholesky(V)  # D = L'
    Lt = L.transpose(0, 2, 1)
    G = Lt @ (V - X @ M @ X.transpose(0, 2, 1)) @ L
    values, vectors = np.linalg.eigh((G + G.transpose(0, 2, 1)) / 2)
    real = values > ROUNDING * values.shape[1] * values.max(axis=1, keepdims=True)
    roots = np.where(real, 1 / np.sqrt(np.where(real, values, 1.0)), 0.0)
    B = L @ vectors
    return (B * roots[:, None, :]) @ B.transpose(0, 2, 1)
