"""How Sphinx makes the site: `python -m docs.build`, which `make docs` calls, has the repository as its source."""

import inspect
import re
from importlib import import_module
from pathlib import Path

from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

from bayesmm.runtime.version import __version__

LOGGER = logging.getLogger(__name__)

project = "bayesmm"
author = "The bayesmm authors"
copyright = author
version = release = __version__

# Pages are where the repository has them, so that their links are right there and here.
root_doc = "docs/index"
include_patterns = [
    "docs/**.md", "notebooks/*.ipynb", "notebooks/README.md", "models/README.md", "benchmarks/README.md",
    "bayesmm/example_data/PROVENANCE.md", "README.md", "CHANGELOG.md", "CONTRIBUTING.md",
]  # fmt: skip
exclude_patterns = ["build", "tests", "examples-out", "demo", ".*", "bayesmm/[a-df-z_]*"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
nb_execution_mode = "off"  # `python -m docs.run` executes the pages, `make notebooks` the notebooks
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # GitHub's names of headings

default_role = "code"  # docstrings write `names` so
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes stand once, in the class
napoleon_use_rtype = False
add_module_names = False

html_theme = "pydata_sphinx_theme"
html_title = "bayesmm"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
templates_path = ["templates"]
html_sidebars = {"**": ["site-nav"]}
html_context = {"default_mode": "auto"}
toc_object_entries = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 5,
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "primary_sidebar_end": [],
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_math_renderer = "mathml"


def _visit_math(self: object, node: object) -> None:
    """Write a formula as MathML, which browsers draw by themselves: no script, no font, no network."""
    from docutils import nodes

    block = isinstance(node, nodes.math_block)
    mathml = str(tex2mathml(node.astext(), as_block=block))
    self.body.append(f'<div class="equation">{mathml}</div>' if block else mathml)
    raise nodes.SkipNode


def _without_missing(app: object, docname: str, source: list[str]) -> None:
    """Take the validation page out of the navigation where it has not been generated yet."""
    if docname == root_doc and not (Path(app.srcdir) / "docs" / "validation.md").exists():
        source[0] = source[0].replace("\nvalidation\n", "\n", 1)


# Methods of one line name the function that does the work: its docstring has the arguments.
REFERRED = re.compile(r"[:;.]?\s+(?:[Ss]ee|Its attributes are those of) `([\w.]+)\.(\w+)`\.?$", flags=re.MULTILINE)
ITSELF = re.compile(r"(Parameters\n-+\n)(?:fit|point|fitted) :[^\n]*\n?(?:    [^\n]*\n)*")  # the method's own object
ROOMS = ("", "bayesmm.", "bayesmm.evaluation.", "bayesmm.inference.", "bayesmm.estimation.estimates.")
MADE_BY_CALLS = ("Accumulated", "Check", "Comparison", "Fit", "Fits", "PointFit")  # nobody calls these classes


def _named(path: str, name: str) -> object:
    """Return what a docstring names, by its full path or by its path within a room; None if nothing is found."""
    for room in ROOMS:
        module, _, owner = f"{room}{path}".rpartition(".")
        for place, attribute in ((f"{room}{path}", name), (module, f"{owner}.{name}")):
            try:
                found = import_module(place)
                for part in attribute.split("."):
                    found = getattr(found, part)
            except (ImportError, AttributeError, ValueError):
                continue
            return found
    return None


def _follow(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Put the rest of the docstring that a short one refers to in the place of the reference."""
    text = "\n".join(lines).rstrip()
    if not (found := REFERRED.search(text)):
        return
    if (target := _named(*found.groups())) is None:
        LOGGER.warning("the docstring of %s refers to %s, which is not there", name, ".".join(found.groups()))
    else:
        rest = ITSELF.sub(r"\1", (inspect.getdoc(target) or "").partition("\n\n")[2])
        rest = re.sub(r"Parameters\n-+\n(?=\n|\Z)", "", rest)
        lines[:] = f"{text[: found.start()]}.{text[found.end() :]}\n\n{rest}".splitlines()


def _without_arguments(app: object, what: str, name: str, *rest: object) -> tuple[str, None] | None:
    return ("", None) if what == "class" and name.rpartition(".")[2] in MADE_BY_CALLS else None


def setup(app: object) -> dict:
    """Add the renderer of formulas."""
    app.connect("source-read", _without_missing)
    app.connect("autodoc-process-docstring", _follow, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", _without_arguments)
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
