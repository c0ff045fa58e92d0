"""NUTS on a model's compiled log posterior: the marginal graph's draws without PyMC.

For priors in closed form; a prior that is a function needs the graph.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmm.design import Design
from bayesmm.errors import BayesmmWarning, listing
from bayesmm.marginal.coordinates import FIXED, INTERVAL, LOG, Coordinates, coordinates, factors, values
from bayesmm.marginal.crossproducts import Floats
from bayesmm.marginal.likelihood import Terms, gaussian_likelihood, gaussian_words
from bayesmm.marginal.posterior import LogPosterior, log_posterior
from bayesmm.marginal.quadrature import prepare
from bayesmm.marginal.quadrature_likelihood import quadrature_likelihood, quadrature_words
from bayesmm.memory import refuse
from bayesmm.priors import Prior, coefficient_places
from bayesmm.progress import Progress, progress_bar
from bayesmm.reduction import Integrated, loose_names, prior_basis
from bayesmm.runs import Feed, Run, Stream, alias, no_stats
from bayesmm.sampling.nuts import (
    BLAS_THREADS,
    Settings,
    compiled_density,
    load_ahead,
    record,
    sample_density,
    start_nutpie,
)

JITTER = 1.0  # chains start this far, at most, from the centre, in each coordinate: as PyMC has it
RECORDED = ("nutpie", "numba", "numpy", "arviz")  # versions that make up a result


@dataclass(frozen=True)
class Marginal:
    """The marginal posterior of a model.

    Attributes
    ----------
    design, integrated
        What it is made from.
    posterior : LogPosterior
    places : tuple of str
        Places of the scalar parameters' priors, in the order of ``Coordinates``.
    centre : (d,) float64
        Where chains start, before they are moved apart.
    names : tuple of str
        The variables that the scalars behind the sds become.
    basis : (p, p) float64, optional
        Of a generalised model, whose last p scalars gamma are all its coefficients: beta = basis gamma.
    """

    design: Design
    integrated: Integrated | None
    posterior: LogPosterior
    places: tuple[str, ...]
    centre: Floats
    names: tuple[str, ...]
    basis: Floats | None = None


def applies(design: Design, priors: Mapping[str, Prior], effects: str, sampler: str) -> bool:
    """Return whether these draws can come from here: marginal, by nutpie, every prior in closed form."""
    known = all(prior.distribution != "Custom" for prior in priors.values())
    return known and effects == "marginal" and sampler in ("auto", "nutpie")


def marginal(design: Design, priors: Mapping[str, Prior], integrated: Integrated) -> Marginal:
    """Return the marginal posterior; every prior must be in closed form."""
    loose = [integrated.places[j] for j in integrated.loose]
    sds = [f"sd_{block.name}[{column}]" for block in design.blocks for column in block.columns]
    c = coordinates(design.blocks, priors, ("sigma",), loose)
    words = gaussian_words(integrated.problem.cp, terms(integrated))
    posterior = log_posterior(c, gaussian_likelihood(), words)
    places = (*sds, "sigma", *loose)
    names = ("sigma", *loose_names(integrated).values())
    return Marginal(design, integrated, posterior, places, _centre(integrated, priors, c, places), names)


def generalised(design: Design, priors: Mapping[str, Prior]) -> Marginal:
    """Return the marginal posterior of a generalised model, by quadrature; every prior must be in closed form."""
    places, auxiliaries = coefficient_places(priors, design), design.family.auxiliaries
    sds = [f"sd_{block.name}[{column}]" for block in design.blocks for column in block.columns]
    basis = prior_basis(design, priors)
    c = coordinates(design.blocks, priors, auxiliaries, places)
    data = prepare(replace(design, X=design.X @ basis))
    posterior = log_posterior(c, quadrature_likelihood(), quadrature_words(data, len(auxiliaries)))
    every = (*sds, *auxiliaries, *places)
    centre = _medians(priors, c, every, [1.0] * len(every))  # where a prior is improper: 1 on the scale of the link
    return Marginal(design, None, posterior, every, centre, auxiliaries, basis)


def terms(integrated: Integrated) -> Terms:
    """Return how the natural parameters enter the marginal likelihood."""
    problem = integrated.problem
    ends = np.cumsum([0, *(len(block.columns) ** 2 for block in problem.design.blocks)])
    take = [np.arange(ends[k], ends[k + 1]) for k in problem.cp.order]
    scale = [np.repeat(problem.scales[k], len(problem.scales[k])) for k in problem.cp.order]
    loose = np.array(integrated.loose, dtype=np.int64)
    return Terms(
        np.concatenate([np.empty(0, np.int64), *take]), np.concatenate([np.empty(0), *scale]), integrated.sd,
        loose, integrated.at[loose],
    )  # fmt: skip


def _centre(integrated: Integrated, priors: Mapping[str, Prior], c: Coordinates, places: tuple[str, ...]) -> Floats:
    """Return the coordinates of the priors' medians; where a prior is improper, of a value of the data's size."""
    problem = integrated.problem
    spread = math.sqrt(problem.cp.rWr / max(problem.cp.n, 1)) or 1.0
    units = [spread / unit for scale in problem.scales for unit in scale] + [spread]
    units += [float(integrated.at[j]) for j in integrated.loose]
    return _medians(priors, c, places, units)


def _medians(priors: Mapping[str, Prior], c: Coordinates, places: tuple[str, ...], units: Sequence[float]) -> Floats:
    """Return the coordinates of the priors' medians, and of `units` where a prior is improper."""
    x = np.zeros(c.sizes[2])
    for i, (place, unit) in enumerate(zip(places, units, strict=True)):
        if c.kind[i] not in (FIXED, INTERVAL):  # the centre of an interval is 0
            median = priors[place].quantile(0.5)
            value = median if median is not None and (c.kind[i] != LOG or 0 < median < math.inf) else unit
            x[c.at[i]] = math.log(value) if c.kind[i] == LOG else value
    return x


def sample_marginal(
    design: Design,
    priors: Mapping[str, Prior],
    integrated: Integrated | None,
    settings: Settings,
    *,
    said: tuple[str, ...] = (),
    progress: bool = True,
    began: float | None = None,
    stream: Stream | None = None,
) -> xr.DataTree:
    """Sample a model's marginal posterior.

    Parameters
    ----------
    design, priors, integrated
        The model, `integrated` None if it is generalised; every prior in closed form.
    settings : Settings
    said : tuple of str
        Warnings on the settings.
    progress : bool
        Show a progress bar; never shown where the output is no terminal or notebook.
    began : float, optional
        ``time.perf_counter()`` from which the seconds are counted.
    stream : callable, optional
        Keeps the draws while they are made: see `spool.Stream`.

    Returns
    -------
    xarray.DataTree
        Groups posterior (sds, correlations, sigma, and the coefficients that were sampled, as the marginal graph names
        them) and sample_stats, and the record of the run: as `sampling.sample_graph` gives them.

    Raises
    ------
    ValueError
        For draws that would not fit in memory, a model without a free parameter, or a density that is not finite at
        the start.
    KeyboardInterrupt
        If interrupted before there are any draws.
    """
    began = time.perf_counter() if began is None else began
    with (
        threadpool_limits(BLAS_THREADS),
        progress_bar(progress, settings.chains, settings.tune + settings.draws) as bar,
    ):
        ahead = load_ahead()
        model = generalised(design, priors) if integrated is None else marginal(design, priors, integrated)
        ahead.join()
        if model.posterior.size == 0:
            raise ValueError(
                "the priors leave nothing to sample: what they do not fix is integrated out; effects='explicit' "
                "samples coefficients and random effects too"
            )
        if stream is None:  # which holds no draws
            refuse({"x": model.posterior.size}, settings.draws, settings.tune, settings.chains)
        for text in said:
            warnings.warn(text, BayesmmWarning, stacklevel=3)
        about = record("nutpie", settings, said, RECORDED)
        try:
            if stream is not None:
                return stream(_feed(model, settings, about, bar), bar)
            run = sample_density(model.posterior, starts(model.centre), settings, bar)
        except RuntimeError as error:  # all that nutpie says is that there was no good start
            check_start(model, priors)
            raise ValueError(f"the sampler can not go on: {str(error).splitlines()[0]}") from error
    tree = as_tree(model, run)
    about |= {"interrupted": run.interrupted, "seconds": time.perf_counter() - began}
    tree.attrs["bayesmm"] = json.dumps(about)
    return tree


def _feed(model: Marginal, settings: Settings, about: Mapping[str, object], bar: Progress) -> Feed:
    """Return the run as a stream of draws."""
    d = model.posterior.size
    compiled = compiled_density(model.posterior, starts(model.centre), [alias(0)], [slice(0, d)], (d,))
    x = xr.Dataset({"x": (("chain", "draw", "coordinate"), model.centre[None, None])}, {"chain": [0], "draw": [0]})
    template = as_tree(model, Run(x, no_stats(), interrupted=False))
    begin = partial(start_nutpie, compiled, settings, bar, return_raw_trace=True)
    return Feed(begin, (("x", ("coordinate",)),), partial(as_tree, model), template, about)


def starts(centre: Floats) -> Callable[[int], Floats]:
    """Return the function that gives a chain's start for a seed: the centre, each coordinate moved by up to JITTER."""
    return lambda seed=None: centre + np.random.default_rng(seed).uniform(-JITTER, JITTER, len(centre))


def check_start(model: Marginal, priors: Mapping[str, Prior]) -> None:
    """Say which part of the log density is not finite at the centre of the starts.

    Raises
    ------
    ValueError
        Naming the priors whose log density is not finite there, with the values, or else the marginal likelihood.
    """
    x, found = model.centre, []
    with np.errstate(all="ignore"):  # the infinities are what we are looking for
        at = values(model.posterior.coordinates, x[None])[0]
        for place, value in zip(model.places, at, strict=True):
            if priors[place].distribution != "Fixed" and not np.isfinite(priors[place].logpdf(value)):
                density = priors[place].logpdf(value)
                found.append(f"the log density of the prior of {place}, {priors[place]}, is {density:g} at {value:.4g}")
    value = model.posterior(x)[0]
    if not found and not np.isfinite(value):
        parts = listing([f"{place} = {v:.4g}" for place, v in zip(model.places, at, strict=True)], limit=6)
        found.append(f"the marginal likelihood is not finite with {parts}")
    if found:
        raise ValueError(
            f"no chain can start, because at the initial point {listing(found)}; check these data and priors"
        )


def as_tree(model: Marginal, run: Run) -> xr.DataTree:
    """Return a run's coordinates as the variables of the marginal graph."""
    x = run.posterior["x"].to_numpy()
    shape, c, design = x.shape[:2], model.posterior.coordinates, model.design
    scalars = values(c, x.reshape(-1, x.shape[-1]))
    found, labels, at = {}, {}, 0
    for block, C in zip(design.blocks, factors(c, x.reshape(-1, x.shape[-1])), strict=True):
        name, q = block.name, len(block.columns)
        dims = (f"{name}_term", f"{name}_term_bis")
        found[f"sd_{name}"] = (("chain", "draw", dims[0]), scalars[:, at : at + q].reshape(*shape, q))
        labels[dims[0]], at = np.asarray(design.coords[dims[0]]), at + q
        if block.correlated:
            R = C @ C.transpose(0, 2, 1)
            R[:, range(q), range(q)] = 1.0  # without rounding
            found[f"corr_{name}"] = (("chain", "draw", *dims), R.reshape(*shape, q, q))
            labels[dims[1]] = np.asarray(design.coords[dims[1]])
    for name, column in zip(model.names, scalars[:, at:].T, strict=model.basis is None):
        found[name] = (("chain", "draw"), column.reshape(shape).copy())
    if model.basis is not None and design.p:
        beta = scalars[:, at + len(model.names) :] @ model.basis.T
        found["beta"] = (("chain", "draw", "coef"), beta.reshape(*shape, design.p))
        labels["coef"] = np.asarray(design.coords["coef"])
    posterior = xr.Dataset(found, {**run.posterior.coords, **labels})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": run.sample_stats})
