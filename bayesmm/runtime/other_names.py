"""What arguments and attributes of other packages are called here: said in the error, so that nobody has to search."""

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

from bayesmm.errors import listing, suggest

# Arguments of sample(), predict(), simulate() and emmeans() of R and Python packages -> what to write.
ARGUMENTS = MappingProxyType(
    {
        "type": "kind=: 'linear' is R's 'link', and 'mean' its 'response' (emmeans has kind='response' too)",
        "re_form": "groups=: re_form=None is groups='conditional', re_form=NA is groups='population'",
        "re_formula": "groups=: re_formula=None is groups='conditional', re_formula=NA is groups='population'",
        "include_random": "groups=: 'conditional' with the random effects, 'population' without",
        "newdata": "data=",
        "exog": "data= (newdata= of predictions, slopes and comparisons)",
        "allow_new_levels": "new_levels=: 'sample' of a posterior, 'zero' of a fit by maximize()",
        "se_fit": "se=True, of a fit by maximize()",
        "level": "ci_prob=",
        "alpha": "ci_prob=, 1 - alpha",
        "nsim": "draws=",
        "REML": "the method, maximize('REML') or maximize('ML')",
        "reml": "the method, maximize('REML') or maximize('ML')",
        "nAGQ": "nagq=",
        "random_seed": "seed=",
        "idata_kwargs": "fit.log_likelihood(), which gives the tree with log likelihoods",
        "sample_new_groups": "new_levels=: 'sample' of a posterior, 'zero' of a fit by maximize()",
        "include_group_specific": "groups=: 'conditional' with the random effects, 'population' without",
        "contrast": "variables={name: (first, second)}",
        "conditional": "at={name: values}",
        "iter": "draws= of each chain, which come after tune= steps",
        "iterations": "draws= of each chain, which come after tune= steps",
        "warmup": "tune=",
        "burnin": "tune=",
        "ndraws": "draws=",
        "adapt_delta": "target_accept=",
        "control": "target_accept= and tune=",
    }
)
# Attributes of fits in lme4, statsmodels, brms, pymer4 and bambi -> what to write.
ATTRIBUTES = MappingProxyType(
    {
        "llf": "loglik",
        "logLik": "loglik",
        "AICc": "aicc",
        "bse": "fixef()['se']",
        "tvalues": "fixef()['t']",
        "fe_params": "fixef()",
        "coefs": "fixef()",
        "coef_": "fixef()",
        "random_effects": "ranef()",
        "rand_effects": "ranef()",
        "cov_re": "varcorr()",
        "VarCorr": "varcorr()",
        "cov_params": "vcov",
        "resid": "residuals",
        "fittedvalues": "fitted",
        "nobs": "design.n",
        "anova": "bmm.anova(point)",
        "emmeans": "bmm.emmeans(fit, ...)",
        "marginal_effects": "bmm.slopes(fit, ...) and bmm.comparisons(fit, ...)",
        "hypothesis": "bmm.emmeans(point, ...).contrast({...}), or hypothesis({...}) of a posterior",
        "wald_test": "bmm.emmeans(point, ...).joint(), or bmm.anova(point, type=3)",
        "t_test": "fixef(ddf='satterthwaite')",
        "drop1": "bmm.anova(point, type='II'), or bmm.lrt(smaller, point)",
        "isSingular": "singular",
        "pp_check": "bmm.plots.plot_predictive(fit)",
        "posterior": "tree['posterior']",
        "posterior_predictive": "predict(kind='response')",
    }
)
# Functions of lme4, the packages beside it, and bambi -> what to write.
FUNCTIONS = MappingProxyType(
    {
        "lme": "bmm.Model(formula, data).maximize(), with the groups in the formula: (1 | g)",
        "mixedlm": "bmm.Model(formula, data).maximize(), with the groups in the formula: (1 | g)",
        "gam": "bmm.Model('y ~ s(x)', data).maximize()",
        "lmer": "bmm.Model(formula, data).maximize()",
        "glmer": "bmm.Model(formula, data, family=...).maximize()",
        "glmmTMB": "bmm.Model(formula, data, family=...).maximize()",
        "brm": "bmm.fit(formula, data)",
        "VarCorr": "point.varcorr()",
        "fixef": "point.fixef()",
        "ranef": "point.ranef()",
        "confint": "point.confint()",
        "isSingular": "point.singular",
        "drop1": "bmm.anova(point, type='II'), or bmm.lrt(smaller, point)",
        "ranova": "bmm.lrt(smaller, point), of models with and without the group term",
        "Anova": "bmm.anova(point, type='II')",
        "powerSim": "bmm.power(model, parameters, ...)",
        "bootMer": "point.bootstrap()",
        "interpret": "bmm.predictions(fit, ...), bmm.comparisons(fit, ...) and bmm.slopes(fit, ...)",
    }
)


def says_other_names(function: Callable) -> Callable:
    """Return the function, which says of an argument of another package what it is called here.

    Raises
    ------
    TypeError
        When called with an argument that it has not.
    """
    code = function.__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    open_to_others = bool(code.co_flags & inspect.CO_VARKEYWORDS)

    @functools.wraps(function)
    def call(*args: object, **options: object) -> object:
        for name in options:
            if name in ARGUMENTS and name not in own:
                raise TypeError(f"{function.__name__}() has no argument {name!r}; here it is {ARGUMENTS[name]}")
            if name not in own and not open_to_others:
                known = [argument for argument in own if argument != "self"]
                said = f"{suggest(name, known)} (arguments: {listing(known, limit=len(known))})"
                raise TypeError(f"{function.__name__}() has no argument {name!r}{said}")
        return function(*args, **options)

    return call


def no_attribute(owner: object, name: str, others: Mapping[str, str] = ATTRIBUTES) -> AttributeError:
    """Return the error of an attribute that is not there, with what it is called here if that is known."""
    said = f"; here it is {others[name]}" if name in others else ""
    return AttributeError(f"{type(owner).__name__!r} has no attribute {name!r}{said}")
