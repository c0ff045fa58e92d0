"""Published results: every number that was printed, computed anew and compared to its digits (`bayesmm reproduce`)."""

import warnings

from bayesmm.cli.reproduce.command import bundled, in_printed_order
from bayesmm.cli.reproduce.published import read_published
from bayesmm.cli.reproduce.run import EXPLAINED, FAILED, REPRODUCED, reproduce
from validation.records import Finding, Settings

TITLE = "Published prints"
SHORT_CELLS = ("sleepstudy_slopes", "esoph_poisson", "thyroxine_mean")


def cells() -> tuple[str, ...]:
    """Return the names of the published results, as they are in their documents."""
    return tuple(study.name for study in in_printed_order(read_published(file) for file in bundled()))


def check(cell: str, settings: Settings) -> Finding:
    """Return how many of the printed numbers are reproduced."""
    study = next(own for own in map(read_published, bundled()) if own.name == cell)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = reproduce(study)
    counts = {verdict: result.count(verdict) for verdict in (REPRODUCED, EXPLAINED, FAILED)}
    numbers = counts | {"printed": len(study.numbers), "title": study.title, "absent": bool(result.absent)}
    if result.absent:
        return Finding(True, f"not compared: {study.data.name} is not at hand", numbers)
    wrong = [f"{row.label}: printed {row.printed}, {row.reason}" for row in result.rows if row.verdict == FAILED]
    return Finding(not wrong, "; ".join(wrong) or f"{len(result.rows)} numbers", numbers)
