"""What each column of the data is in a formula, and where it stands there: for messages about columns."""

import unicodedata
from collections.abc import Sequence

from bayesmm.errors import FormulaError, listing, look_alike
from bayesmm.formula.formula import Expr, Formula, column_nodes, underline

WEIGHTS = "weights column"


def variables_of(formula: Formula, groups: bool = True) -> list[Expr]:
    """Return every variable of the terms, those of the bars too if `groups`, each once."""
    terms = [*formula.terms, *(term for bar in formula.bars if groups for term in bar.terms)]
    return list(dict.fromkeys(expr for term in terms for expr in term.factors))


def roles(formula: Formula) -> dict[str, tuple[str, tuple[int, int], str]]:
    """Return what each column is in the formula, "response" or the like, and where it first stands, in which text."""
    places: dict[str, tuple[str, tuple[int, int], str]] = {}
    parts = [
        ("response", [formula.response]),
        ("column", [*variables_of(formula), *formula.offsets]),
        ("column", formula.residuals),
        ("grouping factor", [column for bar in formula.bars for column in bar.group]),
        ("trials column", [formula.trials] if formula.trials is not None else []),
        (WEIGHTS, [formula.weights] if formula.weights is not None else []),
    ]
    for role, exprs in parts:
        for node in (node for expr in exprs for node in column_nodes(expr)):
            places.setdefault(node.name, (role, node.span, formula.text))
    for scale in formula.scales:
        for node in (node for term in scale.terms for expr in term.factors for node in column_nodes(expr)):
            places.setdefault(node.name, ("column", node.span, scale.text))
    return places


def missing_column(formula: Formula, columns: Sequence[str]) -> FormulaError | None:
    """Return the error about the first column of a formula that no column of a table can be; None if there is none.

    Parameters
    ----------
    formula : Formula
    columns : sequence of str
        Of the table.
    """
    composed = {unicodedata.normalize("NFC", column) for column in columns}
    for name, (role, span, text) in roles(formula).items():
        if unicodedata.normalize("NFC", name) not in composed:
            return underline(text, span, f"{role} '{name}' {absent(name, columns)}")
    return None


def absent(name: str, columns: Sequence[str], hint: str = "") -> str:
    """Return what is said of a name that no column has; the hint, if any, stands in place of a did-you-mean."""
    return f"is not in the data{hint or look_alike(name, columns)} (columns: {listing(columns) or 'none'})"
