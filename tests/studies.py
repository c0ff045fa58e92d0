"""Files of published results for the tests to read, written beside their data."""

import numpy as np

import bayesmm as bmm
from bayesmm.cli.reproduce.published import read_published

STUDY = """
title = "A study"
formula = "{formula}"
program = "{program}"
{more}
[data]
{data}

[published]
{published}
"""


def write(
    folder, formula="Reaction ~ Days + (Days | Subject)", published='nobs = "180"', more="", data=None, program="lme4"
):
    if data is None:
        frame = bmm.load_dataset("sleepstudy")
        frame = frame.assign(Noise=np.random.default_rng(1).normal(size=len(frame)))
        frame.to_csv(folder / "sleep.csv", index=False)
        data = 'file = "sleep.csv"\ncolumns = { Subject = "factor" }'
    path = folder / "study.toml"
    path.write_text(STUDY.format(formula=formula, published=published, more=more, data=data, program=program))
    return read_published(path)
