"""Posteriors beside exact ones: mean, sd and quantiles of every parameter, their distances in Monte Carlo errors."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

import bayesmm as bmm
from bayesmm.design.parameters import coefficients, variance_parameters
from bayesmm.posterior.draws import draws_of
from bayesmm.sampling.importance import NAME, serves
from validation.categories import THRESHOLD
from validation.grids import Marginal, exact, grouped_model, normal_model, ranges_of, scipy_prior
from validation.models import CASES, of_family
from validation.records import Finding, Settings
from validation.simulated import GROUPS, HALF, RESPONSES, ROWS, SD, TRIALS, codes
from validation.structures import KNOWN

TITLE = "Exact posteriors by quadrature"
SHORT_CELLS = ("gaussian", "correlated slopes", "poisson", "weibull")
FARTHEST = 4.5  # Monte Carlo errors; of 1,000 numbers one is that far by chance in 150 runs
QUADRATURE = 0.01  # posterior sds that the quadrature itself may be off by, seen with fewer points
LEVELS = (0.05, 0.5, 0.95)
POINTS = {1: 60, 2: 44, 3: 30, 4: 18}  # in each parameter, by their number
FEWER = 4
CHAINS, DRAWS, SEED = 4, 1000, 7


@dataclass(frozen=True)
class Normal:
    """A normal model: which of the calibration's models draws its data, and V of the values, (m, n, n)."""

    case: str
    covariance: Callable


@dataclass(frozen=True)
class Grouped:
    """A model with a random intercept: its log density of a row (y, x) with the linear predictor eta, by SciPy."""

    family: str
    log_density: Callable
    slope: bool = False
    grouped: bool = True


def same(column) -> np.ndarray:
    """Return which rows have the same level, (n, n), as numbers."""
    own = np.asarray(column)
    return (own[:, None] == own).astype(float)


def square(value: np.ndarray) -> np.ndarray:
    return value[:, None, None] ** 2


def intercepts(data, v, name="g", column=None):
    """Return the covariance of random intercepts, (m, n, n)."""
    return square(v[f"sd_{name}[Intercept]"]) * same(data[name] if column is None else column)


def noise(data, v, variances=1.0):
    """Return the covariance of independent residuals, their variances in units of sigma^2."""
    n = len(data)
    return square(v["sigma"]) * np.eye(n) * np.broadcast_to(variances, (n,))


def slopes(data, v, r):
    """Return the covariance of correlated intercepts and slopes."""
    x, a, b = data["x"].to_numpy(), v["sd_g[Intercept]"][:, None, None], v["sd_g[x]"][:, None, None]
    cross = np.asarray(r)[..., None, None] * a * b
    return same(data["g"]) * (a**2 + cross * (x[:, None] + x) + b**2 * np.outer(x, x))


def distances(data) -> np.ndarray:
    t = data["t"].to_numpy(dtype=float)
    return np.abs(np.subtract.outer(t, t))


def in_series(data, v, name, correlation):
    """Return the covariance of residuals correlated within the levels of g."""
    rho = v[name][:, None, None]
    return square(v["sigma"]) * same(data["g"]) * correlation(rho, distances(data))


def related(data, v):
    own = codes(data["g"])
    return square(v["sd_g[Intercept]"]) * KNOWN[np.ix_(own, own)] + noise(data, v)


def members(data, v):
    Z = sum((data[m].to_numpy()[:, None] == [f"m{i}" for i in range(GROUPS)]) / 2 for m in ("m1", "m2"))
    return square(v["sd_mm(m1, m2)[Intercept]"]) * (Z @ Z.T) + noise(data, v)


def by_factor(data, v):
    own = (data["s"] == "p").to_numpy(dtype=float)
    sd = v["sd_g[Intercept:s[p]]"][:, None] * own + v["sd_g[Intercept:s[q]]"][:, None] * (1 - own)
    return same(data["g"]) * sd[:, :, None] * sd[:, None, :] + noise(data, v)


def first_order(data, v):
    r = v["corr_g[ar1(0 + factor(t)), lag 1]"][:, None, None]
    return square(v["sd_g[ar1(0 + factor(t))]"]) * same(data["g"]) * r ** distances(data) + noise(data, v)


def nested(data, v):
    return intercepts(data, v) + intercepts(data, v, "g:h", data["g"] + data["h"]) + noise(data, v)


def by_covariate(data, v):
    sd = v["sigma"][:, None] * np.exp(v["log_sigma[x]"][:, None] * data["x"].to_numpy())
    return intercepts(data, v) + sd[:, :, None] * np.eye(len(data)) * sd[:, None, :]


NORMAL = {
    "gaussian": Normal("gaussian", lambda d, v: intercepts(d, v) + noise(d, v)),
    "correlated slopes": Normal(
        "gaussian, correlated slopes", lambda d, v: slopes(d, v, v["corr_g"]) + noise(d, v)
    ),
    "uncorrelated slopes": Normal("uncorrelated slopes", lambda d, v: slopes(d, v, 0.0) + noise(d, v)),
    "crossed": Normal(
        "gaussian, crossed", lambda d, v: intercepts(d, v) + intercepts(d, v, "h") + noise(d, v)
    ),
    "nested, unbalanced": Normal("gaussian, nested, unbalanced", nested),
    "known standard errors": Normal("se()", lambda d, v: intercepts(d, v) + np.diag(d["se"] ** 2)),
    "weights": Normal("weights", lambda d, v: intercepts(d, v) + noise(d, v, 1 / d["w"])),
    "ident()": Normal(
        "ident()", lambda d, v: square(v["sd_g[ident(0 + f)]"]) * same(d["g"] + d["f"]) + noise(d, v)
    ),
    "gr(by)": Normal("gr(by)", by_factor),
    "gr(cov)": Normal("gr(cov)", related),
    "mm()": Normal("mm()", members),
    "ar1()": Normal("ar1()", first_order),
    "ar()": Normal("ar()", lambda d, v: in_series(d, v, "ar", lambda r, gap: r**gap)),
    "cosy()": Normal("cosy()", lambda d, v: in_series(d, v, "cosy", lambda r, gap: np.where(gap == 0, 1.0, r))),
    "sigma by covariate": Normal("sigma by covariate", by_covariate),
}  # fmt: skip


def _count(y, mu):
    return stats.poisson.logpmf(y, mu)


def _inflated(row, eta, v):
    log = np.log1p(-v["zi"]) + _count(row[0], np.exp(eta))
    return np.logaddexp(np.log(v["zi"]), log) if row[0] == 0 else log


def _hurdle(row, eta, v):
    if row[0] == 0:
        return np.log(v["hu"]) + 0 * eta
    mu = np.exp(eta)
    return np.log1p(-v["hu"]) + _count(row[0], mu) - np.log(-np.expm1(-mu))


def _ordered(row, eta, v):
    """The thresholds are ascending: points in another order have no density."""
    cuts = [v[f"threshold[{k}|{k + 1}]"] for k in (1, 2)]
    F = [0.0, *(special.expit(cut - eta) for cut in cuts), 1.0]
    k = int(row[0])
    return np.where(cuts[0] < cuts[1], np.log(np.maximum(F[k] - F[k - 1], 1e-300)), -np.inf)


def _weibull(row, eta, v):
    return stats.weibull_min.logpdf(row[0], v["shape"], scale=np.exp(eta) / special.gamma(1 + 1 / v["shape"]))


GROUPED = {
    "bernoulli": Grouped("bernoulli", lambda r, e, v: -np.logaddexp(0, e if r[0] == 0 else -e), slope=True),
    "bernoulli, no groups": Grouped(
        "bernoulli", lambda r, e, v: -np.logaddexp(0, e if r[0] == 0 else -e), slope=True, grouped=False
    ),
    "binomial": Grouped("binomial", lambda r, e, v: stats.binom.logpmf(r[0], TRIALS, special.expit(e))),
    "poisson": Grouped("poisson", lambda r, e, v: _count(r[0], np.exp(e)), slope=True),
    "negbinomial": Grouped(
        "negbinomial", lambda r, e, v: stats.nbinom.logpmf(r[0], v["shape"], v["shape"] / (v["shape"] + np.exp(e)))
    ),
    "nbinom1": Grouped("nbinom1", lambda r, e, v: stats.nbinom.logpmf(r[0], np.exp(e) / v["phi"], 1 / (1 + v["phi"]))),
    "gamma": Grouped("gamma", lambda r, e, v: stats.gamma.logpdf(r[0], v["shape"], scale=np.exp(e) / v["shape"])),
    "beta": Grouped(
        "beta",
        lambda r, e, v: stats.beta.logpdf(r[0], v["phi"] * special.expit(e), v["phi"] * special.expit(-e)),
    ),
    "weibull": Grouped("weibull", _weibull),
    "lognormal": Grouped("lognormal", lambda r, e, v: stats.norm.logpdf(np.log(r[0]), e, v["sigma"])),
    "student": Grouped("student", lambda r, e, v: stats.t.logpdf(r[0], 6.0, e, v["sigma"])),
    "zero_inflated_poisson": Grouped("zero_inflated_poisson", _inflated),
    "hurdle_poisson": Grouped("hurdle_poisson", _hurdle),
    "cumulative": Grouped("cumulative", _ordered),
}  # fmt: skip


def cells() -> tuple[str, ...]:
    """Return the names of the models."""
    return tuple(NORMAL) + tuple(GROUPED)


def check(cell: str, settings: Settings) -> Finding:
    """Return the z-scores of both samplers of a model against its exact posterior."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, log_p, priors, coefficient_labels = (normal if cell in NORMAL else grouped)(cell)
        ranges, number = ranges_of(log_p, priors), POINTS[len(priors)]
        truth = exact(log_p, priors, number, ranges, coefficient_labels)
        fewer = exact(log_p, priors, number - FEWER, ranges, coefficient_labels)
        error = max(abs(fewer[label].mean - own.mean) / own.sd for label, own in truth.items())
        scores = {}
        for sampler in ("nutpie", NAME):
            if sampler == NAME and not serves(model.design, model.priors):
                continue
            fit = model.sample(DRAWS, None, CHAINS, SEED, sampler, progress=False, cores=1)
            scores[sampler] = z_scores(fit, truth)
    return found(scores, truth, error)


def found(scores: dict, truth: dict[str, Marginal], error: float) -> Finding:
    """Return the finding of a model's z-scores."""
    flat = [(abs(z), sampler, label, what) for sampler, own in scores.items() for label, what, z in own]
    worst = max(flat)
    numbers = {"z": scores, "quadrature": error, "exact": {k: [v.mean, v.sd] for k, v in truth.items()}}
    words = f"{len(flat)} numbers, farthest {worst[0]:.1f} ({worst[2]}, {worst[3]}, {worst[1]})"
    if error > QUADRATURE:
        return Finding(False, f"the quadrature is not exact: {error:.2g} posterior sds", numbers)
    return Finding(worst[0] <= FARTHEST, words, numbers)


def z_scores(fit, truth: dict[str, Marginal]) -> list[tuple[str, str, float]]:
    """Return (parameter, statistic, distance in Monte Carlo standard errors) of every number."""
    parameters = variance_parameters(fit.design) + coefficients(fit.design)
    scores = []
    for parameter, draws in zip(parameters, draws_of(fit, parameters), strict=True):
        if draws.std() == 0:  # its prior fixes it
            continue
        label = "corr_g" if parameter.kind == "corr" and parameter.label not in truth else parameter.label
        exactly = truth[label]
        rows = [
            ("mean", draws.mean(), exactly.mean, {"method": "mean"}),
            ("sd", draws.std(ddof=1), exactly.sd, {"method": "sd"}),
        ]
        rows += [
            (f"{q:.0%}", np.quantile(draws, q), exactly.quantile(q), {"method": "quantile", "prob": q}) for q in LEVELS
        ]
        for what, value, true, arguments in rows:
            scores.append((parameter.label, what, float((value - true) / mcse(draws, **arguments))))
    return scores


def mcse(draws: np.ndarray, **arguments: object) -> float:
    """Return the Monte Carlo standard error of a statistic of draws, (chains, draws)."""
    from arviz_stats.base import array_stats

    return float(array_stats.mcse(draws, chain_axis=0, draw_axis=1, **arguments))


def normal(cell: str):
    """Return model, log density, priors of the grid, and the coefficients that are normal, of a normal model."""
    own, case = NORMAL[cell], CASES[NORMAL[cell].case]
    simulated = case.draw(np.random.default_rng(SEED))
    model = bmm.Model(case.formula, simulated.data, case.family, simulated.priors, **case.options)
    places = {label: place for label, place in simulated.priors.items() if label not in ("Intercept", "beta[x]")}
    priors = {label: scipy_prior(prior) for label, prior in places.items()}
    data = simulated.data
    X = np.column_stack([np.ones(len(data)), data["x"]])
    beta = [simulated.priors[place].parameters for place in ("Intercept", "beta[x]")]
    centre, spread = (np.array([own_[name] for own_ in beta]) for name in ("mu", "sigma"))
    log_p = normal_model(data["y"].to_numpy(), X, centre, spread, lambda values: own.covariance(data, values), priors)
    return model, log_p, priors, ("beta[Intercept]", "beta[x]")


def grouped(cell: str):
    """Return the same of a model with a random intercept, or none; its coefficients are on the grid too."""
    own = GROUPED[cell]
    simulated = of_family(own.family, ROWS).draw(np.random.default_rng(SEED))
    data, ordered = simulated.data.assign(x=np.sign(simulated.data["x"])), own.family == "cumulative"
    if ordered:
        data = data.assign(y=np.minimum(data["y"], 3))
    places = {"Intercept": simulated.priors.get("Intercept")} if not ordered else {}
    places |= {"beta[x]": HALF} if own.slope else {}
    places |= {"sd_g[Intercept]": SD} if own.grouped else {}
    auxiliary = {} if ordered else dict(RESPONSES[own.family].own)
    given = dict(places) | auxiliary | ({"threshold": THRESHOLD} if ordered else {})
    if own.family == "student":
        auxiliary.pop("nu")
        given["nu"] = 6.0
    formula = "y | trials(n) ~ 1" if own.family == "binomial" else "y ~ 1"
    formula += " + x" * own.slope + " + (1 | g)" * own.grouped
    model = bmm.Model(formula, data, own.family, given)
    on_grid = {("beta[Intercept]" if k == "Intercept" else k): p for k, p in (places | auxiliary).items()}
    on_grid |= {f"threshold[{k}|{k + 1}]": THRESHOLD for k in (1, 2)} if ordered else {}
    priors = {label: scipy_prior(prior) for label, prior in on_grid.items()}

    def log_density(row, b, values):
        eta = b + values.get("beta[Intercept]", 0.0) + values.get("beta[x]", 0.0) * row[1]
        return own.log_density(row, eta, values)

    rows = np.column_stack([data["y"], data["x"] if own.slope else np.zeros(len(data))])
    group = codes(data["g"]) if own.grouped else np.full(len(data), -1)
    sd = "sd_g[Intercept]" if own.grouped else ""
    return model, grouped_model(rows, group, log_density, priors, sd), priors, ()
