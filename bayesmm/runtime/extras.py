"""Packages that fitting does not need: what uses one says in a sentence which extra has it."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from bayesmm.errors import MissingExtra


def check_extra(package: str, what: str, extra: str) -> None:
    """Raise a `MissingExtra` where a package is not installed.

    Parameters
    ----------
    package : str
        As it is imported.
    what : str
        Who needs it: "plots need".
    extra : str
        The extra of bayesmm that has it.
    """
    if package in sys.modules:
        there = sys.modules[package] is not None
    else:
        there = find_spec(package) is not None
    if not there:
        raise MissingExtra(f"{what} {package}, which is not installed: pip install 'bayesmm[{extra}]'", name=package)


def need(module: str, what: str, extra: str) -> ModuleType:
    """Return a module of such a package, imported now; the other parameters and errors are those of `check_extra`."""
    check_extra(module.partition(".")[0], what, extra)
    return import_module(module)


def need_plots(module: str = "matplotlib.pyplot") -> ModuleType:
    """Return a module of Matplotlib."""
    return need(module, "plots need", "plots")


def check_report_packages() -> None:
    """Raise a `MissingExtra` where what a report is made with is not installed."""
    for package in ("jinja2", "matplotlib"):
        check_extra(package, "a report needs", "report")
