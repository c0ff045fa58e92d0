"""NUTS on a model's compiled log posterior: the marginal graph's draws without PyMC.

For priors in closed form; a prior that is a function needs the graph.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import xarray as xr

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.parameters import residual_dim, residual_labels, sd_places
from bayesmm.design.records import Block, Design
from bayesmm.design.summed import rows_of, sd
from bayesmm.design.term_basis import TermBasis
from bayesmm.errors import BayesmmWarning, listing
from bayesmm.estimation.glm import share_thresholds
from bayesmm.likelihood.coordinates import FIXED, INTERVAL, LOG, REAL, coordinate, factors, sds_of_terms, values
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.marginal import Marginal, auxiliary_starts, generalised, marginal
from bayesmm.likelihood.near_mode import near_mode
from bayesmm.likelihood.problem import Integrated
from bayesmm.likelihood.whitened import Whitened
from bayesmm.priors import Prior, own_at_zero, shifts_of_thresholds
from bayesmm.runtime.memory import refuse
from bayesmm.runtime.progress import Progress, progress_bar
from bayesmm.runtime.streams import start as generator
from bayesmm.runtime.threads import one_thread
from bayesmm.sampling.choose_graph import in_closed_form
from bayesmm.sampling.mode import coarse, find_mode
from bayesmm.sampling.nuts import Settings, compiled_density, load_ahead, record, sample_density, start_nutpie
from bayesmm.storage.runs import Run, RunningSampler, Stream, alias, no_stats

# How far chains start, at most, from the mode, in sds; and from the centre, without a mode: as PyMC has it.
SPREAD, JITTER = 2.0, 1.0
Starts = Callable[[int], Floats]  # a chain's start for a seed
NOWHERE: Mapping[str, float] = MappingProxyType({})
FAR = 4.0  # sds from the centre, about as far as some thousands of draws are; ours
RECORDED = ("nutpie", "numba", "numpy", "arviz")  # versions that make up a result


def applies(design: Design, priors: Mapping[str, Prior], effects: str, sampler: str) -> bool:
    """Return whether these draws can come from here: marginal, by nutpie, all in compiled code."""
    asked = effects == "marginal" and sampler in ("auto", "nutpie")
    return asked and in_closed_form(priors) and not structured_terms(design, compiled=True)


def centre(model: Marginal, priors: Mapping[str, Prior], near: Mapping[str, float] = NOWHERE) -> Floats:
    """Return where chains start, (d,), before they are moved apart: at the values in `near`, by place, or the medians.

    Where a prior is improper it is a value of the data's size; of a generalised model 1 on the scale of the link. Where
    the density of a generalised model does not exist at the medians, the parameters of its family are where its moment
    estimates are: a shift may be between 0 and 1, and the least response is 0.3.
    """
    integrated = model.integrated
    if integrated is None:
        ones = [1.0] * len(model.places)
        x = _medians(priors, model, ones, near)
        there = model.posterior.size == 0 or np.isfinite(model.posterior(x)[0])
        return x if there else _medians(priors, model, ones, {**_moments(model), **near})
    problem = integrated.problem
    spread = math.sqrt(problem.cp.rWr / max(problem.cp.n, 1)) or 1.0
    scales = [scale[kept] for scale, kept in zip(problem.scales, integrated.structure.kept, strict=True)]
    scales += [np.ones(len(block.columns)) for block in integrated.structure.blocks[len(scales) :]]
    parts = zip(integrated.structure.blocks, scales, strict=True)
    units = [spread / max(scale[list(own)]) for block, scale in parts for _, own in sd_places(block)]
    units += auxiliary_starts(integrated, spread)
    return _medians(priors, model, [*units, *(float(integrated.at[j]) for j in integrated.sampled)], near)


def _medians(priors: Mapping[str, Prior], model: Marginal, units: Sequence[float], near: Mapping[str, float]) -> Floats:
    """Return the coordinates of the values in `near`, else of the priors' medians, of `units` for improper priors."""
    c, x, before = model.posterior.coordinates, np.zeros(model.posterior.size), 0.0
    near = {**_thresholds(model), **near}
    for i, (place, unit) in enumerate(zip(model.places, units, strict=True)):
        if c.kind[i] == FIXED or (c.kind[i] == INTERVAL and place not in near):  # the centre of an interval is 0
            continue
        value = near[place] if place in near else priors[place].quantile(0.5)
        if value is None or (c.kind[i] == LOG and not 0 < value < math.inf):
            value = unit
        x[c.at[i]] = coordinate(c, i, value, before)
        before = value
    return x


def _thresholds(model: Marginal) -> dict[str, float]:
    """Return where thresholds start, by place: where each category has its share of the rows."""
    if model.integrated is not None or not model.design.family.ordered:
        return {}
    return dict(zip(residual_labels(model.design.residual.parameters[0]), share_thresholds(model.design), strict=True))


def _moments(model: Marginal) -> dict[str, float]:
    """Return moment estimates of the family's parameters, by place."""
    family, y = model.design.family, model.design.y
    if family.ordered or family.start is None:
        return {}
    first = family.first(y, np.full(len(y), y.mean()))
    return dict(zip(family.auxiliaries, map(float, first), strict=True))


@dataclass(frozen=True)
class Ready:
    """A posterior that can be sampled.

    Attributes
    ----------
    model : Marginal
    middle : (d,) float64
        Looked at where no chain can start.
    at : Whitened
    start : callable
        seed -> where a chain starts, z, (d,).
    tree : callable
        (model, run) -> the variables of the fit.
    """

    model: Marginal
    middle: Floats
    at: Whitened
    start: Starts
    tree: Callable[[Marginal, Run], xr.DataTree]


def ready(
    design: Design, priors: Mapping[str, Prior], integrated: Integrated | None, near: Mapping[str, float] = NOWHERE
) -> Ready:
    """Return the marginal posterior at its mode, in its metric.

    Parameters
    ----------
    design, priors, integrated
        The model, `integrated` None if it is generalised; every prior in closed form.
    near : mapping of str to float
        Where the search for the mode starts instead of at a prior's median, by place: `vague_priors.near_maximum`.

    Raises
    ------
    ValueError
        For a model without a free parameter.
    """
    model = generalised(design, priors) if integrated is None else marginal(design, priors, integrated)
    held = integrated is None or (not design.blocks and all(p.distribution == "Fixed" for p in priors.values()))
    if model.posterior.size == 0 and held:
        raise ValueError("every parameter of the model is held fixed by its prior, so there is nothing to sample")
    if model.posterior.size == 0:
        raise ValueError(
            "the priors leave nothing to sample: what they do not fix is integrated out; effects='explicit' "
            "samples coefficients and random effects too"
        )
    middle = centre(model, priors, near)
    return Ready(model, middle, *whitened(model, middle, units(model, priors)), as_tree)


def sample(
    make: Callable[[], Ready],
    priors: Mapping[str, Prior],
    settings: Settings,
    *,
    said: tuple[str, ...] = (),
    progress: bool = True,
    began: float | None = None,
    stream: Stream | None = None,
) -> xr.DataTree:
    """Sample a compiled posterior.

    Parameters
    ----------
    make : callable
        Returns the posterior; called once the progress bar is there.
    priors : mapping of place to Prior
    settings : Settings
    said : tuple of str
        Warnings on the settings.
    progress : bool
        Show a progress bar; never shown where the output is no terminal or notebook.
    began : float, optional
        ``time.perf_counter()`` from which the seconds are counted.
    stream : callable, optional
        Keeps the draws while they are made: see `storage.runs.Stream`.

    Returns
    -------
    xarray.DataTree
        Groups posterior (what has been sampled, by the names that the graphs have) and sample_stats, and the record of
        the run: as `sample_graph` gives them.

    Raises
    ------
    ValueError
        For draws that would not fit in memory, or a density that is not finite at the start.
    KeyboardInterrupt
        If interrupted before there are any draws.
    """
    began = time.perf_counter() if began is None else began
    with one_thread(), progress_bar(progress, settings.chains, settings.tune + settings.draws) as bar:
        ahead = load_ahead()
        for text in said:
            warnings.warn(text, BayesmmWarning, stacklevel=3)
        made = make()
        ahead.join()
        if made.model.design.residual.formulas and made.model.design.family.gaussian:
            far = FAR * made.at.factor.T
            _at(made, made.at.centre + np.vstack([far, -far]))  # a sigma that is no number is said before sampling
        if stream is None:  # which holds no draws
            refuse({"x": made.at.size}, settings.draws, settings.tune, settings.chains)
        about = record("nutpie", settings, said, RECORDED)
        try:
            if stream is not None:
                return stream(_feed(made, settings, about, bar), bar)
            run = sample_density(made.at, made.start, settings, bar)
        except RuntimeError as error:  # all that nutpie says is that there was no good start
            check_start(made.model, priors, made.middle)
            raise ValueError(f"the sampler cannot go on: {str(error).splitlines()[0]}") from error
    tree = made.tree(made.model, run)
    about |= {"interrupted": run.interrupted, "seconds": time.perf_counter() - began}
    tree.attrs["bayesmm"] = json.dumps(about)
    return tree


def _feed(made: Ready, settings: Settings, about: Mapping[str, object], bar: Progress) -> RunningSampler:
    """Return the run as a stream of draws."""
    d, convert = made.at.size, partial(made.tree, made.model)
    compiled = compiled_density(made.at, made.start, [alias(0)], [slice(0, d)], (d,))
    template = _at(made, made.middle[None])
    begin = partial(start_nutpie, compiled, settings, bar, return_raw_trace=True)
    return RunningSampler(begin, (("x", ("coordinate",)),), convert, template, about)


def _at(made: Ready, x: Floats) -> xr.DataTree:
    """Return the tree of draws at these coordinates, (n, d)."""
    dims, coords = ("chain", "draw", "coordinate"), {"chain": [0], "draw": np.arange(len(x))}
    return made.tree(made.model, Run(xr.Dataset({"x": (dims, x[None])}, coords), no_stats(), interrupted=False))


def units(model: Marginal, priors: Mapping[str, Prior]) -> Floats:
    """Return the sizes of the coordinates, (d,): of a coefficient half the width of its prior's middle half.

    Where the prior is improper it is what moves the linear predictor by as much as the response is spread.
    """
    c, design, out = model.posterior.coordinates, model.design, np.ones(model.posterior.size)
    spread = sd(design.y, 0) if design.family.link == "identity" else 1.0
    for i, place in enumerate(model.places):
        if c.kind[i] == REAL:
            low, high = (priors[place].quantile(p) for p in (0.25, 0.75))
            size = (high - low) / 2 if None not in (low, high) else spread / (_column_size(model, i) or 1.0)
            out[c.at[i]] = size if 0 < size < math.inf else 1.0
    return out


def _column_size(model: Marginal, i: int) -> float:
    """Return the root mean square of the fixed column whose coefficient is a model's scalar number i."""
    X = model.bases.fixed.taken_out(model.design.X) if model.integrated is None else model.integrated.problem.fixed
    columns = model.integrated.sampled if model.integrated is not None else range(X.shape[1])
    return float(np.sqrt(np.square(rows_of(X)[:, columns[i - len(model.places)]]).mean()))


def whitened(model: Marginal, middle: Floats, sizes: Floats) -> tuple[Whitened, Starts]:
    """Return the density in units of its mode's sds, and the function that gives a chain's start z for a seed.

    Chains start further apart than the posterior is wide, so that R-hat can tell whether they have met. Where no mode
    is found from `middle`, (d,), the coordinates stay as they are, and starts are around it. `sizes` as for
    `find_mode`.
    """
    mode = find_mode(model.posterior, middle, sizes)
    if mode is not None:
        at = coarse(mode)
        within, at = SPREAD, Whitened(near_mode(model, *at), *at)
    else:
        within, at = JITTER, Whitened(model.posterior, middle, np.eye(len(middle)))
    return at, lambda seed=None: generator(seed).uniform(-within, within, len(middle))


def check_start(model: Marginal, priors: Mapping[str, Prior], x: Floats) -> None:
    """Say which part of the log density is not finite at x, (d,), the centre of the starts.

    Raises
    ------
    ValueError
        Naming the priors whose log density is not finite there, with the values, or else the marginal likelihood.
    """
    found = []
    with np.errstate(all="ignore"):  # the infinities are what we are looking for
        at = values(model.posterior.coordinates, x[None])[0]
        for place, value in zip(model.places, at[: len(model.places)], strict=True):
            if priors[place].distribution != "Fixed" and not np.isfinite(priors[place].logpdf(value)):
                density = priors[place].logpdf(value)
                found.append(f"the log density of the prior of {place}, {priors[place]}, is {density:g} at {value:.4g}")
    value = model.posterior(x)[0]
    if not found and not np.isfinite(value):
        parts = listing(
            [f"{place} = {v:.4g}" for place, v in zip(model.places, at[: len(model.places)], strict=True)], limit=6
        )
        found.append(f"the marginal likelihood is not finite with {parts}")
    if found:
        raise ValueError(
            f"no chain can start, because at the initial point {listing(found)}; check these data and priors"
        )


def as_tree(model: Marginal, run: Run) -> xr.DataTree:
    """Return a run's coordinates as the variables of the marginal graph."""
    x = run.posterior["x"].to_numpy()
    shape, c, design = x.shape[:2], model.posterior.coordinates, model.design
    x = x.reshape(math.prod(shape), x.shape[-1])  # of which there may be none: all is fixed by the priors
    scalars = values(c, x)
    found, labels, at = {}, {}, len(np.unique(c.sd_of))
    columns = dict(zip(model.names, scalars[:, at:].T, strict=model.integrated is not None))
    if model.structure is None:
        covariances = zip(sds_of_terms(c, scalars), factors(c, x), strict=True)
    else:
        covariances, own = model.structure.covariances(c, x, scalars)
        inside = {label for one in model.structure.parts for label in one.labels}
        columns = {name: column for name, column in columns.items() if name not in inside}
        columns |= dict(zip(model.structure.own, own.T, strict=True))
    for block, basis, (sds, C) in zip(design.blocks, model.bases.blocks, covariances, strict=True):
        own = covariance_variables(block, basis, sds, C)
        found |= {name: (("chain", "draw", *dims), v.reshape(*shape, *v.shape[1:])) for name, (dims, v) in own.items()}
        labels |= {dim: np.asarray(design.coords[dim]) for dims, _ in own.values() for dim in dims}
    vectors = own_vectors(design)
    whole = {own.name: own for own in vectors.values()}
    drawn = {name: np.column_stack([columns[label] for label in residual_labels(own)]) for name, own in whole.items()}
    columns, drawn = own_at_zero(design, model.bases, columns, drawn)
    for name, column in columns.items():
        if name not in vectors:
            found[name] = (("chain", "draw"), column.reshape(shape).copy())
    for name, own in whole.items():
        column = drawn[name]
        if own.at_means:  # those that are sampled are at the means of the prior's columns
            gamma = scalars[:, at + len(model.names) : at + len(model.names) + design.p]
            column = column + shifts_of_thresholds(design, model.means, gamma, drawn)
        found[name] = (("chain", "draw", residual_dim(own)), column.reshape(*shape, own.size).copy())
        labels[residual_dim(own)] = np.asarray(design.coords[residual_dim(own)])
    if model.integrated is None and design.p:
        first = at + len(model.names)
        beta = scalars[:, first : first + design.p] @ model.bases.fixed.inverse.T
        found["beta"] = (("chain", "draw", "coef"), beta.reshape(*shape, design.p))
        labels["coef"] = np.asarray(design.coords["coef"])
    posterior = xr.Dataset(found, {**run.posterior.coords, **labels})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": run.sample_stats})


def own_vectors(design: Design) -> dict:
    """Return the vectors among the residual's parameters (formulas, thresholds), by the labels of their elements."""
    vectors = [own for own in design.residual.parameters if own.terms is not None]
    return {label: own for own in vectors for label in residual_labels(own)}


def covariance_variables(
    block: Block, basis: TermBasis, sds: Floats, C: Floats
) -> dict[str, tuple[tuple[str, ...], Floats]]:
    """Return the variables that a block's covariance matrices are in the posterior, with their dimensions.

    Parameters
    ----------
    block : Block
    basis : TermBasis
    sds : (draws, q) float64
        Of the effects of the prior's design.
    C : (draws, q, q) float64
        Factors of their correlation matrices.

    Returns
    -------
    dict
        sd_<name> and, where there is any correlation, corr_<name>, as they are reported; those of the prior's design
        too, with "_centred" behind them, where they are others.
    """
    names = block.names
    if not block.correlated:
        return {names.sd: (names.sd_dims, sds)}
    if basis.trivial:
        return {names.sd: (names.sd_dims, sds), names.corr: (names.corr_dims, _correlations(C))}
    L = basis.inverse @ (sds[:, :, None] * C)
    own = np.sqrt(np.square(L).sum(axis=2))
    rows = L / np.where(own > 0, own, 1.0)[:, :, None]
    return {
        names.sd: (names.sd_dims, own),
        names.corr: (names.corr_dims, _correlations(rows)),
        names.sd_at_means: (names.sd_dims, sds),
        names.corr_at_means: (names.corr_dims, _correlations(C)),
    }


def _correlations(C: Floats) -> Floats:
    """Return C C' with ones on the diagonal, without rounding."""
    R = np.clip(C @ C.transpose(0, 2, 1), -1.0, 1.0)
    R[:, range(R.shape[1]), range(R.shape[1])] = 1.0
    return R
