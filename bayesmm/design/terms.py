"""Which columns of X belong to which term of the formula."""

from typing import NamedTuple

import numpy as np

from bayesmm.design.coding import INTERCEPT
from bayesmm.design.design import fixed_names
from bayesmm.design.records import Design
from bayesmm.formula.formula import text_of


class FixedTerm(NamedTuple):
    """A term of the fixed part.

    Attributes
    ----------
    label : str
        As R writes it: ``Sex``, ``Sex:Time``.
    columns : tuple of int
        Its columns of X that can be estimated (those that depend on earlier ones are left out).
    variables : tuple of str
        What it is the product of; none for the intercept.
    """

    label: str
    columns: tuple[int, ...]
    variables: tuple[str, ...]


def fixed_terms(design: Design) -> list[FixedTerm]:
    """Return the terms of the fixed part in the formula's order, the intercept first."""
    products = [tuple(text_of(expr) for expr in term.factors) for term in design.formula.terms]
    products = [(), *products] if design.has_intercept else products
    one_each = len(products) == design.p  # nothing is encoded anew then
    ends = np.cumsum([0, *([1] * design.p if one_each else map(len, fixed_names(design)))])
    return [
        FixedTerm(
            ":".join(names) or INTERCEPT,
            tuple(j for j in range(start, end) if j not in design.aliased),
            names,
        )
        for names, start, end in zip(products, ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    ]
