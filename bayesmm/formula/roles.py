"""What each column of the data is in a formula, and where it stands there: for messages about columns."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from bayesmm.errors import FormulaError, listing, look_alike
from bayesmm.formula.expressions import Column
from bayesmm.formula.formula import Bar, Expr, Formula, arguments_of, column_nodes, underline
from bayesmm.formula.parser import SPECIFIC
from bayesmm.formula.responses import RESPONSE, ROW

WEIGHTS = "weights column"
SECOND_END = "second end"  # of interval-censored rows; in others it may be missing


def second_ends(formula: Formula) -> list[Expr]:
    """Return what gives the second ends of interval-censored rows, none or one."""
    return [] if formula.cens is None else [e for name, e in arguments_of(formula.cens).items() if name == "y2"]


def variables_of(formula: Formula, groups: bool = True) -> list[Expr]:
    """Return every variable of the terms, those of the bars too if `groups`, each once."""
    terms = [*formula.terms, *(term for bar in formula.bars if groups for term in bar.terms)]
    by = [bar.by for bar in formula.bars if groups and bar.by is not None]
    return list(dict.fromkeys([*(expr for term in terms for expr in term.factors), *by]))


def roles(formula: Formula) -> dict[str, tuple[str, tuple[int, int], str]]:
    """Return what each column is in the formula, "response" or the like, and where it first stands, in which text."""
    places: dict[str, tuple[str, tuple[int, int], str]] = {}
    parts = [
        ("response", [formula.response, *(formula.several.columns if formula.several is not None else ())]),
        ("column", [*variables_of(replace(formula, bars=_of_mean(formula))), *formula.offsets]),
        ("column", formula.residuals),
        ("column", [] if formula.several is None else [Column(RESPONSE), Column(ROW)]),
        ("grouping factor", [column for bar in _of_mean(formula) for column in bar.group]),
        ("column", [weight for bar in formula.bars for weight in bar.weights]),
        ("trials column", [formula.trials] if formula.trials is not None else []),
        (WEIGHTS, [formula.weights] if formula.weights is not None else []),
        ("censoring column", [] if formula.cens is None else [arguments_of(formula.cens)["c"]]),
        (SECOND_END, second_ends(formula)),
        ("limit", [] if formula.trunc is None else arguments_of(formula.trunc).values()),
    ]
    for role, exprs in parts:
        for node in (node for expr in exprs for node in column_nodes(expr)):
            places.setdefault(node.name, (role, node.span, formula.text))
    for scale in formula.scales:
        bars = [bar for bar in formula.bars if bar.of == scale.name]
        terms = [*scale.terms, *(term for bar in bars for term in bar.terms)]
        text = formula.text if scale.name == SPECIFIC else scale.text  # cs() stands in the formula of the mean
        by = [bar.by for bar in bars if bar.by is not None]
        for node in (node for expr in (*(e for t in terms for e in t.factors), *by) for node in column_nodes(expr)):
            places.setdefault(node.name, ("column", node.span, text))
        for node in (node for bar in bars for column in bar.group for node in column_nodes(column)):
            places.setdefault(node.name, ("grouping factor", node.span, text))
    return places


def _of_mean(formula: Formula) -> tuple[Bar, ...]:
    """Return the group terms of the formula of the mean, or of one formula that is of several predictors."""
    own = {scale.name for scale in formula.scales}
    return tuple(bar for bar in formula.bars if bar.of not in own)


def missing_column(formula: Formula, columns: Sequence[str]) -> FormulaError | None:
    """Return the error about the first column of a formula that no column of a table can be; None if there is none.

    Parameters
    ----------
    formula : Formula
    columns : sequence of str
        Of the table.
    """
    composed = {unicodedata.normalize("NFC", column) for column in columns}
    made = () if formula.several is None else (formula.response.name, RESPONSE, ROW)
    for name, (role, span, text) in roles(formula).items():
        if name not in made and unicodedata.normalize("NFC", name) not in composed:
            return underline(text, span, f"{role} '{name}' {absent(name, columns)}")
    return None


def absent(name: str, columns: Sequence[str], hint: str = "") -> str:
    """Return what is said of a name that no column has; the hint, if any, stands in place of a did-you-mean."""
    return f"is not in the data{hint or look_alike(name, columns)} (columns: {listing(columns) or 'none'})"
