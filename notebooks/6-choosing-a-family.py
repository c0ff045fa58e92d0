# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Choosing a family
#
# A *family* says what responses may be, and how they scatter about their mean. After these pages you will be able to
# rule out families by the values of the response alone, to see in residuals that a family is wrong, to compare those
# that are left, and to give a parameter of a family a formula of its own.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesmm as bmm

random = np.random.default_rng(11)


def groups(number, each):
    """Return a label and an effect for each row of so many groups."""
    place = np.repeat(np.arange(number), each)
    return np.array([f"g{i:02d}" for i in place]), random.normal(size=number)[place]


# %% [markdown]
# All data here are made, so that we know what is right.
#
# ## What may the response be?
#
# | response | start with | other choices |
# |---|---|---|
# | any number | `gaussian` | `student` (outliers), `skew_normal`, `exgaussian` |
# | above 0 | `gamma`, `lognormal` | `weibull`, `loglogistic` (survival), `inverse_gaussian`, `shifted_lognormal` |
# | 0 or more, with zeros | `hurdle_gamma`, `tweedie` | `hurdle_lognormal` |
# | counts | `poisson`, then `negbinomial` | `zero_inflated_` and `hurdle_` ones, `compois`, `genpois` |
# | successes out of trials | `binomial` | `betabinomial` |
# | between 0 and 1 | `beta` | with zeros or ones: `ordered_beta`, `zero_inflated_beta` |
# | ordered categories | `cumulative` | |
# | angles | `von_mises` | |
#
# A family refuses what it cannot have, and names one that can. Sliders, say, from "not at all" to "completely":

# %%
person, level = groups(20, 10)
calm = random.normal(size=200)
mean = 1 / (1 + np.exp(-(0.3 + 0.8 * calm + 0.5 * level)))
slider = np.clip(random.beta(4 * mean, 4 * (1 - mean)) * 1.15 - 0.05, 0, 1).round(2)
sliders = pd.DataFrame({"slider": slider, "calm": calm, "person": person})
try:
    bmm.Model("slider ~ calm + (1 | person)", sliders, family="beta")
except bmm.DataError as error:
    print(error)

# %% [markdown]
# The remedy that it knows would move people who said "completely" to an arbitrary place. A family whose ends have
# probabilities of their own needs none:

# %%
shares = bmm.Model("slider ~ calm + (1 | person)", sliders, family="ordered_beta").maximize()
print(shares)

# %% [markdown]
# ## Reaction times: what do residuals say?
#
# Nobody reacts in less than some 200 ms, and now and then somebody takes long. Four families, all for the same rows:

# %%
person, speed = groups(20, 15)
hard = np.tile([0, 1, 0], 100)
time = 0.22 + np.exp(-1.1 + 0.3 * hard + 0.2 * speed + 0.45 * random.normal(size=300))
times = pd.DataFrame({"time": time, "hard": hard, "person": person})
tried = {
    family: bmm.Model("time ~ hard + (1 | person)", times, family).maximize("ML")
    for family in ("gaussian", "gamma", "lognormal", "shifted_lognormal")
}

# %% [markdown]
# Information criteria may be compared across families as long as the response is the same, and not, say, its logarithm:

# %%
print(bmm.compare_models(tried))

# %% [markdown]
# *Quantile residuals* are normal where the family is right, whatever the family. Sorted, beside the quantiles of a
# normal variable, those of the right one stay inside the band. They are of posteriors, here of the worst and of the
# best:

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for panel, family in zip(panels, ("gaussian", "shifted_lognormal"), strict=True):
    model = bmm.Model("time ~ hard + (1 | person)", times, family)
    bmm.plots.plot_qq(model.sample(draws=500, seed=1, progress=False), ax=panel)

# %% [markdown]
# The Gaussian model (left) has too many long times, and expects short ones that nobody has.

# %% [markdown]
# The time without a decision, `ndt`, was 0.22:

# %%
print(tried["shifted_lognormal"].auxiliaries)

# %% [markdown]
# (Here the likelihood alone has no maximum: it grows without end where `ndt` comes close to the shortest time of all,
# and what the search gives is the highest point away from there. A posterior has a prior for that.)
#
# ## Amounts with zeros: two questions in one response
#
# Rain on some days of some stations. *Whether* it rains and *how much* may depend on different things, so that the
# probability of a dry day, `hu`, gets a formula of its own:

# %%
station, wet = groups(15, 16)
wind = random.normal(size=240)
dry = random.uniform(size=240) < 1 / (1 + np.exp(1.0 - 1.2 * wind))
amount = random.gamma(1.5, np.exp(1.0 + 0.1 * wind + 0.4 * wet) / 1.5)
rain = pd.DataFrame({"rain": np.where(dry, 0.0, amount), "wind": wind, "station": station})
simple = bmm.Model("rain ~ wind + (1 | station)", rain, family="hurdle_gamma").maximize()
both = bmm.Model("rain ~ wind + (1 | station); hu ~ wind", rain, family="hurdle_gamma").maximize()
print(both)

# %% [markdown]
# The wind has no part in how much it rains, and much in whether it does. Is the second formula worth its parameter?

# %%
print(bmm.lrt(simple, both))

# %% [markdown]
# Predictions are of the rain itself, dry days included, so that the wind matters:

# %%
print(bmm.emmeans(both, "wind", at={"wind": [-1.0, 0.0, 1.0]}, kind="mean"))

# %% [markdown]
# ## Last, the posterior
#
# What was chosen is sampled as any model is, and its checks look at the family too:

# %%
fit = bmm.Model("rain ~ wind + (1 | station); hu ~ wind", rain, family="hurdle_gamma").sample(seed=1, progress=False)
print(str(fit).split("\n\n")[0])

# %%
axes = bmm.plots.plot_qq(fit)

# %% [markdown]
# (A dry day has a place somewhere below all wet ones, drawn at random, so that its residual is normal too. One point
# beyond the edge of a band that holds all of them in 95 of 100 data sets is no reason for another family.)
#
# ## What to try next
#
# 1. Fit `tweedie` to the rain. It has zeros too, but their probability follows from the mean. What do its residuals and
#    its AIC say, and why?
# 2. Make `sigma` of the reaction times depend on `hard`: `"time ~ hard + (1 | person); sigma ~ hard"`. The data were
#    made without that; what does `bmm.lrt` say?
# 3. Replace the sliders of exactly 0 and 1 as the error of `beta` suggests, fit `beta`, and compare the coefficient of
#    `calm` with that of `ordered_beta`. Its scale is the same.
