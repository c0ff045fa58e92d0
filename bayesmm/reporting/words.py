"""What a report says in sentences: the methods paragraph of a paper, the call that gives the fit again, the sources."""

from collections.abc import Mapping
from importlib.metadata import version
from platform import python_version

from bayesmm.design.parameters import (
    INTERCEPT_AT_MEANS,
    INTERCEPT_AT_ZERO,
    by_levels,
    residual_labels,
    specific_columns,
)
from bayesmm.design.residual.of_family import THRESHOLD
from bayesmm.display.html_tables import TEXT_WIDTH
from bayesmm.display.text_tables import shorten
from bayesmm.errors import listing
from bayesmm.evaluation.checks import verdict
from bayesmm.evaluation.compare_reml_verdicts import AGREE
from bayesmm.posterior.draws import sampling_record, tree_sizes
from bayesmm.priors import Priors, default_priors
from bayesmm.reporting.summary import kind, sizes
from bayesmm.runtime.version import __version__

FEW = 6  # priors that a paragraph lists; of more it names the table
NAME = 200  # characters of a name in a sentence
PLACES = {INTERCEPT_AT_MEANS: "the intercept at the predictors' means", INTERCEPT_AT_ZERO: "the intercept"}
PACKAGES = ("numpy", "scipy", "numba", "pymc", "nutpie", "arviz")
# Arguments of Model.sample that change the draws, with the value that need not be written.
DEFAULTS: Mapping[str, object] = {
    "draws": 1000,
    "tune": None,
    "chains": 4,
    "sampler": "auto",
    "effects": "auto",
    "centred": "auto",
    "target_accept": 0.9,
    "keep_effects": True,
}
REFERENCES = {
    "lme4": "Bates, D., Mächler, M., Bolker, B., Walker, S. (2015). Fitting linear mixed-effects models using lme4. "
    "Journal of Statistical Software 67(1).",
    "nuts": "Hoffman, M. D., Gelman, A. (2014). The No-U-Turn sampler: adaptively setting path lengths in Hamiltonian "
    "Monte Carlo. Journal of Machine Learning Research 15, 1593-1623.",
    "psis": "Vehtari, A., Simpson, D., Gelman, A., Yao, Y., Gabry, J. (2024). Pareto smoothed importance sampling. "
    "Journal of Machine Learning Research 25(72).",
    "rhat": "Vehtari, A., Gelman, A., Simpson, D., Carpenter, B., Bürkner, P.-C. (2021). Rank-normalization, folding, "
    "and localization: an improved R-hat for assessing convergence of MCMC. Bayesian Analysis 16(2), 667-718.",
    "lkj": "Lewandowski, D., Kurowicka, D., Joe, H. (2009). Generating random correlation matrices based on vines and "
    "extended onion method. Journal of Multivariate Analysis 100(9), 1989-2001.",
}


def short(text: object) -> str:
    """Return a name for a sentence."""
    return shorten(text, NAME)


def methods(fit, comparison) -> str:
    """Return the methods paragraph, ready for a paper.

    Parameters
    ----------
    fit : Fit
    comparison : Comparison
        For the maximised fit, and the checks.
    """
    parts = [model_sentence(fit.design), prior_sentence(fit.model.priors, fit.design)]
    parts += [sampling_sentence(fit), check_sentence(comparison.checks), comparison_sentence(fit.design, comparison)]
    return " ".join(parts)


def kind_line(design) -> str:
    """Say in a line what kind of model of how much data it is."""
    family, what = design.family, kind(design)
    return f"Bayesian {what[0].lower()}{what[1:]}; family {family.label}, {family.link} link. {sizes(design)}."


def caution(comparisons) -> str:
    """Say what the criteria of several fits cannot be compared by; nothing where they can."""
    points = [comparison.point for comparison in comparisons if comparison.point is not None]
    if len({point.design.n for point in points}) > 1 or len({point.design.response for point in points}) > 1:
        return "The log likelihoods and AICs are of different data: they cannot be compared."
    if "REML" in {p.method for p in points} and len({(p.method, frozenset(p.design.coefficients)) for p in points}) > 1:
        return "Log likelihoods and AICs under REML can be compared only between models with the same fixed effects."
    return ""


def model_sentence(design) -> str:
    """Say what was fitted to what."""
    kind = "linear mixed model" if design.blocks else "linear model"
    if not design.family.linear:
        kind = f"generalised {kind} ({design.family.label} family, {design.family.link} link)"
    of, rows = short(design.response), ""
    if design.responses:
        of, rows = listing(map(short, design.responses)), f" in {design.table_rows.max() + 1:,} rows"
    text = f"We fitted a Bayesian {kind} of {of} to {design.n:,} observations{rows}, {fixed_part(design)}"
    clauses = [grouping(design.blocks[k]) for k in by_levels(design)] + residual_clauses(design)
    return f"{text}{'; '.join(['', *clauses]) if clauses else ''}."


def fixed_part(design) -> str:
    """Return the fixed effects: of all rows, and those that each threshold, or each category, has of its own."""
    common, own = (", ".join(map(short, names)) for names in (design.coefficients, specific_columns(design)))
    if design.family.nominal:
        names = ", ".join(["Intercept", own] if own else ["Intercept"])
        return f"with the fixed effects {names} for the log odds of each category beside {short(design.categories[0])}"
    parts = [f"with the fixed effects {common}"] if common else []
    parts += [f"with effects of {own} on each threshold"] if own else []
    return " and ".join(parts) or "without fixed effects"


def residual_clauses(design) -> list[str]:
    """Return what the residuals are besides independent with one sd, and which parameters have formulas."""
    if design.responses:
        tied = "correlated" if design.formula.several.rescor else "independent"
        return [f"residuals with an sd for each response, {tied} within a row"]
    found = []
    for part in design.residual.parts:
        if part.text and ((part.of and part.of != THRESHOLD) or (part.structure.signature is None and not part.of)):
            found.append(f"the formula {short(part.text)}")
        elif part.text and not part.of:
            found.append(f"{part.structure.words or 'residuals of'} ({short(part.text)})")
    return found


def grouping(block) -> str:
    """Say which effects vary over a factor, and how they depend on one another."""
    if block.smooth:
        return f"the penalised smooth {short(block.group)} of {len(block.columns)} basis functions"
    if block.members:
        effects = ", ".join(short(part.text) for part in block.parts)
        return (
            f"weighted sums of random effects of the {len(block.members):,} levels of {short(block.group)} ({effects})"
        )
    alone = set(block.predictors)
    if len(alone) == 1:
        levels, of = f"{len(block.levels):,} levels of {short(':'.join(block.factors))}", alone.pop()
        return f"random effects of {of} for the {levels} ({', '.join(short(c) for c in block.columns)})"
    terms = ", ".join(short(c) for c in block.columns)
    tied = f", {dependence(block)}" if len(block.columns) > 1 else ""
    return f"random effects for the {len(block.levels):,} levels of {short(block.group)} ({terms}{tied})"


def dependence(block) -> str:
    """Say how the effects of a block depend on one another."""
    if block.free:
        return "correlated" if block.correlated else "independent"
    return "; ".join(f"{short(part.text)}: {part.covariance.words}" for part in block.parts if not part.covariance.free)


def prior_sentence(priors: Priors, design) -> str:
    """Name the priors, or how many of them are the package's defaults."""
    own = chosen(priors, design)
    defaults = len(priors) - len(own)
    if len(priors) > FEW:
        given = f"; chosen were {listed(own, design)}" if own else ""
        of = f"{defaults} of {len(priors)} parameters"
        return f"The priors were the weakly informative defaults of bayesmm, scaled to the data ({of}){given}."
    note = "" if own else " (the weakly informative defaults of bayesmm, scaled to the data)"
    return f"The priors were {listed(dict(priors), design)}{note}."


def listed(priors: Mapping[str, object], design) -> str:
    """Return the priors as a phrase."""
    thresholds = {label for own in design.residual.parameters if own.at_means for label in residual_labels(own)}
    at_means = thresholds if design.p or design.family.nominal else set()
    return ", ".join(f"{p.statement} for {_of(place, p, place in at_means)}" for place, p in priors.items())


def _of(place: str, prior, threshold: bool) -> str:
    return PLACES.get(place, short(place)) + " at the predictors' means" * (prior.at == "means" or threshold)


def chosen(priors: Priors, design) -> dict[str, object]:
    """Return the priors that are not the defaults of this model."""
    defaults = dict(default_priors(design, design.family))
    return {place: prior for place, prior in priors.items() if defaults.get(place) != prior}


def sampling_sentence(fit) -> str:
    """Say how the posterior was drawn."""
    record, (chains, draws) = sampling_record(fit.tree), tree_sizes(fit.tree)
    seed = f" (seed {record['seed']})" if record.get("seed") is not None else ""
    if "pareto_k" in record:
        text = f"{chains * draws:,} draws were taken from the posterior by Pareto smoothed importance sampling "
        text += f"(Vehtari et al. 2024){seed}"
        if fit.design.blocks:
            text += ", with the random effects integrated out and drawn from their conditional distribution"
        return f"{text}."
    versions, sampler = record.get("versions", {}), str(record.get("sampler", "an unrecorded sampler"))
    by = f"{sampler} {versions[sampler]}" if sampler in versions else sampler
    tune = f" after {record['tune']:,} warm-up draws each" if "tune" in record else ""
    text = (
        f"The posterior was sampled with the No-U-Turn sampler (Hoffman and Gelman 2014) of {by}, {chains} "
        f"chain{'s' * (chains > 1)} of {draws:,} draws{tune}{seed}"
    )
    if record.get("effects") == "marginal" and fit.design.blocks:
        text += "; the random effects were integrated out of the sampled density and drawn afterwards from their "
        text += "conditional distribution given each draw"
    runs = record.get("runs", {})
    if "second" in runs:
        text += f"; {runs['first']['divergences']:,} draws diverged, and a second run with smaller steps was no better"
    elif runs:
        text += f"; it was a second run, with a target acceptance of {record['target_accept']:g}, since "
        text += f"{runs['first']['divergences']:,} draws of a first one diverged"
    if "e_bfmi" in record.get("longer", {}):  # else that run was dropped
        text += f"; they are 1 in {record['longer']['every']} of {record['longer']['draws']:,} draws"
    return f"{text}."


def check_sentence(checks) -> str:
    """Say whether the draws can be relied on."""
    first = signs(verdict(list(checks)).split("\n")[0].rstrip("."))
    if all(check.ok for check in checks):
        return f"{first.replace('Checks passed', 'The checks of the draws passed')} (Vehtari et al. 2021)."
    return f"{first}: THE DRAWS MUST NOT BE REPORTED AS THE POSTERIOR."


def signs(text: str) -> str:
    """Return a sentence for print, with one sign where a terminal has two."""
    return text.replace("<=", "≤").replace(">=", "≥")


def reading(comparison) -> str:
    """Say what the columns of the tables of estimates are."""
    method = comparison.method
    if not method:
        return (
            "mean, sd: of the posterior; 2.5 % and 97.5 %: its equal-tailed interval; ESS: the smaller of bulk and "
            "tail. There is no maximised fit to set beside them; the next section says why."
        )
    return (
        f"{method}: the maximised fit; mean, sd: of the posterior; 2.5 % and 97.5 %: its equal-tailed interval; "
        f"ESS: the smaller of bulk and tail; difference: (mean − {method}) in posterior sds; verdict: agree up to "
        f"{AGREE} of them, otherwise the cause of the difference, which the next section explains."
    )


def comparison_sentence(design, comparison) -> str:
    """Say what the estimates are, and what stands beside them."""
    if comparison.point is None:
        return (
            "We report posterior means and 95 % equal-tailed credible intervals. The analysis was done with bayesmm "
            f"{__version__}."
        )
    ways = {"REML": "restricted maximum likelihood", "ML": "maximum likelihood", "MAP": "the mode of the posterior"}
    way = ways[comparison.point.method]
    if not design.family.gaussian and design.blocks and comparison.point.method == "ML":
        nagq = comparison.point.nagq
        way += " with Laplace's approximation" if nagq == 1 else f" with adaptive quadrature of {nagq} nodes"
    return (
        f"We report posterior means and 95 % equal-tailed credible intervals, beside the estimates of {way} of the "
        f"same model (Bates et al. 2015). The analysis was done with bayesmm {__version__}."
    )


def call(fit, where: str = "data") -> str:
    """Return the Python code that gives the fit again.

    Parameters
    ----------
    fit : Fit
    where : str
        Name of the variable that holds the data.
    """
    design, record = fit.design, sampling_record(fit.tree)
    asked = dict(record.get("asked", {}))
    lines = [repr(design.formula.text), where]
    if not design.family.gaussian:
        lines.append(f"family={design.family.name if design.family.own else repr(design.family.name)}")
        lines.append(f"link={design.family.link!r}")
    own = chosen(fit.model.priors, design)
    if own:
        inside = "".join(f"\n        {place!r}: {code(prior)}," for place, prior in own.items())
        lines.append(f"priors={{{inside}\n    }}")
    lines += [f"{name}={name}" for name in design.beside]
    lines += [f"{key}={value!r}" for key, value in asked.items() if key in DEFAULTS and value != DEFAULTS[key]]
    if record.get("seed") is not None:
        lines.append(f"seed={record['seed']!r}")
    inside = "".join(f"    {line},\n" for line in lines)
    return f"import bayesmm as bmm\n\nfit = bmm.fit(\n{inside})\n"[: 2 * TEXT_WIDTH]


def code(prior) -> str:
    """Return a prior as code."""
    return f"bmm.{prior!r}"


def versions(fit) -> dict[str, str]:
    """Return the packages behind the numbers: those recorded with the draws, then those of this report."""
    recorded = {str(key): str(value) for key, value in sampling_record(fit.tree).get("versions", {}).items()}
    others = {package: version(package) for package in PACKAGES if package not in recorded}
    return {"bayesmm": __version__, "Python": python_version(), **recorded, **others}


def references(fit) -> list[str]:
    """Return the sources that the methods paragraph names."""
    record = sampling_record(fit.tree)
    keys = ["lme4", "psis" if "pareto_k" in record else "nuts", "rhat"]
    if any(prior.distribution == "LKJ" for prior in fit.model.priors.values()):
        keys.append("lkj")
    return [REFERENCES[key] for key in keys]
