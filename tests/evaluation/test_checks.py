"""Every check fails on a posterior made bad for it, passes on its good twin, and says what to do."""

from dataclasses import replace

import numpy as np
import pytest
from fake_fits import RECORD, fake_block, fake_design, fake_draws, fake_fit, fake_stats

from bayesmm.display.text_tables import apart
from bayesmm.evaluation.checks import EFFECTS_LIMIT, Check, Checks, suspicious, verdict

NAMES = ["divergences", "R-hat", "bulk ESS", "tail ESS", "E-BFMI", "tree depth", "chains", "interrupted", "tuning"]


def changed(name, change, seed=0, design=None):
    """Return draws in which `change` was applied to a copy of one variable, (chains, draws, ...)."""
    draws = fake_draws(design or fake_design(), seed)
    dims, values = draws[name]
    values = values.copy()
    change(values)
    return draws | {name: (dims, values)}


def with_stats(**changes):
    return fake_stats() | changes


def sticky(values):
    """Replace the draws of one parameter by a slow random walk, the same in mean for all chains."""
    steps = np.random.default_rng(3).normal(size=values.shape[:2])
    walk = np.zeros(values.shape[:2])
    for t in range(1, walk.shape[1]):
        walk[:, t] = 0.98 * walk[:, t - 1] + steps[:, t]
    values[...] = 20 + walk[..., None] if values.ndim == 3 else 20 + walk


def heavy_steps(values):
    """Hold |x| large or small for 50 draws at a time with signs at random: means mix, spreads and tails do not."""
    rng = np.random.default_rng(4)
    size = np.repeat(rng.lognormal(0, 1, (values.shape[0], values.shape[1] // 50)), 50, axis=1)
    values[...] = 25 + size * rng.choice([-1, 1], size=values.shape[:2]) * rng.uniform(0.9, 1.1, size=values.shape[:2])


def failures(fit):
    return {check.name: check.message for check in fit.checks() if not check.ok}


def shift_first_chain(values):
    values[0, :, 1] += 3.0


def diverge_at_small_sds(record=None):
    """Return a fit whose 40 draws with the smallest sd of Days diverged."""
    draws = fake_draws(fake_design())
    sds = draws["sd_Subject"][1][..., 1]
    return fake_fit(draws=draws, stats=with_stats(diverging=sds <= np.sort(sds.ravel())[39]), record=record)


def test_a_good_posterior_passes_every_check():
    checks = fake_fit().checks()
    assert [check.name for check in checks][: len(NAMES)] == NAMES  # and then those of test_checks_model.py
    assert all(check.ok for check in checks), failures(fake_fit())
    assert verdict(checks).startswith("Checks passed: R-hat <= 1.0")
    assert verdict(checks).endswith("no divergence.")


def test_a_chain_elsewhere_fails_r_hat_and_names_the_parameter():
    found = failures(fake_fit(draws=changed("sd_Subject", shift_first_chain)))
    assert set(found) == {"R-hat", "bulk ESS", "tail ESS"}  # a chain apart also has few effective draws
    assert "sd_Subject[Days]" in found["R-hat"] and "limit 1.01" in found["R-hat"]
    assert "sample longer, with tune=2000 and draws=2000." in found["R-hat"]


def test_few_effective_draws_fail_ess():
    found = failures(fake_fit(draws=changed("sigma", sticky)))
    assert {"bulk ESS", "tail ESS"} <= set(found)
    assert " for sigma (limit 400)" in found["bulk ESS"]


def test_a_tail_that_is_visited_rarely_fails_tail_ess_only():
    draws = changed("sigma", heavy_steps)
    by_name = {check.name: check for check in fake_fit(draws=draws).checks()}
    assert by_name["bulk ESS"].ok
    assert not by_name["tail ESS"].ok and "sigma" in by_name["tail ESS"].message


def test_divergences_say_where_they_cluster():
    found = failures(diverge_at_small_sds())
    assert set(found) == {"divergences"}
    assert found["divergences"].startswith(
        "40 of 2,000 draws diverged (2 %), mostly at small values of sd_Subject[Days]"
    )
    assert "target_accept" in found["divergences"]


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ({"effects": "explicit", "centred": True}, "sample with effects='marginal', which integrates"),
        ({"effects": "auto", "centred": True}, "sample with centred=False, or with target_accept"),
        ({"effects": "auto", "centred": "auto"}, "sample with target_accept"),
    ],
)
def test_the_advice_begins_with_the_graph_that_was_asked_for(asked, advice):
    fit = diverge_at_small_sds(record=RECORD | {"asked": asked})
    assert advice in failures(fit)["divergences"]


def test_divergences_at_large_values_are_called_large():
    draws = fake_draws(fake_design())
    sds = draws["sd_Subject"][1][..., 0]
    fit = fake_fit(draws=draws, stats=with_stats(diverging=sds >= np.sort(sds.ravel())[-40]))
    assert "mostly at large values of sd_Subject[Intercept]" in failures(fit)["divergences"]


def test_divergences_that_are_everywhere_are_called_so():
    everywhere = np.random.default_rng(0).random((4, 500)) < 0.1
    found = failures(fake_fit(stats=with_stats(diverging=everywhere)))["divergences"]
    assert found.endswith("no parameter stands out; sample with target_accept=0.99.")


def test_one_divergence_is_no_reason_to_change_the_model_and_advice_goes_beyond_what_was_tried():
    draws = fake_draws(fake_design())
    sds = draws["sd_Subject"][1][..., 1]
    one = fake_fit(draws=draws, stats=with_stats(diverging=sds == sds.min()), record=RECORD | {"target_accept": 0.99})
    assert failures(one)["divergences"] == (
        "1 of 2,000 draws diverged (0.05 %): so few move means and intervals by little, if at all; see that they stay "
        "with target_accept=0.999. The model need not be written in another way."
    )


@pytest.mark.parametrize(
    ("blocks", "advice"),
    [
        (None, "sample with effects='marginal', which integrates the random effects out, or with target_accept=0.99."),
        ((), "sample with target_accept=0.99."),
    ],
)
def test_the_advice_names_the_graph_where_no_parameter_stands_out(blocks, advice):
    design = fake_design() if blocks is None else fake_design(blocks=blocks)
    everywhere = np.random.default_rng(0).random((4, 500)) < 0.1
    record = RECORD | {"asked": {"effects": "explicit"}}
    fit = fake_fit(design, stats=with_stats(diverging=everywhere), record=record)
    assert failures(fit)["divergences"].endswith(f": no parameter stands out; {advice}")


def test_divergences_of_a_model_without_random_effects():
    fit = fake_fit(fake_design(blocks=()), stats=with_stats(diverging=np.eye(4, 500, dtype=bool)))
    assert failures(fit)["divergences"].startswith("4 of 2,000 draws diverged (0.2 %)")


def test_a_factor_with_few_levels_is_advised_a_prior():
    design = fake_design([fake_block("Batch", 4)])
    found = failures(fake_fit(design, changed("sd_Batch", shift_first_chain, design=design)))
    assert "Batch has 4 levels" in found["R-hat"]
    assert 'sd_Batch an informative prior, such as bmm.Prior("HalfNormal"' in found["R-hat"]


def test_an_aliased_coefficient_is_advised_to_go():
    design = fake_design(coefficients=("Intercept", "a", "b"), aliased=(2,))
    found = failures(fake_fit(design, changed("beta", shift_first_chain, design=design)))
    assert "b is a linear combination" in found["R-hat"]


def test_energy_that_moves_slowly_fails_e_bfmi_and_names_the_chain():
    energy = fake_stats()["energy"]
    energy[2] = np.cumsum(energy[2]) * 3
    found = failures(fake_fit(stats=with_stats(energy=energy)))
    assert set(found) == {"E-BFMI"}
    assert "in chain 2 (limit 0.3)" in found["E-BFMI"] and "sd_Subject" in found["E-BFMI"]


def test_trajectories_cut_off_fail_tree_depth():
    cut = np.zeros((4, 500), dtype=bool)
    cut[1, :25] = True  # exactly 5 % of one chain: the limit itself still passes
    assert "tree depth" not in failures(fake_fit(stats=with_stats(reached_max_treedepth=cut)))
    cut[1, 25] = True
    found = failures(fake_fit(stats=with_stats(reached_max_treedepth=cut)))
    assert set(found) == {"tree depth"} and "tune=2000" in found["tree depth"]


def test_one_chain_fails_because_nothing_can_be_compared():
    draws = fake_draws(fake_design(), chains=1, draws=2000)
    checks = {check.name: check for check in fake_fit(draws=draws).checks()}
    assert not checks["chains"].ok and "chains=4" in checks["chains"].message
    assert checks["R-hat"].ok and np.isnan(checks["R-hat"].value)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"interrupted": True, "draws": 2000}, "interrupted", "stopped after 500 of 2,000 draws"),
        ({"tune": 0}, "tuning", "tune=1000"),
    ],
)
def test_what_the_sampler_recorded_about_its_run(change, name, words):
    found = failures(fake_fit(record=RECORD | change))
    assert set(found) == {name} and words in found[name]


def test_what_is_not_recorded_does_not_fail_and_is_not_claimed():
    fit = fake_fit(stats=None, record={})
    assert failures(fit) == {}
    assert "divergence" not in verdict(fit.checks())


def test_fixed_parameters_are_left_out():
    def fix(values):
        values[...] = 25.0

    assert failures(fake_fit(draws=changed("sigma", fix))) == {}


def test_draws_that_are_not_numbers_fail():
    def spoil(values):
        values[2, 7] = np.nan

    found = failures(fake_fit(draws=changed("sigma", spoil)))
    assert {"R-hat", "bulk ESS", "tail ESS"} <= set(found) and "nan for sigma" in found["R-hat"]


def test_chains_that_never_move_fail_without_a_warning():
    def freeze(values):
        values[...] = np.arange(4.0)[:, None]

    assert "R-hat" in failures(fake_fit(draws=changed("sigma", freeze)))


def test_three_draws_fail():
    assert {"R-hat", "bulk ESS"} <= set(failures(fake_fit(draws=fake_draws(fake_design(), draws=3))))


def test_one_bad_effect_is_found_among_a_thousand_levels():
    design = fake_design([fake_block("Pupil", 1000, ("Intercept",), ((0,),), rows=1000)], rows=1000)

    def shift(values):
        values[0, :, 637] += 5.0

    assert "b_Pupil[P637, Intercept]" in failures(fake_fit(design, changed("b_Pupil", shift, design=design)))["R-hat"]


def test_suspicious_takes_the_shifted_and_the_sticky_and_no_more_than_asked():
    draws = np.random.default_rng(0).normal(size=(1000, 2, 100))
    draws[3, 0] += 9
    draws[5] = np.sin(np.arange(100) * 2 * np.pi / 25)  # the halves of the chains have the same mean
    chosen = suspicious(draws, EFFECTS_LIMIT)
    assert {3, 5} <= set(chosen)
    assert EFFECTS_LIMIT / 2 <= len(chosen) <= EFFECTS_LIMIT
    assert list(suspicious(draws[:7], EFFECTS_LIMIT)) == list(range(7))


def test_the_verdict_of_a_failure_has_a_line_for_each_check():
    lines = verdict(fake_fit(record=RECORD | {"interrupted": True, "tune": 0}).checks()).split("\n")
    assert lines[0] == "CHECKS FAILED: interrupted, tuning."
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["interrupted", "tuning"]


def test_notes_stand_under_the_failures():
    checks = fake_fit(record=RECORD | {"interrupted": True}).checks()
    notes = [replace(check, ok=True, note=True) for check in checks[-2:]]
    few = replace(notes[0], name="few groups")  # which the print says already
    lines = verdict([*checks[:-2], *notes, few]).split("\n")
    assert lines[0] == "CHECKS FAILED: interrupted." and lines[1].startswith("  interrupted: ")
    assert lines[2:] == [f"  Note, {note.name}: {note.message}" for note in notes]


def test_the_verdict_never_rounds_in_its_own_favour():
    checks = fake_fit().checks()
    by_name = {check.name: check for check in checks}
    said = verdict(checks)
    r_hat = float(said.split("R-hat <= ")[1].split(",")[0])
    ess = float(said.split("ESS >= ")[1].split(", no")[0].replace(",", ""))
    assert by_name["R-hat"].value <= r_hat <= by_name["R-hat"].value + 1e-3
    lowest = min(by_name["bulk ESS"].value, by_name["tail ESS"].value)
    assert lowest - 1 < ess <= lowest


@pytest.mark.parametrize(("share", "few"), [(1, True), (19, True), (20, False), (1000, False)])
def test_few_divergences_send_nobody_off_to_change_the_model(share, few):
    # of 20,000 explicit draws: 0.005 % and 5 % are no case for the same words; the check fails for both
    diverging = np.zeros((4, 5000), dtype=bool)
    diverging.ravel()[: share * 20 : 20] = True
    draws = fake_draws(fake_design())
    draws = {
        name: (dims, np.tile(values, (1, 10) + (1,) * (values.ndim - 2))) for name, (dims, values) in draws.items()
    }
    record = RECORD | {"asked": {"effects": "explicit"}}
    said = failures(fake_fit(draws=draws, stats=fake_stats(4, 5000) | {"diverging": diverging}, record=record))
    assert ("effects='marginal'" in said["divergences"]) is not few
    assert ("need not be written in another way" in said["divergences"]) is few


@pytest.mark.parametrize(
    ("value", "limit", "form", "texts"),
    [
        (0.704, 0.7, {}, ("0.704", "0.7")),
        (0.8, 0.7, {}, ("0.80", "0.7")),
        (1.0102, 1.01, {"digits": 3}, ("1.0102", "1.01")),
        (0.0504, 0.05, {"digits": 0, "kind": "%"}, ("5.04%", "5%")),
        (0.00999, 0.01, {"kind": "g"}, ("0.00999", "0.01")),
        (400.2, 400, {"digits": 0}, ("400.2", "400")),
        (0.7, 0.7, {}, ("0.70", "0.7")),
        (float("inf"), 0.7, {}, ("inf", "0.7")),
    ],
)
def test_a_value_and_its_limit_read_the_same_only_if_they_are(value, limit, form, texts):
    assert apart(value, limit, **form) == texts


def test_checks_print_a_line_each_with_the_failures_first():
    passed = Check("shape", True, 0.1, 1.0, "within the limit")
    failed = Check(
        "divergences", False, 3, 0, "3 of 4,000 draws; " + "look at the priors of the standard deviations, " * 4
    )
    lines = repr(Checks([passed, failed])).splitlines()
    assert lines[0].startswith("failed      divergences: 3 of 4,000 draws; look at the priors")
    assert lines[1].startswith(" " * 12) and lines[-1] == "passed      shape: within the limit"
    shown = Checks([passed, failed])._repr_html_()
    assert "CHECKS FAILED: divergences." in shown and "within the limit" in shown
