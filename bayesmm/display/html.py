"""Fill the templates. Every text is escaped; what is no text (the formulas) is made of elements, not of strings."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

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
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # jinja2's default is off
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"element": element, "breakable": breakable}
    return environment.get_template(template).render(policy=POLICY, **values)


def element(markup: str) -> Markup:
    """Return an element that `mathml` has built, whose names it has escaped, as it is."""
    if not (markup.startswith("<math ") and markup.endswith("</math>")):
        raise ValueError("only a MathML element may stand in a page unescaped")
    return Markup(markup)


def breakable(text: str) -> Markup:
    """Return a name, escaped, that a narrow column may break before its brackets and after its underscores."""
    parts = (escape(part) for part in re.split(r"(?<=[_:,])|(?=[\[(])", text))
    return Markup("<wbr>").join(parts)
