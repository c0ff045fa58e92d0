"""Structures of the residuals from sums: known standard errors, sigma by factors, AR(1), compound symmetry."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError
from tests.lazy_frames import engines, lazy, messy

# What the rows of one series have to do with one another is in products of neighbours, of all engines but Dask, which
# has no windows in an order.
FORMULAS = {
    "se": ("y | se(sei) ~ x + f + (1 + x | g)", None),
    "strata": (("y ~ x*f + (1 | g) + (1 | s)", "sigma ~ f"), None),
    "strata and weights": (("y ~ x + f + (1 | g)", "sigma ~ 0 + h + yes"), "w"),
    "ar": ("y ~ x + ar(t, g) + (1 | g) + (1 | site)", None),
    "ar and weights": ("y ~ x + f + ar(t, part) + (1 + x | g)", "w"),
    "cosy": ("y ~ x + cosy(part) + (1 | g)", "w"),
    "se and sigma": ("y | se(se5, sigma = TRUE) ~ x + (1 | g)", None),
}


@pytest.fixture(scope="module")
def table():
    """Return series with gaps of one and three steps within the groups, in no order."""
    rng, data = np.random.default_rng(3), messy(500)
    data = data.sort_values("g").reset_index(drop=True)
    data["t"] = data.groupby("g").cumcount()
    data["part"], data["site"] = data.g * 100 + data.t // 5, data.g % 7
    data["t"] += 2 * (data.t > 6)
    e = rng.normal(size=len(data))
    for i in range(1, len(data)):
        e[i] += 0.6 * e[i - 1] * (data.g[i] == data.g[i - 1])
    data["y"] = 0.3 * data.x + rng.normal(size=41)[data.g] + e * np.where(data.f == "a", 1, 2)
    data["sei"] = rng.uniform(0.5, 1.5, len(data))
    data["se5"] = 0.2 * rng.integers(1, 6, len(data))
    return data.sample(frac=1, random_state=1).reset_index(drop=True)


def close(found, expected):
    """Return whether numbers agree to 1e-8 of the largest of their column."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    return np.allclose(found, expected, rtol=0, atol=1e-8 * np.nanmax(np.abs(expected)), equal_nan=True)


def cases() -> list:
    """Return every structure on every engine; all but one engine and one structure are slow."""
    return [
        pytest.param(kind, *own.values, marks=[*own.marks, *([] if quick else [pytest.mark.slow])])
        for own in engines()
        for kind in FORMULAS
        for quick in [own.values == ("polars",) or kind == "ar"]
    ]


@pytest.mark.parametrize(("kind", "engine"), cases())
def test_estimates_are_those_of_the_table(kind, engine, table):
    (formula, weights), method = FORMULAS[kind], "ML" if kind == "cosy" else "REML"
    if engine == "dask" and kind.startswith("ar"):
        with pytest.raises(DataError, match=r"Dask could not find the rows before others, which ar\(t, g"):
            bmm.Model(FORMULAS["ar"][0], lazy(engine, table))
        return
    whole = bmm.Model(formula, table, weights=weights).maximize(method)
    own = bmm.Model(formula, lazy(engine, table), weights=weights).maximize(method)
    assert own.criterion == pytest.approx(whole.criterion, rel=1e-10)
    assert close(own.fixef().estimate, whole.fixef().estimate) and close(own.fixef().se, whole.fixef().se)
    assert close(own.varcorr().sdcor, whole.varcorr().sdcor)
    assert close(own.ranef().condval, whole.ranef().condval) and close(own.ranef().condsd, whole.ranef().condsd)
    for name, values in whole.residual.items():
        assert close(own.residual[name], values)
    assert close(own.icc().table.iloc[:, 0], whole.icc().table.iloc[:, 0])
    shares = ["r2_marginal", "r2_conditional"]
    assert close(own.r2().table.loc[shares].iloc[:, 0], whole.r2().table.loc[shares].iloc[:, 0])
    assert own.npar == whole.npar and own.singular == whole.singular
    assert str(own).count("sums by") == 1


@pytest.mark.parametrize("kind", ["se", "strata", "ar"])
def test_predictions_of_rows_and_their_standard_errors(kind, table, tmp_path):
    formula, weights = FORMULAS[kind]
    whole = bmm.Model(formula, table, weights=weights).maximize()
    own = bmm.Model(formula, lazy("polars", table), weights=weights).maximize()
    new = table.dropna().head(9)
    expected = whole.predict(new, se=True)
    assert close(own.predict(new, se=True), expected)
    own.predict_to(tmp_path / "all.csv", columns=["sei"])
    found = pd.read_csv(tmp_path / "all.csv").sort_values("sei").residual
    assert close(found, whole.residuals[np.argsort(table.sei[whole.design.row_labels])])


def test_known_standard_errors_are_sampled_and_saved(table, tmp_path):
    formula, _ = FORMULAS["se"]
    fits = [
        bmm.Model(formula, data).sample(draws=100, chains=2, seed=1, sampler="importance", progress=False)
        for data in (table, lazy("polars", table))
    ]
    posteriors = [fit.tree["posterior"].to_dataset() for fit in fits]
    for name in posteriors[0].data_vars:
        assert close(posteriors[1][name], posteriors[0][name]), name
    fits[1].save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert again.model.maximize().criterion == fits[1].model.maximize().criterion
    assert str(again) == str(fits[1]) and again.model.equation() == fits[0].model.equation()


@pytest.mark.parametrize("kind", ["strata", "ar and weights", "cosy", "se and sigma"])
def test_what_needs_rows_says_so(kind, table):
    formula, weights = FORMULAS[kind]
    model = bmm.Model(formula, lazy("polars", table), weights=weights)
    with pytest.raises(DataError, match="effects='explicit' needs the rows") as caught:
        model.sample(draws=10, effects="explicit", progress=False)
    assert "\n" not in str(caught.value)
    own = bmm.Model(formula, lazy("polars", table), weights=weights, priors={"sigma": lambda name: None})
    with pytest.raises(DataError, match=r"residuals of .* needs the rows where a prior is a function") as caught:
        own.sample(draws=10, progress=False)
    assert "\n" not in str(caught.value)
    assert model.equation() == bmm.Model(formula, table, weights=weights).equation()
    for use in (lambda point: point.residuals, lambda point: point.simulate(seed=1), lambda point: point.bootstrap(2)):
        with pytest.raises(DataError, match="gave sums alone"):
            use(model.maximize())


@pytest.mark.parametrize(
    ("formula", "change", "said"),
    [
        ("y | se(sei) ~ x + (1 | g)", {"sei": 0.0}, r"se\(sei\): 1 standard error of 498 not above 0"),
        ("y | se(sei, sigma = TRUE) ~ x + (1 | g)", {}, r"498 kinds of rows or series.* expected at most 60"),
        ("y ~ x + car(t, g) + (1 | g)", {}, r"car\(t, g\) needs the rows"),
        ("y ~ x + ar(t, g) + (1 | s)", {}, "some series lie in several levels of 's'"),
        ("y ~ x + ar(t, site) + (1 | site)", {}, "a time stands twice in a series"),
        ("y ~ x + ar(z, g) + (1 | g)", {}, "the times are not whole numbers"),
        ("y ~ x + cosy(sei_text) + (1 | g)", {}, "some series lie in several levels|every series has one row"),
        (("y ~ x + (1 | g)", "sigma ~ x"), {}, "sigma ~ x with numbers needs the rows"),
        (("y ~ x + (1 | g)", "sigma ~ factor(part)"), {}, "strata, each with sums of its own; expected at most"),
        (("y ~ x + ar(t, g) + (1 | g)", "sigma ~ f"), {}, "beside sigma ~ f needs the rows"),
    ],
)
def test_what_sums_do_not_know_is_one_sentence(formula, change, said, table):
    data = table.assign(sei_text=table.sei.astype(str))
    for name, value in change.items():
        data.loc[data.dropna().index[-1], name] = value
    with pytest.raises(DataError, match=said) as caught:
        bmm.Model(formula, lazy("polars", data))
    assert "\n" not in str(caught.value)


def test_parts_with_a_structure_are_not_added(table):
    with pytest.raises(DataError, match="has sums of its own, which are not added"):
        bmm.accumulate(("y ~ x + (1 | g)", "sigma ~ f"), lazy("polars", table))
