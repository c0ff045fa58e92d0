"""The plan of docs/architecture.md, held against the code: rooms from top to bottom, and every import runs down."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bayesmm"
HEAVY = {"pandas", "pymc", "pytensor", "numba", "matplotlib", "xarray", "scipy", "nutpie", "arviz", "pooch"}
MOST_LOOSE = 7  # modules outside the folders of the rooms
MOST_LINES = 400  # of a module
MOST_OF_A_FUNCTION = 50  # lines, its docstring apart


def rooms() -> list[str]:
    """Return the rooms in the order of the page's table."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("## The rooms")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w.]+)/?` \|", table, re.MULTILINE)


MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
parsed = cache(ast.parse)  # a module is looked at by several tests


@cache
def nodes(source: str) -> list[ast.AST]:
    """Return everything in the tree of a source."""
    return list(ast.walk(parsed(source)))


RANK = {room.removesuffix(".py"): -position for position, room in enumerate(rooms())}


def room(module: str) -> str:
    """Return the room of a module: "likelihood/gaussian" -> "likelihood"."""
    return module.split("/")[0]


class Imports(ast.NodeVisitor):
    """Collects what one file imports: at its top, inside functions, and for type checkers alike."""

    def __init__(self, module: str) -> None:
        self.parents = ("bayesmm", *module.split("/")[:-1])
        self.found: set[str] = set()
        self.at_top: set[str] = set()
        self.depth = 0

    def add(self, dotted: str) -> None:
        self.found.add(dotted)
        if self.depth == 0:
            self.at_top.add(dotted)

    def deeper(self, node: ast.AST) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = deeper

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            self.deeper(node)  # it does not run
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        start = ".".join(self.parents[: len(self.parents) - node.level + 1]) if node.level else ""
        base = ".".join(part for part in (start, node.module or "") if part)
        for alias in node.names:
            self.add(f"{base}.{alias.name}" if module_of(f"{base}.{alias.name}") else base)


def module_of(dotted: str) -> str | None:
    """Return the module of this package that a dotted name is, as a key of MODULES."""
    first, *rest = dotted.split(".")
    if first != "bayesmm":
        return None
    name = "/".join(rest)
    return next((key for key in (name, f"{name}/__init__".removeprefix("/")) if key in MODULES), None)


def imports_of(module: str, source: str | None = None) -> Imports:
    visitor = Imports(module)
    visitor.visit(parsed(source if source is not None else MODULES[module].read_text(encoding="utf-8")))
    return visitor


@cache
def imports(module: str) -> Imports:
    return imports_of(module)


def upward(module: str, found: set[str]) -> list[tuple[str, str]]:
    """Return the imports of a module from a room further up."""
    targets = filter(None, map(module_of, sorted(found)))
    return [(module, target) for target in targets if RANK[room(target)] > RANK[room(module)]]


def foreign(module: str) -> set[str]:
    return {dotted.split(".")[0] for dotted in imports(module).found} - {"bayesmm"}


# ----------------------------------------------------------------------------------------------------------------------
# the plan


def test_the_page_has_exactly_the_rooms_of_the_tree():
    listed = rooms()
    assert len(listed) == len(set(listed))
    there = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(listed) == there


def test_no_import_runs_up():
    assert [pair for module in MODULES for pair in upward(module, imports(module).found)] == []


def test_no_modules_import_each_other_in_a_circle():
    waiting = {module: set(filter(None, map(module_of, imports(module).found))) - {module} for module in MODULES}
    while waiting:
        free = {module for module, targets in waiting.items() if not targets & waiting.keys()}
        assert free, f"in a circle, or above one: {sorted(waiting)}"
        waiting = {module: targets for module, targets in waiting.items() if module not in free}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from bayesmm.model import Model", [("design/design", "model")]),
        ("import bayesmm.model", [("design/design", "model")]),
        ("from bayesmm import model", [("design/design", "model")]),
        ("from ..model import Model", [("design/design", "model")]),
        ("def f():\n    from bayesmm.model import Model", [("design/design", "model")]),
        ("if TYPE_CHECKING:\n    from bayesmm.model import Model", [("design/design", "model")]),
        ("import bayesmm", [("design/design", "__init__")]),
        ("from bayesmm.errors import DataError\nimport numpy", []),
    ],
)
def test_the_rule_sees_each_way_to_write_an_import(source, expected):
    assert upward("design/design", imports_of("design/design", source).found) == expected


def test_few_modules_stand_outside_a_room():
    assert len([module for module in MODULES if "/" not in module]) <= MOST_LOOSE


def test_no_module_is_long():
    long = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: lines for module, lines in long.items() if lines > MOST_LINES} == {}


def test_functions_fit_a_screen():
    long = {}
    for module, path in MODULES.items():
        for function in nodes(path.read_text(encoding="utf-8")):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                told = function.body[0].end_lineno - function.body[0].lineno + 1 if ast.get_docstring(function) else 0
                long[f"{module}:{function.lineno}: {function.name}"] = function.end_lineno - function.lineno + 1 - told
    assert {name: lines for name, lines in long.items() if lines > MOST_OF_A_FUNCTION} == {}


# ----------------------------------------------------------------------------------------------------------------------
# what a room may need


def test_the_formula_needs_nothing_but_the_standard_library():
    for module in MODULES:
        if room(module) in ("formula", "errors"):
            assert foreign(module) <= sys.stdlib_module_names, module


def test_the_likelihood_loads_neither_pandas_nor_pymc():
    names = [f"bayesmm.{m.replace('/', '.')}".removesuffix(".__init__") for m in MODULES if room(m) == "likelihood"]
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(run.stdout.split())
    assert not loaded & {"pandas", "pymc", "pytensor", "xarray", "matplotlib", "scipy.optimize", "scipy.stats"}


def test_pymc_is_known_to_one_folder():
    elsewhere = [module for module in MODULES if not module.startswith("sampling/graph/")]
    assert [module for module in elsewhere if "pymc" in foreign(module)] == []
    # densities are written in PyTensor where their family is; it is loaded when one is asked for
    known = {module for module in elsewhere if "pytensor" in foreign(module)}
    densities = {path.stem for path in family_files() if "graph_density" in path.read_text(encoding="utf-8")}
    shared = {"links", "observed", "probabilities", "tails", "zeros"}
    zeros = "from bayesmm.families.zeros import"  # which writes the densities of those that import it
    borrowed = {"bernoulli", *(path.stem for path in family_files() if zeros in path.read_text(encoding="utf-8"))}
    assert known == {f"families/{name}" for name in {*densities, *shared} - borrowed} | {"likelihood/own_family"}


def docstrings(source: str) -> set[int]:
    """Return which nodes are docstrings, by id."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in nodes(source) if isinstance(node, holders)]
    return {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}


def defaults_of_family(source: str) -> set[int]:
    """Return which nodes are the default of a parameter `family`, by id."""
    found = set()
    for node in nodes(source):
        if isinstance(node, ast.arguments):
            arguments = [*node.posonlyargs, *node.args]
            given = [*zip(arguments[len(arguments) - len(node.defaults) :], node.defaults, strict=True)]
            given += zip(node.kwonlyargs, node.kw_defaults, strict=True)
            found |= {id(value) for argument, value in given if argument.arg == "family" and value is not None}
    return found


def names_of_arguments(source: str) -> set[int]:
    """Return which nodes name the argument that is handed on beside them, ``check_bool("x", x)``, by id."""
    calls = [node.args for node in nodes(source) if isinstance(node, ast.Call) and len(node.args) >= 2]
    return {
        id(text)
        for text, value, *_ in calls
        if isinstance(text, ast.Constant) and isinstance(value, ast.Name) and text.value == value.id
    }


def named_families(source: str) -> list[int]:
    """Return the lines that name a family: as a text, in a comparison, or as what to write ("family='poisson'").

    "beta" alone is the coefficients, and is looked for in comparisons with something of a family only.
    """
    names = sorted(path.stem for path in family_files())
    allowed = docstrings(source) | defaults_of_family(source) | names_of_arguments(source)
    written = re.compile(rf"family=['\"]?({'|'.join(names)})\b")
    lines = []
    for node in nodes(source):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in allowed:
            said = node.value in names and node.value != "beta"
            lines += [node.lineno] * bool(said or written.search(node.value))
        elif isinstance(node, ast.Compare):
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            lines += [node.lineno] * ("beta" in texts and "family" in ast.unparse(node))
    return lines


@cache
def family_files() -> list[Path]:
    """Return the files of families/ that hold a family."""
    files = (PACKAGE / "families").glob("*.py")
    return [path for path in files if re.search(r"^family = Family\(", path.read_text(encoding="utf-8"), re.MULTILINE)]


def test_each_family_has_one_file_of_its_name():
    from bayesmm.families.families import FAMILIES

    assert {path.stem for path in family_files()} == set(FAMILIES)


def test_no_other_room_names_a_family():
    others = [module for module in MODULES if room(module) != "families" and not module.startswith("cli/reproduce/")]
    found = {module: named_families(MODULES[module].read_text(encoding="utf-8")) for module in others}
    assert {module: lines for module, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("if design.family.name == 'poisson': pass", [1]),
        ("if family.name in ('gamma', 'beta'): pass", [1, 1]),
        ("if family.name != 'beta': pass", [1]),
        ("COSTS = {'student': 2}", [1]),
        ("print(f\"use family='negbinomial' or {other}\")", [1]),
        ("def fit(formula, family: str = 'gaussian', link='log'): pass", []),
        ("def fit(formula, name='gaussian'): pass", [1]),
        ("check_bool('cumulative', cumulative)", []),
        ("check_bool('cumulative', other)", [1]),
        ("def f():\n    'bernoulli'\n    return variable(tree, 'beta')", []),
    ],
)
def test_the_rule_sees_each_way_to_name_a_family(source, lines):
    assert sorted(named_families(source)) == lines


def test_no_other_room_knows_a_family_by_its_number_or_by_its_file():
    files = {f"bayesmm.families.{path.stem}" for path in family_files()}
    for module in MODULES:
        if room(module) != "families":
            assert not files & set(imports(module).found), module
            numbers = re.search(r"family\.number\b", MODULES[module].read_text(encoding="utf-8"))
            assert numbers is None or room(module) == "likelihood", module


def test_formulas_are_evaluated_by_no_library():
    # formulaic, formulae and patsy run what stands in a formula as Python code; here they are for tests to compare with
    assert not [module for module in MODULES if foreign(module) & {"formulaic", "formulae", "patsy"}]


def test_every_requirement_is_imported_and_every_import_is_required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    required = {requirement.split(">=")[0] for requirement in project["project"]["dependencies"]}
    imported = set().union(*map(foreign, MODULES)) - sys.stdlib_module_names
    for path in MODULES.values():  # and what an extra has, by its name: runtime/extras.py
        text = path.read_text(encoding="utf-8")
        imported |= set(re.findall(r"\b(?:need|need_plots|check_extra)\(\"(\w+)", text))
    brought = {
        "pytensor": "pymc",
        "llvmlite": "numba",
        "arviz_stats": "arviz",
        "markupsafe": "jinja2",
        "numcodecs": "zarr",
        "pyarrow": "nutpie",
    }  # imported name -> the requirement that it is a part of
    by_xarray = {"h5netcdf"}  # xarray imports it when a tree is written or read
    extras = project["project"]["optional-dependencies"]
    optional = {requirement.split(">=")[0] for name in ("all", "plots", "report") for requirement in extras[name]}
    at_top = {dotted.split(".")[0] for module in MODULES for dotted in imports(module).at_top}
    assert not optional & at_top and optional <= imported
    assert {brought.get(name, name) for name in imported} - optional == required - by_xarray


def test_the_command_line_loads_nothing_heavy_at_the_top():
    light = ("__init__", "__main__", "cli/__init__", "cli/main", "cli/input", "cli/output")
    for module in MODULES:
        if module in light or room(module) in ("example_data", "errors", "version"):
            top = imports(module).at_top
            assert not {dotted.split(".")[0] for dotted in top} & HEAVY, module
            inner = {room(target) for target in filter(None, map(module_of, top))}
            assert inner <= {"runtime", "cli", "example_data", "errors", "version"}, module


@cache
def calls_of_samplers(module: str) -> list[str]:
    return [
        ast.unparse(node)
        for node in nodes(MODULES[module].read_text(encoding="utf-8"))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("pm", "pymc", "nutpie")
        and (node.attr.startswith(("sample", "compile_pymc")) or node.attr == "find_MAP")
    ]


def test_only_sampling_calls_a_sampler_and_nothing_calls_find_map():
    callers = {module: calls_of_samplers(module) for module in MODULES if calls_of_samplers(module)}
    assert set(callers) <= {"sampling/graph/nuts"}
    assert not any("find_MAP" in call for calls in callers.values() for call in calls)
    assert not [module for module in MODULES if "nutpie" in foreign(module) and room(module) != "sampling"]


# ----------------------------------------------------------------------------------------------------------------------
# the names of parameters

NAMES = "design/parameters"  # the only module that builds them and takes them apart
# what a name of a parameter, of its data or of a dimension begins or ends with
PIECE = r"(?<![A-Za-z0-9}\\])(?:sd_|corr_|b_|Z_|index_|beta\[)|_term(?:_bis)?(?![A-Za-z0-9_])|_centred(?![A-Za-z0-9_])"
OPEN = rf"(?:{PIECE})(?:$|[{{%])|^(?:_term|_centred)"  # a text to be joined to another or filled, or one to search with


def names_built(source: str) -> list[str]:
    """Return the expressions of a module in which the name of a parameter is built, searched for or written out."""
    inside = {part for node in nodes(source) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    documentation = {node.value for node in nodes(source) if isinstance(node, ast.Expr)}
    found = []
    for node in nodes(source):
        if isinstance(node, ast.JoinedStr):
            texts = [part.value for part in node.values if isinstance(part, ast.Constant)]
            if any(re.search(PIECE, text) for text in texts):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside | documentation:
            if re.search(OPEN, node.value) or node.value == "Intercept_centred":
                found.append(ast.unparse(node))
    return found


def test_the_names_of_parameters_are_made_in_one_place():
    built = {module: names_built(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
    assert built.pop(NAMES)
    assert {module: found for module, found in built.items() if found} == {}


@pytest.mark.parametrize(
    "source",
    [
        'f"sd_{block.name}[{term}]"',
        'f"give corr_{block.name} a prior"',
        'f"beta[{name}]"',
        'f"_b_{name}"',
        'f"{name}_term_bis"',
        'f"{name}{end}_centred"',
        '"sd_" + name',
        'name + "_term"',
        '"beta[%s]" % name',
        '"corr_{}".format(name)',
        'name.startswith("b_")',
        'places["Intercept_centred"]',
    ],
)
def test_the_rule_sees_each_way_to_build_a_name(source):
    assert names_built(source)


@pytest.mark.parametrize(
    "source", ['"""sd_<name> and `b_`"""', '"places: beta[x], sd_g"', 'f"{sub_total} of grab_{x}"', 'f"{name}_terms"']
)
def test_the_rule_leaves_other_texts_alone(source):
    assert not names_built(source)


def made_in_the_call(source: str) -> list[int]:
    """Return the lines that take the address of an array which nothing keeps."""
    calls = [node for node in nodes(source) if isinstance(node, ast.Call)]
    takers = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "pointers"]
    return [node.lineno for node in takers if any(isinstance(argument, ast.Call) for argument in node.args)]


def test_addresses_are_taken_of_arrays_that_are_kept():
    assert made_in_the_call("run(*pointers(words, np.zeros(2)))") == [1]
    assert made_in_the_call("run(*pointers(words, *given, x[1:]))") == []
    found = {m: lines for m in MODULES if (lines := made_in_the_call(MODULES[m].read_text(encoding="utf-8")))}
    assert not found
