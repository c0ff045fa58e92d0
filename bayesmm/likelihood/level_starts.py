r"""Where the search for the mode of each level begins, from what is known of the levels at another point.

At a reference the log density of a level's rows is, to second order in b = L u and beta,

    b'(r - C beta) - b'W b / 2 + terms without b,    W = sum_i c_i z_i z_i',  C = sum_i c_i z_i x_i',
    r = sum_i d_i z_i + W b_0 + C beta_0,

d_i and c_i being the derivative of a row in its linear predictor at the mode b_0, and less the second one. With other
parameters the mode is near (I + L'W L) u = L'(r - C beta): one step of Newton's method, which takes no row. A
posterior is narrow beside the size of a level's effects, so that the search then ends at its first step, where it takes
three or four from u = 0. Its end, and with it the value of the integral, is the same to the accuracy of the search.
"""

from bayesmm.likelihood.compiled import inner, matrix_of, pointer, reordered, vector_of
from bayesmm.likelihood.dense_matrices import small_cholesky, solve_lower, solve_lower_transposed


def size_of(p: int, q: int) -> int:
    """Return how many numbers are kept of a level with p fixed columns and q random effects."""
    return q + q * q + q * p


@inner
def remember(X, Z, start, L, beta, modes, kept):
    """Set r, W and C of each level; `modes` has the u of the levels, and the n rows' d and c behind them."""
    (n, q), p, G = Z.shape, X.shape[1], start.shape[0] - 1
    for g in range(G):
        r = pointer(kept, g * (q + q * q + q * p))
        W, C, u = pointer(r, q), pointer(r, q + q * q), pointer(modes, q * g)
        for k in range(q + q * q + q * p):
            r[k] = 0.0
        for i in range(start[g], start[g + 1]):
            first, curve = modes[q * G + i], modes[q * G + n + i]
            for a in range(q):
                r[a] += first * Z[i, a]
                for b in range(q):
                    W[a * q + b] += curve * Z[i, a] * Z[i, b]
                for j in range(p):
                    C[a * p + j] += curve * Z[i, a] * X[i, j]
        for a in range(q):
            for b in range(q):
                for c in range(b + 1):
                    r[a] += W[a * q + b] * L[b, c] * u[c]
            for j in range(p):
                r[a] += C[a * p + j] * beta[j]


@reordered
def begin(G, q, L, beta, kept, modes, scratch):
    """Set the u of all levels, one after the other in `modes`; `scratch` has 2 q^2 numbers."""
    p, H, half = beta.shape[0], matrix_of(pointer(scratch, 0), (q, q)), matrix_of(pointer(scratch, q * q), (q, q))
    for g in range(G):
        r, u = pointer(kept, g * (q + q * q + q * p)), vector_of(pointer(modes, q * g), (q,))
        W, C = pointer(r, q), pointer(r, q + q * q)
        for a in range(q):
            for b in range(q):
                half[a, b] = 0.0
                for c in range(b, q):
                    half[a, b] += W[a * q + c] * L[c, b]
        for a in range(q):
            u[a] = 0.0
            for b in range(a, q):
                total = r[b]
                for j in range(p):
                    total -= C[b * p + j] * beta[j]
                u[a] += L[b, a] * total
            for b in range(a + 1):
                H[a, b] = 1.0 if a == b else 0.0
                for c in range(a, q):
                    H[a, b] += L[c, a] * half[c, b]
        if small_cholesky(H):
            solve_lower(H, u)
            solve_lower_transposed(H, u)
        else:  # rows whose density is not log-concave
            for a in range(q):
                u[a] = 0.0
