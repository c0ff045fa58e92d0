"""Residual structures and known covariances of levels against nlme, glmmTMB and a dense likelihood in R.

The criterion is right to 1e-6 and never above R's; coefficients to 1e-4 standard errors, sds and correlations to 1e-4.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm

TESTS = Path(__file__).parents[1]
FITS = json.loads((TESTS / "reference" / "residuals.json").read_text(encoding="utf-8"))
CUBIC = "rate ~ (pressure + I(pressure^2) + I(pressure^3) + I(pressure^4))*QB"
POWER = (CUBIC, "sigma ~ log(pressure)")  # nlme's varPower: sd = sigma pressure^delta
GENES = "y ~ sex + x + (1 | gr(id, cov = A)) + (1 | id2)"
SPACE = "y ~ x + u + (1 | gr(site, cov = K))"


def table(name):
    return pd.read_csv(TESTS / "data" / f"{name}.csv")


def dialyzer():
    return table("dialyzer").astype({"QB": str, "Subject": str})


def ovary():
    return table("ovary").astype({"Mare": str})


def spatial():
    return table("spatial")


def animal():
    frame = table("animal")
    return frame.assign(id2=frame["id"])


def relationship():
    """Return the pedigree with the labels of its animals, whose numbers are their rows, 0 for an unknown parent."""
    found = table("pedigree")
    labels = np.array(["0", *found.iloc[:, 0]])
    return pd.DataFrame({"id": labels[1:], "sire": labels[found["sire"]], "dam": labels[found["dam"]]})


def distances():
    """Return exp(-distance / 3) of the sites."""
    sites = table("spatial").drop_duplicates("site")
    at = sites[["u", "v"]].to_numpy()
    K = np.exp(-np.linalg.norm(at[:, None] - at, axis=2) / 3)
    return pd.DataFrame(K, sites["site"].to_numpy(), sites["site"].to_numpy())


CASES = {
    "k01_dialyzer_gls_varpower_ml": (POWER, dialyzer, {"sigma": "sigma", "log_sigma[log(pressure)]": "delta"}),
    "k01_dialyzer_gls_varpower_reml": (POWER, dialyzer, {"sigma": "sigma", "log_sigma[log(pressure)]": "delta"}),
    "k01_dialyzer_lme_varexp_reml": (
        ("rate ~ (pressure + I(pressure^2))*QB + (1 | Subject)", "sigma ~ pressure"), dialyzer,
        {"sigma": "sigma", "log_sigma[pressure]": "delta", "sd_Subject[Intercept]": ("random_sd", "(Intercept)")},
    ),
    "k02_ovary_gls_ar1_ml": ("follicles ~ s1 + c1 + ar(obs, Mare)", ovary, {"sigma": "residual_sd", "ar": "ar1_rho"}),
    "k02_ovary_gls_ar1_reml": ("follicles ~ s1 + c1 + ar(obs, Mare)", ovary, {"sigma": "residual_sd", "ar": "ar1_rho"}),
    "k02_ovary_lme_pddiag_ar1_reml": (
        "follicles ~ s1 + c1 + (s1 || Mare) + ar(obs, Mare)", ovary,
        {"sigma": "residual_sd", "ar": "ar1_rho", "sd_Mare[Intercept]": ("random_sd", "(Intercept)"),
         "sd_Mare[s1]": ("random_sd", "s1")},
    ),
    "k04_animal_additive_permanent_ml": (
        GENES, animal, {"sd_id[Intercept]": ("random_sd", "additive"), "sd_id2[Intercept]": ("random_sd", "permanent"),
                        "sigma": "residual_sd"},
    ),
    "k04_animal_additive_permanent_reml": (
        GENES, animal, {"sd_id[Intercept]": ("random_sd", "additive"), "sd_id2[Intercept]": ("random_sd", "permanent"),
                        "sigma": "residual_sd"},
    ),
    "k04_spatial_ml": (SPACE, spatial, {"sd_site[Intercept]": ("random_sd", "site"), "sigma": "residual_sd"}),
    "k04_spatial_reml": (SPACE, spatial, {"sd_site[Intercept]": ("random_sd", "site"), "sigma": "residual_sd"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_maximum_is_that_of_r(name):
    (formula, data, parameters), fit = CASES[name], FITS[name]
    text = str(formula)
    matrices = {"A": relationship()} if "cov = A" in text else {"K": distances()} if "cov = K" in text else {}
    point = bmm.Model(formula, data(), matrices=matrices or None).maximize("ML" if name.endswith("_ml") else "REML")
    assert abs(point.criterion - fit["criterion"]) < 1e-6 * abs(fit["criterion"])
    assert point.criterion < fit["criterion"] + 1e-8 * abs(fit["criterion"])  # never above
    beta, se = (np.array(list(fit[key].values())) for key in ("fixef", "fixef_se"))
    np.testing.assert_array_less(np.abs(point.beta - beta), 1e-4 * se)
    np.testing.assert_allclose(point.fixef()["se"], se, rtol=1e-4)
    for label, where in parameters.items():
        expected = fit[where] if isinstance(where, str) else fit[where[0]][where[1]]
        assert point.parameters[label] == pytest.approx(expected, rel=1e-4), label
    if "blups" in fit:
        effects = point.ranef()
        group = "Mare" if "Mare" in text else "Subject" if "Subject" in text else "id" if "(id," in text else "site"
        own = effects[effects["grpvar"] == group].set_index(["grp", "term"])["condval"]
        for level, values in zip(fit["blups"]["rows"], fit["blups"]["values"], strict=True):
            found = [own[level, term] for term in dict.fromkeys(own.index.get_level_values("term"))]
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5)


def test_sleepstudy_with_a_residual_sd_that_grows_is_that_of_glmmtmb():
    """glmmTMB 1.1.5 models the logarithm of the variance: half of its coefficients are ours."""
    fit = FITS["k01_sleep_gauss_disp_ml"]
    data = bmm.load_dataset("sleepstudy")
    point = bmm.Model(("Reaction ~ Days + (1 | Subject)", "sigma ~ Days"), data).maximize("ML")
    assert point.criterion == pytest.approx(fit["criterion"], rel=1e-9)
    intercept, slope = fit["disp_fixef"].values()
    assert point.parameters["sigma"] == pytest.approx(np.exp(intercept / 2), rel=1e-4)
    assert point.parameters["log_sigma[Days]"] == pytest.approx(slope / 2, rel=1e-4)
    np.testing.assert_allclose(point.beta, list(fit["fixef"].values()), rtol=1e-6)
