"""What can go wrong in the sampling of a posterior."""

import math

import numpy as np

from bayesmm.design.parameters import variance_parameters
from bayesmm.display.text_tables import apart
from bayesmm.evaluation.checks.check import Check
from bayesmm.evaluation.checks.evidence import Evidence, is_independent
from bayesmm.likelihood.quadrature import fits
from bayesmm.posterior.convergence import ESS_LIMIT, R_HAT_LIMIT, bfmi_of_run
from bayesmm.posterior.draws import is_constant
from bayesmm.priors import sds_without_prior
from bayesmm.sampling.pareto import k_limit, trusted

BFMI_LIMIT = 0.3  # Betancourt (2016), arXiv:1604.00695, as Stan's diagnose reports it
DEPTH_LIMIT = 0.05  # share of draws of a chain at the largest tree depth; PyMC and Stan warn above it
FEW_LEVELS = 5  # with fewer groups an sd rests on its prior: Gelman (2006), Bayesian Analysis 1(3), section 5
# Share of divergent draws below which they are few: left out or not, they move no probability by more, and the 95 %
# interval has 25 times as much beyond each of its ends. Ours.
RARE = 0.001
CLUSTER_LIMIT = 0.2  # divergent draws cluster where their mean rank (0 to 1) is this far from the 0.5 of all draws ...
CLUSTER_ERRORS = 3  # ... and this many standard errors, 1 / sqrt(12 n) each, so that one draw is no cluster
MORE_CAREFUL = (0.99, 0.999)  # target_accept to advise, the second to those who already used the first


def divergences(evidence: Evidence) -> Check:
    """Count the divergent transitions: Betancourt (2017), arXiv:1701.02434, section 6.2."""
    if "diverging" not in evidence.stats:
        return not_recorded("divergences", 0)
    diverging = evidence.stats["diverging"].astype(bool)
    found, rate = int(diverging.sum()), diverging.mean()
    if found == 0:
        return Check("divergences", True, 0, 0, "no divergence")
    message = f"{found:,} of {diverging.size:,} draws diverged ({100 * rate:.2g} %)"
    message += few_divergences(evidence) if rate < RARE else clustering(evidence, diverging)
    return Check("divergences", False, found, 0, message)


def few_divergences(evidence: Evidence) -> str:
    """Say what to do about divergences too rare to move a result by much, wherever they are."""
    return (
        ": so few move means and intervals by little, if at all; see that they stay with "
        f"target_accept={more_careful(evidence)}. The model need not be written in another way."
    )


def clustering(evidence: Evidence, diverging: np.ndarray) -> str:
    """Say in which variance parameter the divergent draws cluster, and what to do about it."""
    flat, mask = evidence.variances.reshape(len(evidence.variances), -1), diverging.ravel()
    ranks = flat.argsort(axis=1).argsort(axis=1) / max(flat.shape[1] - 1, 1)
    shift = np.where(is_constant(evidence.variances), 0.0, ranks[:, mask].mean(axis=1) - 0.5)
    worst = int(np.abs(shift).argmax())
    parameter = variance_parameters(evidence.design)[worst]
    limit = max(CLUSTER_LIMIT, CLUSTER_ERRORS / math.sqrt(12 * mask.sum()))
    if abs(shift[worst]) < limit or parameter.block < 0:
        return f": no parameter stands out; sample {ways(evidence)}."
    side = "small" if shift[worst] < 0 else "large"
    where = f", mostly at {side} values of {parameter.label} (median {np.median(flat[worst, mask]):.3g}, "
    return f"{where}all draws {np.median(flat[worst]):.3g}): {remedy(evidence, parameter.block)}"


def remedy(evidence: Evidence, block: int) -> str:
    """Return one sentence of advice about a grouping factor whose posterior is hard to sample."""
    factor = evidence.design.blocks[block]
    if asks_for_prior(evidence, factor):
        return (
            f"{factor.group} has {len(factor.levels)} levels, too few to learn an sd from; "
            f'give {factor.names.sd} an informative prior, such as bmm.Prior("HalfNormal", sigma=...).'
        )
    return f"sample {ways(evidence)}, or give {factor.names.sd} a prior that keeps it from 0."


def asks_for_prior(evidence: Evidence, factor) -> bool:
    """Return whether a grouping factor has few levels, and an sd that nobody gave a prior."""
    return len(factor.labels) < FEW_LEVELS and not factor.smooth and sds_without_prior(evidence.priors, factor) != ""


def ways(evidence: Evidence) -> str:
    """Return the arguments to sample with against divergences, the best first."""
    return ", or ".join([*other_graph(evidence), f"with target_accept={more_careful(evidence)}"])


def other_graph(evidence: Evidence) -> list[str]:
    """Return the arguments that avoid the funnel of a graph which was asked for, the best first."""
    asked, design = evidence.record.get("asked", {}), evidence.design
    if not design.blocks:
        return []
    if asked.get("effects") == "explicit" and (design.family.gaussian or fits(design)):
        return ["with effects='marginal', which integrates the random effects out"]
    return ["with centred=False"] if asked.get("centred") is True else []


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
    floored = f"{np.floor(value):,.0f}", f"{limit:,g}"  # as the verdict rounds it
    text, most = apart(value, limit, 3, up=True) if larger_is_worse else floored
    message = f"{text} for {label} (limit {most})"
    if failed:
        others = f", {failed:,} of {len(values):,} parameters fail" if failed > 1 else ""
        message = f"{text} for {label} (limit {most}{others}): {advice(evidence, worst)}"
    return Check(name, failed == 0, float(value), limit, message)


def advice(evidence: Evidence, worst: int) -> str:
    """Return one sentence of advice for the parameter that converged worst."""
    block, kind = evidence.watched.block[worst], evidence.watched.kind[worst]
    aliased = [evidence.design.coefficients[j] for j in evidence.design.aliased]
    if kind == "coefficient" and aliased:
        return f"{', '.join(aliased)} is a linear combination of other coefficients; leave it out of the formula."
    factor = evidence.design.blocks[block] if block >= 0 else None
    if factor is not None and asks_for_prior(evidence, factor):
        return remedy(evidence, block)
    if is_independent(evidence.record):
        return f"take more, with draws={2 * max(evidence.draws, 1000)}, or use NUTS, with sampler='nutpie'."
    tune = max(int(evidence.record.get("tune", 0)), 1000)
    return f"sample longer, with tune={2 * tune} and draws={2 * max(evidence.draws, 1000)}."


def e_bfmi(evidence: Evidence) -> Check:
    """Compare the energy's steps with its spread, chain by chain: Betancourt (2016), eq. 21."""
    if "energy" not in evidence.stats or evidence.draws < 2:
        return not_recorded("E-BFMI", BFMI_LIMIT)
    fractions = bfmi_of_run(evidence.stats["energy"], evidence.record)
    worst = float(np.nan_to_num(fractions, nan=-np.inf).min())
    if worst >= BFMI_LIMIT:
        return Check("E-BFMI", True, worst, BFMI_LIMIT, f"at least {worst:.2f} in every chain")
    chain = int(np.nan_to_num(fractions, nan=-np.inf).argmin())
    value, least = apart(fractions[chain], BFMI_LIMIT)
    message = f"{value} in chain {chain} (limit {least}): {heavy_tail(evidence)}"
    return Check("E-BFMI", False, float(fractions[chain]), BFMI_LIMIT, message)


def heavy_tail(evidence: Evidence) -> str:
    """Return one sentence of advice for a posterior whose tails the sampler crosses too slowly."""
    blocks = [evidence.design.blocks[k] for k in evidence.design.groups]
    sizes = [len(block.labels) for block in blocks]
    if not sizes:
        return "the posterior has heavy tails; give the coefficients and sigma lighter-tailed priors, such as Normal."
    factor = blocks[int(np.argmin(sizes))]
    return (
        f"the tails of the posterior are explored too slowly; give {factor.names.sd} ({min(sizes)} levels) "
        "a lighter-tailed prior, such as HalfNormal."
    )


def tree_depth(evidence: Evidence) -> Check:
    """Look for trajectories that were cut off at the largest tree depth."""
    if "reached_max_treedepth" not in evidence.stats:
        return not_recorded("tree depth", DEPTH_LIMIT)
    share = float(evidence.stats["reached_max_treedepth"].mean(axis=1).max())
    if share <= DEPTH_LIMIT:
        return Check(
            "tree depth", True, share, DEPTH_LIMIT, f"{100 * share:.1f} % of the draws of a chain were cut off"
        )
    advice_text = f"tune for longer, with tune={2 * max(int(evidence.record.get('tune', 0)), 1000)}"
    value, most = apart(share, DEPTH_LIMIT, 0, "%")
    message = f"{value} of the draws of a chain stopped at the largest tree depth (limit {most}): "
    return Check("tree depth", False, share, DEPTH_LIMIT, f"{message}{advice_text}, and put predictors on one scale.")


def pareto_k(evidence: Evidence) -> Check:
    """Judge the importance weights by the Pareto shape of the largest: Vehtari et al. (2024), JMLR 25(72)."""
    k, limit = float(evidence.record["pareto_k"]), k_limit(evidence.record["pool"])
    value, most = apart(k, limit)
    found = f"{value} (limit {most})" if math.isfinite(k) else "too few draws have any weight to estimate it"
    if trusted(evidence.record):
        return Check("Pareto k", True, k, limit, found)
    message = f"{found}, so the draws may miss a part of the posterior: use NUTS, with sampler='nutpie'."
    return Check("Pareto k", False, k, limit, message)


def several_chains(evidence: Evidence) -> Check:
    """Two chains at least are needed to see one that is stuck."""
    chains = evidence.chains
    if chains > 1:
        return Check("chains", True, chains, 2, f"{chains} chains")
    message = "1 chain cannot be compared with another (no between-chain R-hat): sample with chains=4."
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
