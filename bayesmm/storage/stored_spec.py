"""What a file keeps of a `DesignSpec` that its data do not say again: as text, and back."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from types import MappingProxyType

from bayesmm.design.bases import Polynomial, RawPolynomial, Spline
from bayesmm.design.coding import CONTRASTS, OWN, RESPONSES, Levels
from bayesmm.design.smooths import Margin, Smooth
from bayesmm.design.spec import DataArguments, DesignSpec
from bayesmm.design.state import Centring, State
from bayesmm.design.term_basis import from_plain, plain
from bayesmm.design.variables import KIND_NAMES
from bayesmm.errors import FitFileError
from bayesmm.formula.formula import Call, Expr, Formula, Operation, scale_factors, text_of

# ----------------------------------------------------------------------------------------------------------------------
# to text


def as_text(spec: DesignSpec, whole: bool = False) -> str | None:
    """Return as JSON what a file's data do not say about a design; None where there is nothing to say.

    That is how the data arguments were given and, of a spec that repeats an earlier table's, what was learned there; so
    too of one with contrasts of its own or with smooths, and of any if `whole`.
    Formula, family and transforms have their own places in a file (`stored_model`).
    """
    own, learned = {name: getattr(spec.arguments, name) for name in ("missing", "weights", "trials")}, None
    smooth = any(isinstance(state, Smooth) for state in spec.states.values())  # whose signs are the linear algebra's
    keep = spec.repeats or bool(spec.contrasts) or smooth or whole
    if not keep and DataArguments(**own) == DataArguments():
        return None
    if keep:
        states = [[text_of(expr, quoted=True), *_plain(state)] for expr, state in spec.states.items()]
        learned = {"bases": list(plain(spec.bases)), "states": states}
    return json.dumps({"source": own, "learned": learned})


def _plain(state: State) -> tuple[str, dict[str, object]]:
    return ("str", {"kind": state}) if isinstance(state, str) else (type(state).__name__, asdict(state))


# ----------------------------------------------------------------------------------------------------------------------
# from text


def from_text(text: str, asked: DesignSpec) -> DesignSpec:
    """Return the spec that `as_text` wrote, given what it asked for: formula, family, transforms.

    Raises
    ------
    FitFileError
        It is something else.
    """
    try:
        found = json.loads(text)
        spec, learned = replace(asked, arguments=DataArguments(**found["source"])), found["learned"]
        if learned is not None:
            nodes = {text_of(node, quoted=True): node for expr in _sides(asked.formula) for node in _nodes(expr)}
            states = {nodes[at]: _state(kind, fields) for at, kind, fields in learned["states"]}
            spec = replace(spec, states=states, bases=from_plain(learned["bases"]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise FitFileError("the file's record of how the data were read is not one that this version knows") from error
    return spec


def _sides(formula: Formula) -> Iterator[Expr]:
    yield formula.response
    yield from formula.offsets
    yield from (extra for extra in (formula.weights, formula.trials, *formula.limits) if extra is not None)
    yield from (*formula.residuals, *scale_factors(formula))
    for term in (*formula.terms, *(term for bar in formula.bars for term in bar.terms)):
        yield from term.factors
    yield from (bar.by for bar in formula.bars if bar.by is not None)


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
    return made(**{name: read(fields[name]) for name, read in reads.items() if name in fields or name not in NEWER})


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values))


def _numbers(values: object) -> tuple[float, ...]:
    return tuple(map(float, values))


def _contrasts(value: object) -> str:
    if value not in (OWN, RESPONSES):
        CONTRASTS[value]  # a KeyError for what is none
    return value


def _matrix(rows: object) -> tuple[tuple[float, ...], ...]:
    return tuple(map(_numbers, rows))


def _places(values: object) -> tuple[int, ...]:
    return tuple(map(int, values))


def _margins(entries: object) -> tuple[Margin, ...]:
    reads = {"basis": str, "knots": _numbers, "weights": _matrix, "shift": float, "sizes": _numbers, "ends": _numbers}
    return tuple(Margin(**{name: read(entry[name]) for name, read in reads.items()}) for entry in entries)


def _base(value: object) -> int | None:
    return None if value is None else int(value)


# Fields that files of earlier versions have not
NEWER = frozenset({"matrix", "names", "reach"})
# name -> the record, and how each of its fields is read
STATES: Mapping[str, tuple[type, Mapping[str, Callable]]] = MappingProxyType(
    {
        "Levels": (
            Levels,
            {"labels": _texts, "contrasts": _contrasts, "base": _base, "matrix": _matrix, "names": _texts},
        ),
        "Centring": (Centring, {"mean": float, "sd": float}),
        "Polynomial": (Polynomial, {"centres": _numbers, "norms": _numbers}),
        "RawPolynomial": (RawPolynomial, {"degree": int}),
        "Smooth": (
            Smooth,
            {
                "margins": _margins,
                "turn": _matrix,
                "parts": _places,
                "names": _texts,
                "levels": _texts,
                "reach": _matrix,
            },
        ),
        "Spline": (Spline, {"knots": _numbers, "degree": int, "intercept": bool, "natural": bool}),
    }
)
