"""Sampling: what may be asked, what comes back from either sampler, interruption, progress, compiled functions."""

import ctypes
import functools
import json
import warnings

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.raise_op import Assert
from small_graphs import ERRORS, SHORT, graph_of

import bayesmm as bmm
import bayesmm.sampling.graph.nuts as sampling
from bayesmm.errors import BayesmmWarning
from bayesmm.runtime.progress import progress_bar
from bayesmm.sampling.graph import native, nutpie_parts
from bayesmm.sampling.graph.interpreted import without_compiler
from bayesmm.sampling.graph.nuts import check_arguments, prior_predictive, sample_graph
from bayesmm.sampling.nuts import load_nutpie
from bayesmm.storage.runs import STATS, equal_lengths

COMPILED = functools.cache(
    sampling._compiled
)  # by graph: most of these tests' time would be the same compilation again


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    monkeypatch.setattr(sampling, "_compiled", COMPILED)


@pytest.fixture(scope="module")
def tiny():
    """Return a graph that compiles at once: a normal with three observations."""
    with pm.Model(coords={"obs": [3, 5, 8]}) as model:
        mu = pm.Normal("mu", 0, 10)
        sigma = pm.HalfNormal("_sigma", 1)
        pm.Deterministic("twice", 2 * mu)
        pm.Normal("y", mu, sigma, observed=pm.Data("y_data", [1.0, 2.0, 4.0], dims="obs"), dims="obs")
    return model


@pytest.fixture(scope="module")
def trees(tiny):
    """Return a tree of each sampler."""
    return {name: sample_graph(tiny, sampler=name, **(SHORT | {"cores": 1})) for name in ("nutpie", "pymc")}


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("draws", 0, "draws should be a whole number of at least 1, not 0"),
        ("draws", -5, "draws should be a whole number of at least 1, not -5"),
        ("draws", 1.5, "draws should be a whole number of at least 1, not 1.5"),
        ("draws", "many", "draws should be a whole number of at least 1, not 'many'"),
        ("draws", True, "draws should be a whole number"),
        ("tune", -1, "tune should be a whole number of at least 0, not -1"),
        ("chains", 0, "chains should be a whole number of at least 1, not 0"),
        ("cores", 0, "cores should be a whole number of at least 1, not 0"),
        ("seed", -1, "seed should be None or a whole number from 0 to 4294967295, not -1"),
        ("seed", 2**32, "seed should be None or a whole number"),
        ("seed", 0.5, "seed should be None or a whole number"),
        ("target_accept", 1.5, "target_accept should be a number between 0 and 1, both excluded, not 1.5"),
        ("target_accept", 0, "target_accept should be a number between 0 and 1"),
        ("target_accept", 1.0, "target_accept should be a number between 0 and 1"),
        ("target_accept", float("nan"), "target_accept should be a number between 0 and 1"),
        ("target_accept", "high", "target_accept should be a number between 0 and 1"),
        (
            "sampler",
            "nutpi",
            "sampler should be one of auto, nutpie, pymc, importance, not 'nutpi'; did you mean 'nutpie'?",
        ),
        ("sampler", None, "sampler should be one of auto, nutpie, pymc, importance, not None"),
    ],
)
def test_arguments_out_of_range_are_errors_before_anything_is_compiled(graph, monkeypatch, argument, value, message):
    monkeypatch.setattr(sampling, "_compiled", lambda graph: pytest.fail("compiled"))
    for call in (lambda **given: check_arguments(**given), lambda **given: sample_graph(graph, **given)):
        with pytest.raises(ValueError) as caught:
            call(**{argument: value})
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_numpys_numbers_are_numbers():
    assert check_arguments(draws=np.int64(10), target_accept=np.float32(0.8), seed=np.uint32(7)) == ()


@pytest.mark.parametrize(("argument", "value", "message"), [("chains", 1, "chains=1: "), ("tune", 0, "tune=0: ")])
def test_one_chain_and_no_tuning_are_warnings_kept_in_the_tree(tiny, argument, value, message):
    with pytest.warns(BayesmmWarning, match=message):
        tree = sample_graph(tiny, **(SHORT | {argument: value}))
    (kept,) = json.loads(tree.attrs["bayesmm"])["warnings"]
    assert kept.startswith(message)
    assert tree["posterior"].sizes["draw"] == 40
    assert np.isfinite(tree["posterior"]["mu"]).all()


def test_a_model_without_a_free_parameter_can_not_be_sampled(frame):
    fixed = graph_of(frame, "y ~ x", {"Intercept": 10, "beta": 1, "sigma": 2})
    with pytest.raises(ValueError, match="every parameter of the model is held fixed by its prior"):
        sample_graph(fixed, **SHORT)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_nor_can_one_without_a_graph(frame, family):
    table = frame.assign(y=np.arange(len(frame)) % 3)
    held = dict.fromkeys(bmm.Model("y ~ x", table, family).priors, 0.5)
    with pytest.raises(ValueError, match="every parameter of the model is held fixed by its prior"):
        bmm.Model("y ~ x", table, family, priors=held).sample(progress=False)


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nutpie", "pymc"])
def test_both_samplers_give_one_form(trees, name):
    tree = trees[name]
    assert set(tree.children) == {"posterior", "sample_stats", "observed_data", "constant_data"}
    assert list(tree["posterior"].data_vars) == ["mu", "twice"]  # _sigma is the sampler's own
    stats = tree["sample_stats"]
    assert list(stats.data_vars) == list(STATS)
    assert {stats[each].dtype for each in ("diverging", "reached_max_treedepth")} == {np.dtype(bool)}
    assert {stats[each].dtype for each in ("tree_depth", "n_steps")} == {np.dtype(int)}
    assert {stats[each].shape for each in stats.data_vars} == {(2, 40)}
    assert (stats["n_steps"] < 2 ** (stats["tree_depth"] + 1)).all()
    if name == "pymc":  # the kinetic energy is not negative; nutpie's has the log determinant of its metric in it
        assert (stats["energy"] >= -stats["lp"]).all()
    np.testing.assert_allclose(tree["posterior"]["twice"], 2 * tree["posterior"]["mu"])
    np.testing.assert_array_equal(tree["observed_data"]["y"], [1, 2, 4])
    np.testing.assert_array_equal(tree["observed_data"]["obs"], [3, 5, 8])


def test_the_record_says_what_was_run(trees):
    for name, tree in trees.items():
        record = json.loads(tree.attrs["bayesmm"])
        asked = {"sampler": name, "seed": 3, "draws": 40, "tune": 30, "chains": 2, "cores": 1, "target_accept": 0.9}
        assert asked.items() <= record.items()
        assert record["interrupted"] is False
        assert record["warnings"] == []
        assert 0 < record["seconds"] < 1000
        assert record["versions"]["pymc"] == pm.__version__


@pytest.mark.parametrize("name", ["nutpie", "pymc"])
def test_the_same_seed_and_sampler_give_identical_draws_and_another_seed_others(tiny, trees, name):
    again = sample_graph(tiny, sampler=name, **(SHORT | {"cores": 1}))
    xr.testing.assert_identical(again["posterior"].to_dataset(), trees[name]["posterior"].to_dataset())
    other = sample_graph(tiny, sampler=name, **(SHORT | {"cores": 1, "seed": 4}))
    assert (other["posterior"]["mu"] != trees[name]["posterior"]["mu"]).any()


def test_the_number_of_cores_does_not_matter(tiny, trees):
    xr.testing.assert_identical(
        sample_graph(tiny, **SHORT)["posterior"].to_dataset(), trees["nutpie"]["posterior"].to_dataset()
    )


def test_a_run_without_a_seed_can_be_repeated(tiny):
    first = sample_graph(tiny, **(SHORT | {"seed": None}))
    seed = json.loads(first.attrs["bayesmm"])["seed"]
    again = sample_graph(tiny, **(SHORT | {"seed": seed}))
    xr.testing.assert_identical(first["posterior"].to_dataset(), again["posterior"].to_dataset())


def test_variables_without_dimensions_are_kept():
    with pm.Model() as model:
        shape = pm.Normal("shape", 0, 1, shape=3)
        pm.Normal("y", shape * pm.Data("factor", [1.0, 2.0, 3.0]), 1, observed=np.zeros(3))
    drawn = prior_predictive(model, 7, seed=1)
    assert drawn["prior"]["shape"].dims == ("chain", "draw", "shape_dim_0")
    assert drawn["observed_data"]["y"].shape == drawn["constant_data"]["factor"].shape == (3,)
    assert prior_predictive(model, 1, seed=1)["prior_predictive"]["y"].shape == (1, 1, 3)


def test_a_mixed_model_has_labels_on_everything(graph):
    tree = sample_graph(graph, **SHORT)
    posterior = tree["posterior"]
    assert list(posterior.data_vars) == ["beta", "sd_g", "b_g", "sigma"]
    assert posterior["beta"].dims == ("chain", "draw", "coef")
    assert posterior["b_g"].dims == ("chain", "draw", "g", "g_term")
    assert list(posterior["g"].values) == ["0", "1", "2", "3", "4", "5"]
    assert posterior["g"].dtype.kind == posterior["coef"].dtype.kind == "U"  # text, which a file can hold
    assert list(tree["constant_data"]["X_data"].dims) == ["obs", "coef"]


@pytest.mark.slow
def test_both_samplers_find_the_posterior_known_by_quadrature(tiny):
    # mu and sigma of three observations, on a grid; the density of sigma is on sigma itself
    mu, sigma = np.meshgrid(np.linspace(-15, 20, 2001), np.linspace(1e-3, 6, 1500), indexing="ij")
    logp = -(mu**2) / 200 - sigma**2 / 2 - 3 * np.log(sigma)
    logp = logp - sum((y - mu) ** 2 for y in (1, 2, 4)) / (2 * sigma**2)
    weight = np.exp(logp - logp.max())
    mean = (weight * mu).sum() / weight.sum()
    sd = np.sqrt((weight * (mu - mean) ** 2).sum() / weight.sum())
    for name in ("nutpie", "pymc"):
        draws = sample_graph(tiny, draws=1500, tune=500, chains=2, seed=1, sampler=name, progress=False)["posterior"][
            "mu"
        ]
        # NUTS draws here are worth at least a fifth of independent ones
        assert abs(float(draws.mean()) - mean) < ERRORS * sd / np.sqrt(3000 / 5)
        assert float(draws.std()) == pytest.approx(sd, rel=ERRORS / np.sqrt(2 * 3000 / 10))


# --- interruption ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "chains", "length"),
    [
        ([100, 100], [0, 1], 100),
        ([1000, 1000, 37, 21], [0, 1], 1000),
        ([100, 90, 95, 80], [0, 1, 2, 3], 80),
        ([1000, 100, 100, 100], [0, 1, 2, 3], 100),  # one chain of 1000 would be more, and unchecked
        ([0, 50, 0, 40], [1, 3], 40),
        ([0, 50, 0, 0], [1], 50),
        ([7], [0], 7),
        ([0, 0], [1], 0),
    ],
)
def test_chains_are_cut_for_the_most_draws(lengths, chains, length):
    assert equal_lengths(lengths) == (chains, length)


class Interrupted:
    """Stands in for a running nutpie: three looks, then Ctrl-C, then what was drawn so far."""

    def __init__(self, lengths):
        self.lengths, self.looks = lengths, 0

    def wait(self, timeout):
        self.looks += 1
        if self.looks > 3:
            raise KeyboardInterrupt
        raise TimeoutError

    def abort(self):
        longest = max(self.lengths)
        logp = np.where(np.arange(longest) < np.array(self.lengths)[:, None], -1.0, np.nan)
        stats = {row[0]: (("chain", "draw"), np.nan_to_num(logp).astype(row[2])) for row in STATS.values()}
        stats["logp"] = (("chain", "draw"), logp)
        mu = {"mu": (("chain", "draw"), logp * 2), "twice": (("chain", "draw"), logp * 4)}
        return xr.DataTree.from_dict({"posterior": xr.Dataset(mu), "sample_stats": xr.Dataset(stats)})


def test_ctrl_c_while_drawing_keeps_the_draws_of_nutpie_in_chains_of_one_length(tiny, monkeypatch):
    monkeypatch.setattr(sampling, "_compiled", lambda graph: None)
    monkeypatch.setattr(load_nutpie(), "sample", lambda compiled, **settings: Interrupted([30, 25, 0, 40]))
    tree = sample_graph(tiny, **(SHORT | {"chains": 4}))
    assert dict(tree["posterior"].sizes) == {"chain": 3, "draw": 25}
    assert tree["sample_stats"]["lp"].shape == (3, 25)
    assert np.isfinite(tree["posterior"]["mu"]).all()
    assert json.loads(tree.attrs["bayesmm"])["interrupted"] is True


def test_ctrl_c_while_tuning_is_let_through(tiny, monkeypatch):
    monkeypatch.setattr(sampling, "_compiled", lambda graph: None)
    monkeypatch.setattr(load_nutpie(), "sample", lambda compiled, **settings: Interrupted([0, 0]))
    with pytest.raises(KeyboardInterrupt):
        sample_graph(tiny, **SHORT)


def test_ctrl_c_while_compiling_is_let_through(tiny, monkeypatch):
    def interrupted(graph):
        raise KeyboardInterrupt

    monkeypatch.setattr(sampling, "_compiled", COMPILED.__wrapped__)
    monkeypatch.setattr(sampling, "_compiled_natively", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample_graph(tiny, **SHORT)


def test_a_running_nutpie_is_stopped_by_ctrl_c(tiny, monkeypatch):
    pressed = []

    def ctrl_c(bar):
        states = bar.latest[-1] if bar.latest else ()
        if not pressed and states and all(not state.tuning and state.finished_draws > 2000 for state in states):
            pressed.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(sampling.Progress, "show", ctrl_c)
    tree = sample_graph(tiny, **(SHORT | {"draws": 20_000_000, "tune": 200}))
    sizes = tree["posterior"].sizes
    assert sizes["chain"] == 2
    assert 1000 < sizes["draw"] < 20_000_000
    assert np.isfinite(tree["posterior"]["mu"]).all()
    assert json.loads(tree.attrs["bayesmm"])["interrupted"] is True


@pytest.mark.parametrize(
    ("chain", "draw", "chains", "length"),
    [(0, 60, 1, 31), (1, 50, 2, 21)],  # (draws - tuning) until the interruption; chain 0 is complete in the second case
)
def test_ctrl_c_while_drawing_keeps_the_draws_of_pymc(tiny, monkeypatch, chain, draw, chains, length):
    reporter = sampling._reporter

    def interrupting(settings, bar):
        report = reporter(settings, bar)

        def ctrl_c(**given):
            report(**given)
            if (given["draw"].chain, given["draw"].draw_idx) == (chain, draw):
                raise KeyboardInterrupt

        return ctrl_c

    monkeypatch.setattr(sampling, "_reporter", interrupting)
    tree = sample_graph(tiny, sampler="pymc", **(SHORT | {"cores": 1}))
    assert dict(tree["posterior"].sizes) == {"chain": chains, "draw": length}
    assert json.loads(tree.attrs["bayesmm"])["interrupted"] is True


def test_ctrl_c_while_pymc_tunes_is_let_through(tiny, monkeypatch):
    def ctrl_c(**given):
        raise KeyboardInterrupt

    monkeypatch.setattr(sampling, "_reporter", lambda settings, bar: ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        sample_graph(tiny, sampler="pymc", **(SHORT | {"cores": 1}))


def test_a_sampler_that_stops_for_another_reason_says_the_first_line_of_its_own(tiny, monkeypatch):
    class Stopped(Interrupted):
        def wait(self, timeout):
            raise RuntimeError("chain 2 failed\nbacktrace")

    monkeypatch.setattr(sampling, "_compiled", lambda graph: None)
    monkeypatch.setattr(load_nutpie(), "sample", lambda compiled, **settings: Stopped([0, 0]))
    with pytest.raises(ValueError, match=r"^the sampler cannot go on: chain 2 failed$"):
        sample_graph(tiny, **SHORT)


def test_a_process_that_dies_is_a_sentence(tiny, monkeypatch):
    def reset(*args, **kwargs):
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(sampling.pm, "sample", reset)
    with pytest.raises(RuntimeError, match=r"a process of the pymc sampler has died.*or sampler='nutpie'"):
        sample_graph(tiny, sampler="pymc", **SHORT)


# --- progress --------------------------------------------------------------------------------------------------------


def test_no_bar_where_there_is_no_terminal(capfd):
    with progress_bar(True, 2, 100) as bar:
        bar.show()
    assert capfd.readouterr() == ("", "")


def test_the_bar_shows_each_chain(monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes Rich take anything for a terminal
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar(True, 2, 100) as bar:
        bar.latest.append((sampling.State(40, 0, True), sampling.State(70, 3, False)))
        bar.show()
    shown = capfd.readouterr().err
    for part in ("Chain 0", "40/100", "tuning", "Chain 1", "70/100", "drawing, 3 divergences"):
        assert part in shown
    with progress_bar(False, 2, 100):
        pass
    assert capfd.readouterr().err == ""


def test_sampling_is_quiet(tiny, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample_graph(tiny, **(SHORT | {"progress": True}))
        prior_predictive(tiny, 5, seed=1)
    assert capfd.readouterr() == ("", "")


# --- compiled functions ----------------------------------------------------------------------------------------------


def test_the_quick_way_to_compile_gives_nutpies_own_draws(tiny, trees, monkeypatch):
    monkeypatch.setattr(sampling, "_compiled", COMPILED.__wrapped__)
    monkeypatch.setattr(nutpie_parts, "TAKES", {"_gone": ()})
    with pytest.warns(BayesmmWarning, match="compiled by nutpie itself, which takes longer, since nutpie has no _gone"):
        own = sample_graph(tiny, **SHORT)
    # to the last bit today; a little room for another order of additions, which grows along a trajectory
    np.testing.assert_allclose(own["posterior"]["mu"][:, :5], trees["nutpie"]["posterior"]["mu"][:, :5], rtol=1e-9)


def test_the_parts_of_nutpie_are_where_they_are_expected(monkeypatch):
    nutpie_parts.check()  # if this fails, a new version of nutpie has moved them: see graph/nutpie_parts.py
    module = nutpie_parts.parts
    with monkeypatch.context() as changed, pytest.raises(native.Moved, match="_wrap_with_lock takes func, more"):
        changed.setattr(module, "_wrap_with_lock", lambda func, more: func)
        nutpie_parts.check()
    with monkeypatch.context() as changed, pytest.raises(native.Moved, match="CompiledPyMCModel holds dims"):
        changed.setattr(nutpie_parts, "HOLDS", (*nutpie_parts.HOLDS, "_new"))
        nutpie_parts.check()
    function = pytensor.function([], pt.constant(1.0), mode="FAST_COMPILE")
    with pytest.raises(native.Moved, match="PyTensor has its Numba function elsewhere"):
        native.density(function, np.ones(1))


def test_a_mistake_of_ours_is_not_taken_for_another_version(tiny, monkeypatch):
    def mistaken(*_):
        raise AttributeError("our own")

    monkeypatch.setattr(sampling, "_compiled", COMPILED.__wrapped__)
    monkeypatch.setattr(native, "density", mistaken)
    for kept in (None, {}):
        with pytest.raises(AttributeError, match="our own"):
            sample_graph(tiny, **SHORT, kept=kept)


def test_the_quick_way_is_the_one_in_use(tiny, monkeypatch):
    # if this fails, a new version of nutpie, PyTensor or Numba has moved the parts that it is made of
    with without_compiler():
        compiled = sampling._compiled_natively(tiny)
    assert isinstance(compiled, load_nutpie().compile_pymc.CompiledPyMCModel)


def test_an_exception_in_a_compiled_function_is_an_error_code_and_not_a_crash():
    point = pt.vector("point", shape=(1,))
    logp = pt.sqrt(Assert("not below 0")(point[0], point[0] >= 0))  # raises in the compiled function
    with without_compiler():
        function = pytensor.function([point], [logp, pt.grad(logp, point)], mode="NUMBA")
    called = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.POINTER(ctypes.c_double)] * 3, ctypes.c_void_p)(
        native.density(function, np.ones(1)).address
    )

    def run(x, size=1):
        at, gradient, value = (ctypes.c_double * 1)(x), (ctypes.c_double * 1)(), (ctypes.c_double * 1)()
        return called(size, at, gradient, value, None), value[0], gradient[0]

    assert run(4.0) == (0, 2.0, 0.25)
    assert run(-1.0)[0] == native.RAISED
    assert run(4.0)[0] == 0  # nothing is left of the exception
    assert run(0.0)[0] == native.BAD_GRADIENT
    assert run(np.inf)[0] == native.BAD_DENSITY
    assert run(4.0, size=2)[0] == native.WRONG_SIZE
