"""From the marginal graph's draws to the explicit graph's tree. Few draws: form, and exact conditionals."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesmm as bmm
from bayesmm.likelihood.problem import integrate, sampled_names
from bayesmm.sampling.marginal import covariance_variables
from bayesmm.sampling.recovery import data_groups, with_effects

CHAINS, DRAWS = 2, 50
KNOWN = pd.DataFrame(0.3 ** np.abs(np.subtract.outer(range(6), range(6))) * 1.4, list("abcdef"), list("abcdef"))
FORMULAS = {
    "crossed": ("y ~ x + f + (x | g) + (1 | h)", {}),
    "uncorrelated, weights": ("y ~ x + (x || g)", {"weights": "w"}),
    "offset, Student-t": (
        "y ~ x + offset(w) + (1 | g)",
        {"priors": {"beta[x]": bmm.Prior("StudentT", nu=4, mu=0, sigma=2)}},
    ),
    "nested": ("y ~ 1 + (1 | g/f)", {}),
    "no fixed part": ("y ~ 0 + (1 | g)", {}),
    "no random part": ("y ~ x", {}),
    "known covariance": ("y ~ x + (1 | gr(g, cov = A)) + (x | h)", {"weights": "w", "matrices": {"A": KNOWN}}),
    "slopes of a known covariance": ("y ~ x + (0 + x | gr(g, cov = A))", {"matrices": {"A": KNOWN}}),
    "one part of three": ("y ~ x + w + (x | g) + (0 + w | g)", {}),
}
each_formula = pytest.mark.parametrize("name", FORMULAS)
CONDITIONAL = [name for name in FORMULAS if name not in ("nested", "no fixed part", "no random part")]


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    n = 60
    data = pd.DataFrame(
        {"g": np.repeat(list("abcdef"), 10), "h": np.tile([3, 10, 2, 1, 4], 12), "f": np.tile(["u", "v", "u"], 20)}
    )
    data["x"], data["w"] = rng.normal(size=n), rng.uniform(0.5, 2, n)
    data["y"] = (
        3 + data["x"] + data["g"].map(dict(zip("abcdef", rng.normal(0, 2, 6), strict=True))) + rng.normal(size=n)
    )
    return data


def made(name, frame):
    formula, arguments = FORMULAS[name]
    return bmm.Model(formula, frame, **arguments)


def sampled(model, draws=DRAWS, alike=False):
    """Return what sampling the marginal graph might have given: random numbers for draws, or one draw again."""
    rng, design = np.random.default_rng(1), model.design
    integrated, found = integrate(design, model.priors), {}

    def values(*sides, make):
        size = () if alike else (CHAINS, draws)
        return np.broadcast_to(make((*size, *sides)), (CHAINS, draws, *sides)).copy()

    for block in design.blocks:
        q, dim = len(block.columns), f"{block.name}_term"
        found[f"sd_{block.name}"] = (("chain", "draw", dim), values(q, make=lambda s: rng.uniform(0.5, 3, s)))
        if block.correlated:
            R = np.broadcast_to(np.eye(q), (CHAINS, draws, q, q)).copy()
            for part in block.partition:
                if len(part) == 2:
                    R[..., part[0], part[1]] = R[..., part[1], part[0]] = values(
                        make=lambda s: rng.uniform(-0.9, 0.9, s)
                    )
            found[f"corr_{block.name}"] = (("chain", "draw", dim, f"{dim}_bis"), R)
    found["sigma"] = (("chain", "draw"), values(make=lambda s: rng.uniform(0.5, 2, s)))
    for variable in sampled_names(integrated).values():
        found[variable] = (("chain", "draw"), values(make=lambda s: rng.normal(size=s)))
    for block, basis in zip(design.blocks, integrated.bases.blocks, strict=True):
        if not basis.trivial:  # the values above are those at the means
            name, q = block.name, len(block.columns)
            sds, R = (found[f"{kind}_{name}"][1].reshape(-1, *[q] * d) for d, kind in ((1, "sd"), (2, "corr")))
            own = covariance_variables(block, basis, sds, np.linalg.cholesky(R))
            for variable, (dims, v) in own.items():
                found[variable] = (("chain", "draw", *dims), v.reshape(CHAINS, -1, *v.shape[1:]))
    labels = {d: np.asarray(design.coords[d]) for dims, _ in found.values() for d in dims if d in design.coords}
    posterior = xr.Dataset(found, coords={"chain": np.arange(CHAINS), "draw": np.arange(draws), **labels})
    stats_ = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((CHAINS, draws), bool))})
    tree = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats_})
    tree.attrs["bayesmm"] = "{}"
    return tree, integrated


@each_formula
def test_the_posterior_has_the_variables_of_the_explicit_graph(frame, name):
    model = made(name, frame)
    tree = with_effects(*swapped(sampled(model), model), seed=1)
    posterior, graph = tree["posterior"].to_dataset(), model.graph("explicit", centred=False)
    wanted = {n for n in graph.named_vars if n.split("_")[0] in ("beta", "sd", "corr", "b", "sigma") and n != "b"}
    wanted = {n for n in wanted if not n.endswith("_centred")}
    assert set(posterior.data_vars) == wanted
    for variable in wanted:
        dims = tuple(graph.named_vars_to_dims.get(variable) or ())
        assert posterior[variable].dims == ("chain", "draw", *dims)
        for dim in dims:
            assert list(posterior[dim].values) == list(graph.coords[dim])
        assert np.isfinite(posterior[variable]).all()
    assert tree.attrs == {"bayesmm": "{}"}


def swapped(made_from, model):
    tree, integrated = made_from
    return tree, model.design, model.priors, integrated


@each_formula
def test_the_data_are_those_of_an_explicit_fit(frame, name):
    from bayesmm.sampling.graph.tree import data_groups as graph_groups

    model = made(name, frame)
    ours, theirs = data_groups(model.design), graph_groups(model.graph("explicit", centred=False))
    assert set(ours) == set(theirs)
    for group, expected in theirs.items():
        xr.testing.assert_equal(ours[group], expected)
        for variable in expected.variables:
            assert ours[group][variable].dtype == expected[variable].dtype, variable


def test_a_group_called_as_the_data_are_keeps_its_name(frame):
    """The explicit graph gives the constant another name where a dimension has it; both trees are to be alike."""
    from bayesmm.sampling.graph.tree import data_groups as graph_groups

    odd = frame.rename(columns={"g": "X_data", "h": "Z_X_data"})
    model = bmm.Model("y ~ x + (1 | X_data) + (1 | Z_X_data)", odd)
    ours, theirs = data_groups(model.design), graph_groups(model.graph("explicit", centred=False))
    for group, expected in theirs.items():
        xr.testing.assert_equal(ours[group], expected)


@each_formula
def test_without_effects_b_is_left_out_and_nothing_else(frame, name):
    model = made(name, frame)
    full = with_effects(*swapped(sampled(model), model), seed=1)["posterior"].to_dataset()
    less = with_effects(*swapped(sampled(model), model), seed=1, keep_effects=False)["posterior"].to_dataset()
    assert set(full.data_vars) - set(less.data_vars) == {f"b_{block.name}" for block in model.design.blocks}
    assert set(less.data_vars) < set(full.data_vars) or not model.design.blocks


def test_the_same_seed_gives_the_same_draws(frame):
    model = made("crossed", frame)
    one, again, other = (with_effects(*swapped(sampled(model), model), seed=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(one["posterior"].to_dataset(), again["posterior"].to_dataset())
    assert (one["posterior"]["b_g"] != other["posterior"]["b_g"]).all()
    assert (one["posterior"]["beta"] != other["posterior"]["beta"]).all()


def test_the_order_of_dimensions_in_the_draws_does_not_matter(frame):
    model = made("crossed", frame)
    tree, integrated = sampled(model)
    turned = xr.DataTree.from_dict(
        {
            "posterior": tree["posterior"].to_dataset().transpose(..., "draw", "chain"),
            "sample_stats": tree["sample_stats"].to_dataset(),
        }
    )
    turned.attrs.update(tree.attrs)
    own = model.design, model.priors, integrated, 1
    one, other = (with_effects(each, *own)["posterior"].to_dataset() for each in (tree, turned))
    for variable in one.data_vars:
        xr.testing.assert_allclose(one[variable], other[variable].transpose(*one[variable].dims))


@pytest.mark.parametrize("name", CONDITIONAL)
def test_coefficients_and_effects_have_the_conditional_mean_of_the_dense_formula(frame, name):
    """One draw of the variance parameters 5,000 times: means and covariances of (beta, b), by dense algebra."""
    model = made(name, frame)
    tree, integrated = sampled(model, 2500, alike=True)
    posterior = with_effects(tree, model.design, model.priors, integrated, 3)["posterior"].to_dataset()
    mean, covariance, names = dense_conditional(model, tree["posterior"].to_dataset(), integrated)
    drawn = [posterior["beta"].values.reshape(5000, -1)]
    drawn += [posterior[f"b_{block.name}"].values.reshape(5000, -1) for block in model.design.blocks]
    drawn = np.concatenate(drawn, axis=1)
    sds = np.sqrt(np.diag(covariance))
    error = sds / np.sqrt(5000)
    # 5 standard errors: with about 25 means and 600 covariances a false alarm has a probability of 4e-4
    assert np.all(np.abs(drawn.mean(axis=0) - mean) <= 5 * error + 1e-9), names
    spread = np.sqrt((covariance**2 + np.outer(sds, sds) ** 2) / 5000)
    assert np.all(np.abs(np.cov(drawn.T) - covariance) <= 5 * spread + 1e-9)


def dense_conditional(model, draws, integrated):
    """Return mean and covariance of (beta, b) given the first draw: (beta, b, y) is normal."""
    design, first = model.design, draws.isel(chain=0, draw=0)
    Z, Sigma = [], []
    for block in design.blocks:
        q, G = len(block.columns), len(block.levels)
        wide = np.zeros((design.n, G, q))
        wide[np.arange(design.n), block.index] = block.Z
        sd = first[f"sd_{block.name}"].values
        R = first[f"corr_{block.name}"].values if block.correlated else np.eye(q)
        Z.append(wide.reshape(design.n, -1))
        K = np.eye(G) if block.relation is None else block.relation.K
        Sigma.append(np.kron(K, np.outer(sd, sd) * R))
    m, C = coefficient_moments(model, integrated, first)
    size = len(m) + sum(len(S) for S in Sigma)
    prior, at = np.zeros((size, size)), 0
    for S in (C, *Sigma):
        prior[at : at + len(S), at : at + len(S)] = S
        at += len(S)
    H = np.concatenate([design.X, *Z], axis=1)
    w = np.ones(design.n) if design.weights is None else design.weights
    V = H @ prior @ H.T + np.diag(float(first["sigma"]) ** 2 / w)
    gain = prior @ H.T @ np.linalg.inv(V)
    start = np.concatenate([m, np.zeros(size - len(m))])
    return start + gain @ (design.y - design.offset - H @ start), prior - gain @ H @ prior, size


def coefficient_moments(model, integrated, first):
    """Return prior mean and covariance of beta; a coefficient with a Student-t prior is known, at its draw."""
    design, priors = model.design, model.priors
    to_beta = np.eye(design.p)
    to_beta[0, 1:] = -design.X[:, 1:].mean(axis=0)  # beta_0 = the intercept at the means - sum mean(x_j) beta_j
    means, sds = [], []
    sampled = dict(zip(integrated.sampled, sampled_names(integrated).values(), strict=True))
    for j, column in enumerate(design.coefficients):
        prior = priors["Intercept_centred" if column == "Intercept" else f"beta[{column}]"]
        known = sampled.get(j)
        means.append(float(first[known]) if known else prior.parameters["mu"])
        sds.append(0.0 if known else prior.parameters["sigma"])
    return to_beta @ np.array(means), to_beta @ np.diag(np.square(sds)) @ to_beta.T


# --- draws at the edge ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [1.0, -1.0, 1 - 1e-16, np.nextafter(1.0, 2.0), 0.0])
@pytest.mark.parametrize("sd", [0.0, 1e-300, 1e-12, 1.0, 1e8])
def test_correlations_of_one_and_sds_of_zero_give_finite_draws(frame, r, sd):
    model = made("crossed", frame)
    tree, integrated = sampled(model)
    posterior = tree["posterior"].to_dataset()
    posterior["corr_g_centred"][..., 0, 1] = posterior["corr_g_centred"][..., 1, 0] = r
    posterior["sd_g_centred"][..., 0] = sd
    edge = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()})
    found = with_effects(edge, model.design, model.priors, integrated, 1)["posterior"].to_dataset()
    assert all(np.isfinite(found[variable]).all() for variable in found.data_vars)
    if sd == 0.0:
        mean = model.design.blocks[0].Z[:, 1].mean()  # the effects at the mean are 0
        b = found["b_g"].to_numpy()
        np.testing.assert_allclose(b[..., 0], -mean * b[..., 1], rtol=1e-12)
