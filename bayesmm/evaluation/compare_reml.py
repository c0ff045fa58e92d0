"""The posterior beside the maximised fit: for each parameter both answers, their difference and its cause."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.parameters import Parameter, coefficients, variance_parameters
from bayesmm.design.relations import unrelated
from bayesmm.design.summed import is_summed
from bayesmm.display.frames import Tabled
from bayesmm.errors import PriorError
from bayesmm.estimation.corner import no_maximum
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation.checks import Check, run_checks
from bayesmm.evaluation.compare_reml_text import render_comparison
from bayesmm.evaluation.compare_reml_verdicts import NODES, Row, Rule, judge, say_why
from bayesmm.evaluation.consistency import check_choice, find_consistency
from bayesmm.evaluation.joint_mode import means_given_others
from bayesmm.likelihood.quadrature import fits
from bayesmm.likelihood.varying import varies
from bayesmm.posterior.density import flat_share, mode, support_of
from bayesmm.posterior.draws import describe, draws_of
from bayesmm.posterior.point_estimates import at_bound, by_quadrature, confounded, estimate, is_singular, standard_error
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads

COLUMNS = (
    "parameter point se map mean median mode sd lower upper difference verdict cause".split()
)  # the public columns of Comparison.table


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Tabled):
    """Posterior and point estimate of every parameter, side by side.

    Attributes
    ----------
    table : DataFrame
        A row for each sd, correlation, sigma and coefficient. point, se: the maximised fit's estimate and standard
        error (of coefficients only); map: mode of the marginal posterior of the variance parameters under the model's
        priors; mean, median, mode, sd, lower, upper: the posterior's draws, 95 % equal-tailed; difference:
        (mean - point) in posterior sds; verdict: agree, prior pull, boundary, skew, few groups, Laplace or disagree;
        cause: a sentence for every verdict but agree, which says what each of two causes makes of the difference
        where both make a good part of it. Without a maximised fit point, se, map and difference are NaN, and verdict
        and cause empty.
    parameters : tuple of Parameter
        What each row is.
    point : PointFit or None
        The maximised fit; None where the model has none, which `absent` says why.
    consistency : ConsistencyCheck or None
        What `Fit.consistency` returns, if it was asked for.
    checks : tuple of Check
        The checks of the posterior; draws that failed them cannot be compared with anything.
    quadrature : float
        Log likelihood at the point estimates by adaptive quadrature, where `point` has Laplace's approximation of it.
    absent : str
        Why there is no maximised fit; empty where there is one.
    """

    table: pd.DataFrame
    parameters: tuple[Parameter, ...]
    point: object
    consistency: object | None
    checks: tuple[Check, ...]
    quadrature: float = math.nan
    absent: str = ""

    @property
    def method(self) -> str:
        """How the maximised fit was made, "REML", "ML" or "MAP"; empty where there is none."""
        return "" if self.point is None else self.point.method

    @property
    def agrees(self) -> bool:
        """Whether the posterior passes its checks and both answers agree on every parameter: for a script."""
        return all(check.ok for check in self.checks) and bool((self.table["verdict"] == "agree").all())

    def __str__(self) -> str:
        return render_comparison(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from bayesmm.evaluation.compare_reml_html import comparison_html

        return comparison_html(self)


@working("comparing the posterior with the maximised fit")
@few_threads
def compare(fit, point=None, consistency: bool | str = False) -> Comparison:
    """Compare a posterior with the maximised fit of the same model.

    Parameters
    ----------
    fit : Fit
    point : PointFit, optional
        The fit to compare with; of the same model REML, or Laplace's ML for a generalised one, if not given. One that
        is given is sought anew: where it is not the maximum, the verdict is "disagree", and says so. A model that has
        no maximum is set beside nothing, and the comparison says why.
    consistency : bool or "graph"
        Of a linear model: with the check of `bayesmm.evaluation.consistency.consistency`; "graph": with that of the
        PyMC graph.

    Raises
    ------
    ValueError
        If `point` is of another model or of other responses than `fit`, or `consistency` is none of its choices.
    TypeError
        If `point` is no maximised fit.
    """
    check_choice(consistency)
    if point is not None and not isinstance(point, Estimates):
        raise TypeError(f"compare() takes a maximised fit, as maximize() gives, not {type(point).__name__}")
    if point is not None:
        check_same_model(fit.design, point.design)
    absent = no_maximum(fit.design) if point is None else ""
    if absent:
        return alone(fit, absent)
    point, flat, own = point_fits(fit, point)
    rows = gather(fit, (point, flat, marginal_mode(fit.model), own))
    judged = [judge(row) for row in rows]
    table = pd.DataFrame([as_record(row, rule) for row, rule in zip(rows, judged, strict=True)], columns=COLUMNS)
    return Comparison(
        table=table,
        parameters=tuple(row.parameter for row in rows),
        point=point,
        consistency=find_consistency(fit.design, flat, consistency),
        checks=tuple(run_checks(fit)),
        quadrature=by_quadrature(point) if point.nagq == 1 else math.nan,
    )


def alone(fit, absent: str) -> Comparison:
    """Return the posterior with nothing beside it; `absent` says why."""
    parameters = variance_parameters(fit.design) + coefficients(fit.design)
    draws = draws_of(fit, parameters)
    posterior, flat = describe(draws), draws.reshape(len(parameters), -1)
    table = posterior[["mean", "sd", "lower", "upper"]].reset_index(drop=True)
    table["parameter"], table["median"] = [p.label for p in parameters], np.median(flat, axis=1)
    numbers = zip(flat, map(support_of, parameters), posterior["ess_bulk"], strict=True)
    table["mode"] = [mode(*each) for each in numbers]
    table[["point", "se", "map", "difference"]], table[["verdict", "cause"]] = math.nan, ""
    return Comparison(table[list(COLUMNS)], tuple(parameters), None, None, tuple(run_checks(fit)), absent=absent)


def point_fits(fit, given) -> tuple:
    """Return the fit to compare with, the mode under flat priors, and the maximum that a given fit should be.

    The mode under flat priors is REML, or ML by quadrature where there is one. It is never the fit that was given: a
    wrong one would be taken for what the priors move from.
    """
    maximize = fit.model.maximize
    own = None if given is None else again(maximize, given)
    if fit.design.family.gaussian:
        reml = own if own is not None and given.method == "REML" else maximize(method="REML")
        return (reml if given is None else given), reml, own
    point = maximize(method="ML") if given is None else given
    searched = point if own is None else own
    exact = searched.nagq != 1 or not fits(fit.design)
    return point, searched if exact else maximize(method="ML", nagq=NODES), own


def again(maximize, given):
    """Return the maximum that was asked for when `given` was made, sought anew."""
    nodes = {} if given.nagq == 1 else {"nagq": given.nagq}
    return maximize(method=given.method, **nodes)


def check_same_model(design, other) -> None:
    """Raise ValueError unless both designs have the same coefficients, random effects and responses."""
    mine, theirs = (
        [*(p.label for p in coefficients(d)), *(f"{b.group}[{c}]" for b in d.blocks for c in b.columns)]
        for d in (design, other)
    )
    if mine != theirs or design.n != other.n:
        raise ValueError(
            f"the point fit is of another model, with {', '.join(theirs)} on {other.n:,} rows; "
            f"this posterior has {', '.join(mine)} on {design.n:,} rows"
        )
    mine, theirs = ([p.label for p in variance_parameters(d)] for d in (design, other))
    if mine != theirs:
        raise ValueError(
            f"the point fit is of another model, with the variance parameters {', '.join(theirs)}; this posterior has "
            f"{', '.join(mine)}"
        )
    if not (is_summed(design) or is_summed(other)) and not np.array_equal(design.y, other.y):
        raise ValueError(
            "the point fit is of other data: its responses are not those of this posterior; maximise the same model "
            "(fit.model.maximize()), or leave `point` out"
        )


def marginal_mode(model):
    """Return the marginal MAP of the model; None where there is none, as with a prior that is a function."""
    design, gaussian = model.design, model.design.family.gaussian
    if not design.family.smooth:
        return None
    own = design if gaussian else unrelated(design)
    if structured_terms(own, compiled=True) or (design.residual.estimated and gaussian and not varies(design)):
        return None
    try:
        return model.maximize(method="MAP")
    except PriorError:
        return None


def gather(fit, fits_: tuple) -> list[Row]:
    """Return the evidence of every parameter: variance parameters first, as lme4 prints them, then coefficients."""
    parameters = variance_parameters(fit.design) + coefficients(fit.design)
    draws = draws_of(fit, parameters)
    posterior, given = describe(draws), means_at_mode(fit.design, parameters, draws, fits_[2])
    return [
        evidence(fit.design, parameter, draws[i].ravel(), posterior.iloc[i], fits_, given[i])
        for i, parameter in enumerate(parameters)
    ]


def means_at_mode(design, parameters: list[Parameter], draws: np.ndarray, marginal) -> np.ndarray:
    """Return the posterior mean of each parameter given the others' values at the marginal MAP, where there is one.

    In a linear model the coefficients are integrated out of that mode: they are not among the others, and have none.
    """
    missing = [marginal is None or (design.family.gaussian and p.kind == "coefficient") for p in parameters]
    at = [np.nan if out else estimate(marginal, p) for p, out in zip(parameters, missing, strict=True)]
    return means_given_others(draws.reshape(len(parameters), -1), np.array(at, dtype=float))


def evidence(
    design, parameter: Parameter, draws: np.ndarray, posterior: pd.Series, fits_: tuple, given: float = math.nan
) -> Row:
    """Return what the posterior and the maximised fits say about one parameter.

    `fits_` are the one to compare with, the one under flat priors, the MAP or None, and the maximum that the first
    should be, or None.
    """
    point, flat, marginal, own = fits_
    block = design.blocks[parameter.block] if parameter.block >= 0 else None
    return Row(
        parameter=parameter,
        method=point.method,
        point=estimate(point, parameter),
        se=standard_error(point, parameter),
        reml=estimate(flat, parameter),
        nagq=0 if design.family.gaussian else point.nagq,
        map=math.nan if marginal is None else estimate(marginal, parameter),
        maximum=math.nan if own is None else estimate(own, parameter),
        given=given,
        median=float(np.median(draws)),
        mode=mode(draws, support_of(parameter), posterior["ess_bulk"]),
        flat=flat_share(draws, support_of(parameter), estimate(point, parameter), posterior["ess_bulk"]),
        **{name: float(posterior[name]) for name in ("mean", "sd", "lower", "upper")},
        bound=at_bound(point, parameter),
        confounded=parameter.kind == "coefficient" and parameter.terms[0] in confounded(design),
        singular=singular_factor(point, parameter),
        group=block.group if block else "",
        levels=(len(block.columns) if block.smooth else len(block.labels)) if block else 0,
        counted="basis functions" if block and block.smooth else "levels",
    )


def singular_factor(point, parameter: Parameter) -> str:
    """Return the singular grouping factor that an estimate depends on: its own, or any for a coefficient and sigma."""
    own = [parameter.block] if parameter.block >= 0 else range(len(point.design.blocks))
    return next((point.design.blocks[k].group for k in own if is_singular(point, k)), "")


def as_record(row: Row, rule: Rule) -> dict[str, object]:
    """Return the row of the public table."""
    numbers = {name: getattr(row, name) for name in COLUMNS[1:10]}
    return {
        "parameter": row.parameter.label,
        **numbers,
        "difference": row.difference,
        "verdict": rule.verdict,
        "cause": say_why(row, rule),
    }
