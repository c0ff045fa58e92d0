"""What the columns of a design, its terms and its blocks give cause to say."""

from collections.abc import Sequence

import numpy as np

from bayesmm.design import checks
from bayesmm.design.coding import Coding, Values
from bayesmm.design.groups import check_block
from bayesmm.design.lints import data_lints
from bayesmm.design.predictors import columns_of_mean, of_mean
from bayesmm.design.reading import Outcome
from bayesmm.design.records import Block
from bayesmm.design.residual.autoregressive import say_about_gaps
from bayesmm.design.residual.scale import say_about_origins
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.state import Scope
from bayesmm.design.variables import Variable
from bayesmm.formula.formula import Formula, column_nodes
from bayesmm.formula.roles import variables_of
from bayesmm.runtime.messages import Message


def remarks(
    formula: Formula,
    fixed: Coding,
    values: Values,
    blocks: Sequence[Block],
    scope: Scope,
    left: Outcome,
    residual: Residuals,
) -> list[Message]:
    """Return the messages on columns, terms, blocks, and the structure of the residuals."""
    columns = [(v.name, v.values.astype(np.float64)) for v in _numeric_columns(formula, scope)]
    said = [
        *checks.say_about_scales(fixed, values),
        *checks.say_about_codes(columns),
        *checks.say_about_outliers(columns, scope.rows),
    ]
    blocks = [block for block in blocks if not (block.smooth or block.members)]
    estimated = residual.sigma != "known"
    of_blocks = [message for block in blocks for message in check_block(block, left.family, left.trials, estimated)]
    of_means = [columns_of_mean(block) for block in blocks if of_mean(block).any()]
    of_residual = [*say_about_gaps(residual), *say_about_origins(residual)]
    return [*said, *data_lints(formula, values, of_means, scope.variables), *of_blocks, *of_residual]


def _numeric_columns(formula: Formula, scope: Scope) -> list[Variable]:
    """Return the numeric columns of response and terms, not those that only group."""
    exprs = [formula.response, *variables_of(formula)]
    names = dict.fromkeys(node.name for expr in exprs for node in column_nodes(expr))
    return [scope.variables[name] for name in names if scope.variables[name].kind == "number"]
