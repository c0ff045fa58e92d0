"""The same model of other data, and with other priors."""

import time

import numpy as np
import pandas as pd
import pytest
from references import frame

import bayesmm as bmm

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(7)
    n = 120
    made = pd.DataFrame({
        "g": np.repeat([f"g{k:02d}" for k in range(12)], 10),
        "f": np.repeat(["a", "b", "c"], 40),
        "x": rng.normal(3, 2, n),
        "w": rng.uniform(1, 2, n),
        "n": rng.integers(3, 9, n),
    })  # fmt: skip
    made["y"] = made["x"] + rng.normal(size=n)
    made["k"] = rng.binomial(made["n"], 0.4)
    made["answer"] = np.where(rng.random(n) < 0.5, "yes", "no")
    return made


@pytest.mark.parametrize("term", ["x", "scale(x)", "center(x)", "poly(x, 2)", "ns(x, df = 3)", "bs(x, df = 4)", "f"])
@pytest.mark.parametrize("bar", ["(1 | g)", "(1 + scale(x) | g)"])
def test_other_data_are_encoded_as_the_first_were(data, term, bar):
    """Rows of the first data have the rows of the first X and Z, also where their own means and levels are others."""
    model = bmm.Model(f"y ~ {term} + {bar}", data)
    kept = np.flatnonzero((data["f"] != "b") & (data["x"] > 2))
    other = model.with_data(data.iloc[kept])
    assert other.design.coefficients == model.design.coefficients
    np.testing.assert_array_equal(other.design.X, model.design.X[kept])
    np.testing.assert_array_equal(other.design.blocks[0].Z, model.design.blocks[0].Z[kept])
    np.testing.assert_array_equal(other.design.y, model.design.y[kept])


def test_only_the_levels_of_the_groups_are_new(data):
    model = bmm.Model("y ~ f + x + (1 | g)", data)
    other = model.with_data(data[data["g"] != "g05"].assign(g=lambda d: d["g"].str.upper()))
    assert other.design.blocks[0].levels == tuple(f"G{k:02d}" for k in range(12) if k != 5)
    assert len(model.design.blocks[0].levels) == 12 and model.design.n == 120, "the first model is what it was"


def test_the_priors_stay_to_the_digit(data):
    model = bmm.Model("y ~ x + (x | g)", data, priors={"sigma": bmm.Prior("Exponential", lam=1)})
    fewer = data.iloc[:60].assign(y=lambda d: 10 * d["y"])
    assert dict(model.with_data(fewer).priors) == dict(model.priors)
    assert bmm.Model("y ~ x + (x | g)", fewer).priors["beta[x]"] != model.priors["beta[x]"], "its own would be others"


def test_the_centred_intercept_stays_where_it_was(data):
    """Its prior is at the means of the first data: as if x were centred there by hand and the prior at x = 0."""
    prior, fewer = bmm.Prior("Normal", mu=-3, sigma=0.05), data[data["x"] > 2]
    model = bmm.Model("y ~ x + (1 | g)", data, priors={"Intercept_centred": prior})
    found = model.with_data(fewer).maximize("MAP")
    given = {name: p for name, p in model.priors.items() if name != "Intercept_centred"} | {"Intercept": prior}
    by_hand = fewer.assign(x=fewer["x"] - data["x"].mean())
    expected = bmm.Model("y ~ x + (1 | g)", by_hand, priors=given).maximize("MAP")
    assert found.criterion == pytest.approx(expected.criterion, rel=1e-9)
    assert found.beta[1] == pytest.approx(expected.beta[1], rel=1e-5)
    own = bmm.Model("y ~ x + (1 | g)", fewer, priors=dict(model.priors)).maximize("MAP")
    assert abs(own.beta[1] - found.beta[1]) > 0.01, "with the means of the new data the answer is another"


def test_a_predictor_may_be_constant_in_the_new_data(data):
    model = bmm.Model("y ~ f + x + (1 + x | g)", data)
    other = model.with_data(data[data["f"] == "a"].assign(x=1.5))
    assert other.design.aliased == (1, 2, 3)
    assert "3 of the 4 columns of the fixed part are combinations" in other.design.messages[0].text
    fit = other.sample(draws=50, tune=50, seed=1, progress=False)
    assert np.isfinite(fit.fixef()["mean"]).all(), "the priors say what the data cannot"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda d: d.assign(f="z"), bmm.DataError, "'f' has 1 level that the data of the fit do not have"),
        (lambda d: d.assign(f=1.0), bmm.DataError, "'f' had levels .* holds numbers now"),
        (lambda d: d.assign(x="a"), bmm.DataError, "'x' held numbers in the data of the fit and holds text now"),
        (lambda d: d.drop(columns="x"), bmm.FormulaError, "column 'x' is not in the data"),
        (lambda d: d.iloc[:0], bmm.DataError, "the data have no rows"),
        (lambda d: d[d["g"] == "g01"], bmm.DataError, "grouping factor 'g' has one level"),
        (lambda d: d.assign(y=2.0), bmm.DataError, "'y' is constant"),
        (lambda d: None, bmm.DataError, "data must be a pandas"),
    ],
)  # fmt: skip
def test_what_other_data_can_not_be(data, change, error, said):
    with pytest.raises(error, match=said):
        bmm.Model("y ~ f + x + (1 | g)", data).with_data(change(data))


def test_missing_values_are_treated_as_at_first(data):
    gaps = data.assign(x=data["x"].where(data.index != 3))
    assert bmm.Model("y ~ x + (1 | g)", data).with_data(gaps).design.n == 119
    with pytest.raises(bmm.DataError, match="1 of 120 rows has missing values"):
        bmm.Model("y ~ x + (1 | g)", data, missing="error").with_data(gaps)


def test_weights_and_trials_are_looked_up_or_given_anew(data):
    part = data.iloc[:50]
    named = bmm.Model("y ~ x + (1 | g)", data, weights="w").with_data(part)
    np.testing.assert_array_equal(named.design.weights, part["w"])
    np.testing.assert_array_equal(named.with_data(data).design.weights, data["w"])
    numbers = bmm.Model("y ~ x + (1 | g)", data, weights=data["w"])
    with pytest.raises(
        bmm.DataError, match=r"weights of the model were given as 120 numbers.*with_data\(data, weights"
    ):
        numbers.with_data(part)
    np.testing.assert_array_equal(numbers.with_data(part, weights=part["w"] + 1).design.weights, part["w"] + 1)
    np.testing.assert_array_equal(numbers.with_data(part, weights="w").with_data(data).design.weights, data["w"])
    binomial = bmm.Model("k ~ x + (1 | g)", data, "binomial", trials="n").with_data(part)
    np.testing.assert_array_equal(binomial.design.trials, part["n"])
    same = bmm.Model("k ~ x + (1 | g)", data, "binomial", trials=9).with_data(part)
    np.testing.assert_array_equal(same.design.trials, np.full(50, 9))


def test_a_response_of_two_labels_keeps_its_meaning(data):
    model = bmm.Model("answer ~ x + (1 | g)", data, "bernoulli")
    kept = np.flatnonzero(data["answer"] == "yes")
    np.testing.assert_array_equal(model.with_data(data.iloc[kept]).design.y, np.ones(len(kept)))
    other = data.assign(answer=pd.Categorical(data["answer"], ["yes", "no"]))
    np.testing.assert_array_equal(model.with_data(other).design.y, model.design.y)
    numbers = data.assign(answer=model.simulate(model.maximize(), seed=1)["sim_1"])
    np.testing.assert_array_equal(model.with_data(numbers).design.y, numbers["answer"])
    with pytest.raises(bmm.DataError, match="has 2 levels that the data of the fit do not have"):
        model.with_data(data.assign(answer=data["answer"].str.upper()))


def test_other_priors_need_no_second_look_at_the_data(data):
    model = bmm.Model("y ~ x + (1 | g)", data)
    before = dict(model.priors)
    other = model.with_priors({"sigma": bmm.Prior("Exponential", lam=2), "beta": bmm.Prior("Normal", mu=1, sigma=3)})
    assert other.design.X is model.design.X and other.design.y is model.design.y
    assert other.priors["sigma"] == bmm.Prior("Exponential", lam=2) and other.priors["beta[x]"].parameters["mu"] == 1
    assert other.priors["sd_g[Intercept]"] == before["sd_g[Intercept]"], "what is not named has its default"
    assert dict(model.priors) == before and dict(other.with_priors(None).priors) == before
    assert other.maximize("MAP").sigma != model.maximize("MAP").sigma
    with pytest.raises(bmm.PriorError, match="no parameter 'sigm' to give a prior; did you mean 'sigma'"):
        model.with_priors({"sigm": 1})


def test_the_messages_are_those_of_the_new_priors():
    """A prior that allows means beyond all data is warned of; it must not linger, nor be said twice."""
    data = pd.DataFrame({"y": [1, 2, 0, 3, 1, 4] * 4, "x": np.linspace(0, 900, 24), "g": list("abcdef") * 4})
    model = bmm.Model("y ~ x + (1 | g)", data, "poisson", priors={"beta[x]": bmm.Prior("Normal", mu=0, sigma=1)})
    assert any("beta[x]" in m.text or "'x'" in m.text or "x" in m.text.split() for m in model.design.messages)
    calm = model.with_priors(None)
    fresh = bmm.Model("y ~ x + (1 | g)", data, "poisson")
    assert calm.design.messages == fresh.design.messages != model.design.messages


def test_a_refit_is_the_fit_of_a_new_model(data):
    """With the same data the draws are those of the first model, to the last bit."""
    model = bmm.Model("y ~ x + (1 | g)", data)
    first, second = (m.sample(draws=50, tune=50, seed=3, progress=False) for m in (model, model.with_data(data)))
    np.testing.assert_array_equal(first.tree["posterior"]["beta"], second.tree["posterior"]["beta"])


@pytest.mark.slow
def test_a_hundred_refits_take_less_than_a_minute():
    """Process time over two processors; 21 s where it was written."""
    sleep = frame("sleepstudy")
    model = bmm.Model(FORMULA, sleep)
    model.sample(seed=0, progress=False)  # compiles
    began = time.process_time()
    for seed, y in enumerate(model.simulate(model.maximize(), 100, seed=1).to_numpy().T):
        fit = model.with_data(sleep.assign(Reaction=y)).sample(seed=seed, progress=False)
    assert (time.process_time() - began) / 2 < 60
    assert fit.tree["posterior"].sizes == {**fit.tree["posterior"].sizes, "chain": 4, "draw": 1000}


# ----------------------------------------------------------------------------------------------------------------------
# in a file


def resaved(fit, path):
    fit.save(path)
    return bmm.load(path)


@pytest.mark.parametrize("term", ["f + scale(x)", "center(x)", "poly(x, 2)", "ns(x, df = 3)", "poly(x, 2, raw = TRUE)"])
def test_a_refit_is_read_from_a_file_as_it_was(data, tmp_path, term):
    """The file has the new data alone, and yet levels, knots and means are those of the first."""
    model = bmm.Model(f"y ~ {term} + (1 | g)", data)
    kept = model.with_data(data[(data["f"] != "b") & (data["x"] > 1)])
    fit = kept.sample(draws=20, tune=50, seed=1, progress=False)
    found = resaved(fit, tmp_path / "fit.nc")
    np.testing.assert_array_equal(found.design.X, fit.design.X)
    np.testing.assert_array_equal(found.design.spec.bases.fixed.R, fit.design.spec.bases.fixed.R)
    assert found.design.coefficients == fit.design.coefficients and dict(found.model.priors) == dict(model.priors)
    new = data.iloc[[0, 50, 119]]
    predicted, expected = (f.predict(new, groups="population").to_frame() for f in (found, fit))
    pd.testing.assert_frame_equal(predicted, expected)
    np.testing.assert_array_equal(found.model.with_data(data).design.X, model.design.X)


def test_a_model_from_a_file_reads_other_data_as_it_did(data, tmp_path):
    gaps = data.assign(x=data["x"].where(data.index != 3))
    model = bmm.Model("k ~ x + (1 | g)", gaps, "binomial", trials="n", weights="w")
    found = resaved(model.sample(draws=20, tune=50, seed=1, progress=False), tmp_path / "fit.nc").model
    other = found.with_data(gaps)
    assert other.design.n == 119, "rows with missing values are left out, as at first"
    np.testing.assert_array_equal(other.design.trials, model.design.trials)
    np.testing.assert_array_equal(other.design.weights, model.design.weights)


@pytest.mark.parametrize("missing", ["drop", "error"])
def test_a_model_from_a_file_treats_missing_values_as_it_did(data, tmp_path, missing):
    """The file has complete rows only, which does not mean that other data must have them."""
    gaps = data.assign(x=data["x"].where(data.index != 3))
    fit = bmm.Model("y ~ x + (1 | g)", data, missing=missing).sample(draws=20, tune=50, seed=1, progress=False)
    found = resaved(fit, tmp_path / "fit.nc")
    for model in (found.model, resaved(found, tmp_path / "again.nc").model):
        if missing == "drop":
            assert model.with_data(gaps).design.n == 119
        else:
            with pytest.raises(bmm.DataError, match="missing values"):
                model.with_data(gaps)


def test_a_text_that_no_model_wrote_is_refused():
    from bayesmm.design.spec import DesignSpec
    from bayesmm.families.families import get_family
    from bayesmm.formula.formula import parse
    from bayesmm.storage.stored_spec import from_text

    asked = DesignSpec(parse("y ~ scale(x) + (1 | g)"), get_family("gaussian"))
    own = '{"source": {"missing": "drop"}, "learned": {"bases": [{"R": [[1]], "order": [0]}], "states": [%s]}}'
    assert from_text(own % '["scale(x)", "Centring", {"mean": 1, "sd": 2}]', asked).bases.fixed.trivial
    for state in (
        '["scale(z)", "Centring", {"mean": 1, "sd": 2}]',
        '["scale(x)", "Popen", {"args": "true"}]',
        '["scale(x)", "Centring", {"mean": "one", "sd": 2}]',
        '["scale(x)", "Levels", {"labels": ["a"], "contrasts": "None", "base": null}]',
        '["scale(x)"]',
        "]",
    ):
        with pytest.raises(bmm.FitFileError, match="record of how the data were read"):
            from_text(own % state, asked)


# ----------------------------------------------------------------------------------------------------------------------
# compiled once


@pytest.mark.slow
def test_the_explicit_graph_is_compiled_once(data, monkeypatch):
    """Refits of one structure share it, and give the draws of a graph of their own, to the last bit."""
    from bayesmm.sampling.graph import nuts as sampling

    compiled, number = sampling._compiled_natively, []
    monkeypatch.setattr(
        sampling, "_compiled_natively", lambda *given, **own: number.append(1) or compiled(*given, **own)
    )
    model = bmm.Model("y ~ x + (x | g)", data, weights="w")
    settings = dict(draws=30, tune=60, effects="explicit", seed=5, progress=False)
    rng = np.random.default_rng(1)
    for k in range(3):
        new = data.assign(y=rng.normal(size=120), x=data["x"] + k, w=1 + data["w"], g=data["g"] + str(k))
        other = model.with_data(new)
        found = other.sample(**settings).tree["posterior"]
        assert list(found["g"].to_numpy()) == [f"g{level:02d}{k}" for level in range(12)]
        from_text = sampling.sample_graph(
            other.graph("explicit"), **{name: value for name, value in settings.items() if name != "effects"}
        )["posterior"]
        np.testing.assert_array_equal(found["beta"], from_text["beta"])
        np.testing.assert_array_equal(found["b_g"], from_text["b_g"])
    assert len(number) == 1 + 3, "once for the refits, and one for each graph of its own"
    model.with_data(data.iloc[:110]).sample(**settings)
    assert len(number) == 5, "another number of rows is another structure"
