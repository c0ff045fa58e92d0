"""The import direction: every module stands on a layer and imports from its own layer or lower ones."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bayesmm"

# From the ground up. A folder stands for all that is in it. Fit has a one-line method for every function that reads a
# posterior, so it stands above them (they take it as an argument and need no import); Model makes a Fit.
LAYERS = tuple(
    line.split()
    for line in (
        "errors streams",
        "arguments runtime",
        "grammar formula example_data",
        "data families design",
        "priors",
        "marginal",
        "reduction memory runs",
        "graph",
        "pointfit mode maximize starts glmm glmm_mode glmstart separation progress bridge sampling",
        "layout density tables points checks compare comparison_text loglik prediction variance prior_work evaluation "
        "summary drawing beliefs replicates simulation plots io source storage streaming inference",
        "equation results guards centring effects averages derived replication",
        "posterior",
        "model",
        "loading",
        "reporting",
        "cli_input cli_output published reproduce cli __main__",
    )
)
# The package itself: its public names, each loaded from its module at first use.
ROOT_MODULE = "__init__"

# Imports inside a function that point upwards, each with its reason.
UPWARD = {
    ("pointfit", "summary"): "print(point) is written where the other prints are",
    ("pointfit", "replication"): "so are what is simulated from a fit, and its bootstrap",
    ("pointfit", "inference"): "the tests and intervals of a fit are methods of it, of one line each",
    **{
        (room, "reporting"): "_repr_html_ (and fit.report) are written where the page is, and needed by nobody else"
        for room in ("results", "pointfit", "compare", "model", "inference", "averages")
    },
    ("pointfit", "variance"): "shares of variance are made in the same way from a posterior",
    ("pointfit", "prediction"): "it reads other data with what a posterior's predictions read them with",
}

HEAVY = {"pandas", "pymc", "pytensor", "numba", "matplotlib", "xarray", "scipy", "nutpie", "arviz", "pooch"}


def modules():
    return {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


MODULES = modules()


def room(module):
    """Return the entry of LAYERS that a module or one of its folders is: "marginal/gaussian" -> "marginal"."""
    return module.split("/")[0]


RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


class Imports(ast.NodeVisitor):
    """Collects (imported module, lazy?) pairs of one file; imports for type checkers do not run and do not count."""

    def __init__(self, module):
        self.parents = ("bayesmm", *module.split("/")[:-1])
        self.depth = 0
        self.found = set()

    def add(self, name):
        self.found.add((name, self.depth > 0))

    def visit_FunctionDef(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_If(self, node):
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node):
        start = ".".join(self.parents[: len(self.parents) - node.level + 1]) if node.level else ""
        base = ".".join(part for part in (start, node.module or "") if part)
        for alias in node.names:
            deeper = f"{base}.{alias.name}"
            self.add(deeper if is_module(deeper) else base)


def is_module(dotted):
    parts = dotted.split(".")
    name = "/".join(parts[1:])
    return parts[0] == "bayesmm" and (name in MODULES or f"{name}/__init__" in MODULES)


def imports_of(module, source=None):
    visitor = Imports(module)
    visitor.visit(ast.parse(source if source is not None else MODULES[module].read_text(encoding="utf-8")))
    return visitor.found


IMPORTS = {module: imports_of(module) for module in MODULES}


def own(dotted):
    """Return the room of an imported module of this package ("" for the package itself), None for another's."""
    parts = dotted.split(".")
    return None if parts[0] != "bayesmm" else (parts[1] if len(parts) > 1 else "")


def foreign(module):
    return {dotted.split(".")[0] for dotted, _ in IMPORTS[module] if own(dotted) is None}


def upward(module, imports):
    """Yield (room of the module, room that it imports, lazy?) for every import that points up the list."""
    for dotted, lazy in sorted(imports):
        target = own(dotted)
        if target and RANK.get(target, 0) > RANK.get(room(module), 0):  # one without a rank fails a test of its own
            yield room(module), target, lazy


def test_every_module_stands_on_one_layer():
    names = [name for layer in LAYERS for name in layer]
    assert len(names) == len(set(names))
    unknown = {room(module) for module in MODULES} - set(names) - {ROOT_MODULE}
    assert not unknown, "say in LAYERS where they stand"


def test_imports_never_point_upwards():
    wrong = {
        (module, *pair)
        for module in MODULES
        if module != ROOT_MODULE
        for *pair, lazy in upward(module, IMPORTS[module])
        if not (lazy and tuple(pair) in UPWARD)
    }
    assert not wrong


def test_every_permitted_upward_import_is_used():
    used = {pair[:2] for module in MODULES if module != ROOT_MODULE for pair in upward(module, IMPORTS[module])}
    assert set(UPWARD) == used


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from bayesmm.model import Model", [("design", "model", False)]),
        ("import bayesmm.model", [("design", "model", False)]),
        ("from bayesmm import model", [("design", "model", False)]),
        ("from . import model", [("design", "model", False)]),
        ("from .model import Model", [("design", "model", False)]),
        ("def f():\n    from .model import Model", [("design", "model", True)]),
        ("if TYPE_CHECKING:\n    from .model import Model", []),
        ("from .errors import DataError\nimport numpy", []),
    ],
)
def test_the_rule_sees_each_way_to_write_an_import(source, expected):
    assert list(upward("design", imports_of("design", source))) == expected


def test_no_module_imports_the_package_itself():
    # bayesmm/__init__.py loads its names from the modules: the other way round is a circle. These read the version
    # alone.
    wrong = {module for module in MODULES if any(dotted == "bayesmm" for dotted, _ in IMPORTS[module])}
    assert wrong <= {"cli", "storage/files", "reporting/content", "reporting/words", "reproduce/page"}


def test_the_formula_needs_nothing_but_the_standard_library():
    for module in MODULES:
        if room(module) in ("formula", "grammar", "errors"):
            assert foreign(module) <= sys.stdlib_module_names, module


def test_the_numerical_core_needs_nothing_but_numpy_and_numba():
    for module in MODULES:
        if room(module) == "marginal":
            known = {"numpy", "numba", "llvmlite"}  # the last is a part of Numba
            assert foreign(module) - sys.stdlib_module_names <= known, module


def test_pymc_is_known_to_the_graph_and_to_sampling_alone():
    known = {room(module) for module in MODULES if foreign(module) & {"pymc", "pytensor"}}
    assert known <= {"graph", "sampling", "bridge"}


def test_formulas_are_evaluated_by_no_library():
    # formulaic, formulae and patsy run what stands in a formula as Python code; here they are for tests to compare with
    assert not [module for module in MODULES if foreign(module) & {"formulaic", "formulae", "patsy"}]


def test_every_requirement_is_imported_and_every_import_is_required():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    required = {requirement.split(">=")[0] for requirement in project["project"]["dependencies"]}
    imported = set().union(*map(foreign, MODULES)) - sys.stdlib_module_names
    brought = {
        "pytensor": "pymc",
        "llvmlite": "numba",
        "arviz_stats": "arviz",
        "markupsafe": "jinja2",
        "numcodecs": "zarr",
    }  # imported name -> the requirement that it is a part of
    by_xarray = {"h5netcdf"}  # xarray imports it when a tree is written or read
    assert {brought.get(name, name) for name in imported} == required - by_xarray


def test_the_command_line_loads_nothing_heavy_at_the_top():
    for module in MODULES:
        if room(module) in (ROOT_MODULE, "cli", "cli_input", "cli_output", "__main__", "example_data", "errors"):
            loaded = {dotted.split(".")[0] for dotted, lazy in IMPORTS[module] if not lazy}
            assert not loaded & HEAVY, module
            inner = {own(dotted) for dotted, lazy in IMPORTS[module] if not lazy} - {None, ""}
            assert inner <= {"arguments", "cli", "cli_input", "cli_output", "example_data", "errors"}, module


def calls_of_samplers(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("pm", "pymc", "nutpie")
        and (node.attr.startswith(("sample", "compile_pymc")) or node.attr == "find_MAP")
    ]


def test_only_sampling_calls_a_sampler_and_nothing_calls_find_map():
    callers = {module: calls_of_samplers(module) for module in MODULES if calls_of_samplers(module)}
    assert set(callers) <= {"sampling/graph"}
    assert not any("find_MAP" in call for calls in callers.values() for call in calls)
    assert not [module for module in MODULES if "nutpie" in foreign(module) and room(module) != "sampling"]
