"""What ``--json`` prints: one JSON document, whose parts are tables of Python's methods: docs/command_line.md.

A number that is missing or not finite is null.
"""

import json
import math
from typing import TYPE_CHECKING

from bayesmm.runtime.version import __version__

if TYPE_CHECKING:
    import pandas as pd


def text(**parts: object) -> str:
    """Return the document of these parts as text."""
    return json.dumps({"bayesmm": __version__, **_plain(parts)}, ensure_ascii=False, indent=1, allow_nan=False)


def of_fit(fit, comparison=None) -> dict[str, object]:
    """Return the parts of a posterior or a maximised fit; `comparison` is `Comparison`, if there is one."""
    design = fit.design
    model = {
        "formula": design.formula.text, "family": design.family.name, "link": design.family.link, "rows": design.n,
        "groups": {design.blocks[k].group: len(design.blocks[k].labels) for k in design.groups},
    }  # fmt: skip
    parts = {
        "model": model, "parameters": rows(fit.tidy()), "about": rows(fit.glance())[0],
        "checks": of_checks(fit.checks()),
    }  # fmt: skip
    return parts if comparison is None else parts | {"comparison": rows(comparison.table)}


def of_checks(checks) -> list[dict[str, object]]:
    """Return checks as a list of objects."""
    return [
        {"name": c.name, "status": c.status, "value": c.value, "limit": c.limit, "message": c.message} for c in checks
    ]


def of_models(comparison) -> dict[str, object]:
    """Return the parts of a `ModelComparison`: the models, the best first, and beside them the maximised ones."""
    from bayesmm.evaluation.loo_compare import notes

    first = next(iter(comparison.loos.values()))
    models = [
        {"model": name, "formula": comparison.formulas[name]} | row
        for name, row in zip(comparison.table.index, rows(comparison.table), strict=True)
    ]
    criteria = None if comparison.criteria is None else rows(comparison.criteria.table.reset_index())
    return {"by": first.by, "models": models, "criteria": criteria, "notes": notes(comparison, len(first.table))}


def of_datasets() -> list[dict[str, object]]:
    """Return the data sets that DATA can name."""
    from bayesmm.example_data.table import DATASETS

    return [
        {
            "name": one.name, "rows": one.rows, "columns": one.columns, "factors": one.factors,
            "description": one.description, "source": one.source, "licence": one.licence, "bundled": not one.address,
        }
        for one in DATASETS.values()
    ]  # fmt: skip


def rows(table: "pd.DataFrame") -> list[dict[str, object]]:
    """Return a table as a list of objects."""
    return [dict(zip(map(str, table.columns), row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _plain(value: object) -> object:
    """Return a value of JSON: numbers of NumPy as Python's, null for what is missing or not finite."""
    import pandas as pd

    if isinstance(value, dict):
        return {str(name): _plain(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if value is None or (not isinstance(value, str) and pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)
