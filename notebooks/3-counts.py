# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # How many cases? A Poisson model, and why the straight line was wrong
#
# After these pages you will be able to see in a picture that a Gaussian model does not fit counts, to fit a Poisson
# model with random slopes, to read coefficients on a log scale, to model a *rate* with an offset, and to notice a
# prediction that cannot be true before a reviewer does.

# %%
import pandas as pd

import bayesmm as bmm

data = bmm.load_dataset("esoph")
data.sample(5, random_state=1)

# %% [markdown]
# A study of cancer of the oesophagus. Each row is a combination of age group, alcohol and tobacco consumption, with
# the number of cases, `ncases`, and of all people in it, `ncontrols` (this is R's `esoph` as it was for decades: the
# column counts the cases too). A first question: does `ncases` rise with `ncontrols`, and differently in each age
# group?
#
# ## The straight line

# %%
line = bmm.Model("ncases ~ ncontrols + (ncontrols | agegp)", data)
line_fit = line.sample(seed=1, progress=False)
axes = bmm.plots.plot_predictive(line_fit)

# %% [markdown]
# Grey: what the model would produce in rows like these. It was told that counts are normal, so it expects negative
# numbers of cases, and fewer rows with hardly any case than there are (red). The first lines of its print are
# suspicious too:

# %%
print(str(line_fit).split("\n\n")[0])

# %% [markdown]
# ## The Poisson model
#
# Counts with a mean that is a line on the log scale. The priors are on that scale as well:

# %%
model = bmm.Model("ncases ~ ncontrols + (ncontrols | agegp)", data, family="poisson")
model

# %%
fit = model.sample(seed=1, progress=False)
print(fit)

# %% [markdown]
# The checks passed. Coefficients are logarithms: one more person in a row multiplies the expected cases by about
# exp(0.009), so adds about 1 %, and the interval says that it may as well take some away. The same picture as above,
# for counts a rootogram: bars are observed, dots expected, and the lines should hold the bars' tops.

# %%
axes = bmm.plots.plot_predictive(fit)

# %% [markdown]
# They do, from 0 to 17.
#
# ## Beside the maximised fit

# %%
point = model.maximize()  # Laplace's approximation, as glmer
print(fit.compare(point))

# %% [markdown]
# Coefficients agree. What rests on six age groups does not: their standard deviations are uncertain upwards, and of
# the correlation six groups say so little that the prior, LKJ(2), decides. A correlation from six groups is better
# not interpreted in either school.

# %%
axes = bmm.plots.plot_lines(fit)

# %% [markdown]
# The lines bend because they are straight on the log scale. Each age group has its own, and the bands say how little
# is known where there are few rows.
#
# ## A better question: the rate
#
# That more people have more cases is no discovery. What we want is the *share* of cases, and whether it rises with
# alcohol and tobacco. An offset makes the expected number of cases proportional to the number of people:

# %%
rate = bmm.Model("ncases ~ offset(log(ncontrols)) + alcgp + tobgp + (1 | agegp)", data, family="poisson")
rate_fit = rate.sample(seed=1, progress=False)
print(bmm.compare_models({"rate": rate_fit, "counts": fit}))

# %% [markdown]
# The rate model predicts better: drinking, smoking and age say more than numbers of people. To say how much on the
# scale of cases, give all rows one level and then another, leave the rest as it is, and compare the averages of the
# predictions. In this model their ratio is the exponential of the coefficient, a rate ratio; in others it would not be:

# %%
print(bmm.comparisons(rate_fit, ["alcgp", "tobgp"], compare="ratio"))

# %% [markdown]
# Heavy drinkers have about seven times the rate of those who drink least, and neither five times nor eleven can be
# excluded. Heavy smokers have about twice the rate. And age?

# %%
axes = bmm.plots.plot_effects(rate_fit)

# %% [markdown]
# The rate rises with age until about 65.
#
# ## A prediction that cannot be true
#
# Twenty people in an age group that is not in the data, drinking the least or the most. How many cases?

# %%
new = pd.DataFrame({"agegp": "85+", "alcgp": ["0-39g/day", "120+"], "tobgp": "0-9g/day", "ncontrols": 20})
new.join(rate_fit.predict(new, kind="response", new_levels="sample", seed=1).to_frame().round(1))

# %% [markdown]
# More cases than people, and means outside their own intervals. The model does not know that cases are a *part* of
# the people, and six age groups cannot rule out a large standard deviation between groups; after the exponential, a
# few extreme draws make any mean. (Within the data it did well, which is why one should look beyond them.) A model
# that knows is binomial:

# %%
share = bmm.Model("ncases / ncontrols ~ alcgp + tobgp + (1 | agegp)", data, family="binomial")
share_fit = share.sample(seed=1, progress=False)
new.join(share_fit.predict(new, kind="response", new_levels="sample", seed=1).to_frame().round(1))

# %% [markdown]
# Of a new age group it knows almost nothing either, but now it says so with numbers that are possible.
#
# ## What to try next
#
# 1. `bmm.compare_models({"rate": rate_fit, "share": share_fit})` refuses to compare. Read why: is it right?
# 2. Is the Poisson variance large enough? Look for `dispersion` in `rate_fit.checks()` and in `share_fit.checks()`.
# 3. `model.maximize(nagq=7)` replaces Laplace's approximation by quadrature. How much do the standard deviations
#    change?
