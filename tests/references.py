"""The reference fits and their data, for the tests."""

import json
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

import bayesmm as bmm

HERE = Path(__file__).parent
# The original immune data have no licence: they are never part of the repository, and are looked for beside it.
ABSENT = "the original immune data may not be redistributed and are not beside this checkout"
IMMUNE = HERE.parents[1] / "shared" / "data" / "immune_original.csv"
FACTORS = (
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


@cache
def reference_models() -> dict[str, dict]:
    """Return the reference fits by name."""
    return json.loads((HERE / "reference" / "lme4_gaussian.json").read_text())["models"]


def names(engine: str) -> list[str]:
    """Return the names of the fits of one engine."""
    return [name for name, model in reference_models().items() if model["engine"] == engine]


def original_immune() -> pd.DataFrame:
    """Return the original immune data, its codes as numbers; skip the test where they are not beside the checkout."""
    if not IMMUNE.exists():
        pytest.skip(ABSENT)
    return pd.read_csv(IMMUNE)


@cache
def frame(name: str) -> pd.DataFrame:
    """Return a data set with its codes as categories in numeric order, as R's factor() has them."""
    if name in ("immune", "immune_t0"):
        data = original_immune()
        data = data[data["Time"] == 0] if name == "immune_t0" else data
    elif (HERE / "data" / f"{name}.csv").exists():
        data = pd.read_csv(HERE / "data" / f"{name}.csv")
    else:
        data = bmm.load_dataset(name)
    codes = {
        column: data[column].astype("category")
        for column in FACTORS
        if column in data and data[column].dtype != "category"
    }
    return data.assign(**codes)


@cache
def _inference() -> dict[str, dict]:
    return json.loads((HERE / "reference" / "inference.json").read_text())


def inference(kind: str) -> dict[str, dict]:
    """Return the reference tests and intervals of one kind: "lm", "lmer", "nlme" or "lrt"."""
    return _inference()[kind]


def r_name(column: str) -> str:
    """Return R's name of a column of X."""
    return "(Intercept)" if column == "Intercept" else column.replace("[T.", "").replace("]", "")
