"""The parametric bootstrap: a maximised fit simulated and fitted again, many times."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from bayesmm.design.parameters import coefficient_label
from bayesmm.design.summed import absent_rows, is_summed
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import column, table, wrap
from bayesmm.errors import DataError, listing
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.maximize import maximize
from bayesmm.formula.formula import text_of
from bayesmm.inference.simulation.repeat import check_executor, repeated, run, unfinished
from bayesmm.posterior.draws import CI_PROB
from bayesmm.posterior.parameter_values import scalars
from bayesmm.posterior.point_estimates import estimate
from bayesmm.posterior.simulate import simulator
from bayesmm.runtime.arguments import check_bool, check_cores, check_probability, check_seed, check_whole, chosen_seed
from bayesmm.runtime.messages import count
from bayesmm.runtime.progress import counter
from bayesmm.runtime.streams import stream

COLUMNS = ("estimate", "bias", "se", "lower", "upper")
FEW = 200  # of samples: the ends of a 95 % interval then rest on five of them


@dataclass(frozen=True, eq=False)
class Bootstrap(Tabled):
    """A parametric bootstrap.

    Attributes
    ----------
    point : PointFit
        What was simulated from.
    draws : pandas.DataFrame
        The estimates of each refit, a row each (index sample, counted from 0), a column per parameter as in
        ``fit.summary()``; NaN where an estimate is not defined, as a correlation is where an sd is 0.
    singular, unconverged : (len(draws),) bool
        Which refits have a covariance matrix at its boundary, and which did not converge.
    failed : int
        Samples without a refit: the likelihood of the simulated response has no maximum, or new groups have no mean.
    asked : int
        Samples that were asked for; fewer are there after Ctrl-C.
    seed : int
    """

    point: Estimates
    draws: pd.DataFrame
    singular: np.ndarray
    unconverged: np.ndarray
    failed: int
    asked: int
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """The estimate of each parameter, its bias, its standard error and its 95 % interval: see `summary`."""
        return self.summary()

    def summary(self, ci_prob: float = CI_PROB) -> pd.DataFrame:
        """Return a row per parameter: estimate, bias, se, lower, upper.

        Parameters
        ----------
        ci_prob : float
            Probability of the percentile interval: equal tails of the refits' estimates are outside.

        Returns
        -------
        pandas.DataFrame
            bias: the mean of the refits' estimates less the estimate; se: their standard deviation.
        """
        check_probability("ci_prob", ci_prob)
        fitted = [estimate(self.point, parameter) for parameter in scalars(self.point.design)]
        rows = [
            _row(at, values[np.isfinite(values)], ci_prob)
            for at, values in zip(fitted, self.draws.to_numpy().T, strict=True)
        ]
        index = pd.Index(self.draws.columns, name="parameter")
        return pd.DataFrame(rows, index=index, columns=list(COLUMNS), dtype=float)

    def __str__(self) -> str:
        return render(self)

    __repr__ = __str__


def _row(fitted: float, values: np.ndarray, ci_prob: float) -> tuple[float, ...]:
    if len(values) < 2:
        return fitted, np.nan, np.nan, np.nan, np.nan
    ends = np.quantile(values, [(1 - ci_prob) / 2, (1 + ci_prob) / 2])
    return fitted, values.mean() - fitted, values.std(ddof=1), *ends


def bootstrap(
    point: Estimates,
    samples: int = 1000,
    seed: int | None = None,
    cores: int | None = None,
    progress: bool = True,
    executor: object = None,
) -> Bootstrap:
    """Simulate a maximised fit, random effects included, and fit each simulated response by the same method.

    As lme4's ``bootMer(use.u = FALSE, type = "parametric")``.

    Parameters
    ----------
    point : PointFit
    samples : int
        At least 2.
    seed : int, optional
        The same seed gives the same refits, whatever `cores` is. None: a new one, recorded.
    cores : int, optional
        Refits at the same time, on threads; as many as there are processors if not given.
    progress : bool
        Show a progress bar; never shown where the output is no terminal or notebook.
    executor : concurrent.futures.Executor, optional
        Whose workers refit, in other processes or on other machines (Dask's, loky's, MPI's): the same refits.

    Returns
    -------
    Bootstrap
        After Ctrl-C with the refits that were finished.

    Raises
    ------
    ValueError
        For an argument out of range.
    UnfinishedError
        If an error ended the run, such as workers that were lost; ``finished`` has the refits before.
    KeyboardInterrupt
        If interrupted before two refits were finished.
    """
    check_whole("samples", samples, 2)
    check_bool("progress", progress)
    check_seed(seed)
    check_cores(cores)
    check_executor(executor, cores)
    if is_summed(point.design):
        raise absent_rows(point.design.X.sums.engine)
    seed = chosen_seed(seed)
    with counter(progress, "Refits", samples) as advance:
        if executor is None:
            found, ended = repeated(refitter(point, seed), samples, cores, advance)
        else:
            found, ended = run(partial(refitter, point, seed), samples, cores, advance, executor)
    out = collected(point, found, samples, seed)
    unfinished(ended, len(found), samples, "samples", out)
    if ended and len(found) < 2:
        raise KeyboardInterrupt
    return out


def refitter(point: Estimates, seed: int) -> Callable[[int], Estimates | None]:
    """Return a function of the number of a sample: its refit, None where it fails."""
    check_seen(point.design, "the bootstrap", "use profile likelihood intervals, confint(), or sample the posterior")
    respond = simulator(point)

    def task(i: int) -> Estimates | None:
        try:
            y = respond(stream(seed, "bootstrap", i))
        except DataError:  # with the inverse link new groups may have no mean
            return None
        return refitted(replace(point.design, y=y), point.method, point.priors, point.nagq or 1)

    return task


def check_seen(design, who: str, instead: str) -> None:
    """Raise a DataError for a censored response: when a simulated one would have been is not known."""
    if design.limits is not None and design.limits.censored.any():
        raise DataError(
            f"{who} simulates responses, and of a censored one ({text_of(design.formula.cens)}) it is not known which "
            f"of these would have been censored; {instead}"
        )


def refitted(design, method: str, priors=None, nagq: int = 1) -> Estimates | None:
    """Return the fit of a simulated response, or None where it has none."""
    if np.ptp(design.y) == 0 and not design.family.discrete:
        return None
    try:
        return maximize(design, method, priors, nagq=nagq)
    except (DataError, np.linalg.LinAlgError, FloatingPointError):
        return None


def collected(point: Estimates, found: dict[int, Estimates | None], asked: int, seed: int) -> Bootstrap:
    """Return the refits as a record."""
    fits = {i: fit for i, fit in found.items() if fit is not None}
    parameters = scalars(point.design)
    values = [[estimate(fit, parameter) for parameter in parameters] for fit in fits.values()]
    columns = [parameter.label for parameter in parameters]
    draws = pd.DataFrame(np.reshape(values, (-1, len(columns))), pd.Index(fits, name="sample"), columns, dtype=float)
    singular = np.array([fit.singular for fit in fits.values()], dtype=bool)
    unconverged = np.array([not fit.converged for fit in fits.values()], dtype=bool)
    return Bootstrap(point, draws, singular, unconverged, len(found) - len(fits), asked, seed)


def render(found: Bootstrap) -> str:
    """Return what ``print(bootstrap)`` shows."""
    shown, number = found.table, len(found.draws)
    done = number + found.failed
    stopped = f", interrupted: {found.asked:,} were asked for" if done < found.asked else ""
    lines = [
        f"Parametric bootstrap of a fit by {found.point.method}: {count(number, 'refit')}, seed {found.seed}{stopped}"
    ]
    lines += [f"Formula: {found.point.design.formula.text}", "Intervals: 95 % percentile (lower, upper)", ""]
    cells = [column(shown[name], scale=shown["se"].dropna()) for name in COLUMNS]
    rows = [[label, *row] for label, *row in zip(shown.index, *cells, strict=True)]
    return "\n".join([*lines, *table(["", *COLUMNS], rows), "", *_remarks(found)])


def _remarks(found: Bootstrap) -> list[str]:
    """Return what is to say about the refits."""
    number, boundary = len(found.draws), int(found.singular.sum())
    shown = f"{boundary:,} of the {count(number, 'refit')} are singular (an sd of 0 or a correlation of 1 or -1)."
    said = [shown] if found.point.design.blocks else []
    unsure = int(found.unconverged.sum())
    said.append(f"{unsure:,} did not converge and are among them." if unsure else "All converged.")
    if found.failed:
        verb = "is" if found.failed == 1 else "are"
        said.append(f"{count(found.failed, 'sample')} could not be simulated or fitted and {verb} left out.")
    design = found.point.design
    names = [coefficient_label(design.coefficients[j]) for j in design.aliased]
    if names:
        said.append(
            f"{listing(names)} cannot be estimated: {'its row is' if len(names) == 1 else 'their rows are'} blank."
        )
    undefined = int(found.draws.drop(columns=names).isna().to_numpy().any(axis=1).sum())
    if undefined:
        said.append(f"In {count(undefined, 'refit')} a parameter has no estimate; its row is of the others.")
    if number < FEW:
        said.append(f"With fewer than {FEW} refits the ends of the intervals are rough.")
    return wrap(" ".join(said), indent="")
