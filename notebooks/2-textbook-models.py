# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Five textbook analyses: do the posteriors say what the printed tables said?
#
# Random intercepts, random slopes, blocks, nested and crossed factors: the models that every course on mixed models
# teaches, each fitted twice. After these pages you will be able to write each design as a formula, to read the
# maximised fit and the posterior side by side, to test a variance in two ways, and to avoid two mistakes of coding
# that most programs accept in silence.

# %%
import pandas as pd

import bayesmm as bmm

bmm.datasets()[["name", "rows", "columns"]]

# %% [markdown]
# ## 1. Why a random intercept? Thyroxine in six patients
#
# Three blood samples from each of six patients. How well do we know the mean level?

# %%
thyroxine = bmm.load_dataset("thyroxine")
pooled = bmm.Model("Level ~ 1", thyroxine).maximize()  # as if these were 18 patients
patients = bmm.Model("Level ~ 1 + (1 | Patient)", thyroxine)
pd.concat({"18 samples": pooled.fixef(), "6 patients": patients.maximize().fixef()})

# %% [markdown]
# The estimate is the same, but its standard error nearly doubles: three samples from one patient are not three
# patients.

# %%
fit = patients.sample(seed=1, progress=False)
axes = bmm.plots.plot_effects(fit)

# %% [markdown]
# Black and grey: where the posterior places each patient, and an interval. Red: lme4's BLUPs, which agree. Unlike a
# model with six fixed means, this one also knows something about patient 7, though not much:

# %%
fit.predict(pd.DataFrame({"Patient": ["7"]}), new_levels="sample", seed=1).to_frame().round(1)

# %% [markdown]
# How alike are the samples of one patient? The intraclass correlation is the share of the variance that lies between
# patients:

# %%
print(fit.icc())

# %% [markdown]
# About 0.8, so that a second and a third sample of a patient add little. With six patients it may as well be 0.55
# or 0.95, which a single number would not have told.
#
# ## 2. A fixed effect between groups: two genotypes
#
# Six more patients, of another genotype. The genotype differs *between* patients, so the number of patients decides
# how well its effect is known, not the number of samples.

# %%
genotype = bmm.Model("Level ~ Genotype + (1 | Patient)", bmm.load_dataset("thyroxine_genotype"))
genotype_fit = genotype.sample(seed=1, progress=False)
point = genotype.maximize()
point.fixef(ddf="containment")  # nlme's degrees of freedom

# %%
genotype_fit.fixef()[["mean", "sd", "lower", "upper"]].round(2)

# %% [markdown]
# The posterior's standard deviation is larger than REML's standard error. REML's takes the standard deviations of
# patients and samples for known; the posterior averages over what they might be. With twelve patients that matters.
#
# ## 3. Blocks: nitrogen, phosphorus and an interaction

# %%
crops = bmm.load_dataset("crop_yield")
additive = bmm.Model("Yield ~ N + P + (1 | Block)", crops)
interaction = bmm.Model("Yield ~ N * P + (1 | Block)", crops)
print(bmm.lrt(additive.maximize(), interaction.maximize()))

# %% [markdown]
# The test sees no interaction. Leave-one-out cross-validation asks another question, which of the two predicts
# better:

# %%
additive_fit = additive.sample(seed=1, progress=False)
interaction_fit = interaction.sample(seed=1, progress=False)
print(bmm.compare_models({"N + P": additive_fit, "N * P": interaction_fit}))

# %% [markdown]
# The difference is smaller than its standard error: these data do not choose. (A high Pareto k marks a row that is
# too influential for the quick computation; the slower one has taken its place.)
#
# That is not the same as "no interaction". How large it could be is seen in the posterior (grey; the prior is the red
# line):

# %%
axes = bmm.plots.plot_priors(interaction_fit)

# %% [markdown]
# In the panel of `beta[N:P]` zero is well inside, and so are effects of -20. Look at `sd_Block[Intercept]` too: five
# blocks say little about how much blocks differ. Notebook 4 is about that.
#
# ## 4. Random slopes: do people lose sleep differently?

# %%
sleep = bmm.load_dataset("sleepstudy")
intercepts = bmm.Model("Reaction ~ Days + (1 | Subject)", sleep)
slopes = bmm.Model("Reaction ~ Days + (Days | Subject)", sleep)
print(bmm.lrt(intercepts.maximize(), slopes.maximize()))

# %% [markdown]
# A variance of 0 is at the edge of what a variance can be, where the usual chi-squared distribution is too cautious;
# the table says so and gives the corrected p-value as well. Cross-validation, one person left out at a time, also
# prefers slopes, but less loudly: it has 18 people to judge by, and says so.

# %%
slopes_fit = slopes.sample(seed=1, progress=False)
intercepts_fit = intercepts.sample(seed=1, progress=False)
print(bmm.compare_models({"slopes": slopes_fit, "intercepts": intercepts_fit}, by="Subject"))

# %% [markdown]
# ## 5. Nested or crossed? The same label twice
#
# Ten batches of a paste, three casks of each, two measurements of each cask. In every batch the casks are called a,
# b, c:

# %%
pastes = bmm.load_dataset("pastes")
nested = bmm.Model("strength ~ 1 + (1 | batch/cask)", pastes)
crossed = bmm.Model("strength ~ 1 + (1 | batch) + (1 | cask)", pastes)
tables = {"nested": nested.maximize().varcorr(), "crossed": crossed.maximize().varcorr()}
pd.concat(tables)[["grp", "sdcor"]].round(2)

# %% [markdown]
# `batch/cask` means: cask a of batch A and cask a of batch B are different casks. `(1 | batch) + (1 | cask)` means
# that they have something in common, as if the letter told of a position or a supplier. Here the letter means
# nothing: the crossed model finds hardly any variance between letters, and the differences between casks end up in
# its residual, whose standard deviation is three times too large. The model suspects it before it is fitted; see the
# end of its print:

# %%
print(crossed)

# %% [markdown]
# ## 6. The whole study: families, persons, time
#
# Antibodies of 270 persons of 8 families over 18 months (a synthetic twin of a course's data). Families differ in
# level and slope, and so do persons within families. It is tempting to write:

# %%
immune = bmm.load_dataset("immune")
siblings = bmm.Model("IgG ~ Sex * Time + (1 + Time | FamID) + (1 + Time | IndID)", immune)
print(str(siblings)[str(siblings).index("Warning") :])

# %% [markdown]
# That is the end of the print: an `IndID` is not a person, it is shared by a brother and a sister. So:

# %%
persons = bmm.Model("IgG ~ Sex * Time + (1 + Time | FamID) + (1 + Time | Sex:IndID)", immune)
[round(model.maximize().criterion) for model in (siblings, persons)]

# %% [markdown]
# Two models with the same number of parameters, and the second has a REML criterion that is lower by thousands.

# %%
persons_fit = persons.sample(seed=1, progress=False)
comparison = persons_fit.compare()
print(comparison)

# %% [markdown]
# What rests on 270 persons agrees closely. What rests on 8 families does not: their standard deviations could be much
# larger than REML's single number, and so the posterior is less sure of `beta[Time]` than REML's standard error is.

# %%
axes = bmm.plots.plot_comparison(comparison)

# %% [markdown]
# ## All of it, side by side

# %%
fits = {
    "thyroxine": fit,
    "genotypes": genotype_fit,
    "crops": interaction_fit,
    "sleep": slopes_fit,
    "immune": persons_fit,
}
tables = pd.concat({name: each.compare(consistency=False).table for name, each in fits.items()})
tables["verdict"].value_counts()

# %% [markdown]
# Most numbers agree: the mean of the posterior is within a quarter of a standard deviation of REML. The others:

# %%
others = tables[tables["verdict"] != "agree"]
others[["parameter", "point", "mean", "lower", "upper", "verdict"]].round(2).droplevel(1)

# %% [markdown]
# Without exception they are standard deviations and correlations, and the cause is known. No effect that an author
# would report in the text of a paper is among them.
#
# `bayesmm reproduce`, at the command line, does this for every number that five sets of teaching notes print, and
# says of each whether it is reproduced; the files in `models/` hold the printed numbers, and a file of your own works
# the same way.
#
# ## What to try next
#
# 1. Give the casks unique names: the column `sample` has them. Does `(1 | batch) + (1 | sample)` equal
#    `(1 | batch/cask)`?
# 2. In the immune data, take the rows with `Time == 0` and fit `IgG ~ Sex + (Sex | FamID)`. What does `print(point)`
#    say in its last line, and what does the posterior say about that correlation?
# 3. Fit `Yield ~ N + P + Block`, with blocks as fixed effects. What becomes of the effect of `N`, and of its standard
#    error?
