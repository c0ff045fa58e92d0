"""Sums of the data of a linear model that are kept and added: parts of the rows, from days, files or machines."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from bayesmm.design.covariance.structures import parse_formula
from bayesmm.design.design import make_design
from bayesmm.design.records import Design
from bayesmm.design.spec import DesignSpec
from bayesmm.engines.accumulated import added, whole
from bayesmm.engines.design import engine_design, lazy_design
from bayesmm.engines.frames import is_lazy
from bayesmm.errors import DataError, FitFileError
from bayesmm.families.families import linear_family
from bayesmm.families.family import Family
from bayesmm.formula.formula import Formula
from bayesmm.runtime.messages import Message
from bayesmm.runtime.paths import as_path, read_file
from bayesmm.storage.atomic_write import write_bytes
from bayesmm.storage.files import SEAL, SEAL_LENGTH, SIGNATURE, check_target, first_line, sealed
from bayesmm.storage.stored_spec import as_text, from_text
from bayesmm.storage.stored_sums import SUMS, design_from_sums, sums_as_arrays

KIND = "bayesmm sums 1"  # the attribute of such a file


@dataclass(frozen=True, eq=False)
class Accumulated:
    """The cross-products of the rows of a linear model: ``a + b`` has those of the rows of both.

    `bayesmm.Model(formula, accumulated)` makes the model; ``save(path)`` keeps them, `bayesmm.load_accumulated` reads
    them again.

    Attributes
    ----------
    design : Design
        Of these rows, its matrices known by their sums.
    """

    design: Design

    @property
    def formula(self) -> Formula:
        """Of the model."""
        return self.design.formula

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.design.n

    def __add__(self, other: "Accumulated") -> "Accumulated":
        """Return the sums of the rows of both, which must have none in common.

        Raises
        ------
        DataError
            The two are of different models, or learned different means, knots or contrasts.
        """
        if not isinstance(other, Accumulated):
            return NotImplemented
        return Accumulated(added(self.design, other.design))

    def __repr__(self) -> str:
        groups = ", ".join(f"{block.group} {len(block.levels):,}" for block in self.design.blocks)
        return f"Accumulated: {self.n:,} rows of {self.formula.text!r}" + (f"; levels: {groups}" if groups else "")

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the sums into one netCDF-4 file with a checksum, whole or not at all.

        Raises
        ------
        FitFileError
            The file exists, or cannot be written.
        """
        path = check_target(path, overwrite)
        text = {"reading": ("text", np.array([as_text(self.design.spec, whole=True)], dtype=object))}
        data = xr.Dataset(sums_as_arrays(self.design) | text)
        said = [[message.level, message.text] for message in self.design.messages]
        data.attrs |= {"bayesmm": KIND, "formula": self.formula.text, "messages": json.dumps(said)}
        try:
            write_bytes(sealed(bytes(data.to_netcdf(engine="h5netcdf"))), path)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            if isinstance(error, FitFileError):
                raise
            raise FitFileError(f"{path} cannot be written: {first_line(error)}") from error


def accumulate(
    formula: str | Sequence[str],
    data: object,
    *,
    weights: str | None = None,
    missing: str = "drop",
    contrasts: Mapping[str, object] | None = None,
    like: Accumulated | None = None,
) -> Accumulated:
    """Return the cross-products of a linear mixed model's data, which can be added to those of other rows.

    Parameters
    ----------
    formula : str
        As for `bayesmm.Model`.
    data : lazy frame
        Of Polars, DuckDB, Dask, Spark, Ibis or SQLFrame.
    weights : str, optional
        A column.
    missing : {"drop", "error"}
    contrasts : mapping, optional
    like : Accumulated, optional
        Whose levels of fixed factors, means of ``scale`` and ``center``, and knots are taken, so that the two can be
        added.

    Returns
    -------
    Accumulated

    Raises
    ------
    FormulaError, DataError
        As for a model of a lazy frame.
    """
    if like is not None and not isinstance(like, Accumulated):
        raise DataError(f"like should be what accumulate() returned, not an object of type {type(like).__name__}")
    if not is_lazy(data):
        raise DataError(
            f"data should be a lazy frame, of which only sums leave the engine, not {type(data).__name__}; "
            "polars.from_pandas(data).lazy() makes one of a table in memory"
        )
    own = dict(weights=weights, missing=missing, contrasts=contrasts, part=True)
    spec = None if like is None else like.design.spec
    return Accumulated(lazy_design(parse_formula(formula), data, linear_family(), like=spec, **own))


def model_design(formula: Formula, data: Accumulated, **beside: object) -> Design:
    """Return the design of accumulated sums for a model of the same formula.

    Raises
    ------
    DataError
        The formula is another one, or something is given beside it that only the rows could take.
    """
    if formula != data.formula:
        raise DataError(f"the sums are of {data.formula.text!r}, and the model is {formula.text!r}; accumulate() anew")
    given = [name for name, value in beside.items() if value]
    if given:
        raise DataError(f"{given[0]}= was to be given to accumulate(): of the rows there are sums alone")
    return whole(data.design)


def design_of_any(formula: Formula, data: object, family: Family, own: Mapping[str, object]) -> Design:
    """Return the design of a table, of a lazy frame, or of accumulated sums."""
    if isinstance(data, Accumulated):
        own = {name: value for name, value in own.items() if name != "missing"}
        return model_design(formula, data, link=not family.gaussian, **own)
    make = engine_design if is_lazy(data) else make_design
    return make(formula, data, family=family, **own)


def load_accumulated(path: str | Path) -> Accumulated:
    """Read what `Accumulated.save` has written.

    Raises
    ------
    FitFileError
        There is no such file, it is something else, or it is damaged.
    """
    path = as_path(path)
    try:
        contents = read_file(path)
    except OSError as error:
        raise FitFileError(f"{path} cannot be read: {first_line(error)}") from error
    inside, seal = contents[:-SEAL_LENGTH], contents[-SEAL_LENGTH:]
    if not contents.startswith(SIGNATURE):
        raise FitFileError(f"{path} holds no sums that bayesmm has saved: it is not a netCDF-4 file")
    if seal.removeprefix(SEAL) != hashlib.sha256(inside).hexdigest().encode():
        raise FitFileError(f"{path} is damaged: its SHA-256 is not the one that was written; take a copy")
    with xr.open_dataset(io.BytesIO(contents), engine="h5netcdf") as opened:
        data = opened.load()
    if data.attrs.get("bayesmm") != KIND or SUMS not in data:
        raise FitFileError(f"{path} holds no sums of accumulate(); load() reads a fit")
    formula = parse_formula(data.attrs["formula"])
    spec = from_text(str(data["reading"].to_numpy()[0]), DesignSpec(formula, linear_family()))
    said = tuple(Message(*entry) for entry in json.loads(data.attrs["messages"]))
    return Accumulated(replace(design_from_sums(spec, data), messages=said))
