r"""The LaTeX of `bayesmm.reporting.equation` as MathML, which browsers set and screen readers speak without any script.

Not a converter of LaTeX at large: the commands are those that `equation` writes, and any other is refused, so that a
formula is never shown wrong in silence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from xml.etree.ElementTree import Element, SubElement, tostring

NAMESPACE = "http://www.w3.org/1998/Math/MathML"  # a name, not an address: nothing is fetched
BEGIN, END = r"\begin{aligned}", r"\end{aligned}"

# Command -> (element, text)
SYMBOLS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        r"\alpha": ("mi", "α"),
        r"\beta": ("mi", "β"),
        r"\gamma": ("mi", "γ"),
        r"\delta": ("mi", "δ"),
        r"\epsilon": ("mi", "ϵ"),
        r"\zeta": ("mi", "ζ"),
        r"\eta": ("mi", "η"),
        r"\theta": ("mi", "θ"),
        r"\kappa": ("mi", "κ"),
        r"\lambda": ("mi", "λ"),
        r"\mu": ("mi", "μ"),
        r"\nu": ("mi", "ν"),
        r"\xi": ("mi", "ξ"),
        r"\pi": ("mi", "π"),
        r"\rho": ("mi", "ρ"),
        r"\sigma": ("mi", "σ"),
        r"\tau": ("mi", "τ"),
        r"\phi": ("mi", "ϕ"),
        r"\chi": ("mi", "χ"),
        r"\psi": ("mi", "ψ"),
        r"\omega": ("mi", "ω"),
        r"\Phi": ("mi", "Φ"),
        r"\Sigma": ("mi", "Σ"),
        r"\log": ("mi", "log"),
        r"\infty": ("mi", "∞"),
        r"\top": ("mi", "⊤"),
        r"\sim": ("mo", "∼"),
        r"\le": ("mo", "≤"),
        r"\ge": ("mo", "≥"),
        r"\{": ("mo", "{"),
        r"\}": ("mo", "}"),
        r"\ldots": ("mo", "…"),
        r"\propto": ("mo", "∝"),
        r"\in": ("mo", "∈"),
        r"\mid": ("mo", "∣"),
        r"\times": ("mo", "×"),
        r"\sum": ("mo", "∑"),
        r"\backslash": ("mtext", "\\"),
        r"\wedge": ("mtext", "^"),  # what `equation.escape` writes for that character of a name
    }
)
SPACES: Mapping[str, str] = MappingProxyType({r"\quad": "1em", r"\ ": "0.3em", r"\,": "0.17em"})
FONTS = (r"\mathrm", r"\mathcal")
OPERATORS = "=+-/(),<>"
RELATIONS, FENCES = ("=", "∼", "∝"), ("(", ")")  # spaced on both sides at the start of a cell too; as tall as a letter

TOKEN = re.compile(
    r"""(?P<text>\\text\{(?:\\.|[^\\{}])*\}) | (?P<row>\\\\) | (?P<command>\\(?:[A-Za-z]+|.))
    | (?P<number>[0-9]+(?:\.[0-9]+)?) | (?P<blank>\s+) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A piece of LaTeX: kind ("text", "row", "command", "number" or "other") and what stands there."""

    kind: str
    value: str


def mathml(latex: str) -> str:
    """Return an ``aligned`` environment of `bayesmm.reporting.equation` as a MathML element.

    Parameters
    ----------
    latex : str
        What ``model.equation()`` returns.

    Returns
    -------
    str
        ``<math>...</math>`` in which every name is escaped.

    Raises
    ------
    ValueError
        For a command that `equation` does not write.
    """
    body = latex.strip().removeprefix(BEGIN).removesuffix(END)
    root = Element("math", {"xmlns": NAMESPACE, "display": "block"})
    grid = SubElement(root, "mtable", {"displaystyle": "true"})
    for row in split(tokens(body), Token("row", "\\\\")):
        line = SubElement(grid, "mtr")
        for cell in split(row, Token("other", "&")):
            element = SubElement(line, "mtd")
            element.extend(sequence(cell))
    return tostring(root, encoding="unicode")


def tokens(latex: str) -> list[Token]:
    """Return the tokens of some LaTeX without the blanks between them."""
    found = (Token(str(match.lastgroup), match.group()) for match in TOKEN.finditer(latex))
    return [token for token in found if token.kind != "blank"]


def split(row: list[Token], separator: Token) -> list[list[Token]]:
    """Return the parts between the separators; names hold none that is not escaped."""
    parts: list[list[Token]] = [[]]
    for token in row:
        if token == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def sequence(row: list[Token]) -> list[Element]:
    """Return the elements of a run of tokens, with subscripts and superscripts set."""
    elements, place = [], 0
    while place < len(row):
        element, place = atom(row, place)
        scripts: dict[str, Element] = {}
        while place < len(row) and row[place].kind == "other" and row[place].value in "_^":
            sign = row[place].value
            scripts[sign], place = atom(row, place + 1)
        elements.append(with_scripts(element, scripts))
    return elements


def with_scripts(base: Element, scripts: dict[str, Element]) -> Element:
    """Return an element with its scripts: msub, msup or msubsup."""
    if not scripts:
        return base
    outer = Element({"_": "msub", "^": "msup"}["".join(scripts)] if len(scripts) == 1 else "msubsup")
    outer.extend([base, *(scripts[sign] for sign in "_^" if sign in scripts)])
    return outer


def atom(row: list[Token], place: int) -> tuple[Element, int]:
    """Return the element that starts at this place of a run, and the place after it."""
    token = row[place]
    if token.kind == "text":
        return leaf("mtext", re.sub(r"\\(.)", r"\1", token.value[len(r"\text{") : -1])), place + 1
    if token.kind == "number":
        return leaf("mn", token.value), place + 1
    if token.kind == "command":
        return command(row, place)
    if token.value == "{":
        end = closing(row, place)
        return grouped(sequence(row[place + 1 : end])), end + 1
    return leaf("mo" if token.value in OPERATORS else "mi", token.value.replace("-", "−")), place + 1


def command(row: list[Token], place: int) -> tuple[Element, int]:
    """Return the element of a command with its argument, if it takes one, and the place after it."""
    name = row[place].value
    if name in SPACES:
        return Element("mspace", {"width": SPACES[name]}), place + 1
    if name in SYMBOLS:
        return leaf(*SYMBOLS[name]), place + 1
    if name in FONTS:
        end = closing(row, place + 1)
        return leaf("mi", "".join(token.value for token in row[place + 2 : end])), end + 1
    if name == r"\frac":
        above, place = atom(row, place + 1)
        below, place = atom(row, place)
        fraction = Element("mfrac")
        fraction.extend([above, below])
        return fraction, place
    if name == r"\bar":
        inner, after = atom(row, place + 1)
        over = Element("mover", {"accent": "true"})
        over.extend([inner, leaf("mo", "¯")])
        return over, after
    raise ValueError(f"{name} is no command that bayesmm.reporting.equation writes")


def closing(row: list[Token], place: int) -> int:
    """Return the place of the brace that closes the one at `place`."""
    depth = 0
    for i in range(place, len(row)):
        if row[i].kind == "other":
            depth += (row[i].value == "{") - (row[i].value == "}")
        if depth == 0:
            return i
    raise ValueError("a brace is not closed")


def grouped(elements: list[Element]) -> Element:
    """Return one element in the place of several."""
    if len(elements) == 1:
        return elements[0]
    outer = Element("mrow")
    outer.extend(elements)
    return outer


def leaf(tag: str, text: str) -> Element:
    """Return an element that holds text; blanks at its ends, which MathML would drop, are kept."""
    element = Element(tag, {"form": "infix"} if text in RELATIONS else {"stretchy": "false"} if text in FENCES else {})
    element.text = text.replace(" ", "\u00a0") if tag == "mtext" else text
    return element
