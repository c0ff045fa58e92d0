"""What can go wrong in a posterior: one small function per check, each with advice for the model at hand.

Sampling trouble is never an exception and never hidden: every check runs after every fit, for every sampler, and every
printed result opens with the verdict.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.tables import (
    coefficients,
    diagnostics,
    draws_of,
    effect_draws,
    effect_labels,
    is_constant,
    kept_effects,
    sampling_record,
    tree_sizes,
    variance_parameters,
)

R_HAT_LIMIT = 1.01  # Vehtari et al. (2021), Bayesian Analysis 16(2), section 4
ESS_LIMIT = 400  # the same, section 4: 100 for each of four chains
BFMI_LIMIT = 0.3  # Betancourt (2016), arXiv:1604.00695, as Stan's diagnose reports it
DEPTH_LIMIT = 0.05  # share of draws of a chain at the largest tree depth; PyMC and Stan warn above it
EFFECTS_LIMIT = 200  # random effects of a factor with full diagnostics (2 ms each); the most suspicious of more
FEW_LEVELS = 5  # with fewer groups an sd rests on its prior: Gelman (2006), Bayesian Analysis 1(3), section 5
CLUSTER_LIMIT = 0.2  # divergent draws cluster where their mean rank (0 to 1) is this far from the 0.5 of all draws ...
CLUSTER_ERRORS = 3  # ... and this many standard errors, 1 / sqrt(12 n) each, so that one draw is no cluster
PARETO_LIMIT = 0.7  # Vehtari et al. (2024), JMLR 25(72): above it importance weights can not be trusted
MORE_CAREFUL = (0.99, 0.999)  # target_accept to advise, the second to those who already used the first


@dataclass(frozen=True)
class Check:
    """One check of a posterior.

    Attributes
    ----------
    name : str
    ok : bool
    value : float
        What was measured; NaN where the sampler records nothing of the kind.
    limit : float
        What the value is held against.
    message : str
        What was found and, if it failed, one sentence of advice for this model.
    """

    name: str
    ok: bool
    value: float
    limit: float
    message: str


@dataclass(frozen=True)
class Watched:
    """The parameters that the checks look at, an entry each: label, place in the model and diagnostics."""

    label: tuple[str, ...]
    block: tuple[int, ...]  # position in design.blocks; -1 for sigma and the coefficients
    kind: tuple[str, ...]  # "sd", "corr", "sigma", "auxiliary", "beta" or "b"
    r_hat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """All that the checks read, gathered once."""

    design: object
    watched: Watched
    variances: np.ndarray  # draws of the variance parameters, (k, chains, draws)
    stats: dict[str, np.ndarray]  # sample_stats: name -> (chains, draws)
    record: dict[str, object]  # what the sampler recorded about its run
    chains: int
    draws: int


def run_checks(fit) -> list[Check]:
    """Return the result of every check of `CHECKS`, in their order; of `INDEPENDENT` for independent draws."""
    evidence = gather(fit)
    return [check(evidence) for check in (INDEPENDENT if is_independent(evidence.record) else CHECKS)]


def is_independent(record: dict[str, object]) -> bool:
    """Return whether the draws are independent ones, made by importance sampling."""
    return "pareto_k" in record


def verdict(checks: list[Check]) -> str:
    """Return the verdict of the checks: one line if they passed, else a line and one more for each that failed."""
    failed = [check for check in checks if not check.ok]
    if failed:
        names = ", ".join(check.name for check in failed)
        return "\n".join([f"CHECKS FAILED: {names}.", *(f"  {check.name}: {check.message}" for check in failed)])
    by_name = {check.name: check for check in checks}
    ess = min(by_name["bulk ESS"].value, by_name["tail ESS"].value)
    if math.isnan(ess):
        return "Checks passed: every parameter is held fixed by its prior."
    if "Pareto k" in by_name:
        k = math.ceil(by_name["Pareto k"].value * 100) / 100
        return f"Checks passed: Pareto k <= {k:.2f}, ESS >= {math.floor(ess):,}."
    r_hat = by_name["R-hat"].value
    end = "" if math.isnan(by_name["divergences"].value) else ", no divergence"
    return f"Checks passed: R-hat <= {math.ceil(r_hat * 1000) / 1000:.3f}, ESS >= {math.floor(ess):,}{end}."


def gather(fit) -> Evidence:
    """Read the posterior and the sampler's statistics once."""
    chains, draws = tree_sizes(fit.tree)
    stats = fit.tree["sample_stats"].data_vars if "sample_stats" in fit.tree.children else {}
    names = ("diverging", "energy", "reached_max_treedepth")
    record = dict(sampling_record(fit.tree))
    return Evidence(
        design=fit.design,
        watched=limited(watch(fit), record),
        variances=draws_of(fit, variance_parameters(fit.design)),
        stats={name: stats[name].transpose("chain", "draw").values for name in names if name in stats},
        record=record,
        chains=chains,
        draws=draws,
    )


def watch(fit) -> Watched:
    """Diagnose the coefficients, the variance parameters and the random effects, of many the most suspicious ones."""
    parameters = coefficients(fit.design) + variance_parameters(fit.design)
    labels, blocks = [p.label for p in parameters], [p.block for p in parameters]
    kinds, draws = [p.kind for p in parameters], [draws_of(fit, parameters)]
    for k in kept_effects(fit):
        block, effects = fit.design.blocks[k], effect_draws(fit, k)
        chosen = suspicious(effects, EFFECTS_LIMIT)
        names = effect_labels(block)
        labels += [names[i] for i in chosen]
        blocks += [k] * len(chosen)
        kinds += ["b"] * len(chosen)
        draws.append(effects[chosen])
    stacked = np.concatenate(draws)
    varies = np.flatnonzero(~is_constant(stacked))  # a fixed parameter can not fail to converge
    names, blocks, kinds = (tuple(column[i] for i in varies) for column in (labels, blocks, kinds))
    return Watched(names, blocks, kinds, **diagnostics(stacked[varies]))


def limited(watched: Watched, record: dict[str, object]) -> Watched:
    """Return the diagnostics with no ESS above the recorded number of independent draws that the weights are worth.

    Autocorrelations do not see that draws were taken twice, or from a pool in which few had any weight.
    """
    most = float(record["effective"]) if is_independent(record) else math.inf
    return replace(watched, ess_bulk=np.minimum(watched.ess_bulk, most), ess_tail=np.minimum(watched.ess_tail, most))


def suspicious(draws: np.ndarray, limit: int) -> np.ndarray:
    """Return the positions of the `limit` parameters that look least converged by two cheap statistics, or all.

    Half by the plain split R-hat (Gelman et al. 2013, BDA3, eq. 11.4), half by the lag-1 autocorrelation; the full
    diagnostics of thousands of random effects would take longer than drawing them.
    """
    if len(draws) <= limit:
        return np.arange(len(draws))
    half = draws.shape[2] // 2
    with np.errstate(all="ignore"):
        halves = draws[:, :, : 2 * half].reshape(len(draws), -1, half)
        r_hat = halves.mean(axis=2).var(axis=1) / halves.var(axis=2).mean(axis=1)
        centred = draws - draws.mean(axis=2, keepdims=True)
        lag1 = (centred[:, :, 1:] * centred[:, :, :-1]).sum(axis=(1, 2)) / (centred**2).sum(axis=(1, 2))
    worst = [np.argsort(-np.nan_to_num(score, nan=np.inf))[: limit // 2] for score in (r_hat, lag1)]
    return np.unique(np.concatenate(worst))


def divergences(evidence: Evidence) -> Check:
    """Count the divergent transitions: Betancourt (2017), arXiv:1701.02434, section 6.2."""
    if "diverging" not in evidence.stats:
        return not_recorded("divergences", 0)
    diverging = evidence.stats["diverging"].astype(bool)
    found, rate = int(diverging.sum()), diverging.mean()
    if found == 0:
        return Check("divergences", True, 0, 0, "no divergence")
    message = f"{found:,} of {diverging.size:,} draws diverged ({100 * rate:.2g} %){clustering(evidence, diverging)}"
    return Check("divergences", False, found, 0, message)


def clustering(evidence: Evidence, diverging: np.ndarray) -> str:
    """Say in which variance parameter the divergent draws cluster, and what to do about it."""
    flat, mask = evidence.variances.reshape(len(evidence.variances), -1), diverging.ravel()
    ranks = flat.argsort(axis=1).argsort(axis=1) / max(flat.shape[1] - 1, 1)
    shift = np.where(is_constant(evidence.variances), 0.0, ranks[:, mask].mean(axis=1) - 0.5)
    worst = int(np.abs(shift).argmax())
    parameter = variance_parameters(evidence.design)[worst]
    limit = max(CLUSTER_LIMIT, CLUSTER_ERRORS / math.sqrt(12 * mask.sum()))
    if abs(shift[worst]) < limit or parameter.block < 0:
        return f": no parameter stands out; sample with target_accept={more_careful(evidence)}."
    side = "small" if shift[worst] < 0 else "large"
    where = f", mostly at {side} values of {parameter.label} (median {np.median(flat[worst, mask]):.3g}, "
    return f"{where}all draws {np.median(flat[worst]):.3g}): {remedy(evidence, parameter.block)}"


def remedy(evidence: Evidence, block: int) -> str:
    """Return one sentence of advice about a grouping factor whose posterior is hard to sample."""
    factor = evidence.design.blocks[block]
    if len(factor.levels) < FEW_LEVELS:
        return (
            f"{factor.group} has {len(factor.levels)} levels, too few to learn an sd from; "
            f'give sd_{factor.name} an informative prior, such as bmm.Prior("HalfNormal", sigma=...).'
        )
    accept = more_careful(evidence)
    return f"sample with target_accept={accept}, or give sd_{factor.name} a prior that keeps it from 0."


def more_careful(evidence: Evidence) -> float:
    """Return a target_accept nearer to 1 than the one used."""
    first, second = MORE_CAREFUL
    return first if evidence.record.get("target_accept", 0) < first else second


def r_hat(evidence: Evidence) -> Check:
    """Compare the chains: rank-normalised split R-hat of every parameter, Vehtari et al. (2021), eq. 4."""
    if evidence.chains == 1:
        return Check("R-hat", True, math.nan, R_HAT_LIMIT, "not computed: it needs two chains")
    return worst_of("R-hat", evidence, evidence.watched.r_hat, R_HAT_LIMIT, larger_is_worse=True)


def ess_bulk(evidence: Evidence) -> Check:
    """Look for means that rest on too few independent draws: Vehtari et al. (2021), section 4.3."""
    return worst_of("bulk ESS", evidence, evidence.watched.ess_bulk, ESS_LIMIT, larger_is_worse=False)


def ess_tail(evidence: Evidence) -> Check:
    """Look for intervals that rest on too few independent draws: Vehtari et al. (2021), section 4.3."""
    return worst_of("tail ESS", evidence, evidence.watched.ess_tail, ESS_LIMIT, larger_is_worse=False)


def worst_of(name: str, evidence: Evidence, values: np.ndarray, limit: float, larger_is_worse: bool) -> Check:
    """Return the check of the parameter with the worst value; a value that is not a number is the worst there is."""
    if len(values) == 0:
        return Check(name, True, math.nan, limit, "every parameter is held fixed by its prior")
    badness = np.nan_to_num(values if larger_is_worse else -values, nan=np.inf)
    failed = int((badness > (limit if larger_is_worse else -limit)).sum())
    worst = int(badness.argmax())
    label, value = evidence.watched.label[worst], values[worst]
    text = f"{value:.3f}" if larger_is_worse else f"{value:,.0f}"
    message = f"{text} for {label} (limit {limit:,g})"
    if failed:
        others = f", {failed:,} of {len(values):,} parameters fail" if failed > 1 else ""
        message = f"{text} for {label} (limit {limit:,g}{others}): {advice(evidence, worst)}"
    return Check(name, failed == 0, float(value), limit, message)


def advice(evidence: Evidence, worst: int) -> str:
    """Return one sentence of advice for the parameter that converged worst."""
    block, kind = evidence.watched.block[worst], evidence.watched.kind[worst]
    aliased = [evidence.design.coefficients[j] for j in evidence.design.aliased]
    if kind == "beta" and aliased:
        return f"{', '.join(aliased)} is a linear combination of other coefficients; leave it out of the formula."
    if block >= 0 and len(evidence.design.blocks[block].levels) < FEW_LEVELS:
        return remedy(evidence, block)
    if is_independent(evidence.record):
        return f"take more, with draws={2 * max(evidence.draws, 1000)}, or use NUTS, with sampler='nutpie'."
    tune = max(int(evidence.record.get("tune", 0)), 1000)
    return f"sample longer, with tune={2 * tune} and draws={2 * max(evidence.draws, 1000)}."


def e_bfmi(evidence: Evidence) -> Check:
    """Compare the energy's steps with its spread, chain by chain: Betancourt (2016), eq. 21."""
    if "energy" not in evidence.stats or evidence.draws < 2:
        return not_recorded("E-BFMI", BFMI_LIMIT)
    energy = evidence.stats["energy"]
    with np.errstate(all="ignore"):
        fractions = np.square(np.diff(energy, axis=1)).mean(axis=1) / energy.var(axis=1)
    worst = float(np.nan_to_num(fractions, nan=-np.inf).min())
    if worst >= BFMI_LIMIT:
        return Check("E-BFMI", True, worst, BFMI_LIMIT, f"at least {worst:.2f} in every chain")
    chain = int(np.nan_to_num(fractions, nan=-np.inf).argmin())
    message = f"{fractions[chain]:.2f} in chain {chain} (limit {BFMI_LIMIT}): {heavy_tail(evidence)}"
    return Check("E-BFMI", False, float(fractions[chain]), BFMI_LIMIT, message)


def heavy_tail(evidence: Evidence) -> str:
    """Return one sentence of advice for a posterior whose tails the sampler crosses too slowly."""
    sizes = [len(block.levels) for block in evidence.design.blocks]
    if not sizes:
        return "the posterior has heavy tails; give the coefficients and sigma lighter-tailed priors, such as Normal."
    factor = evidence.design.blocks[int(np.argmin(sizes))]
    return (
        f"the tails of the posterior are explored too slowly; give sd_{factor.name} ({min(sizes)} levels) "
        "a lighter-tailed prior, such as HalfNormal."
    )


def tree_depth(evidence: Evidence) -> Check:
    """Look for trajectories that were cut off at the largest tree depth."""
    if "reached_max_treedepth" not in evidence.stats:
        return not_recorded("tree depth", DEPTH_LIMIT)
    share = float(evidence.stats["reached_max_treedepth"].mean(axis=1).max())
    if share <= DEPTH_LIMIT:
        return Check("tree depth", True, share, DEPTH_LIMIT, f"{share:.1%} of the draws of a chain were cut off")
    advice_text = f"tune for longer, with tune={2 * max(int(evidence.record.get('tune', 0)), 1000)}"
    message = f"{share:.0%} of the draws of a chain stopped at the largest tree depth (limit {DEPTH_LIMIT:.0%}): "
    return Check("tree depth", False, share, DEPTH_LIMIT, f"{message}{advice_text}, and put predictors on one scale.")


def pareto_k(evidence: Evidence) -> Check:
    """Judge the importance weights by the Pareto shape of the largest: Vehtari et al. (2024), JMLR 25(72)."""
    k = float(evidence.record["pareto_k"])
    if k <= PARETO_LIMIT:
        return Check("Pareto k", True, k, PARETO_LIMIT, f"{k:.2f} (limit {PARETO_LIMIT})")
    found = f"{k:.2f} (limit {PARETO_LIMIT})" if math.isfinite(k) else "too few draws have any weight to estimate it"
    message = f"{found}, so the draws may miss a part of the posterior: use NUTS, with sampler='nutpie'."
    return Check("Pareto k", False, k, PARETO_LIMIT, message)


def several_chains(evidence: Evidence) -> Check:
    """Two chains at least are needed to see one that is stuck."""
    chains = evidence.chains
    if chains > 1:
        return Check("chains", True, chains, 2, f"{chains} chains")
    message = "1 chain can not be compared with another (no between-chain R-hat): sample with chains=4."
    return Check("chains", False, chains, 2, message)


def finished(evidence: Evidence) -> Check:
    """Say whether the sampling was stopped by hand."""
    if not evidence.record.get("interrupted", False):
        return Check("interrupted", True, 0, 0, "the sampling ran to its end")
    asked = evidence.record.get("draws")
    of = f" of {asked:,}" if isinstance(asked, int) else ""
    message = f"the sampling was stopped after {evidence.draws:,}{of} draws of each chain: sample again for the rest."
    return Check("interrupted", False, 1, 0, message)


def tuned(evidence: Evidence) -> Check:
    """Say whether the sampler was given no steps to adapt; passes where that is not recorded."""
    tune = evidence.record.get("tune")
    if tune != 0:
        return Check("tuning", True, math.nan if tune is None else float(tune), 1, "the sampler was tuned")
    message = "the sampler was not tuned (tune=0), so its step size and the scale of each parameter are guesses: "
    return Check("tuning", False, 0, 1, f"{message}sample with tune=1000.")


def not_recorded(name: str, limit: float) -> Check:
    """Return the check of a statistic that this sampler does not record."""
    return Check(name, True, math.nan, limit, "not recorded by this sampler")


CHECKS = (divergences, r_hat, ess_bulk, ess_tail, e_bfmi, tree_depth, several_chains, finished, tuned)
# Of independent draws: there is no sampler to tune or to get stuck, and chains are only their layout.
INDEPENDENT = (pareto_k, ess_bulk, ess_tail, finished)
