"""A saved fit made anew: the model through the same steps as at first, then compared with the draws."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import xarray as xr

from bayesmm.design.covariance.structures import parse_formula
from bayesmm.design.design import design_of
from bayesmm.design.records import Design
from bayesmm.design.spec import DataArguments, DesignSpec
from bayesmm.errors import DataError, FitFileError, FormulaError, PriorError
from bayesmm.estimation.model_warnings import check_residual
from bayesmm.families.families import get_family
from bayesmm.families.family import Family
from bayesmm.model import Model
from bayesmm.priors import resolve_priors
from bayesmm.results import Fit
from bayesmm.runtime.arguments import check_functions
from bayesmm.runtime.paths import as_path
from bayesmm.runtime.progress import working
from bayesmm.sampling.sample import recovered
from bayesmm.storage.files import Stored, read_fit
from bayesmm.storage.stored_model import disagreement, model_arguments, restored, same_family, stored_matrices
from bayesmm.storage.stored_spec import from_text
from bayesmm.storage.stored_sums import SUMS, design_from_sums


@working("loading the fit")
def load(
    path: str | Path,
    *,
    transforms: Mapping[str, Callable] | None = None,
    priors: Mapping[str, Callable] | None = None,
    family: Family | None = None,
) -> Fit:
    """Read a fit that `Fit.save` has written, or that was sampled with ``store=``.

    Nothing in the file is run: the formula is read by the closed grammar, priors are looked up in a table, and the
    model is made from the stored columns as at first.

    Parameters
    ----------
    path : path
    transforms : mapping of str to function, optional
        The user's own functions that the formula calls; they are not in the file.
    priors : mapping of str to function, optional
        The priors that are functions, by place; they are not in the file, and not compared with those of the fit.
    family : Family, optional
        The family, if it is one of your own; it is not in the file, but its log density has to be that of the fit.

    Returns
    -------
    Fit
        Equal to the one that was saved, draw for draw. Of a store, what was finished: if its process was killed, the
        fit is marked as interrupted. Row labels that are neither texts nor whole numbers have become
        texts, and draws saved as float32 have seven digits.

    Raises
    ------
    FitFileError
        There is no such file or folder, it is none of ours, of a newer format, incomplete or damaged, a function is not
        given, or the model that it describes is not the one of its draws.
    """
    path = as_path(path)
    if not path.is_dir():
        stored = read_fit(path)
        return Fit(_model(stored, transforms, priors, family), stored.tree)
    from bayesmm.storage.store_reading import read_store

    stored = read_store(path)
    model, run = _model(stored, transforms, priors, family), stored.record["run"]
    return Fit(model, recovered(stored.tree, model, run["effects"], keep_effects=run["asked"]["keep_effects"]))


def _design(arguments: Mapping[str, object], data: xr.Dataset) -> Design:
    """Return the design of the stored columns, learned from them as at first, or by the spec of an earlier table."""
    transforms, family = arguments["transforms"], get_family(arguments["family"], arguments["link"])
    check_functions("transforms", transforms)
    formula = parse_formula(arguments["formula"], transforms, family)
    spec = DesignSpec(formula, family, transforms, matrices=stored_matrices(formula, data))
    if "reading" in data:
        spec = from_text(str(data["reading"].to_numpy()[0]), spec)
    if SUMS in data:
        return design_from_sums(spec, data)
    given = {name: arguments.get(name) for name in ("weights", "trials")}
    made = design_of(replace(spec, arguments=DataArguments("error")), arguments["data"], **given)
    values = tuple(name for name in made.spec.arguments.values if getattr(spec.arguments, name) is None)
    return replace(made, spec=replace(made.spec, arguments=replace(spec.arguments, values=values)))


def _model(stored: Stored, transforms: Mapping | None, priors: Mapping | None, family: Family | None) -> Model:
    record = stored.record["model"]
    arguments = model_arguments(record, stored.data, transforms, priors, family)
    try:
        design = _design(arguments, stored.data)
        resolved = resolve_priors(design, design.family, arguments["priors"])
        check_residual(design, resolved)
    except (FormulaError, DataError, PriorError) as error:
        said = " ".join(str(error).split())
        raise FitFileError(f"the model of {stored.path} cannot be made by this version: {said}") from error
    if family is not None and not same_family(design.family, stored.data, design):
        raise FitFileError(f"the log density of the family {family.name!r} is not that of the model of {stored.path}")
    other = disagreement(design, stored.tree, recovered=stored.recovered)
    if other:
        cause = "; are the transforms those of the fit?" if record["transforms"] else ""
        raise FitFileError(f"the model of {stored.path} is not the one of its draws, which have {other}{cause}")
    return Model.of(restored(design, record, stored.data), resolved)
