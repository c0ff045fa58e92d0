"""A model as plain data, and back: what a file must hold so that the same model can be made from it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.design.covariance.structures import parse_formula
from bayesmm.design.design import relations
from bayesmm.design.frames import to_pandas
from bayesmm.design.pedigrees import NOBODY, Pedigree
from bayesmm.design.records import Design
from bayesmm.design.related_levels import Matrix
from bayesmm.design.residual.structures import matrices_of_residuals
from bayesmm.design.responses import stacked_labels
from bayesmm.design.summed import is_summed
from bayesmm.design.variables import KIND_NAMES, NUMERIC, Variable, read_variable
from bayesmm.errors import FitFileError, FormulaError, PriorError, listing, suggest
from bayesmm.families.family import Family
from bayesmm.formula.formula import Formula
from bayesmm.priors import Prior
from bayesmm.runtime.messages import Message, Rows
from bayesmm.storage.stored_spec import as_text
from bayesmm.storage.stored_sums import sums_as_arrays

# Of the values that a model computes anew from its stored columns: logarithms and splines differ in the last digits
# between processors, and anything else that differs is another model.
TOLERANCE = 1e-9
LEVELS = ("warning", "note")
PROBED_ROWS, PROBED_PREDICTORS = 8, (0.3, 1.0, 1.7)  # linear predictors that every link has a mean for

# The shape of the record of a model: see `storage.RECORD_SHAPE`.
MODEL_SHAPE = {
    "formula": str,
    "family": str,
    "link": str,
    "transforms": [str],
    "priors": {...: {...: str, "parameters": {...: (int, float)}}},  # distribution, on, and at where it is the means
    "columns": [{"name": str, "kind": str}],
    "messages": [[str]],
}


# ----------------------------------------------------------------------------------------------------------------------
# from a model


def described(model) -> tuple[dict[str, object], xr.Dataset]:
    """Return a model as plain data.

    Parameters
    ----------
    model : Model

    Returns
    -------
    record : dict
        Of the shape `MODEL_SHAPE`; functions are named in it, not stored.
    data : xarray.Dataset
        For the j-th column that the formula names ``column_j`` (row), numbers, or codes into ``levels_j``; ``weights``
        and ``trials`` (row) that were given beside the formula; ``label`` (row) where the user's table has an index;
        ``family_density`` (probe) of a family of the user's own, by which it is known again;
        of a model whose rows stay with an engine its sums (see `stored_sums`), and no columns;
        ``matrix_j`` and ``matrix_labels_j`` of the j-th covariance of levels that the formula names;
        ``reading``, a text, where the model read its data in a way of its own (see `stored_spec`).
        The coordinate ``row`` is the position in the user's table.
    """
    design = model.design
    summed = is_summed(design)
    variables = [] if summed else [read_variable(name, design.frame[name])[0] for name in design.frame.columns]
    record = {
        "formula": design.formula.text,
        "family": model.family.name,
        "link": model.family.link,
        "transforms": called(design),
        "priors": {place: _plain(prior) for place, prior in model.priors.items()},
        "columns": [{"name": variable.name, "kind": variable.kind} for variable in variables],
        "messages": [[message.level, message.text] for message in design.messages],
    }
    arrays: dict[str, object] = {}
    for j, variable in enumerate(variables):
        arrays[f"column_{j}"] = ("row", variable.values, {"long_name": variable.name})
        if variable.kind not in NUMERIC:
            arrays[f"levels_{j}"] = (f"level_{j}", np.array(variable.levels, dtype=object))
    if summed:
        return record, xr.Dataset(
            sums_as_arrays(design) | {"reading": ("text", np.array([as_text(design.spec, whole=True)], dtype=object))}
        )
    arrays |= {name: ("row", values) for name, values in design.beside.items()}
    if model.family.own:
        arrays["family_density"] = ("probe", probed(model.family, design.y, design.trials))
    for j, matrix in enumerate(design.spec.matrices[name] for name in relations(design.formula)):
        arrays |= _matrix_arrays(j, matrix)
    labels, reading = _labels(design), as_text(design.spec)
    if labels is not None:
        arrays["label"] = ("row", labels)
    if reading is not None:
        arrays["reading"] = ("text", np.array([reading], dtype=object))
    return record, xr.Dataset(arrays, coords={"row": design.rows})


def functions_among(priors: Mapping[str, Prior]) -> list[str]:
    """Return the places whose prior is a function."""
    return [place for place, prior in priors.items() if prior.distribution == "Custom"]


def called(design: Design) -> list[str]:
    """Return the user's own functions that the formula calls: it cannot be read without their names."""
    names = sorted(design.spec.transforms)
    return [name for name in names if not _readable(design, [n for n in names if n != name])]


def _readable(design: Design, transforms: list[str]) -> bool:
    try:
        parse_formula(design.formula.text, transforms, design.family)
    except FormulaError:
        return False
    return True


def _plain(prior: Prior) -> dict[str, object]:
    plain = {"distribution": prior.distribution, "on": prior.on, "parameters": prior.parameters}
    return plain | ({"at": prior.at} if prior.at == "means" else {})


def _labels(design: Design) -> np.ndarray | None:
    """Return the labels of the user's rows as whole numbers, else as texts; None where they are the positions."""
    if design.row_labels.dtype != object:  # positions; labels of a table's own are Python objects
        return None
    labels = [label[0] for label in design.row_labels] if design.responses else list(design.row_labels)
    if all(isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels):
        return np.array(labels, dtype=np.int64)
    return np.array([str(label) for label in labels], dtype=object)


def probed(family: Family, y: np.ndarray, trials: np.ndarray | None) -> np.ndarray:
    """Return log densities of the first rows by which a family of the user's own is known again, (probes,)."""
    from bayesmm.likelihood.pointwise import log_densities
    from bayesmm.likelihood.row_functions import codes

    y, ones = y[:PROBED_ROWS], np.ones(min(len(y), PROBED_ROWS))
    size = ones if trials is None else trials[:PROBED_ROWS]
    eta, aux = np.outer(PROBED_PREDICTORS, ones), np.ones((len(PROBED_PREDICTORS), 2))
    return log_densities(*codes(family), y, size, ones, eta, aux).ravel()


# ----------------------------------------------------------------------------------------------------------------------
# to a model


def model_arguments(
    record: Mapping[str, object],
    data: xr.Dataset,
    transforms: Mapping[str, Callable] | None,
    priors: Mapping[str, Callable] | None,
    family: Family | None = None,
) -> dict[str, object]:
    """Return the arguments of `Model` that make the model anew.

    Parameters
    ----------
    record, data
        As `described` returns them.
    transforms, priors : mapping of str to function
        The functions that the record only names.
    family : Family, optional
        The user's own, which the record only names.

    Raises
    ------
    FitFileError
        A function is missing or not asked for, or the record contradicts itself.
    """
    places = [place for place, entry in record["priors"].items() if entry.get("distribution") == "Custom"]
    arguments = {
        "formula": record["formula"],
        "data": _frame(record, data),
        "family": _family(record, data, family),
        "link": record["link"],
        "priors": {place: _prior(place, entry) for place, entry in record["priors"].items() if place not in places}
        | _asked("priors", places, priors),
        "transforms": _asked("transforms", record["transforms"], transforms),
        "missing": "error",
    }
    arguments |= {name: data[name].to_numpy() for name in ("weights", "trials") if name in data}
    return arguments


def _family(record: Mapping[str, object], data: xr.Dataset, given: Family | None) -> str | Family:
    """Return the family by name, or the one of the user's own, which has to be given."""
    name = record["family"]
    if "family_density" not in data:
        if given is not None:
            raise FitFileError(f"family is given, but that of the model is {name!r}, which is not a family of your own")
        return name
    if given is None:
        raise FitFileError(
            f"the family {name!r} of the model is one of your own, which is not stored; give it again: "
            "load(path, family=...)"
        )
    if not isinstance(given, Family) or given.name != name:
        found = given.name if isinstance(given, Family) else given
        raise FitFileError(f"the family of the model is {name!r}, a family of your own, and not {found!r}")
    return given


def same_family(family: Family, data: xr.Dataset, design: Design) -> bool:
    """Return whether a family of the user's own has the log density that the stored one had."""
    stored, found = data["family_density"].to_numpy(), probed(family, design.y, design.trials)
    return stored.shape == found.shape and bool(np.isclose(found, stored, rtol=TOLERANCE, atol=TOLERANCE).all())


def _asked(argument: str, names: list[str], given: Mapping[str, Callable] | None) -> dict[str, Callable]:
    """Return the functions of these names, all of them and no other."""
    given = dict(given or {})
    missing = [name for name in names if name not in given]
    if missing:
        example = ", ".join(f"{name!r}: ..." for name in names)
        raise FitFileError(
            f"the model has {argument} that are functions ({listing(missing)}), which are not stored; "
            f"give them again: load(path, {argument}={{{example}}})"
        )
    for name in given:
        if name not in names:
            known = listing(names) or "none"
            raise FitFileError(f"{argument} names {name!r}{suggest(str(name), names)}; the file asks for {known}")
    return given


def _prior(place: str, entry: Mapping[str, object]) -> Prior:
    try:
        parameters = {str(name): value for name, value in entry["parameters"].items()}
        return Prior(entry["distribution"], on=entry["on"], at=entry.get("at", "zero"), **parameters)
    except (PriorError, TypeError, KeyError) as error:  # TypeError: a parameter with the name of an argument
        raise FitFileError(f"the prior of {place!r} is none that this version knows: {error}") from error


def _frame(record: Mapping[str, object], data: xr.Dataset) -> pd.DataFrame:
    """Return the columns as a table, which reads as the user's did."""
    names = [column["name"] for column in record["columns"]]
    if len(set(names)) < len(names):
        raise FitFileError("the file holds two columns of one name")
    variables = [_variable(j, column, data) for j, column in enumerate(record["columns"])]
    return to_pandas(variables, Rows(np.arange(data.sizes.get("row", 0)), None))


def _variable(j: int, column: Mapping[str, str], data: xr.Dataset) -> Variable:
    name, kind = column["name"], column["kind"]
    wrong = FitFileError(f"the file's column {name!r} cannot be read")
    if kind not in KIND_NAMES or f"column_{j}" not in data or data[f"column_{j}"].dims != ("row",):
        raise wrong
    values, levels = data[f"column_{j}"].to_numpy(), ()
    if values.dtype.kind not in "biuf":
        raise wrong
    if kind not in NUMERIC:
        if f"levels_{j}" not in data or values.dtype.kind != "i":
            raise wrong
        levels = tuple(str(level) for level in data[f"levels_{j}"].to_numpy().ravel())
        if not ((values >= 0) & (values < len(levels))).all():
            raise wrong
    return Variable(name, kind, values, levels, np.zeros(len(values), dtype=bool))


def _matrix_arrays(j: int, matrix: Matrix) -> dict[str, tuple]:
    """Return the j-th matrix as variables of a dataset: its numbers, or the parents of a pedigree."""
    rows, own = f"matrix_row_{j}", matrix.given
    if isinstance(own, Pedigree):
        found = {f"matrix_{j}_sire": (rows, own.sire), f"matrix_{j}_dam": (rows, own.dam)}
    else:
        found = {f"matrix_{j}": ((rows, f"matrix_column_{j}"), own)}
    return found | {f"matrix_labels_{j}": (rows, np.array(matrix.labels, dtype=object))}


def _stored_matrix(j: int, name: str, data: xr.Dataset) -> np.ndarray | Pedigree:
    """Return what `_matrix_arrays` has stored of the matrix `name`."""
    if f"matrix_{j}" in data:
        return data[f"matrix_{j}"].to_numpy().astype(np.float64)
    parents = [data.get(f"matrix_{j}_{parent}") for parent in ("sire", "dam")]
    if any(own is None for own in parents):
        raise FitFileError(f"the file lacks the matrix {name!r} that its formula names")
    sire, dam = (own.to_numpy().astype(np.int64) for own in parents)
    place = np.arange(len(sire))
    if not ((sire >= NOBODY) & (sire < place) & (dam >= NOBODY) & (dam < place)).all():
        raise FitFileError(f"the pedigree {name!r} of the file has parents after their offspring; it is damaged")
    return Pedigree(sire, dam)


def stored_matrices(formula: Formula, data: xr.Dataset) -> dict[str, Matrix]:
    """Return the covariances of levels and of rows that a formula names."""
    found, in_order = {}, [name for name, labelled in matrices_of_residuals(formula) if not labelled]
    for j, name in enumerate(relations(formula)):
        if f"matrix_labels_{j}" not in data:
            raise FitFileError(f"the file lacks the matrix {name!r} that its formula names")
        labels = tuple(str(label) for label in data[f"matrix_labels_{j}"].to_numpy().ravel())
        found[name] = Matrix(labels, _stored_matrix(j, name, data), named=name not in in_order)
    return found


def restored(design: Design, record: Mapping[str, object], data: xr.Dataset) -> Design:
    """Return a design made from stored columns, with the rows of the user's table and what was said about it."""
    messages = [Message(*entry) for entry in record["messages"] if len(entry) == 2 and entry[0] in LEVELS]
    if is_summed(design):
        return replace(design, messages=tuple(messages))
    rows = data["row"].to_numpy()
    labels = data["label"].to_numpy().astype(object) if "label" in data else rows
    if design.responses:
        labels = stacked_labels(labels, design.responses, design.response_codes)
    frame = design.frame.set_axis(pd.Index(labels))
    return replace(design, rows=rows, row_labels=labels, messages=tuple(messages), frame=frame)


def disagreement(design: Design, tree: xr.DataTree, *, recovered: bool = True) -> str:
    """Return what draws have otherwise than a design, or an empty text.

    Parameters
    ----------
    design : Design
    tree : xarray.DataTree
        The labels of its posterior are compared, and the response, X and the blocks that it was made with.
    recovered : bool
        Whether it should have the coefficients.
    """
    posterior = tree["posterior"].to_dataset()
    needed = ["beta"] * (design.p > 0 and recovered) + [block.names.sd for block in design.blocks]
    needed += [own.name for own in design.residual.parameters]
    absent = [name for name in needed if name not in posterior]
    if absent:
        return f"no draws of {listing(absent)}"
    for dim, labels in design.coords.items():
        if dim in posterior.coords and list(posterior[dim].to_numpy()) != list(labels):
            return f"other labels of {dim}"
    for group, name, values in () if is_summed(design) else _arrays(design):
        stored = tree[group].to_dataset().get(name) if group in tree.children else None
        if stored is not None and not _close(stored.to_numpy(), values):
            return f"other values of {name.removesuffix('_data')}"
    return ""


def _arrays(design: Design) -> list[tuple[str, str, np.ndarray]]:
    """Return group, name and values of the data as the tree of a fit has them."""
    arrays = [("observed_data", "y", design.y), ("constant_data", "X_data", design.X)]
    arrays.append(("constant_data", "offset_data", design.offset))
    for block in design.blocks:
        arrays.append(("constant_data", block.names.index, block.index))
        arrays.append(("constant_data", block.names.Z, block.Z))
    return arrays


def _close(stored: np.ndarray, values: np.ndarray) -> bool:
    if stored.shape != values.shape:
        return False
    size = np.abs(values).max(axis=0, initial=0.0)  # of each column: what is cancelled to 0 is so to its rounding only
    return bool((np.abs(stored - values) <= TOLERANCE * size).all())
