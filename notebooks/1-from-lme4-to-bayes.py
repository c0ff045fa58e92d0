# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # What does a posterior tell you that `lmer` does not?
#
# You know `lmer(Reaction ~ Days + (Days | Subject))`. After these pages you will be able to fit the same model by
# REML and by NUTS, to say which numbers of the two agree and why the others do not, and to answer questions that have
# no row in lme4's summary: how slow will a *new* person be on day 5, and for how many of us does lost sleep hardly
# matter?

# %%
import numpy as np
import pandas as pd

import bayesmm as bmm

data = bmm.load_dataset("sleepstudy")
data.head()

# %% [markdown]
# Eighteen people were kept short of sleep; on days 0 to 9 their reaction time (ms) was measured. The formula is the
# one that you would give to `lmer`. The model prints as mathematics, with its priors:

# %%
model = bmm.Model("Reaction ~ Days + (Days | Subject)", data)
model

# %% [markdown]
# ## First answer: REML

# %%
point = model.maximize()
print(point)

# %% [markdown]
# These are lme4's numbers, to every printed digit. On day 0 the average person needs about 251 ms, and each day adds
# about 10 ms. People differ: their slopes have a standard deviation of about 6 ms a day.
#
# What the table does not say is how well *that* 6 is known. Nor can it say what the 10 means for one person.
#
# ## Before the second answer: what do the priors claim?
#
# The table under the model says it in words. Each default prior is scaled by the data, and wide: the average slope
# may be anywhere between about -96 and +96 ms a day. A picture of data drawn from the priors alone shows what they
# say together:

# %%
axes = bmm.plots.plot_prior_predictive(model, seed=1)

# %% [markdown]
# The observed times (red) lie well within what was thought possible. So do negative times, which are not: these
# priors are vague, and the data will decide. (`bmm.prior_check(model)` prints the same in numbers.)
#
# ## Second answer: the posterior
#
# (`progress=False` only keeps a progress bar out of these pages.)

# %%
fit = model.sample(seed=1, progress=False)
print(fit)

# %% [markdown]
# Read the first line first: the checks of the sampling passed. The note below it is about the model, not the
# sampling: one measurement is so far off that a normal distribution hardly explains it. Notebook 5 comes back to
# that.
#
# The table has lme4's layout, but each row is now a distribution: a mean, a standard deviation, an interval that
# holds the parameter with probability 0.95. So the 6 ms are known only roughly: anything from about 4 to 10 is
# credible.
#
# ## Do the two answers agree?

# %%
comparison = fit.compare(point)
print(comparison)

# %% [markdown]
# The coefficients agree. The standard deviations of the subjects do not quite, and the verdict says why: *skew*. REML
# reports the peak of a lopsided curve; the mean of the posterior lies in its longer tail. Neither is wrong; they are
# different summaries of the same curve, as the picture shows:

# %%
axes = bmm.plots.plot_variances(fit, point)

# %% [markdown]
# ## What the model believes about each person

# %%
axes = bmm.plots.plot_lines(fit)

# %% [markdown]
# Each panel has one person's data, the line of that person, and a band that holds the line with probability 0.95. The
# lines are not the ones that each person alone would get: they are drawn towards the average, most where a person's
# own data say least. The next picture has both ends of each such pull:

# %%
axes = bmm.plots.plot_shrinkage(fit)

# %% [markdown]
# ## Four questions for the draws
#
# The posterior is `fit.tree`, an xarray `DataTree`; its draws answer any question that you can write down.
#
# **How sure are we that reactions slow down on average?** The share of draws with a positive average slope:

# %%
slope = fit.tree["posterior"]["beta"].sel(coef="Days")
float((slope > 0).mean())

# %% [markdown]
# **For what share of people does lost sleep hardly matter, say less than 3 ms a day?** Each draw has an average slope
# and a spread of slopes. Take one new person from each:

# %%
spread = fit.tree["posterior"]["sd_Subject"].sel(Subject_term="Days")
people = np.random.default_rng(1).normal(slope, spread)  # one new person for each draw
print(f"chance that a new person's slope is below 3 ms a day: {np.mean(people < 3):.2f}")

# %% [markdown]
# The average slope is surely positive, and yet about one person in eight loses less than 3 ms a day, or even gains.
# That an average is surely positive says little about the next person.
#
# **How slow will a new person be?** `predict` draws a new subject, and a new measurement of that subject, for every
# draw:

# %%
new = pd.DataFrame({"Subject": "someone new", "Days": [0, 5, 9]})
new.join(fit.predict(new, kind="response", new_levels="sample", seed=1).to_frame().round(0))

# %% [markdown]
# These intervals are wide: they hold the uncertainty about the average, the differences between people, and the
# scatter of a single measurement. For a subject of the study they are narrower, because the person's own data are
# used:

# %%
known = pd.DataFrame({"Subject": "308", "Days": [0, 5, 9]})
known.join(fit.predict(known, kind="response", seed=1).to_frame().round(0))

# %% [markdown]
# **How much is explained?** R², too, is computed in every draw, and so has an interval:

# %%
print(fit.r2())

# %% [markdown]
# The days alone explain about a quarter of the variance, days and persons together about four fifths. That is again
# the difference between a stranger and a subject of the study.
#
# ## For your paper
#
# `fit.report("report.html")` writes one self-contained page with all of this, the methods paragraph included;
# `fit.save("fit.nc")` keeps the draws.
#
# ## What to try next
#
# 1. Fit `Reaction ~ Days + (Days || Subject)`, without the correlation. Which rows of `compare()` change, and which
#    should not?
# 2. Give the slope an opinion: `bmm.Model(..., priors={"beta[Days]": bmm.Prior("Normal", mu=0, sigma=2)})`. What does
#    `compare()` say about `beta[Days]` then?
# 3. How likely is it that a new person is faster on day 9 than on day 0? (No intercept is needed for it: why?)
