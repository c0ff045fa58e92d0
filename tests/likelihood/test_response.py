"""The compiled log densities: values against SciPy, derivatives against differences, and the tails."""

import numpy as np
import pytest
from densities import CASES, FAMILIES, LINKS, auxiliaries, codes, differences, log_density, responses
from scipy import special

from bayesmm.families import families, links
from bayesmm.families.special import log_gamma_ratio, log_normal_cdf, polygamma
from bayesmm.likelihood import response_kernels as response

# Sixth-order differences with a step of 0.01 leave about 1e-10 of values of order 1 to 100.
DIFFERENCE = 1e-7


def table(family, link, n=60):
    rng = np.random.default_rng(len(family) * 10 + len(link))
    y, size = responses(family, rng, n)
    eta = rng.uniform(0.3, 2, n) if link == "inverse" else rng.uniform(-3, 1.5 if link == "cloglog" else 3, n)
    return y, size, eta, auxiliaries(family, rng)


def rows(function, family, link, y, size, eta, aux):
    return np.array([function(*codes(family, link), *row, aux) for row in zip(y, size, eta, strict=True)])


def test_codes_are_those_of_the_families():
    first = list(families.FAMILIES.values())[: len(FAMILIES)]
    assert {name: FAMILIES.index(name) for name in FAMILIES} == {f.name: f.number for f in first}
    assert {name: LINKS.index(name) for name in LINKS} == {link.name: link.code for link in links.LINKS.values()}


def test_a_number_that_is_no_address_is_no_family():
    """A density that is called through an address must not be looked for at a small number: the process would end."""
    gaussian = families.FAMILIES["gaussian"]
    assert gaussian.kernels.row is None
    assert response.derivatives(gaussian.number, 0, 1.0, 1.0, 0.0, np.ones(2)) == (-np.inf, 0.0, 0.0, 0.0)
    assert response.score_auxiliary(gaussian.number, 0, 1.0, 1.0, 0.0, np.ones(3)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("family, link", CASES)
def test_values_are_scipys(family, link):
    y, size, eta, aux = table(family, link)
    expected = log_density(family, link, y, size, eta, aux)
    # SciPy's own densities are sums of terms of order 10 that cancel
    np.testing.assert_allclose(rows(response.log_density, family, link, y, size, eta, aux), expected, atol=1e-11)


@pytest.mark.parametrize("family, link", CASES)
def test_derivatives_in_the_linear_predictor(family, link):
    y, size, eta, aux = table(family, link)
    own = rows(response.derivatives, family, link, y, size, eta, aux)
    lower = [lambda e: log_density(family, link, y, size, e, aux)]
    lower += [lambda e, k=k: rows(response.derivatives, family, link, y, size, e, aux)[:, k] for k in (1, 2)]
    for k, function in enumerate(lower, 1):
        scale = np.abs(own[:, k]).max() + 1
        np.testing.assert_allclose(own[:, k], differences(function, eta, h=5e-3), atol=DIFFERENCE * scale)


@pytest.mark.parametrize(
    "family, link", [case for case in CASES if case[0] not in ("poisson", "bernoulli", "binomial")]
)
def test_derivatives_in_the_auxiliaries(family, link):
    y, size, eta, aux = table(family, link)
    own = rows(response.score_auxiliary, family, link, y, size, eta, aux)
    for j in range(int((aux > 0).sum())):

        def moved(a, j=j):
            return log_density(family, link, y, size, eta, np.where(np.arange(3) == j, a, aux))

        scale = np.abs(own[:, j]).max() + 1
        np.testing.assert_allclose(own[:, j], differences(moved, aux[j], h=5e-3), atol=DIFFERENCE * scale)


@pytest.mark.parametrize("family, link", CASES)
@pytest.mark.parametrize("eta", [-1e308, -1e5, -800.0, -40.0, 0.0, 40.0, 800.0, 1e5, 1e308])
def test_a_wild_predictor_gives_minus_infinity_and_never_nan(family, link, eta):
    y = {"gamma": 2.0, "beta": 0.4}.get(family, 1.0)
    aux = auxiliaries(family, np.random.default_rng(1))
    value, *slopes = response.derivatives(*codes(family, link), y, 1.0, eta, aux)
    scores = response.score_auxiliary(*codes(family, link), y, 1.0, eta, aux)
    assert value < np.inf
    assert np.isfinite([*slopes, *scores]).all()
    assert np.isfinite(value) or slopes == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("eta", [-700.0, -40.0])
def test_the_tails_of_a_probability_are_not_rounded_to_zero(eta):
    """log p of a success at an eta where p itself has lost its digits."""
    for link, expected in (("logit", eta), ("cloglog", eta)):
        value, d1, *_ = response.derivatives(*codes("bernoulli", link), 1.0, 1.0, eta, np.zeros(3))
        assert value == pytest.approx(expected, rel=1e-15)
        assert d1 == pytest.approx(1.0, rel=1e-15)


# log Phi and its derivatives in 60-digit arithmetic (mpmath)
NORMAL_TAIL = {
    -40.0: (-804.60844201375379, 40.024968847207264, -0.99937733162140861, 3.1017440396486248e-5),
    -8.0: (-35.01343715991455, 8.1213681122361127, -0.98567511655665909, 0.0032918765663441355),
    -5.0: (-15.064998393988726, 5.1865039671258421, -0.96730356538288777, 0.0108257645063567),
}


@pytest.mark.parametrize("x", NORMAL_TAIL)
def test_normal_tail(x):
    np.testing.assert_allclose(log_normal_cdf(x), NORMAL_TAIL[x], rtol=1e-12)


@pytest.mark.parametrize("x", [1e-6, 0.3, 1.0, 7.5, 11.9, 12.0, 300.0])
def test_polygamma_and_gamma_ratio(x):
    np.testing.assert_allclose(polygamma(x), special.polygamma([0, 1, 2], x), rtol=1e-12)
    for y in (0.0, 0.5, 3.0, 45.0):
        value, slope = log_gamma_ratio(x, y)
        assert value == pytest.approx(special.gammaln(x + y) - special.gammaln(x), abs=1e-11)
        assert slope == pytest.approx(special.digamma(x + y) - special.digamma(x), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(
    "family, link, y, size, eta, aux, expected",
    [  # 60-digit arithmetic (mpmath, decimal); the terms are of order 1e7 and 1e9 and leave nothing of a sum in doubles
        ("poisson", "log", 1e6, 1.0, 13.8, 0.0, -127.49588720459796),
        ("binomial", "logit", 1e6, 2e6, 0.01, 0.0, -32.480016180934611),
        ("negbinomial", "log", 3.0, 1.0, 1.0, 1e8, -1.5100413122902744),
        ("beta", "logit", 0.501, 1.0, 0.0, 1e6, 4.6819636763347394),
        ("beta", "logit", 0.50001, 1.0, 0.0, 1e9, 9.9358415659402986),
    ],
)
def test_large_numbers_lose_no_digits(family, link, y, size, eta, aux, expected):
    value = response.log_density(*codes(family, link), y, size, eta, np.array([aux, 0.0, 0.0]))
    assert value == pytest.approx(expected, rel=1e-11)
