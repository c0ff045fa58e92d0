"""The power of a test of one coefficient, by simulation, as a function of the number of groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from bayesmm.design.parameters import coefficient_label
from bayesmm.design.records import Design
from bayesmm.design.residual.of_family import check_determined
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import table, wrap
from bayesmm.errors import DataError, listing, suggest
from bayesmm.inference.simulation.bootstrap import check_seen
from bayesmm.inference.simulation.groups import factor_name, factors_by_name, outer_factor, repeated_rows, resized
from bayesmm.inference.simulation.power_tests import by_t, check_possible, effect, responses, simulated_tests
from bayesmm.inference.simulation.repeat import check_executor, run, unfinished
from bayesmm.posterior.draws import CI_PROB
from bayesmm.posterior.parameter_values import parameter_values, scalars
from bayesmm.runtime.arguments import (
    check_bool,
    check_cores,
    check_model,
    check_probability,
    check_seed,
    check_whole,
    chosen_seed,
)
from bayesmm.runtime.progress import counter

COLUMNS = ("groups", "power", "lower", "upper", "simulations", "failed")
FIRST = 10  # data sets of each number of groups that are drawn before the run; if all fail, so would the others; ours
MOST_FAILED = 0.05  # of the simulations, beyond which the power is that of the data that happen to be fitted; ours


@dataclass(frozen=True, eq=False)
class Power(Tabled):
    """A power curve.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each number of groups: groups (of several factors a column of each by its name; `rows` where it was
        given); power, the share of the fitted simulations in which the test rejects;
        lower, upper, its 95 % Wilson interval, which is the Monte Carlo error; simulations, those fitted; failed,
        those that could not be simulated, fitted or tested, which are left out of the share.
    test : str
        The coefficient, ``beta[x]``.
    by : str
        The grouping factors whose levels are counted.
    method : str
        Of the test, in words.
    value : float
        The coefficient that was simulated; NaN where it came from a posterior.
    level : float
        Of the two-sided test.
    seed : int
    interrupted : bool
        Whether simulations are missing after Ctrl-C.
    """

    table: pd.DataFrame
    test: str
    by: str
    method: str
    value: float
    level: float
    seed: int
    interrupted: bool

    def plot(self, ax=None):
        """Draw power against the number of groups, with its Monte Carlo error; return the axes."""
        from bayesmm.inference.simulation.power_plot import plot_power

        return plot_power(self, ax)

    def __str__(self) -> str:
        return render(self)

    __repr__ = __str__


def power(
    model,
    parameters: object,
    groups: Sequence[int] | Mapping[str, Sequence[int]] = (10, 20, 40),
    test: str | None = None,
    simulations: int = 200,
    level: float = 0.05,
    seed: int | None = None,
    cores: int | None = None,
    progress: bool = True,
    *,
    by: str | None = None,
    rows: Sequence[int] | None = None,
    executor: object = None,
) -> Power:
    """Return how often a test of a coefficient rejects in data sets with other numbers of groups.

    The rows of the model's data are its design: a data set with k groups has whole levels of the grouping factor, in
    random order, each as often as the others (to one): all predictors, weights and inner levels of a level are copied
    under a new label. For each number of groups this choice is made once. Levels of factors that are crossed with the
    grouping factor stay what they are. A response is drawn with new random effects, and fitted: by REML and tested by
    Student's t with Satterthwaite's degrees of freedom (by z where the residuals have parameters of their own, or known
    standard errors), or, of another family or link, by maximum likelihood (Laplace) and tested by z.

    Parameters
    ----------
    model : Model
    parameters : mapping of str to float, PointFit or Fit
        The true values, as `Model.simulate` takes it. ``{**point.parameters, "beta[x]": 2}`` changes one of a fit's
        estimates; with 0 the power is the level. A Fit gives the power averaged over its draws.
    groups : sequence of int, or mapping of str to sequence of int
        Numbers of levels, each at least 2. Of several factors together: ``{"subject": [20, 40], "item": [10, 20]}``,
        every combination.
    test : str, optional
        The coefficient, ``"beta[x]"`` or ``"x"``. The only one besides the intercept if not given.
    simulations : int
        For each number of groups: 200 have a standard error of 0.035 at most.
    level : float
        Of the two-sided test.
    seed : int, optional
        The same seed gives the same result, whatever `cores` is. None: a new one, recorded.
    cores : int, optional
        Refits at the same time, on threads; as many as there are processors if not given.
    progress : bool
        Show a progress bar; never shown where the output is no terminal or notebook.
    by : str, optional
        The grouping factor, where there are several: the one that the others are nested in if not given.
    rows : sequence of int, optional
        Observations for each row of the data, each at least 1: every row so many times, with its own residual.
    executor : concurrent.futures.Executor, optional
        Whose workers simulate and refit, in other processes or on other machines (Dask's, loky's, MPI's): the same
        result.

    Returns
    -------
    Power
        After Ctrl-C with what was finished.

    Raises
    ------
    TypeError
        For what is no Model.
    ValueError
        An argument is out of range, or names no coefficient, parameter or factor of the model.
    DataError
        The model has no grouping factor, known covariances among the levels that are counted, or coefficients of each
        category, or the coefficient cannot be estimated with so many levels, or the
        parameters give no mean: with the inverse link linear predictors are not above 0 in any of the first data sets.
    UnfinishedError
        If an error ended the run, such as workers that were lost; ``finished`` has the simulations before.
    KeyboardInterrupt
        If interrupted before a simulation was finished.
    """
    _check_arguments(model, simulations=simulations, level=level, seed=seed, cores=cores, progress=progress)
    check_executor(executor, cores)
    check_seen(model.design, "a power analysis", "simulate() gives responses that you can censor and fit")
    coefficient = tested(model.design, test)
    _check_determined(model.design, coefficient)
    values_at = parameter_values(model.design, parameters)
    sizes = sizes_of(model.design, groups, rows, by)
    seed = chosen_seed(seed)
    designs = [_sized(model, sizes, setting, seed, coefficient) for setting in sizes.settings]
    check_possible(responses(designs, sizes.settings, values_at, seed), len(designs), min(FIRST, simulations))
    total = simulations * len(designs)
    make = partial(simulated_tests, model.design, parameters, designs, sizes.settings, coefficient, level, seed)
    with counter(progress, "Simulations", total) as advance:
        found, ended = run(make, total, cores, advance, executor)
    results = [[found[i] for i in range(j, total, len(designs)) if i in found] for j in range(len(designs))]
    shown = [(*setting, *_row(own)) for setting, own in zip(sizes.settings, results, strict=True)]
    value = np.nan if hasattr(parameters, "tree") else effect(values_at, seed, coefficient)
    test = "t with Satterthwaite df" if by_t(model.design) else "z"
    method = f"{test}, {'REML' if model.family.gaussian else 'maximum likelihood'}"
    table_of = pd.DataFrame(shown, columns=[*sizes.columns, *COLUMNS[1:]])
    name = coefficient_label(model.design.coefficients[coefficient])
    out = Power(table_of, name, sizes.by, method, value, level, seed, ended is not None)
    unfinished(ended, len(found), total, "simulations", out)
    return out


def _check_arguments(
    model: object, *, simulations: object, level: object, seed: object, cores: object, progress: object
) -> None:
    """Raise a TypeError for what is no Model, and a ValueError for an argument that is out of range."""
    check_model(model)
    check_bool("progress", progress)
    check_whole("simulations", simulations, 1)
    check_probability("level", level)
    check_seed(seed)
    check_cores(cores)


@dataclass(frozen=True)
class Sizes:
    """The data sets that are looked at.

    Attributes
    ----------
    factors : tuple of int
        The positions of the grouping factors whose levels are counted.
    rows : bool
        Whether observations for each row are counted too.
    settings : tuple of tuples of int
        The numbers of levels of each, and of observations.
    columns : tuple of str
    by : str
    """

    factors: tuple[int, ...]
    rows: bool
    settings: tuple[tuple[int, ...], ...]
    columns: tuple[str, ...]
    by: str


def sizes_of(design: Design, groups: object, rows: object, by: str | None) -> Sizes:
    """Return the data sets of numbers of levels, of one factor or of several, and of observations."""
    if isinstance(groups, Mapping):
        if by is not None:
            raise ValueError("groups names its factors, and by names another; leave by out")
        names = factors_by_name(design)
        wrong = [name for name in groups if name not in names]
        if wrong or not groups:
            near = suggest(str(wrong[0]), list(names)) if wrong else ""
            raise ValueError(f"groups should be by grouping factor ({listing(list(names))}), not {groups!r}{near}")
        factors = {names[name]: _numbers(f"groups[{name!r}]", value, 2) for name, value in groups.items()}
    else:
        numbers = _numbers("groups", groups, 2)
        factors = {outer_factor(design, by): numbers}
    lists = [*factors.values(), *([] if rows is None else [_numbers("rows", rows, 1)])]
    own = tuple(factor_name(design.blocks[k]) for k in factors)
    columns = ("groups",) if len(own) == 1 else own
    columns += ("rows",) if rows is not None else ()
    return Sizes(tuple(factors), rows is not None, tuple(product(*lists)), columns, " and ".join(own))


def _sized(model, sizes: Sizes, setting: tuple[int, ...], seed: int, coefficient: int) -> Design:
    """Return the design of one setting."""
    for k, number in zip(sizes.factors, setting, strict=False):
        model = resized(model, k, number, seed)
    model = repeated_rows(model, setting[-1]) if sizes.rows else model
    return _checked(model.design, setting[0], coefficient)


def _numbers(name: str, given: object, least: int) -> list[int]:
    """Return whole numbers in order, each once."""
    numbers = np.unique(np.atleast_1d(np.asarray(given)))
    if np.ma.is_masked(given) or numbers.dtype.kind not in "iu" or len(numbers) == 0 or numbers[0] < least:
        example = [10, 20, 40] if least > 1 else [1, 2, 4]
        raise ValueError(f"{name} should be whole numbers of at least {least}, such as {example}, not {given!r}")
    return [int(k) for k in numbers]


def tested(design: Design, test: str | None) -> int:
    """Return the position of the coefficient that is tested."""
    if design.family.nominal:
        raise DataError(
            "power tests one coefficient of the mean, and here each category has coefficients of its own; draw data by "
            "simulate(), fit them and the model without the predictor, and count how often lrt() rejects"
        )
    names = list(design.coefficients)
    places = [coefficient_label(name) for name in names]
    others = [j for j in range(design.p) if not (design.has_intercept and j == 0)]
    if test is None and len(others) == 1:
        return others[0]
    if test is None:
        raise ValueError(f"test should name one of the coefficients ({listing(places) or 'the model has none'})")
    if test in places or test in names:
        return places.index(test) if test in places else names.index(test)
    if test in [parameter.label for parameter in scalars(design)]:
        raise ValueError(f"test names {test!r}; power tests coefficients of the mean ({listing(places) or 'none'})")
    near = suggest(str(test), places) or suggest(str(test), names)
    raise ValueError(
        f"test names {test!r}, which is no coefficient of the model{near} (coefficients: {listing(places) or 'none'})"
    )


def _check_determined(design: Design, coefficient: int) -> None:
    if coefficient in design.aliased:
        raise DataError(
            f"{coefficient_label(design.coefficients[coefficient])} cannot be told apart from other coefficients in "
            "the data of the model, with whatever number of groups; test another one, or leave out what it depends on"
        )


def _checked(design: Design, k: int, coefficient: int) -> Design:
    if coefficient in design.aliased:
        raise DataError(
            f"with {k} groups {coefficient_label(design.coefficients[coefficient])} cannot be told apart from other "
            "coefficients; take more groups, or another seed, which chooses other levels"
        )
    check_determined(design)
    return design


def _row(results: Sequence[bool | None]) -> tuple[float, ...]:
    from scipy.stats import binomtest

    known = [result for result in results if result is not None]
    failed = len(results) - len(known)
    if not known:
        return np.nan, np.nan, np.nan, 0, failed
    interval = binomtest(sum(known), len(known)).proportion_ci(CI_PROB, method="wilson")
    return sum(known) / len(known), interval.low, interval.high, len(known), failed


def render(found: Power) -> str:
    """Return what ``print(power)`` shows."""
    size = ", drawn from the posterior," if np.isnan(found.value) else f" = {found.value:.4g}"
    lines = [
        f"Power by simulation: how often {found.test}{size} is found to differ from 0",
        f"Test: {found.method}, two-sided, level {found.level:g}; seed {found.seed}",
        "Intervals: 95 % Wilson (lower, upper), the Monte Carlo error of the simulation",
        "",
    ]
    counted = found.table.columns[: -len(COLUMNS) + 1]
    rows = [
        [*(f"{int(r[name]):,}" for name in counted), *(f"{r[name]:.3f}" for name in ("power", "lower", "upper")),
         f"{int(r['simulations']):,}", f"{int(r['failed']):,}"]
        for _, r in found.table.iterrows()
    ]  # fmt: skip
    names = {"groups": f"levels of {found.by}", "rows": "observations per row"}
    head = [*(names.get(name, f"levels of {name}") for name in counted), *COLUMNS[1:]]
    return "\n".join([*lines, *table(head, rows, left=0), *_remarks(found)])


def _remarks(found: Power) -> list[str]:
    said = []
    if found.interrupted:
        said.append("Interrupted: simulations are missing.")
    many = found.table["failed"] > MOST_FAILED * (found.table["failed"] + found.table["simulations"])
    if many.any():
        counted = found.table.columns[: -len(COLUMNS) + 1]
        where = listing(
            " x ".join(f"{k:,}" for k in row) for row in found.table.loc[many, counted].itertuples(index=False)
        )
        said.append(
            f"With {where} levels more than {100 * MOST_FAILED:g} % of the data sets could not be simulated or fitted, "
            "and the power is that of the others."
        )
    return wrap(" ".join(said), indent="") if said else []
