"""Do intervals for a response of a new group cover it? Counted in the data sets of the calibration's central models."""

import numpy as np
from scipy import stats

from validation.calibration import RANKS
from validation.models import CASES, CENTRAL
from validation.records import Finding, Record, Settings, read

TITLE = "Predictions for new groups"
SHORT_CELLS = ()
QUANTITY = "new group's response"
INTERVALS = (0.5, 0.8, 0.95)
LEAST_P = 1e-4  # of a coverage, by the binomial distribution: 18 of them


def cells() -> tuple[str, ...]:
    """Return the central models."""
    return tuple(case.name for case in CASES.values() if case.kind == CENTRAL)


def check(cell: str, settings: Settings) -> Finding:
    """Return the coverage of equal-tailed intervals, from the ranks that the calibration has kept."""
    record = read("calibration", cell, settings.results)
    return counted(record) if record is not None else Finding(False, "the calibration has not been run", {"ranks": 0})


def counted(record: Record) -> Finding:
    """Return the coverage in a record of the calibration."""
    ranks = np.array(record.numbers["ranks"].get(QUANTITY, []))
    rows, bad = [], []
    for wanted in INTERVALS:
        inside = (ranks >= (1 - wanted) / 2 * (RANKS + 1)) & (ranks < (1 + wanted) / 2 * (RANKS + 1))
        exactly = expected(wanted)
        p = float(stats.binomtest(int(inside.sum()), len(ranks), exactly).pvalue) if len(ranks) else 0.0
        rows.append(
            {"interval": wanted, "exact": exactly, "covered": float(inside.mean()) if len(ranks) else 0.0, "p": p}
        )
        bad += [f"{inside.mean():.3f} of the {wanted:.0%} intervals, p = {p:.1g}"] if p < LEAST_P else []
    return Finding(not bad, "; ".join(bad), {"ranks": len(ranks), "coverage": rows})


def expected(wanted: float) -> float:
    """Return the share of uniform ranks inside an interval: whole ranks, so that it is not quite the nominal one."""
    ranks = np.arange(RANKS + 1)
    inside = (ranks >= (1 - wanted) / 2 * (RANKS + 1)) & (ranks < (1 + wanted) / 2 * (RANKS + 1))
    return float(inside.mean())


def enough(record: Record, settings: Settings) -> bool:
    """Return whether the record is of all the data sets that the calibration has."""
    calibration = read("calibration", record.cell, settings.results)
    return calibration is not None and record.numbers["ranks"] == len(calibration.numbers["ranks"].get(QUANTITY, []))
