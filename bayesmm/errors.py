"""What goes wrong, in the user's words: the exception types and the pieces that every message is made of."""

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


class FormulaError(ValueError):
    """The formula's text cannot be read; the message underlines the place."""


class DataError(ValueError):
    """The data do not fit the formula or the family."""


class PriorError(ValueError):
    """A prior names no parameter of the model, or is no distribution for it."""


class FitFileError(ValueError):
    """A file of a fit cannot be written or read, or is not what it should be."""


class UnfinishedError(RuntimeError):
    """Of many fits some were lost, and what is left does not make the result; `finished` has them.

    Attributes
    ----------
    finished : Fits, Bootstrap or Power
        What was finished before.
    """

    def __init__(self, message: str, finished: object = None) -> None:
        super().__init__(message)
        self.finished = finished


class MissingExtra(ImportError):
    """A package is not installed that fitting does not need; the message names the extra that has it."""


class BayesmmWarning(UserWarning):
    """Something about the data or the model that a person should know before reading the result."""


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice nearest to `word` that is not `word` itself, or an empty text."""
    choices = [choice for choice in choices if choice != word]
    folded = {choice.casefold(): choice for choice in choices}
    near = [folded[word.casefold()]] if word.casefold() in folded else get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def look_alike(name: str, choices: Iterable[str]) -> str:
    """Return a did-you-mean that also sees characters which only look the same (the micro sign and the Greek mu)."""
    choices = list(choices)
    folded = unicodedata.normalize("NFKC", name).casefold()
    for choice in choices:
        other = next((c for c in choice if c not in name), "")
        same = unicodedata.normalize("NFKC", choice).casefold() == folded
        if other and same and choice.lower() != name.lower():
            return f"; did you mean '{choice}', which is written with a different character ({_character(other)})?"
    return suggest(name, choices)


def _character(c: str) -> str:
    return f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip()


def listing(names: Iterable[object], limit: int = 12) -> str:
    """Return the names as a list in a sentence, cut after `limit`."""
    names = [str(name) for name in names]
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit:,} more"


def positions(rows: Iterable[int], limit: int = 5) -> str:
    """Return row positions (from 0) as ``[3, 7, 9]``, or the first `limit` of them and their number."""
    rows = [int(row) for row in rows]
    if len(rows) <= limit:
        return str(rows)
    return f"[{', '.join(map(str, rows[:limit]))}, ...] ({len(rows):,} in all)"
