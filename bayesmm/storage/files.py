"""Fits kept in files: one netCDF-4 file with the draws, the data, and a record of the model as JSON.

Nothing in a file is ever run: no pickle, the formula is read by the closed grammar, priors are looked up in a table.
Any program that reads netCDF-4 finds the groups posterior, sample_stats, observed_data, constant_data and data, and the
record in the attribute "bayesmm". Each array has its SHA-256 in the record, the record has its own, and a line after
the end of the netCDF part, which other programs ignore, has that of the whole file: a damaged file is refused before a
byte of it is interpreted, and one that another program has written anew is still checked.
"""

import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from bayesmm.errors import FitFileError, listing
from bayesmm.runtime.arguments import check_bool
from bayesmm.runtime.paths import as_path, followed, read_file, special_kind
from bayesmm.runtime.progress import working
from bayesmm.runtime.version import __version__
from bayesmm.storage.atomic_write import write_bytes
from bayesmm.storage.memory_needed import check_layout, check_memory
from bayesmm.storage.stored_model import MODEL_SHAPE, described, disagreement, functions_among

FORMAT = 1  # of the record; a file with a greater one is refused
SIGNATURE = b"\x89HDF\r\n\x1a\n"  # the first bytes of every HDF5 file: HDF5 File Format Specification, section II.A
SEAL = b"\nbayesmm fit, sha256 "  # then 64 hexadecimal digits, the last bytes of the file
SEAL_LENGTH = len(SEAL) + 64
LARGEST_RECORD = 100_000_000  # characters of JSON; a formula has 20,000 at most, a prior some 100
WRITERS = ("xarray", "h5netcdf", "h5py", "numpy")
DTYPES = ("float64", "float32")
# What an unsound netCDF file makes of xarray, h5netcdf and h5py.
READ_ERRORS = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, MemoryError)
WRITE_ERRORS = (OSError, ValueError, TypeError, RuntimeError)

# The shape of the record: a type, [of each entry of a list], {...: of each value of a mapping}, {key: of its value}.
RECORD_SHAPE = {
    "format": int,
    "dtype": str,
    "versions": {...: str},
    "run": {...: object},
    "model": MODEL_SHAPE,
    "arrays": {...: str},
}


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file holds, checked.

    Attributes
    ----------
    path : Path
    record : mapping
        Of the shape `RECORD_SHAPE`.
    tree : xarray.DataTree
        The tree of the fit, as it was.
    data : xarray.Dataset
        The columns that the model used: see `stored_model.described`.
    recovered : bool
        Whether the tree has the coefficients and random effects that were integrated out.
    """

    path: Path
    record: Mapping[str, object]
    tree: xr.DataTree
    data: xr.Dataset
    recovered: bool = True


# ----------------------------------------------------------------------------------------------------------------------
# writing


@working("saving the fit")
def save(model, tree: xr.DataTree, path: str | Path, *, overwrite: bool = False, dtype: str = "float64") -> None:
    """Write a fit into one netCDF-4 file, whole or not at all.

    Parameters
    ----------
    model : Model
    tree : xarray.DataTree
        Of the fit.
    path : path
        In a folder that exists. A link is followed: it stays, and the file that it leads to is written.
    overwrite : bool
        Whether a file that is there may be replaced.
    dtype : {"float64", "float32"}
        Of the posterior's numbers in the file; float32 halves the file and keeps seven digits of each draw.

    Raises
    ------
    FitFileError
        The file exists, or cannot be written (a full disk, no such folder, no permission, a device): what was there
        stays, and the fit can be saved elsewhere.
    """
    check_bool("overwrite", overwrite)
    if dtype not in DTYPES:
        raise ValueError(f"dtype should be one of {listing(DTYPES)}, not {dtype!r}")
    path = check_target(path, overwrite)
    try:
        write_bytes(packed(model, tree, dtype), path)
    except WRITE_ERRORS as error:
        if isinstance(error, FitFileError):
            raise
        raise FitFileError(f"{path} cannot be written: {first_line(error)}") from error


def check_target(path: str | Path, overwrite: bool) -> Path:
    """Return the path if a file can be written there.

    Raises
    ------
    FitFileError
        It is no name of a file, its folder does not exist or cannot be written to, it is there and no regular file, or
        it exists and `overwrite` is false.
    """
    path = as_path(path)
    target, kind = followed(path), special_kind(path)
    if kind == "a folder":
        raise FitFileError(f"{path} is a folder; expected the name of a file, such as {path / 'fit.nc'}")
    if kind:
        raise FitFileError(f"{path} is {kind}; expected the name of a file")
    if path.exists() and not overwrite:
        raise FitFileError(f"{path} exists already; take another name, or overwrite=True to replace it")
    if path.is_symlink() and not overwrite:
        raise FitFileError(
            f"{path} is a link to {target}, which does not exist; take that name, or overwrite=True to write it"
        )
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise FitFileError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def packed(model, draws: xr.DataTree, dtype: str = "float64") -> bytes:
    """Return the contents of the file of a fit; made in memory, as a full disk ends the process under HDF5."""
    described_model, data = described(model)
    groups = {name: node.to_dataset() for name, node in draws.children.items()}
    if dtype != "float64":
        groups["posterior"] = _narrowed(groups["posterior"], dtype)
    tree = xr.DataTree.from_dict(groups | {"data": data})
    record = {
        "format": FORMAT,
        "dtype": dtype,
        "versions": {"bayesmm": __version__} | {package: version(package) for package in WRITERS},
        "run": json.loads(draws.attrs.get("bayesmm", "{}")),
        "model": described_model,
        "arrays": checksums(tree),
    }
    tree.attrs["bayesmm"] = json.dumps({"checksum": record_checksum(record)} | record)
    return sealed(tree.to_netcdf(engine="h5netcdf"))


def sealed(contents: bytes | memoryview) -> bytes:
    """Return the contents with the line that has their checksum."""
    return b"".join((contents, SEAL, hashlib.sha256(contents).hexdigest().encode()))


def _narrowed(dataset: xr.Dataset, dtype: str) -> xr.Dataset:
    wide = {name: values for name, values in dataset.data_vars.items() if values.dtype == np.float64}
    with np.errstate(over="ignore"):  # said below
        narrow = {name: values.astype(dtype) for name, values in wide.items()}
    beyond = [name for name in wide if (np.isfinite(wide[name]) & ~np.isfinite(narrow[name])).any()]
    if beyond:
        raise FitFileError(f"draws of {listing(beyond)} are too large for {dtype}; save them as float64")
    return dataset.assign(narrow)


# ----------------------------------------------------------------------------------------------------------------------
# checksums


def checksums(tree: xr.DataTree) -> dict[str, str]:
    """Return the SHA-256 of every array of a tree by its path, coordinates too."""
    return {
        f"{node.path.rstrip('/')}/{name}": checksum(variable)
        for node in tree.subtree
        for name, variable in node.to_dataset(inherit=False).variables.items()
    }


def checksum(variable: xr.Variable) -> str:
    """Return the SHA-256 of an array: its type, its dimensions and its values, little-endian; texts as JSON."""
    values = variable.to_numpy()
    if values.dtype.kind in "OUT":
        kind, content = "text", json.dumps(values.ravel().tolist()).encode()
    else:
        ordered = values.astype(values.dtype.newbyteorder("<"), copy=False)
        kind, content = ordered.dtype.str, np.ascontiguousarray(ordered)
    digest = hashlib.sha256(json.dumps([kind, list(variable.dims), list(values.shape)]).encode())
    digest.update(content)
    return digest.hexdigest()


def record_checksum(record: Mapping[str, object]) -> str:
    """Return the SHA-256 of a record without its entry "checksum"."""
    rest = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


# ----------------------------------------------------------------------------------------------------------------------
# reading


def read_fit(path: str | Path) -> Stored:
    """Read a file that `save` has written, and check every byte of it.

    Raises
    ------
    FitFileError
        There is no such file, it is none of ours, of a newer format, incomplete or damaged.
    """
    path = as_path(path)
    contents = _contents(path)
    try:
        check_layout(path, contents)  # xarray follows every link, and reads labels when it opens a file
        opened = xr.open_datatree(io.BytesIO(contents), engine="h5netcdf", phony_dims="access")  # of foreign files
    except FitFileError:
        raise
    except READ_ERRORS as error:
        raise _unreadable(path, error) from error
    with opened:
        record = _record(path, opened)
        try:
            tree = opened.load()
            found = checksums(tree)
        except READ_ERRORS as error:
            raise _unreadable(path, error) from error
    _check_arrays(path, record["arrays"], found)
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    groups["posterior"] = _widened(groups["posterior"])
    data = groups.pop("data")
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["bayesmm"] = json.dumps(record["run"])
    return Stored(path, record, tree, data)


def _contents(path: Path) -> bytes:
    """Return the bytes of a file whose seal is whole, or that has none."""
    try:
        check_memory(path, path.stat().st_size)
        contents = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FitFileError(f"there is no file {path}") from None
    except (OSError, MemoryError) as error:
        raise FitFileError(f"{path} cannot be read: {first_line(error)}") from error
    if not contents.startswith(SIGNATURE):
        raise FitFileError(f"{path} is no fit that bayesmm has saved: it is not a netCDF-4 file")
    inside, seal = contents[:-SEAL_LENGTH], contents[-SEAL_LENGTH:]
    if seal.startswith(SEAL) and seal.removeprefix(SEAL) != hashlib.sha256(inside).hexdigest().encode():
        raise FitFileError(f"{path} is damaged: its SHA-256 is not the one that was written; take a copy, or fit again")
    return contents


def _record(path: Path, tree: xr.DataTree) -> Mapping[str, object]:
    """Return the record of a file, its format, shape and checksum tested."""
    text = tree.attrs.get("bayesmm")
    if not isinstance(text, str) or len(text) > LARGEST_RECORD:
        raise FitFileError(f"{path} is no fit that bayesmm has saved: it has no attribute 'bayesmm'")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FitFileError(f"{path} is damaged: its attribute 'bayesmm' is no JSON") from error
    number = record.get("format") if isinstance(record, dict) else None
    if type(number) is not int or number < 1:
        raise FitFileError(f"{path} was not written by fit.save(): its attribute 'bayesmm' has no format")
    if number > FORMAT:
        raise FitFileError(f"{path} has format {number}, which needs a newer bayesmm; this one reads up to {FORMAT}")
    wrong = misshapen(record, {"checksum": str} | RECORD_SHAPE)
    if wrong:
        raise FitFileError(f"{path} is damaged: its record is not as expected at {wrong}")
    if record["checksum"] != record_checksum(record):
        raise FitFileError(f"{path} is damaged: its record has been changed since it was written")
    return record


def misshapen(value: object, shape: object, at: str = "the top") -> str:
    """Return where a value read from JSON is not of a shape (see `RECORD_SHAPE`), or an empty text."""
    if isinstance(shape, list):
        parts = [(f"{at}[{i}]", entry, shape[0]) for i, entry in enumerate(value)] if isinstance(value, list) else None
    elif isinstance(shape, dict):
        known = isinstance(value, dict) and (... in shape or value.keys() == shape.keys())
        parts = (
            [(f"{at}.{key}", entry, shape.get(key, shape.get(...))) for key, entry in value.items()] if known else None
        )
    else:
        return "" if isinstance(value, shape) and not (isinstance(value, bool) and shape is int) else at
    if parts is None:
        return at
    return next((wrong for place, entry, part in parts if (wrong := misshapen(entry, part, place))), "")


def _check_arrays(path: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    missing = [name for name in expected if name not in found]
    for group in ("posterior", "data"):
        missing += [] if any(name.startswith(f"/{group}/") for name in found) else [group]
    if missing:
        raise FitFileError(f"{path} is incomplete: it has no {listing(missing, 3)}")
    changed = [name for name in found if found[name] != expected.get(name)]
    if changed:
        raise FitFileError(f"{path} is damaged: {listing(changed, 3)} changed since it was written; fit again")


def _widened(dataset: xr.Dataset) -> xr.Dataset:
    narrow = {name: values for name, values in dataset.data_vars.items() if values.dtype == np.float32}
    return dataset.assign({name: values.astype(np.float64) for name, values in narrow.items()})


def _unreadable(path: Path, error: BaseException) -> FitFileError:
    return FitFileError(f"{path} is incomplete or damaged, and cannot be read: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return said.splitlines()[0].rstrip(".")


# ----------------------------------------------------------------------------------------------------------------------
# fits that are made once


def reusable(path: str | Path, model, asked: Mapping[str, object], *, say: bool = True) -> xr.DataTree | None:
    """Return the draws of a file if they are of this model and were asked for in the same way, else None.

    Parameters
    ----------
    path : path
        It need not exist; its folder must, and be writable.
    model : Model
    asked : mapping
        The arguments of sampling on which the draws depend.
    say : bool
        Say on stderr, in one line, whether the fit of an existing file is taken and, if not, what has changed.

    Raises
    ------
    FitFileError
        The file is no fit (and is not touched), or a prior is a function, of which nobody can tell whether it changed.
    """
    path = check_target(path, overwrite=True)
    functions = functions_among(model.priors)
    if functions:
        raise FitFileError(
            f"with file= the prior of {listing(functions)} cannot be a function, as nothing shows whether it has "
            "changed since; leave file= out and call fit.save()"
        )
    if not path.exists():
        return None
    stored = read_fit(path)
    changed = changes(stored, model, asked)
    if say:
        found = f"different {listing(changed)} in {path}: fitting again" if changed else f"loaded from {path}"
        print(f"bayesmm: {found}", file=sys.stderr)
    return None if changed else stored.tree


def changes(stored: Stored, model, asked: Mapping[str, object]) -> list[str]:
    """Return what is not the same in a file as in a model and the arguments of its sampling."""
    record, data = described(model)
    known, run = stored.record["model"], stored.record["run"]
    same = {
        "formula": known["formula"] == record["formula"],
        "family": (known["family"], known["link"]) == (record["family"], record["link"]),
        "data": checksums(xr.DataTree(data)) == checksums(xr.DataTree(stored.data))
        and known["columns"] == record["columns"]
        and not disagreement(model.design, stored.tree, recovered=stored.recovered),
        "priors": known["priors"] == record["priors"],
        "sampling arguments": _comparable(run.get("asked"), asked) == plain(asked),
        "end (it was interrupted)": not run.get("interrupted"),
        "precision (float32)": stored.record["dtype"] == "float64",
    }
    return [part for part, holds in same.items() if not holds]


def _comparable(stored: object, asked: Mapping[str, object]) -> object:
    """Return the arguments that a file has, without the length of a tuning that nobody asks for now."""
    free = isinstance(stored, dict) and "tune" in stored and asked.get("tune", 0) is None
    return stored | {"tune": None} if free else stored


def plain(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return arguments as JSON gives them back."""
    return json.loads(json.dumps(dict(arguments), default=lambda value: getattr(value, "item", value.__repr__)()))
