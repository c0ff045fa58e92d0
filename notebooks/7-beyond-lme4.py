# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Beyond lme4
#
# Seven kinds of Gaussian models that lme4 does not have, each in about ten lines. All keep the same closed form: the
# random effects are integrated out, so that each has REML and ML as well as a posterior. After these pages you will be
# able to write each of them, and to say what it is for.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesmm as bmm

# %% [markdown]
# ## 1. Known standard errors: a meta-analysis
#
# Thirteen trials of a vaccine against tuberculosis, one row each: a log risk ratio and its standard error. The scatter
# of a trial about its own effect is known, so it is given, not estimated; what is estimated is how the effects differ.

# %%
bcg = bmm.load_dataset("bcg")
model = bmm.Model("yi | se(sqrt(vi)) ~ 1 + (1 | trial)", bcg)
fit = model.sample(sampler="importance", seed=1, progress=False)
print(fit.fixef().round(2))
ax = bmm.plots.forest(fit)

# %% [markdown]
# The vaccine lowers the risk to about $e^{-0.7}$, one half; but the trials differ so much that a new one might well see
# no effect (the prediction interval, at the bottom). tau, $I^2$ and $H^2$, by REML, by DerSimonian and Laird, and as a
# posterior:

# %%
print(bmm.heterogeneity(fit))

# %% [markdown]
# ## 2. Residuals that scatter more in some rows: `sigma ~`
#
# A second formula is of the residual standard deviation. In Orthodont, boys' measurements scatter twice as much as
# girls', and both criteria say that it is worth a parameter:

# %%
jaws = bmm.load_dataset("orthodont")
same = bmm.Model("distance ~ age * Sex + (1 | Subject)", jaws).maximize("ML")
two = bmm.Model(("distance ~ age * Sex + (1 | Subject)", "sigma ~ Sex"), jaws).maximize("ML")
print(f"sigma: girls {two.sigma:.2f}, boys {two.sigma * np.exp(two.residual['log_sigma'][0]):.2f}")
print(bmm.lrt(same, two))

# %% [markdown]
# ## 3. Residuals that remember: `ar(time, series)`
#
# Counts of follicles in mares, day after day. A mare that lies above her curve today will probably lie above it
# tomorrow: the residuals of neighbouring days are correlated, and one parameter says how much.

# %%
ovary = bmm.load_dataset("ovary")
apart = bmm.Model("follicles ~ s1 + c1 + (1 | Mare)", ovary).maximize()
serial = bmm.Model("follicles ~ s1 + c1 + ar(obs, Mare) + (1 | Mare)", ovary).maximize()
print(f"correlation of two days in a row: {serial.residual['ar'][0]:.2f}")
print(pd.DataFrame({"independent": apart.fixef()["se"], "AR(1)": serial.fixef()["se"]}).round(3))
print(f"REML criterion: {apart.criterion:.1f} and {serial.criterion:.1f}")

# %% [markdown]
# The standard errors of the curve nearly double: 308 rows that repeat one another are worth fewer than 308.
#
# ## 4. Levels that are related: `gr(g, cov = A)`
#
# Brothers and sisters resemble one another because they share genes. A made herd of 30 sires with 8 daughters each:
# two daughters of one sire share a quarter of what is inherited. The known matrix A takes the place of independence.

# %%
random = np.random.default_rng(5)
sire = np.repeat(np.arange(30), 8)
animals = [f"cow {i}" for i in range(len(sire))]
A = pd.DataFrame(0.25 * (sire[:, None] == sire) + 0.75 * np.eye(len(sire)), index=animals, columns=animals)
genes = np.linalg.cholesky(A.to_numpy()) @ random.normal(0, 2, len(sire))
herd = pd.DataFrame({"animal": animals, "milk": 30 + genes + random.normal(0, 2, len(sire))})
related = bmm.Model("milk ~ 1 + (1 | gr(animal, cov = A))", herd, matrices={"A": A}).maximize()
print(related.varcorr()[["grp", "vcov", "sdcor"]].round(2))
print(f"heritability: {related.varcorr()['vcov'].iloc[0] / related.varcorr()['vcov'].sum():.2f}, made with 0.50")

# %% [markdown]
# ## 5. A curve of no particular shape: `s(x)`
#
# The acceleration of a head after a motorcycle's impact. A penalised smooth is a random effect whose standard deviation
# says how much the curve may bend; REML, or its posterior, decides.

# %%
crash = bmm.load_dataset("mcycle")
smooth = bmm.fit("accel ~ s(times, k = 20)", crash, draws=500, seed=2, progress=False)
print(smooth.smooths()[["smooth", "edf", "mean", "lower", "upper"]].round(1))
axes = bmm.plots.smooths(smooth)

# %% [markdown]
# Some 12 effective degrees of freedom: far from a straight line, and far from the 20 that it was allowed.
#
# ## 6. Rows in several groups: `mm()`
#
# Pupils who changed school have been shaped by both, each by the share of the time spent there:

# %%
n, schools = 600, random.normal(0, 1.5, 25)
first, second = random.integers(0, 25, n), random.integers(0, 25, n)
share = np.where(random.random(n) < 0.3, random.uniform(0.2, 0.8, n), 1.0)
score = 50 + share * schools[first] + (1 - share) * schools[second] + random.normal(0, 3, n)
pupils = pd.DataFrame({"score": score, "s1": first, "s2": second, "w1": share, "w2": 1 - share})
members = bmm.Model("score ~ 1 + (1 | mm(s1, s2, weights = cbind(w1, w2)))", pupils).maximize()
print(members.varcorr()[["grp", "sdcor"]].round(2))
modes = members.ranef().set_index("grp")["condval"]
fig, ax = plt.subplots(figsize=(4, 4))
ax.plot(schools, modes.loc[[str(k) for k in range(25)]], "o", color="0.3")
ax.axline((0, 0), slope=1, color="0.7")
ax.set(xlabel="the school's effect, as made", ylabel="conditional mode")

# %% [markdown]
# ## 7. Several responses: `mvbind()`
#
# Each pupil has a mark for a written paper and one for coursework; 153 of the marks are missing. Are schools that do
# well in one also good in the other, and is that so of the pupils *within* a school? Two models could not tell. The
# name `p` between two bars lets the effects of the schools correlate over the marks, as residuals do anyway.

# %%
gcse = bmm.load_dataset("gcse")
both = bmm.Model("mvbind(written, course) ~ gender + (1 | p | school)", gcse).maximize()
print(both)

# %% [markdown]
# Boys are two marks better in the paper and six worse in the coursework; the correlation is 0.63 between schools and
# 0.50 within them. A mark that is missing is no reason to drop the other: all 1,383 are used. Predictions come per
# response:

# %%
print(both.predict(gcse.iloc[:2]))

# %% [markdown]
# ## What to try next
#
# 1. Add the distance from the equator to the meta-analysis, `yi | se(sqrt(vi)) ~ ablat + (1 | trial)`. How much of tau
#    is left? Where does `forest` now put the pooled estimate?
# 2. In section 3 let the mares differ in the sine as well, `(s1 || Mare)`. What happens to the correlation, and why?
# 3. Fit the two marks of section 7 each alone, and with `mvbind(written, course, rescor = FALSE)` and `(1 | school)`.
#    What agrees, and what is lost?
