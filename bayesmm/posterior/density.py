"""The density of a parameter's draws and its mode, with the parameter's bounds respected."""

import math

import numpy as np

from bayesmm.design.parameters import Parameter

SD_SUPPORT = (0.0, math.inf)
CORR_SUPPORT = (-1.0, 1.0)
REAL_SUPPORT = (-math.inf, math.inf)
GRID = 512  # points of a density
TAIL_LIMIT = 8  # interquartile ranges from the median; a heavy tail beyond it would take the whole grid
MODE_BANDWIDTH = 0.9  # times min(sd, IQR / 1.349), Silverman (1986), eq. 3.31 ...
MODE_POWER = -1 / 7  # ... times n to this power: the rate for a mode, Romano (1988), Annals of Statistics 16(2)
NEAR = 4  # bandwidths; what is farther from a point than this has no influence on the density there


def support_of(parameter: Parameter) -> tuple[float, float]:
    """Return the bounds of a parameter: its own, else those of its kind."""
    if parameter.support is not None:
        return parameter.support
    return {"corr": CORR_SUPPORT, "coefficient": REAL_SUPPORT}.get(parameter.kind, SD_SUPPORT)


def trim(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the draws without the far tails, and their spread min(sd, IQR / 1.349) (IQR / 1.349 = sd of a normal)."""
    quarter, middle, three_quarters = np.quantile(values, [0.25, 0.5, 0.75])
    iqr = three_quarters - quarter
    kept = values[np.abs(values - middle) <= TAIL_LIMIT * iqr] if iqr > 0 else values
    return kept, float(min(kept.std(), iqr / 1.349) if iqr > 0 else kept.std())


def density(values: np.ndarray, support: tuple[float, float] = REAL_SUPPORT) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel density of the draws on a grid, reflected at the bounds that they come near.

    Parameters
    ----------
    values : (n,) draws that are not all equal
    support : (lower, upper) bounds of the parameter

    Returns
    -------
    grid, density : (512,) each
    """
    kept, spread = trim(values)
    return kernel(kept, support, 0.9 * spread * len(kept) ** -0.2)  # Silverman (1986), eq. 3.31


def mode(values: np.ndarray, support: tuple[float, float] = REAL_SUPPORT, ess: float = math.nan) -> float:
    """Return the mode of the draws: where a kernel density, reflected at the bounds, is largest.

    Parameters
    ----------
    values : (n,) draws
    support : (lower, upper) bounds of the parameter; a density that is largest at a bound has its mode there
    ess : float
        Effective number of draws; their number if missing.

    Notes
    -----
    The bandwidth falls with n^(-1/7), slower than for the density itself: a peak is harder to place than a height.
    For normal, gamma(4), gamma(1.5), log-normal(0.25 and 0.5) and beta(6, 2) draws the root mean squared error was at
    most 0.20 sd at n = 400, 0.12 at 1,500 and 0.11 at 4,000 (half-normal: 0.30, 0.18, 0.13), 60 replicates each.
    """
    kept, spread = trim(values)
    if np.ptp(kept) == 0:  # whose sd may be a rounding error
        return float(kept[0])
    grid, height = smooth(kept, spread, support, ess)
    top, step = float(grid[height.argmax()]), grid[1] - grid[0]
    at_bound = [bound for bound in support if abs(top - bound) < step]  # the first or last cell of a reflected grid
    return at_bound[0] if at_bound else top


def flat_share(values: np.ndarray, support: tuple[float, float], point: float, ess: float = math.nan) -> float:
    """Return the least density between a bound and a point, as a share of its greatest height.

    Where it is near 1 the density is flat from the bound to the point: anything there may be called its mode, which
    is placed by chance, where the height is not. In flat posteriors of an sd with 1,100 to 2,400 effective draws (9
    data sets with 6 seeds each) the Monte Carlo error of the share was 0.02.

    Parameters
    ----------
    values, support, ess
        As for `mode`.
    point : float
        NaN is the result where no draw comes near the bound on that side, and for a point that is outside the draws.
    """
    kept, spread = trim(values)
    if np.ptp(kept) == 0 or not math.isfinite(point):
        return math.nan
    grid, height = smooth(kept, spread, support, ess)
    step = grid[1] - grid[0]
    sides = zip(support, grid[[0, -1]], (grid <= point + step, grid >= point - step), strict=True)
    shares = [height[side].min() for bound, end, side in sides if abs(end - bound) < step and side.any()]
    return float(max(shares) / height.max()) if shares and grid[0] - step <= point <= grid[-1] + step else math.nan


def smooth(kept: np.ndarray, spread: float, support: tuple[float, float], ess: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel density of trimmed draws with the bandwidth for a mode."""
    n = ess if math.isfinite(ess) and ess > 1 else len(kept)
    return kernel(kept, support, MODE_BANDWIDTH * spread * n**MODE_POWER)


def kernel(values: np.ndarray, support: tuple[float, float], bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gaussian kernel density of ArviZ, on a grid that ends, and reflects, at each bound that is near."""
    from scipy.ndimage import gaussian_filter1d  # ArviZ takes half a second to import

    lower, upper = values.min(), values.max()
    near = NEAR * bandwidth
    limits = (
        support[0] if lower - support[0] < near else lower - near,
        support[1] if support[1] - upper < near else upper + near,
    )
    counts, edges = np.histogram(values, GRID, limits)
    width = edges[1] - edges[0]
    cells = bandwidth / width
    height = gaussian_filter1d(counts / len(values) / width, cells, radius=math.ceil(NEAR * cells))
    return (edges[1:] + edges[:-1]) / 2, height
