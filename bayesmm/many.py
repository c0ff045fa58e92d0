"""One model for each of many data sets, on threads or by the workers of an executor; and multiply imputed ones."""

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from bayesmm.errors import BayesmmWarning, DataError, FormulaError, PriorError, UnfinishedError, listing, suggest
from bayesmm.inference.simulation.repeat import check_executor, run, unfinished
from bayesmm.model import Model
from bayesmm.posterior.draws import sampling_record
from bayesmm.posterior.parameter_values import scalars
from bayesmm.reporting.pooled import Pooled
from bayesmm.results import Fit, PointFit
from bayesmm.runtime.arguments import check_bool, check_cores, check_seed, chosen_seed, is_real
from bayesmm.runtime.messages import count
from bayesmm.runtime.progress import counter
from bayesmm.runtime.streams import derived_seed

HOW = ("maximize", "sample")
MOST_SAID = 3  # imputations without a fit whose reason a message has
# What is said of one data set as it is; other errors with their type.
OF_THE_DATA = (DataError, FormulaError, PriorError, ValueError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class Fits(Mapping):
    """The fits of many data sets, by their labels.

    Attributes
    ----------
    fits : dict of label to PointFit or Fit
    failed : dict of label to str
        Why a data set has no fit, in a sentence.
    unfinished : tuple of labels
        The data sets that were not fitted to the end when the run was, by Ctrl-C or a lost worker.
    ended : str
        What ended the run early, where it was an error.
    """

    fits: dict[Hashable, PointFit | Fit]
    failed: dict[Hashable, str]
    unfinished: tuple[Hashable, ...] = ()
    ended: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether data sets are missing because the run ended early."""
        return bool(self.unfinished)

    @property
    def missing(self) -> dict[Hashable, str]:
        """Why each data set without a fit has none."""
        why = f"the run was ended by {self.ended}" if self.ended else "the run was interrupted before it was finished"
        return self.failed | dict.fromkeys(self.unfinished, why)

    def __getitem__(self, label: Hashable) -> PointFit | Fit:
        if label not in self.fits and label in self.missing:
            raise DataError(f"the data set {label!r} has no fit: {self.missing[label]}")
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
        why = "ended early" if self.ended else "interrupted"
        left = f", {why}: {len(self.unfinished):,} not finished" if self.unfinished else ""
        return f"{count(len(self.fits), 'fit')}{lost}{left}"


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
        had is done again where the executor goes on without it; a pool of `concurrent.futures` does not.
    progress : bool
        Show a progress bar; never shown where the output is no terminal or notebook.
    model : mapping, optional
        Further arguments of `Model`: weights, link, ...
    **options
        Arguments of `Model.maximize` or `Model.sample`.

    Returns
    -------
    Fits
        A mapping of label to fit; ``fits.failed`` says what is wrong with the other data sets. After Ctrl-C with the
        fits that were finished; samplers that were running are stopped.

    Raises
    ------
    ValueError
        An argument is out of range, or there are no data.
    UnfinishedError
        A worker was lost, or a call has a mistake that shows only while it runs, when fits were finished: they are its
        attribute ``finished``.
    KeyboardInterrupt
        If interrupted before a fit was finished.
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
        found, ended = run(share(range(len(labels))), len(labels), cores, advance, executor, share)
    fits = {labels[i]: fit for i, (fit, _) in found.items() if fit is not None}
    failed = {labels[i]: said for i, (fit, said) in found.items() if fit is None}
    lost = tuple(label for label in labels if label not in fits and label not in failed)
    why = f"{type(ended).__name__}: {' '.join(str(ended).split())}" if isinstance(ended, Exception) else ""
    out = Fits(fits, failed, lost, why)
    unfinished(ended, len(found), len(labels), "data sets", out)
    return out


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
        ``fixef()``, ``varcorr()``, ``summary()``, ``tidy()``; ``pooled.fits`` has the fits. Where some imputations
        could not be fitted to the end, or after Ctrl-C, those that were finished, at least two, are pooled with a
        warning; ``pooled.missing`` says why the others are not there.

    Raises
    ------
    ValueError
        An argument is out of range, or there are fewer than two data sets.
    DataError
        A data set does not fit the formula, or has other parameters than the first: nothing was fitted; or no fit
        could be made.
    UnfinishedError
        One fit alone was finished; ``finished``, a `Fits`, has it.
    KeyboardInterrupt
        If interrupted before a fit was finished.
    """
    tables = dict(frames) if isinstance(frames, Mapping) else _numbered(frames)
    if len(tables) < 2:
        raise ValueError(f"fit_multiple takes two imputed data sets or more, and has {len(tables)}")
    if how == "sample" and df_com is not None:
        raise ValueError("df_com is for how='maximize'; a posterior has no degrees of freedom")
    if df_com not in (None, "residual") and not (is_real(df_com) and df_com > 0):
        raise ValueError(f"df_com should be a number above 0, 'residual' or None, not {df_com!r}")
    models = _checked(formula, tables, dict(family=family, priors=priors, **(model or {})))
    asked = dict(how=how, seed=seed, cores=cores, executor=executor, progress=progress, model=model)
    given = models if executor is None else tables  # the tables are less to send
    try:
        found = fit_many(formula, given, family, priors, **asked, **options)
    except UnfinishedError as error:
        if len(error.finished) < 2 or isinstance(error.__cause__, TypeError):  # of an argument
            raise
        found = error.finished
    return _pooled(found, df_com)


def _checked(formula: object, tables: Mapping[Hashable, object], arguments: Mapping[str, object]) -> dict:
    """Return the model of each imputation; a DataError for one that has none, or other parameters than the first."""
    models: dict[Hashable, Model] = {}
    for label, table in tables.items():
        try:
            models[label] = Model(formula, table, **arguments)
        except OF_THE_DATA as error:
            if isinstance(error, FormulaError) and not models:  # the text's, as the first table shows
                raise
            raise DataError(f"the imputation {label!r} has no fit: {' '.join(str(error).split())}") from error
    _check_alike(models)
    return models


def _pooled(found: Fits, df_com: float | str | None) -> Pooled:
    """Return what is finished as one, with a warning of what is not; an error with the fits where it is less than two.

    Raises
    ------
    DataError
        No imputation could be fitted.
    UnfinishedError
        One alone.
    """
    if not found.fits:
        label, said = next(iter(found.missing.items()))
        raise DataError(f"the imputation {label!r} has no fit: {said}")
    if found.missing:
        said = "; ".join(f"{label!r}: {why}" for label, why in list(found.missing.items())[:MOST_SAID])
        more = f"; and {len(found.missing) - MOST_SAID:,} more" if len(found.missing) > MOST_SAID else ""
        have = f"{count(len(found.fits), 'imputation')} of {len(found.fits) + len(found.missing):,}"
        if len(found.fits) < 2:
            raise UnfinishedError(
                f"only {have} has a fit, and two are the least that can be pooled: this error has it as its attribute "
                f"finished ({said}{more})",
                found,
            )
        warnings.warn(f"only {have} are pooled ({said}{more})", BayesmmWarning, stacklevel=3)
    return Pooled(found.fits, df_com, found.missing)


def _check_alike(models: Mapping[Hashable, Model]) -> None:
    """Raise a DataError unless all models have the same parameters in the same order."""
    (first, model), *others = models.items()
    own = [parameter.label for parameter in scalars(model.design)]
    for label, other in others:
        theirs = [parameter.label for parameter in scalars(other.design)]
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
            model = table if isinstance(table, Model) else Model(formula, table, **arguments)
            if how == "maximize":
                return model.maximize(**options), ""
            label = type(own_label).__name__, str(own_label)  # 1 and "1" are two
            own = {"progress": False, **options, "seed": derived_seed(seed, "fit_many", *label)}
            fit = model.sample(**own)
        except TypeError:  # a wrong call, of all of them
            raise
        except Exception as error:  # the others are fitted all the same
            kind = "" if isinstance(error, OF_THE_DATA) else f"{type(error).__name__}: "
            return None, kind + " ".join(str(error).split())
        if sampling_record(fit.tree).get("interrupted"):  # fewer draws than the others have
            raise KeyboardInterrupt
        return fit, ""

    return task
