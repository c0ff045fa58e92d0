"""What a new user may give the newest families by mistake: each is one clear sentence, and none is silent."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError, PriorError

N = 60
RNG = np.random.default_rng(0)
ROWS = {"x": RNG.normal(size=N), "g": [f"g{i % 6}" for i in range(N)], "z": RNG.choice(["a", "b"], N)}


def zeros(values):
    return np.where(RNG.random(N) < 0.2, 0, values)


RESPONSES = {
    "ordered_beta": np.clip(RNG.normal(0.5, 0.4, N), 0, 1),
    "zero_one_inflated_beta": np.clip(RNG.normal(0.5, 0.4, N), 0, 1),
    "asymmetric_laplace": RNG.normal(size=N),
    "sratio": RNG.integers(1, 5, N),
    "acat": RNG.integers(1, 5, N),
    "categorical": RNG.choice(["u", "v", "w"], N),
    "compois": RNG.poisson(3, N),
    "von_mises": RNG.uniform(-3, 3, N),
    "shifted_lognormal": 0.3 + RNG.lognormal(size=N),
    "zero_inflated_beta": zeros(RNG.beta(2, 3, N)),
    "hurdle_gamma": zeros(RNG.gamma(2, 1, N)),
    "hurdle_lognormal": zeros(RNG.lognormal(size=N)),
    "loglogistic": RNG.lognormal(size=N),
}
OWN = {
    "ordered_beta": "phi", "zero_one_inflated_beta": "phi", "asymmetric_laplace": "sigma", "sratio": "disc",
    "acat": "disc", "compois": "shape", "von_mises": "kappa", "shifted_lognormal": "ndt", "zero_inflated_beta": "zi",
    "hurdle_gamma": "hu", "hurdle_lognormal": "hu", "loglogistic": "shape",
}  # fmt: skip
CATEGORIES = ("sratio", "acat", "categorical")


def model(family, y=None, formula="y ~ x", *args, **more):
    y = RESPONSES[family] if y is None else y
    return bmm.Model(
        formula, pd.DataFrame({**{k: v[: len(y)] for k, v in ROWS.items()}, "y": y}), family, *args, **more
    )


def with_one(value, others):
    return np.where(np.arange(N) == 3, value, others)


RESPONSES_THAT_ARE_NONE = {
    "dates": (pd.date_range("2020-01-01", periods=N), "holds dates"),
    "durations": (pd.to_timedelta(np.arange(N), unit="s"), "holds durations"),
    "complex": (np.arange(N) + 1j, "holds complex numbers"),
    "lists": ([[1, 2]] * N, "holds objects: list"),
    "mixed": ([1, "a"] * (N // 2), "mixes types"),
    "infinite": (with_one(np.inf, 1.0), "infinite in row"),
    "missing": (np.full(N, np.nan), "no value in any of the 60 rows"),
    "equal": (np.full(N, 1.0), r"is constant \(1\)|has one category|every row|is 1 in rows"),
    "one row": (np.array([0.5]), "1 row can be used|has one category"),
    "no rows": (np.array([], dtype=float), "no rows"),
}


@pytest.mark.parametrize("family", RESPONSES)
@pytest.mark.parametrize("kind", RESPONSES_THAT_ARE_NONE)
def test_responses_that_are_none(family, kind):
    y, said = RESPONSES_THAT_ARE_NONE[kind]
    if kind == "equal" and family == "compois":
        assert "is 1 in every row, so the data show no dispersion" in model(family, y).design.messages[0].text
        return
    if kind in ("dates", "durations") and family in CATEGORIES:
        said = "order is not known|holds d|at most 100|no whole|is not|categor"
    with pytest.raises(DataError, match=said):
        model(family, y)


@pytest.mark.parametrize("family", RESPONSES)
def test_true_and_false_is_another_family(family):
    y = RNG.random(N) < 0.5
    try:
        said = [message.text for message in model(family, y).design.messages]
    except DataError as error:
        said = [str(error)]
    assert len(said) == 1 and any(
        word in said[0] for word in ("true/false", "bernoulli", "0 or 1", "0 or less", "ones", "vary")
    )


@pytest.mark.parametrize("family", RESPONSES)
def test_what_else_may_be_asked_wrongly(family):
    """Links, priors, formulas, weights, limits and methods that the family has not."""
    d, wrong = pd.DataFrame({**ROWS, "y": RESPONSES[family]}), bmm.Prior("Normal", mu=0, sigma=1)
    cases = [
        (lambda: model(family, link="cauchit"), DataError, "'cauchit' is not one of"),
        (lambda: model(family, link=3), DataError, "link 3 is not one of"),
        (lambda: model(family, None, "y ~ x", {"omega": wrong}), PriorError, "no parameter 'omega'"),
        (lambda: model(family, None, "y ~ x", {"beta[x]": "normal(0, 1)"}), PriorError, "should be a Prior"),
        (lambda: model(family, None, ("y ~ x", "omega ~ x")), FormulaError, "further formula is of a parameter"),
        (lambda: model(family, None, "y | trials(10) ~ x"), DataError, "trials belong to"),
        (lambda: model(family, None, "y | cens(z) ~ x"), DataError, "cens|censoring"),
        (lambda: model(family, None, "y | trunc(lb = 5) ~ x"), DataError, "trunc"),
        (lambda: model(family, weights=np.full(N, -1.0)), DataError, "weights are negative"),
        (lambda: model(family, weights=np.zeros(N)), DataError, "0 rows of 60"),
        (lambda: model(family, None, "mvbind(y, x) ~ z"), (DataError, FormulaError), r"mvbind\(\)"),
        (lambda: model(family, None, "y ~ x + offset(log(0 * x))"), DataError, "offset"),
        (lambda: model(family, None, "y ~ x + (1 | g)").maximize("REML"), (DataError, ValueError), "REML|corner"),
        (lambda: model(family, None, "y ~ x + (1 | g)").maximize(nagq=0), (DataError, ValueError), "nagq|corner"),
        (lambda: bmm.Model("y ~ w", d, family), FormulaError, "'w' is not in the data"),
    ]  # fmt: skip
    if family in OWN:
        own = OWN[family]
        cases += [
            (lambda: model(family, None, ("y ~ x", f"{own} ~ y")), FormulaError, "also stands on the right side"),
            (lambda: model(family, None, ("y ~ x", f"{own} ~ nothere")), FormulaError, "'nothere' is not in the data"),
            (lambda: model(family, None, ("y ~ x", f"{own} ~ 0")), DataError, "leave|names no column"),
        ]
    if family in OWN and family not in CATEGORIES:
        cases += [(lambda: model(family, None, "y ~ x", {OWN[family]: -3.0}), PriorError, "its values are|is above 0")]
    for ask, kind, said in cases:
        with pytest.raises(kind, match=said):
            ask()


def test_counts_without_dispersion_and_quantiles_of_two_values():
    """Both were silent: equal counts had a shape that grew without end, and standard errors of 1e-5."""
    (equal,) = model("compois", np.full(N, 4)).design.messages
    assert "'y' is 4 in every row, so the data show no dispersion and the estimates rest on the priors" in equal.text
    (two,) = model("asymmetric_laplace", np.arange(N) % 2.0).design.messages
    assert "only two values (0 and 1), of which each quantile is one" in two.text


@pytest.mark.parametrize("family", RESPONSES)
def test_six_rows_have_an_answer(family):
    """A maximum, or a sentence that says why there is none; no exception of a library below."""
    y = {"sratio": [1, 2, 3, 1, 2, 3], "acat": [1, 2, 3, 2, 1, 3]}.get(family, RESPONSES[family][:6])
    table = pd.DataFrame({"y": y, "x": ROWS["x"][:6], "g": ["a", "a", "b", "b", "c", "c"]})
    try:
        point = bmm.Model("y ~ x + (1 | g)", table, family).maximize()
    except DataError as error:
        assert str(error)
        return
    assert point.converged or point.message.startswith("NOT converged")
