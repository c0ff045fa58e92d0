"""Pieces of LaTeX that equations are made of: names as text, products, effects, categories."""

from collections.abc import Iterator

from bayesmm.design.parameters import of_parameter, own_terms, specific_columns
from bayesmm.design.records import Block, Design
from bayesmm.families.family import EQUIDISTANT, SYMMETRIC, Family
from bayesmm.families.links import LINKS
from bayesmm.formula.formula import Call, Operation, arguments_of, gives, text_of

# A page of HTML that the equation is put into takes "<" before a letter for a tag: before a brace it is none.
_OUTSIDE_TEXT = {"\\": r"\backslash", "^": r"\wedge", "~": r"\sim", "<": "<", ">": ">"}
_UNSEEN = "\ufffd"  # for a control character, which LaTeX refuses to read
# Inside \text{...} these need a backslash; the others have no form there that LaTeX, MathJax and KaTeX all read.
_WITH_BACKSLASH = frozenset("#$%&_{}")
MU = r"\mu_{i}"


def escape(name: str) -> str:
    r"""Return `name` as LaTeX text for math mode: every character stands for itself, line breaks for a blank.

    No name is a command to LaTeX, and none is a tag where the equation stands in a page of HTML.

    Parameters
    ----------
    name : str
        Any text: a column's name is the user's.

    Returns
    -------
    str
        One or more ``\text{...}`` and, between them, the signs that text mode does not have.
    """
    pieces, run = [], ""
    for sign in " ".join(name.split()):
        character = sign if sign.isprintable() else _UNSEEN
        if character in _OUTSIDE_TEXT:
            pieces += [_text(run), f"{{{_OUTSIDE_TEXT[character]}}}"]
            run = ""
        else:
            run += f"\\{character}" if character in _WITH_BACKSLASH else character
    return "".join([*pieces, _text(run)]) or r"\text{ }"


def _text(run: str) -> str:
    return f"\\text{{{run}}}" if run else ""


def sub(letter: str, *names: str) -> str:
    """Return a letter with names below it."""
    return f"{letter}_{{{','.join(names)}}}"


def of_row(symbol: str) -> str:
    """Return the symbol of a parameter with the index of a row, behind an index that it may have."""
    return f"{symbol[:-1]},i}}" if symbol.endswith("}") and "_{" in symbol else f"{symbol}_{{i}}"


def product(coefficient: str, column: str) -> str:
    """Return a coefficient times its column in row i, which of an intercept is 1."""
    return coefficient if column == "Intercept" else rf"{coefficient}\,{{{escape(column)}}}_{{i}}"


def effect_of(design: Design, block: Block, column: str, level: str) -> str:
    """Return the effect of a term in a level; where there are several factors, with the name of its own above."""
    effect = sub("b", escape(column), level)
    return effect if len(design.blocks) == 1 else rf"{effect}^{{({escape(block.group)})}}"


def factor_of(block: Block) -> str:
    """Return the grouping factor of a block, whose own name may begin with that of a parameter."""
    return escape(":".join(block.factors) if block.predictors else block.group)


def effects_in(design: Design, block: Block, predictor: str) -> list[str]:
    """Return what the effects of a block add to one linear predictor in row i."""
    level = f"{factor_of(block)}[i]"
    own = zip(block.columns, own_terms(block), strict=True)
    return [product(effect_of(design, block, name, level), term) for name, (of, term) in own if of == predictor]


def response_text(design: Design) -> str:
    """Return the text of what y holds: of a binomial the successes."""
    expr = design.formula.response
    if design.trials is not None and isinstance(expr, Call) and gives(expr) == "response":
        return text_of(arguments_of(expr)["successes"])
    if design.trials is not None and isinstance(expr, Operation) and expr.operator == "/":
        return text_of(expr.operands[0])
    return f"n {design.response}" if design.proportions else design.response


def of_categories(design: Design, family: Family) -> str:
    """Return what the link of a probability of ordered categories is."""
    y = family.tex.replace("Y", rf"{{{escape(response_text(design))}}}_{{i}}")
    threshold, part = r"\tau_{k}", design.residual.parts[0]
    last = len(design.categories) - 1
    if family.spacing == EQUIDISTANT:
        threshold = r"\tau_{1} + (k - 1)(\tau_{2} - \tau_{1})"
    columns = specific_columns(design)
    own = "".join(" - " + product(sub(part.parameters[1].tex, escape(name), "k"), name) for name in columns)
    own += "".join(f" - {term}" for block in design.blocks for term in _of_thresholds(design, block))
    right = rf"{threshold} - \eta_{{i}}{own}"
    scale = next((p.symbol for p in family.parameters if p.relative), "")
    right = rf"{scale}_{{i}}\,({right})" if scale else right
    middle = rf",\quad \tau_{{k}} + \tau_{{{last + 1} - k}} = \tau_{{1}} + \tau_{{{last}}}"
    also = middle if family.spacing == SYMMETRIC else ""
    return rf"{LINKS[family.link].tex.replace(MU, y)} &= {right},\quad k = 1, \ldots, {last}{also}"


def _of_thresholds(design: Design, block: Block) -> list[str]:
    """Return what effects of a block take away from threshold k in row i, each once for all thresholds."""
    level, known = f"{factor_of(block)}[i]", design.family.formulas
    terms = dict.fromkeys(term for of, term in own_terms(block) if of and of not in known)
    return [product(effect_of(design, block, of_parameter("cs[k]", term), level), term) for term in terms]


def log_odds(design: Design) -> Iterator[str]:
    """Yield a line for each category without an order but the first: the logarithm of its odds beside the first."""
    family, response, first = design.family, escape(response_text(design)), escape(design.categories[0])
    part, last = design.residual.parts[0], len(family.parameters)
    for k, own in enumerate(family.parameters):
        label = escape(design.categories[k + 1])
        terms = [sub(part.parameters[0].tex, label)]
        for other in part.parameters[1:]:
            names = zip(other.terms[k::last], specific_columns(design), strict=True)
            terms += [product(sub(other.tex, escape(name)), column) for name, column in names]
        terms += [term for block in design.blocks for term in effects_in(design, block, own.name)]
        terms += [rf"{{{escape(text_of(offset))}}}_{{i}}" for offset in design.formula.offsets]
        own, beside = (rf"\log P({{{response}}}_{{i}} = {each})" for each in (label, first))
        yield rf"{own} - {beside} &= {' + '.join(terms)}"
