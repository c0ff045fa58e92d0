"""What 20 models give, to the last bit: recorded before the package is rearranged, compared afterwards.

    python -m benchmarks.golden record FILE            writes one JSON
    python -m benchmarks.golden compare FILE           computes again, in this process; exit status 1 at a difference
    python -m benchmarks.golden compare FILE OTHER     compares two records
    ... --models sleepstudy poisson-offset             some of the models

Only public names are used, so that the same files run before and after. JSON has the repr of a float, which is
exact. What raises an error is recorded with its sentence, and so are the warnings. Times, versions and memory addresses
are masked: nothing else is, and there is no tolerance.
"""

import argparse
import difflib
import json
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import bayesmm as bmm
from benchmarks.golden_models import CASES, MORE, SHORT, Case, Made, of_fit, of_model, of_point

LIBRARIES = ("numpy", "scipy", "numba", "llvmlite", "pandas", "pymc", "pytensor", "nutpie", "arviz")
TIME = re.compile(r"\b\d[\d,.]*(?:e-?\d+)? ?(?:ms|s|min|seconds?)(?![\w'])")
PARAGRAPH = re.compile(r"^Draws:.*(?:\n +\S.*)*", re.MULTILINE)  # its time moves the end of its line
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
SHOWN = 8  # lines of the difference between two texts

type Leaf = str | float | list  # what JSON has; lists are nested as an array's axes are


def leaves(name: str, value: object) -> Iterator[tuple[str, Leaf]]:
    """Split what a function returned into texts and numbers, with their names."""
    if isinstance(value, str):
        yield name, masked(value)
    elif isinstance(value, pd.DataFrame):
        yield f"{name}: labels", [str(label) for label in value.index]
        for column in value:
            yield from leaves(f"{name}[{column}]", value[column].to_numpy())
    elif isinstance(value, xr.DataTree):
        for node in value.subtree:
            yield from leaves(f"{name}{node.path}", node.to_dataset())
    elif isinstance(value, Mapping):  # a Dataset is one, of DataArrays
        for key, part in value.items():
            yield from leaves(f"{name} {key}", part)
    else:
        array = np.asarray(value)
        yield name, (array.astype(str) if array.dtype.kind in "OTUM" else array).tolist()


def masked(text: str) -> str:
    """Return a text without what differs between two runs of the same code."""
    text = PARAGRAPH.sub(lambda found: " ".join(found[0].split()), ADDRESS.sub("ADDRESS", text))
    return TIME.sub("TIME", text).replace(bmm.__version__, "VERSION")


def asked(prefix: str, functions: Mapping[str, Callable]) -> Iterator[tuple[str, Leaf]]:
    """Call the functions; an error is a result, too."""
    for name, function in functions.items():
        try:
            yield from list(leaves(f"{prefix} {name}", function()))
        except Exception as error:  # whatever it raises is what is recorded
            yield f"{prefix} {name}", masked(f"raises {type(error).__name__}: {error}")


def quantities(case: Case) -> dict[str, Leaf]:
    """Return everything that is recorded of a model."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", bmm.BayesmmWarning)
        model = bmm.Model(case.formula, case.data(), **case.own)
        points = [model.maximize(**options) for options in case.points]
        found = dict(asked("model", of_model(model)))
        for options, point in zip(case.points, points, strict=True):
            found |= asked(f"maximize{dict(options)}", of_point(point))
        fits = [model.sample(**SHORT, **options) for options in case.samplings]
        for options, fit in zip(case.samplings, fits, strict=True):
            found |= asked(f"sample{dict(options)}", {"draws": lambda fit=fit: fit.tree})
        found |= asked("fit", of_fit(fits[0], points[0]))
        made = Made(case, model, points[0], fits[0])
        found |= asked("more", {name: lambda name=name: MORE[name](made) for name in case.more})
    return found | {"warnings": sorted({masked(str(one.message)) for one in given})}


def recorded(names: list[str], file: Path | None = None) -> dict[str, dict]:
    """Return the record of some models, kept in a file as they come; stderr says what took long or raised an error."""
    machine = {"Python": platform.python_version(), "machine": platform.platform()}
    models: dict[str, dict] = {}
    record = {"environment": machine | {name: version(name) for name in LIBRARIES}, "models": models}
    for name in names:
        began = time.perf_counter()
        models[name] = quantities(CASES[name])
        print(f"{name}: {len(models[name])} quantities, {time.perf_counter() - began:.1f} s", file=sys.stderr)
        for quantity, leaf in models[name].items():
            if isinstance(leaf, str) and leaf.startswith("raises "):
                print(f"  {quantity} {' '.join(leaf.split())}", file=sys.stderr)
        if file is not None:
            file.write_text(json.dumps(record, indent=0))
    return record


def difference(a: Leaf | None, b: Leaf | None) -> str:
    """Return how two leaves differ, in a few words; empty if they are equal to the last bit."""
    if json.dumps(a) == json.dumps(b):
        return ""
    if a is None or b is None:
        return "is only in the " + ("second" if a is None else "first")
    if isinstance(a, str) and isinstance(b, str):
        lines = list(difflib.unified_diff(a.splitlines(), b.splitlines(), n=0, lineterm=""))[2:]
        return "\n    ".join(["the text differs", *(line[:300] for line in lines[:SHOWN])])
    one, other = np.asarray(a), np.asarray(b)
    if one.shape != other.shape:
        return f"has the shape {other.shape}, not {one.shape}"
    if "U" in (one.dtype.kind, other.dtype.kind):
        return difference("\n".join(one.astype(str).ravel()), "\n".join(other.astype(str).ravel()))
    one, other = one.astype(float), other.astype(float)
    with np.errstate(all="ignore"):
        apart = np.abs(one - other)
        relative = apart / np.maximum(np.abs(one), np.abs(other))
    kinds = int((np.isnan(one) != np.isnan(other)).sum())
    largest = [np.nanmax(part, initial=0.0) for part in (apart, relative)]
    number = int((apart > 0).sum())
    return f"{number} of {one.size} differ, by {largest[0]:.3g} at most, relatively {largest[1]:.3g}; NaN: {kinds}"


def compared(first: dict, second: dict) -> int:
    """Print every difference of two records, and return how many there are."""
    for name, value in first["environment"].items():
        if value != second["environment"].get(name):
            print(f"environment, {name}: {value}, then {second['environment'].get(name)}")
    number = differing = 0
    for model, quantity in ((m, q) for m in first["models"] for q in first["models"][m] | second["models"].get(m, {})):
        values = (record["models"].get(model, {}).get(quantity) for record in (first, second))
        found, number = difference(*values), number + 1
        if found:
            differing += 1
            print(f"{model}, {quantity}: {found}")
    of = f"of {len(first['models'])} models"
    print(f"{differing} of {number} quantities {of} differ" if differing else f"all {number} quantities {of} are equal")
    return differing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("other", type=Path, nargs="?", help="for compare: another record, instead of computing again")
    parser.add_argument("--models", nargs="+", choices=CASES, help="all, or those of the record, if not given")
    args = parser.parse_args()
    if args.action == "record":
        recorded(args.models or list(CASES), args.file)
        return 0
    first = json.loads(args.file.read_text())
    first["models"] = {name: first["models"][name] for name in args.models or first["models"]}
    second = json.loads(args.other.read_text()) if args.other else recorded(list(first["models"]))
    return int(compared(first, second) > 0)


if __name__ == "__main__":
    sys.exit(main())
