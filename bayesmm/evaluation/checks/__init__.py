"""What can go wrong in a posterior: one small function per check, each with advice for the model at hand.

Trouble of the sampler is never an exception and never hidden: every check runs after every fit, for every sampler, and
every printed result opens with the verdict. What the posterior says about the model itself is a note: it fails nothing.
"""

from dataclasses import replace

from bayesmm.evaluation.checks.check import SOURCES, Check, verdict
from bayesmm.evaluation.checks.evidence import EFFECTS_LIMIT, gather, is_independent, suspicious
from bayesmm.evaluation.checks.model import NOTES, check_inputs
from bayesmm.evaluation.checks.quadrature import integrals
from bayesmm.evaluation.checks.sampling import BFMI_LIMIT, CHECKS, ESS_LIMIT, INDEPENDENT, R_HAT_LIMIT, bfmi
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads

__all__ = [
    "BFMI_LIMIT",
    "EFFECTS_LIMIT",
    "ESS_LIMIT",
    "R_HAT_LIMIT",
    "Check",
    "bfmi",
    "run_checks",
    "suspicious",
    "verdict",
]


@working("checking the draws")
@few_threads
def run_checks(fit) -> list[Check]:
    """Return the result of every check: those of the sampling, of independent draws fewer, and those of the model."""
    evidence, inputs = gather(fit), check_inputs(fit)
    found = [check(evidence) for check in (INDEPENDENT if is_independent(evidence.record) else CHECKS)]
    found += integrals(fit) + [check(inputs) for check in NOTES]
    return [replace(check, source=SOURCES.get(check.name, check.source)) for check in found]
