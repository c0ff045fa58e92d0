"""The validation: what its statistics can find, how findings are kept and gone on with, and that a failure is red."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from validation import calibration, exact, new_groups, page, references, run, samplers, verdicts
from validation.grids import exact as exact_of
from validation.grids import grouped_model, normal_model, ranges_of
from validation.labelled import CASES as LABELLED
from validation.labelled import EXPECTED
from validation.models import CASES, CENTRAL, FAMILY, STRUCTURE, UNCOVERED
from validation.records import Finding, Settings, keep, read
from validation.reference_files import Pair
from validation.simulated import RESPONSES, Truth, drawn

# ----------------------------------------------------------------------------------------------------------------------
# are ranks uniform? (99 draws, 100 ranks)


def ranks_of(rng, number, scale=1.0, shift=0.0):
    """Return ranks of standard normal values among draws of a posterior that is too wide, or moved."""
    return (shift + scale * rng.normal(size=(number, 99)) < rng.normal(size=(number, 1))).sum(axis=1)


def test_uniform_ranks_pass_and_p_values_are_uniform():
    rng = np.random.default_rng(1)
    found = np.array([calibration.p_values(rng.integers(0, 100, 200)) for _ in range(200)])
    # a Kolmogorov-Smirnov test of 200 p-values: below 1e-3 once in a thousand
    assert stats.kstest(found[:, 0], "uniform").pvalue > 1e-3
    assert stats.kstest(found[:, 1], "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("number", "wrong"), [(1000, {"scale": 0.8}), (1000, {"shift": 0.3}), (200, {"scale": 0.6})])
def test_a_posterior_that_is_too_narrow_or_moved_is_found(number, wrong):
    ranks = ranks_of(np.random.default_rng(2), number, **wrong)
    assert min(calibration.p_values(ranks)) < calibration.LEAST_P
    numbers = {"tried": number, "ranks": {"beta[x]": ranks.tolist(), "sigma": list(range(100)) * (number // 100)}}
    found = calibration.judged(numbers)
    assert not found.ok and "beta[x]: p = " in found.words and "sigma" not in found.words


def test_the_coverage_of_new_groups_is_that_of_the_ranks():
    rng = np.random.default_rng(3)
    record = SimpleNamespace(numbers={"ranks": {new_groups.QUANTITY: rng.integers(0, 100, 1000).tolist()}})
    assert new_groups.counted(record).ok
    narrow = SimpleNamespace(numbers={"ranks": {new_groups.QUANTITY: ranks_of(rng, 1000, scale=0.7).tolist()}})
    found = new_groups.counted(narrow)
    assert not found.ok and "of the 80% intervals" in found.words
    assert new_groups.expected(0.5) == 0.5 and new_groups.expected(0.8) == 0.8


# ----------------------------------------------------------------------------------------------------------------------
# exact posteriors


def test_the_grid_of_a_normal_model_is_the_closed_form():
    """Known sigma = 1: beta ~ N(0, 2^2) and 20 responses; the grid is over an sd that the data do not know."""
    rng = np.random.default_rng(4)
    y, X = rng.normal(1.5, 1, 20), np.ones((20, 1))
    priors = {"free": stats.halfnorm(0, 2)}
    log_p = normal_model(
        y, X, np.zeros(1), np.array([2.0]), lambda v: np.tile(np.eye(20), (len(v["free"]), 1, 1)), priors
    )
    found = exact_of(log_p, priors, 40, ranges_of(log_p, priors), ("beta",))
    variance = 1 / (20 + 1 / 4)
    law = stats.norm(variance * y.sum(), np.sqrt(variance))
    assert found["beta"].mean == pytest.approx(law.mean(), rel=1e-10)
    assert found["beta"].sd == pytest.approx(law.std(), rel=1e-10)
    assert found["beta"].quantile(0.05) == pytest.approx(law.ppf(0.05), rel=1e-8)
    # the range ends where the density is 1e-9 of its top, and 40 points give what is inside to rounding
    assert found["free"].mean == pytest.approx(stats.halfnorm(0, 2).mean(), rel=1e-7)
    assert found["free"].quantile(0.95) == pytest.approx(stats.halfnorm(0, 2).ppf(0.95), rel=1e-7)


def test_the_grid_of_grouped_counts_is_the_gamma_posterior():
    """Without groups: exp(intercept) of Poisson counts under a flat prior of it is a gamma variable."""
    y = np.array([3, 5, 2, 4, 6, 1])
    priors = {"rate": stats.uniform(0, 60)}

    def log_density(row, b, values):
        return stats.poisson.logpmf(row[0], values["rate"]) + 0 * b

    log_p = grouped_model(y[:, None], np.full(6, -1), log_density, priors, "")
    found = exact_of(log_p, priors, 50, ranges_of(log_p, priors))["rate"]
    law = stats.gamma(y.sum() + 1, scale=1 / 6)
    assert found.mean == pytest.approx(law.mean(), rel=1e-7)
    assert [found.quantile(q) for q in (0.05, 0.5, 0.95)] == pytest.approx(list(law.ppf([0.05, 0.5, 0.95])), rel=1e-6)


def test_an_intercept_is_summed_over_as_scipy_integrates_it():
    from scipy.integrate import quad

    y, sd = np.array([0.0, 1.0, 1.0]), 1.3

    def log_density(row, b, values):
        return -np.logaddexp(0, b if row[0] == 0 else -b)

    log_p = grouped_model(y[:, None], np.zeros(3, int), log_density, {"sd": stats.halfnorm(0, 2)}, "sd")
    value = quad(lambda b: stats.norm.pdf(b, 0, sd) * np.exp(b) ** 2 / (1 + np.exp(b)) ** 3, -30, 30)[0]
    assert log_p({"sd": np.array([sd])})[0] - stats.halfnorm(0, 2).logpdf(sd) == pytest.approx(np.log(value), rel=1e-6)


def test_distances_beyond_the_limit_fail():
    marginal = SimpleNamespace(mean=0.0, sd=1.0)
    assert exact.found({"nutpie": [("sigma", "mean", 4.4)]}, {"sigma": marginal}, 0.0).ok
    found = exact.found({"nutpie": [("sigma", "mean", -4.6)]}, {"sigma": marginal}, 0.0)
    assert not found.ok and "farthest 4.6 (sigma, mean, nutpie)" in found.words
    assert not exact.found({"nutpie": [("sigma", "mean", 0.0)]}, {"sigma": marginal}, 0.02).ok
    draws = np.random.default_rng(5).normal(0, 1.08, (4, 2500))
    assert abs(draws.std() - 1) / exact.mcse(draws, method="sd") > exact.FARTHEST


# ----------------------------------------------------------------------------------------------------------------------
# what is drawn


def test_there_are_as_many_models_as_are_promised():
    kinds = [case.kind for case in CASES.values()]
    assert kinds.count(CENTRAL) == 6 and kinds.count(STRUCTURE) >= 15
    assert len(exact.cells()) >= 20 and len(LABELLED) >= 40
    assert {case.label for case in LABELLED} == set(EXPECTED)
    assert set(samplers.MODELS) <= set(CASES)
    # a new family is to have a generator; until then the page says that it is not there
    assert not {name for name in RESPONSES if CASES[name].kind != FAMILY} and set(UNCOVERED).isdisjoint(CASES)


@pytest.mark.parametrize("name", list(CASES))
def test_data_are_drawn_with_their_values_and_priors(name):
    one, other = (CASES[name].draw(np.random.default_rng(7)) for _ in range(2))
    assert one.data.equals(other.data) and one.values == other.values
    assert one.data.notna().all(axis=None) and all(map(np.isfinite, one.values.values()))
    assert {str(prior) for prior in one.priors.values()} == {
        str(prior) for prior in CASES[name].draw(np.random.default_rng(8)).priors.values()
    }


@pytest.mark.parametrize(
    "family",
    ["skew_normal", "exgaussian", "nbinom1", "genpois", "tweedie", "weibull", "negbinomial", "hurdle_gamma",
     "zero_inflated_beta", "zero_one_inflated_beta", "ordered_beta", "compois", "asymmetric_laplace"],
)  # fmt: skip
def test_generators_have_the_mean_and_the_variance_of_their_families(family):
    own = RESPONSES[family]
    truth = Truth(np.random.default_rng(9))
    values = {name: truth.take(name, prior) for name, prior in own.own.items()}
    y = own.draw(np.random.default_rng(10), np.full(200_000, 0.8), values)
    from bayesmm.families.families import FAMILIES

    aux, mu = tuple(values[name] for name in FAMILIES[family].auxiliaries), FAMILIES[family].inverse(np.array([0.8]))
    variance = float(np.ravel(FAMILIES[family].variance(mu, aux))[0])
    # 200,000 draws: the error of a mean is 0.0022 sds, of a variance a few per cent where tails are heavy
    assert y.mean() == pytest.approx(
        float(np.ravel(FAMILIES[family].expected(mu, aux))[0]), abs=5 * np.sqrt(variance / 200_000)
    )
    assert y.var() == pytest.approx(variance, rel=0.06)


def test_correlations_by_distance_have_the_partial_ones_that_were_drawn():
    from validation.structures import by_distance, further

    partials, r = (0.5, -0.7, 0.9, 0.2), np.array([1.0])
    for partial in partials:
        r = np.append(r, further(r, partial))
    # of a matrix of the k + 1 first times, -P[0, k] / sqrt(P[0, 0] P[k, k]) of its inverse P is the partial correlation
    for k, partial in enumerate(partials, 1):
        P = np.linalg.inv(by_distance(r[: k + 1]))
        assert -P[0, k] / np.sqrt(P[0, 0] * P[k, k]) == pytest.approx(partial, rel=1e-10)


def test_a_chain_is_run_again_only_as_long_as_its_effective_draws_ask_for(monkeypatch):
    monkeypatch.setattr(calibration, "is_independent", lambda fit: fit == "importance")
    monkeypatch.setattr(calibration, "serves", lambda design, _: design == "few parameters")

    def asked(effects, ess, design=None):
        calls = []

        def sample(draws, tune, sampler="auto", **_):
            calls.append((draws, tune) if sampler == "auto" else sampler)
            return sampler

        monkeypatch.setattr(calibration, "least_ess", lambda fit: ess)
        calibration.fitted(SimpleNamespace(design=design, priors=None, effects=lambda: effects, sample=sample), 1)
        return calls

    first, further = (calibration.DRAWS, calibration.TUNE), 2 * calibration.TUNE
    assert asked("explicit", 150.0) == [first]
    assert asked("explicit", 75.0) == [first, (2 * calibration.DRAWS, further)]
    assert asked("explicit", 1.0) == [first, (calibration.LONGER * calibration.DRAWS, further)]
    assert asked("marginal", 1.0, "few parameters") == ["importance"]
    assert asked("explicit", 150.0, "few parameters") == [first]  # written out, it is cheaper
    assert asked("explicit", 1.0, "few parameters") == [first, "importance"]
    assert asked("explicit", 75.0, "few parameters")[1:] == [(2 * calibration.DRAWS, further)]


def test_priors_are_drawn_as_scipy_has_them():
    from validation.grids import scipy_prior
    from validation.simulated import CORRELATION, LKJ, LOCATION, SCALE, SD

    rng = np.random.default_rng(11)
    for prior in (LOCATION, SD, SCALE, CORRELATION, LKJ):
        values = [drawn(rng, prior) for _ in range(2000)]
        assert stats.kstest(values, scipy_prior(prior).cdf).pvalue > 1e-3


# ----------------------------------------------------------------------------------------------------------------------
# R's numbers, the verdicts


def test_a_number_that_differs_from_rs_fails():
    good = Pair("coefficient", "m x", 1.0, 1.0 + 1e-8, 0.5)
    assert references.found([good], {}).ok
    found = references.found([good, replace(good, ours=1.001)], {})
    assert not found.ok and found.words == "1 of 2 differ, m x: coefficient 1.001, R has 1"
    assert not references.found([replace(good, ours=float("nan"))], {}).ok
    assert not references.found([], {}).ok


def row(label, verdict):
    return {"label": label, "name": "a case", "verdict": verdict, "as meant": verdict in EXPECTED[label]}


def test_the_confusion_table_fails_for_a_hidden_conflict_or_three_confusions():
    assert verdicts.found([row("skew", "skew"), row("skew", "few groups"), row("none", "skew")]).ok
    hidden = verdicts.found([row("conflict", "agree")])
    assert not hidden.ok and hidden.words.startswith("a conflict was called agreement: a case")
    assert not verdicts.found([row("skew", v) for v in ("few groups", "disagree", "prior pull")]).ok


QUICK = (
    "slope, tight prior", "sd, 12 groups alike", "sd, 12 groups", "sigma, 8 rows", "sd, 5 groups", "linear model",
    "groups left out", "slope falsified", "separated choices",
)  # fmt: skip


@pytest.mark.parametrize("case", [case for case in LABELLED if case.name in QUICK], ids=lambda case: case.name)
def test_quick_cases_have_the_verdict_of_their_cause(case):
    found = verdicts.judged(case)
    assert found["as meant"], (found["verdict"], found["cause"])


@pytest.mark.slow
def test_all_labelled_cases_have_the_verdicts_of_their_causes():
    found = verdicts.check(verdicts.TABLE, Settings())
    assert found.ok, found.words


# ----------------------------------------------------------------------------------------------------------------------
# the run and the page


def test_findings_are_kept_and_read(tmp_path):
    kept = keep("exact", "gr(by), two / three", Finding(True, "fine", {"z": {}}), 1.5, tmp_path)
    assert read("exact", "gr(by), two / three", tmp_path) == kept
    assert read("exact", "another", tmp_path) is None
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_run_goes_on_from_what_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "ranks_of", lambda case, number: {"sigma": 37 * number % 100})
    cell, settings = "gaussian", Settings(simulations=30)
    first = run.do(("calibration", cell), settings, tmp_path)
    assert first.numbers["ranks"]["sigma"] == [37 * k % 100 for k in range(30)]
    assert run.waiting([("calibration", cell)], settings, tmp_path) == []
    assert run.waiting([("calibration", cell)], Settings(simulations=40), tmp_path) == [("calibration", cell)]
    more = run.do(("calibration", cell), Settings(simulations=40), tmp_path)
    assert more.numbers["ranks"]["sigma"] == [37 * k % 100 for k in range(40)]
    run.forget([("calibration", cell)], tmp_path)
    assert read("calibration", cell, tmp_path) is None


@pytest.mark.parametrize(("again", "ok"), [(False, True), (True, False)])
def test_ranks_that_are_not_uniform_fail_where_other_data_sets_have_them_too(monkeypatch, tmp_path, again, ok):
    """The first thirty are all 50; the next thirty too, or spread out."""
    monkeypatch.setattr(calibration, "ranks_of", lambda case, k: {"sigma": 50 if k < 30 or again else 37 * k % 100})
    found = run.do(("calibration", "gaussian"), Settings(simulations=30), tmp_path)
    assert found.ok == ok and len(found.numbers["ranks"]["sigma"]) == len(found.numbers["again"]["sigma"]) == 30
    assert "in as many others" in found.words and "in as many other data sets" in page._of_ranks(found)
    assert bool(run.waiting([("calibration", "gaussian")], Settings(simulations=30), tmp_path)) != ok
    more = run.do(("calibration", "gaussian"), Settings(simulations=40), tmp_path).numbers
    assert len(more["ranks"]["sigma"]) == 40 and len(more.get("again", {"sigma": range(40)})["sigma"]) == 40


def test_an_error_is_a_cell_that_failed(monkeypatch, tmp_path):
    def broken(cell, settings):
        raise ValueError("no such thing")

    monkeypatch.setattr(exact, "check", broken)
    record = run.do(("exact", "gaussian"), Settings(), tmp_path)
    assert not record.ok and record.words == "ValueError: no such thing"
    assert run.waiting([("exact", "gaussian")], Settings(), tmp_path)  # it is tried again


def test_a_failed_cell_is_red_on_the_page_and_fails_the_command(tmp_path, capsys):
    results, out = tmp_path / "results", tmp_path / "docs"
    kinds = {"kinds": {"sd": {"numbers": 3, "largest": 0.5, "where": "m"}}, "numbers": 3, "left out": {}}
    keep("references", "glmm.json", Finding(False, "1 of 3 differ", kinds), 1.0, results)
    keep(
        "exact",
        "gaussian",
        Finding(True, "", {"z": {"nutpie": [["sigma", "mean", 0.3]]}, "quadrature": 1e-9}),
        1,
        results,
    )
    assert run.main(["--page", "--results", str(results), "--out", str(out)]) == 1
    text = (out / "validation.md").read_text(encoding="utf-8")
    assert "**2 cells, 1 failed: references, glmm.json.**" in text and page.BAD in text
    assert "FAILED  references: glmm.json: 1 of 3 differ" in capsys.readouterr().out
    assert "## Numbers of R packages" in text and "## Speed" not in text
    keep("references", "glmm.json", Finding(True, "", kinds | {"kinds": {}}), 1.0, results)
    assert run.main(["--page", "--results", str(results), "--out", str(out)]) == 0


def test_without_any_finding_there_is_no_page(tmp_path, capsys):
    assert run.main(["--page", "--results", str(tmp_path / "none"), "--out", str(tmp_path / "docs")]) == 0
    assert not (tmp_path / "docs").exists() and "0 cells, 0 failed" in capsys.readouterr().out


def test_the_page_says_of_which_code_its_records_are(tmp_path):
    keep("exact", "gaussian", Finding(True, "", {"z": {}, "quadrature": 0.0}), 1, tmp_path)
    path = tmp_path / "exact" / "gaussian.json"
    old = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(old | {"made": old["made"] | {"commit": "0123abc"}}), encoding="utf-8")
    written = page.write(list(run.kept(tmp_path)), tmp_path / "docs").read_text(encoding="utf-8")
    assert "Of other states of the code are: 1 at 0123abc" in written


@pytest.mark.slow
def test_a_short_run_passes(tmp_path):
    asked = ["--short", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "docs")]
    assert run.main(asked) == 0
    text = (tmp_path / "docs" / "validation.md").read_text(encoding="utf-8")
    assert ", 0 failed.**" in text and "## Simulation-based calibration" in text
    assert (tmp_path / "docs" / "validation_ranks.svg").exists()


def test_each_data_set_has_noise_of_its_own_in_predictions():
    """With one seed for all, the ranks of a new group's response were those of one set of normal numbers."""
    case = CASES["gaussian, crossed"]
    simulated = case.draw(np.random.default_rng(1))
    fit = calibration.fitted(calibration.made(case, simulated), 1)
    drawn = [calibration.quantities(case, simulated, fit, seed)[1]["new group's response"] for seed in (1, 2)]
    assert not np.intersect1d(*drawn).size
