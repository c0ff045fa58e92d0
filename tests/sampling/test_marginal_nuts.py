"""NUTS without PyMC: the compiled log posterior against the graph's, its gradient, its cache, and what it gives."""

import ast
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
import pytensor
import pytest
import xarray as xr
from arviz_stats import ess, mcse
from test_marginal_graph import CASES, built, compiled, interval_jacobian, kind, lkj_jacobian, prior_draws, resolved
from test_marginal_graph import frame as _frame

import bayesmm as bmm
from bayesmm.families import gamma, special
from bayesmm.likelihood.compiled import keyed, source_version
from bayesmm.likelihood.coordinates import INTERVAL, LOG, factors, partial_correlations, values
from bayesmm.likelihood.coordinates import natural as natural_
from bayesmm.likelihood.dense_matrices import LAPACK_FROM
from bayesmm.likelihood.dense_matrices import cholesky as cholesky_
from bayesmm.likelihood.dense_matrices import invert as invert_
from bayesmm.likelihood.marginal import marginal
from bayesmm.likelihood.prior_kernels import log_prior as log_prior_
from bayesmm.likelihood.prior_kernels import prior_row
from bayesmm.likelihood.problem import integrate, sampled_names
from bayesmm.priors import Prior
from bayesmm.sampling import recovery
from bayesmm.sampling.graph.interpreted import without_compiler
from bayesmm.sampling.graph.nuts import sample_graph
from bayesmm.sampling.marginal import applies, centre, check_start

frame = _frame  # the fixture
ROOT = Path(__file__).parents[2]
SLEEP = "Reaction ~ Days + (Days | Subject)"
SHORT = dict(draws=40, tune=60, chains=2, seed=3, progress=False)
# Both sum the same cross-products, in another order: 1e-13 is seen. Near the edge of the numerically possible (an sd
# 1e5 times sigma) the two orders of operations differ in the tenth digit.
RTOL = 1e-10
STEP, SLOPE_RTOL = 1e-6, 1e-5  # central differences of a function of size 1e3: rounding leaves 1e-7


@numba.njit
def cholesky(a):
    return cholesky_(a)


@numba.njit
def invert(L, active):
    invert_(L, active)


@numba.njit
def natural(x, c):
    return natural_(x, c)


@numba.njit
def log_prior(code, on_variance, numbers, v):
    return log_prior_(code, on_variance, numbers, v)


def coordinates_of(design, model, found):
    """Return x for values of the graph's variables: the inverse of `natural`, written out once more."""
    c, x, at = model.posterior.coordinates, np.zeros(model.posterior.size), 0
    found = {name.removesuffix("_centred"): found.get(f"{name}_centred", value) for name, value in found.items()}
    scalars = [*np.concatenate([np.empty(0), *(found[f"sd_{b.name}"] for b in design.blocks)]), found["sigma"]]
    scalars += [found[name] for name in sampled_names(model.integrated).values()]
    for i, value in enumerate(scalars):
        if c.kind[i] == LOG:
            x[c.at[i]] = np.log(value)
        elif c.kind[i] == INTERVAL:
            share = (value - c.ends[i, 0]) / (c.ends[i, 1] - c.ends[i, 0])
            x[c.at[i]] = np.log(share / (1 - share))
        elif c.at[i] >= 0:
            x[c.at[i]] = value
    for block in design.blocks:
        C = np.linalg.cholesky(found.get(f"corr_{block.name}", np.eye(len(block.columns))))
        left = np.ones(len(C))
        for i, j, _ in partial_correlations(block):
            x[c.pair_at[at]] = np.arctanh(C[i, j] / np.sqrt(left[i]))
            left[i] -= C[i, j] ** 2
            at += 1
    return x


def points(name, frame, count=5):
    """Yield x, the graph's log density on the natural scales, and the model, at draws of the priors."""
    design, priors, graph = built(name, frame)
    model = marginal(design, priors, integrate(design, priors))
    names = [n for n in graph.named_vars if n.startswith(("sd_", "corr_", "sigma", "coefficient"))]
    outputs = graph.replace_rvs_by_values([graph[n] for n in names])
    values_of = compiled(graph, [graph.logp(), *outputs])
    for drawn, point in prior_draws(graph, count):
        logp, *variables = values_of(point)
        found = dict(zip(names, variables, strict=True))
        jacobian = 0.0
        for rv in graph.free_RVs:
            value = drawn[rv.name]
            if rv.name.startswith("_L_"):
                jacobian += lkj_jacobian(value)
            elif rv.name.endswith("_squared"):  # d sd / d log sd^2 = sd / 2
                jacobian += np.log(np.sqrt(value) / 2).sum()
            elif rv.name.startswith("coefficient"):
                place = model.integrated.places[int(rv.name.split("_")[-1])]
                jacobian += interval_jacobian(priors[place], value) if kind(priors[place]) == "sampled" else 0.0
            else:
                jacobian += np.log(value).sum()
        yield coordinates_of(design, model, found), float(logp) - jacobian, model


def log_jacobian(model, x):
    """Return log |d natural / d x|."""
    c, total = model.posterior.coordinates, 0.0
    for i, value in enumerate(values(c, x[None])[0]):
        if c.kind[i] == LOG:
            total += np.log(value)
        elif c.kind[i] == INTERVAL:
            low, high = c.ends[i]
            total += np.log((value - low) * (high - value) / (high - low))
    powers = [power for block in model.design.blocks if block.correlated for *_, power in partial_correlations(block)]
    return total - 2 * np.dot(powers, np.log(np.cosh(x[c.pair_at])))


@pytest.mark.parametrize("name", CASES)
def test_the_log_density_is_the_graphs_but_for_the_change_of_variables(frame, name):
    with without_compiler():
        for x, expected, model in points(name, frame):
            value, _ = model.posterior(x)
            assert value - log_jacobian(model, x) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_the_density(frame, name):
    design, priors = resolved(name, frame)
    model = marginal(design, priors, integrate(design, priors))
    for seed in range(3):
        x = centre(model, priors) + np.random.default_rng(seed).uniform(-1, 1, model.posterior.size)
        value, slope = model.posterior(x)
        steps = STEP * np.eye(len(x))
        rises = [(model.posterior(x + h)[0] - model.posterior(x - h)[0]) / (2 * STEP) for h in steps]
        np.testing.assert_allclose(slope, rises, rtol=SLOPE_RTOL, atol=SLOPE_RTOL * max(1, abs(value)))
        np.testing.assert_allclose(model.posterior.many(np.array([x, x + 1.0]))[0], value, rtol=1e-13)


PRIORS = [
    Prior("Normal", mu=1, sigma=2), Prior("StudentT", nu=4, mu=1, sigma=2), Prior("Cauchy", alpha=1, beta=2),
    Prior("Laplace", mu=1, b=2), Prior("Uniform", lower=-1, upper=7), Prior("Flat"), Prior("HalfNormal", sigma=2),
    Prior("HalfStudentT", nu=3, sigma=2), Prior("HalfCauchy", beta=2), Prior("HalfFlat"), Prior("Exponential", lam=3),
    Prior("Gamma", alpha=2.5, beta=3), Prior("Gamma", alpha=1, beta=3), Prior("InverseGamma", alpha=2, beta=3),
    Prior("LogNormal", mu=0.3, sigma=0.7), Prior("InverseGamma", alpha=2, beta=3, on="variance"),
    Prior("Gamma", alpha=2, beta=3, on="variance"), Prior("HalfNormal", sigma=2, on="variance"),
    Prior("Uniform", lower=0, upper=30, on="variance"),
]  # fmt: skip


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_every_prior_in_closed_form_has_its_density_and_slope(prior):
    code, numbers, constant = prior_row(prior)
    for x in (0.2, 1.0, 3.7, 5.2):
        value, slope = log_prior(code, prior.on == "variance", np.array([*numbers, 0.0, 0.0, 0.0]), x)
        assert value + constant == pytest.approx(prior.logpdf(x), rel=1e-13, abs=1e-13)
        assert slope == pytest.approx(prior.dlogpdf(x), rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("shapes", [(2.5, 0.7), (7.0, 1.0), (1.0, 3.0)])
def test_a_beta_prior_has_its_density_and_slope(shapes):
    prior = Prior("Beta", alpha=shapes[0], beta=shapes[1])
    code, numbers, constant = prior_row(prior)
    for x in (1e-3, 0.2, 0.9):
        value, slope = log_prior(code, False, np.array([*numbers, 0.0, 0.0, 0.0]), x)
        assert value + constant == pytest.approx(prior.logpdf(x), rel=1e-13, abs=1e-13)
        assert slope == pytest.approx(prior.dlogpdf(x), rel=1e-13, abs=1e-13)


def test_many_draws_are_moved_as_one_is(frame):
    for name in ("three correlated", "bounds", "fixed sd", "on the variance"):
        design, priors = resolved(name, frame)
        c = marginal(design, priors, integrate(design, priors)).posterior.coordinates
        x = np.random.default_rng(1).normal(size=(4, c.sizes[2]))
        for i, row in enumerate(x):
            at = natural(row, c)
            np.testing.assert_allclose(values(c, x)[i], at.value, rtol=1e-14)
            np.testing.assert_allclose(
                np.concatenate([C[i].ravel() for C in factors(c, x)]), at.C, rtol=1e-13, atol=1e-15
            )


def test_a_point_too_far_out_has_no_density_and_is_no_error(frame):
    design, priors = resolved("crossed", frame)
    posterior = marginal(design, priors, integrate(design, priors)).posterior
    for x in (np.full(posterior.size, 800.0), np.full(posterior.size, -800.0), np.full(posterior.size, np.nan)):
        value, slope = posterior(x)
        assert value == -np.inf
        assert not slope.any()
    assert posterior.many(np.full((2, posterior.size), 800.0)).tolist() == [-np.inf] * 2


# --- the cache -------------------------------------------------------------------------------------------------------


def twice(x):
    return 2 * x


def test_a_change_of_the_sources_does_not_find_the_old_code():
    def hits(version):
        function = numba.njit(cache=True)(keyed(twice, version))
        assert function(2.0) == 4.0
        return sum(function.stats.cache_hits.values())

    first = int.from_bytes(os.urandom(6))  # nothing of an earlier run
    assert [hits(first), hits(first), hits(first + 1), hits(first + 1), hits(first)] == [0, 1, 0, 1, 1]


def test_what_another_version_left_on_disk_is_not_read():
    """Numba reads the whole index of a function: one with a type of a module that is gone would end in an error."""
    indexes = {numba.njit(cache=True)(keyed(twice, version))._cache._cache_file._index_path for version in (1, 2)}
    assert len(indexes) == 2


def test_the_version_is_that_of_every_file_that_is_compiled_and_of_no_other(monkeypatch):
    source_version.cache_clear()
    before, read = source_version(), Path.read_bytes
    package = ROOT / "bayesmm"
    family = package / "families" / "families.py"
    for changed in (*sorted((package / "likelihood").glob("*.py")), family):
        monkeypatch.setattr(Path, "read_bytes", lambda path, c=changed: read(path) + b"#" * (path == c))
        source_version.cache_clear()
        assert (source_version() != before) == (changed != family), changed.name
    source_version.cache_clear()


def test_the_version_is_that_of_the_kernels_of_the_families_too(monkeypatch):
    source_version.cache_clear()
    before = source_version()
    for name, value in (("WILD", 231.0), ("PRODUCT", 31.0)):  # of a kernel, and of one that it calls
        monkeypatch.setattr(gamma if name == "WILD" else special, name, value)
        source_version.cache_clear()
        assert source_version() != before
        monkeypatch.undo()
    source_version.cache_clear()
    assert source_version() == before


# --- sampling --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return bmm.Model(SLEEP, bmm.load_dataset("sleepstudy"))


def test_neither_pymc_nor_arviz_is_loaded_and_arviz_works_afterwards():
    code = f"""
import sys, bayesmm as bmm
fit = bmm.fit({SLEEP!r}, bmm.load_dataset("sleepstudy"), draws=20, tune=20, chains=2, seed=1, progress=False)
print(sorted({{"pymc", "pytensor", "arviz", "matplotlib"}} & set(sys.modules)))
import arviz
print(arviz.__spec__.name, callable(arviz.from_dict), sys.modules['nutpie.sample'].arviz.from_dict is arviz.from_dict)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "arviz True True"]


def test_the_same_seed_gives_the_same_draws_whatever_the_cores(model):
    trees = [model.sample(**SHORT, cores=cores).tree for cores in (1, 2)]
    for group in ("posterior", "sample_stats"):
        xr.testing.assert_identical(trees[0][group].to_dataset(), trees[1][group].to_dataset())
    other = model.sample(**(SHORT | {"seed": 4})).tree
    assert not np.array_equal(other["posterior"]["sigma"], trees[0]["posterior"]["sigma"])
    starts_ = trees[0]["posterior"]["sigma"].values[:, 0]
    assert starts_[0] != starts_[1]


SLOW_TREES = [pytest.param(name, marks=pytest.mark.slow) for name in ("crossed", "fixed sd", "Student-t")]


@pytest.mark.parametrize("name", ["partly correlated", *SLOW_TREES])
def test_the_tree_is_that_of_the_graph(frame, name):
    chosen = CASES[name]
    own = bmm.Model(chosen.formula, frame, priors=chosen.priors, **chosen.arguments)
    assert applies(own.design, own.priors, "marginal", "auto")
    few = SHORT | {"draws": 3, "tune": 3}  # names, dimensions and types do not depend on how many draws there are
    direct = own.sample(**few, effects="marginal").tree
    with without_compiler(), pytensor.config.change_flags(linker="py"):
        graph = sample_graph(own.graph("marginal"), **(few | {"sampler": "pymc", "cores": 1}))
    graph = recovery.with_effects(graph, own.design, own.priors, own._integrated, 3)
    assert direct.children.keys() == graph.children.keys()
    for group in direct.children:
        ours, theirs = direct[group].to_dataset(), graph[group].to_dataset()
        assert set(ours.data_vars) == set(theirs.data_vars)
        for variable in ours.data_vars:
            assert ours[variable].dims == theirs[variable].dims, variable
            assert ours[variable].dtype == theirs[variable].dtype, variable
        assert {k: v.values.tolist() for k, v in ours.coords.items()} == {
            k: v.values.tolist() for k, v in theirs.coords.items()
        }


def test_a_prior_that_is_a_function_goes_by_the_graph(model):
    def make(name, dims):
        raise AssertionError

    custom = bmm.Model(SLEEP, bmm.load_dataset("sleepstudy"), priors={"sigma": make})
    assert not applies(custom.design, custom.priors, "marginal", "auto")
    assert applies(model.design, model.priors, "marginal", "nutpie")
    assert not applies(model.design, model.priors, "marginal", "pymc")
    assert not applies(model.design, model.priors, "explicit", "auto")


def test_nothing_to_sample_and_a_wrong_argument_are_sentences(model):
    fixed = bmm.Model("Reaction ~ Days", bmm.load_dataset("sleepstudy"), priors={"sigma": 30.0})
    with pytest.raises(ValueError, match=r"what they do not fix is integrated out; effects=.explicit."):
        fixed.sample(**SHORT)
    with pytest.raises(ValueError, match="keep_effects should be True or False, not 'no'"):
        model.sample(**SHORT, keep_effects="no")


def test_a_bad_start_names_the_prior(model):
    own = marginal(model.design, model.priors, model._integrated)
    said = r"no chain can start, .*prior of sd_Subject\[Days\], HalfStudentT.* is -inf at"
    with pytest.raises(ValueError, match=said):
        check_start(own, model.priors, np.full(4, 500.0))


def test_a_bad_start_names_the_values_where_the_likelihood_fails():
    flat = {"sd": Prior("HalfFlat"), "sigma": Prior("HalfFlat")}
    model = bmm.Model(SLEEP, bmm.load_dataset("sleepstudy"), priors=flat)
    far = np.array([700.0, 700.0, 0.0, -700.0])  # sds 1e608 times sigma
    own = marginal(model.design, model.priors, model._integrated)
    with pytest.raises(
        ValueError, match=r"marginal likelihood is not finite with sd_Subject\[Intercept\] = 1.014e\+304"
    ):
        check_start(own, model.priors, far)


def test_ctrl_c_during_the_recovery_keeps_the_draws(model, monkeypatch):
    recover = recovery.recover

    def interrupted(*arguments, keep_effects, near):
        if keep_effects:
            raise KeyboardInterrupt
        return recover(*arguments, keep_effects=keep_effects, near=near)

    monkeypatch.setattr(recovery, "recover", interrupted)
    fit = model.sample(**SHORT)
    assert json.loads(fit.tree.attrs["bayesmm"])["interrupted"] is True
    assert "beta" in fit.tree["posterior"]
    assert "b_Subject" not in fit.tree["posterior"]
    assert fit.tree["posterior"].sizes["draw"] == SHORT["draws"]


def test_ctrl_c_while_drawing_keeps_the_draws_and_while_tuning_is_let_through(model, monkeypatch):
    import bayesmm.sampling.nuts as nuts

    def press(when):
        pressed = []

        def ctrl_c(bar):
            states = bar.latest[-1] if bar.latest else ()
            if not pressed and states and when(states):
                pressed.append(True)
                raise KeyboardInterrupt

        return ctrl_c

    drawing = press(lambda states: all(not s.tuning and s.finished_draws > 2000 for s in states))
    monkeypatch.setattr(nuts.Progress, "show", drawing)
    tree = model.sample(**(SHORT | {"draws": 400_000, "tune": 200}), keep_effects=False).tree
    assert 1000 < tree["posterior"].sizes["draw"] < 400_000
    assert np.isfinite(tree["posterior"]["sigma"]).all()
    assert json.loads(tree.attrs["bayesmm"])["interrupted"] is True


def test_sampling_is_quiet(model, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.sample(**(SHORT | {"progress": True}))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_posterior_is_that_of_the_graph(model):
    settings = dict(draws=1000, tune=1000, chains=4, seed=5, progress=False)
    direct = model.sample(**settings).tree["posterior"].to_dataset()
    graph = sample_graph(model.graph("marginal"), **settings)
    graph = recovery.with_effects(graph, model.design, model.priors, model._integrated, 5)["posterior"].to_dataset()
    names = ["sd_Subject", "sigma", "beta"]
    for name in names:
        assert float(ess(direct)[name].min()) > 1000
        assert float(ess(graph)[name].min()) > 1000
        error = np.hypot(mcse(direct)[name].values, mcse(graph)[name].values)
        gap = (direct[name].mean(("chain", "draw")) - graph[name].mean(("chain", "draw"))).values
        assert (np.abs(gap) < 5 * error).all()


def test_a_function_for_compiled_functions_raises_when_python_calls_it():
    with pytest.raises(TypeError, match="log_prior is compiled for compiled functions only; call it from one"):
        log_prior_(0, 0, np.zeros(3), 1.0)


def test_all_compiled_code_of_the_core_has_one_key_on_disk():
    """Numba's own cache looks at one file only, so that a change elsewhere would leave old code in use."""
    for path in sorted((ROOT / "bayesmm" / "marginal").glob("*.py")):
        found = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute | ast.Name)
            and (node.attr if isinstance(node, ast.Attribute) else node.id) in ("njit", "jit", "cfunc", "vectorize")
        ]
        assert path.name == "compiled.py" or not found, f"{path.name}, lines {found}"


@pytest.mark.parametrize("m", [3, LAPACK_FROM + 5], ids=["compiled loops", "LAPACK"])
def test_the_inverse_is_that_of_the_leading_block(m):
    rng = np.random.default_rng(1)
    half = rng.normal(size=(m, 2 * m))
    M, active = half @ half.T, m - 1
    L = M.copy()
    assert cholesky(L)
    np.testing.assert_allclose(np.tril(L), np.linalg.cholesky(M), rtol=1e-9, atol=1e-12)
    invert(L, active)
    np.testing.assert_allclose(L[:active, :active], np.linalg.inv(M[:active, :active]), rtol=1e-9, atol=1e-12)
    assert not L[active:].any()
    assert not L[:, active:].any()
    M[1, 1] = -1.0
    assert not cholesky(M)
