"""Every public function checks its plain arguments: "no" is no boolean, True and 1.5 are no whole numbers."""

import inspect
from functools import partial
from typing import get_args

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.reporting import plots
from bayesmm.runtime.arguments import check_bool, check_probability, check_seed, check_whole

RNG = np.random.default_rng(1)
ROWS, LEVELS = 40, 8
DATA = pd.DataFrame({"y": RNG.normal(size=ROWS), "x": RNG.normal(size=ROWS), "g": np.arange(ROWS) % LEVELS})
FORMULA = "y ~ x + (1 | g)"
# what is probability by name; all else by the annotation
PROBABILITIES = ("ci_prob", "level", "target_accept")
KINDS = {bool: ("no", 1, None), int: ("no", True, 1.5), float: ("no", True, 1.5)}
MAY_BE_NONE = {bool: ("refit",)}
RECORDS = (bmm.Check, bmm.Comparison, bmm.Fit, bmm.PointFit, bmm.Model, bmm.Prior)


def kinds_of(parameter):
    """Return bool, int or float for an argument that is one of them; `centred` has a test of its own."""
    named = (parameter.annotation, *get_args(parameter.annotation))
    found = [kind for kind in (bool, int) if kind in named and str not in named]
    return found[0] if found else float if parameter.name in PROBABILITIES else None


def public():
    """Yield (name, function, owner): functions, figures, methods of the public classes and of the results."""
    for name in bmm.__all__:
        value = getattr(bmm, name)
        if inspect.isfunction(value):
            yield name, value, None
    for name in plots.__all__:
        yield f"plots.{name}", getattr(plots, name), None
    for owner in RECORDS:
        for name, value in vars(owner).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                yield f"{owner.__name__}.{name}", value, owner


def cases():
    for name, function, owner in public():
        for parameter in inspect.signature(function).parameters.values():
            kind = kinds_of(parameter)
            for wrong in KINDS.get(kind, ()):
                if not (wrong is None and parameter.name in MAY_BE_NONE[bool]):
                    yield pytest.param(function, owner, parameter.name, wrong, id=f"{name}-{parameter.name}-{wrong}")


CASES = list(cases())


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Return something right for every argument without a default."""
    model = bmm.Model(FORMULA, DATA)
    fit = model.sample(40, 60, 2, seed=1, progress=False)
    point = model.maximize()
    folder = tmp_path_factory.mktemp("arguments")
    own = {bmm.Model: model, bmm.Fit: fit, bmm.PointFit: point, bmm.Prior: bmm.Prior("Flat")}
    values = dict(
        model=model, fit=fit, fitted=fit, fits={"a": fit, "b": fit}, point=point, a=point, b=point, formula=FORMULA,
        data=DATA, frames=[DATA, DATA],
        variables="x", parameters=point.parameters, place="sigma", path=folder / "file", priors=None,
    )  # fmt: skip
    return own, values


def test_many_arguments_are_found():
    names = {f"{case.id}" for case in CASES}
    for known in ("Model.sample-progress-no", "PointFit.predict-se-no", "Fit.loo-refit-no", "power-seed-1.5",
                  "Model.maximize-nagq-True", "plots.plot_qq-seed-no", "emmeans-ci_prob-no"):  # fmt: skip
        assert known in names
    assert len(CASES) > 120


@pytest.mark.parametrize(("function", "owner", "name", "wrong"), CASES)
def test_every_public_function_refuses_it_in_a_sentence(function, owner, name, wrong, given):
    own, values = given
    arguments = list(inspect.signature(function).parameters.values())[1 if owner else 0 :]
    needed = {
        p.name: values[p.name]
        for p in arguments
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    if function is bmm.report:
        needed["fits"] = values["fit"]
    if function is bmm.fit_many:
        needed["data"] = {"a": DATA}
    call = partial(function, own[owner]) if owner else function
    with pytest.raises(ValueError, match=rf"^{name} (should|must) be .*, not {wrong!r}$"):
        call(**needed | {name: wrong})


def test_the_shorthand_passes_the_arguments_of_sampling_on():
    with pytest.raises(ValueError, match=r"^progress should be True or False, not 'no'$"):
        bmm.fit(FORMULA, DATA, progress="no")
    with pytest.raises(ValueError, match=r"^chains should be at most 1,000, not 1,000,000: each .* 1,000,000 draws"):
        bmm.fit(FORMULA, DATA, draws=1, tune=0, chains=10**6)


@pytest.mark.parametrize("how", [{"chains": 1000, "draws": 10**6}, {"chains": 10**6, "sampler": "importance"}])
def test_chains_that_do_not_fit_in_memory_are_refused_before_anything_is_compiled(how, monkeypatch):
    monkeypatch.setattr("bayesmm.runtime.memory.free_memory", lambda: 16e9)
    monkeypatch.setattr("bayesmm.sampling.importance.free_memory", lambda: 16e9)
    with pytest.raises(ValueError, match=r"more than half of the 16 GB of free memory; take fewer draws"):
        bmm.fit(FORMULA, DATA, progress=False, **how)


def test_numpys_numbers_and_booleans_are_as_good():
    check_bool("a", np.True_)
    check_bool("a", None, optional=True)
    check_whole("a", np.int8(3), 3, 3)
    check_seed(np.uint32(5))
    check_seed(None)
    check_probability("a", np.float32(0.5))
    for wrong in (2, 4, np.bool_(True), "3", None, 3.0):
        with pytest.raises(ValueError, match="a should be a whole number of at least 3 and at most 3, not"):
            check_whole("a", wrong, 3, 3)
    with pytest.raises(ValueError, match="seed should be a whole number from 0"):
        check_seed(None, optional=False)


# ----------------------------------------------------------------------------------------------------------------------
# centred, whichever graph is sampled


@pytest.mark.parametrize("effects", ["marginal", "explicit"])
@pytest.mark.parametrize(
    ("centred", "text"),
    [
        ({"zz": True}, "centred names 'zz'; the grouping factors are g"),
        ({"g": "no"}, r"centred\['g'\] should be True or False, not 'no'"),
        (["g"], r"centred must be 'auto', True, False, or a mapping of factor to bool, not \['g'\]"),
        ("no", "centred must be 'auto', True, False, or a mapping of factor to bool, not 'no'"),
        (1, "centred must be 'auto', True, False, or a mapping of factor to bool, not 1"),
        (np.array([True, False]), "centred must be 'auto', True, False, or a mapping of factor to bool, not array"),
    ],
)
def test_centred_is_checked_whichever_graph_is_sampled(effects, centred, text):
    model = bmm.Model(FORMULA, DATA)
    for use in (partial(model.sample, effects=effects), partial(model.graph, effects)):
        with pytest.raises(ValueError, match=f"^{text}"):
            use(centred=centred)


def test_arguments_are_checked_before_a_kept_fit_is_read(tmp_path):
    model = bmm.Model(FORMULA, DATA)
    (tmp_path / "kept.nc").write_text("no fit")
    for place in ("file", "store"):
        with pytest.raises(ValueError, match="draws should be a whole number"):
            model.sample(draws=0, **{place: tmp_path / "kept.nc"})
        with pytest.raises(ValueError, match="effects must be one of auto, marginal, explicit, not 3"):
            model.sample(effects=3, **{place: tmp_path / "kept.nc"})


# ----------------------------------------------------------------------------------------------------------------------
# estimates that do not exist


def test_parameters_of_a_fit_are_nan_where_its_print_is():
    model = bmm.Model("y ~ x + x2 + (x | g)", DATA.assign(x2=2 * DATA.x, y=DATA.x + 1e-3 * DATA.y))
    point = model.maximize()
    assert np.isnan(point.fixef().loc["x2", "estimate"]) and np.isnan(point.parameters["beta[x2]"])
    # they are what simulate() takes still: nothing depends on them
    pd.testing.assert_frame_equal(model.simulate(point.parameters, 2, seed=1), model.simulate(point, 2, seed=1))
    with pytest.raises(ValueError, match=r"parameters\['beta\[x\]'\] should be a finite number, not nan"):
        model.simulate(point.parameters | {"beta[x]": np.nan})


def test_the_correlation_of_an_effect_without_variance_is_nan():
    model = bmm.Model("y ~ x + (x | g)", DATA)
    zero = {"beta[Intercept]": 0.0, "beta[x]": 0.0, "sd_g[Intercept]": 1.0, "sd_g[x]": 0.0, "sigma": 1.0}
    own = model.simulate(zero | {"corr_g[Intercept, x]": np.nan}, seed=1)
    pd.testing.assert_frame_equal(own, model.simulate(zero | {"corr_g[Intercept, x]": 0.0}, seed=1))
    with pytest.raises(ValueError, match=r"corr_g\[Intercept, x\]'\] should be a finite number, not nan"):
        model.simulate(zero | {"sd_g[x]": 0.5, "corr_g[Intercept, x]": np.nan}, seed=1)
