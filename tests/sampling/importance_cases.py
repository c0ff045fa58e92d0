"""Models of the sleep study with priors of every kind, for independent draws."""

from functools import cache

import numpy as np
from references import frame

import bayesmm as bmm
from bayesmm.estimation.maximize import maximize
from bayesmm.likelihood.marginal import marginal
from bayesmm.likelihood.problem import integrate

SLEEP = "Reaction ~ Days + (Days | Subject)"


CASES = {
    "correlated": (SLEEP, {}, {}),
    "three coefficients": ("Reaction ~ Days + (Days + I(Days^2) | Subject)", {"corr": bmm.Prior("LKJ", eta=3.5)}, {}),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", {}, {"weights": "w"}),
    "a part of three": ("Reaction ~ Days + (Days | Subject) + (0 + I(Days^2) | Subject)", {}, {}),
    "sampled coefficient": (SLEEP, {"beta[Days]": bmm.Prior("StudentT", nu=4, mu=8, sigma=3)}, {}),
    "on the variance": (SLEEP, {"sd": bmm.Prior("Gamma", alpha=2, beta=0.01, on="variance")}, {}),
    "fixed sd": (SLEEP, {"sd_Subject[Days]": 5.0, "sigma": bmm.Prior("HalfNormal", sigma=40)}, {}),
    "fixed sigma": (SLEEP, {"sigma": 25.0, "beta": bmm.Prior("Flat")}, {}),
    "no random effects": ("Reaction ~ Days", {}, {}),
}


@cache
def sleep_data():
    data = frame("sleepstudy")
    return data.assign(w=np.random.default_rng(0).uniform(0.5, 2, len(data)))


@cache
def case(name):
    formula, priors, further = CASES[name]
    model = bmm.Model(formula, sleep_data(), priors=priors or None, **further)
    own = marginal(model.design, model.priors, integrate(model.design, model.priors))
    return model, own, maximize(model.design)
