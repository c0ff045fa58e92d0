r"""The log marginal likelihood with one grouping factor, for any family, by adaptive Gauss-Hermite quadrature.

Given beta and b_g = L u_g with u_g ~ N(0, I), the levels are independent. For each level, with

    f(u) = sum_i w_i log p(y_i | eta_i) - u'u / 2,    eta_i = offset_i + x_i'beta + a_i'u,    a_i = L'z_i,

the mode u* of f is found by Newton's method, and with H = -f''(u*) = C C' and nodes u_k = u* + C^-T x_k

    log p(y_g) = -log|C| + log sum_k omega_k exp(|x_k|^2 / 2 + f(u_k)) - (q / 2) log 2 pi,

x_k and omega_k being the tensor grid of the Gauss-Hermite rule for the weight exp(-x^2 / 2) (Pinheiro & Bates 1995, J.
Comput. Graph. Stat. 4(1)). One node is Laplace's approximation. L may be singular: u has its own unit variance.

The gradient is the exact derivative of this sum, nodes that move with the mode included. Fisher's identity (the
weighted mean of the complete-data scores) has no such terms, and is off by as much as the quadrature is.
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from bayesmm.design.predictors import check_of_mean, random_parameters
from bayesmm.design.records import Design
from bayesmm.families.families import CANONICAL
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.compiled import (
    DOUBLES,
    INT64,
    WORDS,
    c_function,
    from_python,
    matrix_of,
    pointers,
    vector_of,
)
from bayesmm.likelihood.lattice import FINE, LATTICE, lattice_level
from bayesmm.likelihood.lattice_walk import walk_size
from bayesmm.likelihood.level_sums import DERIVATIVES, marginal
from bayesmm.likelihood.own_parameters import kind_of_own, padded
from bayesmm.likelihood.packed import Floats, Integer, Integers, Ints, Matrix, Number, Vector, Words, pack, reader
from bayesmm.likelihood.response_terms import constant
from bayesmm.likelihood.row_functions import codes
from bayesmm.likelihood.tensor_rule import tensor_level, tensor_size

# Of a level whose density is about normal, with 1, 2 and 3 coefficients.
USUAL_NODES = (16, 130, 900)
# Of a Gauss-Hermite rule: glmer's limit; with many more the outer weights are below the smallest double.
MOST_NODES = 100
MAX_COEFFICIENTS = 3  # random effects of a level: the grid has k^q nodes


class Grouped(NamedTuple):
    """The rows of a design sorted by level, as the compiled code takes them.

    Attributes
    ----------
    family, link : int
        `row_functions.codes`.
    by : int
        How many parameters each row has of its own besides its mean, at least 3; 0 where all rows have the same.
    real : int
        Bit m is 1 where the m-th of them may be any number, so that it has no size of its own.
    y, size, weight, offset : (n,) float64
        `size` is the number of trials (1 for families without), `weight` the prior weight.
    X : (n, p) float64
    Z : (n, q) float64
    start : (G + 1,) int64
        Rows start[g] to start[g + 1] are of level g.
    constant : float
        What the log densities of the rows have that depends on no parameter, where `response_terms` leaves it out.
    words : int64 array
        All of the above, packed.
    """

    family: Integer
    link: Integer
    by: Integer
    real: Integer
    y: Vector
    size: Vector
    weight: Vector
    offset: Vector
    X: Matrix
    Z: Matrix
    start: Integers
    constant: Number
    words: Words


read_grouped = reader(Grouped)


class Value(NamedTuple):
    """What one evaluation gives.

    Attributes
    ----------
    ok : bool
        False where there is no density in floating point: `value` is then -inf and the derivatives are 0.
    value : float
        log p(y | beta, L, auxiliaries), all constants included.
    d_beta : (p,) float64
    d_L : (q, q) float64
        Lower triangular.
    d_aux : (3,) float64, or (n, by) in the order of the levels
    modes : (G, q) float64
        The spherical modes u*; those of the random effects are u* L'.
    """

    ok: bool
    value: float
    d_beta: Floats
    d_L: Floats
    d_aux: Floats
    modes: Floats


def grouped(
    family: int, link: int, y: Floats, X: Floats, Z: Floats, index: Ints, n_levels: int, *,
    size: Floats | None = None, weights: Floats | None = None, offset: Floats | None = None, by: int = 0,
    real: int = 0,
) -> Grouped:  # fmt: skip
    """Sort the rows of a model with one grouping factor by its levels; of canonical links, equal ones become one.

    Parameters
    ----------
    family, link : int
    y : (n,) float64
    X : (n, p) float64
    Z : (n, q) float64
        Random-effects columns.
    index : (n,) int64
        Level of each row, from 0 to n_levels - 1.
    size, weights, offset : (n,) float64, optional
        Ones, ones and zeros if not given.
    by, real : int, optional
        See `Grouped`.

    Returns
    -------
    Grouped
    """
    zeros, ones = np.zeros(len(y)), np.ones(len(y))
    y, size, weights, offset = (
        np.asarray(column, dtype=np.float64)
        for column in (y, ones if size is None else size, ones if weights is None else weights,
                       zeros if offset is None else offset)
    )  # fmt: skip
    fixed = constant(family, link, y, size, weights, np.zeros(MOST_PARAMETERS))
    if (family, link) in CANONICAL:
        first, y, weights = merged(np.column_stack([index, offset, X, Z]), y, size, weights)
        size, offset, X, Z, index = np.ones(len(first)), offset[first], X[first], Z[first], index[first]
    order = np.argsort(index, kind="stable")
    columns = [np.ascontiguousarray(c[order], dtype=np.float64) for c in (y, size, weights, offset, X, Z)]
    start = np.concatenate([[0], np.cumsum(np.bincount(index, minlength=n_levels))]).astype(np.int64)
    data = Grouped(family, link, by, real, *columns, start, fixed, np.empty(0, np.int64))
    return data._replace(words=pack(data))


def merged(keys: Floats, y: Floats, size: Floats, weights: Floats) -> tuple[Ints, Floats, Floats]:
    """Return the first row of each set with equal keys, the shares of successes of each set, and its weights.

    Of a canonical link nothing else is in the likelihood: sum w (y eta - size c(eta)) = W (sum w y / W eta - c(eta))
    with W = sum w size, which of counts is sum w.
    """
    _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    total = np.bincount(place.ravel(), weights * size)
    return first, np.bincount(place.ravel(), weights * y) / total, total


def prepare(design: Design) -> Grouped:
    """Return a design with one grouping factor as the compiled code takes it; raises what `check_fits` does."""
    check_fits(design)
    (block,), family = design.blocks, design.family
    return grouped(
        *codes(family), design.y, design.X, block.Z, block.index, len(block.levels),
        size=design.size, weights=design.weights, offset=design.offset, **kind_of_own(design),
    )  # fmt: skip


def check_fits(design: Design) -> None:
    """Refuse a design whose random effects cannot be integrated out by quadrature.

    Raises
    ------
    ValueError
        For another number of grouping factors, or one with more than `MAX_COEFFICIENTS` coefficients.
    """
    if fits(design):
        return
    check_of_mean(design, "effects='marginal'", "use effects='explicit'")
    related = [block.group for block in design.blocks if block.relation is not None]
    if related:
        raise ValueError(
            f"the effects of {related[0]} have a known covariance, so that they are integrated out by no quadrature; "
            "use effects='explicit'"
        )
    counts = [f"{len(block.columns)} of {block.group}" for block in design.blocks]
    raise ValueError(
        "the random effects of a generalised model are integrated out for one grouping factor with at most "
        f"{MAX_COEFFICIENTS} coefficients for each level, and this model has {' and '.join(counts) or 'none'}; "
        "use effects='explicit'"
    )


def fits(design: Design) -> bool:
    """Return whether the random effects of a design can be integrated out by quadrature."""
    one = len(design.blocks) == 1 and len(design.blocks[0].columns) <= MAX_COEFFICIENTS
    return one and not random_parameters(design) and design.blocks[0].relation is None


def usual_nodes(design: Design) -> int:
    """Return about how many nodes of `lattice` a level takes when a posterior is sampled: for estimates of cost."""
    return USUAL_NODES[len(design.blocks[0].columns) - 1] if design.blocks else 1


@cache
def rule(k: int, q: int) -> tuple[Floats, Floats]:
    """Return the nodes x, (k^q, q), and log omega + |x|^2 / 2 - (q / 2) log 2 pi, (k^q,), of the tensor grid.

    Of a lattice there are none: it is another for each level.
    """
    if k <= LATTICE:
        return np.zeros((0, q)), np.zeros(0)
    x, omega = np.polynomial.hermite_e.hermegauss(k)
    one = np.log(omega) + 0.5 * x**2 - 0.5 * np.log(2 * np.pi)
    nodes = np.array(list(product(x, repeat=q))).reshape(-1, q)
    log_weights = np.array([sum(row) for row in product(one, repeat=q)])
    for array in (nodes, log_weights):
        array.flags.writeable = False
    return nodes, log_weights


def told(data: Grouped, n_auxiliaries: int, k: int) -> Ints:
    """Return what `likelihood` is told, for k nodes in each dimension, or a lattice: see `level_sums`.

    The address of the rule is valid in this process only.
    """
    q, most = data.Z.shape[1], int(np.diff(data.start).max(initial=1))
    of_lattice = k <= LATTICE
    size = walk_size(most, q, data.by) if of_lattice else tensor_size(most, q, k, data.by)
    level = lattice_level() if of_lattice else tensor_level()
    nodes = 0 if of_lattice else k**q
    return np.array([nodes, n_auxiliaries, len(data.start) - 1, level.address, int(k == FINE), size, DERIVATIVES, 0])


def evaluate(data: Grouped, beta: Floats, L: Floats, aux: Floats, k: int) -> Value:
    """Evaluate log p(y | beta, L, auxiliaries) and its gradient.

    Parameters
    ----------
    data : Grouped
    beta : (p,) float64
        Coefficients, on the scale of the link.
    L : (q, q) float64
        Lower triangular, b = L u; absolute, not relative to sigma.
    aux : (a,) float64, or (n, by) in the order of the levels
        The family's auxiliary parameters, a <= 3.
    k : int
        Nodes in each dimension; 1 is Laplace's approximation. `LATTICE` or `FINE`: the rule of `lattice`.

    Returns
    -------
    Value
    """
    p, q, G = data.X.shape[1], data.Z.shape[1], len(data.start) - 1
    nodes, log_weights = rule(k, q)
    both = padded(aux)
    given = [np.ascontiguousarray(array, dtype=np.float64) for array in (beta, L, both)]
    found = [np.full(1, -np.inf), np.zeros(p), np.zeros((q, q)), np.zeros(both.shape), np.zeros((G, q))]
    given_first = told(data, both.shape[-1] if both.ndim > 1 else len(aux), k)
    ok = _likelihood()(*pointers(data.words, given_first, nodes, log_weights, *given, *found)) == 1
    return Value(ok, float(found[0][0]), *found[1:])


@c_function(INT64(WORDS, WORDS, *[DOUBLES] * 10))
def likelihood(
    words, told, nodes, log_weights, beta, L, aux, value, d_beta, d_L, d_aux, modes
):  # fmt: skip
    """Set value, its derivatives and the modes; return 1, or 0, with zero derivatives, where there is no density.

    `words` are those of `Grouped`, and `told` are from the function of that name.
    """
    data = read_grouped(words)
    p, q, m = data.X.shape[1], data.Z.shape[1], MOST_PARAMETERS if data.by == 0 else data.by * data.X.shape[0]
    return marginal(
        data, told, nodes, log_weights, vector_of(beta, (p,)), matrix_of(L, (q, q)), vector_of(aux, (m,)), value,
        vector_of(d_beta, (p,)), matrix_of(d_L, (q, q)), vector_of(d_aux, (m,)), modes,
    )  # fmt: skip


@cache
def _likelihood() -> Callable[..., int]:
    return from_python(likelihood(), 12)
