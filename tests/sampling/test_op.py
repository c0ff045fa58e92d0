"""The operation of the marginal likelihood: the core's numbers under every back end, data as inputs, found on disk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from bayesmm.likelihood.crossproducts import Factor, cross_products
from bayesmm.likelihood.dense_matrices import LAPACK_FROM
from bayesmm.likelihood.gaussian import FixedPrior, evaluate, log_likelihood
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.graph.op import MarginalLikelihood, data_inputs

NUMBA = "NUMBA"
MODES = pytest.mark.parametrize("mode", [PYTHON, NUMBA], ids=["python", "numba"])
# Central differences of step 1e-6 on values near 100: rounding 1e-16 x 100 / 1e-6 = 1e-8, curvature 1e-12 x third
# derivative.
STEP, DIFFERENCE_RTOL, DIFFERENCE_ATOL = 1e-6, 1e-5, 1e-6


@pytest.fixture(scope="module", autouse=True)
def no_compiler():
    with without_compiler():
        yield


def problem(seed=1, n=60, levels=(8, 5)):
    """Return cross-products of two crossed factors (with a slope, and without), 3 fixed columns, the last flat."""
    rng = np.random.default_rng(seed)
    index = [np.arange(n) % levels[0], (np.arange(n) * 7 // 3) % levels[1]]
    factors = [
        Factor(index[0], np.column_stack([np.ones(n), np.arange(n) % 4 - 1.5]), levels[0]),
        Factor(index[1], np.ones((n, 1)), levels[1]),
    ]
    X = np.column_stack([np.ones(n), np.arange(n) % 3, np.arange(n) % 5 - 2.0])
    return cross_products(factors, X, rng.normal(size=n), rng.uniform(0.5, 2, n))


D = np.array([1.0, 1.0, 0.0])
POINT = (np.array([0.8, 0.0, 0.3, 0.5, 0.6]), 1.3, np.array([2.0, 0.0, 1.0]), np.array([0.1, -0.4, 0.0]))


def compiled(data, mode):
    """Return (T, sigma, lam, mean) -> log p and its derivatives, and the same by PyTensor's gradient."""
    variables = [pt.dvector("T"), pt.dscalar("sigma"), pt.dvector("lam"), pt.dvector("mean")]
    outputs = MarginalLikelihood()(*variables, *data)
    slopes = pytensor.grad(outputs[0], variables)
    return pytensor.function(variables, [*outputs, *slopes], mode=mode)


@pytest.fixture(scope="module")
def numba_function():
    cp = problem()
    data = data_inputs(cp, D)
    with without_compiler():
        return compiled(data, NUMBA), data


@MODES
def test_value_and_gradient_are_the_cores(mode):
    cp = problem()
    T, sigma, lam, mean = POINT
    value, *derivatives = compiled(data_inputs(cp, D), mode)(*POINT)
    core = evaluate(cp, T, sigma, FixedPrior(mean, lam, D))
    assert value == pytest.approx(log_likelihood(cp, core, 1), rel=1e-14)  # one formula, summed in the same order
    for found, expected in zip([*derivatives[:4:2], derivatives[3]], (core.d_T, core.d_lam, core.d_mean), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    for own, pulled in zip(derivatives[:4], derivatives[4:], strict=True):
        np.testing.assert_array_equal(own, pulled)  # the gradient of log p is log p's own, times 1


@MODES
def test_the_gradient_is_that_of_the_value(mode):
    function = compiled(data_inputs(problem(), D), mode)
    found = np.concatenate([np.ravel(each) for each in function(*POINT)[1:5]])
    flat = np.concatenate([np.ravel(each) for each in POINT])

    def value(x):
        return function(x[:5], x[5], x[6:9], x[9:])[0]

    movable = np.ones(len(flat), dtype=bool)
    movable[1] = False  # the upper triangle of T is 0 and stays there
    movable[8] = False  # lam of a flat column is 1 by definition
    steps = STEP * np.eye(len(flat))[movable]
    differences = [(value(flat + step) - value(flat - step)) / (2 * STEP) for step in steps]
    np.testing.assert_allclose(found[movable], differences, rtol=DIFFERENCE_RTOL, atol=DIFFERENCE_ATOL)


@MODES
def test_other_data_of_the_same_structure_are_taken(mode, numba_function):
    data = data_inputs(problem(), D)
    function = compiled(data, mode) if mode is PYTHON else numba_function[0]
    data = data if mode is PYTHON else numba_function[1]
    other = problem(
        seed=2, n=90, levels=(9, 6)
    )  # other rows and levels too: only the kinds of arrays are the structure
    for variable, value in zip(data, data_inputs(other, D), strict=True):
        variable.set_value(value.get_value())
    T, sigma, lam, mean = POINT
    core = evaluate(other, T, sigma, FixedPrior(mean, lam, D))
    assert function(*POINT)[0] == pytest.approx(log_likelihood(other, core, 1), rel=1e-14)


BAD = {
    "sigma 0": (POINT[0], 0.0, *POINT[2:]),  # what exp gives below -745
    "sigma below 0": (POINT[0], -1.0, *POINT[2:]),
    "sigma infinite": (POINT[0], np.inf, *POINT[2:]),
    "sigma not a number": (POINT[0], np.nan, *POINT[2:]),
    "T infinite": (np.array([np.inf, 0, 0, 1, 1]), *POINT[1:]),
    "T not a number": (np.array([np.nan, 0, 0, 1, 1]), *POINT[1:]),
    "T of the rest not a number": (np.array([1, 0, 0, 1, np.nan]), *POINT[1:]),
    "lam infinite": (*POINT[:2], np.array([np.inf, 0, 1]), POINT[3]),
    "mean not a number": (*POINT[:3], np.array([np.nan, 0, 0])),
}


@MODES
@pytest.mark.parametrize("levels", [(8, 5), (400, LAPACK_FROM + 5)], ids=["compiled loops", "LAPACK"])
@pytest.mark.parametrize("bad", BAD)
def test_outside_the_support_the_density_is_minus_infinity_and_nothing_is_raised(mode, levels, bad):
    # the larger rest goes through LAPACK, whose failure is an exception
    cp = problem(n=max(60, 3 * levels[0]), levels=levels)
    value = compiled(data_inputs(cp, D), mode)(*BAD[bad])[0]
    assert not np.isfinite(value)
    assert value == -np.inf or np.isnan(value)
    assert not bad.startswith("sigma") or value == -np.inf


@MODES
def test_a_flat_column_that_is_another_one_has_no_density(mode):
    rng = np.random.default_rng(1)
    X = np.repeat(rng.integers(0, 3, (40, 1)).astype(float), 2, axis=1)
    cp = cross_products([], X, rng.normal(size=40))
    flat = np.zeros(2)
    value = compiled(data_inputs(cp, flat), mode)(np.zeros(0), 1.0, np.ones(2), np.zeros(2))[0]
    assert value == -np.inf


@MODES
def test_a_singular_covariance_is_inside(mode):
    T = np.array([0.0, 0.0, 0.0, 0.0, 0.0])
    value, *derivatives = compiled(data_inputs(problem(), D), mode)(T, *POINT[1:])
    assert np.isfinite(value)
    assert all(np.isfinite(each).all() for each in derivatives)


def test_a_wrong_number_of_inputs_is_refused():
    with pytest.raises(TypeError, match="takes 18 inputs, not 1"):
        MarginalLikelihood()(pt.dvector())


PROGRAM = """
import numpy as np, pytensor
from bayesmm import Model
from bayesmm.sampling.graph.interpreted import without_compiler
rows = np.arange(40)
data = {"y": np.sin(rows * SEED) * 10, "x": rows % 5, "g": rows // 5}
with without_compiler():
    graph = Model("y ~ x + (x | g)", data).graph("marginal")
    print(graph.compile_fn(graph.logp(), inputs=graph.value_vars, mode="NUMBA")(graph.initial_point()))
"""


@pytest.mark.slow  # three processes, the first of which compiles everything
def test_a_new_process_finds_the_compiled_code(tmp_path):
    """The same model adds nothing to the caches; other data only the graph around the operation (priors)."""
    first, made = run_program(tmp_path, 1)
    for part in (
        "likelihood.from_arrays_",
        "marginal_likelihood",
        "numba_funcified_fgraph",
    ):  # core, operation, whole graph
        assert any(part in path.name for path in made), part
    again, found = run_program(tmp_path, 1)
    assert (again, found) == (first, made)
    other, more = run_program(tmp_path, 2)
    assert other != first  # that it was not the answer which was kept
    new = [path.name for path, written in more.items() if made.get(path) != written]
    assert all("numba_funcified_fgraph" in name or "numba_composite" in name for name in new), new


def run_program(caches: Path, seed: int):
    environment = os.environ | {
        "PYTENSOR_FLAGS": f"base_compiledir={caches / 'pytensor'}",
        "NUMBA_CACHE_DIR": str(caches / "numba"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    program = PROGRAM.replace("SEED", str(seed))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # Numba's machine code, with the times of writing
    files = {path: path.stat().st_mtime_ns for path in caches.rglob("*") if path.is_file() and path.suffix == ".nbc"}
    return float(done.stdout), files
