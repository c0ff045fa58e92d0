"""Draws of a level's random effects where the log density of every row is concave in its linear predictor, compiled.

On a line through its mode such a density lies below its tangents. Three of them, at the mode and about sqrt(2) sds to
either side, bound it by exponentials that are drawn from directly; what is drawn is kept with the ratio of density and
bound, and without looking at the density where it is already below the chords (Gilks & Wild 1992, Appl. Statist.
41(2)). Of a normal density 0.89 of the draws are kept. With one random effect this is an exact draw. With more, the
directions are the eigenvectors of the curvature at the mode: along them a normal density is a product. What the sweeps
leave of where they began, a draw from that normal density, becomes about nine times less with each: of two equal yes/no
answers with effects of 5 on the scale of the logit one and two leave 0.1 and 0.011 sd of a mean, by which three leave
about 0.001 (200,000 draws tell 0.002); of 16 other levels (3 to 30 rows, effects of 0.5 to 4) one leaves at most 0.044,
and two nothing that as many draws show.
"""

import math
from typing import NamedTuple

from bayesmm.likelihood.compiled import inner, matrix_of
from bayesmm.likelihood.level_rows import Pointer, own_aux
from bayesmm.likelihood.modes import cumulants, find_mode
from bayesmm.likelihood.response_terms import LOGIT, row_derivatives

SWEEPS = (1, 3, 4)  # with 1, 2 and 3 random effects
# The spacing of the tangents in sds by the curvature: the area under three of them is smallest there for a normal
# density. From a point this close to the mode, in squared sds, little is lost.
SPACING, NEAR = math.sqrt(2.0), 0.04
ROUGH = 0.1  # of `find_mode`: what the draws need of the joint mode
TRIES, STEPS, DOUBLINGS, ROTATIONS = 1000, 100, 60, 6
FLAT = 1e-9  # a slope times a length at which an exponential is a constant


class Ray(NamedTuple):
    """A line u + t e, and the rows along it: pointers to (n,), but for the numbers.

    The squares are of u and e, and `cross` is their product.
    """

    y: Pointer  # weighted
    weight: Pointer  # of a binomial, times the number of trials
    at: Pointer  # linear predictors at t = 0
    step: Pointer  # their change with t
    moved: Pointer
    mean: Pointer
    curve: Pointer
    cross: float
    square: float


@inner
def mode_near(rows, w, u):
    """Set u to about the mode, which is searched for from u; return whether it was found."""
    found, _, _ = find_mode(rows, u, True, w.search, w.line, ROUGH)
    return found


@inner
def draw_concave(rows, w, rng, u):
    """Set u, where a mode is near, to a draw; return whether it could be: finite tangents about a mode."""
    return (rows.q == 1 and _draw_one(rows, w, rng, u)) or (mode_near(rows, w, u) and _draw_all(rows, w, rng, u))


@inner
def _draw_one(rows, w, rng, u):
    """Do that for one random effect, without a search before: the line's own goes to the top."""
    line, n = w.line, rows.n
    for i in range(n):
        line.y[i] = rows.weight[i] * rows.y[i]
        line.weight[i] = rows.weight[i] * rows.size[i]
        line.at[i] = rows.eta[i] + rows.A[i] * u[0]
        line.step[i] = rows.A[i]
    ray = Ray(line.y, line.weight, line.at, line.step, line.power, line.flat, line.along, u[0], 1.0)
    kept, t = draw_on(rows, ray, 0.0, rng)
    u[0] += t
    return kept


@inner
def _draw_all(rows, w, rng, u):
    """Set u, the mode about which `mode_near` has left the curvature, to a draw."""
    q, n, s, line = rows.q, rows.n, w.search, w.line
    directions(q, s.C, s.H, s.M)
    for k in range(q):  # where the draw is from the mode, in these directions: at first as in a normal density
        s.step[k] = rng.normal() if q > 1 else 0.0
        for a in range(q):
            u[a] += s.step[k] * s.M[k * q + a]
    for i in range(n):
        line.at[i] = rows.eta[i]
        for a in range(q):
            line.at[i] += rows.A[a * n + i] * u[a]
    for _ in range(SWEEPS[q - 1]):
        for k in range(q):
            cross = square = 0.0
            for a in range(q):
                cross += u[a] * s.M[k * q + a]
                square += s.M[k * q + a] ** 2
            for i in range(n):
                line.step[i] = 0.0
                for a in range(q):
                    line.step[i] += rows.A[a * n + i] * s.M[k * q + a]
            ray = Ray(line.y, line.weight, line.at, line.step, line.power, line.flat, line.along, cross, square)
            kept, t = draw_on(rows, ray, -s.step[k], rng)
            if not kept:
                return False
            s.step[k] += t
            for a in range(q):
                u[a] += t * s.M[k * q + a]
            for i in range(n):
                line.at[i] += t * line.step[i]
    return True


@inner
def directions(q, C, H, E):
    """Set the rows of E to the eigenvectors of C C' over the roots of its eigenvalues, by Jacobi's rotations in H."""
    A, V = matrix_of(H, (q, q)), matrix_of(E, (q, q))
    for a in range(q):
        for b in range(q):
            A[a, b], V[a, b] = 0.0, 1.0 if a == b else 0.0
            for c in range(min(a, b) + 1):
                A[a, b] += C[a * q + c] * C[b * q + c]
    for _ in range(ROTATIONS if q > 2 else q - 1):
        for a in range(q):
            for b in range(a + 1, q):
                if A[a, b] == 0.0:
                    continue
                ratio = 0.5 * (A[b, b] - A[a, a]) / A[a, b]
                tangent = math.copysign(1.0, ratio) / (abs(ratio) + math.sqrt(1.0 + ratio * ratio))
                cosine = 1.0 / math.sqrt(1.0 + tangent * tangent)
                sine = tangent * cosine
                for c in range(q):
                    A[c, a], A[c, b] = cosine * A[c, a] - sine * A[c, b], sine * A[c, a] + cosine * A[c, b]
                for c in range(q):
                    A[a, c], A[b, c] = cosine * A[a, c] - sine * A[b, c], sine * A[a, c] + cosine * A[b, c]
                    V[a, c], V[b, c] = cosine * V[a, c] - sine * V[b, c], sine * V[a, c] + cosine * V[b, c]
    for a in range(q):
        root = math.sqrt(A[a, a])
        for b in range(q):
            V[a, b] /= root


@inner
def along(rows, ray, t):
    """Return f(u + t e) less a constant, its slope in t, and its curvature: minus the second derivative."""
    f, slope, curvature = -t * (ray.cross + 0.5 * t * ray.square), -ray.cross - t * ray.square, ray.square
    for i in range(rows.n):
        ray.moved[i] = ray.at[i] + t * ray.step[i]
    if rows.kind >= LOGIT:
        f -= cumulants(rows.kind == LOGIT, rows.n, ray.moved, ray.weight, ray.mean, ray.curve)
        for i in range(rows.n):
            f += ray.y[i] * ray.moved[i]
            slope += (ray.y[i] - ray.mean[i]) * ray.step[i]
            curvature += ray.curve[i] * ray.step[i] * ray.step[i]
        return f, slope, curvature
    for i in range(rows.n):
        value, d1, d2, _ = row_derivatives(
            rows.family, rows.link, rows.y[i], rows.size[i], ray.moved[i], own_aux(rows, i)
        )
        f += rows.weight[i] * value
        slope += rows.weight[i] * d1 * ray.step[i]
        curvature -= rows.weight[i] * d2 * ray.step[i] * ray.step[i]
    return f, slope, curvature


@inner
def top_of(rows, ray, t):
    """Return (t, f, slope, curvature) close to the highest point of the line, by Newton's steps from t."""
    f, slope, curvature = along(rows, ray, t)
    for _ in range(STEPS):
        step = slope / curvature
        if not step * slope > NEAR:
            break
        for _ in range(DOUBLINGS):
            new, new_slope, new_curvature = along(rows, ray, t + step)
            if new >= f:
                break
            step *= 0.5
        t, f, slope, curvature = t + step, new, new_slope, new_curvature
    return t, f, slope, curvature


@inner
def side(rows, ray, t, f, distance):
    """Return the distance from t of a point at which the density falls outwards, with f there, less f(t), and slope."""
    for _ in range(DOUBLINGS):
        new, slope, _ = along(rows, ray, t + distance)
        if not math.isfinite(new):
            distance *= 0.5
        elif slope * distance < 0.0:
            return distance, new - f, slope
        else:
            distance *= 2.0
    return 0.0, 0.0, 0.0


@inner
def draw_on(rows, ray, t, rng):
    """Return (True, draw) from the density along the line; (False, 0) without tangents that bound it.

    The tangents are put about t, unless the top is far from there.
    """
    t, f, slope, curvature = top_of(rows, ray, t)
    if not (math.isfinite(f) and curvature > 0.0):
        return False, 0.0
    a, f_a, rise = side(rows, ray, t, f, -SPACING / math.sqrt(curvature))
    b, f_b, fall = side(rows, ray, t, f, SPACING / math.sqrt(curvature))
    if not (rise > max(slope, 0.0) and fall < min(slope, 0.0)):
        return False, 0.0
    low, high = (rise * a - f_a) / (rise - slope), (fall * b - f_b) / (fall - slope)  # where tangents meet
    left, right = math.exp(slope * low) / rise, -math.exp(slope * high) / fall
    flat = abs(slope * (high - low)) < FLAT
    middle = high - low if flat else math.exp(slope * low) * math.expm1(slope * (high - low)) / slope
    for _ in range(TRIES):
        pick = rng.random() * (left + middle + right)
        if pick < left:
            z = low + math.log(max(pick, 1e-300) / left) / rise
            bound = f_a + rise * (z - a)
        elif pick < left + middle:
            share = (pick - left) / middle
            z = low + (share * (high - low) if flat else math.log1p(share * math.expm1(slope * (high - low))) / slope)
            bound = slope * z
        else:
            z = high + math.log(max(left + middle + right - pick, 1e-300) / right) / fall
            bound = f_b + fall * (z - b)
        least = bound + math.log(1.0 - rng.random())
        chord = f_a * z / a if z < 0.0 else f_b * z / b
        if (a < z < b and least <= chord) or least <= along(rows, ray, t + z)[0] - f:
            return True, t + z
    return False, 0.0
