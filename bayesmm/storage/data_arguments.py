"""How a model reads its data besides the formula, and what it learned from other data: as text in a file, and back."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np

from bayesmm.design.bases import Polynomial, RawPolynomial, Spline
from bayesmm.design.coding import CONTRASTS, Levels
from bayesmm.design.records import Design, Learned
from bayesmm.design.state import Centring, State
from bayesmm.design.term_basis import from_plain, plain
from bayesmm.design.variables import KIND_NAMES
from bayesmm.errors import DataError, FitFileError
from bayesmm.formula.formula import Call, Expr, Formula, Operation, text_of


@dataclass(frozen=True)
class Source:
    """How a model reads its data, besides the formula.

    Attributes
    ----------
    missing : {"drop", "error"}
    weights : str or None
        The column that was named beside the formula; None if there was none, or if the weights were numbers.
    trials : str, float or None
        The column, or the one number for all rows.
    """

    missing: str = "drop"
    weights: str | None = None
    trials: str | float | None = None


def source(missing: str, weights: object, trials: object) -> Source:
    """Return what of the arguments of a model holds for other data too."""
    named = weights if isinstance(weights, str) else None
    if trials is None or np.ndim(trials) > 0:
        return Source(missing, named)
    return Source(missing, named, trials if isinstance(trials, str) else float(trials))


def given_again(own: Source, numbers: Mapping[str, np.ndarray], given: Mapping[str, object]) -> dict[str, object]:
    """Return the weights and trials of a model of other data: what is given, else the column that was named.

    Parameters
    ----------
    own : Source
        Of the model of the first data.
    numbers : mapping of str to array
        What of the two was given beside the formula there.
    given : mapping of str to object
        Of the other data; None for what is not.

    Raises
    ------
    DataError
        They were numbers, and there are none for the other data.
    """
    found = {name: getattr(own, name) if values is None else values for name, values in given.items()}
    for name, values in numbers.items():
        if found[name] is None:
            raise DataError(
                f"the {name} of the model were given as {len(values):,} numbers, which are not those of other data; "
                f"give theirs: with_data(data, {name}=...)"
            )
    return found


# ----------------------------------------------------------------------------------------------------------------------
# to text


def as_text(own: Source, design: Design) -> str | None:
    """Return the source as JSON, with what a design repeats of an earlier one; None where there is nothing to say."""
    encoders, learned = design.encoders, None
    if not encoders.repeats and own == Source():
        return None
    if encoders.repeats:
        states = [[text_of(expr, quoted=True), *_plain(state)] for expr, state in encoders.states.items()]
        learned = {"bases": list(plain(encoders.bases)), "states": states}
    return json.dumps({"source": asdict(own), "learned": learned})


def _plain(state: State) -> tuple[str, dict[str, object]]:
    return ("str", {"kind": state}) if isinstance(state, str) else (type(state).__name__, asdict(state))


# ----------------------------------------------------------------------------------------------------------------------
# from text


def from_text(text: str, formula: Formula) -> tuple[Source, Learned | None]:
    """Return what `as_text` wrote.

    Raises
    ------
    FitFileError
        It is something else.
    """
    try:
        found = json.loads(text)
        own, learned = Source(**found["source"]), found["learned"]
        if learned is not None:
            nodes = {text_of(node, quoted=True): node for expr in _sides(formula) for node in _nodes(expr)}
            states = {nodes[at]: _state(kind, fields) for at, kind, fields in learned["states"]}
            learned = Learned(states, from_plain(learned["bases"]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise FitFileError("the file's record of how the data were read is not one that this version knows") from error
    return own, learned


def _sides(formula: Formula) -> Iterator[Expr]:
    yield formula.response
    yield from formula.offsets
    for extra in (formula.weights, formula.trials):
        if extra is not None:
            yield extra
    for term in (*formula.terms, *(term for bar in formula.bars for term in bar.terms)):
        yield from term.factors


def _nodes(expr: Expr) -> Iterator[Expr]:
    """Yield an expression and all that it is made of."""
    yield expr
    inner: tuple[Expr, ...] = ()
    if isinstance(expr, Operation):
        inner = expr.operands
    elif isinstance(expr, Call):
        inner = (*expr.arguments, *(value for _, value in expr.keywords))
    for part in inner:
        yield from _nodes(part)


def _state(kind: str, fields: Mapping[str, object]) -> State:
    """Return a state, each of its fields read as what it must be."""
    if kind == "str":
        KIND_NAMES[fields["kind"]]  # a KeyError for what is none
        return fields["kind"]
    made, reads = STATES[kind]
    return made(**{name: read(fields[name]) for name, read in reads.items()})


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values))


def _numbers(values: object) -> tuple[float, ...]:
    return tuple(map(float, values))


def _contrasts(value: object) -> str:
    CONTRASTS[value]  # a KeyError for what is none
    return value


def _base(value: object) -> int | None:
    return None if value is None else int(value)


# name -> the record, and how each of its fields is read
STATES: Mapping[str, tuple[type, Mapping[str, Callable]]] = MappingProxyType(
    {
        "Levels": (Levels, {"labels": _texts, "contrasts": _contrasts, "base": _base}),
        "Centring": (Centring, {"mean": float, "sd": float}),
        "Polynomial": (Polynomial, {"centres": _numbers, "norms": _numbers}),
        "RawPolynomial": (RawPolynomial, {"degree": int}),
        "Spline": (Spline, {"knots": _numbers, "degree": int, "intercept": bool, "natural": bool}),
    }
)


def check_model(model: object) -> None:
    """Raise a TypeError for what is no Model, such as a fit."""
    if not hasattr(model, "source"):
        raise TypeError(f"expected a Model, as bmm.Model(formula, data) gives it, not {type(model).__name__}")
