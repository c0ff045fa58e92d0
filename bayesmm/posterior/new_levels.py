"""Which levels that a fit did not see can be predicted, and what is said of others."""

from collections.abc import Mapping, Sequence

from bayesmm.design.records import Block
from bayesmm.design.related_levels import Matrix
from bayesmm.errors import DataError, listing
from bayesmm.runtime.messages import count, label_text

NO_RELATIVE = (
    "{!r} of '{}' is not in the data of the fit, and has a covariance with their levels; a posterior, sample(), draws "
    "its effect given theirs with new_levels='sample' if the matrix has its row"
)

POSSIBLE = "new_levels='sample' draws the effects of a new level from a posterior, 'zero' takes them as 0"
POSSIBLE_MAXIMISED = (
    "groups='population' leaves out all random effects, and new_levels='zero' takes those of a new level as 0; "
    "to draw them, new_levels='sample', takes a posterior, sample()"
)


def check_levels(groups: Sequence, new_levels: str, matrices: Mapping[str, Matrix] | None = None) -> None:
    """Raise a DataError if a level was not seen by the fit and it was not said what to do then.

    `groups` are `predict.GroupRows`. With the `matrices` of a posterior's model effects of new levels can be drawn
    given those of the levels that they are related to; a maximised fit draws no effects and gives none.
    """
    for group in groups:
        unseen = list(dict.fromkeys(group.labels[group.index < 0]))
        if unseen and group.block.relation is not None:
            _check_relatives(group.block, unseen, new_levels, matrices)
        if unseen and group.block.members:
            raise DataError(
                f"{label_text(unseen[0])} is no level of {group.block.group} in the data of the fit, and rows with new "
                "ones beside known ones cannot be predicted; use groups='population'"
            )
        if unseen and new_levels == "error":
            levels = listing(map(label_text, group.block.levels), limit=5)
            raise DataError(
                f"{count(len(unseen), 'level')} of '{group.block.group}' ({listing(map(label_text, unseen), limit=5)}) "
                f"{'is' if len(unseen) == 1 else 'are'} not in the data of the fit, which have {levels}; "
                f"{POSSIBLE if matrices is not None else POSSIBLE_MAXIMISED}"
            )


def _check_relatives(block: Block, unseen: list[str], new_levels: str, matrices: Mapping[str, Matrix] | None) -> None:
    """Raise a DataError unless the effects of levels with a known covariance can be drawn given those of the fit."""
    name = block.relation.name
    absent = [label for label in unseen if matrices is None or label not in matrices[name].labels]
    if absent and matrices is not None:
        raise DataError(
            f"{absent[0]!r} of '{block.group}' is not in the data of the fit, and matrices[{name!r}] has no row for "
            "it; refit with one, or use groups='population'"
        )
    if absent or new_levels != "sample":
        raise DataError(NO_RELATIVE.format(unseen[0], block.group))
