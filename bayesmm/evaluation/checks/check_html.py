"""The checks of a fit as a table, for the report and for notebooks."""

import math
from collections.abc import Sequence

from bayesmm.display.html_tables import MISSING, Table
from bayesmm.display.text_tables import apart

SMALL = 0.1  # below it two significant digits of what a check has measured are enough
WHOLE = 100  # an effective sample size from here on is shown without decimals
RESULTS = {"failed": "FAILED"}  # of a check, by its status, where it is not the status itself


def check_table(checks: Sequence) -> Table:
    """Return every check with its limit, its value, its advice and where the limit comes from."""
    rows = tuple(
        (
            check.name,
            RESULTS.get(check.status, check.status),
            *measured_apart(check.value, check.limit),
            check.message,
            check.source,
        )
        for check in checks
    )
    headers = ("check", "result", "value", "limit", "found", "source of the limit")
    marked = frozenset(i for i, check in enumerate(checks) if not check.ok)
    return Table("Checks", headers, rows, frozenset({0, 1, 4, 5}), frozenset({4, 5}), marked)


def measured_apart(value: float, limit: float) -> tuple[str, str]:
    """Return what a check has measured and its limit, which read the same only if they are."""
    texts = measured(value), measured(limit)
    same = texts[0] == texts[1] and value != limit and not math.isnan(value)
    return apart(value, limit, kind="g") if same else texts


def measured(value: float) -> str:
    """Return what a check has measured, or its limit."""
    if math.isnan(value):
        return MISSING
    if value >= WHOLE or float(value).is_integer():
        return f"{math.floor(value):,}"
    return f"{value:.2g}" if abs(value) < SMALL else f"{value:.4g}"
