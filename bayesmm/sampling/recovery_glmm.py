"""The random effects of a generalised model's marginal posterior, drawn for every draw of the other parameters."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray as xr

from bayesmm.design.parameters import free_auxiliaries
from bayesmm.design.records import Design
from bayesmm.likelihood.conditional_quadrature import draw_effects
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.own_parameters import OwnParameters
from bayesmm.likelihood.quadrature import prepare
from bayesmm.posterior.own_values import own_in_rows
from bayesmm.runtime.streams import of_run
from bayesmm.sampling.nuts import chosen_cores

MOST_NUMBERS = 4_000_000  # of the rows' own parameters at a time: 32 MB


def drawn_effects(posterior: xr.Dataset, design: Design, L: Floats, seed: int, cores: int | None) -> Floats:
    """Return draws of the random effects of the one grouping factor, (chains, draws, G, q).

    Parameters
    ----------
    posterior : xarray.Dataset
        Draws of beta and of the family's auxiliaries, dimensions chain and draw first.
    design : Design
    L : (chains * draws, q, q) float64
        Factors of the covariance matrices, chains one after the other.
    seed : int
        The run's: the same seed gives the same draws, whatever the number of chains is.
    cores : int or None
        How many chains at once; as many as there are processors if None.
    """
    shape = posterior.sizes["chain"], posterior.sizes["draw"]
    data, size = prepare(design), shape[0] * shape[1]
    beta = posterior["beta"].to_numpy().reshape(size, -1) if design.p else np.zeros((size, 0))
    own, values = own_values(posterior, design)
    own = own.sorted(np.argsort(design.blocks[0].index, kind="stable"))
    step = max(1, MOST_NUMBERS // max(2 * len(data.y), 1)) if own.by_row else size

    def of_chain(k: int) -> Floats:
        rng, parts, end = of_run(seed, 2, k), [], (k + 1) * shape[1]
        for first in range(k * shape[1], end, step):
            part = slice(first, min(first + step, end))
            aux = np.array([own.rows(one) for one in values[part]])
            parts.append(draw_effects(data, beta[part], L[part], aux, rng, concave=design.family.concave))
        return np.concatenate(parts)

    with ThreadPoolExecutor(chosen_cores(cores, shape[0])) as pool:  # the compiled code lets other threads run
        try:
            return np.stack(list(pool.map(of_chain, range(shape[0]))))
        finally:
            pool.shutdown(cancel_futures=True)


def own_values(posterior: xr.Dataset, design: Design) -> tuple[OwnParameters, Floats]:
    """Return the own parameters as compiled code takes them, and their draws, (chains * draws, a)."""
    shape = posterior.sizes["chain"], posterior.sizes["draw"]
    size = shape[0] * shape[1]
    names = [*(own.name for own in free_auxiliaries(design)), *design.residual.levels.values()]
    scalars = {n: np.broadcast_to(posterior[n].to_numpy(), shape).reshape(size) for n in names if n in posterior}
    vectors = {own.name: posterior[own.name].transpose("chain", "draw", ...) for own in design.residual.parameters}
    vectors = {name: values.to_numpy().reshape(size, -1) for name, values in vectors.items()}
    own, values = own_in_rows(design, scalars, vectors)
    return own, values if values.ndim > 1 else np.zeros((size, 0))
