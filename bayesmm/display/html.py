"""Fill the templates. Every text is escaped; what is no text (the formulas) is made of elements, not of strings."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bayesmm.display.html_tables import TEXT_WIDTH, Table, frame_table, name
from bayesmm.display.text_tables import wrap
from bayesmm.errors import MissingExtra
from bayesmm.runtime.extras import need

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
MARK = '<meta name="generator" content="bayesmm'  # by which a report is known as one
# Nothing is loaded and nothing runs, whatever a name in the data may say: pictures inside the file, styles inside it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def rendered(template: str, **values: object) -> str:
    """Return a template filled with these values.

    Parameters
    ----------
    template : str
        Name of a file in ``templates/``.
    **values
        What the template names; one that is missing is an error.
    """
    jinja2 = need("jinja2", "HTML needs", "report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # jinja2's default is off
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"element": element, "breakable": breakable}
    return environment.get_template(template).render(policy=POLICY, **values)


def element(markup: str) -> "Markup":
    """Return an element that `mathml` has built, whose names it has escaped, as it is."""
    if not (markup.startswith("<math ") and markup.endswith("</math>")):
        raise ValueError("only a MathML element may stand in a page unescaped")
    from markupsafe import Markup  # jinja2 brings it

    return Markup(markup)


def breakable(text: str) -> "Markup":
    """Return a name, escaped, that a narrow column may break before its brackets and after its underscores."""
    from markupsafe import Markup, escape

    parts = (escape(part) for part in re.split(r"(?<=[_:,])|(?=[\[(])", text))
    return Markup("<wbr>").join(parts)


def fragment(lines: list[str], shown: list[Table], formula: str = "", latex: str = "") -> str:
    """Return lines, formula, equation and tables as HTML.

    Parameters
    ----------
    lines : list of str
        Sentences; the first is the headline.
    shown : list of Table
    formula : str
    latex : str
        For the MathJax of the notebook.
    """
    first, *others = lines
    values = dict(headline=first, lines=others, tables=shown, formula=name(formula, TEXT_WIDTH), latex=latex)
    try:
        return rendered("notebook.html", **values)
    except MissingExtra as missing:
        raise NotImplementedError(str(missing)) from missing  # a notebook shows an object that raises this as text


def joined(lines: list[str]) -> str:
    """Return wrapped lines as one sentence again."""
    return " ".join(line.strip() for line in lines)


def table_html(lines: list[str], frame) -> str:
    """Return a data frame under some sentences, such as a table of tests.

    Parameters
    ----------
    lines : list of str
        The headline, then notes.
    frame : DataFrame
    """
    return fragment([joined(wrap(line)) for line in lines], [frame_table(frame, "Tests")])
