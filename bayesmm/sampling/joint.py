"""NUTS on the joint density of a model's parameters and random effects, all compiled.

For what does not integrate out: crossed factors, many effects of a level. Of nested factors the effects of the
innermost are integrated out (`likelihood.joint_quadrature`), and drawn afterwards. The sampler's metric is the joint
posterior's covariance at Laplace's mode. With t the parameters and e the effects (themselves, or in units of their sds:
see `likelihood.joint`), C_t the covariance of t by Laplace's approximation, C_e that of e given t at its mode, and J
the derivative of that mode in t, it is

    [ C_t     C_t J'       ]
    [ J C_t   C_e + J C_t J' ],

of which [F_t, 0; J F_t, F_e] is the factor. Effects, and coefficients beside them, are then replaced by what is less
tied to their sds: see `likelihood.recentred`. Of a density with a corner it is that of a rounded one, `Family.rounded`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.predictors import random_parameters
from bayesmm.design.records import Block, Design
from bayesmm.design.relations import by_levels, is_related, over_levels, over_levels_again, unrelated
from bayesmm.design.residual.independent import by_rows, is_by_rows
from bayesmm.estimation.glmm import Warm, criterion_of, effects
from bayesmm.estimation.natural_likelihood import Likelihood, likelihood_of, natural_problem
from bayesmm.likelihood.coordinates import Coordinates, values
from bayesmm.likelihood.costs import gradient_cost
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.joint import joint_likelihood, joint_words, of_columns
from bayesmm.likelihood.joint_quadrature import joint_quadrature_likelihood, joint_quadrature_words
from bayesmm.likelihood.marginal import Marginal, generalised_coordinates, generalised_structure, with_structures
from bayesmm.likelihood.posterior import LogPosterior, SearchedPosterior, log_posterior
from bayesmm.likelihood.quadrature import fits
from bayesmm.likelihood.related_likelihood import related_likelihood, related_words
from bayesmm.likelihood.structured_blocks import Sampled
from bayesmm.likelihood.whitened import Whitened
from bayesmm.priors import Prior, prior_bases, prior_design, threshold_means
from bayesmm.runtime.streams import start as generator
from bayesmm.sampling.choose_graph import MOST_COORDINATES, effects_written_out, in_closed_form
from bayesmm.sampling.graph.centering import reliabilities
from bayesmm.sampling.marginal import SPREAD, Ready, as_tree, centre, check_start, units
from bayesmm.sampling.marginal import ready as marginal_ready
from bayesmm.sampling.mode import Mode, find_mode
from bayesmm.sampling.proposal import factor_of
from bayesmm.sampling.recentring import NOTHING, Turn, replaced_in, turned
from bayesmm.sampling.recovery import data_groups, to_reported
from bayesmm.sampling.signed import crossing, in_logarithms, mode_with_signs, with_signs
from bayesmm.storage.runs import Run

# Newton's steps for the effects' mode, of which Laplace's is near, end when they are this small, in the prior's sds;
# and the step of the differences that they go by.
SETTLING, SETTLED, DIFFERENCE = 4, 1e-4, 1e-4
# How far below Laplace's the sds are taken for the rule of centring. Of some 40 random models of 3 to 20 levels each, 0
# gave up to 9 divergences in 600 draws, where a sd may be near 0; and 2 up to 39, where the data know the effects well.
STANDARD_ERRORS = 1.0
# The share of its variance that is known of an effect, from which on it is sampled as it is. Between 0 and 1 the
# units of such effects change from the sd's to none, by the power below: of 14 nested and 26 crossed fits these two had
# the largest of the smallest ESS among shares of 0.3 to 0.7, and powers of 1 - r, its square root, 1 - r^2 and 1.
CENTRED_ABOVE = 0.4
# The same of all columns of a structure, cs(f | g), by the least known of them. In 9 models of 12 levels and 4 columns
# the worst parameter's ESS was 375 to 1,807 where this has none centred and 60 to 1,637 with all or each by itself, and
# 1,487 to 4,366 where it has all and 148 to 1,423 with none, but in one model (760 with none, 1,487 with all).
ALL_CENTRED_ABOVE = 0.5
# Of a gradient of the innermost effects' integral, in nanoseconds, at most: 4 x 1,200 draws then take some seconds. It
# is for the counts in regions and sites of `recentring`, whose sds mix badly where all effects are written out; Weibull
# times of 8 regions with 5 sites of 20 rows took 14 s with it and 1.6 s without.
INTEGRAL_COST = 5e5
MOST_COLUMNS = 100  # of the effects that are written out beside an integral: each row has them all


def applies(design: Design, priors: Mapping[str, Prior], effects: str, sampler: str) -> bool:
    """Return whether a model's effects are sampled here: a product over rows of moderate size, all in closed form."""
    return (
        effects == "explicit"
        and (not design.family.gaussian or is_by_rows(design))
        and (design.family.smooth or (design.family.rounded is not None and len(design.blocks) > 0))
        and sampler in ("auto", "nutpie")
        and effects_written_out(design) <= MOST_COORDINATES
        and in_closed_form(priors)
        and not structured_terms(unrelated(design), compiled=True)
    )


def ready(
    design: Design,
    priors: Mapping[str, Prior],
    centred: Callable[[Callable[[], list]], list],
    near: Mapping[str, float],
    *,
    nested: bool = True,
) -> Ready:
    """Return the joint posterior at Laplace's mode, in its metric; sds that may be near 0 have a sign, see `signed`.

    Parameters
    ----------
    design, priors, near
        As for `marginal.ready`.
    centred : callable
        Returns for each block, or for each of its columns, whether its effects are sampled as they are; it is given the
        rule for those that the user has not decided on.
    nested : bool
        Whether the innermost of nested factors may be integrated out.

    Raises
    ------
    ValueError
        For a density that is not finite where the search for the mode starts.
    """
    if not design.blocks:
        return without_effects(design, priors, near)
    given, exact = design, as_generalised(design)
    design = without_corner(exact)
    own, bases = prior_design(design, priors), prior_bases(design, priors)
    c, places = generalised_coordinates(design, priors)
    problem, warm = natural_problem(own), Warm(np.zeros(sum(b.Z.shape[1] * len(b.levels) for b in design.blocks)))
    likelihood = likelihood_of(problem, criterion_of(problem, 1, warm), own)
    structure, means = likelihood.structure, threshold_means(design, priors)
    settings = places, structure.names, bases, means, None if structure.plain else structure
    laplace = Marginal(design, None, SearchedPosterior(c, likelihood), *settings)
    middle = centre(laplace, priors, near)
    mode = find_mode(laplace.posterior, middle, units(laplace, priors))
    if mode is None:
        check_start(laplace, priors, middle)
        raise ValueError("the search for the mode of the posterior did not get anywhere; use sampler='pymc'")
    modes, conditional = by_levels(design, *modes_at(likelihood, laplace.posterior, mode, warm))
    within = integrated_block(given) if nested else None
    L = factors_at(structure, c, mode.x)
    known = reliabilities([factor @ factor.T for factor in L], conditional, STANDARD_ERRORS)
    flags = of_columns(own, centred(lambda: by_rule(known, design.blocks)))
    kept = written_out(design, within)
    modes = [over_levels_again(block, b) for block, b in zip(design.blocks, modes, strict=True)]
    L, modes, written = ([parts[k] for k in kept] for parts in (L, modes, flags))
    e, sizes = spherical_where(L, modes, written), effect_sizes(L, modes, written)
    chosen = crossing(structure, priors, c, mode, kept, flags)
    joint = replace(laplace, posterior=joint_posterior(design, own, priors, flags, within, chosen))
    at = in_metric(joint.posterior, mode_with_signs(c, mode, chosen), e, sizes)
    turns, middle, at = replaced_in(at, own, structure, kept, flags, powers_of_sds(known))
    if turns or exact is not design:
        posterior = joint_posterior(exact, turned(prior_design(exact, priors), turns), priors, flags, within, chosen)
        joint, at = replace(joint, posterior=posterior), replace(at, posterior=posterior)
    laplace, joint = replace(laplace, design=given), replace(joint, design=given)
    levels = [len(block.levels) if k in kept else 0 for k, block in enumerate(design.blocks)]

    def start(seed: int | None = None) -> Floats:
        return generator(seed).uniform(-SPREAD, SPREAD, at.size)

    def tree(model: Marginal, run: Run) -> xr.DataTree:
        return joint_tree(laplace, in_logarithms(run, c, chosen, structure, levels), flags, within, turns)

    return Ready(joint, middle, at, start, tree)


def without_effects(design: Design, priors: Mapping[str, Prior], near: Mapping[str, float]) -> Ready:
    """Return the posterior of all parameters of a model that has no random effects."""
    found = marginal_ready(as_generalised(design), priors, None, near)

    def tree(model: Marginal, run: Run) -> xr.DataTree:
        groups = {name: group.to_dataset() for name, group in as_tree(model, run).items()}
        return xr.DataTree.from_dict(groups | data_groups(design))

    return replace(found, model=replace(found.model, design=design), tree=tree)


def as_generalised(design: Design) -> Design:
    """Return the design of a linear model as that of a generalised one, and others as they are."""
    return by_rows(design) if design.family.gaussian else design


def without_corner(design: Design) -> Design:
    """Return the design, of a family whose density has a corner with the family in which it is rounded off."""
    family = design.family
    if family.rounded is None:
        return design
    return replace(design, spec=replace(design.spec, family=replace(family.rounded, link=family.link)))


def integrated_block(design: Design) -> int | None:
    """Return the number of the block whose effects are integrated out while the others are written out, if one is.

    It is the innermost of nested factors: each of its levels is in one level of every other factor.
    """
    if design.family.gaussian or random_parameters(design):
        return None
    alone = [k for k, block in enumerate(design.blocks) if block.relation is None]
    if not alone:
        return None
    k = max(alone, key=lambda k: len(design.blocks[k].levels))
    block, others = design.blocks[k], [b for i, b in enumerate(design.blocks) if i != k]
    alone = replace(design, blocks=(block,))
    few = effects_written_out(replace(design, blocks=tuple(others))) <= MOST_COLUMNS
    if not (others and few and fits(alone) and design.family.one_mode):
        return None
    within = all(len({*zip(block.index, b.index, strict=True)}) == len({*block.index}) for b in others)
    return k if within and gradient_cost(alone) <= INTEGRAL_COST else None


def integrated_of(design: Design, priors: Mapping[str, Prior], record: Mapping[str, object]) -> str | None:
    """Return the grouping factor whose effects a run integrated out beside others that it sampled, by its record."""
    asked = record.get("asked", {})
    if (asked.get("effects"), asked.get("centred")) != ("auto", "auto"):
        return None
    block = integrated_block(design) if applies(design, priors, record["effects"], str(asked["sampler"])) else None
    return None if block is None else design.blocks[block].group


def written_out(design: Design, integrated: int | None) -> list[int]:
    """Return the numbers of the blocks whose effects are coordinates."""
    return [k for k in range(len(design.blocks)) if k != integrated]


def joint_posterior(
    design: Design, own: Design, priors: Mapping[str, Prior], centred: Sequence, integrated: int | None = None,
    chosen: Sequence[int] = (),
) -> LogPosterior:  # fmt: skip
    """Return the joint log posterior, without the effects of the block `integrated`; `own` is the prior's design.

    The sds `chosen` have a sign: see `signed`.
    """
    blocks = [design.blocks[k] for k in written_out(design, integrated)]
    size = sum(len(block.levels) * len(block.columns) for block in blocks)
    c = with_signs(generalised_coordinates(design, priors, effects=size)[0], chosen)
    if integrated is None:
        likelihood, words = joint_likelihood(), joint_words(own, centred)
    else:
        likelihood, words = joint_quadrature_likelihood(), joint_quadrature_words(own, integrated, centred)
    if is_related(design):
        words = related_words(own, written_out(design, integrated), centred, likelihood, words)
        likelihood = related_likelihood()
    return log_posterior(c, *with_structures(generalised_structure(own), likelihood, words))


def modes_at(
    likelihood: Likelihood, posterior: SearchedPosterior, mode: Mode, warm: Warm
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Return the modes of the effects, (G, q), and their covariances, (G, q, q), of each block at a mode of t."""
    _, modes, conditional = effects(likelihood.problem, likelihood.at(posterior.parameters(mode.x)), warm)
    return modes, conditional


def factors_at(structure: Sampled, c: Coordinates, x: Floats) -> list[Floats]:
    """Return the factors of the blocks' covariance matrices at one x, (q, q) each."""
    found, _ = structure.covariances(c, x[None], values(c, x[None]))
    return [sd[0, :, None] * C[0] for sd, C in found]


def by_rule(known: Sequence[Floats], blocks: Sequence[Block]) -> list[tuple[bool, ...]]:
    """Return for each column of each block whether its effects are sampled as they are, not in units of their sd.

    Each column is decided on by itself. Of crossed log-normal reaction times whose slopes are hardly there and whose
    intercepts are known to 0.3 % of their variance, chains lose their time in the slopes' sd with both centred, and in
    the intercepts with none. Columns with a covariance structure are decided on together: see ALL_CENTRED_ABOVE. Those
    of smooths are never sampled as they are: see `likelihood.recentred`.

    Parameters
    ----------
    known : sequence of (q,) float64
        The share of the variance of each column's effects that is known, with sds one standard error below Laplace's:
        with few levels the posterior has smaller ones.
    blocks : sequence of Block
    """
    return [_by_rule(r, block) for r, block in zip(known, blocks, strict=True)]


def _by_rule(r: Floats, block: Block) -> tuple[bool, ...]:
    if block.smooth:
        return (False,) * len(r)
    if not block.free:
        return (bool(r.min() > ALL_CENTRED_ABOVE),) * len(r)
    return tuple(bool(one > CENTRED_ABOVE) for one in r)


def powers_of_sds(known: Sequence[Floats]) -> list[Floats]:
    """Return in which power of their sd differences of effects are sampled, (q,) for each block.

    `known` is as for `by_rule`; columns that the user centres against the rule are taken as they are.
    """
    return [np.where(r > CENTRED_ABOVE, 1 - r, 0.0) for r in known]


def spherical_where(L: Sequence[Floats], modes: Sequence[Floats], centred: Sequence[Sequence[bool]]) -> Floats:
    """Return the effects e as one vector: b of centred columns, those of z = L^-1 b of the others."""
    parts = zip(L, modes, centred, strict=True)
    return np.concatenate([np.where(own, b, _standard(factor, b, own)).ravel() for factor, b, own in parts])


def _standard(factor: Floats, b: Floats, centred: Sequence[bool]) -> Floats:
    return b if all(centred) else np.linalg.solve(factor, b.T).T  # a factor without a variance has no inverse


def effect_sizes(L: Sequence[Floats], modes: Sequence[Floats], centred: Sequence[Sequence[bool]]) -> Floats:
    """Return the prior's sd of each of the effects e."""
    parts = zip(L, centred, strict=True)
    sds = [np.where(own, np.sqrt(np.square(factor).sum(axis=1)), 1.0) for factor, own in parts]
    return np.concatenate([np.tile(sd, len(b)) for sd, b in zip(sds, modes, strict=True)])


def effects_of(e: Floats, L: Floats, centred: Sequence[bool]) -> Floats:
    """Return the effects b, (draws, G, q), of one block for coordinates e and factors L, (draws, q, q)."""
    b, z = e.copy(), e.copy()
    for a, own in enumerate(centred):
        before = np.einsum("nc,ngc->ng", L[:, a, :a], z[..., :a])
        if own:
            z[..., a] = (e[..., a] - before) / L[:, a, a, None]
        else:
            b[..., a] = before + L[:, a, a, None] * z[..., a]
    return b


def in_metric(joint: LogPosterior, mode: Mode, e: Floats, sizes: Floats) -> Whitened:
    """Return the joint posterior in units of the metric of this module, `e` being near the effects' mode."""
    t, size = len(mode.x), len(e)
    x = np.concatenate([mode.x, e])
    for _ in range(SETTLING):
        H = effects_hessian(joint, x, sizes)
        F = covariance_factor(-H[:, t:])
        step = F @ (F.T @ joint(x)[1][t:])
        x[t:] += step
        if np.abs(step / sizes).max() < SETTLED:
            break
    J = F @ (F.T @ H[:, :t])
    factor = np.zeros((t + size, t + size))
    factor[:t, :t], factor[t:, :t], factor[t:, t:] = mode.factor, J @ mode.factor, F
    return Whitened(joint, x, factor)


def covariance_factor(curvature: Floats) -> Floats:
    """Return the lower triangular factor of the inverse of a negative Hessian, (d, d).

    A density that is not log-concave, such as a student's, may have an indefinite one: it is made definite then, which
    costs the sampler steps but no correctness.
    """
    try:
        np.linalg.cholesky(curvature)
        return np.linalg.cholesky(np.linalg.inv(curvature))
    except np.linalg.LinAlgError:
        return factor_of(curvature)


def effects_hessian(joint: LogPosterior, x: Floats, sizes: Floats) -> Floats:
    """Return the rows of the Hessian that are of the effects, (size, d), by central differences of the gradient."""
    t = len(x) - len(sizes)
    out = np.empty((len(sizes), len(x)))
    for i, size in enumerate(sizes):
        h = np.zeros(len(x))
        h[t + i] = DIFFERENCE * size
        out[i] = (joint(x + h)[1] - joint(x - h)[1]) / (2 * h[t + i])
    out[:, t:] = (out[:, t:] + out[:, t:].T) / 2
    return out


def joint_tree(
    model: Marginal, run: Run, centred: Sequence[Sequence[bool]], integrated: int | None = None,
    turns: Mapping[int, Turn] = NOTHING,
) -> xr.DataTree:  # fmt: skip
    """Return a run's coordinates as the variables of the explicit graph, without the effects that it has not."""
    tree, x = as_tree(model, run), run.posterior["x"].to_numpy()
    shape, design, c = x.shape[:2], model.design, model.posterior.coordinates
    x = x.reshape(-1, x.shape[-1])
    sizes = [len(block.levels) * len(block.columns) for block in design.blocks]
    t = x.shape[1] - sum(sizes[k] for k in written_out(design, integrated))
    structure, posterior = generalised_structure(design), tree["posterior"].to_dataset()
    covariances, _ = structure.covariances(c, x, values(c, x))
    for k, (block, size) in enumerate(zip(design.blocks, sizes, strict=True)):
        q, names = len(block.columns), block.names
        if k == integrated:
            continue
        b = x[:, t : t + size].reshape(len(x), len(block.levels), q).copy()
        if not all(centred[k]):
            sds, C = covariances[k]
            b = effects_of(b, sds[:, :, None] * C, centred[k])
        b = b @ turns[k].Q.T if k in turns else b
        b = over_levels(block, b)
        to_reported(b, model.bases.blocks[k])
        variable = (("chain", "draw", *names.effect_dims), b.reshape(*shape, *b.shape[1:]))
        labels = {block.name: list(block.levels), names.term_dim: list(block.columns)}
        posterior = posterior.assign({names.effects: variable}).assign_coords(labels)
        t += size
    groups = {"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()}
    return xr.DataTree.from_dict(groups | data_groups(design))
