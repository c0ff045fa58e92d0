"""The command ``bayesmm reproduce``."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bayesmm.cli import documents
from bayesmm.cli.asked import Beside
from bayesmm.cli.output import prepare
from bayesmm.cli.reproduce.files import file_names, record, write_results
from bayesmm.cli.reproduce.published import Published, read_published
from bayesmm.cli.reproduce.run import FAILED, Result, reproduce
from bayesmm.cli.reproduce.text import footnotes, heading, markdown, model_table, summary_table
from bayesmm.errors import DataError, FormulaError, listing, suggest
from bayesmm.runtime.extras import check_extra
from bayesmm.runtime.paths import as_path

NOT_REPRODUCED = 1  # the exit code
PACKAGE = Path(__file__).parents[2]
SUFFIX, CLASSICS = ".toml", "classics"
WIDTH = 160  # columns, where the output is no terminal


def bundled_folder() -> Path:
    """Return the folder of the documents' models: inside an installed package, beside the package in a checkout."""
    inside = PACKAGE / "models"
    return inside if inside.is_dir() else PACKAGE.parent / "models"


def bundled() -> list[Path]:
    """Return the files of the documents' models."""
    return sorted(bundled_folder().glob(f"*{SUFFIX}"))


def classics() -> list[Path]:
    """Return the files of well-known results that are none of the documents', and are counted apart."""
    return sorted((bundled_folder() / CLASSICS).glob(f"*{SUFFIX}"))


def in_printed_order(studies: Iterable[Published]) -> list[Published]:
    """Return results by document and line, those on other data after them, and classics last."""
    return sorted(studies, key=lambda own: (bool(own.source), bool(own.repeats), own.document, own.lines, own.name))


def find(words: list[str]) -> list[Path]:
    """Return the files that the words name: each a TOML file, a folder of them, or the name of a bundled one.

    Raises
    ------
    DataError
        There is no such file.
    """
    files: list[Path] = []
    for word in words:
        path = as_path(word, "FILES", DataError)
        if path.is_dir():
            files += sorted(path.glob(f"*{SUFFIX}"))
        elif path.suffix == SUFFIX:
            files.append(path)
        else:
            names = {file.stem: file for file in [*bundled(), *classics()]}
            if word not in names:
                known = f"{listing(names, 5)}" if names else "none"
                raise DataError(f"{word!r} is neither a TOML file nor a bundled result ({known}){suggest(word, names)}")
            files.append(names[word])
    return files


def run(
    words: list[str],
    *,
    sample: bool,
    out: str | None,
    overwrite: bool,
    data_dir: str | None,
    brief: bool,
    as_markdown: bool,
    json: bool,
    beside: Beside,
) -> int:
    """Reproduce published results, print them, and write them if a folder is given.

    Parameters
    ----------
    words : list of str
        Files, folders or names; none means all of the documents' models, and the classics.
    sample, brief, as_markdown : bool
        Draw from the posteriors; print the summary alone; print it as Markdown.
    out, data_dir : str or None
        Folder for the results, and folder to look for data in.
    overwrite, json : bool
    beside : Beside
        Where it says what was written.

    Returns
    -------
    int
        0, or 1 if a printed number is neither reproduced nor explained.

    Raises
    ------
    DataError, FormulaError, PriorError
        A file is wrong, or one that was named needs data that are not at hand.
    """
    data = as_path(data_dir, "--data-dir", DataError) if data_dir else None
    if json and (brief or as_markdown):
        raise DataError(f"--json prints all results; leave out {'--brief' if brief else '--markdown'}")
    if out is not None:
        check_extra("jinja2", "the page of --out needs", "report")
    studies = _studies(words)
    folder = prepare(out, file_names(studies), overwrite)
    # wide enough for a table when the output goes into a file: rich would cut it to 80 columns there
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    results = []
    for study in studies:
        try:
            result = reproduce(study, sample=sample, folder=data)
        except FormulaError:
            raise
        except ValueError as error:  # a start or an estimator that the model has not
            raise DataError(str(error)) from error
        if words and result.absent:
            raise DataError(f"{study.name}{SUFFIX}: {result.absent}")
        results.append(result)
        if not (brief or as_markdown or json):
            _show(console, result)
    if json:
        print(documents.text(results=[record(result) for result in results]))
    elif as_markdown:
        print(markdown(results))
    else:
        _conclude(console, results)
    if folder is not None:
        paths = write_results(results, folder)
        over_all = listing([path.name for path in paths[-3:]])
        beside.say(f"Written to {folder}: {len(paths)} files, {over_all} over all.")
    return NOT_REPRODUCED if any(result.count(FAILED) for result in results) else 0


def _studies(words: list[str]) -> list[Published]:
    studies = [read_published(file) for file in (find(words) if words else [*bundled(), *classics()])]
    if not studies:
        raise DataError(f"there is no {SUFFIX} file in {', '.join(words) or bundled_folder()}")
    names = file_names(studies)
    if len(set(names)) < len(names):
        raise DataError(f"two results have one name, {max(names, key=names.count)}: rename one of the files")
    return studies if words else in_printed_order(studies)


def _show(console: Console, result: Result) -> None:
    console.print(heading(result))
    if result.rows:
        console.print(model_table(result))
    for line in footnotes(result):
        console.print(Text(line, style="dim"))
    console.print()


def _conclude(console: Console, results: list[Result]) -> None:
    console.print(summary_table(results))
    absent = [result for result in results if result.absent]
    if absent:
        names = listing([result.published.name for result in absent])
        numbers = sum(len(result.published.numbers) for result in absent)
        console.print(Text(f"Not checked, {numbers} numbers of {names}: {absent[0].absent}.", style="yellow"))
    for result in results:
        for row in result.rows:
            if row.verdict == FAILED:
                said = f"{FAILED}: {result.published.name}, {row.label}: printed {row.printed}; {row.reason}"
                console.print(Text(said, style="bold red"))
