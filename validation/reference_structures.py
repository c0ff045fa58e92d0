"""R's numbers for smooths, structures, ordered responses and more zeros: models with data of their own."""

import numpy as np
import pandas as pd

import bayesmm as bmm
from validation.reference_files import OTHER, TESTS, Pair, Read, coefficients, load, relative

SMOOTHS = {
    "k05_mcycle_cr_reml": "accel ~ s(times, bs = 'cr', k = 20)",
    "k05_mcycle_ps_reml": "accel ~ s(times, bs = 'ps', k = 20)",
    "k05_mcycle_tp_reml": "accel ~ s(times, k = 20)",
    "k05_mcycle_tp_ml": "accel ~ s(times, k = 20)",
    "k05_sim_by_re_reml": "y ~ f + s(x, by = f, bs = 'cr', k = 10) + (1 | g)",
    "k05_sim_re_ml": "y ~ f + s(x, bs = 'cr', k = 10) + (1 | g)",
}
MEMBERS = "y ~ x + (1 | mm(s1, s2, weights = cbind(w1, w2)))"
STRUCTURES = {
    "k06_oats_cshet_ml": ("yield ~ nitro + cs(0 + Variety | Block)", "oats"),
    "k06_oats_diag_variety_ml": ("yield ~ nitro + diag(0 + Variety | Block)", "oats"),
    "k06_oats_pdblocked_reml": ("yield ~ nitro + (1 | Block) + ident(0 + Variety | Block)", "oats"),
    "k06_simdev_ar1_ml": ("y ~ t + x + ar1(0 + factor(t) | id)", "autoregressive"),
    "k06_simdev_ar1_reml": ("y ~ t + x + ar1(0 + factor(t) | id)", "autoregressive"),
    "k07_mm_gauss_ml": (MEMBERS, "members"),
    "k07_mm_gauss_reml": (MEMBERS, "members"),
}
ORDERED = {
    "k09_wine_judge_laplace_logit": ("logit", 1),
    "k09_wine_judge_laplace_probit": ("probit", 1),
    "k09_wine_judge_laplace_cloglog": ("cloglog", 1),
    "k09_wine_judge_agq7": ("logit", 7),
    "k09_wine_judge_agq11": ("logit", 11),
    "k09_sim2f_logit": ("logit", 1),
    "k09_sim2f_probit": ("probit", 1),
}
ZEROS = {
    "k10_sal_zinb2_x": ("zero_inflated_negbinomial", "zi"),
    "k10_sal_hurdle_nb2": ("hurdle_negbinomial", "hu"),
}
LIKELIHOOD = "criterion, log-likelihood, AIC, BIC"


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(TESTS / "data" / f"{name}.csv")


def structures() -> Read:
    """Return smooths beside mgcv's, structures beside glmmTMB's and nlme's."""
    known, pairs = load("structures.json"), []
    for name, formula in SMOOTHS.items():
        pairs += smooth(name, known[name], bmm.Model(formula, table("mcycle" if "mcycle" in name else "smooths")))
    for name, (formula, data) in STRUCTURES.items():
        own = known[name]
        point = bmm.Model(formula, table(data)).maximize(own["estimator"])
        pairs.append(Pair(LIKELIHOOD, name, point.criterion, own["criterion"]))
        pairs += coefficients(name, point, own["fixef"].values(), own["fixef_se"].values())
        pairs.append(relative("sd", f"{name} sigma", point.sigma, own["residual_sd"]))
        sds = np.concatenate([np.sqrt(np.diag(S)) for S in point.covariances])
        if len(sds) == len(own["random_sd"]):
            pairs += [relative("sd", name, *both) for both in zip(sds, own["random_sd"].values(), strict=True)]
    return pairs, {OTHER: len(known) - len(SMOOTHS) - len(STRUCTURES)}


def smooth(name: str, own: dict, model) -> list[Pair]:
    """Return criterion, sds and fitted values of a model with smooths; R's are in the order of its labels."""
    point, wanted = model.maximize(own["estimator"]), own["dense_mixed_model"]
    labels = [block.group.replace("f[", "f").replace("]", "") for block in point.design.blocks]
    labels = [
        label if block.smooth else f"s({label})" for label, block in zip(labels, point.design.blocks, strict=True)
    ]
    pairs = [Pair(LIKELIHOOD, name, point.criterion, wanted["minus2ll"])]
    for label, S in zip(labels, point.covariances, strict=True):
        pairs.append(relative("sd", f"{name} {label}", np.sqrt(S[0, 0]), wanted["sd"][label]))
    pairs.append(relative("sd", f"{name} sigma", point.sigma, wanted["sd"]["residual"]))
    rows = np.array(own["fitted_rows"]) - 1
    return pairs + [
        relative("fitted value", name, ours, theirs, point.sigma)
        for ours, theirs in zip(point.fitted[rows], own["fitted_link"], strict=True)
    ]


def row_parameters() -> Read:
    """Return ordered responses beside ordinal's, more zeros beside glmmTMB's."""
    known, pairs = load("row_parameters.json"), []
    for name, (link, nodes) in ORDERED.items():
        pairs += ordered(name, known[name], link, nodes)
    for name, (family, parameter) in ZEROS.items():
        pairs += zeros(name, known[name], family, parameter)
    return pairs, {OTHER: len(known) - len(ORDERED) - len(ZEROS)}


def ordered(name: str, own: dict, link: str, nodes: int) -> list[Pair]:
    crossed = "sim2f" in name
    formula = "y ~ x + (1 | a) + (1 | b)" if crossed else "rating ~ temp + contact + (1 | judge)"
    data = table("ordered_crossed" if crossed else "wine")
    point = bmm.Model(formula, data, "cumulative", link=link).maximize(nagq=nodes)
    ses = own["se_thresholds_then_fixef"]
    pairs = [Pair(LIKELIHOOD, name, point.criterion, own["criterion"])]
    for label, value in own["thresholds"].items():
        mine = f"threshold[{label}]"
        pairs.append(Pair("coefficient", f"{name} {mine}", point.parameters[mine], value, ses[label]))
        pairs.append(relative("standard error", f"{name} {mine}", point.own_se[mine], ses[label]))
    pairs += coefficients(name, point, own["fixef"].values(), [ses[label] for label in own["fixef"]])
    sds = [np.sqrt(S[0, 0]) for S in point.covariances]
    return pairs + [relative("sd", name, *both) for both in zip(sds, own["random_sd"].values(), strict=True)]


def zeros(name: str, own: dict, family: str, parameter: str) -> list[Pair]:
    data = table("salamanders").assign(
        spp=lambda d: pd.Categorical(d["spp"], ["GP", "PR", "DM", "EC-A", "EC-L", "DES-L", "DF"]),
        mined=lambda d: pd.Categorical(d["mined"], ["yes", "no"]),
    )
    point = bmm.Model(("count ~ spp + mined + (1 | site)", f"{parameter} ~ mined"), data, family).maximize()
    pairs = [Pair(LIKELIHOOD, name, point.criterion, own["criterion"])]
    pairs += coefficients(name, point, own["fixef"].values(), own["fixef_se"].values())
    sd = own["varcorr_cond"]["site"]["sd"]["(Intercept)"]
    pairs.append(relative("sd", name, np.sqrt(point.covariances[0][0, 0]), sd))
    (_, change), (_, se) = own["zi_fixef"].values(), own["zi_fixef_se"].values()
    ours = point.parameters[f"logit_{parameter}[mined[T.no]]"]
    pairs.append(Pair("coefficient", f"{name} {parameter}", ours, change, se))
    fitted = zip(point.predict()["estimate"][:5], own["predict_response_rows1to5"], strict=True)
    return pairs + [relative("fitted value", name, *both) for both in fitted]
