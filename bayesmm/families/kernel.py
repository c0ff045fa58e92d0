"""Functions of numbers that compiled code is made of, and those of them that a family gives.

They are plain Python over `math`, so that they can be called and tested as they stand. `bayesmm.likelihood.compiled`
compiles them, together with the kernels that they call, when a likelihood is first evaluated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tensor = Any  # a variable of PyTensor, which is loaded where one is made


def kernel(function: Callable) -> Callable:
    """Mark a function of numbers as one that compiled code may call."""
    function.is_kernel = True
    return function


def is_kernel(value: object) -> bool:
    """Return whether a value is a function that `kernel` has marked."""
    return getattr(value, "is_kernel", False) is True


@kernel
def no_score(link, y, size, eta, aux):
    """Return the derivatives in the parameters of a family that has none besides the mean."""
    return 0.0, 0.0


@dataclass(frozen=True)
class Kernels:
    """The log density of a row of a family, and its derivatives, for compiled code.

    Each takes (link, y, size, eta, aux): the link's number of `bayesmm.families.links`, the response (successes out of
    `size` trials), the linear predictor, and the family's parameters besides the mean, (3,) with zeros where it has
    fewer. A density that does not exist in floating point may be anything that is not finite.

    A level has each of its rows at every node of a grid, so that what is the same at all of them (logarithms of gamma
    functions and the like) is worth taking once. A family that gives `row`, for one of its links, gives the rest in
    `constant`, or, where it depends on `aux`, in `row_constant`; their eta means nothing. They have to add up to
    `density` and `score`.

    The kernels of a family that has `smooth`, or a canonical link (`Family.inlined`), become a part of the compiled
    likelihood with the link of `row`. All others are called by address, and have no `constant`: theirs is in
    `row_constant`.

    Attributes
    ----------
    density : callable
        -> log density with its constants, and its first three derivatives in eta: observed, not expected ones.
    score : callable
        -> derivatives of the log density in the parameters: two, or three of a family with three, which has no `row`.
    row_link : int
        The link that `row` and what follows is for.
    row, row_score : callable or None
        `density` and `score` without what is constant.
    row_constant : callable or None
        -> what `row` leaves out and depends on `aux`, and its two derivatives in `aux`.
    constant_in : callable or None
        y, (n,) -> a number for each, (n,), in which `row_constant` is linear: its sum over all rows is then one over
        two of them. Without it equal responses are taken together.
    constant : callable or None
        -> what `row` leaves out and depends on no parameter; of families that are `inlined`.
    scores : callable or None
        In place of `score` where a row has more than two parameters: (link, y, size, eta, aux, out) sets `out` to the
        derivatives in them.
    joint : callable or None
        Of the same families: (link, y, size, eta, aux, out) sets `out` to the derivatives in eta and the parameters
        together, M of them: the first (M,), after them the second (M, M) and the third (M, M, M). Where it is not
        given they are taken by differences.
    smooth : callable or None
        -> the first two of `row` and the two of `row_score`, for all nodes of a line at once: without branches, with
        `quick_exp` and `quick_log1p` for functions of eta. Where there is no density the value is below -1e10, or NaN.
    """

    density: Callable
    score: Callable = no_score
    row_link: int = -1
    row: Callable | None = None
    row_score: Callable = no_score
    row_constant: Callable | None = None
    constant_in: Callable | None = None
    constant: Callable | None = None
    smooth: Callable | None = None
    scores: Callable | None = None
    joint: Callable | None = None


@dataclass(frozen=True)
class Tails:
    """The probabilities of a response at or below a value and above it: what censored and truncated responses need.

    Values are inside the support and finite. All logarithms are accurate in both tails.

    Attributes
    ----------
    values : callable
        Kernel (link, y, eta, aux) -> two tuples, of log P(Y <= y) and log P(Y > y): each with its first three
        derivatives in eta.
    score : callable
        Kernel (link, y, eta, aux) -> two tuples, of the derivatives of the same in two parameters: a family with
        three has no tails.
    graph : callable
        ``(link, y, eta, aux) -> (log P(Y <= y), log P(Y > y))`` in PyTensor, y in floating point.
    """

    values: Callable
    score: Callable
    graph: Callable[..., tuple[Tensor, Tensor]]
