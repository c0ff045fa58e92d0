"""Several fits in one table, a column each: text, Markdown, HTML for a word processor, and LaTeX."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd

from bayesmm.design.parameters import tidy_term
from bayesmm.display import text_tables
from bayesmm.display.text_tables import ceiled, count, decimals_for, number, wrap
from bayesmm.errors import listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.ratios import check_exponentiated
from bayesmm.reporting.tidy import glance, tidy
from bayesmm.runtime.arguments import check_bool, check_probability
from bayesmm.runtime.messages import count as counted

SPREADS = ("se", "interval")
RESIDUAL = "residual sd"
KINDS = ("fixed", "ran_pars", RESIDUAL, "auxiliary")  # of rows, in the order of the table
DIGITS = 3  # significant digits of the smallest spread of a row
LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
})  # fmt: skip
PADDING = "padding: 0.1em 0.6em"
RIGHT = f"text-align: right; {PADDING}"
LINE = "border-top: 1px solid; border-bottom: 1px solid"

EXPONENTIATED = (
    "Coefficients of the mean are exponentiated: ratios; thresholds, cs() and formulas of parameters are not."
)


@dataclass(frozen=True)
class SideBySide:
    """A table of fits.

    Attributes
    ----------
    names : tuple of str
        Of the fits, in the order of the columns.
    parameters, about : mapping of str to tuple of str
        The cells of each row: parameters, and then what there is to say of each fit. Empty where a fit has none.
    notes : tuple of str
        What the cells are.
    """

    names: tuple[str, ...]
    parameters: Mapping[str, tuple[str, ...]]
    about: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def _lines(self) -> list[tuple[str, tuple[str, ...]]]:
        """All rows with their names; a coefficient may be called as what is said of a fit, "rows" or "AIC"."""
        return [*self.parameters.items(), *self.about.items()]

    def to_frame(self) -> pd.DataFrame:
        """Return the cells as a data frame of texts."""
        labels, cells = zip(*self._lines, strict=True)
        return pd.DataFrame(list(cells), index=list(labels), columns=list(self.names))

    def to_markdown(self) -> str:
        """Return the table as Markdown."""
        rows = [
            ["", *self.names],
            ["---", *("--:" for _ in self.names)],
            *([label, *cells] for label, cells in self._lines),
        ]
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
        return "\n".join([*lines, "", *self.notes])

    def to_html(self) -> str:
        """Return the table as HTML with its rules inside, so that a word processor keeps them when it is pasted."""

        def row(label: str, cells: Sequence[str], tag: str = "td", style: str = "") -> str:
            own = f' style="{style}"' if style else ""
            shown = "".join(f'<{tag} style="{RIGHT}">{html.escape(cell)}</{tag}>' for cell in cells)
            return f'<tr{own}><{tag} style="text-align: left; {PADDING}">{html.escape(label)}</{tag}>{shown}</tr>'

        about, last = [], len(self.about) - 1
        for i, (label, cells) in enumerate(self.about.items()):
            rules = [f"border-{side}: 1px solid" for side, here in (("top", i == 0), ("bottom", i == last)) if here]
            about.append(row(label, cells, style="; ".join(rules)))
        body = [row("", self.names, "th", LINE), *(row(label, cells) for label, cells in self.parameters.items())]
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f'<table style="border-collapse: collapse">{"".join([*body, *about])}</table>{notes}'

    def to_latex(self) -> str:
        """Return the table as LaTeX, with the rules of the package booktabs and the notes in small letters under it."""

        def row(label: str, cells: Sequence[str]) -> str:
            return " & ".join([label.translate(LATEX), *(_signed(cell.translate(LATEX)) for cell in cells)]) + r" \\"

        parts = [[row(label, cells) for label, cells in rows.items()] for rows in (self.parameters, self.about)]
        return "\n".join([
            r"% needs \usepackage{booktabs}",
            rf"\begin{{tabular}}{{l{'r' * len(self.names)}}}", r"\toprule", row("", self.names), r"\midrule",
            *parts[0], r"\midrule", *parts[1], r"\bottomrule", r"\end{tabular}",
            *(rf"\par{{\footnotesize {note.translate(LATEX)}\par}}" for note in self.notes),
        ])  # fmt: skip

    def __str__(self) -> str:
        rows = [[label, *cells] for label, cells in self._lines]
        return "\n".join(
            [*text_tables.table(["", *self.names], rows), "", *(line for note in self.notes for line in wrap(note))]
        )

    __repr__ = __str__
    _repr_html_ = to_html


def table(
    fits: Mapping[str, object] | Sequence[object], *, spread: str = "se", ci_prob: float = 0.95,
    exponentiate: bool = False,
) -> SideBySide:  # fmt: skip
    """Return several fits side by side: coefficients, sds and correlations, and what there is to say of each fit.

    Parameters
    ----------
    fits : mapping of str to Fit or PointFit, or sequence of them
        Posteriors and maximised fits may stand together. Columns are named by the keys, else by number and method.
    spread : {"se", "interval"}
        What stands behind each number: its standard error, of a posterior its sd, in brackets; or its interval.
    ci_prob : float
        Probability of the intervals; sds and correlations of maximised fits have none here (`confint` has).
    exponentiate : bool
        The coefficients as their exponentials: ratios of means with a log link, odds ratios with a logit link.

    Returns
    -------
    SideBySide
        Printed as text; ``to_markdown()``, ``to_html()``, ``to_latex()`` and ``to_frame()`` for elsewhere.

    Raises
    ------
    TypeError
        For what is no fit.
    ValueError
        For no fit at all, another `spread`, or a link whose coefficients have no ratios.
    """
    if spread not in SPREADS:
        near = suggest(spread, SPREADS) if isinstance(spread, str) else ""
        raise ValueError(f"spread must be one of {listing(SPREADS)}, not {spread!r}{near}")
    check_probability("ci_prob", ci_prob)
    check_bool("exponentiate", exponentiate)
    named = _named(fits)
    for fit in named.values() if exponentiate else ():
        check_exponentiated(fit.design)
    columns = {name: _cells(fit, spread, ci_prob, exponentiate) for name, fit in named.items()}
    about = {name: _about(fit) for name, fit in named.items()}
    percent = f"{100 * ci_prob:g} %"
    what = {
        "se": "Estimates with standard errors in brackets; of a posterior, means with standard deviations.",
        "interval": f"Estimates with {percent} intervals; of a posterior, means with equal-tailed intervals.",
    }
    notes = (what[spread], *([EXPONENTIATED] if exponentiate else []))
    return SideBySide(tuple(named), _rows(columns), _rows(about), notes)


def _signed(cell: str) -> str:
    """Return a cell of LaTeX with minus signs before its numbers instead of hyphens."""
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", cell)


def _named(fits: object) -> dict[str, object]:
    """Return the fits by name; a TypeError for what is no fit, a ValueError for none."""
    if isinstance(fits, Estimates) or hasattr(fits, "tree"):
        fits = [fits]
    given = list(fits.items()) if isinstance(fits, Mapping) else [(None, fit) for fit in fits]
    if not given:
        raise ValueError("a table needs at least one fit, from maximize() or sample()")
    out = {}
    for i, (name, fit) in enumerate(given):
        if not (isinstance(fit, Estimates) or hasattr(fit, "tree")):
            raise TypeError(f"a table is of fits, from maximize() or sample(), not of a {type(fit).__name__}")
        method = fit.method if isinstance(fit, Estimates) else "posterior"
        out[f"({i + 1}) {method}" if name is None else str(name)] = fit
    return out


def _rows(columns: Mapping[str, Mapping[tuple[int, str], str]]) -> dict[str, tuple[str, ...]]:
    """Return the cells by row: by kind, whichever fit has it first, and then in the order in which rows first occur."""
    keys = sorted(dict.fromkeys(key for cells in columns.values() for key in cells), key=lambda key: key[0])
    out = {}
    for key in keys:
        name = f"{key[1]} (of the family)" if key[1] in out else key[1]  # beside a coefficient of that name
        out[name] = tuple(cells.get(key, "") for cells in columns.values())
    return out


def _cells(fit, spread: str, ci_prob: float, exponentiate: bool = False) -> dict[tuple[int, str], str]:
    """Return a fit's parameters as text, by the place of their kind in the table and the row's name."""
    out = {}
    shown = tidy(fit, ci_prob=ci_prob)
    for _, row in (_as_ratios(fit, shown) if exponentiate else shown).iterrows():
        ends = [row.get("conf.low", float("nan")), row.get("conf.high", float("nan"))]
        error = row.get("std.error", float("nan"))
        known = [abs(error)] if spread == "se" else [(ends[1] - ends[0]) / 4]
        decimals = decimals_for(known if known[0] > 0 else [row["estimate"]], DIGITS)
        text = number(row["estimate"], decimals)
        if spread == "se" and error > 0:
            text += f" ({number(error, decimals)})"
        elif spread == "interval" and ends[1] > ends[0]:
            text += f" [{number(ends[0], decimals)}, {number(ends[1], decimals)}]"
        label = _label(row, fit.design)
        out[KINDS.index(RESIDUAL if label == RESIDUAL else row["effect"]), label] = text
    return out


def _as_ratios(fit, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `tidy()` with the coefficients exponentiated; of a posterior by its draws."""
    fixed, ratios = table["effect"] == "fixed", fit.fixef(exponentiate=True)
    out, terms = table.copy(), table.loc[table["effect"] == "fixed", "term"]
    for name, own in (("estimate", ratios.columns[0]), ("std.error", ratios.columns[1])):
        out.loc[fixed, name] = ratios[own].reindex(terms).to_numpy()
    for name in ("conf.low", "conf.high"):
        with np.errstate(over="ignore"):  # of a coefficient that goes to infinity
            out.loc[fixed, name] = np.exp(table.loc[fixed, name].astype(float))
    return out


def _label(row: pd.Series, design) -> str:
    """Return what a row is called: ``sd Days (Subject)`` for broom's ``sd__Days`` of the group Subject."""
    kind, _, of = row["term"].partition("__")
    if row["effect"] != "ran_pars":
        return row["term"]
    if of == "Observation":
        return RESIDUAL
    if kind == "cor":  # names of terms may have dots too
        pairs = (p for block in design.blocks if block.group == row["group"] for p in permutations(block.columns, 2))
        of = next((", ".join(pair) for pair in pairs if tidy_term("cor", *pair) == row["term"]), of)
    return f"{kind} {of} ({row['group']})"


def _about(fit) -> dict[tuple[int, str], str]:
    """Return what there is to say of a fit, by the place of its kind in the table and the row's name."""
    found = glance(fit).iloc[0]
    out = {(0, "rows"): count(found["nobs"])}
    blocks = [fit.design.blocks[k] for k in fit.design.groups]  # without smooths, which have no levels
    out |= {(1, f"levels of {block.group}"): count(len(block.labels)) for block in blocks}
    if isinstance(fit, Estimates):
        return out | {(2, name): number(found[name], 1) for name in ("logLik", "AIC", "BIC")}
    checks, notes = f"failed: {found['checks.failed']}", sum(check.note for check in fit.checks())
    if not found["checks.failed"]:
        checks = f"passed, {counted(notes, 'note')}" if notes else "passed"
    own = {"draws": count(found["draws"]), "worst R-hat": ceiled(found["rhat.max"]), "checks": checks}
    return out | {(3, name): text for name, text in own.items()}
