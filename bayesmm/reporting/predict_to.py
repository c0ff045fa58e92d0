"""Predictions of all rows written into a file, some thousand rows at a time: more than the memory holds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from bayesmm.design.summed import is_summed
from bayesmm.engines.frames import is_lazy, values_of
from bayesmm.engines.row_batches import other_rows, own_rows
from bayesmm.errors import DataError, FitFileError, listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.families.circle import left_over
from bayesmm.formula.responses import RESPONSE
from bayesmm.formula.responses import ROW as TABLE_ROW
from bayesmm.posterior.draws import CI_PROB, tree_sizes
from bayesmm.posterior.predict import predict
from bayesmm.posterior.predict_point import predict_point
from bayesmm.posterior.predictions import CATEGORY
from bayesmm.runtime.arguments import check_bool, chosen_seed
from bayesmm.runtime.progress import working
from bayesmm.runtime.streams import derived_seed
from bayesmm.storage.atomic_write import csv_text, whole_file
from bayesmm.storage.files import check_target, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

OF_POINT = ("kind", "groups", "new_levels", "se")
OF_FIT = ("kind", "groups", "new_levels", "seed", "trials", "ci_prob")
PARQUET, CSV = (".parquet", ".pq"), (".csv",)
BATCH = 200_000  # rows of a maximised model that are predicted together
DRAWS = 40_000_000  # draws of rows of a posterior that are: 320 MB
ROW, RESIDUAL = "row", "residual"  # columns of the file besides those of `predict` and of the data


def predict_to(
    fit,
    path: str | Path,
    data: object = None,
    *,
    columns: Sequence[str] | None = None,
    overwrite: bool = False,
    **options: object,
) -> Path:
    """Write the predictions of all rows into a Parquet or CSV file, whole or not at all.

    The rows are read, predicted and written some thousand at a time, those of a lazy frame by its engine and in its
    order; no more of them are in memory.

    Parameters
    ----------
    path : path
        Its name ends in .parquet, .pq or .csv.
    data : table or lazy frame, optional
        The rows to predict; those of the fit if not given, of a lazy frame as long as the model has it: not after
        `load`.
    columns : sequence of str, optional
        Columns of the data that are written beside the predictions; those of the formula if not given.
    overwrite : bool
        Replace a file that is there.
    **options
        Those of `predict`: kind, groups, new_levels; of a posterior seed, trials and ci_prob; of a maximised model se.

    Returns
    -------
    Path
        The file has these columns, a row for each row of the data (of ordered categories of a posterior for each of
        its categories): row, the row's label, where the data are a table in memory; those of the data; those of
        `predict` (estimate, se, sd; of a posterior mean, sd, lower, upper); and, of the model's own rows with
        kind="mean" of one number, residual: the response (of a binomial the share of successes) less its prediction.

    Raises
    ------
    TypeError, ValueError, DataError
        As `predict`; a column is not there, or has the name of one that is written.
    FitFileError
        The file exists, or cannot be written: the disk is full.
    """
    check_bool("overwrite", overwrite)
    _check_options(fit, options)
    path = check_target(path, overwrite)
    open_writer = _writer_of(path)
    ci_prob, seed = options.pop("ci_prob", CI_PROB), options.pop("seed", None)
    seed = None if isinstance(fit, Estimates) else chosen_seed(seed)
    with (
        working("predicting") as task,
        _one_sentence(path),
        whole_file(path) as temporary,
        open_writer(temporary) as write,
    ):
        done = 0
        whole = _own_responses(fit, data, options, seed, ci_prob)
        for k, (table, labels, y) in enumerate(_parts(fit, data, columns, options)):
            own = options if seed is None else options | {"seed": _seed(seed, k, options)}
            made = _predicted(fit, table, own, ci_prob) if whole is None else whole.iloc[done : done + len(table)]
            write(_beside(fit, made, table, labels, y, columns, options))
            done += len(table)
            task.text = f"predicting, {done:,} rows written"
        if not done:
            raise DataError("the data have no rows to predict")
    return path


def _check_options(fit, options: Mapping[str, object]) -> None:
    known = OF_POINT if isinstance(fit, Estimates) else OF_FIT
    for name in options:
        if name not in known:
            raise TypeError(f"predict_to() has no argument {name!r}{suggest(name, known)} (there are {listing(known)})")


def _own_responses(
    fit, data: object, options: Mapping[str, object], seed: int | None, ci_prob: float
) -> pd.DataFrame | None:
    """Return predictions of new responses of the model's own rows, whose weights and trials batches have not."""
    if options.get("kind") != "response" or data is not None or isinstance(fit, Estimates):
        return None
    if not is_summed(fit.design):
        return predict(fit, None, **options, seed=seed).to_frame(ci_prob)
    if fit.design.weights is not None:
        raise ValueError(
            "kind='response' of the rows of the fit needs their weights, which are not read in batches; give data=, "
            "the lazy frame, for responses of weight 1"
        )
    return None


def _seed(seed: int, k: int, options: Mapping[str, object]) -> int:
    """Return the seed of a batch: one for all, by which new levels are drawn, but other responses in each."""
    return derived_seed(seed, "predict_to", k) if options.get("kind") == "response" and k else seed


# ----------------------------------------------------------------------------------------------------------------------
# rows


def _parts(fit, data: object, columns: Sequence[str] | None, options: Mapping[str, object]) -> Iterator[tuple]:
    """Yield tables of some rows, their labels or None, and their responses or None."""
    size = BATCH if isinstance(fit, Estimates) else max(1, DRAWS // int(np.prod(tree_sizes(fit.tree))))
    design = fit.design
    if data is None and is_summed(design):
        data = design.frame.source
        if data is None:
            raise DataError(
                "the model has the sums of its rows alone, as after load(); give data=, the lazy frame of the rows"
            )
        lazy = own_rows(design.spec, data, columns)
    elif is_lazy(data):
        lazy = other_rows(design.formula, data, columns)
    else:
        yield from _in_memory(design, data, size)
        return
    yield from ((table, None, y) for table, y in lazy.batches(size))


def _in_memory(design, data: object, size: int) -> Iterator[tuple]:
    if data is None:
        share = design.y if design.trials is None else design.y / design.trials
        for at in range(0, design.n, size):
            part = slice(at, at + size)
            yield design.frame.iloc[part], design.row_labels[part], share[part]
        return
    frame = pd.DataFrame(data) if isinstance(data, Mapping) else data
    if isinstance(frame, pd.DataFrame):
        for at in range(0, len(frame), size):
            yield frame.iloc[at : at + size], frame.index[at : at + size], None
        return
    frame = nw.from_native(frame, eager_only=True)
    for at in range(0, len(frame), size):
        part = frame[at : at + size]
        table = pd.DataFrame({name: values_of(part[name]) for name in part.columns})
        yield table, np.arange(at, at + len(part)), None


def _predicted(fit, table: pd.DataFrame, options: Mapping[str, object], ci_prob: float) -> pd.DataFrame:
    """Return predict()'s table of some rows."""
    if isinstance(fit, Estimates):
        return predict_point(fit, table, **options)
    return predict(fit, table, **options).to_frame(ci_prob)


def _beside(
    fit,
    made: pd.DataFrame,
    table: pd.DataFrame,
    labels: Sequence | None,
    y: np.ndarray | None,
    columns: Sequence[str] | None,
    options: Mapping[str, object],
) -> pd.DataFrame:
    """Return predictions with the columns of the data in front, and the residual behind."""
    formula = fit.design.frame.columns if columns is None and not is_summed(fit.design) else table.columns
    several = bool(fit.design.responses)
    wanted = [name for name in formula if name in table and name != TABLE_ROW] if columns is None else list(columns)
    absent = [name for name in wanted if name not in table]
    if absent:
        raise DataError(f"columns= names {listing(absent)}, and the rows have {listing(map(str, table.columns), 12)}")
    by_category = made.index.nlevels > 1 and not several
    times = len(made) // len(table)
    front = {} if labels is None else {ROW: np.repeat(np.asarray(labels), times)}
    if several:
        pairs = np.array([*made.index, (None, None)], dtype=object)[:-1]
        front, wanted = {ROW: pairs[:, 0], RESPONSE: pairs[:, 1]}, [name for name in wanted if name != RESPONSE]
    front |= {name: np.repeat(np.asarray(table[name]), times) for name in wanted}
    if by_category:
        front[CATEGORY] = made.index.get_level_values(1)
    behind = {name: made[name].to_numpy() for name in made}
    single = "estimate" if isinstance(fit, Estimates) else "mean"
    if y is not None and not by_category and single in made and options.get("kind", "mean") == "mean":
        behind[RESIDUAL] = left_over(fit.design.family, y, behind[single])
    twice = [name for name in wanted if name in behind or name in (ROW, CATEGORY)]
    if twice:
        raise DataError(
            f"{listing(twice)} would be in the file twice, of the data and of the predictions; name other columns= of "
            "the data, or columns=[] for none"
        )
    return pd.DataFrame(front | behind)


# ----------------------------------------------------------------------------------------------------------------------
# files


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FitFileError(f"{path} cannot be written: {first_line(error)}") from error


def _writer_of(path: Path) -> "Callable":
    """Return what opens a file for tables, by its name."""
    name = path.name.lower()
    if name.endswith(CSV):
        return _csv
    if not name.endswith(PARQUET):
        raise FitFileError(f"{path} should be a Parquet or CSV file: its name should end in .parquet, .pq or .csv")
    return _parquet


@contextmanager
def _csv(temporary: Path) -> "Iterator[Callable[[pd.DataFrame], None]]":
    with open(temporary, "x", encoding="utf-8", newline="") as file:
        first = True

        def write(table: pd.DataFrame) -> None:
            nonlocal first
            file.write(csv_text(table, header=first))
            first = False

        yield write


@contextmanager
def _parquet(temporary: Path) -> "Iterator[Callable[[pd.DataFrame], None]]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None

    def write(table: pd.DataFrame) -> None:
        nonlocal writer
        plain = table.assign(
            **{n: table[n].astype(object) for n in table if isinstance(table[n].dtype, pd.CategoricalDtype)}
        )
        if writer is None:
            fields = pa.Table.from_pandas(plain, preserve_index=False).schema.remove_metadata()
            texts = [pa.field(f.name, pa.string()) if pa.types.is_null(f.type) else f for f in fields]
            writer = pq.ParquetWriter(temporary, pa.schema(texts))
        writer.write_table(pa.Table.from_pandas(plain, schema=writer.schema, preserve_index=False))

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
