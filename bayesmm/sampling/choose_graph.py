"""Which graph is sampled: with the random effects integrated out, or written out."""

import numpy as np

from bayesmm.design.records import Design
from bayesmm.design.residual.structure import check_no_parameters
from bayesmm.errors import listing, suggest
from bayesmm.families.family import Family
from bayesmm.likelihood.marginal import check_marginal
from bayesmm.likelihood.problem import Problem
from bayesmm.likelihood.quadrature import fits, usual_nodes

EFFECTS = ("auto", "marginal", "explicit")
# The cost model of "auto", in multiply-adds for each gradient. The marginal likelihood factorises and inverts a dense
# matrix of the size of the rest, and scatters the coupling of each pattern; the explicit graph passes over all rows,
# at about ten operations a number. The marginal posterior needs about a fifth of the gradients (benchmarks/: steps
# for each effective draw).
INVERSE_COST, ROW_COST, FEWER_GRADIENTS = 2.0, 10.0, 5.0
# The same of generalised models, in nanoseconds of one core: a row at a node (`Family.cost`; less with CANONICAL
# links), and a row of the explicit graph. A gradient by quadrature below QUICK gives 4 x 2,000 draws within a minute,
# without the funnels of few groups; above, it has to be worth its time: the explicit graph needs nine to twelve times
# as many gradients for each effective draw (sleepstudy with a student's response, 500 binary groups).
CANONICAL_COST, EXPLICIT_COST = 12.0, 100.0
QUICK, FEWER_GENERALISED = 1.2e6, 9.0


def check_effects(effects: object) -> None:
    """Raise a ValueError for what is none of EFFECTS."""
    if not isinstance(effects, str) or effects not in EFFECTS:
        near = suggest(effects, EFFECTS) if isinstance(effects, str) else ""
        raise ValueError(f"effects must be one of {listing(EFFECTS)}, not {effects!r}{near}")


def settled_effects(design: Design, effects: str) -> str | None:
    """Return which graph ``effects`` means, None where that is a matter of what each costs (`marginal_is_cheaper`).

    Raises
    ------
    DataError
        For "marginal", where the residual has parameters that no compiled code has.
    """
    if not design.family.gaussian:
        return glmm_effects(design, effects)
    if effects == "marginal":
        check_no_parameters(design, "effects='marginal'", "use effects='explicit'")
    if design.residual.parameters:
        return "explicit"
    return None if effects == "auto" else effects


def glmm_effects(design: Design, effects: str) -> str:
    """Return which graph ``effects`` means for a generalised model.

    The quadrature goes by one mode for each level. An outlier can give a level two where the tails of the response are
    heavy, or a plateau beside a narrow mode where a normal response has a log link: "auto" writes those effects out.
    """
    if effects == "marginal":
        check_marginal(design)
    if effects != "auto":
        return effects
    if not design.blocks:
        return "marginal"  # there is nothing to integrate out, and no graph to compile
    if not (fits(design) and design.family.one_mode):
        return "explicit"
    cost = usual_nodes(design) * _node_cost(design.family)
    return "marginal" if min(design.n * cost / QUICK, cost / (FEWER_GENERALISED * EXPLICIT_COST)) <= 1 else "explicit"


def _node_cost(family: Family) -> float:
    if family.canonical == family.link:
        return CANONICAL_COST
    return family.cost


def marginal_is_cheaper(problem: Problem) -> bool:
    """Return whether an effective draw costs less with the random effects integrated out: see the constants above."""
    cp, design = problem.cp, problem.design
    widths = np.diff(cp.leading.start).astype(float)
    q = max(cp.q[0], 1) if cp.order else 1
    marginal = q * float(widths @ widths) + INVERSE_COST * float(len(cp.rest.z)) ** 3
    numbers = design.n * (design.p + sum(block.Z.shape[1] for block in design.blocks))
    return marginal <= FEWER_GRADIENTS * ROW_COST * numbers
