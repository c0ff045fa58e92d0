"""What marginal quantities are returned as, and what is computed from them: contrasts and joint tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import value_text
from bayesmm.errors import listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.families.links import LINKS, Link
from bayesmm.inference.anova import Anova
from bayesmm.inference.marginal_effects.adjustments import ADJUST, Tests, adjusted
from bayesmm.inference.marginal_effects.plot import plot_averages
from bayesmm.inference.marginal_effects.quantities import Estimand, Quantities, combined
from bayesmm.inference.marginal_effects.result import (
    effects_note,
    interval_note,
    labelled,
    origin_words,
    render,
    scale_note,
    shaped,
    tail_note,
    title_of,
    undefined_note,
)
from bayesmm.inference.marginal_effects.rows import Groups, groups_of, label_count, names_of
from bayesmm.inference.marginal_effects.uncertainty import (
    Spread,
    drawn,
    estimates,
    exponentiated,
    point_means,
    point_tests,
    spread_of,
    transformed,
)
from bayesmm.inference.marginal_effects.weights import (
    METHODS,
    Members,
    Method,
    no_differences,
    own_contrasts,
    place,
)
from bayesmm.inference.tails import chi2_tail, f_tail
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.posterior.predict import check_choice

RANK = 1e-10  # of the largest singular value: directions of a joint test below it are sums of others
OWN = Method(lambda members: ([], np.empty((0, 0))), "none", "")  # contrasts that a user gives


@dataclass(frozen=True, eq=False)
class Origin:
    """What a result was computed from, for what is computed from it in turn.

    Attributes
    ----------
    fit : Fit or PointFit
    estimand : Estimand
    ddf : str or None
    quantities : Quantities
        A quantity for each row of the table.
    by : tuple of str
        The labels within whose values contrasts are formed, if no others are asked for.
    ratio : bool
        Whether differences of the quantities are logarithms of ratios.
    """

    fit: object
    estimand: Estimand
    ddf: str | None
    quantities: Quantities
    by: tuple[str, ...] = ()
    ratio: bool = False


@dataclass(frozen=True, eq=False)
class Averages(Tabled):
    """Predictions, marginal means, comparisons, slopes or contrasts.

    Attributes
    ----------
    table : pandas.DataFrame
        A row each: what it is, then for a posterior mean, sd, lower, upper, of differences pd, the probability of
        direction, and median, which is printed where a mean is outside its interval; for a maximised model estimate,
        se, df (not with z), of differences t or z and p, lower, upper.
    draws : array, shape (chains, draws, rows), or None
        Of a posterior, in the order of the table.
    title : str
    notes : tuple of str
        What was averaged over what, on which scale, and where the intervals come from.
    null : float or None
        What no difference is: 0, 1 for ratios; None for means.
    origin : Origin
    """

    table: pd.DataFrame
    draws: np.ndarray | None
    title: str
    notes: tuple[str, ...]
    null: float | None
    origin: Origin

    def contrast(
        self, method: object = "pairwise", adjust: str | None = None, by: object = None, reference: object = None
    ) -> "Averages":
        """Return weighted sums of the rows, within the levels of `by`; see `averages.contrast`."""
        return contrast(self, method, adjust, by, reference)

    def pairs(self, adjust: str | None = None, reference: object = None, by: object = None) -> "Averages":
        """Return all pairwise differences, or with `reference` those from one row; see `averages.contrast`."""
        return contrast(self, "pairwise" if reference is None else "reference", adjust, by, reference)

    def joint(self, by: object = None) -> Anova:
        """Test that all means are equal, or all differences 0, within the levels of `by`; see `averages.joint`."""
        return joint(self, by)

    def plot(self):
        """Draw the rows with their intervals; see `bayesmm.inference.marginal_effects.plot.plot_averages`."""
        return plot_averages(self)

    def __str__(self) -> str:
        return render(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from bayesmm.display.html import table_html

        return table_html([self.title, *self.notes], self.table)


def within(keys: pd.DataFrame) -> tuple[str, ...]:
    """Return the labels that say what a slope or a comparison is of, where others say where: contrasts are of these."""
    own = tuple(name for name in ("variable", "contrast") if name in keys)
    return own if len(own) < len(keys.columns) else ()


def means_record(
    origin: Origin, labels: tuple[pd.DataFrame, object], title: str, notes: list[str], back: Link | None = None
) -> Averages:
    """Return means as a record: `labels` are the columns of labels and, or None, the index.

    With `back`, a link, the quantities are linear predictors, and what is shown is its inverse of them.
    """
    fit, estimand, found = origin.fit, origin.estimand, origin.quantities
    words, draws = "", None
    if isinstance(fit, Estimates):
        spread = spread_of(fit, origin.ddf)
        link, words = LINKS[fit.design.family.link] if estimand.kind == "mean" else None, spread.words
        table = point_means(estimates(found, spread), spread, estimand.ci_prob, link)
        table = table if back is None else transformed(table, back)
    else:
        values = found.values if back is None else back.inverse(found.values)
        table, draws = drawn(values, estimand.ci_prob), shaped(fit, values)
    said = [*notes, *scale_note(fit, estimand), *effects_note(fit, estimand), interval_note(fit, estimand, words)]
    said += undefined_note(fit, found)
    return Averages(labelled(labels[0], table, labels[1]), draws, title, (*said, *tail_note(table)), None, origin)


def tests_record(origin: Origin, keys: pd.DataFrame, title: str, notes: list[str]) -> Averages:
    """Return differences as a record; of ratios the quantities are the logarithms."""
    fit, estimand, found, ratio = origin.fit, origin.estimand, origin.quantities, origin.ratio
    words, draws = "", None
    if isinstance(fit, Estimates):
        spread = spread_of(fit, origin.ddf)
        table, words = point_tests(estimates(found, spread), spread, estimand.ci_prob), spread.words
        table = exponentiated(table) if ratio else table
    else:
        values = np.exp(found.values) if ratio else found.values
        table, draws = drawn(values, estimand.ci_prob, float(ratio)), shaped(fit, values)
    said = [*notes, *effects_note(fit, estimand), interval_note(fit, estimand, words), *undefined_note(fit, found)]
    return Averages(labelled(keys, table), draws, title, (*said, *tail_note(table)), float(ratio), origin)


# ----------------------------------------------------------------------------------------------------------------------
# contrasts


def contrast(
    result: Averages,
    method: str | Mapping[str, object] = "pairwise",
    adjust: str | None = None,
    by: str | Sequence[str] | None = None,
    reference: object = None,
) -> Averages:
    """Return weighted sums of the rows of a result: of means, slopes, predictions, comparisons or contrasts.

    Parameters
    ----------
    result : Averages
    method : str or mapping
        "pairwise": all pairs, the first less the second. "reference": each less the reference. "consecutive": each less
        the one before. "eff": each less the mean of all. "helmert": each less the mean of those before it. "trend":
        orthogonal polynomials over the order of the levels, or over their values where these are numbers, linear to
        degree 6. Or weights under a name, by level or in the order of the levels: ``{"a v rest": {"a": 1, "b": -0.5,
        "c": -0.5}}``; a level of several variables is a tuple.
    adjust : {"none", "tukey", "mvt", "holm", "fdr", "bonferroni"}, optional
        Of the p-values and intervals of a maximised model, for the contrasts within each combination of `by`. None, as
        in emmeans: Tukey's for all pairs, "mvt" (the largest of correlated t; of a balanced one-way layout Dunnett's
        test) for "reference" and "consecutive", "fdr" for "eff", "none" for all else. Intervals with Holm's p-values
        and with "fdr" are Bonferroni's. A posterior is not adjusted.
    by : str or list of str, optional
        The labels within whose values contrasts are formed: those of ``emmeans(by=)`` if not given; of slopes and
        comparisons the variable (and its contrast).
    reference : level, optional
        Of "reference"; the first if not given.

    Returns
    -------
    Averages
        Columns of `by`, contrast, and the statistics. Of ratios, and of ``emmeans(kind="response")`` with a log or a
        logit link, the contrasts are of logarithms and shown as ratios.

    Raises
    ------
    ValueError
        An argument is none of its choices, names no level or label of the result, or adjusts a posterior.
    """
    origin, chosen = result.origin, _method(method, reference)
    point = isinstance(origin.fit, Estimates)
    if adjust is not None:
        check_choice("adjust", adjust, tuple(ADJUST))
    if not point and adjust not in (None, "none"):
        raise ValueError("a posterior has no p-values to adjust; leave adjust out, and read the draws")
    if adjust == "tukey" and method != "pairwise":
        raise ValueError("Tukey's method is for all pairs; for other contrasts there is adjust='mvt'")
    groups, others = _grouped(result, by)
    names, rows, sizes = [], [], []
    for code in range(len(groups.keys)):
        at = np.flatnonzero(groups.codes == code)
        own, weights = _weights(result, at, others, method, chosen, reference)
        names, sizes = [*names, *own], [*sizes, (len(own), len(at))]
        rows.append(np.zeros((len(own), len(result.table))))
        rows[-1][:, at] = weights
    L = np.vstack(rows)
    found = combined(origin.fit.design, L, origin.quantities)
    keys = groups.keys.iloc[np.repeat(np.arange(len(sizes)), [m for m, _ in sizes])].reset_index(drop=True)
    keys = keys.assign(contrast=names)
    what = f"Contrasts of {listing(others)}, {origin_words(origin)}"
    notes = [result.notes[0], *([chosen.says] if chosen.says else []), *_about_sums(names, L)]
    made = replace(origin, quantities=found, by=within(keys))
    shown = tests_record(made, keys, title_of(origin.fit, what), notes)
    adjust = chosen.adjust if adjust is None else adjust
    return _adjusted(shown, adjust, sizes, method == "pairwise") if point and adjust != "none" else shown


def _method(method: object, reference: object) -> Method:
    """Return a method by name, or that of contrasts of the user's own."""
    if reference is not None and method != "reference":
        raise ValueError(f"reference is for method='reference', not for {method!r}")
    if isinstance(method, Mapping):
        return OWN
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"method should be one of {listing(METHODS)}, or weights such as {{'a v b': {{'a': 1, 'b': -1}}}}, not "
            f"{method!r}{suggest(str(method), METHODS)}"
        )
    return METHODS[method]


def _grouped(result: Averages, by: object) -> tuple[Groups, list[str]]:
    """Return the groups of rows within which contrasts are formed, in the order of the table, and the other labels."""
    labels = result.table.iloc[:, : label_count(result.table)]
    names = list(result.origin.by) if by is None else names_of(by, "by")
    missing = [name for name in names if name not in labels]
    if missing:
        raise ValueError(
            f"by names {missing[0]!r}, and the labels of the result are {listing(labels.columns)}"
            f"{suggest(missing[0], labels.columns)}"
        )
    others = [name for name in labels if name not in names]
    if not others:
        raise ValueError("there is nothing to compare: every label of the result is in by, or there is one row only")
    if not names:
        return groups_of(labels, []), others
    codes = labels.groupby(names, sort=False, observed=True, dropna=False).ngroup().to_numpy()
    return Groups(codes, labels[names].drop_duplicates().reset_index(drop=True)), others


def _weights(
    result: Averages, at: np.ndarray, others: list[str], method: object, chosen: Method, reference: object
) -> tuple[list[str], Floats]:
    """Return the contrasts of one group of rows: their names and weights."""
    labels = result.table[others].iloc[at]
    names = tuple(" ".join(map(value_text, row)) for row in labels.itertuples(index=False, name=None))
    single = len(others) == 1 and labels[others[0]].dtype.kind in "iuf"
    scores = labels[others[0]].to_numpy(dtype=float) if single else np.arange(len(at), dtype=float)
    members = Members(names, scores, result.origin.ratio)
    if reference is not None:
        members = replace(members, reference=place(members, reference, "reference"))
    return own_contrasts(members, method) if chosen is OWN else chosen.weights(members)


def _about_sums(names: Sequence[str], L: Floats) -> list[str]:
    off = list(dict.fromkeys(no_differences(names, L)))
    if not off:
        return []
    return [f"The weights of {listing(off)} do not sum to 0: this is no difference; it is tested against 0."]


def _adjusted(shown: Averages, adjust: str, sizes: Sequence[tuple[int, int]], pairwise: bool) -> Averages:
    """Return contrasts with p-values and intervals for all of each family."""
    origin, number = shown.origin, max(m for m, _ in sizes)
    if number < 2:
        return shown
    spread = spread_of(origin.fit, origin.ddf)
    own, root = estimates(origin.quantities, spread), origin.quantities.jacobian @ spread.root
    p, half = np.empty(len(own.values)), np.empty(len(own.values))
    for end, (m, k) in zip(np.cumsum([m for m, _ in sizes]), sizes, strict=True):
        part = slice(end - m, end)
        found = type(own)(own.values[part], own.se[part], own.df[part])
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = root[part] / found.se[:, None]
        tests = Tests(found, unit @ unit.T, k if pairwise else 0)
        p[part], half[part] = adjusted(tests, adjust, origin.estimand.ci_prob)
    lower, upper = own.values - half, own.values + half
    with np.errstate(over="ignore"):  # of a coefficient that goes to infinity
        lower, upper = (np.exp(lower), np.exp(upper)) if origin.ratio else (lower, upper)
    bounds = {"lower": lower, "upper": upper}
    note = f"p-values and intervals adjusted for {number} comparisons by {ADJUST[adjust].words}."
    return replace(shown, table=shown.table.assign(p=p, **bounds), notes=(*shown.notes, note))


# ----------------------------------------------------------------------------------------------------------------------
# joint tests


def joint(result: Averages, by: str | Sequence[str] | None = None) -> Anova:
    """Test all rows of a result at once: that differences are 0, or that means are equal.

    Parameters
    ----------
    result : Averages
        Of a maximised model. What cannot be estimated is left out.
    by : str or list of str, optional
        A test for each combination of these labels; those of the result if not given.

    Returns
    -------
    Anova
        Index the levels of `by`, or "all"; npar, F value, DenDF, Pr(>F); or Df, Chisq, Pr(>Chisq) where there are no
        degrees of freedom. F is the quadratic form of the estimates over their number.

    Raises
    ------
    ValueError
        For a posterior, or labels that the result has not.
    """
    origin = result.origin
    if not isinstance(origin.fit, Estimates):
        raise ValueError("a joint test has a p-value, and a posterior has none; use it on a fit by maximize()")
    groups, others = _grouped(result, by)
    spread = spread_of(origin.fit, origin.ddf)
    rows = [_joint_row(result, np.flatnonzero(groups.codes == code), spread) for code in range(len(groups.keys))]
    names = [", ".join(map(value_text, row)) for row in groups.keys.itertuples(index=False, name=None)]
    npar, F, df = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if spread.normal:
        table = {"Df": npar, "Chisq": F * npar, "Pr(>Chisq)": chi2_tail(F * npar, npar)}
    else:
        table = {"npar": npar, "F value": F, "DenDF": df, "Pr(>F)": f_tail(F, npar, df)}
    what = "equal" if result.null is None else f"{result.null:g}"
    title = f"Joint test that all {'means' if result.null is None else 'rows'} of {listing(others)} are {what}"
    index = pd.Index([name or "all" for name in names], name=", ".join(groups.keys.columns) or None)
    return Anova(title, origin.fit.design.response, pd.DataFrame(table, index=index))


def _joint_row(result: Averages, at: np.ndarray, spread: Spread) -> tuple[int, float, float]:
    """Return the number of independent directions, F and the denominator's degrees of freedom of some rows."""
    fit, quantities = result.origin.fit, result.origin.quantities
    kept = at[quantities.defined[at]]
    L = np.zeros((len(kept), len(quantities.defined)))
    L[np.arange(len(kept)), kept] = 1.0
    if result.null is None:
        L[:, kept] -= 1 / max(1, len(kept))
    found = combined(fit.design, L, quantities)
    U, sizes, _ = np.linalg.svd(found.jacobian @ spread.root, full_matrices=False)
    rank = int((sizes > RANK * sizes.max(initial=0.0)).sum())
    if rank == 0:
        return 0, np.nan, np.nan
    independent = U[:, :rank].T
    F = float(np.sum((independent @ found.values[0] / sizes[:rank]) ** 2)) / rank
    df, scale = spread.joint(independent @ found.jacobian)
    return rank, F * scale, df
