"""Values beside a table: a Series goes by its labels as in pandas, all else by position, and what is masked is missing.

The right values are those of the same numbers as a column of the frame, which pandas has put into their rows.
"""

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError, FormulaError

RNG = np.random.default_rng(3)
N = 24
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": RNG.normal(size=N),
        "k": RNG.integers(0, 5, N),
        "n": RNG.integers(5, 12, N),
        "w": RNG.uniform(0.5, 2, N),
        "g": [f"g{i}" for i in np.arange(N) % 6],
    },
    index=[f"r{i}" for i in range(N)],
)
FORMULA, BINOMIAL = "y ~ x + (1 | g)", "k ~ x + (1 | g)"
SHUFFLED = DATA.sample(frac=1, random_state=1)
MASK = np.arange(N) < 3


def weights_of(weights, data=DATA):
    return bmm.Model(FORMULA, data, weights=weights).design.weights


def trials_of(trials, data=DATA):
    return bmm.Model(BINOMIAL, data, family="binomial", trials=trials).design.trials


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: nw.from_native(data)], ids=["pandas", "narwhals"])
@pytest.mark.parametrize("series", [DATA, SHUFFLED], ids=["same order", "other order"])
def test_a_series_beside_a_frame_goes_by_its_labels(series, wrap):
    assert (weights_of(series.w, wrap(DATA)) == DATA.w).all()
    assert (trials_of(series.n, wrap(DATA)) == DATA.n).all()


def test_what_has_no_index_goes_by_position():
    values = SHUFFLED.w.tolist()
    for given in (values, np.array(values), pl.Series(values)):
        assert weights_of(given).tolist() == values
    assert weights_of(SHUFFLED.w, pl.from_pandas(DATA)).tolist() == values  # a polars frame has no labels


def test_an_index_that_does_not_fit_is_refused_with_its_labels():
    other = DATA.w.rename({"r3": "s3"})
    with pytest.raises(DataError, match=r"index of the weights does not fit .* no label \['r3'\], and .* \['s3'\]"):
        weights_of(other)
    with pytest.raises(DataError, match=r"index of the trials does not fit .* no label \['r0', 'r1', .*\.\.\.\]"):
        trials_of(DATA.n.reset_index(drop=True))
    with pytest.raises(DataError, match=r"it has no label \['r20', 'r21', 'r22', 'r23'\]; expected the same"):
        weights_of(DATA.w.iloc[:20])


def test_labels_that_occur_twice_need_the_same_order():
    twice = pd.concat([DATA, DATA])
    assert (weights_of(twice.w, twice) == twice.w).all()
    with pytest.raises(DataError, match=r"the weights have labels that occur more than once \('?\['r"):
        weights_of(twice.w.iloc[::-1], twice)
    with pytest.raises(DataError, match=r"the data have labels that occur more than once"):
        weights_of(DATA.w, twice)


def test_rows_of_several_levels_of_labels_are_found_too():
    nested = DATA.set_index(pd.MultiIndex.from_product([range(4), list("abcdef")]))
    assert (weights_of(nested.w.iloc[::-1], nested) == nested.w).all()


def test_the_series_of_a_dict_go_by_their_labels():
    columns = {"y": SHUFFLED.y, "x": DATA.x, "g": DATA.g, "w": DATA.w}
    model = bmm.Model(FORMULA, columns, weights="w")
    assert model.design.row_labels.tolist() == SHUFFLED.index.tolist()
    assert np.array_equal(model.design.X[:, 1], SHUFFLED.x)
    assert (weights_of(DATA.w, columns) == SHUFFLED.w).all()
    # without labels a value could belong to the row of either order
    with pytest.raises(DataError, match="the values of column 'x' have no index, and the Series of the data have"):
        bmm.Model(FORMULA, columns | {"x": DATA.x.to_numpy()})
    with pytest.raises(DataError, match="the weights have no index"):
        weights_of(DATA.w.to_numpy(), columns)
    with pytest.raises(DataError, match=r"the values of column 'x' does not fit .* no label \['r0'\]"):
        bmm.Model(FORMULA, columns | {"x": DATA.x.rename({"r0": "q"})})


def test_other_data_are_aligned_too():
    model = bmm.Model(BINOMIAL, DATA, family="binomial", trials=DATA.n, weights=DATA.w)
    other = model.with_data(SHUFFLED, trials=DATA.n, weights=DATA.w)
    assert (other.design.trials == SHUFFLED.n).all() and (other.design.weights == SHUFFLED.w).all()


def test_a_users_function_may_return_a_series_in_another_order():
    model = bmm.Model("y ~ f(x) + (1 | g)", DATA, transforms={"f": lambda x: pd.Series(x).sort_values()})
    assert np.array_equal(model.design.X[:, 1], DATA.x)


# ----------------------------------------------------------------------------------------------------------------------
# masked values


def test_masked_weights_are_missing_weights():
    masked = np.ma.masked_array(np.where(MASK, 999.0, 1.0), mask=MASK)
    with pytest.raises(DataError, match=r"the weights are missing in rows \[0, 1, 2\]"):
        weights_of(masked)


def test_rows_with_masked_trials_are_left_out():
    masked = np.ma.masked_array(np.where(MASK, 9999, 12), mask=MASK)
    assert trials_of(masked).tolist() == [12.0] * (N - 3)


@pytest.mark.parametrize("name", ["y", "x", "n", "g"])
def test_masked_values_of_a_column_are_missing(name):
    masked = {key: DATA[key].to_numpy() for key in DATA}
    masked[name] = np.ma.masked_array(masked[name], mask=MASK)
    model = bmm.Model("y ~ x + n + (1 | g)", masked)
    assert model.design.rows.tolist() == list(range(3, N))
    assert np.array_equal(model.design.X, bmm.Model("y ~ x + n + (1 | g)", DATA[~MASK]).design.X)


def test_masked_identifiers_keep_their_64_bits():
    ids = np.repeat(2**60 + np.arange(6), 4)
    model = bmm.Model(FORMULA, {"y": DATA.y.to_numpy(), "x": DATA.x.to_numpy(), "g": np.ma.masked_array(ids, MASK)})
    assert model.design.blocks[0].levels == tuple(str(2**60 + i) for i in range(6))


def test_a_masked_value_in_a_list_or_in_a_column_of_objects_is_missing():
    x = DATA.x.tolist()
    x[4] = np.ma.masked
    objects = DATA.assign(x=pd.Series(x, index=DATA.index, dtype=object))
    for data in ({"y": DATA.y.tolist(), "x": x, "g": DATA.g.tolist()}, objects):
        assert 4 not in bmm.Model(FORMULA, data).design.rows


def test_a_masked_value_from_a_users_function_is_not_finite():
    with pytest.raises(DataError, match=r"f\(x\) is not finite in row"):
        bmm.Model("y ~ f(x) + (1 | g)", DATA, transforms={"f": lambda x: np.ma.masked_array(x, MASK)})


def test_masked_values_at_which_to_predict_are_refused():
    point = bmm.Model(FORMULA, DATA).maximize()
    with pytest.raises(ValueError, match=r"nan\)? is no finite number"):
        bmm.predictions(point, at={"x": np.ma.masked_array([1.0, 2.0], mask=[False, True])})


# ----------------------------------------------------------------------------------------------------------------------
# texts that are none


def test_half_a_character_is_no_name_and_no_level():
    half, plain = "x\ud800", {key: DATA[key].tolist() for key in DATA}
    with pytest.raises(DataError, match=r"column 'g' has the level 'g0\\ud800', which holds half of a character"):
        bmm.Model(FORMULA, plain | {"g": [f"{label}\ud800" for label in DATA.g]})
    with pytest.raises(FormulaError, match="holds half of a character"):
        bmm.Model(f"y ~ `{half}` + (1 | g)", plain | {half: plain["x"]})
    assert bmm.Model(FORMULA, plain | {half: plain["x"]}).design.p == 2  # of a column that is not used


@pytest.mark.parametrize("transforms", [3, ["f"], {"f": 3}, {3: abs}])
def test_transforms_are_functions_by_name(transforms):
    with pytest.raises(ValueError, match=r"^transforms.* should be a "):
        bmm.Model(FORMULA, DATA, transforms=transforms)
