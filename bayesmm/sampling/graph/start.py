"""Where a sampler of a graph starts, and why it cannot: what has no finite log density or gradient there."""

from collections.abc import Mapping

import numpy as np
import pymc as pm

from bayesmm.design.parameters import block_parameters
from bayesmm.design.records import Design
from bayesmm.errors import listing, positions
from bayesmm.priors import Prior
from bayesmm.sampling.graph.covariance import entry_name
from bayesmm.sampling.graph.distributions import INTERNAL, element_name, squared_name
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler


def start_near(graph: pm.Model, design: Design, priors: Mapping[str, Prior], values: Mapping[str, float]) -> None:
    """Set where the sds and auxiliaries of a graph start, before the sampler moves its chains apart.

    Parameters
    ----------
    graph : pymc.Model
        Of either kind; what was set before is replaced.
    design : Design
    priors : mapping of place to Prior
    values : mapping of str to float
        By place, as `sampling.vague_priors.near_maximum` gives them. Of a vector with one, the others get medians.
    """
    variables = {v.name: v for v in graph.free_RVs}
    vectors = {
        name: block.names.sd_labels
        for block in design.blocks
        if block.free
        for name in (block.names.sd, block.names.sd_at_means)  # the graph samples one of them
    } | {
        entry_name(block, parameter): [parameter.label]
        for block in design.blocks
        if not block.free
        for parameter in block_parameters(0, block)
        if parameter.kind == "sd"
    }
    own = [parameter.name for parameter in design.family.parameters if parameter.name in priors]
    # one with a formula is sampled at the means of its columns
    scalars = {variable: [name] for name in own for variable in (name, f"{INTERNAL}{name}")}
    for name, places in (vectors | scalars).items():
        known = {place: values.get(place) for place in places}
        if any(value is not None for value in known.values()):
            starts = [priors[p].quantile(0.5) if value is None else value for p, value in known.items()]
            _set(graph, variables, name, starts)


def _set(graph: pm.Model, variables: Mapping[str, object], name: str, starts: list[float]) -> None:
    """Set the starts of the random variables behind a parameter: one for all its elements, or one for each."""
    for own, value in ((name, starts), *((element_name(name, i), start) for i, start in enumerate(starts))):
        for variable, power in ((variables.get(own), 1), (variables.get(squared_name(own)), 2)):
            if variable is not None:
                start = np.asarray(value, dtype=np.float64) ** power
                graph.rvs_to_initial_values[variable] = start if variable.ndim else start.reshape(())


def check_start(graph: pm.Model) -> None:
    """Evaluate the log density and its gradient at the graph's initial point, variable by variable.

    Parameters
    ----------
    graph : pymc.Model

    Raises
    ------
    ValueError
        Naming the variables whose log density is not finite, for observed ones with the rows (positions in the user's
        table, as the coordinate of their dimension has them), or those whose gradient is not finite.
    """
    with without_compiler(), np.errstate(all="ignore"):  # the infinities are what we are looking for
        point = graph.initial_point()
        found = _densities(graph, point) or _gradients(graph, point)
    if found:
        raise ValueError(
            f"no chain can start, because at the initial point {listing(found)}; check these data and priors"
        )


def _densities(graph: pm.Model, point: dict[str, np.ndarray]) -> list[str]:
    variables = [*graph.basic_RVs, *graph.potentials]
    terms = graph.logp(vars=variables, sum=False)
    evaluate = graph.compile_fn(terms, inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore")
    observed = {v.name for v in graph.observed_RVs}
    found = []
    for variable, value in zip(variables, evaluate(point), strict=True):
        value = np.asarray(value)
        if not np.isfinite(value).all():
            rows = _rows(graph, variable.name, value) if variable.name in observed else ""
            what = "inf" if np.isinf(value).any() and not np.isnan(value).any() else "not a number"
            found.append(f"the log density of {variable.name} is {'-' * (what == 'inf')}{what}{rows}")
    return found


def _rows(graph: pm.Model, name: str, value: np.ndarray) -> str:
    """Return where the log density of an observed variable is not finite."""
    bad = np.flatnonzero(~np.isfinite(value))
    dims = graph.named_vars_to_dims.get(name) or (None,)
    labels = graph.coords.get(dims[0])
    return f" in rows {positions(bad if labels is None else np.asarray(labels)[bad])}" if value.ndim == 1 else ""


def _gradients(graph: pm.Model, point: dict[str, np.ndarray]) -> list[str]:
    variables = [graph.values_to_rvs[value] for value in graph.continuous_value_vars]
    slopes = [graph.dlogp(vars=variable) for variable in variables]
    evaluate = graph.compile_fn(slopes, inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore")
    return [
        f"the gradient with respect to {variable.name} is not finite"
        for variable, slope in zip(variables, evaluate(point), strict=True)
        if not np.isfinite(slope).all()
    ]
