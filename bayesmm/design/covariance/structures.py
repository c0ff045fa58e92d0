"""The register of covariance structures, by the name that they have in a formula."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

from bayesmm.design.covariance import autoregressive, compound_symmetry, diagonal, identity, toeplitz, unstructured
from bayesmm.design.covariance.structure import Covariance, Part
from bayesmm.design.relations import crosses, is_sparse, is_turned
from bayesmm.design.residual.structures import signatures
from bayesmm.errors import DataError, listing
from bayesmm.families.families import FAMILIES
from bayesmm.families.family import Family
from bayesmm.formula.formula import Formula, parse

_MODULES = (unstructured, diagonal, identity, compound_symmetry, autoregressive, toeplitz)
_known: dict[str, Covariance] = {module.covariance.name: module.covariance for module in _MODULES}

STRUCTURES: Mapping[str, Covariance] = MappingProxyType(_known)  # what is registered now


@contextmanager
def registered(covariance: Covariance) -> Iterator[Covariance]:
    """Let formulas name a further covariance structure, inside a ``with``.

    Raises
    ------
    ValueError
        There is one of this name.
    """
    if covariance.name in _known:
        raise ValueError(f"there is a covariance structure {covariance.name!r}; give this one another name")
    _known[covariance.name] = covariance
    try:
        yield covariance
    finally:
        del _known[covariance.name]


def parse_formula(text: str | Sequence[str], transforms: Iterable[str] = (), family: Family | None = None) -> Formula:
    """Return a formula, in which the names of the registered structures may stand: of group terms, of the residual.

    The parameters that may have formulas of their own are those of `family`, or of any if it is not given.
    """
    known = (family,) if family is not None and family.formulas else FAMILIES.values()
    own = dict.fromkeys(name for one in known for name in one.formulas)
    several = family is not None and family.nominal
    return parse(text, transforms, STRUCTURES, signatures(), tuple(own), several)


def make_parts(name: str, columns: range, text: str) -> tuple[Part, ...]:
    """Return the parts that a group term makes of its columns: one, or one for each column.

    Parameters
    ----------
    name : str
        Of the structure, as `bayesmm.formula` has it.
    columns : range
        Places of the term's columns in their block.
    text : str
        The group term without its grouping.
    """
    covariance = STRUCTURES[name]
    groups = [(k,) for k in columns] if covariance.apart else [tuple(columns)]
    return tuple(Part(group, covariance, text) for group in groups)


def structured_terms(design, *, compiled: bool = False) -> list[str]:
    """Return the group terms whose covariance matrix has a structure: "cs(0 + x | g)".

    Correlated residuals whose series lie within the levels of no factor have one too. With `compiled` without those
    that the compiled posteriors take: diagonal ones, and those with a kernel.
    """
    known = [b for b in design.blocks if getattr(b, "relation", None)]
    if known and compiled and (is_turned(design) or is_sparse(design)):
        known = []
    related = [f"gr({b.group}, cov = {b.relation.name})" for b in known]
    others = [
        block.group if block.smooth or block.members else f"{part.text.removesuffix(')')} | {block.group})"
        for block in design.blocks
        for part in block.parts
        if not (part.covariance.free or (compiled and part.covariance.diagonal))
        and not (compiled and part.covariance.kernel is not None)
    ]
    across = [design.residual.text] if crosses(design) else []
    return list(dict.fromkeys([*related, *others, *across]))


def untied(design):
    """Return the design in which each effect with a diagonal covariance matrix has an sd of its own.

    For a likelihood that is differentiated in every entry of the factors, whichever of them are one parameter.
    """
    blocks = [replace(block, parts=tuple(_apart(block.parts))) for block in design.blocks]
    return replace(design, blocks=tuple(blocks))


def _apart(parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        if part.covariance.diagonal:
            yield from (Part((i,), unstructured.covariance, part.text) for i in part.columns)
        else:
            yield part


def check_free(design, what: str, instead: str, *, compiled: bool = False) -> None:
    """Raise a DataError where a covariance matrix has a structure, for `what` knows none; `instead` is the advice.

    With `compiled` it knows those of the compiled posteriors.
    """
    found = structured_terms(design, compiled=compiled)
    if found:
        raise DataError(f"{what} is not available where a covariance has a structure, here {listing(found)}; {instead}")
