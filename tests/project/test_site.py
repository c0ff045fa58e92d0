"""The pages of docs/: what their runner sees, their navigation, and that the reference has every public name.

`make docs` runs every page; here the quick ones are run.
"""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bayesmm as bmm
from docs.build import Links, broken
from docs.run import agree, blocks, run_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = ("reference", "reference_fits", "reference_functions")
QUICK = ("index", "from_lme4", "from_statsmodels", "howto_predict", "howto_meta", "reference")  # a minute together


def entries(page: str) -> dict[str, list[str]]:
    """Return the blocks of a page of the reference by the name that is documented before them."""
    parts = re.split(r"^\.\. auto\w+:: bayesmm\.((?:reporting\.plots\.)?\w+)$", page, flags=re.MULTILINE)
    return {
        name: [block for block in blocks(text) if not block.skipped]
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def navigation() -> list[str]:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    lists = re.findall(r"^```\{toctree\}\n(.*?)^```$", index, flags=re.MULTILINE | re.DOTALL)
    lines = [line for part in lists for line in part.splitlines() if line and not line.startswith(":")]
    return [re.sub(r"^.* <(.*)>$", r"\1", line) for line in lines]


def test_every_page_is_in_the_navigation_once():
    pages = [path.stem for entry in navigation() if not entry.startswith("../") for path in DOCS.glob(f"{entry}.md")]
    assert sorted(pages) == sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")


def test_the_navigation_leads_to_files():
    known = [entry for entry in navigation() if entry != "validation"]  # a page that is generated
    assert [entry for entry in known if not any((DOCS / entry).parent.glob(f"{Path(entry).name}.*"))] == []


def test_the_reference_has_every_public_name_with_an_example_that_shows_something():
    found = {}
    for name in REFERENCE:
        found |= entries((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    assert set(found) == set(bmm.__all__)
    for name, examples in found.items():
        code = "\n".join(block.code for block in examples)
        assert re.search(rf"\bbmm\.{name}\b", code), f"no example uses bmm.{name}"
        assert any(block.output for block in examples), f"the example of {name} shows nothing"


def test_the_reference_has_every_plot_with_an_example():
    found = entries((DOCS / "reference_plots.md").read_text(encoding="utf-8"))
    assert {name.rpartition(".")[2] for name in found} == set(bmm.plots.__all__)
    for name, examples in found.items():
        assert any(f"bmm.plots.{name.rpartition('.')[2]}(" in block.code for block in examples), name


def test_the_page_of_checks_has_every_check():
    page = (DOCS / "checks.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^### (.+)$", page, flags=re.MULTILINE))
    code = "".join(path.read_text() for path in (ROOT / "bayesmm" / "evaluation" / "checks").glob("*.py"))
    named = set(re.findall(r"\b(?:Check|worst_of|not_recorded|not_simulated)\(\s*\"([^\"]+)\"", code))
    named |= set(re.findall(r"^NAME = \"([^\"]+)\"", code, flags=re.MULTILINE))
    assert len(named) > 15
    assert named == described


@pytest.mark.parametrize("name", [name for name in bmm.__all__ if name != "__version__"])
def test_every_public_name_has_a_docstring(name):
    assert len((inspect.getdoc(getattr(bmm, name)) or "").splitlines()[0]) > 10


# The runner


PAGE = """# A page

```python
x = 2
```

<!-- not run: nobody has this -->
```python
import nothing_of_the_kind
```

| theirs | bayesmm | why |
|---|---|---|
| `a \\| b` | `x = x \\| 1`; `x += 1` | `y` |

```python
print("x is", x)
x + 0.5
```

```text
x is 4
4.5
```
"""


def write(folder: Path, page: str) -> Path:
    path = folder / "page.md"
    path.write_text(page, encoding="utf-8")
    return path


def test_a_page_that_prints_what_it_shows_passes(tmp_path):
    path = write(tmp_path, PAGE)
    assert run_page(path) == (PAGE, [])


def test_a_changed_output_is_shown_as_a_difference_and_can_be_written(tmp_path):
    path = write(tmp_path, PAGE.replace("x is 4", "x was 4"))
    page, faults = run_page(path)
    assert page == PAGE
    assert len(faults) == 1
    assert "-x was 4\n+x is 4" in faults[0]
    assert "page.md:17" in faults[0]


def test_an_error_in_a_block_or_in_a_call_of_a_table_is_a_fault(tmp_path):
    _, faults = run_page(write(tmp_path, PAGE.replace("`x += 1`", "`x += z`")))
    assert "name 'z' is not defined" in faults[0]
    assert "-x is 4\n" in faults[1]
    _, faults = run_page(write(tmp_path, PAGE.replace("x = 2", "x = ")))
    assert "SyntaxError" in faults[0]


def test_an_image_without_a_figure_is_a_fault(tmp_path):
    _, faults = run_page(write(tmp_path, "```python\nx = 1\n```\n\n![nothing](images/nothing.png)\n"))
    assert "no figure for nothing.png" in faults[0]


@pytest.mark.parametrize(
    ("shown", "printed", "sampled", "same"),
    [
        ("sd 25.59 in 0.6 s", "sd 25.59 in 12 s", False, True),
        ("sd 25.59", "sd 25.58", False, True),  # a unit of the last digit
        ("sd 25.59", "sd 25.81", False, False),
        ("sd 25.59", "sd 25.81", True, True),
        ("sd 25.59", "sd 52.59", True, False),
        ("mean -0.11 0.29 -0.63", "mean -0.08 0.28 -0.61", True, True),
        ("p = 2e-26", "p = 2e-20", False, False),
        ("agree 0.14", "skew 0.14", True, False),
        ("one", "one\ntwo", True, False),
        ("251.40510484848488", "251.41", True, False),  # rounded by its code, and not on the page
        ("0.123456789012345", "0.12345678901234567", False, True),
    ],
)
def test_which_outputs_are_the_same(shown, printed, sampled, same):
    assert agree(shown, printed, sampled, exact=False) is same
    assert agree(shown, shown, sampled, exact=True)


def test_exact_is_digit_by_digit_but_for_the_time():
    assert not agree("25.59", "25.58", False, exact=True)
    assert agree("0.6 s", "7 s", False, exact=True)


def test_links_are_checked_in_the_built_pages(tmp_path):
    page = '<p id="here"><a href="b.html#there">x</a><a href="#here">x</a><a href="https://example.org">x</a></p>'
    (tmp_path / "a.html").write_text(page)
    (tmp_path / "b.html").write_text('<p id="there"><a href="a.html#nowhere">x</a><a href="c.html">x</a></p>')
    assert broken(tmp_path) == ["b.html: a.html#nowhere", "b.html: c.html"]
    (tmp_path / "c.html").write_text('<p id="nowhere"><script src="https://example.org/x.js"></script></p>')
    assert broken(tmp_path) == ["b.html: a.html#nowhere", "c.html loads https://example.org/x.js"]
    assert Links(page).anchors == {"here"}


@pytest.mark.slow  # samples a few models
def test_the_quick_pages_print_what_they_show():
    done = subprocess.run([sys.executable, "-m", "docs.run", *QUICK], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
