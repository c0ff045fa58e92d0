"""The compiled part of `quadrature` for counts with a log link and binary responses with a logit link: one level.

The log density of a row is then w (y eta - c(eta)) with the cumulant c = mu or m log(1 + mu), mu = exp(eta). On a
tensor grid mu_i(x) = mu_i(0) prod_d exp(B_id x_d) with B = A M, so that few exponentials of a row serve its k^q nodes,
and the rest of a node is products, quotients and sums. Symbols as in `quadrature` and `quadrature_kernels`. No views of
arrays and no new arrays in here: they would cost more than the rest; `Space` holds what is needed for one level after
the other.
"""

import math
from typing import NamedTuple

from bayesmm.families.special import WILD
from bayesmm.likelihood.compiled import inlined, inner
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.dense_matrices import dot, small_cholesky, solve_lower, solve_lower_transposed

# As in `quadrature_kernels`, where their reasons are and which has the last word; a log-concave density needs fewer.
DECREMENT, STEPS, HALVINGS, ROUNDING = 1e-18, 60, 30, 1e-12
# The logarithm of a product is taken once for many factors, before they overflow: none is above exp(2 WILD).
MANY = 1e8


class Space(NamedTuple):
    """Room for one level of n rows at most, q random effects and k nodes in each dimension."""

    y: Floats  # (n,) weighted responses
    weight: Floats  # (n,) of a binomial, times the number of trials
    eta: Floats  # (n,) linear predictor at u = 0
    Z: Floats  # (q, n) rows of one level, one coefficient after the other
    A: Floats  # (q, n)
    mu: Floats  # (n,) exp(eta) at the mode; of counts, weighted
    mean: Floats  # (n,) weighted means at the mode, the first derivatives of the cumulants
    curve: Floats  # (n,) their second derivatives
    spread: Floats  # (n,)
    B: Floats  # (q, n)
    E: Floats  # (q, k, n) powers exp(B_id x_k)
    products: Floats  # (q, n)
    sums: Floats  # (q + 1, n)
    small: Floats  # (10, q) vectors
    square: Floats  # (6, q, q) matrices


@inner
def sizes(data, nodes):
    """Return the most rows of a level, the nodes in each dimension, and the numbers that `space` takes."""
    q, n, k = data.Z.shape[1], 1, 1
    for g in range(data.start.shape[0] - 1):
        n = max(n, data.start[g + 1] - data.start[g])
    while k**q < nodes.shape[0]:
        k += 1
    return n, k, 7 * n + (5 + k) * q * n + n + 10 * q + 6 * q * q


@inner
def space(pool, n, k, q):
    """Return the workspace for one level, out of a pool."""
    m, at, end = q * n, 7 * n, 7 * n + 4 * q * n
    sums = end + k * m
    small = sums + m + n
    return Space(
        pool[:n], pool[n : 2 * n], pool[2 * n : 3 * n], matrix_of(pool, at, q, n), matrix_of(pool, at + m, q, n),
        pool[3 * n : 4 * n], pool[4 * n : 5 * n], pool[5 * n : 6 * n], pool[6 * n : 7 * n],
        matrix_of(pool, at + 2 * m, q, n),
        pool[end:sums].reshape((q, k, n)), matrix_of(pool, at + 3 * m, q, n), matrix_of(pool, sums, q + 1, n),
        matrix_of(pool, small, 10, q), pool[small + 10 * q : small + 10 * q + 6 * q * q].reshape((6, q, q)),
    )  # fmt: skip


@inner
def matrix_of(pool, at, rows, columns):
    """Return a matrix out of a pool."""
    return pool[at : at + rows * columns].reshape((rows, columns))


@inlined
def gather(data, lo, hi, eta, L, s):
    """Copy the rows of a level: from here on they are numbered from 0, which compiles to quicker loops."""
    q = L.shape[0]
    for i in range(hi - lo):
        s.weight[i], s.eta[i] = data.weight[lo + i] * data.size[lo + i], eta[lo + i]
        s.y[i] = data.weight[lo + i] * data.y[lo + i]
        for a in range(q):
            s.Z[a, i] = data.Z[lo + i, a]
    for a in range(q):
        for i in range(hi - lo):
            s.A[a, i] = 0.0
        for b in range(a, q):
            for i in range(hi - lo):
                s.A[a, i] += L[b, a] * s.Z[b, i]


@inlined
def cumulants(n, logit, s):
    """Set mu, means and curvatures from the eta that stand in mu; return the sum of the cumulants."""
    if not logit:
        total = 0.0
        for i in range(n):
            s.mu[i] = s.weight[i] * math.exp(s.mu[i]) if s.mu[i] < WILD else math.inf
            total += s.mu[i]
        for i in range(n):
            s.mean[i] = s.curve[i] = s.mu[i]
        return total
    for i in range(n):
        if not abs(s.mu[i]) < WILD:
            return math.inf
        s.mu[i] = math.exp(s.mu[i])
    for i in range(n):
        other = 1.0 / (1.0 + s.mu[i])
        s.mean[i] = s.weight[i] * s.mu[i] * other
        s.curve[i] = s.mean[i] * other
    return log_products(n, s.mu, s.weight)


@inner
def log_products(n, mu, weight):
    """Return sum w log(1 + mu), with one logarithm for many rows of weight 1."""
    total, product = 0.0, 1.0
    for i in range(n):
        if weight[i] == 1.0:
            product *= 1.0 + mu[i]
            if product > MANY:
                total += math.log(product)
                product = 1.0
        else:
            total += weight[i] * math.log1p(mu[i])
    return total + math.log(product)


@inlined
def canonical_mode(n, logit, u, C, s, close=DECREMENT):
    """Do what `quadrature_kernels.find_mode` does, and set the means at the mode. False: ask that one."""
    q, fixed, step, pull, at = u.shape[0], 0.0, s.small[0], s.small[1], s.small[8]
    for i in range(n):
        fixed += s.y[i] * s.eta[i]
    for a in range(q):
        u[a] = pull[a] = step[a] = 0.0
        for i in range(n):
            pull[a] += s.y[i] * s.A[a, i]
    f, halved = -math.inf, 0
    for _ in range(STEPS):
        f_new, size = fixed, 0.0
        for a in range(q):
            at[a] = u[a] + step[a]
            f_new += at[a] * pull[a] - 0.5 * at[a] * at[a]
            size += step[a] * step[a]
        for i in range(n):
            s.mu[i] = s.eta[i]
        for a in range(q):
            for i in range(n):
                s.mu[i] += s.A[a, i] * at[a]
        f_new -= cumulants(n, logit, s)
        if not math.isfinite(f_new) or (size > 0.0 and f_new < f - ROUNDING * (1.0 + abs(f))):
            halved += 1
            if halved > HALVINGS or not size > 0.0:
                return False, f
            for a in range(q):
                step[a] *= 0.5
            continue
        f, halved = f_new, 0
        for a in range(q):
            u[a] = at[a]
        decrement = newton_step(n, u, pull, step, C, s)
        if decrement < close:
            return True, f
        if not decrement < math.inf:
            return False, f
    return False, f


@inlined
def newton_step(n, u, pull, step, C, s):
    """Set C to the factor of the curvature at u and step to Newton's; return its squared length in that metric."""
    q = u.shape[0]
    for a in range(q):
        step[a] = pull[a] - u[a]
        for i in range(n):
            step[a] -= s.mean[i] * s.A[a, i]
        for i in range(n):
            s.spread[i] = s.curve[i] * s.A[a, i]
        for b in range(a + 1):
            C[a, b] = 1.0 if a == b else 0.0
            for i in range(n):
                C[a, b] += s.spread[i] * s.A[b, i]
    if not small_cholesky(C):
        return math.inf
    solve_lower(C, step)
    decrement = dot(step, step)
    solve_lower_transposed(C, step)
    return decrement


@inlined
def fill_powers(n, M, nodes, s):
    """Set B = A M and the powers exp(B_id x_k), the nodes being symmetric about 0; the last coordinate runs fastest."""
    q, k = s.E.shape[0], s.E.shape[1]
    for d in range(q):
        for i in range(n):
            s.B[d, i] = 0.0
        for b in range(d + 1):
            for i in range(n):
                s.B[d, i] += s.A[b, i] * M[b, d]
        for i in range(n):
            s.E[d, k // 2, i] = 1.0  # of the node in the middle, if k is odd
        for j in range(k // 2):
            x = nodes[k - 1 - j, q - 1]
            for i in range(n):  # those of an intercept are all the same
                if i > 0 and s.B[d, i] == s.B[d, i - 1]:
                    s.E[d, k - 1 - j, i] = s.E[d, k - 1 - j, i - 1]
                else:
                    s.E[d, k - 1 - j, i] = math.exp(min(max(s.B[d, i] * x, -WILD), WILD))
            for i in range(n):
                s.E[d, j, i] = 1.0 / s.E[d, k - 1 - j, i]


@inlined
def multiply(node, n, s):
    """Set products[d] = mu times the powers of the node's first d + 1 coordinates, those that changed."""
    q, k = s.E.shape[0], s.E.shape[1]
    period = 1
    for _ in range(q - 1):
        period *= k
    for d in range(q):
        if node % period == 0:
            j = (node // period) % k
            if d == 0:
                for i in range(n):
                    s.products[0, i] = s.mu[i] * s.E[0, j, i]
            else:
                for i in range(n):
                    s.products[d, i] = s.products[d - 1, i] * s.E[d, j, i]
        period //= k


@inlined
def within_reach(n, logit, nodes, s):
    """Return whether no power was cut off by `fill_powers` that matters: exp(-mu) is 0 there, log(1 + mu) is not."""
    q, furthest = s.E.shape[0], nodes[nodes.shape[0] - 1, s.E.shape[0] - 1]
    if logit:
        for i in range(n):
            distance = 0.0
            for d in range(q):
                distance += abs(s.B[d, i]) * furthest
            if not distance < WILD:
                return False
    return True


@inlined
def node_cumulants(n, logit, s):
    """Return the sum of the cumulants at a node whose mu are in the last of products; set those to the means."""
    q, total = s.E.shape[0], 0.0
    if not logit:
        for i in range(n):
            total += s.products[q - 1, i]
        return total
    total = log_products(n, s.products[q - 1], s.weight)
    for i in range(n):
        s.products[q - 1, i] = s.weight[i] * (1.0 - 1.0 / (1.0 + s.products[q - 1, i]))
    return total


@inlined
def canonical_sum(n, logit, L, nodes, log_weights, u, M, d_u, d_M, d_L, s):
    """Do what `quadrature_kernels.node_sum` does, after `canonical_mode` and `fill_powers`."""
    q = u.shape[0]
    total, sum_x, sum_xx, along, at_node = 0.0, s.small[2], s.square[0], s.small[3], s.small[4]
    for i in range(n):
        s.products[q - 1, i] = s.mu[i]
        for a in range(q + 1):
            s.sums[a, i] = 0.0
    peak = -node_cumulants(n, logit, s)
    for a in range(q):
        peak -= 0.5 * u[a] * u[a]
        sum_x[a] = along[a] = 0.0
        for b in range(q):
            sum_xx[a, b] = 0.0
        for i in range(n):
            along[a] += s.y[i] * s.B[a, i]
    for node in range(nodes.shape[0]):
        multiply(node, n, s)
        f = log_weights[node] - peak
        for a in range(q):
            at = u[a]
            at_node[a] = nodes[node, a]
            for b in range(a, q):
                at += M[a, b] * nodes[node, b]
            f += along[a] * nodes[node, a] - 0.5 * at * at
        f -= node_cumulants(n, logit, s)
        share = math.exp(min(f, WILD))
        if not share > 0.0:
            continue
        total += share
        for a in range(q):
            factor = share * at_node[a]
            sum_x[a] += factor
            for b in range(q):
                sum_xx[a, b] += factor * at_node[b]
            for i in range(n):
                s.sums[a, i] += factor * s.products[q - 1, i]
        for i in range(n):
            s.sums[q, i] += share * s.products[q - 1, i]
    if not (total > 0.0 and total < math.inf):
        return False, -math.inf
    node_slopes(n, L, u, M, total, d_u, d_M, d_L, s)
    return True, math.log(total)


@inlined
def node_slopes(n, L, u, M, total, d_u, d_M, d_L, s):
    """Set and add to the derivatives what the sums over the nodes give; that in eta becomes the last row of sums."""
    q = u.shape[0]
    sum_x, sum_xx, z, zx = s.small[2], s.square[0], s.small[5], s.square[1]
    for a in range(q):  # the weighted means of Z'w(y - mu) and of that times x'
        z[a] = 0.0
        for b in range(q):
            zx[a, b] = 0.0
        for i in range(n):
            z[a] += s.Z[a, i] * (s.y[i] - s.sums[q, i] / total)
            for b in range(q):
                zx[a, b] += s.Z[a, i] * (s.y[i] * sum_x[b] - s.sums[b, i]) / total
    for i in range(n):
        s.sums[q, i] = s.y[i] - s.sums[q, i] / total
    for a in range(q):
        d_u[a] = -u[a]
        for b in range(q):
            d_u[a] += L[b, a] * z[b] - M[a, b] * sum_x[b] / total
            d_M[a, b] = -u[a] * sum_x[b] / total
            d_L[a, b] += z[a] * u[b]
            for c in range(q):
                d_M[a, b] += L[c, a] * zx[c, b] - M[a, c] * sum_xx[c, b] / total
                d_L[a, b] += zx[a, c] * M[b, c]


@inlined
def canonical_follow(lo, n, logit, u, C, H_bar, d_u, d_eta, d_L, s):
    """Do what `quadrature_kernels.follow_mode` does, given its H_bar: w d1 = y - mean, w d2 = -curve. Set d_eta too."""
    q, v = u.shape[0], s.small[6]
    for i in range(n):
        s.spread[i] = 0.0
    for a in range(q):
        for b in range(q):
            for i in range(n):
                s.spread[i] += s.curve[i] * H_bar[a, b] * s.A[a, i] * s.A[b, i]
    if logit:  # w d3 = -curve (1 - 2 p); of counts it is -curve
        for i in range(n):
            s.spread[i] *= 2.0 / (1.0 + s.mu[i]) - 1.0
    for a in range(q):
        v[a] = d_u[a]
        for i in range(n):
            v[a] += s.spread[i] * s.A[a, i]
    solve_lower(C, v)
    solve_lower_transposed(C, v)
    for a in range(q):
        for i in range(n):
            s.spread[i] -= s.curve[i] * s.A[a, i] * v[a]
    for i in range(n):
        d_eta[lo + i] = s.sums[q, i] + s.spread[i]
    for b in range(q):
        for i in range(n):
            s.B[0, i] = s.spread[i] * u[b] + (s.y[i] - s.mean[i]) * v[b]
        for a in range(q):
            for i in range(n):
                s.B[0, i] += 2.0 * s.curve[i] * H_bar[b, a] * s.A[a, i]
        for a in range(q):
            for i in range(n):
                d_L[a, b] += s.Z[a, i] * s.B[0, i]
