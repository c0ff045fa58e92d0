"""The random effects of a generalised model's marginal posterior, drawn for every draw of the other parameters."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray as xr

from bayesmm.design.records import Design
from bayesmm.likelihood.conditional_quadrature import draw_effects
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.quadrature import prepare
from bayesmm.runtime.streams import of_run
from bayesmm.sampling.nuts import chosen_cores


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
    aux = np.zeros((size, 2))
    for m, name in enumerate(design.family.auxiliaries):
        aux[:, m] = np.broadcast_to(posterior[name].to_numpy(), shape).ravel()

    def of_chain(k: int) -> Floats:
        own = slice(k * shape[1], (k + 1) * shape[1])
        return draw_effects(data, beta[own], L[own], aux[own], of_run(seed, 2, k), concave=design.family.concave)

    with ThreadPoolExecutor(chosen_cores(cores, shape[0])) as pool:  # the compiled code lets other threads run
        try:
            return np.stack(list(pool.map(of_chain, range(shape[0]))))
        finally:
            pool.shutdown(cancel_futures=True)
