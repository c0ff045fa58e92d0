"""The parametric bootstrap against REML and exact distributions, and what ends or changes a run of refits."""

import functools
import time

import numpy as np
import pandas as pd
import pytest
from references import frame
from sleep_study import LIMIT, sleep_fit, sleep_model, sleep_point

import bayesmm as bmm
from bayesmm.inference.simulation import repeat
from bayesmm.posterior.simulate import simulator
from bayesmm.runtime.streams import stream

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")


@functools.cache
def sleep_bootstrap():
    return sleep_point().bootstrap(400, seed=1, progress=False)


def test_the_bootstrap_finds_the_standard_errors_of_reml():
    """Of the coefficients of balanced data they are exact at the estimated variances."""
    table = sleep_bootstrap().table
    expected = sleep_point().fixef()["se"].to_numpy()
    assert table.loc[["beta[Intercept]", "beta[Days]"], "se"].to_numpy() == pytest.approx(
        expected, rel=5 / np.sqrt(800)
    )
    coefficients = table.loc[["beta[Intercept]", "beta[Days]"]]
    assert (coefficients["bias"].abs() < LIMIT * coefficients["se"] / 20).all(), "they are unbiased"
    assert ((table["lower"] < table["estimate"]) & (table["estimate"] < table["upper"])).all()


def test_the_residual_sd_has_its_exact_spread():
    """sigma^2 (n - 2 * 18) / sigma^2 is chi-squared where no sd is near 0: sd(sigma) = sigma / sqrt(2 * 144)."""
    table = sleep_bootstrap().table
    assert table.loc["sigma", "se"] == pytest.approx(sleep_point().sigma / np.sqrt(288), rel=5 / np.sqrt(800))


def test_the_table_is_made_of_the_draws():
    found = sleep_bootstrap()
    days = found.draws["beta[Days]"]
    row = found.summary(0.8).loc["beta[Days]"]
    assert row["bias"] == pytest.approx(days.mean() - sleep_point().beta[1]) and row["se"] == pytest.approx(days.std())
    assert (row["lower"], row["upper"]) == pytest.approx(tuple(np.quantile(days, [0.1, 0.9])))
    assert list(found.draws.columns) == list(sleep_fit().summary().index[:6])


def test_refits_do_not_depend_on_the_processors():
    one, two = (sleep_point().bootstrap(12, seed=4, cores=cores, progress=False) for cores in (1, 3))
    pd.testing.assert_frame_equal(one.draws, two.draws)
    response = simulator(sleep_point())(stream(4, "bootstrap", 4))
    refit = sleep_model().with_data(frame("sleepstudy").assign(Reaction=response)).maximize()
    assert one.draws.loc[4, "beta[Days]"] == pytest.approx(refit.beta[1], rel=1e-6)


def test_a_bootstrap_does_not_share_its_numbers_with_simulated_data():
    """The first refit of a bootstrap was that of the first response simulated with the same seed."""
    point = sleep_point()
    first = point.bootstrap(2, seed=1, progress=False).draws.loc[0, "sigma"]
    data = frame("sleepstudy").assign(Reaction=point.simulate(1, seed=1)["sim_1"])
    assert sleep_model().with_data(data).maximize().sigma != pytest.approx(first, rel=1e-3)


def test_the_print_says_how_many_refits_are_singular():
    point = bmm.Model("Reaction ~ Days + (Days | Subject)", frame("sleepstudy").iloc[:60]).maximize()
    found = point.bootstrap(40, seed=1, progress=False)
    assert 0 < found.singular.sum() < 40
    assert f"{found.singular.sum()} of the 40 refits are singular" in str(found)
    assert "All converged. With fewer than 200 refits the ends" in " ".join(str(found).split())


def test_what_can_not_be_fitted_is_counted():
    """A single success in each simulated response, or none: some have no maximum, none stops the bootstrap."""
    data = pd.DataFrame({"y": np.r_[np.ones(3), np.zeros(27)], "g": np.arange(30) % 10})
    found = bmm.Model("y ~ 1 + (1 | g)", data, "bernoulli").maximize().bootstrap(30, seed=1, progress=False)
    assert len(found.draws) + found.failed == 30
    assert "bernoulli" not in str(found) and "refits" in str(found)


@pytest.mark.parametrize("method", ["ML", "MAP"])
def test_refits_are_by_the_same_method(method):
    point = sleep_model().maximize(method)
    found = point.bootstrap(2, seed=1, progress=False)
    data = frame("sleepstudy").assign(Reaction=simulator(point)(stream(1, "bootstrap", 0)))
    expected = sleep_model().with_data(data).maximize(method)
    assert found.draws.loc[0, "sigma"] == pytest.approx(expected.sigma, rel=1e-6)


def test_an_interrupted_bootstrap_keeps_what_is_done():
    done = []

    def advance():
        done.append(1)
        if len(done) == 5:
            raise KeyboardInterrupt

    def square(i):
        time.sleep(0.01)
        return i * i

    results, interrupted = repeat.repeated(square, 1000, 2, advance)
    assert interrupted and 5 <= len(results) < 100
    assert all(value == i * i for i, value in results.items())


def test_an_interrupted_bootstrap_says_so(monkeypatch):
    def stopped(task, number, cores, advance):
        return {i: task(i) for i in range(3)}, True

    monkeypatch.setattr("bayesmm.inference.simulation.bootstrap.repeated", stopped)
    found = sleep_point().bootstrap(50, seed=1, progress=False)
    assert len(found.draws) == 3 and "3 refits, seed 1, interrupted: 50 were asked for" in str(found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samples": 1}, "samples should be a whole number of at least 2, not 1"),
        ({"cores": 0}, "cores should be a whole number of at least 1"),
        ({"seed": -1}, "seed should be None or a whole number"),
    ],
)
def test_wrong_arguments_of_a_bootstrap(given, said):
    with pytest.raises(ValueError, match=said):
        sleep_point().bootstrap(**given)
