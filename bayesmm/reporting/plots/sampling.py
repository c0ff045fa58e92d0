"""How the chains moved: traces, ranks and energies."""

import numpy as np

from bayesmm.design.parameters import variance_parameters
from bayesmm.display.figures import GREY, INK, LIGHT, chain_ink, drawn, heading, key, panels, title
from bayesmm.evaluation.checks import BFMI_LIMIT
from bayesmm.posterior.convergence import bfmi_of_run
from bayesmm.posterior.draws import draws_of, is_constant, sampling_record
from bayesmm.reporting.plots.chosen import of_posterior
from bayesmm.reporting.plots.components import PANELS, omitted

TRACE_POINTS = 500  # draws of a chain that a trace of this width can show
RANK_BINS = 20  # of a rank plot: Vehtari et al. (2021), section 4.4
CHAINS = 8  # with a panel of energies
ENERGY_BINS = 40
BAND = 0.99  # probability of the band that a rank of a converged chain stays in, bin by bin


@drawn
@of_posterior
def plot_traces(fit):
    """Draw the trace and the ranks of the draws of each standard deviation, correlation and sigma, a row each.

    The ranks of converged chains are uniform: their steps stay in the band (Vehtari et al. 2021, section 4.4).

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    Plot
    """
    every = variance_parameters(fit.design)
    varying = [p for p, fixed in zip(every, is_constant(draws_of(fit, every)), strict=True) if not fixed]
    parameters = varying[:PANELS]
    figure, axes = panels(2 * len(parameters), wide=4.8, high=1.5, columns=2)
    axes = axes.reshape(-1, 2)
    for (left, right), parameter, draws in zip(axes, parameters, draws_of(fit, parameters), strict=True):
        draw_trace(left, draws)
        draw_ranks(right, draws)
        heading(left, parameter.label, 10)
        right.set_title("ranks of the draws, chain by chain", fontsize=9, loc="left", color=GREY)
    for ax, label in zip(axes[-1:].ravel(), ("draw", "rank among the draws of all chains"), strict=False):
        ax.set_xlabel(label)
    chains = [chain_ink(c) for c in range(min(fit.tree["posterior"].sizes["chain"], 4))]
    entries = {f"chain {c}": (ink["linestyle"], ink["color"]) for c, ink in enumerate(chains)}
    key(figure, entries | {f"{100 * BAND:.0f} % of the steps, if the chains agree": ("s", LIGHT)})
    text = "Traces of the variance parameters" + omitted(len(varying) - len(parameters))
    title(figure, text, fit.design.formula.text)
    return axes


def draw_trace(ax, draws: np.ndarray) -> None:
    """Draw the chains of one parameter over their length, thinned to what can be seen."""
    step = max(1, draws.shape[1] // TRACE_POINTS)
    for c, chain in enumerate(draws):
        ink = chain_ink(c)["color"]  # a dash of a line that turns at every point cannot be seen
        ax.plot(np.arange(draws.shape[1])[::step], chain[::step], linewidth=0.5, alpha=0.8, color=ink)


def draw_ranks(ax, draws: np.ndarray) -> None:
    """Draw how many draws of each chain fall in each part of the ranks of all, with the band of uniform ranks."""
    from scipy.stats import binom, rankdata

    chains, n = draws.shape
    ranks = rankdata(draws, method="ordinal").reshape(draws.shape)
    edges = np.linspace(0, draws.size, RANK_BINS + 1)
    low, high = binom.ppf([(1 - BAND) / 2, (1 + BAND) / 2], n, 1 / RANK_BINS)
    ax.axhspan(low, high, color=LIGHT, linewidth=0)
    for c in range(chains):
        counts, _ = np.histogram(ranks[c] - 0.5, edges)
        ax.stairs(counts, edges, linewidth=1.1, baseline=None, **chain_ink(c))
    ax.margins(y=0.15)  # the band has an upper edge too
    ax.set_ylim(0)
    ax.set_yticks([])


@drawn
@of_posterior
def plot_energy(fit):
    """Draw the energies of the draws and of the steps between them, chain by chain, with each chain's E-BFMI.

    Where the steps are much narrower than the energies the sampler cannot cross the posterior's tails: Betancourt
    (2016), arXiv:1604.00695, section 3.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    Plot

    Raises
    ------
    ValueError
        If the sampler has recorded no energies.
    """
    stats = fit.tree["sample_stats"].data_vars if "sample_stats" in fit.tree.children else {}
    if "energy" not in stats or fit.tree["posterior"].sizes["draw"] < 2:
        raise ValueError("this sampler has recorded no energies; those of sampler='nutpie' and 'pymc' do")
    energy = stats["energy"].transpose("chain", "draw").values
    fractions = bfmi_of_run(energy, sampling_record(fit.tree))
    shown = min(len(energy), CHAINS)
    figure, axes = panels(shown, wide=3.3, high=2.2, columns=4)
    for c, ax in enumerate(axes):
        centred, steps = energy[c] - energy[c].mean(), np.diff(energy[c])
        edges = np.linspace(*np.quantile(np.concatenate([centred, steps]), [0.0, 1.0]), ENERGY_BINS + 1)
        ax.stairs(np.histogram(centred, edges, density=True)[0], edges, fill=True, color=LIGHT)
        ax.stairs(np.histogram(steps, edges, density=True)[0], edges, color=INK, linewidth=1.2, baseline=None)
        verdict = "" if fractions[c] >= BFMI_LIMIT else ", too low"
        ax.set_title(f"chain {c}: E-BFMI {fractions[c]:.2f}{verdict}", fontsize=10, loc="left")
        ax.set_xlabel("energy less its mean; step to the next draw")
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    key(figure, {"energies of the draws": ("s", LIGHT), "steps from draw to draw": ("-", INK)})
    more = f" (the first {shown} of {len(energy)} chains)" if shown < len(energy) else ""
    title(figure, f"Energy: steps should be as wide as energies, E-BFMI near 1; below {BFMI_LIMIT} is too low{more}")
    return axes
