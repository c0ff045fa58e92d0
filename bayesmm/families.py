"""The families of response distributions: one row per family in the table `FAMILIES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bayesmm.data.messages import Message, note, warning
from bayesmm.errors import DataError, listing, suggest

COUNT_MEAN = 10  # a Poisson variable is usually taken as normal from a mean of 10 on; below, counts are worth a word


@dataclass(frozen=True)
class Family:
    """A family of response distributions.

    Attributes
    ----------
    name : str
    links : tuple of str
        The link functions it may have, the default first.
    check_response : callable
        ``(y, name) -> list of Message``: y is the response, shape (n,), float64 or bool, and name its text in the
        formula; raises a DataError for values that the family can not have.
    """

    name: str
    links: tuple[str, ...]
    check_response: Callable[[np.ndarray, str], list[Message]]


def check_gaussian(y: np.ndarray, name: str) -> list[Message]:
    """Check a response that is taken as normal given the linear predictor.

    Parameters
    ----------
    y : array, shape (n,)
        float64 or bool, finite.
    name : str

    Returns
    -------
    list of Message
        On responses that look like another family's.

    Raises
    ------
    DataError
        The response is constant.
    """
    if y.dtype == bool:
        _check_varies(y.astype(np.float64), name)
        said = f"the response '{name}' is true/false, and the gaussian family takes it as 1 and 0"
        return [warning(f"{said}; did you mean a bernoulli model?")]
    _check_varies(y, name)
    distinct = np.unique(y)
    if len(distinct) == 2:
        values = " and ".join(f"{value:g}" for value in distinct)
        return [
            note(f"the response '{name}' has only two values ({values}), which the gaussian family takes as a scale")
        ]
    if distinct[0] >= 0 and y.mean() < COUNT_MEAN and np.array_equal(distinct, np.floor(distinct)):
        spread = f"whole numbers from {distinct[0]:g} to {distinct[-1]:g}"
        said = f"the response '{name}' holds {spread}"
        return [note(f"{said}; if these are counts, the gaussian family is an approximation")]
    return []


def _check_varies(y: np.ndarray, name: str) -> None:
    if y.min() == y.max():
        raise DataError(f"the response '{name}' is constant ({y[0]:g}); a model needs one that varies")


FAMILIES: Mapping[str, Family] = MappingProxyType({"gaussian": Family("gaussian", ("identity",), check_gaussian)})


def get_family(name: str) -> Family:
    """Return a family by name.

    Raises
    ------
    DataError
        No family has this name.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        hint = suggest(name, FAMILIES) if isinstance(name, str) else ""
        raise DataError(f"family {name!r} is not known{hint} (families: {listing(FAMILIES)})")
    return FAMILIES[name]
