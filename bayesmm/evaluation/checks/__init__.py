"""What can go wrong in a posterior: one small function per check, each with advice for the model at hand.

Trouble of the sampler is never an exception and never hidden: every check runs after every fit, for every sampler, and
every printed result opens with the verdict. What the posterior says about the model itself is a note: it fails nothing.
"""

from bayesmm.design.summed import is_summed
from bayesmm.evaluation.checks.check import Check, Checks, sourced, verdict
from bayesmm.evaluation.checks.evidence import EFFECTS_LIMIT, gather, is_independent, suspicious
from bayesmm.evaluation.checks.fitted import of_fit
from bayesmm.evaluation.checks.groups import influential_groups
from bayesmm.evaluation.checks.model import NOTES, check_inputs
from bayesmm.evaluation.checks.order import autocorrelation
from bayesmm.evaluation.checks.quadrature import integrals
from bayesmm.evaluation.checks.sampling import BFMI_LIMIT, CHECKS, INDEPENDENT
from bayesmm.posterior.draws import kept_effects
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads

__all__ = [
    "BFMI_LIMIT",
    "EFFECTS_LIMIT",
    "Check",
    "Checks",
    "draws_checks",
    "run_checks",
    "suspicious",
    "verdict",
]


@working("checking the draws")
@few_threads
def run_checks(fit, time: object = None) -> Checks:
    """Return the result of every check: those of the sampling, of independent draws fewer, and those of the model.

    `time`, a column of the model or values of its rows, orders them within their groups.
    """
    inputs = check_inputs(fit)
    found = rows_and_groups(fit, time) + [check(inputs) for check in NOTES]
    return Checks(draws_checks(fit) + [sourced(check) for check in found])


@few_threads
def draws_checks(fit) -> list[Check]:
    """Return the checks that draws can fail, those of the sampling and of the integrals; the others are notes."""
    evidence = gather(fit)
    found = [check(evidence) for check in (INDEPENDENT if is_independent(evidence.record) else CHECKS)]
    return [sourced(check) for check in found + integrals(fit)]


def rows_and_groups(fit, time: object) -> list[Check]:
    """Return the checks of the residuals and of the groups, where there are rows and the random effects were kept."""
    if is_summed(fit.design) or len(kept_effects(fit)) < len(fit.design.blocks):
        return []
    fitted = of_fit(fit)
    return [autocorrelation(fitted, time), influential_groups(fitted)]
