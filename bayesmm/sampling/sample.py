"""A model's posterior by sampling: which graph and sampler, beta and b recovered, kept in a file where asked for."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import xarray as xr

from bayesmm.design.covariance.structures import check_free
from bayesmm.design.relations import is_related
from bayesmm.design.residual.structure import check_no_parameters
from bayesmm.errors import BayesmmWarning, FitFileError, listing
from bayesmm.likelihood.varying import varies
from bayesmm.runtime.arguments import chosen_seed
from bayesmm.runtime.paths import as_path
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import at_most
from bayesmm.sampling.nuts import TARGET_ACCEPT
from bayesmm.sampling.recovery import recorded
from bayesmm.sampling.second_run import better, longer
from bayesmm.storage.files import changes, plain, reusable, save
from bayesmm.storage.runs import Stream
from bayesmm.storage.stored_model import functions_among

STREAMED = ("auto", "nutpie")  # samplers whose draws can go into a store


def sample(
    model,
    asked: Mapping[str, object],
    *,
    progress: bool,
    cores: int | None,
    file: str | Path | None = None,
    store: str | Path | None = None,
) -> xr.DataTree:
    """Return the tree of a fit of a model, sampled or, with `file`, read from there if it is the one asked for.

    Parameters
    ----------
    model : Model
    asked : mapping
        The arguments of `Model.sample` on which the draws depend.
    progress, cores, file, store
        See `Model.sample`, also for what is raised.
    """
    with working("sampling", progress), at_most(cores):
        return _sample(model, asked, progress=progress, cores=cores, file=file, store=store)


def _sample(model, asked: Mapping[str, object], *, progress: bool, cores: int | None, file, store) -> xr.DataTree:
    from bayesmm.sampling.nuts import check_arguments
    from bayesmm.sampling.recovery import check_memory

    file, store = (None if path is None else as_path(path, what) for what, path in (("file", file), ("store", store)))
    settings = _settings(asked, cores)
    keep_effects, began = asked["keep_effects"], time.perf_counter()
    check_arguments(**settings, keep_effects=keep_effects)
    settings["seed"] = chosen_seed(settings["seed"])  # that of all runs
    if store is not None:
        tree = _in_store(model, store, asked, file=file, say=progress)
        if tree is not None:
            return tree
    if file is not None:
        return _kept(model, file, asked, progress=progress, cores=cores)
    check_memory(model.design, asked["draws"], asked["chains"], keep_effects=keep_effects)
    chosen, further = _chosen(model, asked), ()
    if asked["sampler"] == "importance":
        tree, why = _independent(model, asked, progress, began)
        if tree is not None:
            return recorded(tree, asked=plain(asked))
        chosen, settings = "marginal", settings | {"sampler": "auto"}
        further = (f"these are draws of NUTS, since independent ones {why}",)
    own = {} if store is None else {"stream": _stream(model, store, asked, chosen)}
    own |= {"asked": asked["effects"], "further": further, "progress": progress, "began": began}
    tree = _sampled(model, chosen, asked["centred"], settings, **own)
    if store is None and settings["target_accept"] == TARGET_ACCEPT:
        again = partial(_sampled, model, chosen, asked["centred"], **own)
        tree = better(tree, again, settings, say=progress)
        tree = longer(tree, again, settings, rows=model.design.n, say=progress)
    tree = recovered(tree, model, chosen, keep_effects=keep_effects)
    if store is not None:
        return tree  # its record is in the store
    return recorded(tree, effects=chosen, seconds=time.perf_counter() - began, asked=plain(asked))


def _chosen(model, asked: Mapping[str, object]) -> str:
    """Return which graph is sampled: of those that PyMC cannot have, the other where PyMC's samplers are asked for."""
    compiled = asked["sampler"] in (*STREAMED, "importance")
    if asked["effects"] == "auto" and not compiled and model.family.gaussian and model.design.residual.estimated:
        return "explicit"
    return model.effects(asked["effects"], compiled=compiled)


def recovered(tree: xr.DataTree, model, effects: str, *, keep_effects: bool) -> xr.DataTree:
    """Return the tree of a fit for what sampling gave: with what was integrated out, if anything was.

    Parameters
    ----------
    tree : xarray.DataTree
    model : Model
    effects : {"marginal", "explicit"}
        The graph.
    keep_effects : bool
        False: without the random effects.
    """
    from bayesmm.sampling.recovery import (
        as_reported,
        completed,
        effects_first,
        with_innermost,
        with_posterior,
        without_effects,
    )

    design, priors = model.design, model.priors
    if effects == "marginal":
        seed = json.loads(tree.attrs["bayesmm"])["seed"]
        tree = completed(tree, design, priors, model._reduced, seed, keep_effects=keep_effects)
        return effects_first(tree, design)
    if keep_effects:
        tree = with_innermost(tree, design, priors)
    tree = with_posterior(tree, as_reported(tree["posterior"].to_dataset(), design))
    return effects_first(tree, design) if keep_effects else without_effects(tree, design)


def _settings(asked: Mapping[str, object], cores: int | None) -> dict[str, object]:
    """Return the arguments that are the sampler's own."""
    own = "draws", "tune", "chains", "seed", "sampler", "target_accept"
    return {name: asked[name] for name in own} | {"cores": cores}


def _independent(model, asked: Mapping[str, object], progress: bool, began: float) -> tuple[xr.DataTree | None, str]:
    """Return the tree of independent draws; None, and why, where there are none that can be trusted."""
    from bayesmm.sampling.importance import check_applies, sample_independent
    from bayesmm.sampling.vague_priors import likelihood_estimates, near_maximum

    if not varies(model.design):
        check_no_parameters(model.design, "sampler='importance'", "use sampler='nutpie'")
    check_free(model.design, "sampler='importance'", "use sampler='auto'", compiled=True)
    check_applies(model.design, model.priors, asked["effects"])
    near = near_maximum(model.design, model.priors, partial(likelihood_estimates, model))
    own = {name: asked[name] for name in ("draws", "chains", "seed", "keep_effects")}
    return sample_independent(
        model.design, model.priors, model._reduced, near=near, **own, progress=progress, began=began
    )


def _sampled(
    model,
    effects: str,
    centred: object,
    settings: Mapping[str, object],
    *,
    asked: str = "auto",
    progress: bool,
    began: float,
    further: tuple[str, ...] = (),
    stream: Stream | None = None,
) -> xr.DataTree:
    """Return the draws of one of the graphs, from compiled code without PyMC where that is possible.

    `asked` is the graph that the user has asked for, `further` what there is to warn of besides the settings.
    """
    from bayesmm.sampling import joint, marginal
    from bayesmm.sampling.graph.centering import chosen_centring
    from bayesmm.sampling.nuts import SHORT_TUNE, chosen_settings
    from bayesmm.sampling.vague_priors import likelihood_estimates, near_maximum

    def flags(rule: Callable[[], list]) -> list:
        return list(chosen_centring(centred, model._factors, rule).values())

    near, make = near_maximum(model.design, model.priors, partial(likelihood_estimates, model)), None
    if marginal.applies(model.design, model.priors, effects, settings["sampler"]):
        make = partial(marginal.ready, model.design, model.priors, model._reduced, near)
    elif joint.applies(model.design, model.priors, effects, settings["sampler"]):
        nested = asked == "auto" and centred == "auto"
        make = partial(joint.ready, model.design, model.priors, flags, near, nested=nested)
    if make is not None:
        chosen, said = chosen_settings(**settings, usual=SHORT_TUNE)
        own = dict(said=(*said, *further), progress=progress, began=began, stream=stream)
        return marginal.sample(make, model.priors, chosen, **own)
    from bayesmm.sampling.graph.nuts import sample_graph
    from bayesmm.sampling.graph.start import start_near

    # a model of other data than its first takes, and leaves, the compiled code of its kind, unless that has constants
    # of the data in it: the rows of a series, the covariances of levels
    constants = model.design.residual.correlated is not None or is_related(model.design)
    kept = model.kept if effects == "explicit" and model.design.spec.repeats and not constants else None
    own = dict(progress=progress, began=began, stream=stream, kept=kept)
    graph = model.graph(effects, centred)
    start_near(graph, model.design, model.priors, near)
    return sample_graph(graph, **settings, **own)


def _stream(model, path: Path, asked: Mapping[str, object], effects: str) -> Stream:
    """Return what keeps the draws in a new store."""
    from bayesmm.runtime.memory import refuse
    from bayesmm.sampling.recovery import without_effects
    from bayesmm.sampling.streaming import streamed
    from bayesmm.storage.store import create

    def made(template: xr.DataTree, about: Mapping[str, object]):
        kept = template if asked["keep_effects"] else without_effects(template, model.design)
        sizes = {name: values.size for name, values in kept["posterior"].data_vars.items()}
        refuse(sizes, asked["draws"], 0, asked["chains"])  # of the fit at the end; tuning is not kept
        return create(path, model, kept, {**about, "effects": effects, "asked": plain(asked)})

    return partial(streamed, create=made)


def _in_store(model, path: str | Path, asked: Mapping[str, object], *, file: object, say: bool) -> xr.DataTree | None:
    """Return the tree of the fit in a store if it is the one asked for; None where there is nothing yet.

    Raises
    ------
    FitFileError
        There is something else.
    """
    from bayesmm.storage.store import check_absent
    from bayesmm.storage.store_reading import is_store, read_store

    if file is not None:
        raise ValueError("file= and store= are two ways to keep a fit; give one of them")
    if asked["sampler"] not in STREAMED:
        raise ValueError(
            f"store= takes the draws of {listing(STREAMED)}, not of sampler={asked['sampler']!r}; keep these with file="
        )
    if not is_store(path):
        check_absent(path)
        return None
    stored = read_store(path)
    changed = changes(stored, model, asked) + functions_among(model.priors)
    if changed:
        raise FitFileError(
            f"{path} holds another fit, which differs in {listing(changed)}; load() it, take another name, or remove it"
        )
    if say:
        print(f"bayesmm: loaded from {path}", file=sys.stderr)
    effects = stored.record["run"]["effects"]
    return recovered(stored.tree, model, effects, keep_effects=asked["keep_effects"])


def _kept(model, file: str | Path, asked: Mapping[str, object], *, progress: bool, cores: int | None) -> xr.DataTree:
    """Return the tree of the fit in a file if it is the one asked for, else a new one, which is then in the file."""
    tree = reusable(file, model, asked, say=progress)
    if tree is not None:
        return tree
    tree = sample(model, asked, progress=progress, cores=cores)
    try:
        save(model, tree, file, overwrite=True)
    except FitFileError as error:  # no reason to lose the draws
        warnings.warn(f"{error}; the fit is not in a file: call its save()", BayesmmWarning, stacklevel=4)
    return tree
