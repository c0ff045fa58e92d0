# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # When Bayes and REML disagree: three causes, and what to do about each
#
# Posterior and REML come from the same likelihood, so where they differ there is a reason that can be named. After
# these pages you will be able to tell three of them apart (a singular fit, few groups, a strong prior), to read the
# verdicts of `compare()`, and to decide what to report.

# %%
import pandas as pd

import bayesmm as bmm

# %% [markdown]
# ## Cause 1: REML sits on the boundary
#
# Antibodies in the first month: does the effect of sex differ between the eight families?

# %%
immune = bmm.load_dataset("immune")
start = immune[immune["Time"] == 0]
model = bmm.Model("IgG ~ Sex + (Sex | FamID)", start)
point = model.maximize()
print(point)

# %% [markdown]
# The last line says it: a correlation of exactly -1. That is no discovery about families. It is where a maximum ends
# up when it is stopped by the edge.

# %%
fit = model.sample(seed=1, progress=False)
comparison = fit.compare(point, consistency=False)
print(comparison)

# %% [markdown]
# The posterior has no trouble with the edge, because it does not look for a highest point: it averages. The
# correlation may be anything from strongly negative to strongly positive, and the standard deviation of the effect of
# sex is most probably small:

# %%
axes = bmm.plots.plot_variances(fit, point)

# %% [markdown]
# The profile interval of the correlation (red, from -1 to 1) says the same in its own way: nothing is known. So REML
# and the posterior do not contradict each other; only REML's single number misleads.
#
# **What to do.** Do not report the -1. Ask whether the term is needed at all:

# %%
simple = bmm.Model("IgG ~ Sex + (1 | FamID)", start)
simple_fit = simple.sample(seed=1, progress=False)
print(bmm.lrt(simple.maximize(), point), end="\n\n")
print(bmm.compare_models({"intercepts": simple_fit, "slopes": fit}))

# %% [markdown]
# Neither the test nor cross-validation wants it. And what you came for, the effect of sex, is nearly the same either
# way:

# %%
both = pd.concat({"slopes": fit.fixef(), "intercepts": simple_fit.fixef()})
both[["mean", "sd", "lower", "upper"]].round(2)

# %% [markdown]
# With the slopes kept its interval is wider. If the design demands them (sex varies within families, so many would
# say it does), keep them and report the posterior: it stays honest where REML has a singular fit.

# %% [markdown]
# ## Cause 2: few groups
#
# Thirty plots in five blocks. What is the standard deviation between blocks?

# %%
crops = bmm.load_dataset("crop_yield")
blocks = bmm.Model("Yield ~ N + P + (1 | Block)", crops)
blocks_fit = blocks.sample(seed=1, progress=False)
print(blocks_fit.compare(consistency=False))

# %% [markdown]
# Five blocks are five numbers to learn a standard deviation from. It may be nearly 0, or three times what REML says.
# A profile interval, the frequentist way to see it, tells much the same:

# %%
blocks.maximize().confint().round(1)

# %% [markdown]
# **What to do.** With so few groups the prior has a say. In what? `sensitivity()` gives the draws other weights, as if
# the priors counted a little more or a little less. That takes no second fit:

# %%
print(blocks_fit.sensitivity())

# %% [markdown]
# Only the standard deviation of the blocks is above 0.05. (*Conflict* is the name in the literature for whatever
# depends on both; here it says that the prior is not negligible.) How far it moves is seen by changing the prior:

# %%
priors = {
    "default": None,
    "HalfNormal(10)": {"sd_Block": bmm.Prior("HalfNormal", sigma=10)},
    "HalfNormal(50)": {"sd_Block": bmm.Prior("HalfNormal", sigma=50)},
    "Exponential(mean 20)": {"sd_Block": bmm.Prior("Exponential", lam=1 / 20)},
}
fits = {
    name: bmm.fit("Yield ~ N + P + (1 | Block)", crops, priors=prior, seed=1, progress=False)
    for name, prior in priors.items()
}
rows = {name: each.summary().loc[["sd_Block[Intercept]", "beta[N]"]] for name, each in fits.items()}
pd.concat(rows)[["mean", "sd", "lower", "upper"]].round(1)

# %% [markdown]
# The standard deviation of the blocks moves with its prior: report it with the prior, or not at all. The effect of
# nitrogen does not move. Every plot with much nitrogen has a neighbour with little *in the same block*, so
# differences between blocks cancel. What you may conclude depends on which of the two you came for.

# %% [markdown]
# ## Cause 3: a strong prior
#
# Somebody has read that "standard deviations have a HalfNormal(1) prior" and forgot that the response is in
# milliseconds:

# %%
sleep = bmm.load_dataset("sleepstudy")
formula = "Reaction ~ Days + (Days | Subject)"
strong = bmm.Model(formula, sleep, priors={"sd": bmm.Prior("HalfNormal", sigma=1)})
strong_fit = strong.sample(seed=1, progress=False)
print(strong_fit.compare(consistency=False))

# %% [markdown]
# *Prior pull*: the priors alone move the highest point of the posterior by about as much as posterior and REML
# differ. The coefficients agree, but look beside them: the posterior's sd of the intercept is far below REML's SE,
# because the prior denies that people differ at the start. The picture of priors and posteriors shows the culprit at
# once:

# %%
axes = bmm.plots.plot_priors(strong_fit)

# %% [markdown]
# For `sd_Subject[Days]` the data insist on more than 3, against a prior that hardly reaches it. The checks have
# noticed, and say what to mend first:

# %%
print(str(strong_fit).split("\n\n")[0])

# %% [markdown]
# That check sees a conflict where the data have held out against the prior. For `sd_Subject[Intercept]` the prior has
# won, and in the posterior that looks like peace. `sensitivity()` is not deceived:

# %%
print(strong_fit.sensitivity())

# %% [markdown]
# **What to do.** Follow the advice, and look at what a prior says in the units of the response *before* sampling:

# %%
wide = bmm.Model(formula, sleep, priors={"sd": bmm.Prior("HalfNormal", sigma=50)})
wide

# %%
wide_fit = wide.sample(seed=1, progress=False)
wide_fit.compare(consistency=False).table[["parameter", "point", "mean", "lower", "upper", "verdict"]].round(2)

# %% [markdown]
# A strong prior is not always a mistake. If earlier studies put the standard deviation of intercepts between 20 and
# 40 ms, a prior may say so, the posterior will be narrower, and `compare()` will still show what the prior did.
#
# ## In short
#
# | verdict | what happened | what to do |
# |---|---|---|
# | `agree` | nothing | report either |
# | `skew` | a peak and a mean of the same lopsided curve | report the interval |
# | `boundary` | REML stands at 0, or at a correlation of -1 or 1 | simplify, or report the posterior |
# | `few groups` | the data leave a long tail | `sensitivity()`; vary the prior; report what does not move |
# | `prior pull` | the prior has moved the answer | check its units; defend it or widen it |
# | `disagree` | none of these explains it | do not trust either before you know why |
#
# ## What to try next
#
# 1. In Cause 1, write `Sex || FamID`, without the correlation. Is the fit still singular?
# 2. Take four of the eighteen subjects of `sleepstudy` and fit the model again. Which verdicts change, and how much
#    wider is the interval of `beta[Days]`?
# 3. Fit the blocks as fixed effects, `Yield ~ N + P + Block`. What becomes of the interval of `beta[N]`?
