"""How Sphinx makes the site: `python -m docs.build`, which `make docs` calls, has the repository as its source."""

from docutils.utils.math.latex2mathml import tex2mathml

from bayesmm.version import __version__

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
suppress_warnings = ["toc.empty_glob"]  # validation.md is generated

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


def setup(app: object) -> dict:
    """Add the renderer of formulas."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
