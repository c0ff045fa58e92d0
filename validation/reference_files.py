"""How the files of R's numbers are read, and which of our numbers each of theirs is."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import gammaln

import bayesmm as bmm
from validation.records import ROOT

TESTS = ROOT / "tests"
CODED = (
    "Patient",
    "Subject",
    "School",
    "Class",
    "FamID",
    "IndID",
    "Block",
    "Sex",
    "Genotype",
    "agegp",
    "batch",
    "cask",
)
OTHER = "compared in the tests only"
IMMUNE = ROOT.parent / "shared" / "data" / "immune_original.csv"  # where the tests look for it too
ABSENT = "immune_original may not be redistributed"
# lme4 writes (1 | a/b) as b:a
SWAPPED = {"Class:School": "School:Class", "cask:batch": "batch:cask"}
# lme4 walks along correlations of 1 and flat ridges with an optimiser that sticks to the bound: its ends are too near
# (tests/inference/test_profile.py shows that the deviance is lower at ours)
STUCK = ("s003_MMod2", "s003_MMod3", "s003_MModTime2", "s004_lmer")
STUCK_WORDS = "their intervals, where lme4's search sticks to a bound"
RIDGE = "s000_genotype_slope_lmer"  # an sd and a correlation of it are not identified, and lme4's mean nothing
SINGULAR = 1e-4  # of sigma: an sd that is 0 is compared absolutely


@dataclass(frozen=True)
class Pair:
    """A number of ours and R's; its error is |ours - theirs| / scale."""

    kind: str
    label: str
    ours: float
    theirs: float
    scale: float = 1.0

    @property
    def error(self) -> float:
        if self.kind == "p-value":
            from validation.references import log_error

            return log_error(self.ours, self.theirs)
        return abs(self.ours - self.theirs) / self.scale


Read = tuple[list[Pair], dict[str, int]]


def load(name: str) -> dict:
    return json.loads((TESTS / "reference" / name).read_text(encoding="utf-8"))


@cache
def frame(name: str) -> pd.DataFrame | None:
    """Return a data set, codes as categories; None for the one that is not at hand."""
    path = TESTS / "data" / f"{name}.csv"
    if name.startswith("immune"):
        if not IMMUNE.exists():
            return None
        data = pd.read_csv(IMMUNE)
        data = data[data["Time"] == 0] if name == "immune_t0" else data
    else:
        data = pd.read_csv(path) if path.exists() else bmm.load_dataset(name)
    coded = {c: data[c].astype("category") for c in CODED if c in data and data[c].dtype != "category"}
    return data.assign(**coded)


def r_name(column: object) -> str:
    text = str(column)
    return "(Intercept)" if text == "Intercept" else text.replace("[T.", "").replace("]", "").replace(" ", "")


def relative(kind: str, label: str, ours: float, theirs: float, least: float = 0.0) -> Pair:
    return Pair(kind, label, float(ours), float(theirs), max(abs(float(theirs)), least) or 1.0)


def coefficients(name: str, point, estimates, errors) -> Iterator[Pair]:
    """Yield estimates, in standard errors, and standard errors, in our order."""
    table = point.fixef()
    for label, ours, se, theirs, error in zip(
        table.index, table["estimate"], table["se"], estimates, errors, strict=True
    ):
        yield Pair("coefficient", f"{name} {label}", ours, theirs, error)
        yield relative("standard error", f"{name} {label}", se, error)


def maximised(model: dict, family: str = "gaussian"):
    """Return the fit of a reference's formula, or None without its data."""
    data = frame(model["data"])
    return None if data is None else bmm.Model(model["formula"], data, family).maximize(model.get("method"))


def of_all(models: dict, pairs_of: Callable[[str, dict], list[Pair] | None]) -> Read:
    """Return the pairs of all models, and how many have no data here."""
    pairs, absent = [], 0
    for name, model in models.items():
        own = pairs_of(name, model)
        absent += own is None
        pairs += own or []
    return pairs, {ABSENT: absent} if absent else {}


# ----------------------------------------------------------------------------------------------------------------------
# lme4


def lme4_gaussian() -> Read:
    return of_all(load("lme4_gaussian.json")["models"], lambda name, m: lmer(name, m) if m["engine"] == "lmer" else [])


def lmer(name: str, model: dict) -> list[Pair] | None:
    """Return the pairs of one lmer fit."""
    point = maximised(model)
    if point is None:
        return None
    pairs = [*coefficients(name, point, model["fixef"].values(), model["se"].values())]
    for ours, key in ((point.criterion, "criterion"), (point.loglik, "loglik"), (point.aic, "aic"), (point.bic, "bic")):
        pairs.append(Pair("criterion, log-likelihood, AIC, BIC", f"{name} {key}", ours, model[key]))
    if name == RIDGE:
        return pairs
    table = {
        (row.grp, *(None if pd.isna(v) else r_name(v) for v in (row.var1, row.var2))): row.sdcor
        for row in point.varcorr().itertuples()
    }
    for row in model["varcorr"]:
        group = re.sub(r"\.[12]$", "", row["group"])
        key = (SWAPPED.get(group, group), *(None if v is None else r_name(v) for v in (row["var1"], row["var2"])))
        if key[2]:
            pairs.append(Pair("correlation", f"{name} {key}", table[key], row["sdcor"]))
        else:
            least = point.sigma * (SINGULAR / 5e-3 if row["sdcor"] < 1e-3 * point.sigma else 0)
            pairs.append(relative("sd", f"{name} {key}", table[key], row["sdcor"], least))
    quantiles = np.quantile(point.scaled_residuals, [0, 0.25, 0.5, 0.75, 1])
    pairs += [Pair("residual quantile", name, *both) for both in zip(quantiles, model["resid_q"].values(), strict=True)]
    return pairs + [pair for group, own in model["ranef"].items() for pair in effects(name, point, group, own)]


def effects(name: str, point, group: str, own: dict) -> Iterator[Pair]:
    """Yield the conditional modes of a factor, in units of its largest one, and their sds."""
    ours = SWAPPED.get(group, group)
    levels = [":".join(reversed(v.split(":"))) if ours != group else v for v in own["levels"]]
    table = point.ranef().query("grpvar == @ours")
    for what, kind, theirs in (
        ("condval", "random effect", own["values"]),
        ("condsd", "sd of a random effect", own.get("cond_sd")),
    ):
        if theirs is None:
            continue
        wide, theirs = table.pivot(index="grp", columns="term", values=what), np.array(theirs)
        named = {r_name(column): column for column in wide.columns}
        mine = wide.loc[levels, [named[r_name(term)] for term in own["terms"]]].to_numpy()
        scale = max(np.abs(theirs).max(), SINGULAR * point.sigma / 5e-3)
        yield from (
            Pair(kind, f"{name} {group}", *both, scale) for both in zip(mine.ravel(), theirs.ravel(), strict=True)
        )


def glmm() -> Read:
    models = load("glmm.json")["models"]
    exact = {name: model for name, model in models.items() if "exact" in model}
    return of_all(exact, glmer)[0], {OTHER: len(models) - len(exact)}


def glmer(name: str, model: dict) -> list[Pair]:
    """Return the pairs of one glmer fit, whose numbers are in flat keys."""
    found, exact = re.search(r"nAGQ=(\d+)", model["estimator"]), model["exact"]
    nodes = int(found.group(1)) if found else 1
    point = bmm.Model(model["formula"], frame(model["data"]), model["family"]).maximize(nagq=nodes)
    table, pairs = point.fixef(), []
    for label in table.index:
        own = f"fixef.{r_name(label)}."
        pairs.append(
            Pair("coefficient", f"{name} {label}", table.loc[label, "estimate"], exact[own + "est"], exact[own + "se"])
        )
        pairs.append(relative("standard error", f"{name} {label}", table.loc[label, "se"], exact[own + "se"]))
        pairs.append(relative("test statistic", f"{name} {label}", table.loc[label, "z"], exact[own + "z"], 0.05))
    truth = exact["logLik"] if nodes == 1 else model["true_marginal_logLik_at_exact"]
    pairs.append(Pair("criterion, log-likelihood, AIC, BIC", name, point.loglik, truth))
    for row in point.varcorr().itertuples():
        first = r_name(row.var1)
        if pd.isna(row.var2):
            pairs.append(relative("sd", name, row.sdcor, exact[f"vc.{row.grp}.{first}.sd"]))
        else:
            pairs.append(Pair("correlation", name, row.sdcor, exact[f"vc.{row.grp}.{r_name(row.var2)}~{first}.corr"]))
    pairs += [
        relative("fitted value", name, *both) for both in zip(point.fitted[:10], model["fitted_first10"], strict=True)
    ]
    return pairs + [pair for group, own in model["ranef"].items() for pair in effects(name, point, group, own)]


# ----------------------------------------------------------------------------------------------------------------------
# tests and intervals


def inference() -> Read:
    known = load("inference.json")
    one, absent = of_all(known["lmer"], lmer_tests)
    two, more = of_all(known["nlme"], nlme_tests)
    three, most = of_all(known["lrt"], ratios)
    left = sum(own.get(ABSENT, 0) for own in (absent, more, most))
    stuck = [name for name, m in known["lmer"].items() if "confint" in m and not compared(name, m)]
    return one + two + three, ({ABSENT: left} if left else {}) | {STUCK_WORDS: len(stuck)}


def lmer_tests(name: str, model: dict) -> list[Pair] | None:
    """Return Satterthwaite's and Kenward & Roger's tests and the profile intervals of one fit."""
    point = maximised(model)
    if point is None:
        return None
    pairs = []
    for key, ddf in (("satterthwaite", "satterthwaite"), ("kenward_roger", "kenward-roger")):
        if key in model and "stopped" not in model:
            table = point.fixef(ddf=ddf)
            table.index = [r_name(label) for label in table.index]
            pairs += [
                pair
                for label, own in model[key].items()
                for pair in tested(f"{name} {label}", table.loc[label.replace(" ", "")], own)
            ]
    return pairs + (intervals(name, point, model["confint"]) if compared(name, model) else [])


def compared(name: str, model: dict) -> bool:
    """Return whether the profile intervals of a fit are compared."""
    return "confint" in model and name.removesuffix("_ml") not in STUCK


def tested(label: str, ours, theirs: dict) -> Iterator[Pair]:
    """Yield df, t and p of a coefficient."""
    yield relative("denominator df", label, ours["df"], theirs["df"])
    yield relative("test statistic", label, ours["t"], theirs["t"])
    yield Pair("p-value", label, ours["p"], theirs["p"])


def intervals(name: str, point, theirs: dict) -> list[Pair]:
    """Return the ends of the intervals whose names are the same in both: of the coefficients, and sigma."""
    table, pairs, named = point.confint(), [], {key.replace(" ", ""): ends for key, ends in theirs.items()}
    for label in table.index:
        key = "sigma" if label == "sigma" else r_name(label[len("beta[") : -1]) if label.startswith("beta[") else None
        if key in named:
            low, high = named[key]
            pairs += [
                Pair("interval end", f"{name} {key}", ours, end, (high - low) / 2)
                for ours, end in zip(table.loc[label, ["lower", "upper"]], (low, high), strict=True)
            ]
    return pairs


def nlme_tests(name: str, model: dict) -> list[Pair] | None:
    point = maximised(model)
    if point is None:
        return None
    table, flat, pairs = point.fixef(ddf="containment"), model["flat"], []
    for label, row in table.iterrows():
        own = {key: flat[f"fixef.{r_name(label)}.{key}"] for key in ("df", "t", "p")}
        pairs += tested(f"{name} {label}", row, own)
    return pairs


def ratios(name: str, model: dict) -> list[Pair] | None:
    """Return likelihood ratio tests beside lme4's anova()."""
    data = frame(model["data"])
    if data is None:
        return None
    method = "REML" if model["family"] == "gaussian" else "ML"
    fits = [bmm.Model(formula, data, model["family"]).maximize(method) for formula in model["formulas"]]
    row, flat = bmm.lrt(*fits, refit=model["refit"]).table.loc[2], model["flat"]
    return [
        relative("test statistic", name, row["Chisq"], flat["chisq"], 1e-3),
        Pair("p-value", name, row["Pr(>Chisq)"], flat["p"]),
    ]


# ----------------------------------------------------------------------------------------------------------------------
# smooths, structures, ordered responses, zeros, survival


def structures() -> Read:
    from validation.reference_structures import structures as read

    return read()


def row_parameters() -> Read:
    from validation.reference_structures import row_parameters as read

    return read()


def survival() -> Read:
    """Return survreg() and adaptive quadrature; R's intercept of a Weibull time is of the log of its scale."""
    pairs = []
    for name, own in load("survival.json").items():
        data = pd.read_csv(TESTS / "data" / own["data"].replace("_dev", ""))
        for column, levels in own["levels"].items():
            data[column] = pd.Categorical(data[column], levels)
        frailty, (formula, family) = "random_sd" in own, SURVIVAL[name]
        point = bmm.Model(formula, data, family).maximize(nagq=25 if frailty else 1)
        beta, scale = np.array(point.beta), 1.0
        if family == "weibull":
            scale = 1 / point.auxiliaries["shape"]
            beta[0] -= gammaln(1 + scale)
        elif family != "exponential":
            scale = point.auxiliaries["sigma"]
        pairs.append(Pair("criterion, log-likelihood, AIC, BIC", name, point.criterion, own["criterion"]))
        both = zip(beta, own["fixef"].values(), own["fixef_se"].values(), strict=True)
        pairs += [Pair("coefficient", name, *each) for each in both]
        pairs.append(relative("sd", f"{name} sigma", scale, own["residual_scale_sigma" if frailty else "scale_sigma"]))
        if frailty:
            pairs.append(relative("sd", name, point.varcorr()["sdcor"].iloc[0], own["random_sd"]))
    return pairs, {}


KIDNEY = "time | cens(1 - status) ~ age + sex"
INTERVAL = "lo | cens(2 * (hi > lo), hi) ~ x"
SURVIVAL = {
    "kidney_exponential": (f"{KIDNEY} + disease", "exponential"),
    "kidney_weibull": (f"{KIDNEY} + disease", "weibull"),
    "kidney_lognormal": (f"{KIDNEY} + disease", "lognormal"),
    "kidney_weibull_frailty": (f"{KIDNEY} + (1 | id)", "weibull"),
    "kidney_lognormal_frailty": (f"{KIDNEY} + (1 | id)", "lognormal"),
    "tobit_fixed": ("y | cens(cens) ~ x", "gaussian"),
    "tobit_ri": ("y | cens(cens) ~ x + (1 | g)", "gaussian"),
    "interval_gauss": (INTERVAL, "gaussian"),
    "interval_ri": (f"{INTERVAL} + (1 | g)", "gaussian"),
}
FILES: dict[str, Callable[[], Read]] = {
    "lme4_gaussian.json": lme4_gaussian,
    "glmm.json": glmm,
    "inference.json": inference,
    "structures.json": structures,
    "row_parameters.json": row_parameters,
    "survival.json": survival,
}
