"""Run the Python blocks of the pages and compare what they print with what the pages show.

``python -m docs.run`` runs all pages, ``python -m docs.run start guide`` these two. ``--update`` writes what was
printed into the pages, ``--exact`` compares digit by digit, which is for the machine that wrote the pages.

A page is Markdown, and its blocks share one namespace. What a ``python`` block prints, and the value of its last
expression, stands in the ``text`` block that follows it; without one it is run and nothing is compared. An image that
follows is the block's figure. A comment before a block says why it is not run: ``<!-- not run: the reason -->``.
The calls in a column "bayesmm" of a table are run too.
"""

import argparse
import ast
import difflib
import io
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).parent
WIDTH = "100"  # columns of a print, wherever it is run
BLOCK = re.compile(
    r"(?P<skip><!-- not run:[^\n]*-->\n+)?"
    r"^```python\n(?P<code>.*?)^```$"
    r"(?:\n+```text\n(?P<output>.*?)^```$)?"
    r"(?:\n+!\[[^\]\n]*\]\((?P<image>[^)\n]+)\))?",
    flags=re.MULTILINE | re.DOTALL,
)
TABLE = re.compile(r"^\|(?P<heads>.*\| bayesmm \|.*)\n\|[-:| ]+\|\n(?P<rows>(?:\|.*\n)+)", flags=re.MULTILINE)
BAR = re.compile(r"(?<!\\)\|")
CALL = re.compile(r"(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)")
NOWHERE = (-1, -1)  # where the output of a call in a table is: it has none
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
SECONDS = re.compile(r"\b\d[\d.,]* (ms|s|seconds|minutes)\b")
# Draws differ between kinds of processors within Monte Carlo error; so wide is it that only a wrong number is outside.
SAMPLED = re.compile(r"\.sample\(|bmm\.fit\(|bootstrap\(|power\(|prior_check\(|fit_many\(|fit_multiple\(")
MONTE_CARLO = 0.35
FEWER, WHOLE = 2, 12  # decimals that a number may have more or fewer than shown, if it is not written in full
ROUNDING = 2e-3  # of estimates: other linear algebra, other digits


@dataclass(frozen=True)
class Block:
    """A block of a page: its code, what the page shows (None: nothing is compared), its image, the line of its code."""

    code: str
    output: str | None
    image: str | None
    skipped: bool
    line: int
    span: tuple[int, int]  # of the output in the page


def calls(page: str) -> list[Block]:
    """Return the calls in the columns "bayesmm" of a page's tables, each a block whose value is not compared."""
    found = []
    for table in TABLE.finditer(page):
        column = [head.strip() for head in BAR.split(table["heads"])].index("bayesmm") + 1
        line = page.count("\n", 0, table.start("rows"))
        for number, row in enumerate(table["rows"].splitlines(), start=line + 1):
            cell = BAR.split(row)[column].replace("\\|", "|")
            found += [Block(call, None, None, False, number, NOWHERE) for _, call in CALL.findall(cell)]
    return found


def blocks(page: str) -> list[Block]:
    """Return what a page runs, from its top to its end."""
    return sorted([*_fenced(page), *calls(page)], key=lambda block: block.line)


def _fenced(page: str) -> list[Block]:
    return [
        Block(
            found["code"], found["output"], found["image"], bool(found["skip"]),
            page.count("\n", 0, found.start("code")) + 1, found.span("output"),
        )
        for found in BLOCK.finditer(page)
    ]  # fmt: skip


def numbers_agree(shown: str, printed: str, sampled: bool) -> bool:
    """Whether the numbers of two lines of equal words agree: to their digits, or of draws within Monte Carlo error.

    One that is shown with many more decimals than it is printed with does not.
    """
    pairs = list(zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True))
    values = [tuple(float(text.replace(",", "").replace("−", "-")) for text in pair) for pair in pairs]
    usual = median(abs(old) for old, _ in values) if values else 0
    for (text, other), (old, new) in zip(pairs, values, strict=True):
        digits, printed_digits = (len(one.partition(".")[2].partition("e")[0]) for one in (text, other))
        if abs(digits - printed_digits) > FEWER and min(digits, printed_digits) < WHOLE:
            return False
        share = MONTE_CARLO if sampled else ROUNDING
        last = 1.01 * 10.0**-digits if "e" not in text else 0
        if abs(new - old) > max(share * abs(old), share * usual * sampled, last):
            return False
    return True


def agree(shown: str, printed: str, sampled: bool, exact: bool) -> bool:
    """Whether a block printed what its page shows, but for the time that something took."""
    shown, printed = SECONDS.sub("some time", shown).rstrip(), SECONDS.sub("some time", printed).rstrip()
    if exact or shown == printed:
        return shown == printed
    old, new = shown.splitlines(), printed.splitlines()
    if [NUMBER.sub("#", " ".join(line.split())) for line in old] != [
        NUMBER.sub("#", " ".join(line.split())) for line in new
    ]:
        return False
    return all(numbers_agree(*lines, sampled) for lines in zip(old, new, strict=True))


def execute(block: Block, names: dict, page: str) -> str:
    """Run a block and return what it prints, and the value of its last expression as a session shows it."""
    tree = ast.parse("\n" * (block.line - 1) + block.code, page)
    value = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(tree, page, "exec"), names)
        if value is not None:
            result = eval(compile(ast.Expression(value.value), page, "eval"), names)
            if not (result is None or hasattr(result, "figure")):  # a figure is an image of the page
                print(repr(result))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def save_figure(path: Path | None, update: bool) -> str:
    """Write the figure that a block made, if asked to, and close all; return what is wrong with it, or nothing."""
    plots = sys.modules.get("matplotlib.pyplot")
    made = [plots.figure(number) for number in plots.get_fignums()] if plots else []
    if path and made and update:
        path.parent.mkdir(exist_ok=True)
        made[-1].savefig(path, dpi=90, bbox_inches="tight")
    if made:
        plots.close("all")
    if path and not made:
        return f"no figure for {path.name}"
    return f"no file {path}" if path and not path.exists() else ""


def run_page(path: Path, update: bool = False, exact: bool = False) -> tuple[str, list[str]]:
    """Run a page; return its text with what was printed, and a message for each block that printed something else."""
    page = path.read_text(encoding="utf-8")
    names: dict = {"__name__": "__main__"}
    faults, written, end, sampled = [], [], 0, False
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        Path("tests").symlink_to(FOLDER.parent / "tests")  # pages read data sets of a checkout, tests/data/
        for block in blocks(page):
            if block.skipped:
                continue
            place = f"{path.name}:{block.line}"
            sampled = sampled or bool(SAMPLED.search(block.code))
            try:
                printed = execute(block, names, str(path))
            except Exception:  # whatever a page's code raises is a fault of the page, and the other pages are run
                faults.append(f"{place}: {block.code}\n{traceback.format_exc(limit=-3)}")
                if "\n" not in block.code:  # a call in a table: later ones do not depend on it
                    continue
                break
            if fault := save_figure(path.parent / block.image if block.image else None, update):
                faults.append(f"{place}: {fault}")
            if block.output is None or agree(block.output, printed, sampled, exact):
                continue
            difference = difflib.unified_diff(block.output.splitlines(), printed.splitlines(), place, "printed", "", "")
            faults.append("\n".join(difference))
            written += [page[end : block.span[0]], printed]
            end = block.span[1]
    return "".join([*written, page[end:]]), faults


def run_pages(paths: Iterable[Path], update: bool, exact: bool) -> int:
    """Run pages in this process; print differences, or write them; return how many pages failed."""
    os.environ |= {"COLUMNS": WIDTH, "MPLBACKEND": "Agg"}
    import pandas as pd

    pd.set_option("display.width", int(WIDTH), "display.max_columns", 20)
    failed = 0
    for path in paths:
        began = time.perf_counter()
        page, faults = run_page(path, update, exact)
        if update:
            path.write_text(page, encoding="utf-8")
            faults = [fault for fault in faults if "Traceback" in fault or "no figure" in fault]
        failed += bool(faults)
        print(f"{path.name}: {time.perf_counter() - began:.0f} s{'' if not faults else ', FAILED'}", flush=True)
        print(*faults, sep="\n\n", end="\n" if faults else "", flush=True)
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Run the pages that are named, or all; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.run", description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="names of pages, such as guide; all if none is given")
    parser.add_argument("--update", action="store_true", help="write what was printed into the pages")
    parser.add_argument("--exact", action="store_true", help="compare digit by digit")
    given = parser.parse_args(arguments)
    paths = [FOLDER / f"{name}.md" for name in given.pages] or sorted(FOLDER.glob("*.md"))
    if missing := [path.name for path in paths if not path.exists()]:
        parser.error(f"no such page: {', '.join(missing)}")
    failed = run_pages(paths, given.update, given.exact)
    if failed:
        print(f"{failed} pages differ; if the new output is right: make docs ARGS=--update", file=sys.stderr)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
