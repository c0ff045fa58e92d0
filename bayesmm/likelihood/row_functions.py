"""How compiled code knows a family: by its number, or by the address of a table of C functions of a row."""

import re

import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from bayesmm.families.family import MOST_PARAMETERS, Family
from bayesmm.families.links import LINKS
from bayesmm.families.observed import number_at
from bayesmm.likelihood.compiled import OTHER_FORMS, from_kernel, from_template, once
from bayesmm.likelihood.own_family import functions_of
from bayesmm.likelihood.response_kernels import OUTPUTS, ROW, WIDEST

KERNEL, LINK, NUMBERS_OUT = None, -1, 0  # of `_row`: those of a family, in each copy of it


@intrinsic
def _number_at(context, place, k):
    """Return the k-th of the doubles at an address that is given as a double."""

    def generate(target, builder, signature, values):
        word = builder.fptoui(values[0], cgutils.ir.IntType(64))
        numbers = builder.inttoptr(word, cgutils.ir.DoubleType().as_pointer())
        return builder.load(builder.gep(numbers, [values[1]]))

    return types.float64(types.float64, types.int64), generate


OTHER_FORMS[number_at] = _number_at


def codes(family: Family) -> tuple[int, int]:
    """Return the numbers that compiled code knows a family and its link by."""
    link = LINKS[family.link].code
    if family.inlined and family.kernels.row_link == link:
        return family.number, link
    return int(_table(family)[1].ctypes.data), link


@once
def _table(family: Family) -> tuple:
    """Return the C functions of a family and their table, in the order of `response_kernels`; all have to be kept."""
    if family.own:
        functions, whole = functions_of(family), False
    else:
        functions, whole = _of_package(family), family.whole_strip or family.link == "logit"
    at = {name: function.address for name, function in functions.items()}
    rest = [at.get("row", at["density"]), at.get("row_score", at["score"]), at.get("row_constant", 0)]
    return functions, np.array([at["density"], at["score"], int(whole), at.get("joint", 0), *rest])


def _of_package(family: Family) -> dict:
    kernels, link, stem = family.kernels, LINKS[family.link].code, re.sub(r"\W", "_", f"{family.label}_{family.link}")
    given = {"density": (kernels.density, OUTPUTS, _row)}
    if kernels.scores is not None:
        given |= {"score": (kernels.scores, 0, _scores), "joint": (kernels.joint, 0, _joint)}
    else:
        given["score"] = kernels.score, max(len(family.parameters), 2), _row
    if kernels.row is not None and kernels.row_link == link:
        given |= {"row": (kernels.row, OUTPUTS, _row), "row_score": (kernels.row_score, 2, _row)}
        given["row_constant"] = kernels.row_constant, 3, _row
    return {
        name: _c_function(f"{stem}_{name}", own, link, *how) for name, (own, *how) in given.items() if own is not None
    }


def _row(y, size, eta, aux, out):
    """Set `out` to what a kernel of a family with one of its links gives."""
    numbers = KERNEL(LINK, y, size, eta, carray(aux, (MOST_PARAMETERS,)))
    found = carray(out, (OUTPUTS,))
    for k in range(NUMBERS_OUT):
        found[k] = numbers[k]
    for k in range(NUMBERS_OUT, OUTPUTS):
        found[k] = 0.0


def _scores(y, size, eta, aux, out):
    """Set `out` to the derivatives in all of a row's parameters, and at least in three: 0 in those that it has not."""
    found = carray(out, (WIDEST,))
    for k in range(MOST_PARAMETERS):
        found[k] = 0.0
    KERNEL(LINK, y, size, eta, carray(aux, (WIDEST,)), found)


def _joint(y, size, eta, aux, out):
    """Set `out` to the first three derivatives in all predictors of a row."""
    KERNEL(LINK, y, size, eta, carray(aux, (WIDEST,)), carray(out, (WIDEST**3,)))


def _c_function(name: str, kernel, link: int, numbers: int, template=_row):
    """Return a copy of a template as a C function, compiled or from the disk, under a name of its own."""
    known = {"KERNEL": from_kernel(kernel), "LINK": link, "NUMBERS_OUT": numbers}
    return from_template(template, kernel, ROW, name, **known)
