"""What must leave the arrays of a design unchanged, and the arrays of other data."""

import numpy as np
import pandas as pd
import pytest
from design_data import EXACT, SIX, design
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesmm.design.design import encode
from bayesmm.errors import DataError

# sums over rows in another order: a few units in the last place of numbers of size 1 to 100
SUMS = {"rtol": 1e-10, "atol": 1e-12}


# ----------------------------------------------------------------------------------------------------------------------
# what must not matter


@st.composite
def frames(draw):
    """Return a frame of some 20 to 40 rows with numbers, factors and two grouping factors."""
    n = draw(st.integers(20, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n).round(2) + np.arange(n) * 1e-3,  # no ties: a spline's knots then move with no row
            "z": rng.uniform(1, 2, size=n),
            "f": np.array(list("pqr"))[np.arange(n) % 3],
            "g": rng.permutation(np.array([f"g{k % 5}" for k in range(n)])),
            "h": np.array([2, 10, 1])[np.arange(n) % 3],
        }
    )


RICH = "y ~ f*x + poly(z, 2) + bs(x, df = 4) + scale(z) + (x | g) + (1 | g:h) + offset(z)"


@settings(max_examples=25, deadline=None)
@given(frames(), st.integers(0, 10**6))
def test_a_permutation_of_the_rows_permutes_everything(frame, seed):
    order = np.random.default_rng(seed).permutation(len(frame))
    one, other = design(RICH, frame), design(RICH, frame.iloc[order])
    np.testing.assert_allclose(other.X, one.X[order], **SUMS)
    np.testing.assert_allclose(other.offset, one.offset[order], **EXACT)
    assert other.coefficients == one.coefficients and other.aliased == one.aliased
    for block, permuted in zip(one.blocks, other.blocks, strict=True):
        assert permuted.levels == block.levels
        np.testing.assert_array_equal(permuted.index, block.index[order])
        np.testing.assert_allclose(permuted.Z, block.Z[order], **EXACT)


@settings(max_examples=25, deadline=None)
@given(frames())
def test_an_unused_column_changes_nothing(frame):
    spoilt = frame.assign(unused=np.nan)
    spoilt["v0"] = [[1]] * len(frame)
    one, other = design(RICH, frame), design(RICH, spoilt[spoilt.columns[::-1]])
    np.testing.assert_array_equal(other.X, one.X)
    assert (other.coefficients, other.messages) == (one.coefficients, one.messages)
    for block, same in zip(one.blocks, other.blocks, strict=True):
        np.testing.assert_array_equal(same.index, block.index)


@settings(max_examples=25, deadline=None)
@given(frames(), st.integers(0, 10**6))
def test_encoding_the_data_of_the_fit_gives_the_design_back(frame, seed):
    made = design(RICH, frame)
    chosen = np.random.default_rng(seed).permutation(len(frame))[:7]
    for rows in (np.arange(len(frame)), chosen):
        encoded = encode(made.spec, frame.iloc[rows])
        np.testing.assert_array_equal(encoded.X, made.X[rows])
        np.testing.assert_array_equal(encoded.offset, made.offset[rows])
        for block, again in zip(made.blocks, encoded.blocks, strict=True):
            np.testing.assert_array_equal(again.index, block.index[rows])
            np.testing.assert_array_equal(again.Z, block.Z[rows])
            assert list(again.labels) == [block.levels[k] for k in block.index[rows]]


@settings(max_examples=25, deadline=None)
@given(frames(), st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=8))
def test_renaming_levels_in_the_same_order_keeps_the_numbers(frame, prefix):
    renamed = frame.assign(f=prefix + frame["f"], g=prefix + frame["g"])
    one, other = design(RICH, frame), design(RICH, renamed)
    np.testing.assert_array_equal(other.X, one.X)
    for block, same in zip(one.blocks, other.blocks, strict=True):
        np.testing.assert_array_equal(same.index, block.index)


# ----------------------------------------------------------------------------------------------------------------------
# other data


COMPLETE = "other rows have to be complete, so leave these out or fill them in"


def fitted():
    return design("y ~ a*x + center(z) + (1 | b)", SIX)


def test_learned_constants_are_used_again():
    made = design("y ~ center(x) + scale(z) + poly(x, 2)", SIX)
    one = encode(made.spec, {"x": [1.0], "z": [1.0]})
    np.testing.assert_array_equal(one.X[0], made.X[0])
    np.testing.assert_allclose(
        encode(made.spec, {"x": [0.0], "z": [1.0]}).X[0, 1], -10.5, **EXACT
    )  # the mean of x is 63/6


def test_a_new_group_has_index_minus_one_and_keeps_its_label():
    encoded = encode(fitted().spec, SIX.assign(b=list("ppqqrs")))
    np.testing.assert_array_equal(encoded.blocks[0].index, [0, 0, 1, 1, 2, -1])
    assert list(encoded.blocks[0].labels) == list("ppqqrs")


def test_a_new_combination_of_known_levels_is_new():
    frame = pd.concat([SIX, SIX], ignore_index=True)
    made = design("y ~ x + (1 | a:b)", frame[(frame["a"] != "v") | (frame["b"] != "r")])
    (block,) = encode(made.spec, SIX).blocks
    np.testing.assert_array_equal(block.index, [0, 3, 1, 4, 2, -1])
    assert block.labels[5] == "v:r"
    for a, b in (("v", "new"), ("new", "p"), ("new", "new")):
        (block,) = encode(made.spec, SIX.assign(a=["u", *[a] * 5], b=["p", *[b] * 5])).blocks
        np.testing.assert_array_equal(block.index, [0, -1, -1, -1, -1, -1])


def test_groups_are_found_by_label_whatever_their_type():
    made = design("y ~ x + (1 | n)", SIX.assign(n=[10, 9, 9, 10, 2, 2]))
    for other in ([10.0, 9, 9, 10, 2, 2], ["10", "9", "9", "10", "2", "2"], pd.Categorical([10, 9, 9, 10, 2, 2])):
        np.testing.assert_array_equal(encode(made.spec, SIX.assign(n=other)).blocks[0].index, made.blocks[0].index)


def test_categories_are_matched_by_label_not_by_code():
    made = design("y ~ b", SIX.assign(b=pd.Categorical(SIX["b"], categories=["r", "q", "p"])))
    assert made.coefficients == ("Intercept", "b[T.q]", "b[T.p]")
    for categories in (["p", "q", "r"], ["q", "unused", "r", "p"]):
        again = encode(made.spec, SIX.assign(b=pd.Categorical(SIX["b"], categories=categories)))
        np.testing.assert_array_equal(again.X, made.X)


def test_groups_may_be_left_out_and_then_need_no_column():
    encoded = encode(fitted().spec, SIX[["a", "x", "z"]], groups=False)
    assert encoded.blocks == ()
    np.testing.assert_array_equal(encoded.X, fitted().X)


@pytest.mark.parametrize("empty", [SIX.iloc[:0], pd.DataFrame(columns=["a", "x", "z", "b"])])
def test_no_rows_give_arrays_without_rows(empty):
    encoded = encode(fitted().spec, empty)
    assert encoded.X.shape == (0, 5) and encoded.offset.shape == (0,)
    assert encoded.blocks[0].index.shape == (0,) and encoded.blocks[0].Z.shape == (0, 1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.drop(columns="z"), "column 'z', which the model needs, is not in the data (columns: y, a, b, x)"),
        (lambda d: d.drop(columns="b"), "column 'b', which the model needs, is not in the data (columns: y, a, x, z)"),
        (
            lambda d: d.assign(a=list("uvuvuw")),
            "factor 'a' has 1 level that the data of the fit do not have ('w'); allowed are 'u', 'v'",
        ),
        (
            lambda d: d.assign(x=d["x"].astype(str)),
            "'x' held numbers in the data of the fit and holds text now; expected the same kind",
        ),
        (
            lambda d: d.assign(a=1.5),
            "'a' had levels ('u', 'v') in the data of the fit and holds numbers now; expected the same kind",
        ),
        (
            lambda d: d.assign(x=[1, 2, 3, np.nan, 5, np.nan]),
            f"2 of 6 rows have missing values (x: 2): rows [3, 5]; {COMPLETE}",
        ),
        (lambda d: d.assign(b=[None, *"pqqrr"]), f"1 of 6 rows has missing values (b: 1): row [0]; {COMPLETE}"),
        (
            lambda d: d.assign(x=np.inf),
            "'x' is infinite in rows [0, 1, 2, 3, 4, ...] (6 in all); expected finite numbers",
        ),
    ],
)
def test_other_data_that_do_not_fit_are_refused(change, text):
    with pytest.raises(DataError) as caught:
        encode(fitted().spec, change(SIX))
    assert str(caught.value) == text
