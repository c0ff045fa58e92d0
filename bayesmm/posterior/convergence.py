"""R-hat and effective sample sizes of many parameters at once: Vehtari et al. (2021), Bayesian Analysis 16(2).

The definitions are those of ArviZ, which takes the parameters one by one. Here a batch of them is sorted once, and
what else is asked of it (ranks, quantiles, folded ranks) is read off the sorted draws.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import ndtri

from bayesmm.likelihood.crossproducts import Floats, Ints

R_HAT_LIMIT = 1.01  # section 4
ESS_LIMIT = 400  # section 4: 100 for each of four chains
TAIL = (0.05, 0.95)  # quantiles of the tail ESS: section 4.3
BLOM = 3 / 8  # offset of a rank on its way to a normal score: section 4.1, after Blom (1958)
FEWEST_DRAWS = 4  # of a chain: each half needs two for a variance
BATCH = 64_000  # draws that are diagnosed together: arrays of half a MB; a quarter or four times as many take longer
BLOCK = 64  # parameters copied together: those of one draw are neighbours in memory, and a few of them use a page ill
FOR_THREADS = 4  # blocks from which on more than one thread is worth its start
LAGS = 8  # autocovariances by products, enough for most effects and cheaper than the Fourier transform that gives all
SAME = 1e-15  # a spread of a series below which ArviZ takes it as constant: np.finfo(float).resolution
NAMES = ("ess_bulk", "ess_tail", "r_hat")  # columns of `diagnose`


def diagnostics(draws: Floats) -> dict[str, Floats]:
    """Return bulk and tail ESS and rank-normalised split R-hat of (k, chains, draws) draws, each (k,).

    They mean nothing for a parameter that its prior holds fixed: NaN there. R-hat is NaN for one chain, all three for
    fewer than 4 draws or a draw that is NaN. About 0.5 ms for each parameter with 4,000 draws.
    """
    found = in_batches(lambda batch: diagnose(batch)[0], draws) if len(draws) else np.empty((0, len(NAMES)))
    return dict(zip(NAMES, found.T, strict=True))


def in_batches(function: Callable[[Floats], Floats], draws: Floats) -> Floats:
    """Return the values of a function of (k, chains, draws) draws, (k, ...), a batch of the parameters at a time.

    The draws, at least one parameter, may be any view: only `BLOCK` parameters are copied at once by each processor.
    """
    step, starts = max(1, BATCH // max(1, draws[0].size)), range(0, len(draws), BLOCK)

    def of_block(at: int) -> Floats:
        with np.errstate(all="ignore"):  # chains that never move divide by a variance of 0: R-hat is then inf or NaN
            block = np.ascontiguousarray(draws[at : at + BLOCK])
            return np.concatenate([function(block[first : first + step]) for first in range(0, len(block), step)])

    if len(starts) < FOR_THREADS:
        return np.concatenate([of_block(at) for at in starts])
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy lets other threads run while it sorts
        try:
            return np.concatenate(list(pool.map(of_block, starts)))
        finally:
            pool.shutdown(cancel_futures=True)


def diagnose(draws: Floats) -> tuple[Floats, Floats]:
    """Return `NAMES` of a batch of (k, chains, draws) draws, (k, 3), and each parameter's draws in order, (k, n)."""
    (k, chains, n), half = draws.shape, draws.shape[2] // 2
    if n < FEWEST_DRAWS:
        return np.full((k, len(NAMES)), np.nan), np.sort(draws.reshape(k, -1), axis=1)
    split = np.concatenate([draws[:, :, :half], draws[:, :, -half:]], axis=1)
    ordered, order = ranked(split.reshape(k, -1))
    every = ordered if n % 2 == 0 else np.sort(draws.reshape(k, -1), axis=1)
    bulk = scores(ordered, order).reshape(split.shape)
    tails = [split <= quantile(every, p)[:, None, None] for p in TAIL]
    of_bulk, low, high = ess(np.concatenate([bulk, *tails])).reshape(3, k)
    whole, folded = r_hat(bulk), r_hat(folded_scores(ordered, order).reshape(split.shape))
    worse = np.where(folded > whole, folded, whole) if chains > 1 else np.full(k, np.nan)
    found = np.stack([of_bulk, np.where(high < low, high, low), worse], axis=1)
    found[np.isnan(every[:, -1]) | (every[:, 0] == every[:, -1])] = np.nan
    return found, every


def ranked(draws: Floats) -> tuple[Floats, Ints]:
    """Return the rows of (k, n) in order, and the positions of that order in the flattened array, (k, n) both."""
    order = np.argsort(draws, axis=1)
    order += np.arange(len(draws))[:, None] * draws.shape[1]
    return draws.ravel()[order], order


def quantile(ordered: Floats, probability: float) -> Floats:
    """Return a quantile of the rows of sorted draws, (k,), as ``numpy.quantile`` does; NaN where a draw is NaN."""
    last = ordered.shape[1] - 1
    place = min(int(probability * last), max(last - 1, 0))
    low, high, share = ordered[:, place], ordered[:, min(place + 1, last)], probability * last - place
    found = low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)  # to the digit
    return np.where(np.isnan(ordered[:, -1]), np.nan, found)


def sds_of_draws(values: Floats) -> Floats:
    """Return the standard deviations of draws (s, r), (r,): 0 of one draw, NaN or infinite where draws are so large."""
    with np.errstate(invalid="ignore", over="ignore"):
        return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])


def quantiles(values: Floats, probabilities: Sequence[float], method: str = "linear") -> Floats:
    """Return quantiles of draws (s, r), as ``numpy.quantile`` does, (k, r); infinite where they are among such draws.

    A mean may be infinite in some draws, as that of a log-logistic variable with a shape of 1 or less; NumPy has NaN
    between two infinite draws.
    """
    with np.errstate(invalid="ignore"):
        found = np.quantile(values, probabilities, axis=0, method=method)
    undefined = np.isnan(found)
    if undefined.any():
        near = np.quantile(values, probabilities, axis=0, method="nearest")
        found = np.where(undefined, near, found)
    return found


def scores(ordered: Floats, order: Ints) -> Floats:
    """Return the normal scores of the average ranks of sorted draws, in the order they were drawn in, (k, n)."""
    k, n = ordered.shape
    halves, places, scored = scores_of_ranks(n), order.ravel(), np.empty(ordered.size)
    scored[places] = np.broadcast_to(halves[::2], ordered.shape).ravel()
    tied = np.zeros((k, n + 1), dtype=bool)  # with the one before; two at the same distance from the median often are
    tied[:, 1:n] = ordered[:, 1:] == ordered[:, :-1]
    first, last = (np.flatnonzero(edge) for edge in (tied[:, 1:] & ~tied[:, :-1], tied[:, :-1] & ~tied[:, 1:]))
    lengths = last - first + 1
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    scored[places[np.repeat(first, lengths) + within]] = np.repeat(halves[first % n + last % n], lengths)
    return scored.reshape(ordered.shape)


@functools.lru_cache(maxsize=4)
def scores_of_ranks(n: int) -> Floats:
    """Return the normal scores of the ranks 1, 1.5, 2, ..., n among n, (2 n - 1,)."""
    return ndtri((np.arange(2, 2 * n + 1) / 2 - BLOM) / (n - 2 * BLOM + 1))


def folded_scores(ordered: Floats, order: Ints) -> Floats:
    """Return the normal scores of the distances from the median, in the order the draws came in (section 4.2)."""
    k, n = ordered.shape  # n is even
    distance = np.abs(ordered - ordered[:, n // 2 - 1 : n // 2 + 1].mean(axis=1, keepdims=True))
    folded = np.argsort(distance, axis=1, kind="stable")  # they fall, then rise: a single merge of two runs
    folded += np.arange(k)[:, None] * n
    return scores(distance.ravel()[folded], order.ravel()[folded])


def r_hat(series: Floats) -> Floats:
    """Return the potential scale reduction of (k, chains, draws) series, (k,): section 4, equation 4."""
    n = series.shape[2]
    between, within = n * series.mean(axis=2).var(axis=1, ddof=1), series.var(axis=2, ddof=1).mean(axis=1)
    return np.sqrt((between / within + n - 1) / n)


def autocovariances(centred: Floats) -> Floats:
    """Return the autocovariances at all lags, the mean over the chains, of (k, chains, draws) centred series."""
    from scipy.fft import next_fast_len

    n = centred.shape[2]
    size = next_fast_len(2 * n, real=True)
    transformed = np.fft.rfft(centred, size, axis=2)
    power = (np.square(transformed.real) + np.square(transformed.imag)).mean(axis=1)
    return np.fft.irfft(power, size, axis=1)[:, :n] / n


def first_autocovariances(centred: Floats, lags: int) -> Floats:
    """Return the first of the same, (k, lags), by products."""
    _, chains, n = centred.shape
    products = [np.vecdot(centred[..., lag:], centred[..., : n - lag]).sum(axis=1) for lag in range(lags)]
    return np.stack(products, axis=1) / (chains * n)


def ess(series: Floats) -> Floats:
    """Return the effective number of draws for the mean of (k, chains, draws) series, (k,): equations 10 to 13."""
    k, chains, n = series.shape
    means = series.mean(axis=2)
    centred = series - means[:, :, None]
    between = means.var(axis=1, ddof=1) if chains > 1 else np.zeros(k)
    time, ended = autocorrelation_time(first_autocovariances(centred, min(LAGS, n)), between, n)
    rest = np.flatnonzero(~ended)
    if len(rest):
        time[rest] = autocorrelation_time(autocovariances(centred[rest]), between[rest], n)[0]
    found = chains * n / np.maximum(time, 1 / np.log10(chains * n))
    spread = series.max(axis=(1, 2)) - series.min(axis=(1, 2))
    return np.where(spread < SAME, chains * n, found)


def autocorrelation_time(covariances: Floats, between: Floats, n: int) -> tuple[Floats, np.ndarray]:
    """Return the integrated autocorrelation time by Geyer's initial monotone sequence, and whether that has ended.

    Parameters
    ----------
    covariances : (k, lags)
        Mean autocovariances within the chains, at the first lags or all.
    between : (k,)
        Variance of the chains' means.
    n : int
        Draws of a chain.

    Returns
    -------
    time : (k,)
    ended : (k,) of bool
        The sequence has ended before the lags did.
    """
    within = covariances[:, :1] * (n / (n - 1))
    rho = 1 - (within - covariances) / (covariances[:, :1] + between[:, None])
    rho[:, 0] = 1
    even, odd = rho[:, : rho.shape[1] // 2 * 2 : 2], rho[:, 1::2]
    pairs, most = even + odd, max(0, -(-(n - 4) // 2))  # ArviZ leaves the last lags out
    pairs, even = pairs[:, : most + 1], even[:, : most + 1]
    stops = ~(pairs > 0)
    ended = stops.any(axis=1) | (pairs.shape[1] == most + 1)
    last = np.where(stops.any(axis=1), stops.argmax(axis=1), pairs.shape[1] - 1)[:, None]
    sums = np.cumsum(np.minimum.accumulate(pairs, axis=1), axis=1)
    before = np.where(last > 0, np.take_along_axis(sums, np.maximum(last - 1, 0), axis=1), 0)
    final, pair = np.take_along_axis(even, last, axis=1), np.take_along_axis(pairs, last, axis=1)
    time = -1 + 2 * before + np.where((final > 0) | (pair >= 0), final, 0)
    return time[:, 0], ended


def bfmi(energy: Floats) -> Floats:
    """Return the energy's Bayesian fraction of missing information of each chain, (chains,): Betancourt, eq. 21."""
    with np.errstate(all="ignore"):
        return np.square(np.diff(energy, axis=1)).mean(axis=1) / energy.var(axis=1)


def bfmi_of_run(energy: Floats, record: Mapping[str, object]) -> Floats:
    """Return `bfmi` of a run with this record: where not all draws are kept, that of all of them."""
    of_all = record.get("longer", {}).get("e_bfmi")
    return bfmi(energy) if of_all is None else np.array(of_all, dtype=float)
