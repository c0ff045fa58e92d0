"""The posterior beside the maximised fit: for each parameter both answers, their difference and its cause."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.parameters import Parameter, coefficients, variance_parameters
from bayesmm.errors import PriorError
from bayesmm.evaluation.checks import Check, run_checks
from bayesmm.evaluation.compare_reml_text import render_comparison
from bayesmm.evaluation.consistency import check_choice, find_consistency
from bayesmm.evaluation.verdicts import NODES, Row, Rule, judge
from bayesmm.likelihood.quadrature import fits
from bayesmm.likelihood.varying import varies
from bayesmm.posterior.density import mode, support_of
from bayesmm.posterior.draws import describe, draws_of
from bayesmm.posterior.point_estimates import at_bound, by_quadrature, confounded, estimate, is_singular, standard_error
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads

COLUMNS = (
    "parameter point se map mean median mode sd lower upper difference verdict cause".split()
)  # the public columns of Comparison.table


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Posterior and point estimate of every parameter, side by side.

    Attributes
    ----------
    table : DataFrame
        A row for each sd, correlation, sigma and coefficient. point, se: the maximised fit's estimate and standard
        error (of coefficients only); map: mode of the marginal posterior of the variance parameters under the model's
        priors; mean, median, mode, sd, lower, upper: the posterior's draws, 95 % equal-tailed; difference:
        (mean - point) in posterior sds; verdict: agree, prior pull, boundary, skew, few groups, Laplace or disagree;
        cause: a sentence for every verdict but agree.
    parameters : tuple of Parameter
        What each row is.
    point : PointFit
        The maximised fit.
    consistency : ConsistencyCheck or None
        What `Fit.consistency` returns, if it was asked for.
    checks : tuple of Check
        The checks of the posterior; draws that failed them cannot be compared with anything.
    quadrature : float
        Log likelihood at the point estimates by adaptive quadrature, where `point` has Laplace's approximation of it.
    """

    table: pd.DataFrame
    parameters: tuple[Parameter, ...]
    point: object
    consistency: object | None
    checks: tuple[Check, ...]
    quadrature: float = math.nan

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
        The fit to compare with; of the same model REML, or Laplace's ML for a generalised one, if not given.
    consistency : bool or "graph"
        Of a linear model: with the check of `bayesmm.evaluation.consistency.consistency`; "graph": with that of the
        PyMC graph.

    Raises
    ------
    ValueError
        If `point` has other coefficients or grouping factors than `fit`, or `consistency` is none of its choices.
    """
    check_choice(consistency)
    point, flat = point_fits(fit, point)
    check_same_model(fit.design, point.design)
    rows = gather(fit, point, flat, marginal_mode(fit.model))
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


def point_fits(fit, point) -> tuple:
    """Return the fit to compare with, and the mode under flat priors: REML, or ML by quadrature where there is one."""
    if fit.design.family.gaussian:
        reml = point if point is not None and point.method == "REML" else fit.model.maximize(method="REML")
        return (reml if point is None else point), reml
    point = fit.model.maximize(method="ML") if point is None else point
    exact = point.nagq != 1 or not fits(fit.design)
    return point, point if exact else fit.model.maximize(method="ML", nagq=NODES)


def check_same_model(design, other) -> None:
    """Raise ValueError unless both designs have the same coefficients and random effects."""
    mine, theirs = (
        [*(p.label for p in coefficients(d)), *(f"{b.group}[{c}]" for b in d.blocks for c in b.columns)]
        for d in (design, other)
    )
    if mine != theirs or design.n != other.n:
        raise ValueError(
            f"the point fit is of another model, with {', '.join(theirs)} on {other.n:,} rows; "
            f"this posterior has {', '.join(mine)} on {design.n:,} rows"
        )


def marginal_mode(model):
    """Return the marginal MAP of the model; None where there is none, as with a prior that is a function."""
    design, gaussian = model.design, model.design.family.gaussian
    if structured_terms(design, compiled=gaussian) or (design.residual.estimated and gaussian and not varies(design)):
        return None
    try:
        return model.maximize(method="MAP")
    except PriorError:
        return None


def gather(fit, point, flat, marginal) -> list[Row]:
    """Return the evidence of every parameter: variance parameters first, as lme4 prints them, then coefficients."""
    parameters = variance_parameters(fit.design) + coefficients(fit.design)
    draws = draws_of(fit, parameters)
    posterior = describe(draws)
    return [
        evidence(fit.design, parameter, draws[i].ravel(), posterior.iloc[i], (point, flat, marginal))
        for i, parameter in enumerate(parameters)
    ]


def evidence(design, parameter: Parameter, draws: np.ndarray, posterior: pd.Series, fits_: tuple) -> Row:
    """Return what the posterior and the three maximised fits (point, flat, MAP or None) say about one parameter."""
    point, flat, marginal = fits_
    block = design.blocks[parameter.block] if parameter.block >= 0 else None
    return Row(
        parameter=parameter,
        method=point.method,
        point=estimate(point, parameter),
        se=standard_error(point, parameter),
        reml=estimate(flat, parameter),
        nagq=0 if design.family.gaussian else point.nagq,
        map=math.nan if marginal is None else estimate(marginal, parameter),
        median=float(np.median(draws)),
        mode=mode(draws, support_of(parameter), posterior["ess_bulk"]),
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
        "cause": rule.cause(row),
    }
