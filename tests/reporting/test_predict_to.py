"""Predictions written into a file in batches are those of predict(), of tables in memory and of lazy frames."""

import numpy as np
import pandas as pd
import pytest
from invented import invented

import bayesmm as bmm
from bayesmm.engines import row_batches
from bayesmm.errors import DataError, FitFileError
from bayesmm.reporting import predict_to
from tests.lazy_frames import engines, lazy, messy
from tests.storage.test_atomic_write import full_disk

FORMULA = "y ~ x*f + offset(o) + (1 + x | g) + (1 | s)"
READ = {".parquet": pd.read_parquet, ".csv": pd.read_csv}


@pytest.fixture(scope="module")
def table():
    return messy(700).assign(id=np.arange(700))


@pytest.fixture(scope="module")
def point(table):
    return bmm.Model(FORMULA, table, weights="w").maximize()


@pytest.fixture
def small(monkeypatch):
    """Make batches so small that there are several."""
    monkeypatch.setattr(predict_to, "BATCH", 100)
    monkeypatch.setattr(predict_to, "DRAWS", 10_000)


def written(fit, path, *args, **options):
    assert fit.predict_to(path, *args, **options) == path
    assert list(path.parent.iterdir()) == [path]
    return READ[path.suffix](path)


@pytest.mark.parametrize("suffix", READ)
def test_the_file_has_the_columns_of_predict(suffix, point, table, small, tmp_path):
    found, expected = written(point, tmp_path / f"all{suffix}", se=True), point.predict(se=True)
    assert list(found) == ["row", "y", "x", "f", "o", "g", "s", "estimate", "se", "sd", "residual"]
    assert list(found.row) == list(point.design.row_labels)
    np.testing.assert_allclose(found[list(expected)], expected, rtol=1e-12)
    np.testing.assert_allclose(found.residual, point.residuals, rtol=1e-9, atol=1e-12)
    assert list(found.f) == list(table.dropna().f)
    other = written(point, tmp_path / f"all{suffix}", table.dropna()[::2], columns=["id"], overwrite=True)
    assert list(other) == ["row", "id", "estimate"]
    np.testing.assert_allclose(other.estimate, expected.estimate[::2], rtol=1e-12)


@pytest.mark.parametrize("engine", engines())
def test_a_lazy_frames_rows_are_read_in_batches(engine, point, table, small, tmp_path):
    model = bmm.Model(FORMULA, lazy(engine, table), weights="w")
    found = written(model.maximize(), tmp_path / "all.parquet", columns=["id"], se=True).sort_values("id")
    expected = point.predict(se=True)
    assert list(found) == ["id", "estimate", "se", "sd", "residual"]
    np.testing.assert_allclose(found[list(expected)], expected, rtol=1e-9)
    np.testing.assert_allclose(found.residual, point.residuals, rtol=1e-7, atol=1e-9)
    rest = lazy(engine, table.dropna().drop(columns=["y", "w"]))
    other = written(model.maximize(), tmp_path / "all.parquet", rest, columns=["id"], overwrite=True)
    np.testing.assert_allclose(other.sort_values("id").estimate, expected.estimate, rtol=1e-9)


def test_a_posteriors_rows_are_read_in_batches(table, small, tmp_path):
    fits = [
        bmm.Model(FORMULA, data, weights="w").sample(draws=50, chains=2, seed=1, sampler="importance", progress=False)
        for data in (table, lazy("polars", table))
    ]
    for kind in ("mean", "linear", "response"):
        expected = fits[0].predict(kind=kind, seed=3).to_frame(0.9)
        found = written(fits[0], tmp_path / "all.csv", kind=kind, seed=3, ci_prob=0.9, overwrite=True)
        np.testing.assert_allclose(found[list(expected)], expected, rtol=1e-12)
        assert ("residual" in found) == (kind == "mean")
        if kind != "response":
            found = written(fits[1], tmp_path / "all.csv", kind=kind, seed=3, ci_prob=0.9, overwrite=True)
            np.testing.assert_allclose(found[list(expected)], expected, rtol=1e-7)
    with pytest.raises(ValueError, match="needs their weights, which are not read in batches; give data="):
        fits[1].predict_to(tmp_path / "no.csv", kind="response")
    found = written(fits[1], tmp_path / "all.csv", lazy("polars", table.dropna()), kind="response", overwrite=True)
    assert found["mean"].corr(fits[0].predict().to_frame()["mean"].reset_index(drop=True)) > 0.9


def test_families_write_what_predict_gives(tmp_path, small):
    data = messy(300).dropna().assign(size=5, hits=lambda own: own.g % 6)
    point = bmm.Model("hits / size ~ x + (1 | s)", data, "binomial").maximize()
    found = written(point, tmp_path / "all.csv")
    np.testing.assert_allclose(found.estimate, point.predict().estimate, rtol=1e-12)
    np.testing.assert_allclose(found.residual, point.residuals, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(point, table, tmp_path):
    gap = table.drop(columns="y")
    for error, said, args, options in (
        (DataError, "missing values", (gap,), {}),
        (DataError, "missing values", (lazy("polars", gap),), {}),
        (DataError, "columns= names q", (), {"columns": ["q"]}),
        (DataError, "columns= names q", (lazy("polars", table.dropna()),), {"columns": ["q"]}),
        (DataError, "sd would be in the file twice", (table.dropna().assign(sd=1.0),), {"columns": ["sd"], "se": True}),
        (DataError, "no rows to predict", (table.head(0),), {}),
        (TypeError, "has no argument 'seed'", (), {"seed": 1}),
        (ValueError, "kind must be one of", (), {"kind": "guess"}),
    ):
        with pytest.raises(error, match=said) as caught:
            point.predict_to(tmp_path / "all.parquet", *args, **options)
        assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
    with pytest.raises(FitFileError, match="should be a Parquet or CSV file"):
        point.predict_to(tmp_path / "all.xlsx")
    (tmp_path / "all.csv").write_text("old")
    with pytest.raises(FitFileError, match="exists already"):
        point.predict_to(tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text() == "old"


@pytest.mark.parametrize("suffix", READ)
def test_a_full_disk_leaves_the_old_file(suffix, point, tmp_path):
    path = tmp_path / f"all{suffix}"
    path.write_text("old")
    with full_disk(), pytest.raises(FitFileError, match=r"cannot be written: .*File too large$"):
        point.predict_to(path, overwrite=True)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_engine_that_fails_on_the_way_leaves_nothing(table, small, tmp_path, monkeypatch):
    point = bmm.Model(FORMULA, lazy("polars", table)).maximize()

    def broken(engine, frame, size):
        yield from list(row_batches._of_polars(engine, frame, size))[:2]
        raise RuntimeError("the node is gone\nand more")

    monkeypatch.setitem(row_batches._GIVE, "polars", broken)
    with pytest.raises(DataError, match=r"^Polars could not give the rows: the node is gone$"):
        point.predict_to(tmp_path / "all.csv")
    assert not list(tmp_path.iterdir())


def test_after_load_the_rows_are_given(table, tmp_path):
    model = bmm.Model(FORMULA, lazy("polars", table))
    model.sample(draws=20, chains=1, seed=1, sampler="importance", progress=False).save(tmp_path / "fit.nc")
    fit = bmm.load(tmp_path / "fit.nc")
    with pytest.raises(DataError, match=r"as after load.*; give data="):
        fit.predict_to(tmp_path / "all.csv")
    fit.predict_to(tmp_path / "all.csv", lazy("polars", table.dropna()))
    assert len(pd.read_csv(tmp_path / "all.csv")) == 697


def test_rows_of_several_responses_say_which_they_are(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(12, 3)), columns=["y", "y2", "x"], index=[f"r{i}" for i in range(12)])
    frame = frame.assign(g=[f"g{i % 4}" for i in range(12)])
    frame.loc["r3", "y2"] = np.nan
    fit = invented(bmm.Model("mvbind(y, y2) ~ x + (1 | p | g)", frame))
    own = pd.read_csv(fit.predict_to(tmp_path / "own.csv"))
    assert list(own.columns[:2]) == ["row", "response"] and not {"category", ".row"} & set(own)
    wide = own.pivot(index="row", columns="response", values="mean")
    assert wide.shape == (12, 2) and wide.isna().sum().sum() == 1
    made = fit.predict().to_frame()
    assert [tuple(pair) for pair in own[["row", "response"]].to_numpy()] == list(made.index)
    y = np.array([frame.loc[row, response] for row, response in made.index])
    np.testing.assert_allclose(own["residual"], y - made["mean"], atol=1e-6)
    new = pd.read_csv(fit.predict_to(tmp_path / "new.csv", frame.head(2)))
    assert list(new["response"]) == ["y", "y2"] * 2 and list(new["row"]) == ["r0", "r0", "r1", "r1"]
    assert isinstance(fit.augment().index, pd.MultiIndex) and fit.augment().index.equals(made.index)
