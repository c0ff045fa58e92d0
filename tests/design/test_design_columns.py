"""The columns of the fixed part against R's."""

import numpy as np
import pandas as pd
import pytest
from design_data import EXACT, SIX, design
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesmm.design.coding import CONTRASTS, Levels, contrast_fields, contrast_matrix
from bayesmm.design.design import encode
from bayesmm.formula.formula import FUNCTIONS

# R prints ten digits; nothing is lost on the way but the last of them
PRINTED = {"rtol": 0, "atol": 1e-9}


# ----------------------------------------------------------------------------------------------------------------------
# X is R's


# model.matrix(~ ..., d), the columns of R 4.2.2 in R's names turned into formulaic's
@pytest.mark.parametrize(
    ("formula", "columns"),
    [
        ("a*b", "Intercept a[T.v] b[T.q] b[T.r] a[T.v]:b[T.q] a[T.v]:b[T.r]"),
        ("0 + a*x", "a[u] a[v] x a[T.v]:x"),
        ("0 + x + a", "x a[u] a[v]"),
        ("0 + b + a", "b[p] b[q] b[r] a[T.v]"),
        ("a:b", "Intercept a[u]:b[p] a[v]:b[p] a[u]:b[q] a[v]:b[q] a[u]:b[r] a[v]:b[r]"),
        ("0 + a:b", "a[u]:b[p] a[v]:b[p] a[u]:b[q] a[v]:b[q] a[u]:b[r] a[v]:b[r]"),
        ("x + x:b", "Intercept x x:b[T.q] x:b[T.r]"),
        ("0 + x + x:a", "x x:a[u] x:a[v]"),
        ("b*x - x", "Intercept b[T.q] b[T.r] b[p]:x b[q]:x b[r]:x"),
        ("a + a:b + z", "Intercept a[T.v] z a[u]:b[T.q] a[v]:b[T.q] a[u]:b[T.r] a[v]:b[T.r]"),
        ("(a+b+x)^2 - a:b", "Intercept a[T.v] b[T.q] b[T.r] x a[T.v]:x b[T.q]:x b[T.r]:x"),
        ("a/x", "Intercept a[T.v] a[u]:x a[v]:x"),
        ("a + b:x", "Intercept a[T.v] b[p]:x b[q]:x b[r]:x"),
        ("a:x + b", "Intercept b[T.q] b[T.r] a[u]:x a[v]:x"),
        ("0 + b:a:x", "b[p]:a[u]:x b[q]:a[u]:x b[r]:a[u]:x b[p]:a[v]:x b[q]:a[v]:x b[r]:a[v]:x"),
        ("x:z", "Intercept x:z"),
        ("1", "Intercept"),
    ],
)
def test_columns_and_their_order_are_those_of_r(formula, columns):
    made = design(f"y ~ {formula}", SIX)
    assert made.coefficients == tuple(columns.split())
    # every name spelt out: the product of an indicator or contrast per factor and the values per number
    for name, column in zip(made.coefficients, made.X.T, strict=True):
        np.testing.assert_allclose(column, spelt_out(name), **EXACT)


def spelt_out(name):
    """Return the column that a name of treatment coding means: ``a[T.v]:x`` is 1 in the rows of level v, times x."""
    column = np.ones(len(SIX))
    for piece in name.split(":") if name != "Intercept" else []:
        variable, _, level = piece.rstrip("]").replace("T.", "").partition("[")
        column = column * ((SIX[variable] == level) if level else SIX[variable]).to_numpy(dtype=float)
    return column


def test_an_interaction_with_its_main_effects_is_r_s_matrix():
    # model.matrix(~ a*b*x, d)
    expected = [
        [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 2, 0, 0, 2, 0, 0, 0, 0],
        [1, 0, 1, 0, 4, 0, 0, 0, 4, 0, 0, 0],
        [1, 1, 1, 0, 8, 1, 0, 8, 8, 0, 8, 0],
        [1, 0, 0, 1, 16, 0, 0, 0, 0, 16, 0, 0],
        [1, 1, 0, 1, 32, 0, 1, 32, 0, 32, 0, 32],
    ]
    np.testing.assert_allclose(design("y ~ a*b*x", SIX).X, expected, **EXACT)


# model.matrix(~ C(b, contr.sum)*x, d) and so on; b is p, p, q, q, r, r
@pytest.mark.parametrize(
    ("coding", "rows", "names"),
    [
        ("contr.sum", [[1, 0], [0, 1], [-1, -1]], ["S.p", "S.q"]),
        ("Sum", [[1, 0], [0, 1], [-1, -1]], ["S.p", "S.q"]),
        ("contr.helmert", [[-1, -1], [1, -1], [0, 2]], ["H.q", "H.r"]),
        ("Treatment('q')", [[1, 0], [0, 0], [0, 1]], ["T.p", "T.r"]),  # contr.treatment(3, base = 2)
        ("contr.treatment(2)", [[1, 0], [0, 0], [0, 1]], ["T.1", "T.3"]),
        ("contr.SAS", [[1, 0], [0, 1], [0, 0]], ["T.p", "T.q"]),
        ('Treatment("r")', [[1, 0], [0, 1], [0, 0]], ["T.p", "T.q"]),
        ("contr.poly", [[-0.7071067812, 0.4082482905], [0, -0.8164965809], [0.7071067812, 0.4082482905]], [".L", ".Q"]),
    ],
)
def test_contrasts_are_those_of_r(coding, rows, names):
    frame = SIX.assign(b=SIX["b"].map({"p": 1, "q": 2, "r": 3})) if names[0] == "T.1" else SIX
    made = design(f"y ~ C(b, {coding})", frame)
    np.testing.assert_allclose(made.X[:, 1:], np.repeat(np.array(rows, dtype=float), 2, axis=0), **PRINTED)
    assert [name.rpartition("[")[2] for name in made.coefficients[1:]] == [f"{name}]" for name in names]


def test_without_an_intercept_contrasts_give_way_to_indicators():
    # colnames(model.matrix(~ 0 + C(b, contr.sum), d)): three columns, 1 in the rows of each level
    made = design("y ~ 0 + C(b, contr.sum)", SIX)
    assert made.coefficients == ("C(b, contr.sum)[p]", "C(b, contr.sum)[q]", "C(b, contr.sum)[r]")
    np.testing.assert_allclose(made.X, np.repeat(np.eye(3), 2, axis=0), **EXACT)


def test_an_ordered_factor_is_coded_by_polynomials_as_in_r():
    # o <- factor(c("lo","mid","hi","lo","top","hi"), levels = c("lo","mid","hi","top"), ordered = TRUE)
    # model.matrix(~ o)
    order = pd.Categorical(["lo", "mid", "hi", "lo", "top", "hi"], categories=["lo", "mid", "hi", "top"], ordered=True)
    made = design("y ~ o", SIX.assign(o=order))
    lo, mid = [-0.6708203932, 0.5, -0.2236067977], [-0.2236067977, -0.5, 0.6708203932]
    hi, top = [0.2236067977, -0.5, -0.6708203932], [0.6708203932, 0.5, 0.2236067977]
    np.testing.assert_allclose(made.X[:, 1:], [lo, mid, hi, lo, top, hi], **PRINTED)
    assert made.coefficients[1:] == ("o[.L]", "o[.Q]", "o[.C]")
    # C(o) keeps R's default for an ordered factor; a named coding wins
    assert design("y ~ C(o)", SIX.assign(o=order)).coefficients[1] == "C(o)[.L]"
    assert design("y ~ C(o, Treatment)", SIX.assign(o=order)).coefficients[1] == "C(o, Treatment)[T.mid]"


def test_polynomials_of_a_number_and_their_interaction_are_r_s():
    # model.matrix(~ poly(x, 2)*a, d)
    made = design("y ~ poly(x, 2)*a", SIX)
    linear = [-0.35817193602, -0.32046962696, -0.24506500885, -0.09425577264, 0.20736269980, 0.81059964467]
    square = [0.389570735154, 0.253779502202, 0.009483278051, -0.369964203233, -0.692279297730, 0.409409985555]
    v = np.array([0, 1, 0, 1, 0, 1])
    expected = np.column_stack([np.ones(6), linear, square, v, v * linear, v * square])
    np.testing.assert_allclose(made.X, expected, **PRINTED)
    assert made.coefficients == (
        "Intercept",
        "poly(x, 2)[1]",
        "poly(x, 2)[2]",
        "a[T.v]",
        "poly(x, 2)[1]:a[T.v]",
        "poly(x, 2)[2]:a[T.v]",
    )
    np.testing.assert_allclose(design("y ~ poly(x, 2, raw = TRUE)", SIX).X[:, 2], SIX["x"] ** 2, **EXACT)


# library(splines); x <- c(1, 2.5, 3, 4.2, 5, 6.1, 7, 8.8, 9, 10); rows 2, 6 and 10, then predict(., c(0, 12))
TEN = np.array([1, 2.5, 3, 4.2, 5, 6.1, 7, 8.8, 9, 10])
SPLINES = {
    "bs(x, df = 5)": [
        [0.5827331543, 0.247802734, 0.019531250, 0.0000000000, 0.0000000],
        [0.0072321429, 0.357096675, 0.562851835, 0.0728193477, 0.0000000],
        [0.0000000000, 0.000000000, 0.000000000, 0.0000000000, 1.0000000],
        [-1.442192925, 0.186993634, -0.005787037, 0.000000000, 0.0000000],
        [0.000000000, -0.051085568, 0.973268155, -4.551812216, 4.6296296],
    ],
    "ns(x, df = 3)": [
        [-0.0984186885, 0.34598649, -0.228036548],
        [0.4436889565, 0.42236379, -0.230381564],
        [-0.1449033977, 0.42504997, 0.719853431],
        [0.08431791, -0.24733254, 0.16301463],
        [-0.87441706, 0.56495670, 1.30946036],
    ],
}


@pytest.mark.parametrize("call", SPLINES)
def test_splines_are_those_of_r_also_beyond_the_data(call):
    frame = pd.DataFrame({"x": TEN, "y": np.sin(TEN)})
    made = design(f"y ~ {call}", frame)
    beyond = encode(made.spec, {"x": [0.0, 12.0]})
    got = np.vstack([made.X[[1, 5, 9], 1:], beyond.X[:, 1:]])
    np.testing.assert_allclose(got, SPLINES[call], rtol=0, atol=1e-7)  # eight digits were printed
    assert made.coefficients[1] == f"{call}[1]"
    assert bool(beyond.messages) == call.startswith(
        "bs"
    )  # only bs leaves the range by polynomials, which is worth a word


def test_calculations_and_names_are_as_written():
    made = design("y ~ log(x) + I(x^2) + scale(z) + center(z) + I(x/10) + abs(z)", SIX)
    z = SIX["z"].to_numpy()
    sd = np.sqrt(((z - 1) ** 2).sum() / 5)  # R's scale divides by n - 1; the mean of z is 1
    x = SIX["x"].to_numpy()
    expected = np.column_stack([np.ones(6), np.log(x), x**2, (z - 1) / sd, z - 1, x / 10, abs(z)])
    np.testing.assert_allclose(made.X, expected, rtol=1e-15)  # the same operations; one unit in the last place
    assert made.coefficients == ("Intercept", "log(x)", "I(x^2)", "scale(z)", "center(z)", "I(x/10)", "abs(z)")


CALLS = {
    "poly": "poly(x, 2)",
    "bs": "bs(x, knots = c(3, 9), degree = 2, intercept = TRUE, Boundary.knots = c(0, 40))",
    "ns": "ns(x, knots = 3)",
    "C": "C(a)",
    "factor": "factor(z)",
}


@pytest.mark.parametrize("name", [name for name, s in FUNCTIONS.items() if s.gives in ("column", "columns", "factor")])
def test_every_function_that_the_parser_knows_is_evaluated(name):
    made = design(f"y ~ {CALLS.get(name, f'{name}(x)')}", SIX)
    assert made.p > 1 and np.isfinite(made.X).all()


def test_a_comparison_and_a_boolean_are_one_column_of_ones_and_zeros():
    made = design('y ~ I(a == "v") + w', SIX.assign(w=SIX["z"] > 0))
    assert made.coefficients == ("Intercept", 'I(a == "v")', "w")
    np.testing.assert_allclose(made.X[:, 1:], np.array([[0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 1]]).T, **EXACT)


@pytest.mark.parametrize("levels", [2, 3, 7, 40])
def test_polynomial_contrasts_stay_orthonormal(levels):
    C = contrast_matrix(Levels(tuple(map(str, range(levels))), "Poly"))
    np.testing.assert_allclose(C.T @ C, np.eye(levels - 1), atol=1e-13)  # 40 products of numbers below 1
    np.testing.assert_allclose(C.sum(axis=0), 0, atol=1e-13)
    assert (C[-1] > 0).all()


# formulaic follows the same rule wherever every margin of a term is in the formula
VARIABLES = ("a", "b", "k", "x", "z")


@st.composite
def hierarchical(draw):
    """Return the text of a formula that has, with every interaction, all the terms within it."""
    wanted = draw(st.sets(st.sampled_from(["a:b", "a:x", "b:x", "k:z", "x:z", "a:b:x", "a:k", "a:b:k"]), max_size=4))
    terms = {frozenset([v]) for v in draw(st.sets(st.sampled_from(VARIABLES), min_size=1))}
    for term in wanted:
        parts = term.split(":")
        for mask in range(1, 2 ** len(parts)):
            terms.add(frozenset(p for i, p in enumerate(parts) if mask >> i & 1))
    ordered = sorted(
        (sorted(term, key=VARIABLES.index) for term in terms), key=lambda t: (len(t), list(map(VARIABLES.index, t)))
    )
    return " + ".join([draw(st.sampled_from("10")), *map(":".join, ordered)])


@settings(max_examples=60, deadline=None)
@given(hierarchical())
def test_formulaic_gives_the_same_matrix_with_the_same_names(text):
    formulaic = pytest.importorskip("formulaic")
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"x": rng.normal(size=48), "z": rng.normal(size=48), "y": rng.normal(size=48)})
    frame = frame.assign(a=np.tile(list("uv"), 24), b=np.tile(list("ppqqrr"), 8), k=np.repeat(list("mn"), 24))
    expected = formulaic.model_matrix(text, frame)
    made = design(f"y ~ {text}", frame)
    assert made.coefficients == tuple(expected.columns)
    np.testing.assert_allclose(made.X, expected.to_numpy(dtype=float), rtol=1e-15)  # products in another order


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("Treatment", "TreatmentContrasts"),
        ("Sum", "SumContrasts"),
        ("Helmert", "HelmertContrasts"),
        ("Poly", "PolyContrasts"),
        ("Diff", "DiffContrasts"),
        ("SAS", "SASContrasts"),
    ],
)
def test_formulaic_has_the_same_contrasts_with_the_same_names(mine, theirs):
    contrasts = getattr(pytest.importorskip("formulaic.transforms.contrasts"), theirs)()
    labels = ("k", "l", "m", "n", "o")
    expected = contrasts.get_coding_matrix(list(labels))
    np.testing.assert_allclose(contrast_matrix(Levels(labels, mine)), expected.to_numpy(), atol=1e-13)
    pattern = contrasts.get_factor_format(list(labels), reduced_rank=True)
    names = tuple(pattern.format(name="f", field=field) for field in expected.columns)
    assert tuple(f"f[{field}]" for field in contrast_fields(Levels(labels, mine))) == names
    assert mine in CONTRASTS
