"""Predictions from a posterior and from a maximised model, for the rows of the fit and for other ones.

Both read other data by the design's own spec, so that levels, contrasts, knots and means are those of the fit.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from bayesmm.design.blocks import bars_by_block
from bayesmm.design.design import encode
from bayesmm.design.ordered import check_common, check_order
from bayesmm.design.predictors import MEAN, part_of, random_parameters
from bayesmm.design.records import Block, Design
from bayesmm.design.relations import mean_variance
from bayesmm.design.residual.structure import weights_of_rows
from bayesmm.design.spec import DesignSpec
from bayesmm.errors import BayesmmWarning, listing, suggest
from bayesmm.families.limits import Limits
from bayesmm.formula.formula import columns_of
from bayesmm.posterior.auxiliaries import auxiliary_values
from bayesmm.posterior.draws import factor_draws, residual_draws, tree_sizes, variable
from bayesmm.posterior.effects import add_effects_of_rows, effects_of_parameters
from bayesmm.posterior.means import mean_of, probabilities_of
from bayesmm.posterior.new_levels import check_levels
from bayesmm.posterior.predictions import CATEGORY, Predictions, table_of
from bayesmm.posterior.responses import draw_response
from bayesmm.posterior.trials import limits_again, named_trials, trials_of
from bayesmm.runtime.arguments import chosen_seed, is_whole
from bayesmm.runtime.memory import BYTES, too_much, usable_memory
from bayesmm.runtime.progress import working
from bayesmm.runtime.streams import stream
from bayesmm.runtime.threads import few_threads

PACKAGE = str(Path(__file__).parents[1])  # a warning is of the line that called the package
KINDS = ("mean", "response", "linear")
GROUPS = ("conditional", "population", "averaged")
NEW_LEVELS = ("error", "sample", "zero")
CHUNK = 4_000_000  # draws of rows made at a time: 32 MB for each array that is needed on the way
COPIES = 2  # the draws and, while a chunk is added, what NumPy makes of them


@dataclass(frozen=True, eq=False)
class GroupRows:
    """One grouping factor of the rows: the block, each row's level (-1 if unseen) with its label, and Z (m, q)."""

    block: Block
    index: np.ndarray
    labels: np.ndarray
    Z: np.ndarray


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows to predict, encoded as the design's: X (m, p), offset (m,), the factors conditioned on, residual's."""

    X: np.ndarray
    offset: np.ndarray
    groups: tuple[GroupRows, ...]
    labels: np.ndarray
    residual: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.X)

    def take(self, part: slice | np.ndarray) -> "Rows":
        """Return some of the rows."""
        groups = tuple(GroupRows(g.block, g.index[part], g.labels[part], g.Z[part]) for g in self.groups)
        own = None if self.residual is None else self.residual[part]
        return Rows(self.X[part], self.offset[part], groups, self.labels[part], own)


# ----------------------------------------------------------------------------------------------------------------------
# arguments


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError if an argument is not one of its choices."""
    if not isinstance(value, str) or value not in choices:
        near = suggest(value, choices) if isinstance(value, str) else ""
        raise ValueError(f"{name} must be one of {listing(choices)}, not {value!r}{near}")


def conditioned_on(design: Design, groups: str | Sequence[str]) -> tuple[int, ...]:
    """Return the positions of the blocks whose effects enter a prediction; smooths always do.

    Raises
    ------
    ValueError
        `groups` is no word that is known and names no grouping factor.
    """
    smooths = tuple(k for k in range(len(design.blocks)) if k not in design.groups)  # a part of the mean
    names = [design.blocks[k].group for k in design.groups]
    if isinstance(groups, str):
        if groups not in GROUPS:
            alone = f"; for the effects of this factor alone write groups=[{groups!r}]"
            raise ValueError(
                f"groups must be one of {listing(GROUPS)} or a list of grouping factors ({listing(names) or 'none'}), "
                f"not {groups!r}{alone if groups in names else suggest(groups, [*GROUPS, *names])}"
            )
        return tuple(range(len(design.blocks))) if groups == "conditional" else smooths
    wanted = list(groups)
    for name in wanted:
        if name not in names:
            near = suggest(name, names) if isinstance(name, str) else ""
            raise ValueError(f"groups names {name!r}; the grouping factors are {listing(names) or 'none'}{near}")
    return (*(k for k in design.groups if design.blocks[k].group in wanted), *smooths)


def check_averaged(design: Design, kind: str, groups: object) -> None:
    """Raise ValueError where an average over the groups is not what is asked for, or does not exist."""
    if not isinstance(groups, str) or groups != "averaged":
        return
    if kind != "mean":
        other = "groups='population'" if kind == "linear" else "new_levels='sample' with new labels"
        raise ValueError(
            f"groups='averaged' is a mean over new groups, so kind must be 'mean'; for {kind!r} use {other}"
        )
    found = [name for name in random_parameters(design) if name in design.family.in_mean]
    if found:
        which = f"{listing(found)}, which {'has' if len(found) == 1 else 'have'} random effects"
        raise ValueError(
            f"groups='averaged' is not possible where the mean depends on {which}; "
            "use groups='population', or new_levels='sample' with new labels"
        )
    if design.family.link == "inverse" and design.groups:  # 1 / eta, where the normal density of eta at 0 is above 0
        raise ValueError(
            "groups='averaged' is a mean over new groups, which with the inverse link and normal random effects does "
            "not exist (1 / eta for eta near 0); use groups='population'"
        )


def checked_seed(seed: object) -> int:
    """Return the seed, a new one if it is None; raise ValueError for what is no whole number of 0 or more."""
    if seed is not None and (not is_whole(seed) or seed < 0):
        raise ValueError(f"seed must be None or a whole number of 0 or more, not {seed!r}")
    return chosen_seed(seed)


# ----------------------------------------------------------------------------------------------------------------------
# rows


def rows_of(design: Design, data: object, chosen: Sequence[int], quiet: bool = False, residual: bool = False) -> Rows:
    """Return the rows of `data`, or of the fit if it is None, with the factors `chosen`, and if asked the residual's.

    What the encoding says, such as that a spline is evaluated beyond its boundary, is a warning unless `quiet`.

    Raises
    ------
    DataError
        See `bayesmm.design.design.encode`.
    """
    blocks = [design.blocks[k] for k in chosen]
    if data is None:
        groups = (GroupRows(b, b.index, np.array(b.levels, dtype=object)[b.index], b.Z) for b in blocks)
        return Rows(design.X, design.offset, tuple(groups), design.row_labels, design.residual.rows)
    encoded, own = encode(with_groups(design.spec, chosen), data, residual=residual), design.residual.rows
    own = own[:0] if residual and own is not None and not len(encoded.X) else encoded.residual  # of no rows, none
    for message in () if quiet else encoded.messages:
        warnings.warn(message.text, BayesmmWarning, skip_file_prefixes=(PACKAGE,))
    groups = (GroupRows(b, e.index, e.labels, e.Z) for b, e in zip(blocks, encoded.blocks, strict=True))
    return Rows(encoded.X, encoded.offset, tuple(groups), encoded.row_labels, own)


def with_groups(spec: DesignSpec, chosen: Sequence[int]) -> DesignSpec:
    """Return a spec that knows these grouping factors only, so that the columns of the others are not needed."""
    own = [k for k in chosen if k < len(spec.groupings)]  # smooths come after them
    groupings, together = tuple(spec.groupings[k] for k in own), bars_by_block(spec.formula)
    bars = tuple(bar for k in own for bar in together[k])
    bases = replace(spec.bases, blocks=tuple(spec.bases.blocks[k] for k in chosen))
    return replace(spec, formula=replace(spec.formula, bars=bars), bases=bases, groupings=groupings)


def columns_of_block(design: Design, k: int, data: object) -> np.ndarray:
    """Return Z of one grouping factor, (m, q), for which the factor's own column is not needed."""
    if data is None:
        return design.blocks[k].Z
    own = bars_by_block(design.formula)[k]
    if design.blocks[k].members or any(bar.by for bar in own):
        return encode(with_groups(design.spec, [k]), data).blocks[0].Z
    parts = []
    for bar in own:
        formula = replace(design.formula, intercept=bar.intercept, terms=bar.terms, bars=(), offsets=())
        parts.append(encode(replace(design.spec, formula=formula), data, groups=False, whole=True).X)
    return np.hstack(parts) if len(parts[0]) else np.empty((0, len(design.blocks[k].columns)))


# ----------------------------------------------------------------------------------------------------------------------
# from a posterior


@working("predicting")
@few_threads
def predict(
    fit,
    data: object = None,
    kind: str = "mean",
    groups: str | Sequence[str] = "conditional",
    new_levels: str = "error",
    seed: int | None = None,
    trials: object = None,
) -> Predictions:
    """Predict the rows of a table from every posterior draw.

    Parameters
    ----------
    fit : Fit
    data : table, optional
        The rows to predict; those of the fit if not given. The response is not needed, and weights are taken as 1.
    kind : {"mean", "response", "linear"}
        "linear": X beta + Z b + offset, on the scale of the link. "mean": the mean of the response given that (for a
        binomial response the probability of success, for ordered categories the probability of each). "response": draws
        of a new response (the number of successes, or of the category); of a censored one, which is not censored, and
        of a truncated one inside its limits, which kind="mean" is not.
    groups : {"conditional", "population", "averaged"} or list of str
        Which random effects enter: all, none, or those of the grouping factors in the list; their columns are needed
        in `data`. "averaged" is the mean over groups not yet seen, E g^-1(X beta + Z b_new), which differs from the
        mean of a typical group ("population", b = 0) unless the link is the identity, and with the inverse link does
        not exist.
    new_levels : {"error", "sample", "zero"}
        For a level that the fit did not see: refuse it, draw its effects from N(0, Sigma) for each posterior draw
        (the same for all rows of the level, whatever their order), or take them as 0.
    seed : int, optional
        The same seed gives the same draws. None: a new one, recorded in the tree.
    trials : str, int or array of shape (rows,), optional
        For responses of a binomial model on other data: a column of `data` or the numbers; not needed where the formula
        names the column, ``y | trials(n)``.

    Returns
    -------
    Predictions

    Raises
    ------
    ValueError
        An argument is none of its choices, or the draws would not fit in memory.
    DataError
        The data lack a column, or have missing values, another kind of values, or levels that the fit did not see.
    """
    check_choice("kind", kind, KINDS)
    check_choice("new_levels", new_levels, NEW_LEVELS)
    check_averaged(fit.design, kind, groups)
    if kind == "linear":
        check_order(fit.design, "one linear predictor")
        check_common(fit.design, None, "kind='mean'")
    seed = checked_seed(seed)
    design, family = fit.design, fit.design.family
    if trials is not None and (data is None or not family.support.trials):
        own = "without data= the rows are those of the fit, with theirs" if data is None else "the model has none"
        raise ValueError(f"trials= are those of other data of a binomial model; {own}")
    formulas = kind == "mean" and design.residual.by_row
    rows = rows_of(design, data, conditioned_on(design, groups), residual=kind == "response" or formulas)
    check_levels(rows.groups, new_levels, design.spec.matrices)
    check_draws(fit, rows, len(design.categories) if kind == "mean" and family.ordered else 1)
    spread = spreads(fit, data) if isinstance(groups, str) and groups == "averaged" else None
    noise = _noise(fit, data, trials, rows, new_levels, seed) if kind == "response" else None
    chains, draws = tree_sizes(fit.tree)
    many = (len(design.categories),) if kind == "mean" and family.ordered else ()
    values = np.empty((chains * draws, len(rows), *many))
    whole = noise is not None and design.residual.correlated is not None  # a series is drawn in one piece
    for part in chunks(len(rows), 0 if whole else len(values)):
        eta = linear(fit, rows.take(part), new_levels, seed)
        if noise is not None:
            values[:, part] = noise(family.inverse(eta), part)
        elif kind == "linear":
            values[:, part] = eta
        else:
            aux = parameters_of_rows(fit, rows.take(part), new_levels, seed)
            own = None if spread is None else spread(part)
            values[:, part] = (probabilities_of if many else mean_of)(family, eta, aux, own)
    record = _record(design, kind, groups) | {"new_levels": new_levels, "seed": seed}
    obs = design.rows if data is None else np.arange(len(rows))
    tree = _tree(fit, values, obs, record, design.categories if many else ())
    observed = design.y if record.get("binary", False) and data is None else None
    return Predictions(tree, rows.labels, table_of(design, data), observed)


def _record(design: Design, kind: str, groups: str | Sequence[str]) -> dict[str, object]:
    """Return what was predicted, from which columns, and what kind of numbers these are: see `Predictions`."""
    support, formula = design.family.support, with_groups(design.spec, conditioned_on(design, groups)).formula
    kinds = {
        "angle": support.angle and kind != "linear",
        "whole": design.family.discrete and kind == "response",
        "binary": support.binary and kind != "linear",
        "counts": support.counts and kind != "linear",
    }
    record = {"kind": kind, "groups": groups if isinstance(groups, str) else list(groups), "response": design.response}
    record["columns"] = [name for name in columns_of(formula) if name not in columns_of(formula.response)]
    record |= {"order": False} if design.family.nominal else {}
    return record | {name: True for name, holds in kinds.items() if holds}


def chunks(rows: int, draws: int) -> Iterator[slice]:
    """Return the parts of the rows that are predicted together, `CHUNK` numbers each."""
    step = max(1, CHUNK // max(draws, 1))
    return (slice(at, min(at + step, rows)) for at in range(0, rows, step))


def _tree(
    fit, values: np.ndarray, obs: np.ndarray, record: dict[str, object], categories: tuple[str, ...]
) -> xr.DataTree:
    posterior = fit.tree["posterior"]
    coords = {"chain": posterior["chain"].to_numpy(), "draw": posterior["draw"].to_numpy(), "obs": obs}
    drawn, dims = values.reshape(*tree_sizes(fit.tree), *values.shape[1:]), ("chain", "draw", "obs")
    if categories:
        dims, coords = (*dims, CATEGORY), coords | {CATEGORY: list(categories)}
    predictions = xr.Dataset({record["kind"]: (dims, drawn)}, coords)
    tree = xr.DataTree.from_dict({"predictions": predictions})
    tree.attrs["bayesmm"] = json.dumps(record)
    return tree


def check_draws(fit, rows: Rows, each: int = 1) -> None:
    """Refuse predictions that would not fit in half of the free memory, or that need effects which were not kept.

    `each` is how many numbers a row has.

    Raises
    ------
    ValueError
    """
    missing = [g.block.group for g in rows.groups if g.block.names.effects not in fit.tree["posterior"]]
    if missing and len(rows):
        raise ValueError(
            f"the fit was made with keep_effects=False, so the effects of {listing(missing)} are not known; sample "
            "again with keep_effects=True, or use groups='population'"
        )
    chains, draws = tree_sizes(fit.tree)
    one = BYTES * COPIES * chains * draws * each
    need = too_much(one * len(rows))
    if need:
        most = int(usable_memory() // one)
        raise ValueError(
            f"{chains * draws:,} draws of {len(rows):,} rows need {need}; predict at most {most:,} rows at a time"
        )


def linear(fit, rows: Rows, new_levels: str, seed: int) -> np.ndarray:
    """Return X beta + Z b + offset for every draw, (draws, rows)."""
    draws = np.prod(tree_sizes(fit.tree))
    eta = np.tile(rows.offset, (draws, 1))
    if fit.design.p:
        eta += variable(fit.tree, "beta").reshape(draws, -1) @ rows.X.T
    add_effects_of_rows(eta, fit, rows.groups, MEAN, new_levels, seed)
    return eta


def parameters_of_rows(fit, rows: Rows, new_levels: str = "error", seed: int = 0) -> list[np.ndarray]:
    """Return the draws of each parameter of the family besides mu, (draws, 1), or (draws, rows) with a formula."""
    effects = effects_of_parameters(fit, rows.groups, len(rows), new_levels, seed)
    return auxiliary_values(fit, rows.residual, effects)


def spreads(fit, data: object) -> Callable[[slice], np.ndarray]:
    """Return a function of a slice of rows: the sd of Z b_new over all factors, (draws, rows)."""
    design = fit.design
    blocks = [design.blocks[k] for k in design.groups]
    Z = [part_of(design.blocks[k], columns_of_block(design, k, data), MEAN) for k in design.groups]
    L = [factor_draws(fit, block) * np.sqrt(mean_variance(block)) for block in blocks]

    def spread(part: slice) -> np.ndarray:
        total = np.zeros((int(np.prod(tree_sizes(fit.tree))), 1))
        for z, factor in zip(Z, L, strict=True):
            for j in range(factor.shape[2]):
                total = total + np.square(factor[:, :, j] @ z[part].T)
        return np.sqrt(total)

    return spread


def _noise(fit, data: object, trials: object, rows: Rows, new_levels: str, seed: int) -> Callable:
    """Return a function of means (draws, rows) and a slice of the rows: draws of the response."""
    design, family, rng = fit.design, fit.design.family, stream(seed, "responses")
    sizes: np.ndarray | Limits = np.ones(len(rows))
    if family.observed:
        sizes = limits_again(design, len(rows), data is None)
    elif family.support.trials:
        named = named_trials(design)
        sizes = design.trials if data is None else trials_of(data, named if trials is None else trials)
    term, values = design.residual, residual_draws(fit)
    weights = design.weights if data is None else None

    def noise(mu: np.ndarray, part: slice) -> np.ndarray:
        read = rows.take(part).residual
        own = weights_of_rows(term, read, values, None if weights is None else weights[part])
        aux = parameters_of_rows(fit, rows.take(part), new_levels, seed)
        return draw_response(family, rng, mu, sizes[part], aux, own, term.correlation(read, values))

    return noise
