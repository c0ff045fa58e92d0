"""The 20 models of `golden`, and what is asked of them: by public names only, each family and each shape of effects."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import bayesmm as bmm

SEED, ROWS = 20, 144
SHORT = dict(draws=100, tune=200, chains=2, seed=1, progress=False)


@cache
def simulated() -> pd.DataFrame:
    """Return rows with a response for every family, predictors, and factors, crossed (g, h) or nested (a, b)."""
    rng = np.random.default_rng(SEED)
    g, h = np.repeat(np.arange(12), ROWS // 12), rng.integers(8, size=ROWS)
    x, z, f = rng.normal(size=ROWS), rng.normal(size=ROWS), rng.integers(3, size=ROWS)
    exposure, n = rng.uniform(0.5, 2, ROWS), rng.integers(5, 13, ROWS)
    b, c = rng.multivariate_normal([0, 0], [[0.4, 0.1], [0.1, 0.2]], size=12), 0.5 * rng.normal(size=8)
    eta = 0.3 + 0.5 * x - 0.3 * z + b[g, 0] + b[g, 1] * x + c[h]
    p = 1 / (1 + np.exp(-eta))
    numbers = {
        "x": x, "z": z, "late": np.where(np.arange(ROWS) % 29 == 5, np.nan, z), "w": rng.uniform(0.5, 2, ROWS),
        "exposure": exposure, "n": n, "y": 2 + eta + 0.5 * rng.normal(size=ROWS),
        "tailed": eta + 0.4 * rng.standard_t(3, ROWS), "count": rng.poisson(exposure * np.exp(eta)),
        "over": rng.negative_binomial(2, 2 / (2 + np.exp(eta))), "yes": rng.binomial(1, p), "wins": rng.binomial(n, p),
        "positive": rng.gamma(4, np.exp(eta) / 4), "rate": rng.gamma(6, 1 / (4 + 0.4 * x + 0.6 * b[g, 0]) / 6),
        "share": np.clip(rng.beta(8 * p, 8 * (1 - p)), 0.001, 0.999),
    }  # fmt: skip
    levels = {"g": g, "h": h, "f": f, "a": g // 3, "b": g % 3}
    return pd.DataFrame(numbers | {name: [f"{name}{i}" for i in index] for name, index in levels.items()})


@dataclass(frozen=True)
class Case:
    """One model: what it is made with, which maxima are taken, how it is sampled, and what else is asked of it."""

    formula: str
    own: Mapping[str, object] = field(default_factory=dict)
    points: tuple[Mapping[str, object], ...] = ({},)
    samplings: tuple[Mapping[str, object], ...] = ({},)  # predictions, comparison and loo are of the first
    more: tuple[str, ...] = ()
    data: Callable[[], pd.DataFrame] = simulated


@dataclass(frozen=True)
class Made:
    """A case, its model, its first maximum and its first posterior."""

    case: Case
    model: bmm.Model
    point: object
    fit: object


LINEAR = ({"method": "REML"}, {"method": "ML"})
MAP, QUADRATURE = {"method": "MAP"}, {"nagq": 7}
MARGINAL, EXPLICIT = {"effects": "marginal"}, {"effects": "explicit"}
PYMC, IMPORTANCE = {"sampler": "pymc"}, {"sampler": "importance"}
OWN = {
    "beta": bmm.Prior("Normal", mu=0, sigma=2), "beta[x]": bmm.Prior("StudentT", nu=4, mu=0.5, sigma=0.3),
    "sd_g[Intercept]": bmm.Prior("Exponential", lam=2), "sd_g[x]": 0.4, "sigma": bmm.Prior("HalfNormal", sigma=1),
}  # fmt: skip

CASES: Mapping[str, Case] = {
    "sleepstudy": Case(
        "Reaction ~ Days + (Days | Subject)", {}, (*LINEAR, MAP), ({}, IMPORTANCE),
        (
            "degrees", "profile", "lrt", "anova", "bootstrap", "predictive", "consistency", "loo", "report", "stored",
            "refit",
        ),
        lambda: bmm.load_dataset("sleepstudy"),
    ),
    "pastes-nested": Case(
        "strength ~ 1 + (1 | batch/cask)", {}, LINEAR, more=("degrees",), data=lambda: bmm.load_dataset("pastes")
    ),
    "gaussian-weights": Case("y ~ x + (1 | g)", {"weights": "w"}, (*LINEAR, MAP), (IMPORTANCE, MARGINAL)),
    "gaussian-uncorrelated": Case("y ~ x + (x || g)", {"priors": OWN}, (*LINEAR, MAP), (EXPLICIT, {})),
    "gaussian-crossed": Case("y ~ x + z + (1 | g) + (1 | h)", {}, LINEAR, (MARGINAL, MARGINAL | PYMC)),
    "gaussian-three": Case("y ~ x + z + (x + z | g)", {}, (*LINEAR, MAP), more=("priors",)),
    "gaussian-linear": Case("y ~ f * x + poly(late, 2)", {}, LINEAR, more=("averages", "means")),
    "gaussian-log": Case("positive ~ x + (1 | g)", {"link": "log"}, ({}, QUADRATURE), (EXPLICIT,)),
    "student": Case("tailed ~ x + (1 | g)", {"family": "student"}, ({}, QUADRATURE)),
    "poisson-offset": Case(
        "count ~ x + offset(log(exposure)) + (1 | g)", {"family": "poisson"}, ({}, QUADRATURE, MAP),
        (MARGINAL,), ("averages", "new groups"),
    ),
    "poisson-slopes": Case(
        "ncases ~ ncontrols + (ncontrols | agegp)", {"family": "poisson"}, ({}, {"nagq": 5}),
        data=lambda: bmm.load_dataset("esoph"),
    ),
    "poisson-crossed": Case("count ~ x + (1 | g) + (1 | h)", {"family": "poisson"}, samplings=(EXPLICIT,)),
    "negbinomial": Case("over ~ x + z + (1 | g)", {"family": "negbinomial"}, ({}, QUADRATURE)),
    "bernoulli": Case("yes ~ x + (1 | g)", {"family": "bernoulli"}, ({}, QUADRATURE, MAP)),
    "bernoulli-probit": Case("yes ~ x + (x || g)", {"family": "bernoulli", "link": "probit"}),
    "binomial-trials": Case("wins ~ x + (1 | g)", {"family": "binomial", "trials": "n"}, ({}, QUADRATURE)),
    "binomial-cloglog": Case(
        "cbind(wins, n - wins) ~ x + (1 | a/b)", {"family": "binomial", "link": "cloglog"},
        samplings=(EXPLICIT | PYMC,),
    ),
    "gamma-weights": Case("positive ~ x + (1 | g)", {"family": "gamma", "weights": "w"}, ({}, QUADRATURE)),
    "gamma-inverse": Case("rate ~ x + (1 | g)", {"family": "gamma", "link": "inverse"}),
    "beta": Case("share ~ x + z + (1 | g)", {"family": "beta"}, ({}, MAP)),
}  # fmt: skip


def of_model(model: bmm.Model) -> dict[str, Callable]:
    """Return what is asked of every model, by name, as functions without arguments."""
    return {
        "repr": lambda: repr(model),
        "priors": lambda: str(model.priors),
        "prior": lambda: {name: repr(prior) for name, prior in model.priors.items()},
        "equation": model.equation,
    }


def of_point(point) -> dict[str, Callable]:
    """Return what is asked of every maximum."""
    scalars = ("criterion", "loglik", "deviance", "aic", "bic", "sigma", "npar", "singular", "converged", "nagq")
    tables = ("vcov", "beta", "linear", "fitted", "scaled_residuals")
    methods = ("fixef", "fixef_corr", "varcorr", "ranef", "coef", "predict", "__str__")
    return {
        "scalars": lambda: {name: getattr(point, name) for name in scalars} | dict(point.auxiliaries),
        **{name: lambda name=name: getattr(point, name) for name in tables},
        **{name: lambda name=name: getattr(point, name)() for name in methods},
        "wald": lambda: point.confint(method="wald"),
        "simulated": lambda: point.simulate(2, seed=1),
        "r2": lambda: point.r2().table,
        "icc": lambda: point.icc().table,
    }


def of_fit(fit, point) -> dict[str, Callable]:
    """Return what is asked of every first posterior, beside the first maximum."""
    return {
        "summary": fit.summary, "fixef": fit.fixef, "varcorr": fit.varcorr, "ranef": fit.ranef, "coef": fit.coef,
        "str": lambda: str(fit),
        "mean": lambda: fit.predict().to_frame(),
        "response": lambda: fit.predict(kind="response", seed=1).to_frame(),
        "population": lambda: fit.predict(groups="population").to_frame(),
        "r2": lambda: as_table(fit.r2()), "icc": lambda: as_table(fit.icc()),
        "checks": lambda: {check.name: f"{check.ok} {check.value!r} {check.message}" for check in fit.checks()},
        "compare": lambda: as_table(fit.compare(point, consistency=False)),
        "loo": lambda: as_table(fit.loo(refit=False)),
    }  # fmt: skip


# What is asked of one or two models, by its name in `Case.more`.
MORE: Mapping[str, Callable[[Made], object]] = {
    "degrees": lambda made: {ddf: made.point.fixef(ddf=ddf) for ddf in ("satterthwaite", "kenward-roger")},
    "profile": lambda made: {"sigma": made.point.profile("sigma").table, "all": made.point.confint()},
    "lrt": lambda made: as_table(bmm.lrt(bmm.Model("Reaction ~ 1 + (Days | Subject)", made.case.data()).maximize(),
                                         made.point)),
    "anova": lambda made: as_table(bmm.anova(made.point, ddf="satterthwaite")),
    "bootstrap": lambda made: made.point.bootstrap(20, seed=1, progress=False).draws,
    "predictive": lambda made: made.fit.posterior_predictive(draws=50, seed=1),
    "new groups": lambda made: made.fit.posterior_predictive(draws=50, seed=1, groups="new"),
    "consistency": lambda made: str(made.fit.consistency()),
    "loo": lambda made: as_table(made.fit.loo(by="Subject")) | {"rows": str(made.fit.loo())},
    "report": lambda made: written(lambda path: made.fit.report(path).read_text(), "report.html"),
    "stored": lambda made: written(lambda path: (made.fit.save(path), reloaded(made.fit, bmm.load(path)))[1], "fit.nc"),
    "refit": lambda made: made.model.with_data(made.case.data().iloc[10:]).maximize().vcov,
    "priors": lambda made: {"predictive": made.model.prior_predictive(20, seed=1), "overlap":
                            str(made.fit.prior_overlap()), "power-scaling": str(made.fit.sensitivity()),
                            "evidence": str(made.fit.evidence(seed=1))},
    "averages": lambda made: {"slopes": str(bmm.slopes(made.fit, "x")), "x": str(bmm.comparisons(made.fit, "x"))},
    "means": lambda made: str(bmm.emmeans(made.fit, "f")),
}  # fmt: skip


def as_table(result) -> dict[str, object]:
    """Return a result as it prints, with all digits of its table."""
    return {"str": str(result), "table": result.table}


def written(use: Callable[[Path], object], name: str) -> object:
    """Return what comes of a path in a folder that is then removed."""
    with tempfile.TemporaryDirectory() as folder:
        return use(Path(folder) / name)


def reloaded(fit, again) -> dict[str, object]:
    """Return a loaded fit's print, and whether its draws are those that were saved."""
    same = all(again.tree["posterior"][name].identical(fit.tree["posterior"][name]) for name in fit.tree["posterior"])
    return {"str": str(again), "draws": again.tree["posterior"].to_dataset(), "equal": str(same)}
