"""The explicit graph: its log density against SciPy's, its variables, the priors' meaning in it. Nothing is sampled."""

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
from scipy import stats
from scipy_density import reference

from bayesmm.design.design import make_design
from bayesmm.errors import PriorError
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse
from bayesmm.priors import Prior, resolve_priors
from bayesmm.sampling.graph.explicit import build_explicit
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler

POINTS = 20
FAMILY = get_family("gaussian")


@pytest.fixture(scope="module", autouse=True)
def no_compiler():
    with without_compiler():
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


# --- the same density written with SciPy, on the sampler's coordinates -----------------------------------------------


SHAPES = {
    "intercept only": ("y ~ 1 + (1 | g)", {}),
    "slope": ("y ~ x + (v | g)", {}),
    "uncorrelated": ("y ~ x + (v || g)", {}),
    "partly correlated": ("y ~ x + v + (0 + x | g) + (1 + v | g)", {}),
    "three correlated": ("y ~ v + (v + x | g)", {}),
    "two factors": ("y ~ x + v + (v | g) + (1 | h)", {}),
    "weights": ("y ~ x + (1 | g)", {"weights": "w"}),
    "offset": ("y ~ x + offset(v) + (1 | g)", {}),
    "fixed sigma": ("y ~ x + (v | g)", {}),
    "no intercept": ("y ~ 0 + h + (1 | g)", {}),
    "no fixed part": ("y ~ 0 + (1 | g)", {}),
    "no random part": ("y ~ x + v", {}),
}


def cases():
    """Yield each shape with its effects centred and not; one of the two in turn is left to the slow tests."""
    for number, shape in enumerate(SHAPES):
        for centred in (False, True) if shape != "no random part" else (False,):
            slow = shape != "no random part" and centred == bool(number % 2)
            yield pytest.param(shape, centred, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("shape", "centred"), list(cases()))
def test_the_density_is_scipys_and_its_gradient_is_finite_at_prior_draws(frame, shape, centred):
    formula, arguments = SHAPES[shape]
    design = designed(formula, frame, **arguments)
    sigma = 40.0 if shape == "fixed sigma" else None
    priors = resolve_priors(design, FAMILY, {"sigma": sigma} if sigma else None)
    graph = build_explicit(design, priors, centred=centred)
    evaluate = compiled(graph, [graph.logp(), graph.dlogp()])
    for point in prior_draws(graph, POINTS):
        found, gradient = evaluate(point)
        # rounded sums of 100 terms; PyMC has log 2 in single precision in each half-t, 1.9e-9 off in about -300
        np.testing.assert_allclose(found, reference(design, point, centred, sigma), rtol=1e-10)
        assert np.isfinite(gradient).all()


def compiled(graph, outputs):
    return graph.compile_fn(outputs, inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore")


def prior_draws(graph, draws):
    """Return draws of the priors on the sampler's coordinates: points far apart, as the priors are wide."""
    moved = []
    for rv in graph.free_RVs:
        transform = graph.rvs_to_transforms[rv]
        moved.append(rv if transform is None else transform.forward(rv, *rv.owner.inputs))
    values = pm.draw(moved, draws=draws, random_seed=5, mode=PYTHON)
    names = [graph.rvs_to_values[rv].name for rv in graph.free_RVs]
    return [dict(zip(names, each, strict=True)) for each in zip(*values, strict=True)]


# --- where the intercept's prior is ----------------------------------------------------------------------------------


def density_of(graph, point, jacobian=True):
    terms = graph.logp(vars=graph.free_RVs, jacobian=jacobian, sum=False)
    names = [rv.name for rv in graph.free_RVs]
    return dict(zip(names, compiled(graph, terms)(point), strict=True))


AT_ZERO = [
    (Prior("Normal", mu=40, sigma=5), stats.norm(40, 5)),
    (Prior("StudentT", nu=4, mu=40, sigma=5), stats.t(4, 40, 5)),
    (Prior("Cauchy", alpha=40, beta=5), stats.cauchy(40, 5)),
    (Prior("Laplace", mu=40, b=5), stats.laplace(40, 5)),
    (Prior("Uniform", lower=-1e4, upper=1e4), stats.uniform(-1e4, 2e4)),
]


@pytest.mark.parametrize(("prior", "scipy"), AT_ZERO, ids=lambda value: getattr(value, "distribution", ""))
def test_a_prior_on_the_intercept_keeps_its_meaning_when_columns_are_centred(frame, prior, scipy):
    # years about 2017: the intercept at the means is thousands of slopes away from the one at year 0
    graph = graph_of("y ~ x + v", frame, {"Intercept": prior})
    slopes, intercept = np.array([0.15, -2.0]), 38.5
    shift = frame[["x", "v"]].mean().to_numpy() @ slopes
    point = graph.initial_point() | {"_slopes": slopes}
    rv = graph["_Intercept_centred"]
    transform, value = graph.rvs_to_transforms[rv], intercept + shift
    if transform is not None:  # Uniform's bounds move with the slopes: place the value between them
        lower, upper = -1e4 + shift, 1e4 + shift
        value = np.log((value - lower) / (upper - value))
    point[graph.rvs_to_values[rv].name] = np.asarray(value)
    found = density_of(graph, point, jacobian=False)[rv.name]
    assert found == pytest.approx(
        scipy.logpdf(intercept), rel=1e-9
    )  # 300 - 302: three digits less than double precision
    beta = pytensor.function([], graph["beta"], mode=PYTHON, on_unused_input="ignore", givens=given(graph, point))
    np.testing.assert_allclose(beta(), [intercept, *slopes], rtol=1e-9)


def given(graph, point):
    """Return the replacements of random variables by their values at a point."""
    backward = {}
    for rv in graph.free_RVs:
        transform, value = graph.rvs_to_transforms[rv], point[graph.rvs_to_values[rv].name]
        value = np.asarray(value, dtype=rv.dtype)
        backward[rv] = value if transform is None else transform.backward(value, *rv.owner.inputs)
    return backward


@pytest.mark.parametrize("prior", [Prior("HalfNormal", sigma=500), Prior("Fixed", value=38.5)], ids=str)
def test_a_prior_that_can_not_be_moved_is_on_the_intercept_itself(frame, prior):
    graph = graph_of("y ~ x", frame, {"Intercept": prior})
    assert "_Intercept_centred" not in graph.named_vars
    drawn = pm.draw(graph["beta"], draws=200, random_seed=1, mode=PYTHON)[:, 0]
    assert (drawn == 38.5).all() if prior.distribution == "Fixed" else (drawn > 0).all()


def test_a_flat_prior_on_the_intercept_is_flat_wherever_it_is(frame):
    graph = graph_of("y ~ x", frame, {"Intercept": Prior("Flat")})
    assert density_of(graph, graph.initial_point())["_Intercept_centred"] == 0


def test_the_default_prior_is_on_the_intercept_at_the_means(frame):
    draws = pm.draw(graph_of("y ~ x + v", frame)["beta"], draws=2000, random_seed=2, mode=PYTHON)
    at_means = draws @ np.array([1.0, *frame[["x", "v"]].mean()])
    mean, sd = frame["y"].mean(), 2.5 * frame["y"].std()
    assert abs(at_means.mean() - mean) < 4 * sd / np.sqrt(2000)  # four standard errors
    assert at_means.std() == pytest.approx(sd, rel=4 / np.sqrt(2 * 2000))


# --- names, dimensions, structure ------------------------------------------------------------------------------------


def test_variables_dimensions_and_coordinates(frame):
    graph = graph_of("y ~ x + v + (1 + v | g) + (0 + x | g) + (1 | h)", frame, centred={"h": True})
    dims = {name: graph.named_vars_to_dims.get(name, ()) for name in graph.named_vars if not name.startswith("_")}
    assert {name: tuple(each) for name, each in dims.items()} == {
        "beta": ("coef",),
        "sd_g": ("g_term",),
        "corr_g": ("g_term", "g_term_bis"),
        "sd_g_centred": ("g_term",),
        "corr_g_centred": ("g_term", "g_term_bis"),
        "b_g": ("g", "g_term"),
        "sd_h": ("h_term",),
        "b_h": ("h", "h_term"),
        "sigma": (),
        "y": ("obs",),
        "X_data": ("obs", "coef"),
        "Z_g": ("obs", "g_term"),
        "index_g": ("obs",),
        "Z_h": ("obs", "h_term"),
        "index_h": ("obs",),
        "y_data": ("obs",),
    }
    assert list(graph.coords["coef"]) == ["Intercept", "x", "v"]
    assert list(graph.coords["g"]) == [f"g{i}" for i in range(8)]
    assert list(graph.coords["g_term"]) == list(graph.coords["g_term_bis"]) == ["Intercept", "v", "x"]
    assert list(graph.coords["obs"]) == list(range(48))
    assert [rv.name for rv in graph.observed_RVs] == ["y"]
    assert "_z_g" in graph.named_vars  # not centred: z, and b made from it
    assert graph["b_h"] in graph.free_RVs  # centred


def test_correlations_are_zero_between_parts_and_one_on_the_diagonal(frame):
    graph = graph_of("y ~ x + v + (1 + v | g) + (0 + x | g)", frame)
    R = pm.draw(graph["corr_g"], draws=50, random_seed=1, mode=PYTHON)
    assert (np.diagonal(R, axis1=1, axis2=2) == 1).all()
    assert (R[:, 2, :2] == 0).all()
    assert (R[:, :2, 2] == 0).all()
    assert (np.abs(R[:, 0, 1]) > 0).all()
    np.testing.assert_array_equal(R, np.swapaxes(R, 1, 2))


def test_prior_effects_have_the_covariance_of_their_sds_and_correlations(frame):
    for centred in (False, True):
        graph = graph_of("y ~ v + (v | g)", frame, {"sd_g[Intercept]": 3, "sd_g[v]": 0.5}, centred=centred)
        R, b = pm.draw([graph["corr_g"], graph["b_g"]], draws=4000, random_seed=3, mode=PYTHON)
        scaled = b / np.array([3, 0.5])
        # E b_0 b_1 = r for each draw of r; 8 groups, 4000 draws: standard error 1 / sqrt(4000 * 8), four of them
        assert np.mean(scaled[..., 0] * scaled[..., 1] - R[:, None, 0, 1]) == pytest.approx(0, abs=4 / np.sqrt(32000))
        np.testing.assert_allclose(scaled.std(axis=(0, 1)), 1, rtol=4 / np.sqrt(2 * 32000))


LESS_ODD = [pytest.param(name, marks=pytest.mark.slow) for name in ("y", "sigma", "X_data", "b_g", "_z_g", "coef")]


@pytest.mark.parametrize("name", ["chain", "a/b", "längd µ", "[x]", *LESS_ODD])
def test_groups_may_be_called_anything(frame, name):
    odd = frame.rename(columns={"h": name, "y": "response"})
    graph = graph_of(f"response ~ v + (1 | g) + (v | `{name}`)", odd)
    assert np.isfinite(compiled(graph, graph.logp())(graph.initial_point()))


def test_coefficients_may_be_called_anything(frame):
    odd = frame.rename(columns={"x": "sd_g/[0]", "v": "_slopes"})
    graph = graph_of("y ~ `sd_g/[0]` + `_slopes` + (0 + `_slopes` | g)", odd, {"sd_g": 3, "beta[_slopes]": 2})
    assert list(graph.coords["coef"]) == ["Intercept", "sd_g/[0]", "_slopes"]
    assert np.isfinite(compiled(graph, graph.logp())(graph.initial_point()))


def test_no_array_of_rows_by_levels(frame):
    many = pd.DataFrame({"y": np.arange(5000.0), "x": np.arange(5000.0) % 7, "g": np.arange(5000) // 2})
    graph = graph_of("y ~ x + (x | g)", many)
    held = [each.get_value() for each in graph.data_vars]
    assert max(each.size for each in held) <= 2 * 5000
    assert np.isfinite(compiled(graph, graph.logp())(graph.initial_point()))


def test_the_graph_takes_other_data_of_the_same_shape(frame):
    design = designed("y ~ x + (1 | g)", frame)
    graph = build_explicit(design, resolve_priors(design, FAMILY, None))
    logp, point = compiled(graph, graph.logp()), graph.initial_point()
    before = logp(point)
    graph.set_data("y_data", design.y + 1)
    sigma, mean = np.exp(point["sigma_log__"]), point["_Intercept_centred"]
    expected = (np.square(design.y - mean) - np.square(design.y + 1 - mean)).sum() / (2 * sigma**2)
    assert logp(point) - before == pytest.approx(expected)


def test_it_can_be_drawn(frame):
    text = pm.model_to_mermaid(graph_of("y ~ x + (x | g)", frame))
    for name in ("beta", "sd_g", "corr_g", "b_g", "sigma"):
        assert name in text


def test_pymc_draws_from_it(frame):
    tree = pm.sample_prior_predictive(
        5, model=graph_of("y ~ x + (v | g)", frame), random_seed=1, compile_kwargs={"mode": PYTHON}
    )
    assert tree["prior_predictive"]["y"].shape == (1, 5, 48)


def test_row_order_does_not_matter(frame):
    formula, order = "y ~ x + (v | g)", np.random.default_rng(1).permutation(48)
    one, other = graph_of(formula, frame), graph_of(formula, frame.iloc[order])
    point = prior_draws(one, 2)[0]
    assert compiled(one, one.logp())(point) == pytest.approx(compiled(other, other.logp())(point), rel=1e-12)


def test_a_block_that_is_not_there_can_not_be_centred(frame):
    with pytest.raises(ValueError, match="the model has the grouping factors g; did you mean 'g'"):
        graph_of("y ~ x + (1 | g)", frame, centred={"G": True})
    with pytest.raises(ValueError, match="the model has no grouping factor"):
        graph_of("y ~ x", frame, centred={"g": True})


# --- priors of every kind --------------------------------------------------------------------------------------------


def test_priors_of_one_distribution_are_one_variable_and_others_one_each(frame):
    same = graph_of("y ~ v + (v | g)", frame)
    assert same["sd_g_centred"] in same.free_RVs
    choice = {"sd_g[v]": Prior("Exponential", lam=0.1)}
    mixed = graph_of("y ~ v + (v | g)", frame, choice)
    assert mixed["sd_g"] in mixed.deterministics
    assert {"_sd_g_0", "_sd_g_1"} <= {rv.name for rv in mixed.free_RVs}
    point = mixed.initial_point() | {"_sd_g_0_log__": np.array(1.2), "_sd_g_1_log__": np.array(-0.3)}
    found = density_of(mixed, point, jacobian=False)
    design = designed("y ~ v + (v | g)", frame)
    priors = resolve_priors(design, FAMILY, choice)
    for i, (column, log_sd) in enumerate((("Intercept", 1.2), ("v", -0.3))):
        expected = priors[f"sd_g[{column}]"].logpdf(np.exp(log_sd))
        assert found[f"_sd_g_{i}"] == pytest.approx(expected, rel=1e-8)  # log 2 of the half-t in single precision
    point["_L_g_cholesky_corr__"] = np.zeros(1)
    sd = pytensor.function([], mixed["sd_g"], mode=PYTHON, on_unused_input="ignore", givens=given(mixed, point))
    np.testing.assert_allclose(sd(), np.exp([1.2, -0.3]))


def test_parameters_are_in_double_precision(frame):
    # PyTensor takes the Python number 3.0 as a float32, whose logarithm is 1e-8 off
    choice = {"sigma": Prior("Exponential", lam=3), "sd_g": Prior("Exponential", lam=5)}
    graph = graph_of("y ~ v + (v | g)", frame, choice)
    found = density_of(graph, graph.initial_point(), jacobian=False)
    sigma, sd = (np.exp(graph.initial_point()[f"{name}_log__"]) for name in ("sigma", "sd_g"))
    assert found["sigma"] == pytest.approx(choice["sigma"].logpdf(sigma), rel=1e-13)
    np.testing.assert_allclose(found["sd_g"], choice["sd_g"].logpdf(sd), rtol=1e-13)


@pytest.mark.parametrize("formula", ["y ~ v + (1 | g)", "y ~ v + (v | g)"])
def test_a_prior_on_the_variance_is_that_of_the_sd_with_its_jacobian(frame, formula):
    inverse = Prior("InverseGamma", alpha=2, beta=900, on="variance")
    graph = graph_of(formula, frame, {"sd": inverse, "sigma": inverse})
    variances = {name: graph.rvs_to_values[graph[name]].name for name in ("_sd_g_squared", "_sigma_squared")}
    point = graph.initial_point() | {variances["_sigma_squared"]: np.array(np.log(17.0**2))}
    found = density_of(graph, point)["_sigma_squared"]
    # on the sampler's coordinate t = log s^2 the density is p(s) ds / dt = p(s) s / 2
    assert found == pytest.approx(inverse.logpdf(17.0) + np.log(17.0 / 2), rel=1e-12)
    assert {"sd_g", "sigma"} <= {each.name for each in graph.deterministics}
    names = ["sigma", "_sigma_squared", "sd_g", "_sd_g_squared"]
    sigma, sigma_squared, sd, sd_squared = pm.draw([graph[name] for name in names], 3, random_seed=1, mode=PYTHON)
    np.testing.assert_allclose(sigma**2, sigma_squared)
    np.testing.assert_allclose(sd**2, sd_squared)


def test_fixed_parameters_are_constants_of_the_graph(frame):
    choice = {"sigma": 25, "sd_g": 5, "beta[v]": 1, "Intercept_centred": 300}
    graph = graph_of("y ~ v + (v | g)", frame, choice)
    assert {rv.name for rv in graph.free_RVs} == {"_L_g", "_z_g"}
    beta, sd, sigma = pm.draw([graph["beta"], graph["sd_g"], graph["sigma"]], draws=2, random_seed=1, mode=PYTHON)
    np.testing.assert_allclose(beta, [[300 - frame["v"].mean(), 1]] * 2)
    np.testing.assert_array_equal(sd, [[5, 5]] * 2)
    np.testing.assert_array_equal(sigma, [25, 25])


def test_a_function_makes_the_variable_that_the_prior_is(frame):
    asked = []

    def own(name, dims):
        asked.append((name, dims))
        return pm.Weibull(name, 2, 30, dims=dims or None)

    graph = graph_of(
        "y ~ x + v + (v | g)", frame, {"sigma": own, "sd": own, "beta[v]": lambda n, d: pm.Normal(n, 0, 1)}
    )
    assert asked == [("sd_g", ("g_term",)), ("sigma", ())]
    assert graph["sigma"].owner.op.name == graph["sd_g"].owner.op.name == "weibull"
    assert {"_slopes_0", "_slopes_1"} <= {rv.name for rv in graph.free_RVs}  # x has the default


def test_a_function_may_return_an_expression(frame):
    graph = graph_of("y ~ x", frame, {"sigma": lambda name, dims: pm.math.exp(pm.Normal("log_sigma", 3, 1))})
    assert "sigma" in {each.name for each in graph.deterministics}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda name, dims: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda name: None, "raised TypeError"),
        (lambda name, dims: pm.Nomal(name, 0, 1), "raised AttributeError"),
        (lambda name, dims: None, "should return the PyMC variable that it makes, not None"),
        (
            lambda name, dims: pm.HalfNormal(name, 1, shape=3),
            "should return one number, but its value has 1 dimensions",
        ),
    ],
)
def test_a_function_that_fails_is_named_with_its_prior(frame, function, message):
    with pytest.raises(PriorError) as caught:
        graph_of("y ~ x", frame, {"sigma": function})
    assert "the function <lambda> given as the prior of sigma " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "function", "message"),
    [
        ("sd_g", lambda name, dims: pm.HalfNormal(name, 1, shape=7), "gives 7 numbers; expected 2 numbers, one for"),
        ("sd_g", lambda name, dims: pm.HalfFlat(name, shape=7), "gives 7 numbers; expected 2 numbers, one for"),
        ("sd_g", lambda name, dims: pm.Normal(name, 0, 1, dims=dims), r"gives negative values \([45]. % of its"),
        ("sigma", lambda name, dims: pm.Normal(name, 1.5, 1), r"gives negative values \(\d.* % of its"),
        ("sigma", lambda name, dims: pm.Flat(name), "is flat over all numbers, but the parameter is above 0"),
        ("sigma", lambda name, dims: pm.Poisson(name, 3), r"gives whole numbers \(int64\)"),
        ("beta[v]", lambda name, dims: pm.Bernoulli(name, 0.5), r"gives whole numbers \(int64\)"),
        ("beta[v]", lambda name, dims: pm.Normal(name, np.nan, 1), "that are not finite|cannot be drawn from"),
    ],
)
def test_a_variable_that_cannot_be_the_parameter_is_refused_before_anything_is_sampled(frame, key, function, message):
    with pytest.raises(PriorError, match=message) as caught:
        graph_of("y ~ x + v + (v | g)", frame, {key: function})
    assert "\n" not in str(caught.value)


def test_functions_for_what_may_be_negative_and_improper_ones_pass(frame):
    own = {"beta[v]": lambda name, dims: pm.Normal(name, 0, 1), "Intercept": lambda name, dims: pm.Flat(name)}
    graph_of("y ~ x + v", frame, own)
    graph_of("y ~ v", frame, {"sigma": lambda name, dims: pm.HalfFlat(name)})


def test_a_function_for_a_vector_has_to_make_one(frame):
    with pytest.raises(PriorError, match="a vector over the dimension 'g_term', but its value has 0 dimensions"):
        graph_of("y ~ v + (v | g)", frame, {"sd": lambda name, dims: pm.HalfNormal(name, 1)})
