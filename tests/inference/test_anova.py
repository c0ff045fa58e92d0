"""Types I, II and III of the analysis of variance, against dense model comparison and contrasts that sum to 0."""

import numpy as np
import pandas as pd
import pytest
from test_degrees import direct_kenward_roger

import bayesmm as bmm

FORMULA = "y ~ a * b * x"
# What a person may know as C(f, ...): none of them changes a hypothesis.
CODINGS = ("{}", "C({}, Sum)", "C({}, Helmert)", "C({}, Treatment('q'))", "C({}, Diff)", "C({}, Poly)", "C({}, SAS)")


def unbalanced(n=90, seed=0, groups=12):
    """Return rows of two crossed factors with unequal cells, a covariate and groups."""
    rng = np.random.default_rng(seed)
    a, b = rng.choice(list("pqr"), n, p=[0.5, 0.3, 0.2]), rng.choice(list("pq"), n, p=[0.7, 0.3])
    x, g = rng.normal(3, 1, n), rng.integers(0, groups, n)
    y = (a == "q") + 0.5 * x * (b == "q") + rng.normal(0, 1, groups)[g] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "a": a, "b": b, "x": x, "g": [f"g{k}" for k in g]})


def sum_coded(data):
    """Return the columns of each term, in the coding whose contrasts sum to 0, written out by hand."""
    a = np.column_stack([(data["a"] == v) * 1.0 - (data["a"] == "r") for v in "pq"])
    b = np.column_stack([(data["b"] == "p") * 1.0 - (data["b"] == "q")])
    x = data[["x"]].to_numpy()
    both = np.column_stack([u * v for u in a.T for v in b.T])
    parts = {"a": a, "b": b, "x": x, "a:b": both, "a:x": a * x, "b:x": b * x, "a:b:x": both * x}
    return {"": np.ones((len(data), 1))} | parts


def contains(outer, inner):
    return set(inner.split(":")) < set(outer.split(":"))


def held_beside(term, terms, kind):
    """Return the terms that stay in the smaller model of a comparison, by the definition of the type."""
    if kind == "I":
        return terms[: terms.index(term)]
    return [other for other in terms if other != term and not (kind == "II" and contains(other, term))]


def rss(columns, y):
    X = np.column_stack(columns)
    return np.sum((y - X @ np.linalg.lstsq(X, y)[0]) ** 2)


@pytest.mark.parametrize("kind", ["I", "II", "III"])
def test_linear_models_against_the_comparison_of_two_models(kind):
    """Sums of squares are differences of residual ones; type III drops a term's columns in the sum-to-zero coding."""
    data = unbalanced()
    parts, table = sum_coded(data), bmm.anova(bmm.Model(FORMULA, data).maximize(), type=kind).table
    names, error = list(parts)[1:], rss([*parts.values()], data["y"])
    assert list(table.index) == [*names, "Residuals"]
    for term in names:
        smaller = [parts[name] for name in ["", *held_beside(term, names, kind)]]
        ss = rss(smaller, data["y"]) - rss([*smaller, parts[term]], data["y"])
        assert table.loc[term, "Sum Sq"] == pytest.approx(ss, rel=1e-8)  # rounding of either way
        F = ss / parts[term].shape[1] / (error / (len(data) - 12))
        assert table.loc[term, "F value"] == pytest.approx(F, rel=1e-8)


@pytest.mark.parametrize("kind", ["I", "II", "III"])
def test_mixed_models_against_generalised_least_squares(kind):
    """Wald tests are model comparisons by generalised least squares at the estimated covariance."""
    data = unbalanced()
    point = bmm.Model(FORMULA + " + (1 | g)", data).maximize()
    Z = pd.get_dummies(data["g"]).to_numpy(dtype=float)
    ratio = (point.parameters["sd_g[Intercept]"] / point.sigma) ** 2
    whitened = np.linalg.inv(np.linalg.cholesky(np.eye(len(data)) + ratio * Z @ Z.T))
    parts = {name: whitened @ columns for name, columns in sum_coded(data).items()}
    y, names, table = whitened @ data["y"], list(parts)[1:], bmm.anova(point, type=kind).table
    for term in names:
        smaller = [parts[name] for name in ["", *held_beside(term, names, kind)]]
        ss = rss(smaller, y) - rss([*smaller, parts[term]], y)
        F = ss / parts[term].shape[1] / point.sigma**2
        assert table.loc[term, "F value"] == pytest.approx(F, rel=1e-8)


def kenward_roger_of(point, L):
    """Return F and its denominator for L beta = 0 from the dense definitions: Kenward & Roger (1997), section 3."""
    Phi, adjusted, P, W = direct_kenward_roger(point)
    q = len(L)
    Theta = L.T @ np.linalg.solve(L @ Phi @ L.T, L)
    M = [Theta @ Phi @ Pi @ Phi for Pi in P]
    A1 = sum(W[i, j] * np.trace(M[i]) * np.trace(M[j]) for i in range(len(P)) for j in range(len(P)))
    A2 = sum(W[i, j] * np.trace(M[i] @ M[j]) for i in range(len(P)) for j in range(len(P)))
    B = (A1 + 6 * A2) / (2 * q)
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    d = 3 * q + 2 * (1 - g)
    c1, c2, c3 = g / d, (q - g) / d, (q + 2 - g) / d
    E = 1 / (1 - A2 / q)
    V = 2 / q * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
    m = 4 + (q + 2) / (q * V / (2 * E**2) - 1)
    beta = point.beta
    return m / (E * (m - 2)) * (L @ beta) @ np.linalg.solve(L @ adjusted @ L.T, L @ beta) / q, m


def test_kenward_roger_of_type_iii_from_dense_definitions():
    data = unbalanced()
    point = bmm.Model("y ~ a * b + (1 | g)", data).maximize()
    parts = {name: sum_coded(data)[name] for name in ("", "a", "b", "a:b")}
    to_sum = np.linalg.lstsq(np.column_stack(list(parts.values())), point.design.X)[0]
    table, at = bmm.anova(point, ddf="kenward-roger", type=3).table, 1
    for term in ("a", "b", "a:b"):
        L = to_sum[at : at + parts[term].shape[1]]
        at += len(L)
        F, df = kenward_roger_of(point, L)
        assert table.loc[term, "F value"] == pytest.approx(F, rel=1e-6)
        assert table.loc[term, "DenDF"] == pytest.approx(df, rel=1e-6)


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("bars", ["", " + (1 | g)"])
def test_no_hypothesis_depends_on_the_coding(kind, bars):
    data = unbalanced()
    tables = []
    for coding in CODINGS:
        a, b = coding.format("a"), coding.format("b")
        ddf = {"ddf": "satterthwaite"} if bars else {}
        point = bmm.Model(f"y ~ {a} * {b} * x{bars}", data).maximize()
        tables.append(bmm.anova(point, type=kind, **ddf).table.to_numpy())
    for table in tables[1:]:
        np.testing.assert_allclose(table, tables[0], rtol=1e-5)  # each finds REML's optimum on its own


def test_the_order_of_the_terms_matters_to_type_i_only():
    data = unbalanced()
    first, second = (bmm.Model(f"y ~ {terms} + (1 | g)", data).maximize() for terms in ("a + b", "b + a"))
    F = {kind: [bmm.anova(p, type=kind).table.loc["a", "F value"] for p in (first, second)] for kind in ("I", "II")}
    assert F["II"][0] == pytest.approx(F["II"][1], rel=1e-6) and abs(F["I"][0] / F["I"][1] - 1) > 0.01


def test_the_print_names_the_type_and_its_hypotheses():
    data = unbalanced()
    point = bmm.Model("y ~ a * b + (1 | g)", data).maximize()
    heads = {kind: " ".join(str(bmm.anova(point, type=kind)).split("Response")[0].split()) for kind in (1, "II", "3")}
    assert heads[1] == "Analysis of variance, Wald F tests of type I, each term after those before it"
    assert heads["II"].endswith("of type II, each term after all that do not contain it")
    assert heads["3"].endswith(
        "of type III, each term after all others, averaged over the levels of other factors with equal weights"
    )
    assert str(bmm.anova(point)) == str(bmm.anova(point, type="I"))


def test_an_empty_cell_leaves_no_hypothesis_of_type_iii():
    data = unbalanced()
    point = bmm.Model("y ~ a * b", data[(data["a"] != "r") | (data["b"] != "q")]).maximize()
    with pytest.raises(bmm.DataError, match=r"every combination of levels, and a\[T.r\]:b\[T.q\] cannot "):
        bmm.anova(point, type="III")
    parts = sum_coded(data)
    smaller = [parts[""], parts["a"]]  # type II of b: after a, whatever their interaction
    rows = ((data["a"] != "r") | (data["b"] != "q")).to_numpy()
    y = data["y"].to_numpy()[rows]
    ss = rss([part[rows] for part in smaller], y) - rss([part[rows] for part in [*smaller, parts["b"]]], y)
    assert bmm.anova(point, type="II").table.loc["b", "Sum Sq"] == pytest.approx(ss, rel=1e-8)


@pytest.mark.parametrize("formula", ["y ~ 1", "y ~ 1 + (1 | g)", "y ~ 0 + (1 | g)"])
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_without_terms_there_is_nothing_to_test(formula, kind):
    found = bmm.anova(bmm.Model(formula, unbalanced()).maximize(), type=kind)
    assert "there is nothing to test, because the fixed part has no term besides an intercept" in str(found)
    assert "nothing to test" in found._repr_html_()


@pytest.mark.parametrize("kind", ["IV", 4, "type 3", True, 2.5, ["II"]])
def test_unknown_types_are_refused(kind):
    point = bmm.Model("y ~ a", unbalanced()).maximize()
    with pytest.raises(ValueError, match="type must be one of 'I', 'II', 'III', 1, 2, 3, not"):
        bmm.anova(point, type=kind)


def test_a_type_is_for_one_fit():
    point = bmm.Model("y ~ a", unbalanced()).maximize()
    with pytest.raises(ValueError, match="type='II' is for the terms of one fit, and 2 were given"):
        bmm.anova(point, point, type="II")
