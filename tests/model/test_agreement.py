"""The marginal and the explicit graph are one posterior: every mean, sd and tail quantile, within Monte Carlo error."""

import arviz_stats as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from references import frame

import bayesmm as bmm
from bayesmm.sampling.graph.interpreted import without_compiler

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")]

# Two fits of 4 x 4,000 draws. About 4 x 60 comparisons a model, each a z-score of its own: with 5 standard errors of
# the difference, a false alarm in all of them together has a probability of 2e-4 if the errors were normal.
DRAWS, LIMIT, LEAST_ESS = 4000, 5.0, 1000
# Standard errors by arviz_stats.mcse: of the mean sd / sqrt(ESS); of the sd, from the ESS of the squared deviations
# (Vehtari et al. 2021, Bayesian Analysis 16(2), section 3 and appendix); of a quantile, half the width of an interval
# of order statistics that a beta distribution with the quantile's own ESS gives (ibid., section 4.4).
STATISTICS = {
    "mean": (lambda x: x.mean(("chain", "draw")), {"method": "mean"}),
    "sd": (lambda x: x.std(("chain", "draw"), ddof=1), {"method": "sd"}),
    "5 %": (lambda x: x.quantile(0.05, ("chain", "draw")), {"method": "quantile", "prob": 0.05}),
    "95 %": (lambda x: x.quantile(0.95, ("chain", "draw")), {"method": "quantile", "prob": 0.95}),
}


def crossed():
    """12 levels with a correlated slope, crossed with 10, two rows in each cell."""
    rng = np.random.default_rng(3)
    rows = np.arange(240)
    a, b, x = rows % 12, rows // 12 % 10, rng.normal(size=240)
    effects = rng.normal(0, 2, 12)[a] + rng.normal(0, 1, 12)[a] * x + rng.normal(0, 1.5, 10)[b]
    return pd.DataFrame({"y": 5 + 2 * x + effects + rng.normal(size=240), "x": x, "a": a, "b": b})


DAYS = "Reaction ~ Days + (Days | Subject)"
MODELS = {
    "sleepstudy": (DAYS, lambda: frame("sleepstudy"), None),
    "thyroxine": ("Level ~ 1 + (1 | Patient)", lambda: frame("thyroxine"), None),
    "crop_yield": ("Yield ~ N + P + (1 | Block)", lambda: frame("crop_yield"), None),
    "nested": ("strength ~ 1 + (1 | batch/cask)", lambda: frame("pastes"), None),
    "crossed": ("y ~ x + (x | a) + (1 | b)", crossed, None),
    "Student-t": (DAYS, lambda: frame("sleepstudy"), {"beta[Days]": bmm.Prior("StudentT", nu=4, mu=0, sigma=5)}),
}


@pytest.mark.parametrize("name", MODELS)
def test_both_graphs_give_one_posterior(name):
    formula, data, priors = MODELS[name]
    model = bmm.Model(formula, data(), priors=priors)
    # 0.95: the explicit posteriors of few groups are narrow where an sd is near 0, and a biased reference proves
    # nothing
    settings = dict(draws=DRAWS, tune=1000, progress=False, target_accept=0.95)
    trees = [model.sample(effects=e, seed=s, **settings).tree for e, s in (("marginal", 11), ("explicit", 12))]
    one, other = (tree["posterior"].to_dataset() for tree in trees)
    assert set(one.data_vars) == set(other.data_vars)
    for posterior in (one, other):
        assert least_ess(posterior) > LEAST_ESS
    worst = max(differences(one, other), key=lambda row: row[0])
    assert worst[0] <= LIMIT, worst


def test_centred_and_non_centred_give_one_posterior():
    """The explicit graph of sleepstudy in both parameterisations: no divergence, R-hat below 1.01, one posterior."""
    model = bmm.Model(DAYS, frame("sleepstudy"))
    settings = dict(effects="explicit", draws=DRAWS, tune=1000, progress=False, target_accept=0.95)
    trees = [model.sample(centred=c, seed=s, **settings).tree for c, s in ((True, 13), (False, 14))]
    one, other = (tree["posterior"].to_dataset() for tree in trees)
    for tree, posterior in zip(trees, (one, other), strict=True):
        assert int(tree["sample_stats"]["diverging"].sum()) == 0
        with np.errstate(invalid="ignore", divide="ignore"):
            assert max(float(np.nanmax(values)) for values in az.rhat(posterior).data_vars.values()) < 1.01
        assert least_ess(posterior) > LEAST_ESS
        # 40,000 independent draws of the marginal posterior: 6.210, sd 1.36; 5 standard errors at the least ESS
        assert posterior["sd_Subject"].sel(Subject_term="Days").mean() == pytest.approx(6.21, abs=0.22)
        assert abs(posterior["corr_Subject"].sel(Subject_term="Intercept", Subject_term_bis="Days").mean()) < 0.2
    worst = max(differences(one, other), key=lambda row: row[0])
    assert worst[0] <= LIMIT, worst


def least_ess(posterior):
    """Return the smallest bulk ESS; the constants on the diagonal of a correlation matrix have none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return min(float(np.nanmin(values)) for values in az.ess(posterior).data_vars.values())


def differences(one, other):
    """Return (|difference| / its standard error, statistic, variable, place) for every number of a posterior."""
    with np.errstate(invalid="ignore", divide="ignore"):  # ArviZ divides by the variance of constants
        return list(every_difference(one, other))


def every_difference(one, other):
    for statistic, (value, arguments) in STATISTICS.items():
        errors = [az.mcse(posterior, **arguments) for posterior in (one, other)]
        for variable in one.data_vars:
            gap = np.abs(value(one[variable]) - value(other[variable]).transpose(*one[variable].dims[2:])).values
            error = np.sqrt(sum(np.nan_to_num(each[variable].values) ** 2 for each in errors))
            moving = one[variable].std(("chain", "draw")).values > 0
            assert np.all(gap[~moving] == 0)
            for place in np.argwhere(moving):
                yield gap[tuple(place)] / error[tuple(place)], statistic, variable, tuple(place)


def test_a_posterior_that_is_8_percent_too_wide_is_seen():
    """What the comparison can find: an ESS of 16,000 gives an sd to 0.6 %, two of them differ by 1 %."""
    rng = np.random.default_rng(1)
    one, other = (dataset(rng.normal(0, scale, (4, DRAWS))) for scale in (1.0, 1.08))
    assert max(differences(one, one))[0] == 0
    assert max(differences(one, other))[0] > LIMIT


def dataset(values):
    return xr.Dataset({"sigma": (("chain", "draw"), values)})


def test_pymcs_sampler_takes_the_marginal_graph():
    model = bmm.Model("Level ~ 1 + (1 | Patient)", frame("thyroxine"))
    settings = dict(draws=500, tune=500, chains=2, cores=1, progress=False, effects="marginal")
    with without_compiler():
        trees = [model.sample(sampler=name, seed=seed, **settings).tree for name, seed in (("pymc", 1), ("nutpie", 2))]
    one, other = (tree["posterior"].to_dataset() for tree in trees)
    assert max(differences(one, other), key=lambda row: row[0])[0] <= LIMIT
