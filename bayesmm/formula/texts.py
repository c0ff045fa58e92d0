"""The text of each formula in what a user gave: one for the mean, others for parameters. Standard library only."""

from bayesmm.errors import FormulaError
from bayesmm.formula.cursor import EXAMPLE


def texts_of(given: object) -> list[str]:
    """Return the text of each formula."""
    several = isinstance(given, list | tuple)
    for one in given if several else [given]:
        if not isinstance(one, str):
            raise FormulaError(f"the formula is {_kind(one)}, not text; write one such as '{EXAMPLE}'")
    if several and not given:
        raise FormulaError(f"there is no formula; write one such as '{EXAMPLE}'")
    return [part for one in (given if several else [given]) for part in _split(one)]


def _split(text: str) -> list[str]:
    """Return the parts of a text between its semicolons, those in quotes and back-ticks excepted."""
    parts, quote_mark, start = [], "", 0
    for k, character in enumerate(text):
        if quote_mark:
            quote_mark = "" if character == quote_mark else quote_mark
        elif character in "'\"`":
            quote_mark = character
        elif character == ";" and ("~" in text[k:] or not text[k + 1 :].strip()):
            parts.append(text[start:k])
            start = k + 1
    rest = [text[start:]] if text[start:].strip() or not parts else []  # a last semicolon has nothing behind it
    return [part.strip() if parts else part for part in [*parts, *rest]]


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
