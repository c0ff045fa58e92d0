"""The spec of a design makes the design again: of its own table to the last bit, and of any other one."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.design.design import design_of, encode, fixed_names, make_design
from bayesmm.design.spec import DataArguments, DesignSpec, data_arguments
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse

ROWS = 60
ARRAYS = ("y", "X", "trials", "weights", "offset")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(11)
    table = pd.DataFrame(
        {
            "x": rng.normal(3, 2, ROWS),
            "f": np.resize(["a", "b", "c"], ROWS),
            "g": np.resize([f"g{i}" for i in range(8)], ROWS),
            "w": rng.uniform(0.5, 2, ROWS),
            "n": np.full(ROWS, 9),
            "answer": rng.choice(["no", "yes"], ROWS),
        }
    )
    table["y"], table["k"] = table["x"] + rng.normal(size=ROWS), rng.binomial(9, 0.4, ROWS)
    return table.assign(p=table["k"] / 9)


# formula, family, arguments given as columns, arguments given as values: every way that weights and trials may come
CASES = [
    ("y ~ C(f, Sum) * poly(x, 2) + (scale(x) || g)", "gaussian", {}, ()),
    ("y ~ x + offset(w) + (x | g) + (1 | f:g)", "gaussian", {"weights": "w"}, ()),
    ("y ~ ns(x, df = 3) + (1 | g)", "gaussian", {}, ("w",)),
    ("y | weights(w) ~ 0 + f + (1 | g)", "gaussian", {}, ()),
    ("k ~ x + (1 | g)", "binomial", {"trials": "n", "weights": "w"}, ()),
    ("k ~ x + (1 | g)", "binomial", {"trials": 9}, ("w",)),
    ("k ~ x + (1 | g)", "binomial", {}, ("w", "n")),
    ("k | trials(n) ~ x + (1 | g)", "binomial", {}, ("w",)),
    ("k / n ~ x + (1 | g)", "binomial", {"weights": "w"}, ()),
    ("cbind(k, n - k) ~ x + (1 | g)", "binomial", {}, ("w",)),
    ("p ~ x + (1 | g)", "binomial", {"weights": "n"}, ()),
    ("answer ~ f + (1 | g)", "binomial", {"weights": "w"}, ()),
]


def made(case, data):
    formula, family, named, values = case
    given = named | {{"w": "weights", "n": "trials"}[name]: data[name].to_numpy() for name in values}
    return make_design(parse(formula), data, family=family, **given)


@pytest.mark.parametrize("case", CASES)
def test_a_spec_makes_its_own_design_again_from_what_the_design_keeps(case, data):
    """Weights and trials of the formula are in `frame`, those beside it in `beside`, and none is counted twice."""
    first = made(case, data)
    again = design_of(first.spec, first.frame, **first.beside)
    for name in ARRAYS:
        one, other = getattr(first, name), getattr(again, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    for block, repeated in zip(first.blocks, again.blocks, strict=True):
        np.testing.assert_array_equal(block.Z, repeated.Z)
        np.testing.assert_array_equal(block.index, repeated.index)
    assert again.family == first.family and again.proportions == first.proportions
    assert set(again.beside) == set(case[2]) | {{"w": "weights", "n": "trials"}[name] for name in case[3]}
    assert again.spec.repeats and not first.spec.repeats


@pytest.mark.parametrize("case", CASES)
def test_a_spec_encodes_its_own_rows_as_the_design_has_them(case, data):
    design = made(case, data)
    right = encode(design.spec, design.frame)
    np.testing.assert_array_equal(right.X, design.X)
    for block, encoded in zip(design.blocks, right.blocks, strict=True):
        np.testing.assert_array_equal(encoded.Z, block.Z)
        np.testing.assert_array_equal(encoded.index, block.index)
    names = fixed_names(design)
    assert tuple(name for term in names for name in term) == design.coefficients
    assert [names[0] == ("Intercept",), len(names)] == [
        design.has_intercept,
        len(design.formula.terms) + design.has_intercept,
    ]
    nothing = encode(design.spec, design.frame.head(0))
    assert nothing.X.shape == (0, design.p)
    assert [block.Z.shape for block in nothing.blocks] == [(0, len(block.columns)) for block in design.blocks]


def test_a_spec_that_has_learned_nothing_completes_itself_and_stays_as_it_is(data):
    blank = DesignSpec(parse("y ~ scale(x) + (1 | g)"), get_family("gaussian"))
    part = data[data["x"] > 2]
    first, other = design_of(blank, data), design_of(blank, part)
    assert not blank.learned and not blank.states
    assert first.spec.learned and other.spec.learned
    np.testing.assert_allclose(other.X[:, 1].mean(), 0, atol=1e-12)  # each by its own mean, to rounding
    repeated = design_of(first.spec, part)
    np.testing.assert_array_equal(repeated.X, first.X[data["x"] > 2])  # by the mean of the first


def test_what_holds_for_other_tables_is_told_from_what_is_one_tables():
    assert data_arguments("drop", "w", 9) == DataArguments("drop", "w", 9.0)
    assert data_arguments("error", [1.0, 2.0], "n") == DataArguments("error", None, "n", ("weights",))
    assert data_arguments("drop", None, np.array([3, 4])) == DataArguments("drop", values=("trials",))
    assert data_arguments("drop", None, np.array([3, 4])).beside == ("trials",)
    assert data_arguments("drop", "w", 9).beside == ("weights", "trials")
