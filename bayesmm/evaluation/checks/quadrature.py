"""Whether the integrals over the random effects were right where the posterior is: some draws by a much finer rule."""

import math

import numpy as np

from bayesmm.evaluation.checks.check import Check
from bayesmm.likelihood.lattice import FINE, LATTICE
from bayesmm.likelihood.quadrature import evaluate, fits, prepare
from bayesmm.posterior.draws import factor_draws, own_draws, sampling_record, tree_sizes, variable

# Draws that are recomputed, with one, two and three random effects: about a second for hundreds of levels.
DRAWS = (24, 10, 4)
# The most that two errors of log p may differ by. Weights within exp(+-0.01) move a mean by 0.01 posterior sds, and an
# sd by 0.8 %, at most; an error that all draws share moves nothing.
LIMIT = 0.02


def integrals(fit) -> list[Check]:
    """Return the check of a posterior whose random effects were integrated out by quadrature; else nothing."""
    design, record = fit.design, sampling_record(fit.tree)
    if design.family.gaussian or record.get("effects") != "marginal" or not fits(design):
        return []
    chosen = spread_out(factor_draws(fit, design.blocks[0]), DRAWS[len(design.blocks[0].columns) - 1])
    errors = np.array([error_of(fit, draw) for draw in chosen])
    with np.errstate(invalid="ignore"):
        value = float(np.ptp(errors))
    if math.isfinite(value) and value <= LIMIT:
        said = f"errors of log p differ by {value:.1g} among {len(chosen)} draws, beside a rule of half the spacing"
        return [Check("quadrature", True, value, LIMIT, f"{said} (limit {LIMIT})")]
    worst = int(np.nan_to_num(np.abs(errors - np.median(errors)), nan=np.inf).argmax())
    chain, draw = divmod(int(chosen[worst]), tree_sizes(fit.tree)[1])
    message = (
        f"the integrals over the random effects of {design.blocks[0].group} are off by amounts that differ by "
        f"{value:.2g} in log p (limit {LIMIT}), most at draw {draw} of chain {chain}: use effects='explicit'."
    )
    return [Check("quadrature", False, value, LIMIT, message)]


def spread_out(L: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of so many draws, from the smallest covariance matrix to the largest, both included."""
    order = np.argsort(np.square(L).sum(axis=(1, 2)), kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]


def error_of(fit, draw: int) -> float:
    """Return log p(y | one draw) less that by the finer rule; NaN where one of them does not exist."""
    design = fit.design
    data, L = prepare(design), factor_draws(fit, design.blocks[0])[draw]
    beta = variable(fit.tree, "beta").reshape(-1, design.p)[draw] if design.p else np.empty(0)
    own, values = own_draws(fit)
    own = own.sorted(np.argsort(design.blocks[0].index, kind="stable"))
    aux = own.rows(values[draw])
    aux = aux if own.by_row else aux[: own.number]
    found = [evaluate(data, beta, L, aux, rule) for rule in (LATTICE, FINE)]
    return found[0].value - found[1].value if all(one.ok for one in found) else math.nan
