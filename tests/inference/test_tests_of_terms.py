"""Tests of terms and cluster-robust standard errors beside R's: lmerTest, pbkrtest and clubSandwich."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.inference.hypotheses import _inverse

TESTS = Path(__file__).parents[1]
KNOWN = json.loads((TESTS / "reference" / "tests_of_terms.json").read_text())
MODELS = {
    "k12_machines_rs": ("machines", "score ~ Machine + (0 + Machine | Worker)", "Worker"),
    "k12_machines_unbal": ("machines", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "Worker"),
    "k12_oats_cov": ("oats_unbalanced", "yield ~ nitro*Variety + (1 | Block/Variety)", "Block"),
    "k12_oats_splitplot": ("oats_unbalanced", "yield ~ nit*Variety + (1 | Block) + (1 | Block:Variety)", "Block"),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    data, formula, cluster = MODELS[request.param]
    frame = pd.read_csv(TESTS / "data" / f"{data}.csv")
    if "nit" in frame:
        first = "Golden Rain", "Marvellous", "Victory"
        frame = frame.assign(nit=frame["nit"].astype(str), Variety=pd.Categorical(frame["Variety"], first))
    return KNOWN[request.param], bmm.Model(formula, frame).maximize(), cluster


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2"])
def test_cluster_robust_errors_are_those_of_clubsandwich(case, kind):
    """Both have the optimum to about 1e-9 of an sd, and so these."""
    known, point, cluster = case
    found = point.fixef(se=kind, cluster=cluster)
    np.testing.assert_allclose(found["se"], np.sqrt(np.diag(known[f"vcov_{kind}"])), rtol=1e-7)
    if kind == "CR2":
        table = known["CR2_coef_test"]
        df = [row[table["columns"].index("df_Satt")] for row in table["values"]]
        np.testing.assert_allclose(found["df"], df, rtol=1e-6)


@pytest.mark.parametrize(("ddf", "name", "rtol"), [("satterthwaite", "satt", 2e-3), ("kenward-roger", "kr", 1e-4)])
def test_terms_of_type_iii_are_those_of_lmertest(case, ddf, name, rtol):
    """lmerTest takes derivatives by differences, which leaves about 1e-5 of the degrees of freedom.

    Satterthwaite's for several columns depend on the rows that the hypothesis is written with, by 1e-3 here.
    """
    known, point, _ = case
    table = known[f"anova_typeIII_{name}"]
    expected = pd.DataFrame(table["values"], index=table["term"], columns=table["columns"])
    found = bmm.anova(point, type="III", ddf=ddf).table.loc[table["term"]]
    np.testing.assert_allclose(found["F value"], expected["F value"], rtol=1e-5)
    np.testing.assert_allclose(found["DenDF"], expected["DenDF"], rtol=rtol)


def test_terms_of_type_ii_are_those_of_car(case):
    """lmerTest has others beside a covariate: with SAS it does not take `Variety` to be part of `nitro:Variety`."""
    known, point, _ = case
    table = known["car_Anova_II_chisq"]
    found = bmm.anova(point, type="II").table.loc[table["term"]]
    np.testing.assert_allclose(found["F value"] * found["npar"], [row[0] for row in table["values"]], rtol=1e-6)


def test_a_singular_covariance_of_coefficients_has_no_tests():
    """As where a coefficient goes to infinity: one sentence instead of LAPACK's error."""
    with pytest.raises(DataError, match="covariance matrix of the coefficients is singular") as error:
        _inverse(np.array([[1.0, 2.0], [2.0, 4.0]]))
    assert "\n" not in str(error.value)
