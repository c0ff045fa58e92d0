"""The consistency check of a fit: that what is sampled and what is maximised are one likelihood.

It looks for mistakes of this package, not of a model, so that nothing makes it unless it is asked for.
"""

from bayesmm.design.predictors import check_of_mean
from bayesmm.design.records import Design
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation.likelihood_vs_reml import GRAPH, LIKELIHOOD, ConsistencyCheck, check_likelihood
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads


@working("checking the density against REML")
@few_threads
def consistency(fit, of: str = LIKELIHOOD) -> ConsistencyCheck:
    """Check that the posterior of a linear model has its mode at the REML estimates where its priors are flat.

    Parameters
    ----------
    fit : Fit
    of : {"likelihood", "graph"}
        What is maximised: the compiled likelihood, which draws are made of (some milliseconds); or the density of the
        explicit PyMC graph, with coefficients and random effects integrated out numerically, which shares no code with
        REML (5 s for a small model, and minutes for one of a few hundred random effects).

    Raises
    ------
    ValueError
        If `of` is another text, or the model is generalised, which has no REML.
    """
    if of not in (LIKELIHOOD, GRAPH):
        raise ValueError(f"of should be {LIKELIHOOD!r} or {GRAPH!r}, not {of!r}")
    if fit.design.family.varying:
        check_of_mean(fit.design, "the consistency check, which compares with REML,", "compare() compares with ML")
    if not fit.design.family.gaussian:
        raise ValueError(
            f"the consistency check compares with REML, which a {fit.design.family.label} model does not have; "
            "compare() sets its posterior beside the maximum of the likelihood"
        )
    return found(fit.design, fit.model.maximize(method="REML"), of)


def found(design: Design, reml: Estimates, of: str) -> ConsistencyCheck:
    """Return the record of the check of one of the two densities."""
    if of == LIKELIHOOD:
        return check_likelihood(design, reml)
    from bayesmm.evaluation.graph_vs_reml import check_consistency  # here, because it builds a PyMC model

    return check_consistency(design, reml)


def check_choice(wanted: object) -> None:
    """Raise ValueError unless it is a choice of ``compare(consistency=...)``."""
    if wanted is not True and wanted is not False and wanted != GRAPH:
        raise ValueError(f"consistency should be True, False or {GRAPH!r}, not {wanted!r}")


def find_consistency(design: Design, reml: Estimates, wanted: bool | str) -> ConsistencyCheck | None:
    """Return the record of the check that ``compare(consistency=...)`` asks for; None if it asks for none.

    A generalised model has none.
    """
    if not wanted or not design.family.gaussian:
        return None
    return found(design, reml, LIKELIHOOD if wanted is True else wanted)
