"""One model for each of many data sets, on threads or by the workers of an executor; and multiply imputed ones."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from bayesmm.errors import DataError, FormulaError, PriorError, listing, suggest
from bayesmm.inference.simulation.repeat import check_executor, run
from bayesmm.model import Model
from bayesmm.posterior.parameter_values import scalars
from bayesmm.reporting.pooled import Pooled
from bayesmm.results import Fit, PointFit
from bayesmm.runtime.arguments import check_bool, check_cores, check_seed, chosen_seed, is_real
from bayesmm.runtime.progress import counter
from bayesmm.runtime.streams import derived_seed

HOW = ("maximize", "sample")
# What is wrong with one data set: the others are fitted all the same.
OF_THE_DATA = (DataError, FormulaError, PriorError, ValueError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class Fits(Mapping):
    """The fits of many data sets, by their labels.

    Attributes
    ----------
    fits : dict of label to PointFit or Fit
    failed : dict of label to str
        Why a data set has no fit, in a sentence.
    interrupted : bool
        Whether data sets are missing after Ctrl-C.
    """

    fits: dict[Hashable, PointFit | Fit]
    failed: dict[Hashable, str]
    interrupted: bool = False

    def __getitem__(self, label: Hashable) -> PointFit | Fit:
        if label in self.failed:
            raise DataError(f"the data set {label!r} has no fit: {self.failed[label]}")
        return self.fits[label]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.fits)

    def __len__(self) -> int:
        return len(self.fits)

    def fixef(self) -> pd.DataFrame:
        """Return the coefficients of all fits, the data sets' labels in front of the index."""
        return pd.concat({label: fit.fixef() for label, fit in self.fits.items()}, names=["data"])

    def varcorr(self) -> pd.DataFrame:
        """Return the variance components of all fits, the data sets' labels in front of the index."""
        return pd.concat({label: fit.varcorr() for label, fit in self.fits.items()}, names=["data"])

    def __repr__(self) -> str:
        lost = f", {len(self.failed):,} failed ({listing(self.failed, 3)})" if self.failed else ""
        return f"{len(self.fits):,} fits{lost}{', interrupted' if self.interrupted else ''}"


def fit_many(
    formula: object,
    data: Mapping[Hashable, object],
    family: object = "gaussian",
    priors: Mapping[str, object] | None = None,
    *,
    how: str = "maximize",
    seed: int | None = None,
    cores: int | None = None,
    executor: object = None,
    progress: bool = True,
    model: Mapping[str, object] | None = None,
    **options: object,
) -> Fits:
    """Fit one model to each of many data sets.

    Parameters
    ----------
    formula, family, priors
        As for `Model`.
    data : mapping of label to table
        ``dict(list(frame.groupby("site")))`` is one.
    how : {"maximize", "sample"}
    seed : int, optional
        Of sampling: each data set has a seed of its own that follows from this one and its label, so that the draws do
        not depend on the other data sets, the workers or the order.
    cores : int, optional
        Fits at the same time, on threads; as many as there are processors if not given.
    executor : concurrent.futures.Executor, optional
        Whose workers fit instead, in other processes or on other machines: Dask's, loky's, MPI's. What a lost worker
        had is done again where the executor goes on without it; a pool of `concurrent.futures` does not, and its error
        is raised.
    progress : bool
        Show a progress bar; never shown where the output is no terminal or notebook.
    model : mapping, optional
        Further arguments of `Model`: weights, link, ...
    **options
        Arguments of `Model.maximize` or `Model.sample`.

    Returns
    -------
    Fits
        A mapping of label to fit; ``fits.failed`` says what is wrong with the other data sets.

    Raises
    ------
    ValueError
        An argument is out of range, or there are no data.
    """
    if how not in HOW:
        raise ValueError(f"how must be one of {listing(HOW)}, not {how!r}{suggest(str(how), HOW)}")
    if not isinstance(data, Mapping) or not data:
        raise ValueError("data should be a mapping of labels to tables, such as dict(list(frame.groupby('site')))")
    check_bool("progress", progress)
    check_seed(seed)
    check_cores(cores)
    check_executor(executor, cores)
    seed, labels = chosen_seed(seed), list(data)
    arguments = dict(family=family, priors=priors, **(model or {}))

    def share(numbers: Sequence[int]) -> Callable:  # a worker gets the tables of its own part alone
        own = {i: (labels[i], data[labels[i]]) for i in numbers}
        return partial(_fitter, formula, own, arguments, how, options, seed)

    with counter(progress, "Fits", len(labels)) as advance:
        found, interrupted = run(share(range(len(labels))), len(labels), cores, advance, executor, share)
    fits = {labels[i]: fit for i, (fit, _) in found.items() if fit is not None}
    return Fits(fits, {labels[i]: said for i, (fit, said) in found.items() if fit is None}, interrupted)


def fit_multiple(
    formula: object,
    frames: Mapping[Hashable, object] | Sequence[object],
    family: object = "gaussian",
    priors: Mapping[str, object] | None = None,
    *,
    how: str = "maximize",
    df_com: float | str | None = None,
    seed: int | None = None,
    cores: int | None = None,
    executor: object = None,
    progress: bool = True,
    model: Mapping[str, object] | None = None,
    **options: object,
) -> Pooled:
    """Fit one model to multiply imputed data and pool the fits.

    Parameters
    ----------
    formula, family, priors
        As for `Model`.
    frames : sequence of tables, or mapping of label to table
        The completed data sets, two or more. Of a long table with the number of the imputation in a column, as R's
        ``mice::complete(imp, "long")`` has, ``dict(list(long.groupby(".imp")))``.
    how : {"maximize", "sample"}
        Maximised fits are pooled by Rubin's rules with Barnard and Rubin's degrees of freedom; of posteriors the draws
        are mixed, as brms' ``brm_multiple`` does.
    df_com : float or "residual", optional
        Of maximised fits, the degrees of freedom that tests of the coefficients have with complete data: a number, or
        the number of rows less that of parameters, as R's ``mice::pool`` has them. If not given, those of the fits'
        own tests, averaged: Satterthwaite's, n - p without random effects, infinite for other families.
    seed, cores, executor, progress, model
        As for `fit_many`.
    **options
        Arguments of `Model.maximize` or `Model.sample`.

    Returns
    -------
    Pooled
        ``fixef()``, ``varcorr()``, ``summary()``, ``tidy()``; ``pooled.fits`` has the fits.

    Raises
    ------
    ValueError
        An argument is out of range, or there are fewer than two data sets.
    DataError
        A data set cannot be fitted, or the fits have different parameters.
    """
    tables = dict(frames) if isinstance(frames, Mapping) else _numbered(frames)
    if len(tables) < 2:
        raise ValueError(f"fit_multiple takes two imputed data sets or more, and has {len(tables)}")
    if how == "sample" and df_com is not None:
        raise ValueError("df_com is for how='maximize'; a posterior has no degrees of freedom")
    if df_com not in (None, "residual") and not (is_real(df_com) and df_com > 0):
        raise ValueError(f"df_com should be a number above 0, 'residual' or None, not {df_com!r}")
    asked = dict(how=how, seed=seed, cores=cores, executor=executor, progress=progress, model=model)
    found = fit_many(formula, tables, family, priors, **asked, **options)
    for label, said in found.failed.items():
        raise DataError(f"the imputation {label!r} has no fit: {said}")
    if found.interrupted:
        raise KeyboardInterrupt
    _check_alike(found)
    return Pooled(found.fits, df_com)


def _check_alike(fits: Fits) -> None:
    """Raise a DataError unless all fits have the same parameters in the same order."""
    (first, point), *others = fits.items()
    own = [parameter.label for parameter in scalars(point.design)]
    for label, fit in others:
        theirs = [parameter.label for parameter in scalars(fit.design)]
        if theirs != own:
            only = [name for name in (*own, *theirs) if (name in own) != (name in theirs)]
            what = f"only one of them has {listing(only, 6)}" if only else "they stand in another order"
            raise DataError(
                f"the imputations {first!r} and {label!r} have different parameters, {what}; give factors the same "
                "levels in all imputations, as a pandas Categorical has them"
            )


def _numbered(frames: object) -> dict[int, object]:
    """Return a sequence of tables by number, from 1; a ValueError for a single table."""
    if not isinstance(frames, Sequence) or isinstance(frames, str):
        raise ValueError(
            "frames should be a list of tables, or a mapping of labels to tables such as "
            f"dict(list(long.groupby('.imp'))), not a {type(frames).__name__}"
        )
    return dict(enumerate(frames, start=1))


def _fitter(
    formula: object,
    tables: Mapping[int, tuple[Hashable, object]],
    arguments: Mapping[str, object],
    how: str,
    options: Mapping[str, object],
    seed: int,
) -> Callable[[int], tuple[PointFit | Fit | None, str]]:
    """Return the function of the number of a data set that fits it."""

    def task(i: int) -> tuple[PointFit | Fit | None, str]:
        own_label, table = tables[i]
        try:
            model = Model(formula, table, **arguments)
            if how == "maximize":
                return model.maximize(**options), ""
            label = type(own_label).__name__, str(own_label)  # 1 and "1" are two
            own = {"progress": False, **options, "seed": derived_seed(seed, "fit_many", *label)}
            return model.sample(**own), ""
        except OF_THE_DATA as error:
            return None, " ".join(str(error).split())

    return task
