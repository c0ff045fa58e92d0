"""The explicit graph: its log density against SciPy's, its variables, and the priors' meaning in it. Nothing is sampled here."""

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
from pytensor.compile.mode import Mode
from scipy import special, stats

from bayesmm.design import make_design
from bayesmm.errors import PriorError
from bayesmm.families import get_family
from bayesmm.formula import parse
from bayesmm.graph.explicit import build_explicit
from bayesmm.priors import Prior, resolve_priors

# PyTensor without code generation: a graph is compiled in a fraction of a second, and evaluated once in milliseconds.
FAST = Mode(linker="py", optimizer="fast_compile")
POINTS = 20
FAMILY = get_family("gaussian")


@pytest.fixture(scope="module", autouse=True)
def no_compiler():
    """Let PyTensor write no C either: PyMC's own helpers would, for the LKJ distribution, and take seconds."""
    with pytensor.config.change_flags(cxx=""):
        yield


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(7)
    n = 48
    return pd.DataFrame(
        {
            "y": rng.normal(300, 50, n),
            "x": rng.normal(2017, 1.5, n),  # far from 0, so that it matters where the intercept is
            "v": rng.normal(3, 1, n),
            "w": rng.uniform(0.5, 2.0, n),
            "g": np.repeat([f"g{i}" for i in range(8)], 6),
            "h": np.tile(["a", "b", "c", "d", "e", "f"], 8),
        }
    )


def designed(formula, frame, **arguments):
    return make_design(parse(formula), frame, **arguments)


def graph_of(formula, frame, priors=None, *, centred=False, **arguments):
    design = designed(formula, frame, **arguments)
    return build_explicit(design, resolve_priors(design, FAMILY, priors), centred=centred)


# --- the same density written with SciPy, on the sampler's coordinates -----------------------------------------------------


def half_t(sd, scale):
    return np.log(2) + stats.t.logpdf(sd, 3, 0, scale)


def positive(point, name, scale):
    """Return an sd from its logarithm, and its log density there with log d sd / d log sd."""
    sd = np.exp(point[f"{name}_log__"])
    return sd, np.sum(half_t(sd, scale) + np.log(sd))


def correlation(x, q, eta=2.0):
    """Return L, and the log density of x when R = L L' is LKJ(eta): row i of L is (x_i, 1) / |(x_i, 1)|.

    Lewandowski, Kurowicka & Joe 2009; d R / d L = prod_i L_ii^(q - i), and d L_i / d x_i = |(x_i, 1)|^-(i + 1) for row i of 1..q.
    """
    rows = {2: [x[:1]], 3: [x[2:], x[1::-1]]}[q]  # PyMC fills the triangle from its end
    L, logp = np.eye(q), 0.0
    for i, row in enumerate(rows, start=1):
        length = np.sqrt(1 + row @ row)
        L[i, : i + 1] = np.append(row, 1) / length
        logp += -(i + 2) * np.log(length) + (q - 1 - i) * np.log(L[i, i])
    k = np.arange(1, q)
    logp += np.sum(special.gammaln(eta + (q - 1) / 2) - k / 2 * np.log(np.pi) - special.gammaln(eta + (q - 1 - k) / 2))
    return L, logp + 2 * (eta - 1) * np.log(np.diag(L)).sum()


def scales(design):
    """Return the default prior scales: (mean and 2.5 sd of y, MAD of y), written out once more."""
    y = design.y - design.offset
    return y.mean(), 2.5 * y.std(ddof=1), 1.4826 * np.median(np.abs(y - np.median(y)))


def reference(design, point, centred, fixed_sigma=None):
    """Return the log density of a point under the default priors, (beta, b and all) by SciPy."""
    mean, wide, mad = scales(design)
    logp, eta = 0.0, design.offset.copy()
    X = design.X
    if design.has_intercept and design.p > 1:
        slopes, alpha = point["_slopes"], point["_Intercept_centred"]
        sd_x = X[:, 1:].std(axis=0, ddof=1)
        logp += stats.norm.logpdf(alpha, mean, wide) + stats.norm.logpdf(slopes, 0, wide / sd_x).sum()
        eta += alpha + (X[:, 1:] - X[:, 1:].mean(axis=0)) @ slopes
    elif design.has_intercept:
        logp += stats.norm.logpdf(point["beta"], mean, wide).sum()
        eta += point["beta"][0]
    elif design.p:  # y ~ 0 + h: a mean for each level
        logp += stats.norm.logpdf(point["beta"], mean, wide).sum()
        eta += X @ point["beta"]
    for block in design.blocks:
        part, add = reference_block(block, point, centred, mad)
        logp, eta = logp + part, eta + add
    sigma, part = positive(point, "sigma", mad) if fixed_sigma is None else (fixed_sigma, 0.0)
    w = 1.0 if design.weights is None else design.weights
    return logp + part + stats.norm.logpdf(design.y, eta, sigma / np.sqrt(w)).sum()


def reference_block(block, point, centred, mad):
    q, name = len(block.columns), block.name
    size = np.array([1.0 if column == "Intercept" else z.std(ddof=1) for column, z in zip(block.columns, block.Z.T)])
    sd, logp = positive(point, f"sd_{name}", mad / size)
    L = np.eye(q)
    for number, part in enumerate(block.partition):
        if len(part) > 1:
            key = f"_L_{name}" if len(part) == q else f"_L_{name}_{number}"
            inner, extra = correlation(point[f"{key}_cholesky_corr__"], len(part))
            L[np.ix_(part, part)] = inner
            logp += extra
    root = sd[:, None] * L
    if centred:
        b = point[f"b_{name}"]
        logp += stats.multivariate_normal.logpdf(b, np.zeros(q), root @ root.T).sum()
    else:
        z = point[f"_z_{name}"]
        logp += stats.norm.logpdf(z).sum()
        b = np.einsum("ij,gj->gi", root, z)
    return logp, np.einsum("ni,ni->n", block.Z, b[block.index])


SHAPES = {
    "intercept only": ("y ~ 1 + (1 | g)", {}),
    "slope": ("y ~ x + (v | g)", {}),
    "uncorrelated": ("y ~ x + (v || g)", {}),
    "partly correlated": ("y ~ x + v + (1 + v | g) + (0 + x | g)", {}),
    "three correlated": ("y ~ v + (v + x | g)", {}),
    "two factors": ("y ~ x + v + (v | g) + (1 | h)", {}),
    "weights": ("y ~ x + (1 | g)", {"weights": "w"}),
    "offset": ("y ~ x + offset(v) + (1 | g)", {}),
    "fixed sigma": ("y ~ x + (v | g)", {}),
    "no intercept": ("y ~ 0 + h + (1 | g)", {}),
    "no fixed part": ("y ~ 0 + (1 | g)", {}),
    "no random part": ("y ~ x + v", {}),
}


@pytest.mark.parametrize("centred", [False, True], ids=["non-centred", "centred"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_density_is_scipys_and_its_gradient_is_finite_at_prior_draws(frame, shape, centred):
    formula, arguments = SHAPES[shape]
    design = designed(formula, frame, **arguments)
    if centred and not design.blocks:
        pytest.skip("nothing to centre")
    sigma = 40.0 if shape == "fixed sigma" else None
    priors = resolve_priors(design, FAMILY, {"sigma": sigma} if sigma else None)
    graph = build_explicit(design, priors, centred=centred)
    evaluate = graph.compile_fn([graph.logp(), graph.dlogp()], inputs=graph.value_vars, mode=FAST, on_unused_input="ignore")
    rng = np.random.default_rng(11)
    start = graph.initial_point()
    for _ in range(POINTS):
        point = {name: value + rng.normal(0, 0.5, np.shape(value)) for name, value in start.items()}
        found = evaluate(point)[0]
        # rounding: sums of 50 to 100 terms, each good to about 1e-15 of terms up to 1e3 times the sum's size
        np.testing.assert_allclose(found, reference(design, point, centred, sigma), rtol=1e-10)
    for point in prior_draws(graph, 5):
        value, gradient = evaluate(point)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def prior_draws(graph, draws):
    """Return draws of the priors on the sampler's coordinates."""
    moved = []
    for rv in graph.free_RVs:
        transform = graph.rvs_to_transforms[rv]
        moved.append(rv if transform is None else transform.forward(rv, *rv.owner.inputs))
    values = pm.draw(moved, draws=draws, random_seed=5, mode=FAST)
    names = [graph.rvs_to_values[rv].name for rv in graph.free_RVs]
    return [dict(zip(names, each)) for each in zip(*values)]
