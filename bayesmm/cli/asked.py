"""What a command is asked: the model to make, and where it says what is no result."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bayesmm.cli.delimited import text_format
from bayesmm.cli.input import check_early, read_priors, used_columns
from bayesmm.errors import DataError

if TYPE_CHECKING:
    from bayesmm.model import Model

OPTIONS = ("kind", "groups", "new_levels")  # of predict, which its sentences name as arguments


@dataclass(frozen=True)
class Beside:
    """What is said beside a result: what was read, and what was written.

    Attributes
    ----------
    stream : file or None
        stdout with the result, stderr beside a JSON document, and None if --quiet.
    """

    stream: TextIO | None

    @classmethod
    def of(cls, *, json: bool, quiet: bool) -> Beside:
        """Return that of these options."""
        return cls(None if quiet else sys.stderr if json else sys.stdout)

    def say(self, text: str, end: str = "\n") -> None:
        """Say it, if it is to be said."""
        if self.stream is not None:
            print(text, end=end, file=self.stream, flush=True)

    def say_written(self, paths: Iterable[Path]) -> None:
        """Say which files of a folder have been written."""
        folder, *_ = paths = list(paths)
        self.say(f"\nWritten to {folder.parent}: {', '.join(path.name for path in paths)}")


@dataclass(frozen=True)
class Asked:
    """A model that a command is asked to make.

    Attributes
    ----------
    data, formula : str
    prior : list of str or None
    engine, delimiter, decimal : str or None
        How the data are read.
    beside : Beside
    arguments : mapping of str to str or None
        Those of `Model`.
    """

    data: str
    formula: str
    prior: list[str] | None
    engine: str | None
    delimiter: str | None
    decimal: str | None
    beside: Beside
    arguments: Mapping[str, str | None]

    def check(self) -> None:
        """Raise what is wrong with the names of the data and of columns, before anything heavy is imported."""
        columns = {name: self.arguments[name] for name in ("trials", "weights")}
        check_early(self.data, self.formula, self.engine, text_format(self.delimiter, self.decimal), **columns)

    def model(self) -> Model:
        """Read the data and make the model."""
        from bayesmm.cli.lazy_files import read_by
        from bayesmm.runtime.progress import working

        with working("loading libraries and data"):
            from bayesmm.model import Model

            used = used_columns(self.formula, *(self.arguments[name] for name in ("family", "trials", "weights")))
            frame, taken = read_by(self.engine, self.data, text_format(self.delimiter, self.decimal, used))
            self.beside.say(taken, end="\n\n")
            priors = read_priors(self.prior or []) or None
            return Model(self.formula, frame, priors=priors, **self.arguments)


@contextmanager
def as_data_errors() -> Iterator[None]:
    """Turn what is wrong with an argument into a DataError, which the command line says in one sentence."""
    try:
        yield
    except ValueError as error:
        raise DataError(_as_options(str(error))) from error


def _as_options(text: str) -> str:
    """Return a sentence with the arguments of `predict` as the options of the command line: --new-levels sample."""
    written = rf"\b({'|'.join(OPTIONS)})(?:=| must be )'(\w+)'"
    return re.sub(written, lambda m: f"--{m[1].replace('_', '-')} {m[2]}", text)
