"""The blocks of a design, its offset, weights and kept frame, and its dependent columns."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from design_data import EXACT, SIX, design
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesmm.design import term_basis
from bayesmm.design.design import encode
from bayesmm.design.groups import safe_names
from bayesmm.families.families import FAMILIES


def sleep(n_subjects=4, n_days=5):
    """Return a small frame of repeated measurements."""
    days = np.tile(np.arange(n_days), n_subjects)
    subject = np.repeat([f"S{k}" for k in range(n_subjects)], n_days)
    return pd.DataFrame(
        {"Reaction": 250 + 10.0 * days + 3 * np.sin(np.arange(len(days))), "Days": days, "Subject": subject}
    )


# ----------------------------------------------------------------------------------------------------------------------
# blocks


def test_a_correlated_block_is_written_out_by_hand():
    frame = pd.DataFrame({"y": [1.0, 2, 4, 7, 3, 5], "x": [1.0, 2, 3, 4, 5, 7], "g": ["b", "a", "a", "b", "c", "c"]})
    (block,) = design("y ~ x + (x | g)", frame).blocks
    assert (block.group, block.name, block.factors) == ("g", "g", ("g",))
    assert block.levels == ("a", "b", "c") and block.columns == ("Intercept", "x")
    np.testing.assert_array_equal(block.index, [1, 0, 0, 1, 2, 2])
    np.testing.assert_array_equal(block.Z, [[1, 1], [1, 2], [1, 3], [1, 4], [1, 5], [1, 7]])
    assert block.partition == ((0, 1),) and block.correlated
    assert block.index.dtype == np.int64 and block.Z.flags.c_contiguous and block.Z.dtype == np.float64


@pytest.mark.parametrize(
    ("bars", "columns", "partition"),
    [
        ("(Days | Subject)", ("Intercept", "Days"), ((0, 1),)),
        ("(Days || Subject)", ("Intercept", "Days"), ((0,), (1,))),
        ("(1 | Subject) + (0 + Days | Subject)", ("Intercept", "Days"), ((0,), (1,))),
        ("(0 + Days | Subject) + (1 | Subject)", ("Days", "Intercept"), ((0,), (1,))),
        ("(0 + Days | Subject)", ("Days",), ((0,),)),
        ("(1 | Subject) + (0 + Days + I(Days^2) | Subject)", ("Intercept", "Days", "I(Days^2)"), ((0,), (1, 2))),
        ("(poly(Days, 2) || Subject)", ("Intercept", "poly(Days, 2)[1]", "poly(Days, 2)[2]"), ((0,), (1,), (2,))),
    ],
)
def test_bars_on_one_factor_are_one_block(bars, columns, partition):
    (block,) = design(f"Reaction ~ Days + {bars}", sleep()).blocks
    assert block.columns == columns and block.partition == partition
    assert block.correlated == any(len(part) > 1 for part in partition)


def test_nested_and_combined_factors_have_only_the_levels_that_occur():
    frame = pd.DataFrame({"y": [1.0, 2, 5, 3, 4, 6, 8, 7], "a": list("vvuuvvuu"), "b": [10, 9, 9, 9, 10, 9, 9, 11]})
    outer, inner = design("y ~ 1 + (1 | a/b)", frame).blocks
    assert (outer.group, inner.group, inner.factors) == ("a", "a:b", ("a", "b"))
    assert inner.levels == ("u:9", "u:11", "v:9", "v:10")  # numbers in numeric order, as text
    np.testing.assert_array_equal(inner.index, [3, 2, 0, 0, 3, 2, 0, 1])
    (alone,) = design("y ~ 1 + (1 | a:b)", frame).blocks
    np.testing.assert_array_equal(alone.index, inner.index)


def test_the_left_of_a_bar_is_coded_by_the_same_rule():
    frame = pd.concat([SIX] * 4, ignore_index=True).assign(g=np.repeat(list("klmn"), 6))
    coded = {
        left: design(f"y ~ 1 + ({left} | g)", frame).blocks[0].columns for left in ("b", "0 + b", "b:x", "0 + x + a")
    }
    assert coded == {
        "b": ("Intercept", "b[T.q]", "b[T.r]"),
        "0 + b": ("b[p]", "b[q]", "b[r]"),
        "b:x": ("Intercept", "b[p]:x", "b[q]:x", "b[r]:x"),
        "0 + x + a": ("x", "a[u]", "a[v]"),
    }


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([10, 9, 9, 10, 100, 100], ("9", "10", "100")),
        ([10.0, 9.0, 9.0, 10.0, 2.0, 2.0], ("2", "9", "10")),
        (["10", "9", "9", "10", "100", "100"], ("10", "100", "9")),
        ([True, False, False, True, True, True], ("False", "True")),
        (pd.Categorical(list("zxxzyy"), categories=["z", "unused", "y", "x"]), ("z", "y", "x")),
        (pd.to_datetime(["2020-02-01", "2020-01-01"] * 3), ("2020-01-01", "2020-02-01")),
        ([2**60 + 1, 2**60, 2**60, 2**60 + 1, 5, 5], ("5", str(2**60), str(2**60 + 1))),  # a float would merge the two
    ],
)
def test_the_order_and_the_labels_of_levels(values, levels):
    made = design("y ~ 1 + (1 | g)", SIX.assign(g=values))
    assert made.blocks[0].levels == levels
    assert np.bincount(made.blocks[0].index).min() > 0  # none without a row


def test_block_names_collide_with_nothing():
    assert safe_names(["Subject", "Sex:IndID", "batch"], FAMILIES["poisson"]) == ("Subject", "Sex:IndID", "batch")
    reserved = ["chain", "draw", "coef", "obs", "sigma", "beta", "y", "nu", "shape", "phi", "sample", "Residual"]
    assert safe_names(reserved, FAMILIES["poisson"]) == tuple(f"{name}_" for name in reserved)
    assert safe_names(["a/b", "a_b"], FAMILIES["poisson"]) == ("a_b", "a_b_")
    assert safe_names(["g", "g_term", "sd_g", "g_term_bis"], FAMILIES["poisson"]) == (
        "g",
        "g_term_",
        "sd_g_",
        "g_term_bis_",
    )
    assert safe_names([" x ", "a\nb", "..", "/"], FAMILIES["poisson"]) == ("x", "a_b", "_", "__")


def test_coords_hold_the_labels_of_every_dimension():
    made = design("Reaction ~ Days + (Days | Subject)", sleep())
    assert made.coords == {
        "coef": ("Intercept", "Days"),
        "Subject": ("S0", "S1", "S2", "S3"),
        "Subject_term": ("Intercept", "Days"),
        "Subject_term_bis": ("Intercept", "Days"),
    }


# ----------------------------------------------------------------------------------------------------------------------
# the rest of a design


def test_the_intercept_is_taken_out_of_what_contains_it():
    made = design("Reaction ~ Days + (1 | Subject)", sleep())
    np.testing.assert_allclose(made.spec.bases.fixed.R, [[1, 2], [0, 1]], **EXACT)  # days 0 to 4
    assert (made.n, made.p, made.has_intercept, made.response) == (20, 2, True, "Reaction")
    without = design("Reaction ~ 0 + Days + (1 | Subject)", sleep())
    np.testing.assert_allclose(without.spec.bases.fixed.R, [[1]], **EXACT)
    assert not without.has_intercept


def test_every_term_of_a_wide_formula_is_read_once_for_its_margins(monkeypatch):
    """Read for every pair of terms, 500 columns took longer to be compared than to be fitted."""
    seen, key = [], term_basis.key_of
    monkeypatch.setattr(term_basis, "key_of", lambda term: seen.append(term) or key(term))
    data = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 20))).rename(columns="x{}".format)
    made = design("y ~ " + " + ".join(data) + " + (1 | g)", data.assign(y=range(60), g=list("abc") * 20))
    assert len(seen) == 21 + 1  # X, and the intercept of the groups
    assert (made.spec.bases.fixed.R[1:, 1:] == np.eye(20)).all()


def test_no_fixed_column_is_a_matrix_without_columns():
    made = design("Reaction ~ 0 + (1 | Subject)", sleep())
    assert made.X.shape == (20, 0) and made.coefficients == () and made.aliased == ()
    assert encode(made.spec, sleep()).X.shape == (20, 0)


def test_offsets_add_up():
    made = design("y ~ a + offset(x) + offset(log(x))", SIX)
    np.testing.assert_allclose(made.offset, SIX["x"] + np.log(SIX["x"]), rtol=1e-15)
    np.testing.assert_allclose(design("y ~ a", SIX).offset, np.zeros(6), **EXACT)
    np.testing.assert_allclose(encode(made.spec, SIX.iloc[::-1]).offset, made.offset[::-1], **EXACT)


def test_a_response_may_be_calculated():
    made = design("log(y) ~ a", SIX)
    np.testing.assert_allclose(made.y, np.log(SIX["y"]), rtol=1e-15)
    assert made.response == "log(y)" and made.y.dtype == np.float64


def test_weights_from_the_formula_a_column_or_an_array_are_the_same():
    frame = SIX.assign(w=[1, 2, 3, 4, 5, 6])
    expected = np.arange(1.0, 7)
    for made in (
        design("y | weights(w) ~ x", frame),
        design("y ~ x", frame, weights="w"),
        design("y ~ x", frame, weights=frame["w"]),
        design("y ~ x", frame, weights=[1, 2, 3, 4, 5, 6]),
    ):
        np.testing.assert_allclose(made.weights, expected, **EXACT)
    assert design("y ~ x", frame).weights is None
    np.testing.assert_allclose(design("y | weights(w/2) ~ x", frame).weights, expected / 2, **EXACT)


def test_weights_follow_the_rows_that_are_left():
    frame = SIX.assign(w=[1, 2, 0, 4, 5, 6], x=[np.nan, 2, 4, 8, 16, 32])
    made = design("y ~ x", frame, weights="w")
    np.testing.assert_allclose(made.weights, [2, 4, 5, 6], **EXACT)
    np.testing.assert_array_equal(made.rows, [1, 3, 4, 5])
    np.testing.assert_allclose(made.y, SIX["y"].to_numpy()[[1, 3, 4, 5]], **EXACT)


def test_a_design_can_be_pickled_and_copied():
    made = design("y ~ a*poly(x, 2) + C(b, Sum) + (x | b)", SIX)
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        np.testing.assert_array_equal(encode(other.spec, SIX).X, made.X)
        assert other.blocks[0].levels == made.blocks[0].levels and other.formula == made.formula


def test_a_user_function_is_called_with_the_data_and_constants():
    def share(x, of=1.0, labels=None):
        return x / of + (labels == "v")

    transforms = {"share": share}
    made = design("y ~ share(x, of = 4, labels = a)", SIX, transforms)
    expected = SIX["x"] / 4 + [0, 1, 0, 1, 0, 1]
    np.testing.assert_allclose(made.X[:, 1], expected, **EXACT)
    np.testing.assert_allclose(encode(made.spec, SIX.iloc[:2]).X[:, 1], expected[:2], **EXACT)


def test_a_user_function_can_not_change_the_data():
    def spoil(x):
        x[:] = 0.0
        return np.arange(len(x))

    made = design("y ~ spoil(x) + x", SIX, {"spoil": spoil})
    np.testing.assert_allclose(made.X[:, 2], SIX["x"], **EXACT)


def test_the_caller_may_change_the_frame_afterwards():
    frame = SIX.copy()
    made = design("y ~ x + (1 | a)", frame)
    before = made.X.copy(), made.y.copy(), made.frame.copy()
    frame.loc[:, "x"] = -1.0
    frame.loc[:, "y"] = -1.0
    np.testing.assert_array_equal(made.X, before[0])
    np.testing.assert_array_equal(made.y, before[1])
    pd.testing.assert_frame_equal(made.frame, before[2])


def test_an_array_of_the_caller_is_copied_too():
    data = {"y": SIX["y"].to_numpy().copy(), "x": SIX["x"].to_numpy().copy()}
    made = design("y ~ x", data)
    data["y"][:] = 0.0
    data["x"][:] = 0.0
    np.testing.assert_allclose(made.y, SIX["y"], **EXACT)
    np.testing.assert_allclose(made.X[:, 1], SIX["x"], **EXACT)
    np.testing.assert_allclose(made.frame["x"], SIX["x"], **EXACT)


def test_the_kept_frame_has_the_used_columns_and_rows_and_their_labels():
    frame = SIX.assign(unused=1).set_index(pd.Index(list("ABCDEF")))
    frame.loc["C", "x"] = np.nan
    made = design("y ~ x + (1 | a)", frame)
    assert list(made.frame.columns) == ["y", "x", "a"]
    assert list(made.frame.index) == list("ABDEF") == list(made.row_labels)
    np.testing.assert_array_equal(made.rows, [0, 1, 3, 4, 5])


@pytest.mark.parametrize("formula", ["y ~ a*x + poly(z, 2) + (x | b)", "y ~ o + w + C(n) + (1 | when)"])
def test_the_kept_frame_makes_the_same_design_again(formula):
    frame = SIX.assign(
        o=pd.Categorical(list("lmhlmh"), categories=list("lmh"), ordered=True),
        w=SIX["z"] > 0,
        n=[10, 9, 9, 10, 2, 2],
        when=pd.to_datetime(["2020-02-01", "2020-01-01"] * 3),
    )
    made = design(formula, frame)
    again = design(formula, made.frame)
    np.testing.assert_array_equal(again.X, made.X)
    assert again.coefficients == made.coefficients and again.blocks[0].levels == made.blocks[0].levels
    encoded = encode(made.spec, made.frame)
    np.testing.assert_array_equal(encoded.X, made.X)
    np.testing.assert_array_equal(encoded.blocks[0].index, made.blocks[0].index)


# ----------------------------------------------------------------------------------------------------------------------
# dependent columns


@pytest.mark.parametrize(
    ("formula", "aliased"),
    [
        ("x + z", ()),
        ("x + I(2*x) + z", (2,)),
        ("I(2*x) + x + z", (2,)),
        ("x + z + I(x + z)", (3,)),
        ("x + z + I(x - 3*z + 1) + a + I(x*2)", (3, 5)),
        ("a:b", (6,)),
        ("0 + a + b", ()),
        ("0 + x + x:a", (2,)),
        ("I(z/3) + I(z/3 + 1e10)", (2,)),  # equal but for the rounding beside 1e10
        ("I(x + 1e9)", ()),  # far from zero is not constant: lme4's own check would drop this one
    ],
)
def test_the_dependent_columns_are_those_behind_what_they_depend_on(formula, aliased):
    made = design(f"y ~ {formula}", SIX)
    assert made.aliased == aliased
    assert made.X.shape[1] == len(made.coefficients)  # nothing is left out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_the_rank_is_that_of_the_singular_values(seed, intercept):
    rng = np.random.default_rng(seed)
    base = rng.integers(-3, 4, size=(30, 4)).astype(float)
    columns = {f"v{k}": base @ rng.integers(-2, 3, size=4) for k in range(5)}
    frame = pd.DataFrame({"y": rng.normal(size=30), **columns})
    varying = [name for name in columns if frame[name].nunique() > 1]
    if varying:
        made = design(f"y ~ {int(intercept)} + {' + '.join(varying)}", frame)
        assert made.p - len(made.aliased) == np.linalg.matrix_rank(made.X)
