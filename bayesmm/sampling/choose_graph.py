"""Which graph is sampled: with the random effects integrated out, or written out."""

from collections.abc import Callable, Mapping

import numpy as np

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.records import Block, Design
from bayesmm.design.relations import crosses, has_dense, is_coupled, is_related, is_sparse, is_turned, related_blocks
from bayesmm.design.residual.structure import check_no_parameters
from bayesmm.design.summed import is_summed
from bayesmm.errors import DataError, listing, suggest
from bayesmm.likelihood.costs import gradient_cost
from bayesmm.likelihood.eliminated import is_costly, work
from bayesmm.likelihood.marginal import check_marginal, generalised_coordinates
from bayesmm.likelihood.near_mode import COSTLY_GRADIENT
from bayesmm.likelihood.problem import Problem
from bayesmm.likelihood.quadrature import fits
from bayesmm.likelihood.varying import varies
from bayesmm.priors import Prior
from bayesmm.runtime.arguments import check_bool

EFFECTS = ("auto", "marginal", "explicit")
# The cost model of "auto", in multiply-adds for each gradient. The marginal likelihood factorises and inverts a dense
# matrix of the size of the rest, and scatters the coupling of each pattern; the explicit graph passes over all rows,
# at about ten operations a number. The marginal posterior needs about a fifth of the gradients (benchmarks/: steps
# for each effective draw).
INVERSE_COST, ROW_COST, FEWER_GRADIENTS = 2.0, 10.0, 5.0
# Where polynomials take the place of the random effects some 5,000 values are left of 30,000 gradients, most of them to
# draw the effects: InstEval's three factors took 114 s of processor time for 3,500 effective draws of the worst
# parameter; written out, as many draws would take 370 s.
VALUES = 1 / 6
# Of a factor whose levels have a known covariance every level is coupled to all of another factor's. An evaluation of
# so many multiply-adds takes 2 ms (100 x 100 levels), and all draws about as long as the graph takes, which has a dense
# matrix too, to be compiled and sampled.
DENSE = 3e6
# The same of generalised models, in nanoseconds of one core: a gradient by quadrature is in `likelihood.costs`; with
# the effects written out a row, and a number of the dense metric, or a row of PyMC's graph. A gradient below QUICK
# gives 4 x 1,200 draws in a second; above, it has to be worth its time: with the effects written out NUTS takes about 5
# times as many gradients for each effective draw in its metric at most (500 binary groups, 300 with slopes: 15 steps
# and an ESS of 0.3 for each draw, against 4 to 5.5 and 1; of 6 to 20 groups of eight families 0.7 to 3.1 times the ESS
# in 1/33 to 1/2 of the time), and 20 times as many in PyMC's graph.
JOINT_COST, METRIC_COST, GRAPH_COST = 30.0, 0.5, 100.0
QUICK, FEWER_THAN_JOINT, FEWER_THAN_GRAPH = 5e4, 5.0, 20.0
# Up to so many coordinates, with so many levels, a polynomial takes the place of the likelihood (`near_mode`). Negative
# binomial counts in 200 groups, 343 terms: 2.5 s of processor time, effects and all, for 24 s without and 17 s with the
# effects written out. 300 binary groups with slopes, 3,728 terms: 250 effective draws a second of it, and 107.
MANY_LEVELS, FEWER_BY_POLYNOMIAL = {4: 100, 5: 300}, 8.0
# With fewer levels, or rows in a level, than WEAK for each of its effects the sd may be near 0 or large, where effects
# that are written out mix badly (6 of 38 fits, and of 60 others none): below PATIENT, half a minute, they are
# integrated out.
WEAK, PATIENT = 5.0, 2.4e6
MOST_COORDINATES = 1000  # of the joint density's metric, which is dense


def check_effects(effects: object) -> None:
    """Raise a ValueError for what is none of EFFECTS."""
    if not isinstance(effects, str) or effects not in EFFECTS:
        near = suggest(effects, EFFECTS) if isinstance(effects, str) else ""
        raise ValueError(f"effects must be one of {listing(EFFECTS)}, not {effects!r}{near}")


def chosen_effects(
    design: Design,
    priors: Mapping[str, Prior],
    effects: object,
    problem: Callable[[], Problem],
    *,
    compiled: bool = True,
) -> str:
    """Return what ``effects`` means, "marginal" or "explicit".

    Parameters
    ----------
    design, priors
    effects : str
        Of EFFECTS, else a ValueError.
    problem : callable
        Returns the Problem of a Gaussian model, where it comes to that.
    compiled : bool
        False: as a graph for PyMC's samplers.
    """
    check_effects(effects)
    check_bool("compiled", compiled)
    settled = settled_effects(design, priors, effects, compiled=compiled)
    if settled is not None:
        return settled
    compiled = compiled and in_closed_form(priors)
    return "marginal" if marginal_is_cheaper(problem(), compiled=compiled) else "explicit"


def settled_effects(design: Design, priors: Mapping[str, Prior], effects: str, *, compiled: bool = True) -> str | None:
    """Return which graph ``effects`` means, None where that is a matter of what each costs (`marginal_is_cheaper`).

    Raises
    ------
    DataError
        For "marginal", where the residual has parameters that no compiled code has.
    """
    if not design.family.gaussian:
        return glmm_effects(design, priors, effects, compiled=compiled)
    if is_summed(design):
        if design.residual.estimated and not compiled_alone(design, priors):
            raise DataError(
                f"sampling with the residuals of {design.residual.text} needs the rows where a prior is a function, or "
                "where a covariance structure is not compiled, and the data are a lazy frame; collect it first"
            )
        if effects == "explicit":
            raise DataError("effects='explicit' needs the rows, and the data are a lazy frame; use effects='marginal'")
        return "marginal"
    if is_sparse(design):
        return _sparse_effects(design, effects)
    if is_turned(design):
        alone = "marginal" if len(design.blocks) == 1 else None
        return alone if effects == "auto" else effects
    if effects == "marginal" and is_related(design):
        what = f"the residuals of {design.residual.text}" if crosses(design) else structured_terms(design)[0]
        raise DataError(f"effects='marginal' is not possible with {what}; use effects='explicit'")
    if is_related(design):
        return "explicit"
    if design.residual.estimated and not compiled_alone(design, priors):
        if effects == "marginal":
            check_no_parameters(design, "effects='marginal'", "use effects='explicit'")
        return "explicit"
    return None if effects == "auto" else effects


def _sparse_effects(design: Design, effects: str) -> str:
    """Return which graph `effects` means for animals of a pedigree."""
    if effects == "explicit" and not has_dense(design):
        G = len(related_blocks(design)[0].levels)
        raise DataError(
            f"effects='explicit', and with it prior_predictive(), needs the covariances of all pairs of {G:,} related "
            "levels; effects='marginal', the default of sample(), and simulate() do without"
        )
    if effects == "auto":
        return "explicit" if has_dense(design) and is_coupled(design) else "marginal"
    return effects


def compiled_alone(design: Design, priors: Mapping[str, Prior]) -> bool:
    """Return whether the residual has parameters with which the marginal posterior is in compiled code, and not PyMC's.

    That takes priors in closed form, and no covariance structure of random effects that the code has not.
    """
    return in_closed_form(priors) and varies(design) and not structured_terms(design, compiled=True)


def in_closed_form(priors: Mapping[str, Prior]) -> bool:
    """Return whether no prior is a function, whose density only PyMC knows."""
    return all(prior.distribution != "Custom" for prior in priors.values())


def effects_of_graph(design: Design, effects: str) -> str:
    """Return what a PyMC graph can be: with parameters of the residual marginal models are in compiled code alone.

    Raises
    ------
    DataError
        For "marginal" with such parameters.
    """
    if not (design.family.gaussian and design.residual.estimated):
        return effects
    if effects == "marginal":
        check_no_parameters(design, "a graph with effects='marginal'", "use effects='explicit'")
    return "explicit" if effects == "auto" else effects


def glmm_effects(design: Design, priors: Mapping[str, Prior], effects: str, *, compiled: bool = True) -> str:
    """Return which graph ``effects`` means for a generalised model.

    The quadrature goes by one mode for each level. An outlier can give a level two where the tails of the response are
    heavy, or a plateau beside a narrow mode where a normal response has a log link: "auto" writes those effects out.
    """
    if effects == "marginal":
        check_marginal(design)
    if not design.family.smooth:
        if effects == "marginal":
            raise DataError(
                f"effects='marginal' goes by derivatives, and the log density of the {design.family.name} family has a "
                "corner; use effects='explicit'"
            )
        return "explicit"
    if effects != "auto":
        return effects
    if not design.blocks:
        return "marginal"  # there is nothing to integrate out, and no graph to compile
    if not (fits(design) and design.family.one_mode):
        return "explicit"
    marginal = gradient_cost(design)
    if compiled and marginal > COSTLY_GRADIENT and _by_few_terms(design, priors):
        marginal /= FEWER_BY_POLYNOMIAL
    size = effects_written_out(design)
    if size <= MOST_COORDINATES and in_closed_form(priors):
        explicit = FEWER_THAN_JOINT * (JOINT_COST * design.n + METRIC_COST * size**2)
    else:
        explicit = FEWER_THAN_GRAPH * GRAPH_COST * design.n
    weak = is_weak(design.blocks[0])
    return "marginal" if marginal <= max(PATIENT if weak else QUICK, explicit) else "explicit"


def _by_few_terms(design: Design, priors: Mapping[str, Prior]) -> bool:
    """Return whether a polynomial in the place of the likelihood has few terms: of few parameters, known well."""
    if not in_closed_form(priors):
        return False
    size, levels = int(generalised_coordinates(design, priors)[0].sizes[2]), len(design.blocks[0].levels)
    return any(size <= most and levels >= least for most, least in MANY_LEVELS.items())


def is_weak(block: Block) -> bool:
    """Return whether a block has so few levels, or rows in half of them, that written-out effects may mix badly."""
    few = WEAK * len(block.columns)
    return len(block.levels) < few or np.median(block.counts) < few


def effects_written_out(design: Design) -> int:
    """Return about how many coordinates a generalised model has with its random effects written out."""
    return design.p + sum(len(block.columns) * (len(block.levels) + 1) for block in design.blocks)


def marginal_is_cheaper(problem: Problem, *, compiled: bool = True) -> bool:
    """Return whether an effective draw costs less with the random effects integrated out: see the constants above.

    Polynomials are for samplers that are `compiled`, not for PyMC's.
    """
    cp, design = problem.cp, problem.design
    widths = np.diff(cp.leading.start).astype(float)
    q = max(cp.q[0], 1) if cp.order else 1
    if design.residual.estimated or not (compiled and is_costly(cp, problem.theta)):
        marginal = q * float(widths @ widths) + INVERSE_COST * float(len(cp.rest.z)) ** 3
    else:
        marginal = VALUES * work(cp)
    numbers = design.n * (design.p + sum(block.Z.shape[1] for block in design.blocks))
    explicit = FEWER_GRADIENTS * ROW_COST * numbers
    return marginal <= (max(explicit, DENSE) if is_related(design) else explicit)
