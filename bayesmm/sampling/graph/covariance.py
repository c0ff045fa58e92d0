"""A covariance structure in a graph: its parameters as variables, and the factor that it makes of them."""

from collections.abc import Mapping

import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bayesmm.design.covariance.structure import Part
from bayesmm.design.parameters import Parameter, part_parameters
from bayesmm.design.records import Block
from bayesmm.priors import Prior
from bayesmm.sampling.graph.distributions import INTERNAL, scalar


def add_structure(block: Block, part: Part, priors: Mapping[str, Prior]) -> TensorVariable:
    """Add the parameters of a part with a structure to the model in context; return L with L L' = Sigma, (r, r).

    They are coordinates of the sampler: what is kept of them are the sds and correlations of the block.
    """
    own = part_parameters(0, block, part)
    values = [scalar(entry_name(block, p), p.label, priors[p.label]) for p in own]
    return pt.as_tensor_variable(part.covariance.factor(values, len(part.columns)))


def entry_name(block: Block, parameter: Parameter) -> str:
    """Return the name of the variable that is one parameter of a block with a structure."""
    name = block.names.sd if parameter.kind == "sd" else block.names.corr
    return f"{INTERNAL}{name}_{'_'.join(map(str, parameter.terms))}"
