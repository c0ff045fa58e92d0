"""The sums of a model whose rows stay with an engine, as plain arrays, and its design made from them again."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.design.blocks import bars_by_group
from bayesmm.design.covariance.structure import Part
from bayesmm.design.covariance.structures import STRUCTURES
from bayesmm.design.groups import safe_names
from bayesmm.design.records import Block, Design
from bayesmm.design.spec import DesignSpec, Grouping
from bayesmm.design.sum_sets import ResidualSums
from bayesmm.design.summed import Elsewhere, LevelSums, PairSums, RowLevels, SummedColumn, SummedMatrix, Sums
from bayesmm.engines.residual import has_weights, residual_of
from bayesmm.errors import FitFileError
from bayesmm.formula.formula import text_of

SUMS = "sums"  # the text among the arrays, by which such a file is known
ARRAYS = ("shift", "low", "high", "plain", "weighted")
COLUMNS = ("a_X", "a_y", "a_offset")


def sums_as_arrays(design: Design) -> dict[str, tuple]:
    """Return the sums of a design, and how its matrices are made of them, as the variables of a dataset."""
    sums, arrays = design.X.sums, {}
    record = {
        "engine": sums.engine,
        "n": sums.n,
        "names": list(sums.names),
        "sum_log_weights": sums.sum_log_weights,
        "has_weights": sums.has_weights,
        "robust_scale": sums.robust_scale,
        "mean_inverse_weight": sums.mean_inverse_weight,
        "typical": [
            [name, None if levels is None else list(levels), value] for name, (levels, value) in sums.facts.items()
        ],
        "sample": json.loads(sums.sample.to_json(orient="split")),
        "coefficients": list(design.coefficients),
        "aliased": list(design.aliased),
        "blocks": [{"columns": list(block.columns), "parts": _parts(block)} for block in design.blocks],
    }
    arrays[SUMS] = ("text", np.array([json.dumps(record)], dtype=object))
    for name in ARRAYS:
        values = getattr(sums, name)
        arrays[f"sums_{name}"] = (("base", "base_bis")[: values.ndim], values)
    arrays["sums_a_X"] = (("base", "column"), design.X.A)
    arrays["sums_a_y"], arrays["sums_a_offset"] = ("base", design.y.a), ("base", design.offset.a)
    for k, (block, own, grouping) in enumerate(zip(design.blocks, sums.levels, design.spec.groupings, strict=True)):
        arrays[f"sums_left_{k}"] = (f"left_{k}", own.left)
        arrays[f"sums_count_{k}"] = (f"group_{k}", own.count)
        arrays[f"sums_products_{k}"] = ((f"group_{k}", f"left_{k}", "base"), own.products)
        arrays[f"sums_a_{k}"] = (("base", f"effect_{k}"), block.Z.A)
        arrays[f"sums_cells_{k}"] = ((f"group_{k}", f"factor_{k}"), grouping.cells)
        for j, labels in enumerate(grouping.factor_levels):
            arrays[f"sums_labels_{k}_{j}"] = (f"label_{k}_{j}", np.array(labels, dtype=object))
    for own in sums.pairs:
        j, k = own.blocks
        arrays[f"sums_first_{j}_{k}"] = (f"pair_{j}_{k}", own.first)
        arrays[f"sums_second_{j}_{k}"] = (f"pair_{j}_{k}", own.second)
        arrays[f"sums_pairs_{j}_{k}"] = ((f"pair_{j}_{k}", f"left_{j}", f"left_{k}"), own.products)
    return arrays | _residual_arrays(sums.residual)


def _residual_arrays(own: ResidualSums | None) -> dict[str, tuple]:
    """Return the sets of sums of residuals with a structure."""
    if own is None:
        return {}
    arrays = {
        "sums_residual": ("residual_text", np.array([own.kind, *own.names], dtype=object)),
        "sums_residual_keys": (("residual_kind", "residual_key"), own.keys),
        "sums_residual_count": ("residual_kind", own.count),
        "sums_residual_inverse": ("residual_inverse", own.inverse),
        "sums_residual_weighted": (("residual_set", "base", "base_bis"), own.weighted),
    }
    for what, sets in (("levels", own.levels), ("pairs", own.pairs)):
        for k, values in enumerate(sets):
            dims = ("residual_set", *(f"residual_{what}_{k}_{j}" for j in range(3)))
            arrays[f"sums_residual_{what}_{k}"] = (dims, values)
    return arrays


def _residual(data: xr.Dataset, blocks: int) -> ResidualSums | None:
    if "sums_residual" not in data:
        return None
    kind, *names = map(str, data["sums_residual"].to_numpy())
    found = (data[f"sums_residual_{name}"].to_numpy() for name in ("keys", "count", "inverse", "weighted"))
    keys, count, inverse, weighted = found
    numbers = blocks, blocks * (blocks - 1) // 2
    levels, pairs = (
        tuple(data[f"sums_residual_{what}_{k}"].to_numpy() for k in range(number))
        for what, number in zip(("levels", "pairs"), numbers, strict=True)
    )
    return ResidualSums(kind, keys, count, inverse, tuple(names), weighted, levels, pairs)


def _parts(block: Block) -> list[list]:
    """Return the columns of each part of a block, with the name of its structure and its text."""
    return [[list(part.columns), part.covariance.name, part.text] for part in block.parts]


def design_from_sums(spec: DesignSpec, data: xr.Dataset) -> Design:
    """Return the design that `sums_as_arrays` wrote, without its messages.

    Raises
    ------
    FitFileError
        The arrays are others than it wrote.
    """
    try:
        return _design(spec, json.loads(str(data[SUMS].to_numpy()[0])), data)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise FitFileError("the file's record of sums is not one that this version knows") from error


def _design(spec: DesignSpec, record: Mapping, data: xr.Dataset) -> Design:
    bars = bars_by_group(spec.formula)
    groupings = tuple(_grouping(k, factors, data) for k, factors in enumerate(bars))
    sums = _sums(record, len(bars), data)
    names = safe_names([":".join(factors) for factors in bars], spec.family)
    blocks = []
    for k, (grouping, name, own) in enumerate(zip(groupings, names, record["blocks"], strict=True)):
        columns = tuple(map(str, own["columns"]))
        Z = SummedMatrix(sums, data[f"sums_a_{k}"].to_numpy())
        parts = tuple(Part(tuple(map(int, at)), STRUCTURES[kind], str(text)) for at, kind, text in own["parts"])
        group, index = ":".join(grouping.factors), RowLevels(sums, k)
        blocks.append(Block(group, name, grouping.factors, index, grouping.levels, columns, Z, parts))
    rows, y = Elsewhere(sums), SummedColumn(sums, data["sums_a_y"].to_numpy())
    residual = residual_of(spec.formula, sums, y.std(), spec.bases.parameters)
    bases = replace(spec.bases, parameters={part.formula: part.basis for part in residual.formulas})
    return Design(
        spec=replace(spec, groupings=groupings, repeats=False, bases=bases),
        response=text_of(spec.formula.response),
        y=y,
        X=SummedMatrix(sums, data["sums_a_X"].to_numpy()),
        coefficients=tuple(map(str, record["coefficients"])),
        blocks=tuple(blocks),
        trials=None,
        weights=rows if has_weights(sums, residual) else None,
        offset=SummedColumn(sums, data["sums_a_offset"].to_numpy()),
        rows=rows,
        row_labels=rows,
        messages=(),
        aliased=tuple(map(int, record["aliased"])),
        frame=rows,
        residual=residual,
    )


def _grouping(k: int, factors: tuple[str, ...], data: xr.Dataset) -> Grouping:
    labels = tuple(tuple(map(str, data[f"sums_labels_{k}_{j}"].to_numpy())) for j in range(len(factors)))
    cells = data[f"sums_cells_{k}"].to_numpy().astype(np.int64)
    if len(factors) == 1:
        return Grouping(factors, labels, cells, labels[0])
    parts = [np.array(part, dtype=object)[cells[:, j]] for j, part in enumerate(labels)]
    return Grouping(factors, labels, cells, tuple(map(":".join, zip(*parts, strict=True))))


def _sums(record: Mapping, blocks: int, data: xr.Dataset) -> Sums:
    own = {name: data[f"sums_{name}"].to_numpy() for name in ARRAYS}
    levels = tuple(
        LevelSums(*(data[f"sums_{name}_{k}"].to_numpy() for name in ("left", "count", "products")))
        for k in range(blocks)
    )
    pairs = tuple(
        PairSums((j, k), *(data[f"sums_{name}_{j}_{k}"].to_numpy() for name in ("first", "second", "pairs")))
        for j, k in combinations(range(blocks), 2)
    )
    typical = {name: (None if of is None else tuple(of), value) for name, of, value in record["typical"]}
    sample = pd.DataFrame(**record["sample"])
    return Sums(
        str(record["engine"]), int(record["n"]), tuple(map(str, record["names"])), own["shift"], own["low"],
        own["high"], own["plain"], own["weighted"], float(record["sum_log_weights"]), bool(record["has_weights"]),
        levels, pairs, float(record["robust_scale"]), typical, sample, float(record["mean_inverse_weight"]),
        _residual(data, blocks),
    )  # fmt: skip
