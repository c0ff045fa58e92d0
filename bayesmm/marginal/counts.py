"""The node sum of `levels` for Poisson counts with a log link, where it needs next to no exponentials.

On a tensor grid mu_i(x) = mu_i(0) prod_d exp(B_id x_d) with B = A M, so that k q exponentials of a row serve its k^q
nodes, and the rest of a node is products and sums. No views of arrays in the loop over nodes: they cost more than it.
"""

import math

import numpy as np

from bayesmm.marginal.compiled import inner
from bayesmm.marginal.kernels import dot
from bayesmm.marginal.response import WILD


@inner
def poisson_sum(data, lo, hi, eta, A, L, nodes, log_weights, u, M, d_u, d_M, d_eta, d_L):
    """Do what `levels.node_sum` does."""
    q, n = u.shape[0], hi - lo
    B, mean, y, E = np.empty((n, q)), np.empty(n), np.empty(n), power_table(nodes, q, n)
    along, weighted_y = np.zeros(q), np.zeros(q)
    for i in range(n):
        y[i] = data.weight[lo + i] * data.y[lo + i]
        at_mode = eta[lo + i]
        for a in range(q):
            at_mode += A[lo + i, a] * u[a]
            B[i, a] = 0.0
            for b in range(a + 1):
                B[i, a] += A[lo + i, b] * M[b, a]
            along[a] += y[i] * B[i, a]
            weighted_y[a] += y[i] * data.Z[lo + i, a]
        mean[i] = data.weight[lo + i] * math.exp(at_mode) if at_mode < WILD else math.inf
    k = fill_powers(B, nodes, E)
    total, sum_x, sum_xx = 0.0, np.zeros(q), np.zeros((q, q))
    sums, products = np.zeros((q + 1, n)), np.empty((q, n))
    peak = -0.5 * dot(u, u) - mean.sum()
    for node in range(nodes.shape[0]):
        multiply(node, k, mean, E, products)
        f = log_weights[node] - peak
        for a in range(q):
            at = u[a]
            for b in range(a, q):
                at += M[a, b] * nodes[node, b]
            f += along[a] * nodes[node, a] - 0.5 * at * at
        for i in range(n):
            f -= products[q - 1, i]
        share = math.exp(min(f, WILD))
        if not share > 0.0:
            continue
        total += share
        for a in range(q):
            factor = share * nodes[node, a]
            sum_x[a] += factor
            for b in range(q):
                sum_xx[a, b] += factor * nodes[node, b]
            for i in range(n):
                sums[a, i] += factor * products[q - 1, i]
        for i in range(n):
            sums[q, i] += share * products[q - 1, i]
    if not (total > 0.0 and total < math.inf):
        return False, -math.inf
    s, sx = np.empty(q), np.empty((q, q))  # the weighted means of Z'w(y - mu) and of that times x'
    for a in range(q):
        s[a] = weighted_y[a] - dot(data.Z[lo:hi, a], sums[q]) / total
        for b in range(q):
            sx[a, b] = (weighted_y[a] * sum_x[b] - dot(data.Z[lo:hi, a], sums[b])) / total
    sum_x /= total
    sum_xx /= total
    for i in range(n):
        d_eta[lo + i] = y[i] - sums[q, i] / total
    for a in range(q):
        d_u[a] = dot(L[:, a], s) - u[a] - dot(M[a], sum_x)
        for b in range(q):
            d_M[a, b] = dot(L[:, a], sx[:, b]) - u[a] * sum_x[b] - dot(M[a], sum_xx[:, b])
            d_L[a, b] += s[a] * u[b] + dot(sx[a], M[b])
    return True, math.log(total)


@inner
def power_table(nodes, q, n):
    """Return an empty table (q, k, n) for exp(B_id x_k)."""
    k = 1
    while k**q < nodes.shape[0]:
        k += 1
    return np.empty((q, k, n))


@inner
def fill_powers(B, nodes, E):
    """Set E[d, k, i] = exp(B_id x_k); return k. The last coordinate of the nodes runs fastest."""
    q, k, n = E.shape
    for d in range(q):
        for j in range(k):
            for i in range(n):
                E[d, j, i] = math.exp(min(B[i, d] * nodes[j, q - 1], WILD))
    return k


@inner
def multiply(node, k, mean, E, products):
    """Set products[d] = mean times the powers of the node's first d + 1 coordinates, those that changed."""
    q, n = products.shape
    period = nodes_behind(k, q - 1)
    for d in range(q):
        if node % period == 0:
            j = (node // period) % k
            if d == 0:
                for i in range(n):
                    products[0, i] = mean[i] * E[0, j, i]
            else:
                for i in range(n):
                    products[d, i] = products[d - 1, i] * E[d, j, i]
        period //= k


@inner
def nodes_behind(k, d):
    """Return k^d."""
    period = 1
    for _ in range(d):
        period *= k
    return period
