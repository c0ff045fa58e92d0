"""A user's own function as a prior: the variable that it makes, looked at before anything is sampled."""

import numpy as np
import pymc as pm
from pytensor.graph.traversal import ancestors
from pytensor.tensor import TensorVariable

from bayesmm.errors import PriorError
from bayesmm.runtime.messages import count
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler

DRAWS = 500  # of a prior: one that has 1 % of its mass below 0 is missed once in 150 times
IMPROPER = ("flat", "half_flat")  # PyTensor's names of the operations that nothing can be drawn from


def check_variable(who: str, variable: TensorVariable, length: int | None, positive: bool) -> None:
    """Check shape, type and support of what a function gave as a prior, by drawing from it.

    Parameters
    ----------
    who : str
        The function and the place of its prior, for messages.
    variable : variable
    length : int or None
        Of the vector that it should be; None for one number.
    positive : bool
        Whether the parameter has to be above 0: an sd, or a parameter of the family.

    Raises
    ------
    PriorError
    """
    if variable.dtype.startswith(("int", "uint", "bool")):
        raise PriorError(f"{who} gives whole numbers ({variable.dtype}); a parameter needs a continuous distribution")
    flat = [v.owner.op.name for v in ancestors([variable]) if v.owner and getattr(v.owner.op, "name", "") in IMPROPER]
    if flat:
        if positive and variable.owner.op.name == "flat":
            raise PriorError(f"{who} is flat over all numbers, but the parameter is above 0; use pm.HalfFlat")
        _check_shape(who, tuple(int(side) for side in variable.shape.eval(mode=PYTHON)), length)
        return
    with without_compiler(), np.errstate(all="ignore"):
        values = np.asarray(pm.draw(variable, draws=DRAWS, random_seed=0, mode=PYTHON))
    _check_shape(who, values.shape[1:], length)
    if not np.isfinite(values).all():
        raise PriorError(f"{who} gives values that are not finite; check its parameters")
    if positive and (values < 0).any():
        share = (values < 0).mean()
        raise PriorError(
            f"{who} gives negative values ({100 * share:.2g} % of its draws), but the parameter is above 0; use a "
            "distribution of positive numbers, such as pm.HalfNormal or pm.Gamma"
        )


def _check_shape(who: str, found: tuple[int, ...], length: int | None) -> None:
    if found != (() if length is None else (length,)):
        numbers = "one number" if length is None else f"{count(length, 'number')}, one for each parameter"
        raise PriorError(f"{who} gives {_size(found)}; expected {numbers}")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]:,} numbers" if len(shape) == 1 else f"an array of shape {shape}" if shape else "one number"
