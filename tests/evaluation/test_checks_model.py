"""What the checks say about the model: each remark is made of a model known to be wrong, and not of its good twin."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_fits import RECORD, fake_block, fake_design, fake_draws, fake_fit, posterior_near

import bayesmm as bmm
from bayesmm.evaluation.checks import verdict
from bayesmm.evaluation.checks.model import few_groups, said_p, tail
from bayesmm.evaluation.checks.sampling import asks_for_prior
from bayesmm.evaluation.prior_marginals import PriorMarginal
from bayesmm.priors.prior import Prior

NOTES = ["few groups", "singular", "boundary", "prior conflict", "residual shape", "dispersion", "zeros"]


def check(fit, name):
    return next(each for each in fit.checks() if each.name == name)


def notes(fit):
    return {each.name for each in fit.checks() if each.status == "note"}


def with_draws(name, values, design=None):
    """Return a fit with other draws of one variable."""
    draws = fake_draws(design or fake_design())
    dims, old = draws[name]
    changed = old.copy()
    values(changed)
    return fake_fit(design, draws | {name: (dims, changed)})


def counts(rng, shape=None, zero=0.0, groups=10, rows=30):
    """Return counts of groups: Poisson, with gamma noise of this shape, or with a share of zeros put in."""
    g = np.repeat(np.arange(groups), rows)
    mean = 4 * np.exp(0.4 * rng.normal(size=groups)[g])
    mean = mean if shape is None else mean * rng.gamma(shape, size=len(g)) / shape
    n = np.where(rng.random(len(g)) < zero, 0, rng.poisson(mean))
    return pd.DataFrame({"n": n, "g": [f"g{i}" for i in g]})


def test_a_good_posterior_has_no_note():
    fit = fake_fit()
    assert [each.name for each in fit.checks()][-7:] == NOTES
    assert notes(fit) == set() and verdict(fit.checks()).count("\n") == 0
    assert {each.status for each in fit.checks()} <= {"passed", "not judged"}


def test_every_check_has_a_source():
    for each in fake_fit().checks():
        assert each.source


def test_notes_fail_nothing_and_follow_the_verdict():
    fit = with_draws(
        "sd_Subject", lambda sds: np.copyto(sds[..., 1], np.abs(np.random.default_rng(0).normal(size=(4, 500))))
    )
    assert all(each.ok for each in fit.checks())
    first, *more = verdict(fit.checks()).split("\n")
    assert first.startswith("Checks passed: R-hat <= ") and first.endswith("no divergence.")
    assert [line.split(":")[0] for line in more] == ["  Note, boundary"]
    assert str(fit).startswith("Checks passed: ")
    failed = dataclasses.replace(fit.checks()[0], ok=False, message="bad")
    lines = verdict([failed, *fit.checks()[1:]]).split("\n")
    assert lines == ["CHECKS FAILED: divergences.", "  divergences: bad", *more]


# ----------------------------------------------------------------------------------------------------------------------
# groups and bounds


def test_few_groups_are_named_but_not_printed_twice():
    few, enough = (fake_fit(fake_design([fake_block("Batch", levels)])) for levels in (4, 5))
    said = check(few, "few groups")
    assert said.status == "note" and said.value == 4 and said.limit == 5
    assert "Batch has 4 levels" in said.message and "sd_Batch an informative prior" in said.message
    assert check(enough, "few groups").status == "passed"
    assert "few groups" not in verdict(few.checks())  # the warning about the data stands beside the verdict
    assert np.isnan(check(fake_fit(fake_design(blocks=())), "few groups").value)


def few_batches():
    """Return responses in four batches and three labs."""
    rng = np.random.default_rng(3)
    y = rng.normal(size=48)
    return pd.DataFrame({"y": y, "x": np.arange(48) % 7, "Batch": list("abcd") * 12, "Lab": np.repeat(list("uvw"), 16)})


OWN = bmm.Prior("HalfNormal", sigma=0.5)


@pytest.mark.parametrize("key", ["sd", "sd_Batch", "sd_Batch[Intercept]"])
def test_whoever_gave_the_sd_of_few_groups_a_prior_is_not_asked_for_one(key):
    model = bmm.Model("y ~ x + (1 | Batch)", few_batches(), priors={key: OWN})
    (message,) = model.design.messages
    assert message.level == "note" and "the posterior rests much on the prior given for sd_Batch" in message.text
    fit = model.sample(50, seed=1, progress=False)
    said = check(fit, "few groups")
    assert said.status == "passed" and said.value == 4
    assert said.message == "Batch has 4 levels, so that the prior given for sd_Batch matters; see fit.sensitivity()"
    assert "informative" not in str(fit) + repr(fit.checks())


def test_an_sd_that_is_fixed_is_not_learned_from_few_groups():
    model = bmm.Model("y ~ x + (1 | Batch)", few_batches(), priors={"sd": 0.5})
    said = check(model.sample(50, seed=1, progress=False), "few groups")
    assert said.status == "passed" and said.message == "Batch has 4 levels, and no sd to learn"


def test_defaults_given_again_and_flat_priors_are_no_information():
    model = bmm.Model("y ~ x + (1 | Batch)", few_batches())
    flat = model.with_priors({"sd": bmm.Prior("HalfFlat")})
    for each in (model, model.with_priors(dict(model.priors)), flat, model.with_priors({"sd": OWN}).with_priors(None)):
        (message,) = each.design.messages
        assert message.level == "warning" and "give sd_Batch an informative one" in message.text
    assert model.with_priors({"sd": OWN}).design.messages[0].level == "note"
    assert model.with_priors({"sd": 0.7}).design.messages == ()  # held fixed: there is nothing to learn


def test_only_the_sds_without_a_prior_are_asked_for():
    priors = {"sd_Batch[x]": OWN, "sd_Lab": OWN}
    model = bmm.Model("y ~ x + (x | Batch) + (1 | Lab)", few_batches(), priors=priors)
    text = {message.level: message.text for message in model.design.messages}
    assert "give sd_Batch[Intercept] an informative one" in text["warning"] and "given for sd_Lab" in text["note"]
    message = few_groups(SimpleNamespace(fit=SimpleNamespace(design=model.design, model=model))).message
    assert message.startswith("Batch has 4 levels") and "give sd_Batch[Intercept] an informative prior" in message
    evidence = SimpleNamespace(priors=model.priors)  # what a failed R-hat advises
    assert [asks_for_prior(evidence, block) for block in model.design.blocks] == [True, False]


@pytest.mark.parametrize(("r", "status"), [(0.97, "note"), (-0.97, "note"), (0.9, "passed")])
def test_a_correlation_near_one_is_nearly_singular(r, status):
    def correlate(R):
        R[..., 0, 1] = R[..., 1, 0] = r + 0.01 * np.random.default_rng(1).normal(size=R.shape[:2])

    said = check(with_draws("corr_Subject", correlate), "singular")
    assert said.status == status
    assert said.value == pytest.approx(1 - abs(r), abs=0.002)  # the median of 2,000 draws with an sd of 0.01
    if status == "note":
        assert f"the correlation of Intercept and Days in Subject is {r:.2f}" in said.message and "||" in said.message


@pytest.mark.parametrize("far", [0.0, 2000.0])
def test_a_correlation_is_judged_at_the_means(far):
    """Far from the data every intercept and slope correlate by nearly 1 or -1."""
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(20), 8), rng.normal(size=160)
    y = rng.normal(size=20)[g] + x * rng.normal(size=20)[g] + 0.5 * rng.normal(size=160)
    model = bmm.Model("y ~ x + (x | g)", {"y": y, "x": x + far, "g": g})
    said = check(model.sample(200, seed=1, sampler="importance", progress=False), "singular")
    assert said.status == "passed" and said.value == pytest.approx(0.75, abs=0.2)


def test_an_sd_piled_up_at_0_is_named_with_an_upper_limit_and_one_away_from_0_is_not():
    rng = np.random.default_rng(0)
    near = with_draws("sd_Subject", lambda sds: np.copyto(sds[..., 1], np.abs(rng.normal(size=(4, 500)))))
    said = check(near, "boundary")
    assert said.status == "note" and said.value > 0.9
    assert (
        "sd_Subject[Days] does not exclude 0 (" in said.message
        and "leave it out of the terms of Subject" in said.message
    )
    upper = float(said.message.split("report ")[1].split(" ")[0])
    assert upper == pytest.approx(2.24, abs=0.15)  # the quantile of a half-normal; its error with 2,000 draws is 0.05
    model = dataclasses.replace(near.model, priors={"sigma": Prior("HalfNormal", sigma=0.1)})  # in the wrong units
    said = check(dataclasses.replace(near, model=model), "boundary")
    assert said.status == "note" and "what the note on prior conflict says, so mend that first" in said.message
    away = with_draws("sd_Subject", lambda sds: np.copyto(sds[..., 1], rng.gamma(4.0, size=(4, 500))))
    assert check(away, "boundary").status == "passed"


def test_an_sd_that_is_0_at_the_means_is_not_left_out_where_the_predictor_is_0():
    """`(0 + x | g)` has groups that are equal at x = 0, far from the data; `(0 + center(x) | g)` was meant."""
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(20), 8), rng.uniform(4, 6, 160)
    y = 1 + (x - 5) * rng.normal(0, 2, 20)[g] + rng.normal(size=160)
    model = bmm.Model("y ~ x + (x | g)", {"y": y, "x": x, "g": g})
    said = check(model.sample(400, seed=1, sampler="importance", progress=False), "boundary")
    assert said.status == "note" and "sd_g[Intercept] at the means does not exclude 0" in said.message
    assert "leave it out of the terms of g, with center() around the others, or report" in said.message


def test_a_correlation_piled_up_at_one_and_a_prior_that_ends_there():
    rng = np.random.default_rng(0)

    def pile(R):
        R[..., 0, 1] = R[..., 1, 0] = 1 - 0.2 * np.abs(rng.normal(size=R.shape[:2]))

    said = check(with_draws("corr_Subject", pile), "boundary")
    assert said.status == "note" and "does not exclude 1 (" in said.message
    fit = with_draws("sigma", lambda sigma: np.copyto(sigma, 30 - np.abs(rng.normal(size=(4, 500)))))
    for high, status in ((30.0, "note"), (60.0, "passed")):
        model = dataclasses.replace(fit.model, priors={"sigma": Prior("Uniform", lower=0, upper=high)})
        said = check(dataclasses.replace(fit, model=model), "boundary")
        assert said.status == status
        assert status == "passed" or "peak), where its prior Uniform(lower=0, upper=30) ends" in said.message


# ----------------------------------------------------------------------------------------------------------------------
# priors


@pytest.mark.parametrize(("sigma", "status"), [(50.0, "passed"), (2.0, "note")])
def test_a_posterior_in_the_tail_of_its_prior_is_named(sigma, status):
    fit = fake_fit()  # beta[Days] is about 10
    model = dataclasses.replace(fit.model, priors={"beta[Days]": Prior("Normal", mu=0, sigma=sigma)})
    said = check(dataclasses.replace(fit, model=model), "prior conflict")
    assert said.status == status
    if status == "note":
        assert "the prior of beta[Days]" in said.message and "widen it" in said.message


def test_the_tail_of_a_prior_is_two_sided_unless_it_falls_from_its_start():
    def of(prior):
        return PriorMarginal("a", prior, lambda x: np.exp(prior.logpdf(x)), prior.quantile)

    assert tail(of(Prior("Normal", mu=0, sigma=1)), 1.96) == pytest.approx(0.05, abs=1e-4)
    assert tail(of(Prior("Normal", mu=0, sigma=1)), -2.576) == pytest.approx(0.01, abs=1e-4)
    assert tail(of(Prior("HalfNormal", sigma=1)), 1.96) == pytest.approx(0.05, abs=1e-4)
    assert tail(of(Prior("HalfNormal", sigma=1)), 0.001) > 0.99  # small values are no surprise
    assert tail(of(Prior("InverseGamma", alpha=3, beta=30)), 0.5) < 1e-6  # here they are
    assert tail(of(Prior("Normal", mu=0, sigma=1)), 40.0) < 3e-9


# ----------------------------------------------------------------------------------------------------------------------
# residuals and counts


def lines(error):
    g = np.repeat(np.arange(8), 15)
    y = 20 + np.random.default_rng(1).normal(size=8)[g] + error
    return bmm.Model(
        "y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g.astype(str)}, index=[f"row{i}" for i in range(120)])
    )


def test_an_outlier_is_named_by_its_row_and_a_skewed_response_gets_a_logarithm():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=120)
    assert check(posterior_near(lines(noise)), "residual shape").status == "passed"
    spoilt = noise.copy()
    spoilt[37] += 9
    said = check(posterior_near(lines(spoilt)), "residual shape")
    assert said.status == "note" and said.value > said.limit > 4
    assert "row row37" in said.message and "family='student'" in said.message
    said = check(posterior_near(lines(0.7 * rng.gamma(1.5, size=120))), "residual shape")
    assert said.status == "note" and "skewness" in said.message and "logarithm" in said.message


def test_a_tail_that_points_down_gets_no_logarithm():
    tail = -0.7 * np.random.default_rng(4).gamma(1.5, size=120)
    said = check(posterior_near(lines(tail)), "residual shape")
    assert said.status == "note" and "skewness of -" in said.message
    assert said.message.endswith("transform it.")


def test_overdispersed_counts_fail_a_poisson_model_and_not_the_negative_binomial():
    data = counts(np.random.default_rng(6), shape=2.0)
    said = check(posterior_near(bmm.Model("n ~ 1 + (1 | g)", data, "poisson")), "dispersion")
    assert said.status == "note" and said.value < 0.01 and "family='negbinomial'" in said.message
    assert notes(posterior_near(bmm.Model("n ~ 1 + (1 | g)", data, "negbinomial"))) == set()
    data = counts(np.random.default_rng(6))
    assert notes(posterior_near(bmm.Model("n ~ 1 + (1 | g)", data, "poisson"))) == set()


def test_too_many_zeros_are_counted():
    data = counts(np.random.default_rng(7), zero=0.15)
    said = check(posterior_near(bmm.Model("n ~ 1 + (1 | g)", data, "poisson")), "zeros")
    assert said.status == "note"
    assert f"{(data['n'] == 0).sum()} zeros" in said.message
    assert "use family='negbinomial' or 'zero_inflated_poisson', or model whether" in said.message


def test_overdispersed_successes_get_a_term_for_each_row():
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(8), 12)
    for noise, status in ((0.0, "passed"), (1.0, "note")):
        eta = 0.5 * rng.normal(size=8)[g] + noise * rng.normal(size=96)
        data = pd.DataFrame({"k": rng.binomial(25, 1 / (1 + np.exp(-eta))), "m": 25, "g": g.astype(str)})
        said = check(posterior_near(bmm.Model("k ~ 1 + (1 | g)", data, "binomial", trials="m")), "dispersion")
        assert said.status == status
        assert status == "passed" or "(1 | row)" in said.message


def test_a_response_of_0_and_1_and_effects_that_were_not_kept_are_not_judged():
    rng = np.random.default_rng(9)
    data = pd.DataFrame({"y": rng.integers(0, 2, 80), "g": np.repeat(np.arange(8), 10).astype(str)})
    assert np.isnan(check(posterior_near(bmm.Model("y ~ 1 + (1 | g)", data, "bernoulli")), "dispersion").value)
    draws = {name: value for name, value in fake_draws(fake_design()).items() if not name.startswith("b_")}
    fit = fake_fit(draws=draws, record=RECORD)
    assert np.isnan(check(fit, "residual shape").value) and notes(fit) == set()
    assert str(fit).startswith("Checks passed")


def test_the_same_fit_has_the_same_answer():
    fit = posterior_near(bmm.Model("n ~ 1 + (1 | g)", counts(np.random.default_rng(6)), "poisson"))
    assert check(fit, "dispersion") == check(fit, "dispersion")


def test_a_p_of_no_replicate_is_below_one_of_them():
    assert said_p(0.0, 400) == "p < 0.0025 (limit 0.01)" and said_p(0.25, 400) == "p = 0.25 (limit 0.01)"
