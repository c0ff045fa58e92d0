"""Fits in files: what is read is what was saved."""

import json
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from saved_fits import EVIL, SLEEP, assert_same, assert_same_design, custom, fit_of, frame, half

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning


def with_gaps():
    data = frame().set_index(pd.Index([f"r{i}" for i in range(120)]))
    data.loc["r5", "x"] = np.nan
    data.loc["r9", "f"] = None
    return data


def weights_with_zero():
    w = frame()["w"].to_numpy().copy()
    w[[3, 50]] = 0
    return w


CASES = {
    "sleepstudy": dict(),
    "no groups": dict(formula="y ~ x * f", data=frame()),
    "no coefficients": dict(formula="y ~ 0 + (1 | f)", data=frame()),
    "interactions": dict(formula="y ~ x * f + o + c:x + (x || id) + (1 | f:c)", data=frame()),
    "splines": dict(formula="log(y + 20) ~ ns(x, df=3) + poly(w, 2) + scale(x) + (1 | id)", data=frame()),
    "weights and offset": dict(formula="y ~ x + offset(w) + (1 | id)", data=frame(), weights=weights_with_zero()),
    "weights by name": dict(formula="y ~ x + (1 | id)", data=frame(), weights="w"),
    "weights in the formula": dict(formula="y | weights(w) ~ x + (1 | id)", data=frame()),
    "nested": dict(formula="y ~ t + (1 | batch/cask)", data=frame()),
    "rows with labels, some left out": dict(formula="y ~ x + f + (1 | id)", data=with_gaps()),
    "rows with two labels": dict(formula="y ~ x + (1 | id)", data=frame().set_index(["batch", "cask"])),
    "rows with numbers": dict(formula="y ~ x + (1 | id)", data=frame().iloc[::-1]),
    "polars": dict(formula="y ~ x + c + (1 | day)", data=pl.from_pandas(frame())),
    "dict": dict(formula="y ~ x + (1 | id)", data=frame()[["y", "x", "id"]].to_dict("list")),
    "dates": dict(formula="y ~ x + (1 | day)", data=frame()),
    "names": dict(formula=f"y ~ `my längd` + (`my längd` | `{EVIL}`) + (1 | draw)", data=frame()),
    "big-endian": dict(
        formula="y ~ x + (1 | draw)", data={name: frame()[name].to_numpy().astype(">f8") for name in ("y", "x", "draw")}
    ),
    "priors": dict(
        priors={
            "beta": bmm.Prior("StudentT", nu=4, sigma=1 / 3),
            "Intercept": bmm.Prior("Flat"),
            "sd": bmm.Prior("InverseGamma", alpha=2, beta=300, on="variance"),
            "corr": bmm.Prior("LKJ", eta=1),
            "sigma": 25,
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_fit_comes_back_as_it_was(case, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)
        fit = fit_of(**CASES[case])
    fit.save(tmp_path / "fit.nc")
    assert_same(bmm.load(tmp_path / "fit.nc"), fit)


@pytest.mark.parametrize("case", ["sleepstudy", "nested", "rows with labels, some left out"])
def test_it_gives_the_same_answers(case, tmp_path):
    fit = fit_of(**CASES[case])
    fit.save(tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc")
    assert str(read) == str(fit)
    for table in ("fixef", "varcorr", "ranef", "sigma"):
        pd.testing.assert_frame_equal(getattr(read, table)(), getattr(fit, table)())
    for factor, table in fit.coef().items():
        pd.testing.assert_frame_equal(read.coef()[factor], table)


def counts(n=60):
    rng = np.random.default_rng(5)
    size, g = rng.integers(3, 9, n), np.tile([f"g{i}" for i in range(6)], n // 6)
    y, p = rng.binomial(size, 0.5), rng.uniform(0.1, 0.9, n)
    return pd.DataFrame(
        dict(y=y, n=size, no=size - y, x=rng.normal(size=n), g=g, p=p, yes=np.where(y > 2, "yes", "no"))
    )


FAMILIES = {
    "poisson": dict(formula="y ~ x + offset(log(n)) + (1 | g)", family="poisson"),
    "negbinomial": dict(formula="y ~ x + (1 | g)", family="negbinomial"),
    "two levels": dict(formula="yes ~ x + (1 | g)", family="bernoulli", link="probit"),
    "binomial without trials": dict(formula="yes ~ x + (1 | g)", family="binomial"),
    "y / n": dict(formula="y / n ~ x + (1 | g)", family="binomial"),
    "cbind": dict(formula="cbind(y, no) ~ x + (1 | g)", family="binomial", link="cloglog"),
    "trials in the formula": dict(formula="y | trials(n) ~ x + (1 | g)", family="binomial"),
    "trials by name": dict(formula="y ~ x + (1 | g)", family="binomial", trials="n"),
    "one number of trials": dict(formula="y ~ x + (1 | g)", family="binomial", trials=9, weights="n"),
    "gamma": dict(formula="I(y + 1) ~ x + (1 | g)", family="gamma", link="log"),
    "beta": dict(formula="p ~ x + (1 | g)", family="beta"),
    "student": dict(formula="x ~ p + (1 | g)", family="student"),
}


@pytest.mark.parametrize("case", FAMILIES)
def test_a_model_of_every_family_comes_back(case, tmp_path):
    fit = fit_of(data=counts(), **FAMILIES[case])
    fit.save(tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc")
    assert (read.model.family.name, read.model.family.link) == (fit.model.family.name, fit.model.family.link)
    assert (read.design.trials is None) == (fit.design.trials is None)
    assert fit.design.trials is None or np.array_equal(read.design.trials, fit.design.trials)
    assert_same_design(read.design, fit.design)
    assert dict(read.model.priors) == dict(fit.model.priors)


def test_the_comparison_is_the_same(fit, saved):
    one, other = bmm.load(saved).compare(consistency=False), fit.compare(consistency=False)
    pd.testing.assert_frame_equal(one.table, other.table)


def test_the_order_of_categories_is_kept(tmp_path):
    fit_of("y ~ o + c + (1 | id)", frame()).save(tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc").design.frame
    assert list(read["o"].cat.categories) == ["low", "mid", "high", "none"] and read["o"].cat.ordered
    assert list(read["c"].cat.categories) == ["z", "m", "a"] and not read["c"].cat.ordered


def test_the_messages_are_about_the_rows_of_the_first_table(tmp_path):
    fit_of(**CASES["rows with labels, some left out"]).save(tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc").design
    assert "2 of 120 rows have missing values" in read.messages[0].text
    assert list(read.rows[:7]) == [0, 1, 2, 3, 4, 6, 7] and read.row_labels[5] == "r6"


def test_any_program_can_read_the_file(fit, saved):
    with xr.open_datatree(saved) as tree:
        assert set(tree.children) == {"posterior", "sample_stats", "observed_data", "constant_data", "data"}
        xr.testing.assert_identical(tree["posterior"].to_dataset().load(), fit.tree["posterior"].to_dataset())
        assert tree["data/column_0"].attrs["long_name"] == "Reaction"
        assert json.loads(tree.attrs["bayesmm"])["model"]["formula"] == SLEEP


def test_float32_halves_the_draws_and_keeps_seven_digits(tmp_path):
    fit = fit_of(draws=400)
    fit.save(tmp_path / "double.nc")
    fit.save(tmp_path / "single.nc", dtype="float32")
    sizes = [(tmp_path / name).stat().st_size for name in ("double.nc", "single.nc")]
    draws = fit.tree["posterior"].to_dataset().nbytes
    assert sizes[0] - sizes[1] == pytest.approx(draws / 2, rel=0.05)
    read = bmm.load(tmp_path / "single.nc")
    assert read.tree["posterior"]["b_Subject"].dtype == np.float64
    # the spacing of float32 is 2^-23 of a number, rounding half of it
    xr.testing.assert_allclose(
        read.tree["posterior"].to_dataset(), fit.tree["posterior"].to_dataset(), rtol=2**-24 * 1.01, atol=0
    )


def test_draws_too_large_for_float32_are_refused(tmp_path):
    fit = fit_of()
    fit.tree["posterior"]["sigma"].values[0, 3] = 1e39
    with pytest.raises(bmm.FitFileError, match=r"draws of sigma are too large for float32; save them as float64"):
        fit.save(tmp_path / "fit.nc", dtype="float32")
    with pytest.raises(ValueError, match="dtype should be one of float64, float32, not 'int8'"):
        fit.save(tmp_path / "fit.nc", dtype="int8")
    assert not list(tmp_path.iterdir())


# Functions


def test_the_users_functions_are_asked_for_by_name(tmp_path):
    fit = fit_of("y ~ half(x) + (1 | id)", frame(), transforms={"half": half, "unused": abs})
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(
        bmm.FitFileError, match=r"transforms that are functions \(half\).*transforms=\{'half': \.\.\.\}"
    ):
        bmm.load(tmp_path / "fit.nc")
    with pytest.raises(bmm.FitFileError, match=r"transforms names 'hlaf'; did you mean 'half'\?"):
        bmm.load(tmp_path / "fit.nc", transforms={"half": half, "hlaf": half})
    with pytest.raises(bmm.FitFileError, match=r"other values of X; are the transforms those of the fit\?"):
        bmm.load(tmp_path / "fit.nc", transforms={"half": np.square})
    assert_same(bmm.load(tmp_path / "fit.nc", transforms={"half": half}), fit)


def test_priors_that_are_functions_are_asked_for_by_place(tmp_path):
    fit = fit_of(priors={"sigma": custom})
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(bmm.FitFileError, match=r"priors that are functions \(sigma\).*priors=\{'sigma': \.\.\.\}"):
        bmm.load(tmp_path / "fit.nc")
    with pytest.raises(bmm.FitFileError, match="priors names 'sd'; the file asks for sigma"):
        bmm.load(tmp_path / "fit.nc", priors={"sigma": custom, "sd": custom})
    assert bmm.load(tmp_path / "fit.nc", priors={"sigma": custom}).model.priors["sigma"].function is custom


# Real draws


@pytest.mark.slow
@pytest.mark.parametrize("how", [dict(effects="marginal"), dict(effects="explicit"), dict(sampler="importance")])
@pytest.mark.parametrize("keep_effects", [True, False])
def test_what_a_sampler_gives_comes_back(how, keep_effects, tmp_path, capsys):
    sampling = dict(draws=50, tune=50, chains=2, seed=1, keep_effects=keep_effects) | how
    fit = bmm.fit(SLEEP, bmm.load_dataset("sleepstudy"), **sampling, file=tmp_path / "fit.nc")
    read = bmm.load(tmp_path / "fit.nc")
    assert read.tree.identical(fit.tree)
    pd.testing.assert_frame_equal(read.varcorr(), fit.varcorr())
    capsys.readouterr()
    again = bmm.fit(SLEEP, bmm.load_dataset("sleepstudy"), **sampling, file=tmp_path / "fit.nc")
    assert "loaded from" in capsys.readouterr().err and again.tree.identical(fit.tree)
