"""Linear models with their effects written out, without PyMC: the joint density, and its draws."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from compared_draws import compare_draws
from scipy import stats

import bayesmm as bmm
from bayesmm.likelihood.coordinates import factors, values
from bayesmm.priors import prior_design
from bayesmm.sampling.joint import applies, as_generalised, joint_posterior

G, H, N = 10, 6, 120


def data():
    rng = np.random.default_rng(3)
    x, g, h = rng.normal(20, 2, N), np.arange(N) % G, rng.integers(0, H, N)
    y = 3 + 0.5 * x + rng.normal(size=G)[g] + 0.4 * (x - 20) * rng.normal(size=G)[g] + 0.7 * rng.normal(size=H)[h]
    table = {"y": y + rng.normal(size=N), "x": x, "g": g.astype(str), "h": h.astype(str)}
    return pd.DataFrame(table).assign(w=rng.uniform(0.5, 2.0, N), o=rng.normal(size=N), time=np.arange(N) // G,
                                      stage=pd.Categorical(np.array(list("abcd"))[np.arange(N) // G % 4]))  # fmt: skip


K = pd.DataFrame(0.5 * np.eye(G) + 0.5, index=list(map(str, range(G))), columns=list(map(str, range(G))))
SHAPES = {
    "crossed": ("y ~ x + (x | g) + (1 | h)", {}),
    "weights and offset": ("y ~ x + offset(o) + (1 | g)", {"weights": "w"}),
    "related": ("y ~ x + (1 | gr(g, cov=K))", {"matrices": {"K": K}}),
    "structure": ("y ~ x + ar1(stage | g)", {}),
    "no effects": ("y ~ x", {"weights": "w"}),
    "sigma held": ("y ~ x + (x || g)", {"priors": {"sigma": 1.0}}),
}


def test_the_density_is_that_of_rows_with_weights_and_of_effects():
    model = bmm.Model("y ~ x + offset(o) + (x | g)", data(), weights="w")
    own, table = prior_design(model.design, model.priors), data()
    written = as_generalised(model.design)
    posterior = joint_posterior(written, prior_design(written, model.priors), model.priors, [False])
    c, rng = posterior.coordinates, np.random.default_rng(1)
    x, y = 0.4 * rng.normal(size=(2, posterior.size))
    y[: posterior.size - 2 * G] = x[: posterior.size - 2 * G]  # the priors cancel, and what weights add to a density

    def log_density(x):
        scalars, e = values(c, x[None])[0], x[-2 * G :].reshape(G, 2)
        b = e @ (scalars[:2, None] * factors(c, x[None])[0][0]).T
        eta = own.X @ scalars[3:5] + own.offset + (own.blocks[0].Z * b[own.blocks[0].index]).sum(axis=1)
        rows = stats.norm.logpdf(table["y"], eta, scalars[2] / np.sqrt(table["w"])).sum()
        return rows + stats.norm.logpdf(e).sum()

    assert posterior(x)[0] - posterior(y)[0] == pytest.approx(log_density(x) - log_density(y), rel=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_are_those_with_the_effects_integrated_out(shape):
    formula, own = SHAPES[shape]
    model = bmm.Model(formula, data(), **own)
    assert applies(model.design, model.priors, "explicit", "auto")
    ways = [{"effects": "explicit"}, {} if shape == "related" else {"effects": "marginal"}]
    one, other = (model.sample(1500, seed=1, progress=False, **way).tree for way in ways)
    assert set(one.children) == set(other.children)
    one, other = one["posterior"], other["posterior"]
    assert set(one.data_vars) == set(other.data_vars) and one.sizes == other.sizes
    for name in one.data_vars:
        for place in np.ndindex(one[name].shape[2:]):
            pair = [draws[name].to_numpy()[(..., *place)] for draws in (one, other)]
            if min(draws.std() for draws in pair) > 0 and not (name.startswith("b_") and place[0] > 1):
                compare_draws(*pair, (name, place))


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g) + ar(time, g)", "mvbind(y, o) ~ x + (1 | g)"])
def test_residuals_with_parameters_are_left_to_the_graph(formula):
    model = bmm.Model(formula, data())
    assert not applies(model.design, model.priors, "explicit", "auto")


CODE = """
import sys, numpy as np, bayesmm as bmm
data = {"y": np.arange(12.0) % 5, "g": list("abcabcabcabc")}
bmm.Model("y ~ 1 + (1 | g)", data).sample(50, effects="explicit", seed=1, progress=False).summary()
print(sorted({"pymc", "pytensor"} & set(sys.modules)))
"""


def test_nothing_loads_pymc():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
