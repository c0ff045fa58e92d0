"""The marginal posterior of a model: its log density with all that it is made from, by either way to integrate.

The random effects, and of a Gaussian model the coefficients with normal priors, are integrated out: in closed form, or
by quadrature. NUTS, independent draws, bridge sampling and leave-one-out all take it from here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.design.parameters import ends_by_response, sd_places
from bayesmm.design.records import Block, Design
from bayesmm.design.term_basis import TermBases
from bayesmm.likelihood.coordinates import Coordinates, coordinates
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.gaussian import natural_likelihood
from bayesmm.likelihood.gaussian_data import Terms, gaussian_words
from bayesmm.likelihood.gaussian_likelihood import gaussian_likelihood
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.likelihood.posterior import LogPosterior, Parameters, evaluated, log_posterior
from bayesmm.likelihood.problem import Integrated, sampled_names
from bayesmm.likelihood.quadrature import check_fits, fits, prepare
from bayesmm.likelihood.quadrature_likelihood import quadrature_likelihood, quadrature_words
from bayesmm.likelihood.rows_likelihood import rows_likelihood, rows_words
from bayesmm.likelihood.structured_blocks import Sampled, structured_of
from bayesmm.likelihood.structured_likelihood import structured_likelihood
from bayesmm.likelihood.varying import first_values_by_label, sum_of_log_weights
from bayesmm.likelihood.varying_likelihood import varying_likelihood
from bayesmm.priors import Prior, coefficient_places, prior_bases, prior_design, threshold_means


@dataclass(frozen=True)
class Marginal:
    """The marginal posterior of a model.

    Attributes
    ----------
    design, integrated
        What it is made from; `integrated` is None if it is generalised.
    posterior : LogPosterior
    places : tuple of str
        Places of the scalar parameters' priors, in the order of ``Coordinates``.
    names : tuple of str
        The variables that the scalars behind the sds become.
    bases : TermBases
        What the sampled parameters are beside those that are reported. The last p scalars of a generalised model are
        all its coefficients gamma.
    means : (p,) float64 or None
        `priors.threshold_means` of a generalised model.
    structure : Sampled or None
        What the blocks of coordinates are, where they are not those of the design.
    """

    design: Design
    integrated: Integrated | None
    posterior: LogPosterior
    places: tuple[str, ...]
    names: tuple[str, ...]
    bases: TermBases
    means: Floats | None = None
    structure: Sampled | None = None

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks that the coordinates are of."""
        return self.design.blocks if self.structure is None else self.structure.blocks


def marginal(design: Design, priors: Mapping[str, Prior], integrated: Integrated) -> Marginal:
    """Return the marginal posterior of a Gaussian model; every prior must be in closed form."""
    c, places = gaussian_coordinates(integrated, priors)
    names = (*integrated.structure.names, *sampled_names(integrated).values())
    posterior = gaussian_posterior(c, integrated)
    structure = None if integrated.structure.plain else integrated.structure
    return Marginal(design, integrated, posterior, places, names, integrated.bases, structure=structure)


def generalised(design: Design, priors: Mapping[str, Prior], *, inside: bool = True) -> Marginal:
    """Return the marginal posterior of a generalised model that `has_marginal`; `priors` as for `marginal`.

    `inside` as for `generalised_coordinates`.
    """
    c, places = generalised_coordinates(design, priors, inside=inside)
    posterior = generalised_posterior(c, prior_design(design, priors))
    structure, bases = generalised_structure(design), prior_bases(design, priors)
    means, own = threshold_means(design, priors), None if structure.plain else structure
    return Marginal(design, None, posterior, places, structure.names, bases, means, own)


def generalised_structure(design: Design) -> Sampled:
    """Return what is sampled of a generalised model's covariance matrices."""
    return structured_of(design, own_parameters(design).labels)


def gaussian_coordinates(
    integrated: Integrated, priors: Mapping[str, Prior], *, jacobian: bool = True
) -> tuple[Coordinates, tuple[str, ...]]:
    """Return the coordinates of a Gaussian model and the places of their scalars; `jacobian` as for `coordinates`."""
    sampled, structure = [integrated.places[j] for j in integrated.sampled], integrated.structure
    own, blocks = structure.names, structure.blocks
    signed = (*structure.signed, *(("sigma",) if integrated.varying is not None and integrated.varying.joint else ()))
    stretched = [name for name in own[1:] if name not in signed and priors[name].support == "interval"]
    options = dict(jacobian=jacobian, signed=signed, stretched=stretched)
    c = coordinates(blocks, structure.priors(priors), own, sampled, **options)
    return c, (*_sds(blocks), *own, *sampled)


def auxiliary_starts(integrated: Integrated, spread: float) -> list[float]:
    """Return where a search for the auxiliaries of a Gaussian model starts; `spread` is that of the residual."""
    own = {} if integrated.varying is None else first_values_by_label(integrated.problem.design)
    for one in integrated.structure.parts:
        scale = integrated.problem.scales[one.block][list(one.part.columns)]
        for label, entry in zip(one.labels, one.part.entries, strict=True):
            own[label] = spread / max(scale[i] for (i,) in entry.places) if entry.kind == "sd" else 0.0
    return [spread, *(own[label] for label in integrated.structure.names[1:])]


def generalised_coordinates(
    design: Design, priors: Mapping[str, Prior], *, jacobian: bool = True, effects: int = 0, inside: bool = True
) -> tuple[Coordinates, tuple[str, ...]]:
    """Return the coordinates of a generalised model and the places of their scalars but the `effects`, which end them.

    `jacobian` and `effects` as for `coordinates`. `inside`: parameters stay inside of the ends that the responses set
    to them; else coordinates are those of the priors alone, and so of any rows.
    """
    places, own = coefficient_places(priors, design), own_parameters(design)
    first, last = len(own.scalars), len(own.scalars) + own.ascending
    ascending, structure = own.labels[first + 1 : last], generalised_structure(design)
    further = structure.names[len(own.labels) :]
    stretched = [name for name in further if name not in structure.signed and priors[name].support == "interval"]
    within = ends_by_response(design) if inside else {}
    options = dict(ascending=ascending, signed=structure.signed, stretched=stretched, within=within)
    given = structure.blocks, priors, structure.names, places
    c = coordinates(*given, jacobian=jacobian, effects=effects, **options)
    if ascending and len({priors[label] for label in own.labels[first:last]}) == 1:
        c.constant[0] += math.lgamma(len(ascending) + 2)  # of all orders of equal priors one is possible
    return c, (*_sds(structure.blocks), *structure.names, *places)


def gaussian_posterior(c: Coordinates, integrated: Integrated) -> LogPosterior:
    """Return the log posterior of a Gaussian model in its coordinates."""
    return log_posterior(c, *_likelihood(integrated))


def _likelihood(integrated: Integrated) -> tuple[object, Ints]:
    """Return the likelihood of a Gaussian model as a C function of what is sampled, and its words."""
    cp, varying, own = integrated.problem.cp, integrated.varying, terms(integrated)
    if varying is None:
        likelihood, words = gaussian_likelihood(), gaussian_words(own, cp.n, cp.sum_log_weights, cp.words)
    else:
        weights = sum_of_log_weights(integrated.problem.design)
        likelihood, words = varying_likelihood(), gaussian_words(own, cp.n, weights, varying.words)
    return with_structures(integrated.structure, likelihood, words)


def has_marginal(design: Design) -> bool:
    """Return whether a generalised model has a compiled posterior: with effects that quadrature is for, or none."""
    return not design.blocks or fits(design)


def searched_likelihood(integrated: Integrated) -> Callable[[Parameters], tuple[float, Parameters]]:
    """Return the likelihood of a Gaussian model as `SearchedPosterior` takes it."""
    if integrated.varying is None and integrated.structure.plain:
        cp, own = integrated.problem.cp, terms(integrated)
        return lambda at: natural_likelihood(cp, own, at)
    likelihood, words = _likelihood(integrated)
    return lambda at: evaluated(likelihood, words, at)


def check_marginal(design: Design) -> None:
    """Raise the ValueError of `check_fits` for a generalised model without a compiled posterior."""
    if design.blocks:
        check_fits(design)


def generalised_posterior(c: Coordinates, design: Design) -> LogPosterior:
    """Return the log posterior of a generalised model in its coordinates; `design` is that of the prior."""
    if not design.blocks:
        return log_posterior(c, rows_likelihood(), rows_words(design))
    own = own_parameters(design).sorted(np.argsort(design.blocks[0].index, kind="stable"))
    words = quadrature_words(prepare(design), own)
    return log_posterior(c, *with_structures(generalised_structure(design), quadrature_likelihood(), words))


def with_structures(structure: Sampled, likelihood: object, words: Ints) -> tuple[object, Ints]:
    """Return a likelihood, a C function, and its words as those of what is sampled."""
    return (likelihood, words) if structure.plain else (structured_likelihood(), structure.words(likelihood, words))


def terms(integrated: Integrated) -> Terms:
    """Return how the natural parameters enter the marginal likelihood."""
    problem, sampled = integrated.problem, np.array(integrated.sampled, dtype=np.int64)
    take, scale = packing(problem.design.blocks, problem.scales, problem.cp.order)
    return Terms(take, scale, integrated.sd, sampled, integrated.at[sampled])


def packing(blocks: Sequence[Block], scales: Sequence[Floats], order: Sequence[int]) -> tuple[Ints, Floats]:
    """Return `take` and `scale`: L[take] scale are the factors of scaled columns, packed in another order."""
    ends = np.cumsum([0, *(len(block.columns) ** 2 for block in blocks)])
    take = [np.arange(ends[k], ends[k + 1]) for k in order]
    scale = [np.repeat(scales[k], len(scales[k])) for k in order]
    return np.concatenate([np.empty(0, np.int64), *take]), np.concatenate([np.empty(0), *scale])


def _sds(blocks: Sequence[Block]) -> tuple[str, ...]:
    return tuple(place for block in blocks for place, _ in sd_places(block))
