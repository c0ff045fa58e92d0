"""About how long an evaluation of a generalised likelihood takes: for choices that are the same on every machine."""

from bayesmm.design.records import Design
from bayesmm.families.family import Family
from bayesmm.families.links import LINKS
from bayesmm.likelihood.quadrature import usual_nodes

# A row at a node, in nanoseconds of one core, where it is not `Family.cost`, measured by benchmarks/costs.py: with
# canonical links, and where all nodes of a row are taken together.
CANONICAL_COST, TOGETHER_COST = 8.0, 20.0


def gradient_cost(design: Design) -> float:
    """Return about how long a gradient by quadrature takes, in nanoseconds; without effects, one of all rows."""
    return design.n * usual_nodes(design) * _node_cost(design.family)


def _node_cost(family: Family) -> float:
    if family.canonical == family.link:
        return CANONICAL_COST
    kernels = family.kernels
    if kernels is not None and kernels.smooth is not None and kernels.row_link == LINKS[family.link].code:
        return TOGETHER_COST
    return family.cost
