"""The distribution of a censored response without a model: worked examples, and one estimator against the other."""

import numpy as np
import pytest

from bayesmm.families.limits import Limits
from bayesmm.posterior.survival import _turnbull, observed_survival

# Remission times in weeks of 21 patients on 6-mercaptopurine (Freireich et al. 1963, Blood 21, 699-716), "+" censored,
# and the product-limit estimate as Cox & Oakes (1984, Analysis of Survival Data, table 4.1) print it
TIMES = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+".split()
PRINTED = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}


def remission():
    y = np.array([float(time.rstrip("+")) for time in TIMES])
    return y, np.where([time.endswith("+") for time in TIMES], np.inf, np.nan)


def test_kaplan_and_meier_as_printed():
    y, other = remission()
    found = observed_survival(y, Limits(other))
    assert dict(zip(found.end, found.share.round(3), strict=True)) == PRINTED


def test_turnbulls_estimate_of_right_censored_rows_is_kaplan_and_meiers():
    y, other = remission()
    limits = Limits(other)
    found = _turnbull(*limits.known(y), limits, np.ones(len(y)))
    exact = observed_survival(y, limits)
    # the first steps; the share beyond the last event is that of the rows censored there
    np.testing.assert_array_equal(found.end[:7], exact.end)
    np.testing.assert_allclose(found.share[:7], exact.share, atol=1e-6)


def test_left_censored_rows_by_turning_the_axis_round():
    y, other = remission()
    y = y + 0.5 * (other == np.inf)  # at or below is not the mirror image of above, where there are ties
    turned = observed_survival(-y, Limits(-other))
    exact = observed_survival(y, Limits(other))
    # P(-Y > -t) = 1 - P(Y >= t): the steps are at the same places, of the same sizes
    sizes = np.diff(np.concatenate([[1.0], exact.share]))
    at = [int(np.flatnonzero(np.isclose(turned.end, -t))[0]) for t in exact.end]
    before = np.concatenate([[1.0], turned.share])
    np.testing.assert_allclose([before[k + 1] - before[k] for k in at], sizes, atol=1e-6)


def test_intervals_that_do_not_overlap_have_their_shares():
    y, end = np.array([0.0, 0.0, 2.0, 4.0]), np.array([1.0, 1.0, 3.0, 5.0])
    found = observed_survival(y, Limits(end))
    np.testing.assert_allclose(found.end, [1, 3, 5])
    np.testing.assert_allclose(found.start, [0, 2, 4])
    np.testing.assert_allclose(found.share, [0.5, 0.25, 0.0], atol=1e-8)


def test_a_weight_is_so_many_rows():
    y, other = remission()
    weights = 1.0 + np.arange(len(y)) % 3
    many = np.repeat(np.arange(len(y)), weights.astype(int))
    weighted, repeated = observed_survival(y, Limits(other), weights), observed_survival(y[many], Limits(other[many]))
    np.testing.assert_allclose(weighted.share, repeated.share)


def test_who_enters_late_is_not_at_risk_before():
    y, low = np.array([1.0, 2.0, 3.0]), np.array([-np.inf, 1.5, -np.inf])
    found = observed_survival(y, Limits(np.full(3, np.nan), low, np.full(3, np.inf)))
    assert found.share == pytest.approx([1 / 2, 1 / 4, 0])
