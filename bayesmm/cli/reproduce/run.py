"""A published result, fitted anew: every printed number beside the maximised one and the posterior, with a verdict."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from bayesmm.cli.input import read_priors
from bayesmm.cli.reproduce.data import places, read_data, read_matrix
from bayesmm.cli.reproduce.published import Explanation, Place, Printed, Published
from bayesmm.cli.reproduce.quantities import Fitted, label, parameter, value_at
from bayesmm.errors import BayesmmWarning, DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation.compare_reml import Comparison, compare
from bayesmm.evaluation.loo_compare import compare_models
from bayesmm.model import Model
from bayesmm.results import Fit
from bayesmm.sampling.importance import serves

REPRODUCED, EXPLAINED, FAILED = "reproduced", "explained", "NOT reproduced"
# nlme's summary rounds p-values to four decimals and then prints 6.2e-06 as 0; half a unit of that 0 would be 0.5.
NLME_P_DECIMALS = 4
METHODS: Mapping[str, str] = MappingProxyType({"OLS": "REML", "REML": "REML", "ML": "ML", "Laplace": "ML"})
# The posterior stands beside the print to be compared with it, not to be published: 2,000 draws leave a Monte Carlo
# error of about 0.02 posterior sds, a tenth of what counts as a disagreement (compare.AGREE).
DRAWS, CHAINS, SEED = 500, 4, 1


@dataclass(frozen=True)
class Row:
    """One printed number.

    Attributes
    ----------
    place : tuple of str
        Where it stands below [published].
    label : str
    printed : str
    value : float
        What the maximised model gives.
    shown : str
        The same with one digit more than the print.
    verdict : {"reproduced", "explained", "NOT reproduced"}
    reason : str
        Of an explained number, the file's words; of one that is not reproduced, what is wrong.
    mean, lower, upper : float or None
        The posterior of the parameter that the number is an estimate of: mean and 95 % equal-tailed interval.
    agreement : str
        The verdict of the comparison of posterior and maximum: "agree", "skew", "few groups", ...
    """

    place: Place
    label: str
    printed: str
    value: float
    shown: str
    verdict: str
    reason: str
    mean: float | None = None
    lower: float | None = None
    upper: float | None = None
    agreement: str = ""


@dataclass(frozen=True)
class Result:
    """A published result and its rows.

    Attributes
    ----------
    published : Published
    rows : tuple of Row
        Empty where nothing was printed (the model is then made and not fitted), or the data are not at hand.
    absent : str
        What to do about data that are not at hand; empty if they are.
    notes : tuple of str
        What the model said about the data, and which checks of the posterior failed; for a test the Bayesian
        counterpart of its likelihood ratio.
    seconds, sampling_seconds : float
    """

    published: Published
    rows: tuple[Row, ...]
    absent: str
    notes: tuple[str, ...]
    seconds: float
    sampling_seconds: float

    def count(self, verdict: str) -> int:
        """Return the number of rows with this verdict."""
        return sum(row.verdict == verdict for row in self.rows)


def reproduce(published: Published, sample: bool = False, folder: Path | None = None) -> Result:
    """Fit a published result and compare every printed number.

    Parameters
    ----------
    published : Published
    sample : bool
        Whether to draw from the posterior too; for the comparison of two models their cross-validation is noted.
    folder : Path, optional
        Where to look first for data that are not part of the package.

    Returns
    -------
    Result

    Raises
    ------
    DataError, FormulaError, PriorError
        The file asks for something that the data or the model have not.
    """
    began = time.perf_counter()
    try:
        frame = read_data(published.data, folder)
        if frame is None:
            return Result(published, (), _advice(published, folder), (), 0.0, 0.0)
        models, notes = _models(published, frame)
        points = _maximised(published, models) if published.numbers else ()
        rows = _rows(Fitted(published, points))
    except (DataError, ValueError) as error:
        raise type(error)(f"{published.name}.toml: {error}") from error
    fitted = time.perf_counter()
    if sample and len(models) == 1 and any(parameter(row.place) for row in rows):
        comparison = posterior(models[0], points[0], bool(published.priors))
        rows = _with_posterior(rows, comparison.table.set_index("parameter"))
        notes += tuple(f"The posterior: {check.message}" for check in comparison.checks if not check.ok)
    if sample and len(models) == 2:
        notes += (predictive_difference([sampled(model, bool(published.priors)) for model in models]),)
    return Result(published, rows, "", notes, fitted - began, time.perf_counter() - fitted)


def _maximised(published: Published, models: list[Model]) -> tuple[Estimates, ...]:
    method, start = METHODS[published.estimator], dict(published.start) or None
    return tuple(model.maximize(method, start=start, nagq=published.nagq) for model in models)


def _advice(published: Published, folder: Path | None) -> str:
    name = published.data.name
    looked = ", ".join(str(path.parent) for path in places(name, folder))
    return (
        f"{name} may not be part of the package and is in none of {looked}: fetch it with "
        f'bayesmm.load_dataset("{name}"), or say where {name}.csv is with --data-dir'
    )


def _models(published: Published, frame: pd.DataFrame) -> tuple[list[Model], tuple[str, ...]]:
    """Return the models, and what they say about the data instead of warning."""
    priors = read_priors(list(published.priors)) or None
    matrices = {name: read_matrix(file) for name, file in published.matrices.items()} or None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BayesmmWarning)
        models = [
            Model(formula, frame, published.family, priors, link=published.link, matrices=matrices)
            for formula in published.formulas
        ]
    for warning in caught:
        if not issubclass(warning.category, BayesmmWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    said = [f"The data: {warning.message}" for warning in caught if issubclass(warning.category, BayesmmWarning)]
    return models, tuple(dict.fromkeys(said))


def _rows(fitted: Fitted) -> tuple[Row, ...]:
    sections: dict = {}
    published = fitted.published
    return tuple(
        _row(published, place, printed, value_at(fitted, sections, place))
        for place, printed in published.numbers.items()
    )


def _row(published: Published, place: Place, printed: Printed, value: float) -> Row:
    explanation = published.explained.get(place)
    verdict, reason = judge(published, place, printed, value, explanation)
    return Row(place, label(place), printed.text, value, printed.show(value), verdict, reason)


def judge(
    published: Published, place: Place, printed: Printed, value: float, explanation: Explanation | None
) -> tuple[str, str]:
    """Return the verdict on a printed number and, unless it is reproduced, the reason.

    An explanation counts only if the value that it calls right is the one that was computed.
    """
    if published.program == "nlme" and place[-1] == "p" and printed.text == "0":
        covered = round(value, NLME_P_DECIMALS) == 0
    else:
        covered = printed.covers(value)
    if covered and explanation is None:
        return REPRODUCED, ""
    if explanation is None:
        return FAILED, f"{printed.show(value)} is not {printed.text} to its digits"
    if covered:
        return FAILED, "it is explained in the file, but it is reproduced: take the explanation out"
    if explanation.right.covers(value):
        return EXPLAINED, explanation.reason
    return (
        FAILED,
        f"{explanation.right.show(value)} is not {explanation.right.text}, which the file calls right, to its digits",
    )


def posterior(model: Model, point: Estimates, own_priors: bool = False) -> Comparison:
    """Return the posterior of a model beside its maximum."""
    return compare(sampled(model, own_priors), point)


def sampled(model: Model, own_priors: bool = False) -> Fit:
    """Return the posterior of a model: independent draws where there are few variance parameters, NUTS elsewhere."""
    few = model.family.gaussian and serves(model.design, model.priors) and not own_priors
    return model.sample(DRAWS, chains=CHAINS, seed=SEED, sampler="importance" if few else "auto", progress=False)


def predictive_difference(fits: list[Fit]) -> str:
    """Return what stands beside a likelihood ratio: the difference of two models in leave-one-out cross-validation."""
    comparison = compare_models(dict(zip(("first", "second"), fits, strict=True)))
    table, (first, second) = comparison.table, comparison.loos.values()
    difference, se = second.elpd - first.elpd, table["se_difference"].max()  # that of the best is 0
    high = [len(one.unreliable) for one in (first, second)]
    doubt = f"; Pareto k too high for {high[0]} and {high[1]} rows" if any(high) else ""
    return (
        f"PSIS-LOO of the posteriors, rows given their groups: elpd of the second model less that of the first is "
        f"{difference:+.1f} (SE {se:.1f}), stacking weights {table['weight']['first']:.2f} and "
        f"{table['weight']['second']:.2f}{doubt}."
    )


def _with_posterior(rows: tuple[Row, ...], table: pd.DataFrame) -> tuple[Row, ...]:
    out = []
    for row in rows:
        name = parameter(row.place)
        if name is not None and name in table.index:
            found = table.loc[name]
            numbers = {key: float(found[key]) for key in ("mean", "lower", "upper")}
            row = replace(row, **numbers, agreement=found["verdict"])
        out.append(row)
    return tuple(out)
