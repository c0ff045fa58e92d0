"""Which graph is sampled: with the random effects integrated out, or written out."""

import numpy as np

from bayesmm.design import Design
from bayesmm.marginal.quadrature import check_fits, fits, sampling_nodes
from bayesmm.reduction import Problem

# The cost model of "auto", in multiply-adds for each gradient. The marginal likelihood factorises and inverts a dense
# matrix of the size of the rest, and scatters the coupling of each pattern; the explicit graph passes over all rows,
# at about ten operations a number. The marginal posterior needs about a fifth of the gradients (benchmarks/: steps
# for each effective draw).
INVERSE_COST, ROW_COST, FEWER_GRADIENTS = 2.0, 10.0, 5.0
# Above so many rows times nodes a gradient by quadrature takes 10 ms, and 4 x 2,000 draws ten minutes: the explicit
# graph, for which rows count once, is then the quicker one though it needs more gradients and its draws are worth less.
QUADRATURE_ROWS = 1_000_000


def glmm_effects(design: Design, effects: str) -> str:
    """Return which graph ``effects`` means for a generalised model: see QUADRATURE_ROWS."""
    if effects == "marginal":
        check_fits(design)
    if effects != "auto":
        return effects
    if not fits(design):
        return "explicit"
    nodes = sampling_nodes(design) ** len(design.blocks[0].columns)
    return "marginal" if design.n * nodes <= QUADRATURE_ROWS else "explicit"


def marginal_is_cheaper(problem: Problem) -> bool:
    """Return whether an effective draw costs less with the random effects integrated out: see the constants above."""
    cp, design = problem.cp, problem.design
    widths = np.diff(cp.leading.start).astype(float)
    q = max(cp.q[0], 1) if cp.order else 1
    marginal = q * float(widths @ widths) + INVERSE_COST * float(len(cp.rest.z)) ** 3
    numbers = design.n * (design.p + sum(block.Z.shape[1] for block in design.blocks))
    return marginal <= FEWER_GRADIENTS * ROW_COST * numbers
