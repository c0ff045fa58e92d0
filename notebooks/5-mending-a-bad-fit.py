# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # The checks failed. What now?
#
# Four fits that should not be reported, and how each is mended by what its checks advise. After these pages you will
# be able to tell a problem of *sampling* (the draws are not the posterior) from a problem of the *model* (they are,
# but of a model that the data contradict), and to know what to try first.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesmm as bmm


def verdict(fit):
    """Print the first lines of a fit's print: what its checks say."""
    print(str(fit).split("\n\n")[0])


# %% [markdown]
# ## 1. Too few draws
#
# Somebody was in a hurry:

# %%
sleep = bmm.load_dataset("sleepstudy")
formula = "Reaction ~ Days + (Days | Subject)"
short = bmm.fit(formula, sleep, draws=50, tune=50, seed=1, progress=False)
verdict(short)

# %% [markdown]
# *R-hat* compares the chains, *ESS* says how many independent draws they are worth. Both fail: fifty steps to adapt
# the sampler, and fifty draws of each chain, are too few for any interval. The traces (left) look restless, but not
# wrong, and the ranks of the chains (right) keep to their band; without a number one would not have noticed.

# %%
axes = bmm.plots.plot_traces(short)

# %% [markdown]
# A problem of sampling, then, and the advice is simple. Follow it:

# %%
long = bmm.fit(formula, sleep, draws=2000, tune=2000, seed=1, progress=False)
verdict(long)

# %% [markdown]
# (The note that is left is about the model. It is the subject of number 4.)
#
# ## 2. A funnel
#
# Two measurements at each of ten sites, with far more noise than difference between sites. The default of bayesmm
# would integrate the effects of the sites out. Here they are written out and sampled, *centred*, as most textbooks
# write the model, and with large steps; at the default ones bayesmm would see the first few divergences and sample once
# more with smaller steps by itself:

# %%
random = np.random.default_rng(3)
sites = pd.DataFrame({"site": np.repeat([f"site {i}" for i in range(1, 11)], 2)})
sites["output"] = 100 + np.repeat(random.normal(0, 2, 10), 2) + random.normal(0, 10, 20)
model = bmm.Model("output ~ 1 + (1 | site)", sites)
centred = model.sample(effects="explicit", centred=True, target_accept=0.6, seed=3, progress=False)
verdict(centred)

# %% [markdown]
# Nearly everything fails, and the first line says where: at small values of the standard deviation between sites. The
# smaller it is, the closer to 0 the effects must be: the posterior is a funnel, and steps that suit its mouth are too
# large for its neck. A problem of sampling again. The first advice is to integrate the effects out, as the default
# would have done; the second, and the usual one, is to take smaller steps. Try both:

# %%
careful = model.sample(effects="explicit", centred=True, target_accept=0.99, seed=1, progress=False)
integrated = model.sample(seed=1, progress=False)
fits = {"centred": centred, "centred, smaller steps": careful, "integrated out": integrated}

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
for ax, (name, each) in zip(axes, fits.items(), strict=True):
    sd = each.tree["posterior"]["sd_site"].values.ravel()
    effect = each.tree["posterior"]["b_site"].isel(site=0).values.ravel()
    diverging = each.tree["sample_stats"]["diverging"].values.ravel()
    ax.scatter(effect, sd, s=3, color="0.6")
    ax.scatter(effect[diverging], sd[diverging], s=12, color="firebrick")
    ax.set(title=name, xlabel="effect of site 1", yscale="log", ylim=(0.005, 60), xlim=(-25, 25))
label = axes[0].set_ylabel("sd between sites")

# %% [markdown]
# Red draws diverged. They mark the depth at which the sampler gives up; smaller steps get deeper, and give up later.
# What lies below is a part of the posterior all the same, and how much of it is seen differs:

# %%
for name, each in fits.items():
    share = float((each.tree["posterior"]["sd_site"] < 0.5).mean())
    print(f"{name}: {100 * share:.0f} % of the draws have an sd below 0.5")

# %% [markdown]
# Three answers to one question. The checks say which to believe:

# %%
verdict(careful)

# %%
verdict(integrated)

# %% [markdown]
# Smaller steps were not enough. Integrating the effects out was, because it takes the funnel away instead of
# tiptoeing into it; the effects in the picture were drawn afterwards, exactly. What remains is a remark about the
# data: they do not show that sites differ. That is not a fault of the fit but its result.
#
# ## 3. A prior in other units
#
# The same sleep study in seconds, with a prior for `sigma` from a paper in which something else was measured:

# %%
seconds = sleep.assign(Reaction=sleep["Reaction"] / 1000)
narrow = {"sigma": bmm.Prior("HalfNormal", sigma=0.001)}
conflict = bmm.fit(formula, seconds, priors=narrow, seed=1, progress=False)
verdict(conflict)

# %% [markdown]
# Nothing *failed*: the draws are the posterior of this model. But the first note says that the data are where the
# prior expected nothing, and names the prior. A problem of the model. `compare()` shows the damage, which reaches
# parameters whose own priors are harmless:

# %%
columns = ["parameter", "point", "mean", "lower", "upper", "verdict"]
conflict.compare(consistency=False).table[columns].round(4)

# %% [markdown]
# Follow the advice; here the default, which is scaled by the data, will do:

# %%
scaled = bmm.fit(formula, seconds, seed=1, progress=False)
scaled.compare(consistency=False).table[columns].round(4)

# %% [markdown]
# ## 4. Outliers
#
# Ten labs weigh the same thing six times. Simulated, so that the truth is known: a mean of 50, a standard deviation
# of 4 between labs and 2 within. Then two slips of the pen:

# %%
random = np.random.default_rng(1)
truth = pd.Series(random.normal(0, 4, 10), index=[f"lab {i}" for i in range(1, 11)])
labs = pd.DataFrame({"lab": np.repeat(truth.index, 6)})
labs["mass"] = 50 + np.repeat(truth.values, 6) + random.normal(0, 2, 60)
labs.loc[[10, 47], "mass"] += [40, -45]
normal = bmm.fit("mass ~ 1 + (1 | lab)", labs, seed=1, progress=False)
verdict(normal)

# %%
axes = bmm.plots.plot_qq(normal)

# %% [markdown]
# The sampling is sound, the model is not: a normal distribution would not give two such residuals. They stretch the
# scale so much that all other residuals look too small, and they even hide the labs: by the first note the labs may
# not differ at all. But the note also says where that may come from, and what to mend first. Best is to check rows 10
# and 47 and correct them. Where that is impossible, the second note's advice is a Student distribution, whose tails
# leave room for them:

# %%
robust = bmm.fit("mass ~ 1 + (1 | lab)", labs, family="student", seed=1, progress=False)
verdict(robust)

# %% [markdown]
# Both notes are gone. (For this family the default samples the effects of the labs: with an outlier, an effect can have
# two likely places, and an integral that looks around one of them would miss the other.) Before and after:

# %%
fits = {"gaussian": normal, "student": robust}
tables = pd.concat({name: each.summary() for name, each in fits.items()})
shown = ["beta[Intercept]", "sd_lab[Intercept]", "sigma"]
tables.loc[(slice(None), shown), ["mean", "sd", "lower", "upper"]].round(1)

# %% [markdown]
# The mean is known more closely, and the labs differ, surely. (`sigma` is now the scale of the middle of the errors:
# two thirds of a Student distribution with so heavy tails lie within about 1.3 sigma.) Since the truth is known here,
# how far are the estimated effects of the labs from it, on average?

# %%
for name, each in fits.items():
    effects = each.ranef().set_index("grp")["mean"]
    print(f"{name}: {(effects - (truth - truth.mean())).abs().mean():.1f}")

# %% [markdown]
# Less than half as far. Two numbers of sixty had spoilt the answer for all ten labs.
#
# ## What helps
#
# | the checks say | it is a problem of | try, in this order |
# |---|---|---|
# | R-hat, ESS | sampling | more draws; then look at what else fails |
# | divergences, E-BFMI | sampling | `effects="marginal"`, else `centred=False`; larger `target_accept`; another prior |
# | prior conflict | the model | the units of that prior |
# | residual shape | the model | look at the row; `family="student"`; another scale |
# | boundary, few groups | the data | a simpler model, or an interval instead of a number |
#
# ## What to try next
#
# 1. Sample the funnel with `effects="explicit", centred=False`. Does it pass, and is the share of draws below 0.5
#    that of the integrated model?
# 2. Correct the two slips (`labs.loc[[10, 47], "mass"] -= [40, -45]`) and fit both families again. Do they still
#    differ?
# 3. Notebook 1 left a note about row 56 of the sleep study. Fit that model with `family="student"`: how much does the
#    average slope change, and how much `sigma`?
