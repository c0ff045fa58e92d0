"""What is said beside a result without stopping it: a warning or a note, kept as a record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayesmm.errors import positions

NAME_LIMIT = 40  # characters of a level that a sentence shows; the data keep the whole name


@dataclass(frozen=True)
class Message:
    """One sentence about the data or the model.

    Attributes
    ----------
    level : {"warning", "note"}
        A warning may change how the result is read; a note says which of several readings was taken.
    text : str
        The sentence.
    """

    level: Literal["warning", "note"]
    text: str


def warning(text: str) -> Message:
    """Return a warning."""
    return Message("warning", text)


def note(text: str) -> Message:
    """Return a note."""
    return Message("note", text)


@dataclass(frozen=True, eq=False)
class Rows:
    """Where the rows at hand are in the user's frame, so that a message can name them.

    Attributes
    ----------
    positions : int64 array, shape (n,)
        Positions in the user's frame, from 0.
    labels : array, shape (n,), or None
        The labels of the frame's index; None where they are the positions.
    """

    positions: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, kept: np.ndarray) -> "Rows":
        """Return the rows at these places (indices or a mask)."""
        return Rows(self.positions[kept], None if self.labels is None else self.labels[kept])

    def text(self, at: np.ndarray) -> str:
        """Return ``rows [3, 7]`` for a mask or indices, with the labels where the frame has its own."""
        chosen = self.take(at)
        text = f"row{'s' if len(chosen) != 1 else ''} {positions(chosen.positions)}"
        if chosen.labels is None:
            return text
        return f"{text}, labelled {labels_text(chosen.labels)}"


def labels_text(labels: Sequence[object], limit: int = 5) -> str:
    """Return labels as ``['a', 'b']``, the first `limit` of them."""
    shown = [label_text(label) for label in labels[:limit]]
    return f"[{', '.join(shown)}{', ...' if len(labels) > limit else ''}]"


def label_text(label: object) -> str:
    """Return a level or label in quotes (a number without), cut after `NAME_LIMIT` characters, line breaks escaped."""
    text = str(label)
    short = text if len(text) <= NAME_LIMIT else f"{text[:NAME_LIMIT]}..."
    return repr(short) if isinstance(label, str) else short


def are(number: int) -> str:
    """Return the verb for this many things."""
    return "is" if number == 1 else "are"


def have(number: int) -> str:
    """Return the verb for this many things."""
    return "has" if number == 1 else "have"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return ``1 row`` or ``12,573 rows``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
