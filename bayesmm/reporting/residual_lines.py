"""The quartiles of a fit's residuals, as lme4's summary() prints them; none where the rows stay with an engine."""

from collections.abc import Callable

import numpy as np

from bayesmm.design.summed import is_summed
from bayesmm.display.text_tables import column, table, wrap
from bayesmm.errors import DataError
from bayesmm.posterior.draws import kept_effects, posterior_residuals


def fit_residual_lines(fit) -> list[str]:
    """Return the quartiles of the residuals at the posterior means, or why there are none."""
    if is_summed(fit.design):
        return []
    if len(kept_effects(fit)) < len(fit.design.blocks):
        return ["The random effects were not kept (keep_effects=False), so there are no residuals."]
    return residual_lines(fit.design, " at the posterior means", lambda: posterior_residuals(fit))


def residual_lines(design, where: str, made: Callable[[], np.ndarray]) -> list[str]:
    """Return the quartiles of the scaled residuals; categories without an order, and rows of an engine, have none."""
    if design.family.nominal or is_summed(design):
        return []
    try:
        residuals = made()
    except DataError as error:  # the fit is none the worse
        return wrap(f"No residuals: {error}.")
    kind = "Randomised quantile" if design.family.observed else "Scaled"
    quartiles = column(np.quantile(residuals, [0, 0.25, 0.5, 0.75, 1]), scale=[1.0], digits=5)
    return [f"{kind} residuals{where}:", *table(["Min", "1Q", "Median", "3Q", "Max"], [quartiles], left=0)]
