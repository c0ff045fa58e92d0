"""The arithmetic of the benchmarks and the texts of their tables, with made-up numbers. No test looks at a clock."""

import json
import os
import sys

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from benchmarks import golden, report, run
from benchmarks.contestants import BASELINE, CONTESTANTS, SAMPLING, Settings, baseline, entrants
from benchmarks.golden_models import CASES as CASES_OF_GOLDEN
from benchmarks.measures import Spread, per_second, quality, ratios, spread
from benchmarks.models import CASES
from benchmarks.one import finite


def test_a_spread_is_the_median_and_the_range():
    assert spread([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0, 3)
    assert spread([2.0, 4.0]).median == 3.0
    assert spread([]) is None


def test_ratios_are_taken_within_a_repetition():
    # The machine was four times slower in repetition 1: each ratio is 2, the ratio of the means would not show that.
    assert ratios({0: 2.0, 1: 8.0}, {0: 1.0, 1: 4.0}) == Spread(2.0, 2.0, 2.0, 2)
    assert ratios({0: 6.0, 1: 8.0, 2: 1.0}, {0: 2.0, 1: 4.0, 5: 1.0}) == Spread(2.5, 2.0, 3.0, 2)


@pytest.mark.parametrize(("values", "baseline"), [({0: 1.0}, {1: 1.0}), ({}, {0: 1.0}), ({0: 1.0}, {0: 0.0})])
def test_there_is_no_ratio_without_a_pair(values, baseline):
    assert ratios(values, baseline) is None


def test_effective_draws_per_second():
    assert per_second(3000.0, 1.5) == 2000.0
    with pytest.raises(ValueError, match="seconds must be positive, not 0"):
        per_second(1.0, 0.0)


def autoregressive(rho, chains=4, draws=5000):
    rng = np.random.default_rng(7)
    out = np.empty((chains, draws))
    out[:, 0] = rng.normal(size=chains)
    for t in range(1, draws):
        out[:, t] = rho * out[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=chains)
    return out


def test_the_quality_is_that_of_the_worst_parameter():
    found = quality({"independent": autoregressive(0.0), "slow": autoregressive(0.8)})
    assert found.worst == "slow"
    # N (1 - rho) / (1 + rho) = 20,000 / 9; the estimate of an autocorrelation time from 9 x 250 lengths is within 15 %
    assert found.min_ess == pytest.approx(20_000 / 9, rel=0.15)
    assert found.r_hat == pytest.approx(1.0, abs=0.01)  # 1 + O(1 / ESS), ESS 2,000


def test_chains_in_different_places_have_a_large_r_hat():
    draws = autoregressive(0.0, draws=500) + np.array([0.0, 0.0, 5.0, 5.0])[:, None]
    found = quality({"stuck": draws})
    assert found.r_hat > 1.5
    assert found.min_ess < 20


def test_draws_that_are_not_finite_count_as_none():
    draws = autoregressive(0.0, draws=100)
    draws[1, 3] = np.nan
    found = quality({"good": autoregressive(0.0, draws=100), "broken": draws})
    assert (found.min_ess, found.worst, found.r_hat) == (0.0, "broken", np.inf)


def test_a_record_is_json_whatever_it_holds():
    assert json.dumps(finite({"a": [np.nan, 1.0], "b": {"c": -np.inf}})) == '{"a": [null, 1.0], "b": {"c": null}}'


# --- tables -----------------------------------------------------------------------------------------------------------


def sampled(contestant, repetition, seconds, ess, **entries):
    record = {"case": "sleepstudy", "contestant": contestant, "repetition": repetition, "caches": "warm"}
    record |= {"settings": {"chains": 4, "tune": 1000, "draws": 1000}, "status": "done", "seconds": seconds}
    record |= {"seconds_hot": None, "min_ess": ess, "ess_per_second": ess / seconds, "peak_mib": 400.0}
    return record | {"r_hat": 1.001, "divergences": 0} | entries


def cells(records):
    (table,) = report.tables(records)
    return {row[0]: dict(zip(table.header[1:], row[1:], strict=True)) for row in table.rows}, table


def test_the_sampling_table_compares_with_the_marginal_graph():
    slow = [sampled("bambi-pymc", 0, 10.0, 100.0, divergences=3), sampled("bambi-pymc", 1, 30.0, 100.0, r_hat=1.02)]
    rows, table = cells([sampled("marginal", 0, 1.0, 3000.0), sampled("marginal", 1, 2.0, 3000.0), *slow])
    ours, theirs = rows["bayesmm, marginal, NUTS"], rows["bambi, PyMC NUTS (its default) *"]
    assert ours["x wall"] == ours["/ ESS/s"] == "1"
    assert theirs["x wall"] == "12 (10 to 15)"  # 10 / 1 and 30 / 2, median 12.5
    assert theirs["/ ESS/s"] == "375 (300 to 450)"  # 3000 a second against 10, 1500 against 3.33
    assert (theirs["R-hat"], theirs["divergent"], theirs["runs"]) == ("1.020", "3", "2")
    assert "* bambi, PyMC NUTS (its default): no correlations between effects: a simpler model" in table.notes


def test_a_time_limit_bounds_the_ratio_and_a_failure_is_told():
    lost = {"case": "sleepstudy", "repetition": 0, "caches": "warm", "limit": 400, "settings": {}}
    rows, table = cells(
        [
            sampled("marginal", 0, 2.0, 3000.0),
            lost | {"contestant": "bambi-nutpie", "status": "timeout"},
            lost | {"contestant": "importance", "status": "not available", "message": "no such sampler"},
        ]
    )
    assert rows["bambi, nutpie NUTS *"]["wall, s"] == "> 400"
    assert rows["bambi, nutpie NUTS *"]["x wall"] == "> 200"
    assert rows["bayesmm, independent draws"]["wall, s"] == "not available"
    assert "bayesmm, independent draws: no such sampler" in table.notes


def test_crossed_counts_are_compared_with_the_explicit_graph():
    ours, theirs = sampled("explicit", 0, 4.0, 2000.0), sampled("bambi-nutpie", 0, 12.0, 2000.0)
    rows, table = cells([record | {"case": "counts"} for record in (ours, theirs)])
    assert rows["bambi, nutpie NUTS"]["x wall"] == rows["bambi, nutpie NUTS"]["/ ESS/s"] == "3"
    assert rows["bayesmm, marginal, NUTS"]["wall, s"] == "not run"
    assert any("crossed effects are not integrated out" in note for note in table.notes)


def maximised(contestant, hot, criterion, **entries):
    record = {"case": "immune", "contestant": contestant, "repetition": 0, "caches": "warm", "status": "done"}
    record |= {"settings": {}, "seconds": 1.0, "seconds_hot": hot, "criterion": criterion, "peak_mib": 300.0}
    return record | {"phases": {"build": 0.01, "maximize": 0.2, "rows": 0.002}} | entries


def test_the_maximisation_table_compares_hot_calls_and_criteria():
    others = [maximised("mixedlm", 0.4, 17845.15), maximised("statsmodels", 2.0, 17840.0)]
    rows, table = cells([maximised("reml", 0.01, 17845.10), *others])
    assert rows["mixedlm"]["x hot"] == "40"
    assert rows["mixedlm"]["criterion - best"] == "5.0e-02"
    # another model's criterion is no better for being lower
    assert rows["bayesmm, from the data frame"]["criterion - best"] == "0.0e+00"
    assert rows["statsmodels MixedLM *"]["criterion - best"] == report.BLANK
    assert any("a pass over the rows takes 0.002 s" in note for note in table.notes)


def test_the_table_of_gradients_has_the_ratio():
    record = {"case": "repeated", "contestant": "gradient", "repetition": 0, "caches": "warm", "status": "done"}
    rows, _ = cells([record | {"settings": {}, "gradient": {"once": 7.1e-6, "repeated": 7.5e-6, "ratio": 1.056}}])
    assert rows["marginal graph"] == {"runs": "1", "rows once, µs": "7.1", "rows x 100, µs": "7.5", "ratio": "1.06"}


def test_results_of_a_busy_machine_or_of_two_machines_are_marked():
    place = {"processor": "P", "cpus": 2, "memory_gib": 8, "system": "Linux", "python": "3.13", "load": 0.5}
    place |= {"versions": {"pymc": "6"}}
    assert len(report.about([{"environment": place}])) == 2
    assert "busy" in report.about([{"environment": place | {"load": 4.0}}])[-1]
    assert "different machines" in report.about([{"environment": place}, {"environment": place | {"cpus": 4}}])[-1]


def test_markdown_has_a_line_for_each_row():
    _, table = cells([sampled("marginal", 0, 1.0, 3000.0)])
    lines = report.markdown([table], ()).splitlines()
    assert sum(line.startswith("| bayesmm, marginal") for line in lines) == 1
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


# --- running ----------------------------------------------------------------------------------------------------------


def plan(*arguments):
    return run.plan_of(run._parser().parse_args(arguments))


def test_a_quick_run_leaves_out_the_slow_and_a_named_contestant_runs():
    names = {one.name for one in run.runners(CASES["immune"], plan())}
    assert "marginal" in names and "bambi-pymc" not in names
    assert "bambi-pymc" in {one.name for one in run.runners(CASES["immune"], plan("--full"))}
    assert [one.name for one in run.runners(CASES["immune"], plan("--contestants", "bambi-pymc"))] == ["bambi-pymc"]


def test_every_contestant_of_a_case_has_its_formula():
    for case in CASES.values():
        assert not ({*case.notes, *case.absent, *case.slow} - CONTESTANTS.keys()), case.name
        for one in entrants(case):
            if one.name.startswith("bambi"):
                assert case.bambi, case.name
            elif one.name in ("mixedlm", "statsmodels"):
                assert getattr(case, one.name), case.name
    assert CONTESTANTS[BASELINE[SAMPLING]].kind == SAMPLING


@pytest.mark.parametrize(
    ("name", "effects", "rows"), [("esoph", "marginal", 88), ("binary", "marginal", 4000), ("counts", "explicit", 1200)]
)
def test_the_generalised_cases_are_what_they_say_and_their_baseline_is_the_default(name, effects, rows):
    case = CASES[name]
    model = bmm.Model(case.formula, case.data(), family=case.family)
    assert model.design.n == rows
    assert model.effects() == effects == baseline(case, SAMPLING)
    assert baseline(CASES["sleepstudy"], SAMPLING) == BASELINE[SAMPLING]


def test_the_parameters_of_a_generalised_fit_have_no_sigma():
    fit = CONTESTANTS["marginal"].fit(CASES["esoph"], CASES["esoph"].data(), Settings(20, 20, 2, 1))
    found = CONTESTANTS["marginal"].read(fit).parameters
    assert len(found) == 5 and "sigma" not in found  # two coefficients, two sds, a correlation
    assert {array.shape for array in found.values()} == {(2, 20)}


def test_a_process_that_outlives_its_limit_is_a_timeout(tmp_path):
    code = run._wait([sys.executable, "-c", "import time; time.sleep(60)"], None, 0.2, run.variables())
    assert code is None


def test_cold_caches_are_empty_folders_and_threads_are_the_same_for_all(tmp_path):
    found = run.variables(1, tmp_path)
    assert found["NUMBA_CACHE_DIR"] == str(tmp_path / "numba")
    assert f"base_compiledir={tmp_path / 'pytensor'}" in found["PYTENSOR_FLAGS"]
    assert found["OPENBLAS_NUM_THREADS"] == found["OMP_NUM_THREADS"] == "1"
    assert set(run.variables()) - set(os.environ) <= {"PYTHONPATH"}


# --- the same numbers -------------------------------------------------------------------------------------------------


def test_equal_is_equal_to_the_last_bit():
    assert golden.difference([1.0, np.nan, np.inf], [1.0, np.nan, np.inf]) == ""
    assert golden.difference([1.0, 2.0], [1.0, np.nextafter(2.0, 3.0)]).startswith("1 of 2 differ, by 4.44e-16 at most")
    assert golden.difference([0.0], [-0.0]) == "0 of 1 differ, by 0 at most, relatively 0; NaN: 0"
    assert golden.difference([1.0, np.nan], [1.0, 2.0]).endswith("NaN: 1")
    assert golden.difference([1.0], [1.0, 2.0]) == "has the shape (2,), not (1,)"
    assert golden.difference(1.0, None) == "is only in the first"


def test_a_text_that_differs_is_shown():
    assert golden.difference("a\nb", "a\nc").splitlines()[1:] == ["    @@ -2 +2 @@", "    -b", "    +c"]
    assert golden.difference(["a", "b"], ["a", "c"]).startswith("the text differs")


def test_only_times_and_the_version_are_masked():
    line = "Draws: 2 chains of 100, {}, seed 1, random effects\n  integrated out\nIntervals: 0.2 sds"
    assert golden.masked(line.format("9.9 s")) == golden.masked(line.format("1,010.1 s"))
    assert golden.masked("by 0.2 sds, 5 samples") == "by 0.2 sds, 5 samples"
    assert golden.masked(f"bayesmm {bmm.__version__}") == "bayesmm VERSION"


def test_every_value_of_a_result_is_a_leaf():
    table = pd.DataFrame({"mean": [1.0, np.nan], "verdict": ["agree", "skew"]}, index=["sigma", "beta"])
    assert dict(golden.leaves("fit", {"table": table, "print": "text", "ok": True})) == {
        "fit table: labels": ["sigma", "beta"],
        "fit table[mean]": [1.0, pytest.approx(np.nan, nan_ok=True)],
        "fit table[verdict]": ["agree", "skew"],
        "fit print": "text",
        "fit ok": True,
    }


def test_records_are_compared_model_by_model(capsys):
    first = {"environment": {"numpy": "2"}, "models": {"a": {"beta": [1.0], "str": "x"}, "b": {"beta": [2.0]}}}
    assert golden.compared(first, first) == 0
    assert capsys.readouterr().out == "all 3 quantities of 2 models are equal\n"
    second = {"environment": {"numpy": "3"}, "models": {"a": {"beta": [1.5], "str": "x", "new": 1}}}
    assert golden.compared(first, second) == 3
    assert capsys.readouterr().out.splitlines() == [
        "environment, numpy: 2, then 3",
        "a, beta: 1 of 1 differ, by 0.5 at most, relatively 0.333; NaN: 0",
        "a, new: is only in the second",
        "b, beta: is only in the first",
        "3 of 4 quantities of 2 models differ",
    ]


def test_the_recorded_models_have_every_family():
    families = {case.own.get("family", "gaussian") for case in CASES_OF_GOLDEN.values()}
    assert families == {"gaussian", "student", "poisson", "negbinomial", "bernoulli", "binomial", "gamma", "beta"}
    assert len(CASES_OF_GOLDEN) == 20
