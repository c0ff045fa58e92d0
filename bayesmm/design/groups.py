"""The random part of a design: one block per grouping factor, levels as integer codes, never an indicator matrix."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from bayesmm.design.factors import say_about_levels
from bayesmm.design.parameters import RESERVED, BlockNames
from bayesmm.design.records import Block
from bayesmm.design.spec import Grouping
from bayesmm.design.state import Scope
from bayesmm.design.summed import RowLevels
from bayesmm.design.variables import KIND_NAMES, Variable, observed_levels
from bayesmm.errors import DataError, listing
from bayesmm.families.families import FAMILIES
from bayesmm.families.family import Family
from bayesmm.runtime.messages import Message, count, label_text, note, warning

FEW_LEVELS = 5  # lme4's check.nlev.gtreq.5: fewer levels give unreliable estimates of a standard deviation
MOSTLY_SINGLE = 0.5  # share of levels with one row beyond which a factor is hard to tell from the residual; ours
SAME_WEIGHT = 1e-8  # relative: products that differ by less are the same but for rounding
DRAWS = 4 * 1000  # chains x draws of the default sampling, for the estimate of its memory
DRAWS_MEMORY = 2e9  # bytes of draws from which a word is due: a quarter of the memory of a small laptop


def learn_grouping(factors: tuple[str, ...], scope: Scope) -> tuple[Grouping, np.ndarray]:
    """Return the levels of a grouping factor and the level of each row (int64, shape (n,)).

    Raises
    ------
    DataError
        The column cannot be a grouping factor, has one level, or two combinations of levels have the same label.
    """
    codes, labels = [], []
    for name in factors:
        variable = scope.variables[name]
        _check_kind(variable)
        seen = observed_levels(variable)
        say_about_levels(name, seen.labels, seen.unused, scope)
        _say_about_floats(variable, seen.labels, scope)
        codes.append(seen.codes)
        labels.append(seen.labels)
    cells, index = _combine(codes, [len(part) for part in labels])
    levels = _cell_labels(cells, labels)
    check_levels(":".join(factors), levels)
    return Grouping(factors, tuple(labels), cells, levels), index


def check_levels(group: str, levels: tuple[str, ...]) -> None:
    """Raise a DataError for a single level, or for two that have the same label."""
    if len(levels) < 2:
        alone = f"grouping factor '{group}' has one level ({label_text(levels[0])})"
        raise DataError(f"{alone}; its standard deviation cannot be estimated from fewer than two")
    twice = [label for label, times in Counter(levels).items() if times > 1]
    if twice:
        same = f"two levels of '{group}' are both written {label_text(twice[0])}"
        raise DataError(f"{same}; rename the levels that contain a colon")


def _check_kind(variable: Variable) -> None:
    if variable.kind == "complex":
        holds = f"grouping factor '{variable.name}' holds {KIND_NAMES[variable.kind]}"
        raise DataError(f"{holds}; expected labels or whole numbers")


def _say_about_floats(variable: Variable, labels: tuple[str, ...], scope: Scope) -> None:
    if variable.kind == "number" and variable.values.dtype == np.float64 and not _whole(variable.values):
        shown = listing(labels, limit=3)
        scope.say(
            warning(
                f"grouping factor '{variable.name}' has numbers with decimals as levels ({shown}); values that differ "
                "in the last digit are different levels"
            )
        )


def _whole(values: np.ndarray) -> bool:
    return bool((values == np.floor(values)).all())


def _combine(codes: Sequence[np.ndarray], sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the combinations of codes that occur, shape (G, m), the first column slowest, and each row's place."""
    rows = np.column_stack(codes)
    _, first, index = np.unique(_cell_numbers(rows, sizes), return_index=True, return_inverse=True)
    return rows[first], index.astype(np.int64)


def _cell_numbers(cells: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return one number for each row of codes, in their order; dense after each column, so that it never overflows."""
    numbers = cells[:, 0]
    for column, size in zip(cells.T[1:], sizes[1:], strict=True):
        _, numbers = np.unique(numbers * size + column, return_inverse=True)
    return numbers


def _cell_labels(cells: np.ndarray, labels: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    if len(labels) == 1:
        return labels[0]
    columns = [np.array(part, dtype=object)[cells[:, k]] for k, part in enumerate(labels)]
    return tuple(map(":".join, zip(*columns, strict=True)))


def find_levels(grouping: Grouping, variables: Mapping[str, Variable]) -> tuple[np.ndarray, np.ndarray]:
    """Return the level of each row of other data, found by label: index (int64, -1 if unseen) and label, both (n,)."""
    codes, labels = [], []
    for name, levels in zip(grouping.factors, grouping.factor_levels, strict=True):
        seen = observed_levels(variables[name])
        place = {label: k for k, label in enumerate(levels)}
        codes.append(np.array([place.get(label, -1) for label in seen.labels], dtype=np.int64)[seen.codes])
        labels.append(np.array(seen.labels, dtype=object)[seen.codes])
    cells = np.vstack([grouping.cells, np.column_stack(codes)]) + 1  # an unseen label is 0, which no known cell has
    numbers = _cell_numbers(cells, [len(levels) + 1 for levels in grouping.factor_levels])
    known, wanted = np.split(numbers, [len(grouping.levels)])
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)  # the known cells are sorted
    index = np.where(known[at] == wanted, at, -1)
    if len(labels) == 1:
        return index, labels[0]
    return index, np.array(list(map(":".join, zip(*labels, strict=True))), dtype=object)


def safe_names(groups: Sequence[str], family: Family, also: Collection[str] = ()) -> tuple[str, ...]:
    """Return a name for each grouping factor that collides with no name of the model, the results, or another factor.

    Nor with a parameter of this family, or of any family of the package: names do not depend on which is chosen.

    A name is kept where it can be. Slashes (which name nested groups in a netCDF file) and control characters become
    underscores, blanks and dots at the ends go, and a name that would collide, also with those of `also`, gets
    underscores behind it.
    """
    taken = RESERVED.union(also, *(known.formulas for known in (family, *FAMILIES.values())))
    names = []
    for group in groups:
        name = "".join("_" if c == "/" or not c.isprintable() else c for c in group.strip()).strip(".") or "_"
        while taken & BlockNames(name).in_posterior:
            name += "_"
        taken |= BlockNames(name).in_posterior
        names.append(name)
    return tuple(names)


# ----------------------------------------------------------------------------------------------------------------------
# what the data say about a block


def check_block(block: Block, family: Family, trials: np.ndarray | None = None, residual: bool = True) -> list[Message]:
    """Return what is to say about one block; `residual` is False where the sds of the rows are known.

    Raises
    ------
    DataError
        Every row is a level of its own, so that its effect cannot be told from the response itself, which is 0 or 1.
        Whether it can be told from a residual depends on the weights and on the prior of sigma: `residual_confounded`.
    """
    n, levels = len(block.index), len(block.levels)
    few = [few_levels(block, block.names.sd)] if len(block.levels) < FEW_LEVELS else []
    said = [*few, *_memory_of_draws(block)]
    if block.predictors and all(block.predictors):
        return said + _one_row_each_parameter(block)
    if levels == n:
        return said + _one_row_each(block, family, trials)
    single = int((block.counts == 1).sum())
    if residual and family.has_residual_sd and single > MOSTLY_SINGLE * levels:
        part = f"{single:,} of the {levels:,} levels of '{block.group}' have one row"
        said.append(warning(f"{part}, where the effect of the level and the residual are seen only together"))
    return said


def _one_row_each_parameter(block: Block) -> list[Message]:
    """Say what an effect for each row of a parameter besides the mean rests on."""
    if len(block.levels) < len(block.index):
        return []
    each = f"'{block.group}' has one row in each of its {len(block.levels):,} levels"
    return [warning(f"{each}, and one response says nearly nothing about a parameter besides its mean: priors decide")]


def _one_row_each(block: Block, family: Family, trials: np.ndarray | None) -> list[Message]:
    """Say what an effect for each row means: overdispersion of counts."""
    each = f"grouping factor '{block.group}' has one row in each of its {len(block.levels):,} levels"
    if family.has_residual_sd:
        return []
    if family.support.binary or (trials is not None and (trials == 1).all()):
        raise DataError(
            f"{each}, and one response of 0 or 1 says nothing about an effect of its own; there must be fewer levels "
            "than rows"
        )
    if family.formulas:
        name = family.formulas[0]
        return [warning(f"{each}, so its effect and '{name}' both say how the rows scatter; the priors divide it")]
    return [note(f"{each}, so its standard deviation measures the overdispersion of the {family.name} response")]


def residual_confounded(block: Block, weights: np.ndarray | None) -> str | None:
    """Return why the effects of a block cannot be told apart from a residual whose sd is not known; None if they can.

    With one row in each level, z' Sigma z and sigma^2 / w are seen only in their sum: a variance of a column with z^2 w
    the same in every row is part of the residual's.
    """
    if len(block.levels) < len(block.index):
        return None
    confounded = (
        f"grouping factor '{block.group}' has one row in each of its {len(block.levels):,} levels, so its effect "
        "cannot be told apart from the residual; there must be fewer levels than rows, or known variances: "
        "y | se(se) for their standard errors"
    )
    if isinstance(block.index, RowLevels):  # whether Z^2 w is the same in all rows their sums do not say
        return confounded
    size = np.square(block.Z) * (1.0 if weights is None else weights[:, None])
    if not (np.ptp(size, axis=0) <= SAME_WEIGHT * size.max(axis=0)).any():
        return None
    return confounded


def too_few(block: Block) -> str:
    """Return how what is said of a block with few levels begins."""
    sds = "the standard deviation" if len(block.columns) == 1 else "standard deviations"
    return f"'{block.group}' has {len(block.levels)} levels, too few to learn {sds} of its effects"


def few_levels(block: Block, left: str) -> Message:
    """Return what to say of a block with few levels; `left` are the sds that have no prior of a user's own."""
    found = too_few(block)
    if not left:
        return note(f"{found}: the posterior rests much on the prior given for {block.names.sd}; see fit.sensitivity()")
    return warning(
        f"{found}: in a posterior the prior has much weight; give {left} an informative "
        f"one, or make {block.group} a fixed effect"
    )


def _memory_of_draws(block: Block) -> list[Message]:
    effects = len(block.columns) * len(block.levels)
    memory = 8.0 * effects * DRAWS
    if memory <= DRAWS_MEMORY:
        return []
    amount = f"{DRAWS:,} draws of them take {memory / 1e9:.3g} GB of memory"
    return [warning(f"'{block.group}' has {count(effects, 'random effect')}: {amount}")]
