"""Several responses in compiled code: the marginal density and its gradient against the dense normal density."""

import warnings

import numpy as np
import pandas as pd
import pytest
from residual_density import density

import bayesmm as bmm
from bayesmm.likelihood.marginal import searched_likelihood
from bayesmm.likelihood.posterior import Parameters
from bayesmm.likelihood.problem import integrate
from bayesmm.likelihood.varying import varies


def made(seed=2, rows=40):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": [f"g{k % 6}" for k in range(rows)], "x": rng.normal(size=rows)})
    for name in ("y1", "y2", "y3"):
        data[name] = np.where(rng.uniform(size=rows) < 0.15, np.nan, rng.normal(size=rows))
    return data


def expected(integrated, own, at):
    """Return the log density with the covariance matrix of all stacked rows written out."""
    design, problem, value = integrated.problem.design, integrated.problem, dict(zip(own, at.positive, strict=True))
    names, codes = design.responses, design.response_codes
    R = np.eye(len(names))
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            R[i, j] = R[j, i] = value.get(f"rescor[{names[i]}, {names[j]}]", 0.0)
    sd = np.array([value[f"sigma_{name}"] for name in names])[codes]
    V = (design.table_rows[:, None] == design.table_rows) * R[codes][:, codes] * np.outer(sd, sd)
    (block,) = design.blocks
    q = len(block.columns)
    ZL = block.Z @ np.tril(at.L.reshape(q, q))
    V = V + (block.index[:, None] == block.index) * (ZL @ ZL.T)
    proper = problem.fixed * integrated.sd
    return density(problem.response, V + proper @ proper.T, np.empty((design.n, 0)))


@pytest.mark.parametrize(
    "left", ["mvbind(y1, y2)", "mvbind(y1, y2, y3)", "mvbind(y1, y2, rescor = FALSE)", "mvbind(y3, y1)"]
)
@pytest.mark.parametrize("bar", ["(1 | p | g)", "(x | p | g)"])
def test_value_and_gradient_are_those_of_the_dense_density(left, bar):
    free = {"rescor": bmm.Prior("Uniform", lower=-0.99, upper=1.0)} if "FALSE" not in left else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = bmm.Model(f"{left} ~ x + {bar}", made(), priors=free)
    assert varies(model.design)
    integrated, rng = integrate(model.design, model.priors), np.random.default_rng(3)
    own = ["sigma", *integrated.structure.own[1:]]
    positive = np.array([0.2 if "rescor" in label else rng.uniform(0.6, 1.6) for label in own])
    positive[0] = 1.0  # sigma is no parameter
    q = len(model.design.blocks[0].columns)
    at = Parameters(np.tril(0.6 * rng.normal(size=(q, q))).ravel(), positive, np.empty(0))
    value, slopes = searched_likelihood(integrated)(at)
    assert value == pytest.approx(expected(integrated, own, at), rel=1e-9)
    for k in range(1, len(own)):
        step = np.zeros(len(own))
        step[k] = 1e-5
        ends = [expected(integrated, own, at._replace(positive=positive + s * step)) for s in (1, -1)]
        assert slopes.positive[k] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-6), own[k]
