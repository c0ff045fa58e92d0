"""README.md and the pages of docs/, held against the code: links, names, formulas, tables, the printed example."""

import ast
import dataclasses
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

import bayesmm as bmm
from bayesmm.design.covariance.structures import parse_formula
from bayesmm.families.families import FAMILIES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bayesmm"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("[a-z]*/README.md"))]
CHECKED = {page.relative_to(ROOT).as_posix(): page for page in PAGES}
# What the pages call their fits and models.
FITS = {"fit": bmm.Fit, "simple": bmm.Fit, "point": bmm.PointFit, "small": bmm.PointFit, "cases": bmm.PointFit}
MODELS = ("model", "meta")


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


@cache
def model() -> bmm.Model:
    """Return the model of the pages."""
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(page), flags=re.MULTILINE | re.DOTALL)


def section(page: Path, title: str) -> str:
    """Return what stands under a heading of the second level."""
    return text(page).split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(part: str) -> list[list[str]]:
    """Return the cells of the first table, without its header; a \\| is a bar inside a cell."""
    lines = re.search(r"(?:^\|.*\n)+", part, flags=re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def anchor(heading: str) -> str:
    """Return the name that GitHub gives a heading: lower case, punctuation left out, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)}


def broken_links(page: Path, links: list[str]) -> list[str]:
    """Return the relative links that lead to no file, or to no heading of a page."""
    broken = []
    for link in links:
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(link)
    return broken


def links(page: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in link]


@pytest.mark.parametrize("page", CHECKED)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    assert broken_links(CHECKED[page], links(CHECKED[page])) == []


def test_a_link_to_no_file_or_heading_is_seen():
    wrong = ["nowhere.md", "docs/guide.md#nowhere", "#nowhere"]
    right = ["docs/guide.md", "docs/guide.md#the-command-line", "#ten-lines"]
    assert broken_links(ROOT / "README.md", wrong + right) == wrong


def test_every_page_is_reached_from_the_readme():
    reached = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    start = ROOT / "docs" / "index.md"
    assert start in reached
    # the navigation of the site's start page: tests/project/test_site.py
    reached |= {start.parent / f"{line}.md" for line in text(start).splitlines() if re.fullmatch(r"\w+", line)}
    assert set((ROOT / "docs").glob("*.md")) <= reached


# The code in the pages


def calls_and_names(tree: ast.AST) -> list[tuple[ast.Attribute, list[str]]]:
    """Return every attribute that is read of a name, with the keywords of the call if it is called."""
    called = {id(node.func): [k.arg for k in node.keywords] for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return [(node, called.get(id(node), [])) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]


def unknown(code: str) -> list[str]:
    """Return what a block of code reads of bmm, of a fit or of a model that is not there, and unknown keywords."""
    out = []
    for node, keywords in calls_and_names(ast.parse(code)):
        match node.value:
            case ast.Name("bmm") if node.attr in (*bmm.__all__, "plots"):
                owner = bmm
            case ast.Attribute(ast.Name("bmm"), "plots") if node.attr in bmm.plots.__all__:
                owner = bmm.plots
            case ast.Name(name) if name in FITS:
                owner = FITS[name]
            case ast.Name(name) if name in MODELS:
                owner = model()
            case ast.Name("bmm") | ast.Attribute(ast.Name("bmm"), "plots"):
                out.append(ast.unparse(node))
                continue
            case _:
                continue
        out += _misused(owner, node, keywords)
    return out


def _misused(owner: object, node: ast.Attribute, keywords: list[str]) -> list[str]:
    if not hasattr(owner, node.attr):
        fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
        return [] if node.attr in fields else [ast.unparse(node)]
    if not keywords:
        return []
    accepted = inspect.signature(getattr(owner, node.attr)).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted):
        return []
    names = {parameter.name for parameter in accepted}
    return [f"{ast.unparse(node)}({keyword}=)" for keyword in keywords if keyword not in names]


CODE = {
    f"{name}, block {i}": code for name, page in CHECKED.items() for i, code in enumerate(blocks(page, "python"), 1)
}


@pytest.mark.parametrize("block", CODE)
def test_code_compiles_and_names_what_there_is(block):
    compile(CODE[block], block, "exec")
    assert unknown(CODE[block]) == []


def test_a_name_that_is_not_there_is_seen():
    assert unknown("bmm.Modle('y ~ x', data)") == ["bmm.Modle"]
    assert unknown("bmm.plots.plot_nothing(fit)") == ["bmm.plots.plot_nothing"]
    assert unknown("fit.predictt(new)") == ["fit.predictt"]
    assert unknown("fit.predict(new, level=1)") == ["fit.predict(level=)"]
    assert unknown("bmm.power(model, values, group=[9])") == ["bmm.power(group=)"]
    assert unknown("fit.tree; fit.predict(new, seed=1); bmm.Model('y ~ x', data, weights=w)") == []


@pytest.mark.parametrize("page", CHECKED)
def test_modules_that_a_page_names_are_there(page):
    named = re.findall(r"`((?:[\w]+/)*\w+\.py)`", prose(CHECKED[page]))
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("[a-z]*/**/*.py")]
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []


def test_every_formula_of_the_readme_can_be_read():
    table = rows(section(ROOT / "README.md", "Formulas"))
    written = [formula for cells in table for formula in cells[0].split("`")[1::2]]
    assert len(written) > 15
    for formula in written:
        parse_formula(formula.replace("...", "x") if "~" in formula else f"y ~ {formula}", ())


def test_the_table_of_families_is_that_of_the_code():
    table = rows(section(ROOT / "README.md", "Families"))
    said = {cells[0].strip("`"): (cells[1], re.findall(r"`(\w+)`", cells[3])) for cells in table}
    assert len(said) >= 8  # those that are used most; `docs/families.md` has all
    assert said == {name: (", ".join(FAMILIES[name].links), list(FAMILIES[name].auxiliaries)) for name in said}


def test_the_tables_of_priors_have_the_places_of_a_model():
    places = {place.replace("Subject", "g").replace("Days", "x") for place in model().priors}
    for page, title in ((ROOT / "README.md", "Priors"), (ROOT / "docs" / "priors.md", "Defaults")):
        assert {cells[0].split("`")[1] for cells in rows(section(page, title))} == places


# The example of the README


def masked(printed: str) -> list[str]:
    """Return the words of a print with every number as #: draws agree across machines within Monte Carlo error only."""
    return re.sub(r"-?\d[\d,.]*(e[-+]?\d+)?", "#", printed).split()


@pytest.mark.slow  # samples, and builds the PyMC graph that the comparison ends with
def test_the_readme_prints_what_its_ten_lines_print(capsys):
    code = blocks(ROOT / "README.md", "python")[0]
    exec(compile(code, "README.md", "exec"), {})
    printed = " ".join(masked(capsys.readouterr().out))
    shown = blocks(ROOT / "README.md", "text")
    assert len(shown) == 2
    for block in shown:
        assert " ".join(masked(block)) in printed


def test_the_estimates_of_the_readme_are_those_of_reml():
    shown = blocks(ROOT / "README.md", "text")[1]
    sds = model().maximize().varcorr()["sdcor"]
    for word, value in zip(("sd_Subject[Intercept]", "sd_Subject[Days]"), sds, strict=False):
        assert re.search(rf"^ {re.escape(word)} +{value:.3f} ", shown, flags=re.MULTILINE)
