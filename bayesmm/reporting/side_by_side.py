"""Several fits in one table, a column each: text, Markdown, HTML for a word processor, and LaTeX."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from bayesmm.design.ordered import CS
from bayesmm.design.parameters import specific_columns, tidy_term
from bayesmm.display import text_tables
from bayesmm.display.html import POLICY
from bayesmm.display.text_tables import ceiled, count, decimals_for, number, wrap
from bayesmm.errors import FitFileError, listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.ratios import check_exponentiated
from bayesmm.reporting.tidy import glance, tidy
from bayesmm.runtime.arguments import check_bool, check_probability, is_whole
from bayesmm.runtime.messages import count as counted
from bayesmm.storage.atomic_write import write_bytes
from bayesmm.storage.files import check_target

SPREADS = ("se", "interval")
RESIDUAL = "residual sd"
KINDS = ("fixed", "ran_pars", RESIDUAL, "auxiliary")  # of rows, in the order of the table
DIGITS = 3  # significant digits of the spread of a row
ENDINGS = {".html": "to_page", ".htm": "to_page", ".tex": "to_latex", ".md": "to_markdown", ".txt": "__str__"}
MINUS = re.compile(r"(?<![\w.])-(?=\d)")  # a hyphen before a number
LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
})  # fmt: skip
PADDING = "padding: 0.1em 0.6em"
RIGHT = f"text-align: right; {PADDING}"
LINE = "border-top: 1px solid; border-bottom: 1px solid"


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
    caption : str
        Over the table; empty if it has none.
    """

    names: tuple[str, ...]
    parameters: Mapping[str, tuple[str, ...]]
    about: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    caption: str = ""

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
        return "\n".join([*([self.caption, ""] if self.caption else []), *lines, "", *self.notes])

    def to_html(self) -> str:
        """Return the table as HTML with its rules inside, so that a word processor keeps them when it is pasted."""

        def row(label: str, cells: Sequence[str], tag: str = "td", style: str = "") -> str:
            own = f' style="{style}"' if style else ""
            shown = "".join(f'<{tag} style="{RIGHT}">{html.escape(cell)}</{tag}>' for cell in cells)
            shown = shown if tag == "th" else MINUS.sub("\N{MINUS SIGN}", shown)
            return f'<tr{own}><{tag} style="text-align: left; {PADDING}">{html.escape(label)}</{tag}>{shown}</tr>'

        about, last = [], len(self.about) - 1
        for i, (label, cells) in enumerate(self.about.items()):
            rules = [f"border-{side}: 1px solid" for side, here in (("top", i == 0), ("bottom", i == last)) if here]
            about.append(row(label, cells, style="; ".join(rules)))
        body = [row("", self.names, "th", LINE), *(row(label, cells) for label, cells in self.parameters.items())]
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        over = f'<caption style="text-align: left">{html.escape(self.caption)}</caption>' if self.caption else ""
        return f'<table style="border-collapse: collapse">{over}{"".join([*body, *about])}</table>{notes}'

    def to_page(self) -> str:
        """Return the table as a whole page of HTML, to be opened in a browser and copied from there."""
        title = html.escape(self.caption or "Models side by side")
        return (
            f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{title}</title></head>\n'
            f"<body>{self.to_html()}</body>\n</html>\n"
        )

    def to_latex(self) -> str:
        """Return the table as LaTeX, with the rules of the package booktabs and the notes in small letters under it."""

        def row(label: str, cells: Sequence[str]) -> str:
            return " & ".join([label.translate(LATEX), *(_signed(cell.translate(LATEX)) for cell in cells)]) + r" \\"

        parts = [[row(label, cells) for label, cells in rows.items()] for rows in (self.parameters, self.about)]
        over = [r"\begin{table}", rf"\caption{{{self.caption.translate(LATEX)}}}"] if self.caption else []
        return "\n".join([
            r"% needs \usepackage{booktabs}", *over,
            rf"\begin{{tabular}}{{l{'r' * len(self.names)}}}", r"\toprule", row("", self.names), r"\midrule",
            *parts[0], r"\midrule", *parts[1], r"\bottomrule", r"\end{tabular}",
            *(rf"\par{{\footnotesize {note.translate(LATEX)}\par}}" for note in self.notes),
            *([r"\end{table}"] if over else []),
        ])  # fmt: skip

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the table into a file of the kind that its name ends with, whole or not at all.

        Parameters
        ----------
        path : path
            .html: a page, which a browser opens and a word processor takes by copy and paste; .tex; .md; .txt, the
            print. In a folder that exists.
        overwrite : bool
            Replace a file that is there.

        Returns
        -------
        Path

        Raises
        ------
        FitFileError
            The name ends otherwise, the file exists, or it cannot be written.
        """
        check_bool("overwrite", overwrite)
        path = check_target(path, overwrite)
        if path.suffix.lower() not in ENDINGS:
            raise FitFileError(f"{path} should end in {listing(ENDINGS)}, which say how the table is written")
        text = getattr(self, ENDINGS[path.suffix.lower()])()
        write_bytes(f"{text.rstrip()}\n".encode(), path)
        return path

    def __str__(self) -> str:
        rows = [[label, *cells] for label, cells in self._lines]
        over = [*wrap(self.caption), ""] if self.caption else []
        notes = (line for note in self.notes for line in wrap(note))
        return "\n".join([*over, *text_tables.table(["", *self.names], rows), "", *notes])

    __repr__ = __str__
    _repr_html_ = to_html


def table(
    fits: Mapping[str, object] | Sequence[object], *, spread: str = "se", ci_prob: float = 0.95,
    exponentiate: bool = False, digits: int = DIGITS, labels: Mapping[str, str] | None = None, caption: str = "",
) -> SideBySide:  # fmt: skip
    """Return several fits side by side: coefficients, sds and correlations, and what there is to say of each fit.

    Parameters
    ----------
    fits : mapping of str to Fit or PointFit, or sequence of them
        Posteriors and maximised fits may stand together. Columns are named by the keys, else by number and method.
    spread : {"se", "interval"}
        What stands behind each number: its standard error, of a posterior its sd, in brackets; or its interval.
    ci_prob : float
        Probability of the intervals: of maximised fits Wald's, which sds and correlations do not have (`confint` has
        profile intervals of these); of a posterior equal-tailed ones.
    exponentiate : bool
        The coefficients as their exponentials: ratios of means with a log link, odds ratios with a logit link.
    digits : int
        Significant digits of a standard error, or of a quarter of an interval; the number before it has as many
        decimals. Of a number without either, its own.
    labels : mapping of str to str, optional
        What stands in place of the names of rows: ``{"Days": "days without sleep"}``.
    caption : str
        Over the table, one paragraph.

    Returns
    -------
    SideBySide
        Printed as text; ``save("table.html")`` writes it, ``to_markdown()``, ``to_html()``, ``to_latex()`` and
        ``to_frame()`` return it.

    Raises
    ------
    TypeError
        For what is no fit.
    ValueError
        For no fit at all, another `spread`, `digits` below 1, a link whose coefficients have no ratios, or labels of
        rows that are not there or are then called the same.
    """
    if spread not in SPREADS:
        near = suggest(spread, SPREADS) if isinstance(spread, str) else ""
        raise ValueError(f"spread must be one of {listing(SPREADS)}, not {spread!r}{near}")
    check_probability("ci_prob", ci_prob)
    check_bool("exponentiate", exponentiate)
    if not is_whole(digits) or digits < 1:
        raise ValueError(f"digits must be a whole number of 1 or more, not {digits!r}")
    named = _named(fits)
    for fit in named.values() if exponentiate else ():
        check_exponentiated(fit.design)
    columns = {name: _cells(fit, spread, ci_prob, exponentiate, digits) for name, fit in named.items()}
    parts = (_rows(columns), _rows({name: _about(fit) for name, fit in named.items()}))
    parameters, about = _labelled(parts, {} if labels is None else labels)
    notes = [_what(named, spread, ci_prob), *_missing(named, columns, spread)]
    notes += [_exponentiated(named)] if exponentiate else []
    return SideBySide(tuple(named), parameters, about, tuple(notes), " ".join(str(caption or "").split()))


def _what(named: Mapping[str, object], spread: str, ci_prob: float) -> str:
    """Return what the cells are."""
    maximised = [isinstance(fit, Estimates) for fit in named.values()]
    own, drawn = "standard errors in brackets", "standard deviations in brackets"
    if spread == "interval":
        own, drawn = (f"{100 * ci_prob:g} % {kind} intervals" for kind in ("Wald", "equal-tailed"))
    if not any(maximised):
        return f"Posterior means with {drawn}."
    return f"Estimates with {own}." if all(maximised) else f"Estimates with {own}; of a posterior, means with {drawn}."


def _missing(
    named: Mapping[str, object], columns: Mapping[str, Mapping[tuple[int, str], str]], spread: str
) -> list[str]:
    """Return a sentence where numbers of a maximised fit, such as sds, have no spread."""
    points = [cells for column, cells in columns.items() if isinstance(named[column], Estimates)]
    if all(text.endswith((")", "]")) for cells in points for text in cells.values()):
        return []
    return [f"Numbers without brackets have no {'standard error' if spread == 'se' else 'Wald interval'}."]


def _exponentiated(named: Mapping[str, object]) -> str:
    """Return what is exponentiated, and what of these fits is not."""
    designs = [fit.design for fit in named.values()]
    kinds = [design for design in designs if not design.family.nominal]
    others = {
        "thresholds": any(design.family.ordered for design in kinds),
        "category-specific coefficients": any(map(specific_columns, kinds)),
        "formulas of parameters": any(own.name != CS for design in designs for own in design.formula.scales),
    }
    found = [name for name, there in others.items() if there]
    of, rest = (" of the mean", f"; {' and '.join(found)} are not") if found else ("", "")
    return f"Coefficients{of} are exponentiated: ratios{rest}."


def _labelled(parts: Sequence[Mapping[str, tuple[str, ...]]], labels: object) -> list[dict[str, tuple[str, ...]]]:
    """Return the rows by the names that stand in their place; a ValueError for labels that fit no row, or two."""
    if not isinstance(labels, Mapping):
        raise ValueError(f"labels must be a mapping of rows to what stands in their place, not {labels!r}")
    known = [name for rows in parts for name in rows]
    for name in labels:
        if name not in known:
            near = suggest(name, known) if isinstance(name, str) else ""
            rows = listing(map(repr, known), limit=len(known))
            raise ValueError(f"labels has {name!r}, which is no row of the table; its rows are {rows}{near}")
    out = []
    for rows in parts:
        out.append({str(labels.get(name, name)): cells for name, cells in rows.items()})
    names = [name for rows in out for name in rows]
    if len(names) < len(known) or len(set(names)) < len(set(known)):
        raise ValueError(f"labels give two rows one name; the rows would be {listing(names, len(names))}")
    return out


def _signed(cell: str) -> str:
    """Return a cell of LaTeX with minus signs before its numbers instead of hyphens."""
    return MINUS.sub("$-$", cell)


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


def _cells(fit, spread: str, ci_prob: float, exponentiate: bool, digits: int) -> dict[tuple[int, str], str]:
    """Return a fit's parameters as text, by the place of their kind in the table and the row's name."""
    out = {}
    shown = tidy(fit, ci_prob=ci_prob)
    for _, row in (_as_ratios(fit, shown) if exponentiate else shown).iterrows():
        ends = [row.get("conf.low", float("nan")), row.get("conf.high", float("nan"))]
        error = row.get("std.error", float("nan"))
        known = [abs(error)] if spread == "se" else [(ends[1] - ends[0]) / 4]
        decimals = decimals_for(known if known[0] > 0 else [row["estimate"]], digits)
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
