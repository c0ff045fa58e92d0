"""Fits whose draws are random numbers, for what is computed from draws whatever they are."""

import numpy as np
import xarray as xr

from bayesmm.results import Fit

CHAINS, DRAWS = 2, 40


def invented(model, seed=0):
    """Return a fit whose draws are random numbers: what predictions are made of need not be a posterior."""
    rng, design, shape = np.random.default_rng(seed), model.design, (CHAINS, DRAWS)
    found = {"beta": (("chain", "draw", "coef"), rng.normal(size=(*shape, design.p)))}
    for name in design.family.auxiliaries:
        values = rng.uniform(0.5, 2, shape)
        known = name == "sigma" and design.residual.sigma == "known"
        found[name] = (("chain", "draw"), np.ones(shape) if known else values)
    for block in design.blocks:
        G, q, dim = len(block.levels), len(block.columns), f"{block.name}_term"
        found[f"sd_{block.name}"] = (("chain", "draw", dim), rng.uniform(0.5, 2, (*shape, q)))
        found[f"b_{block.name}"] = (("chain", "draw", block.name, dim), 0.5 * rng.normal(size=(*shape, G, q)))
        if block.correlated:
            R = np.broadcast_to(np.eye(q), (*shape, q, q)).copy()
            R[..., 0, 1] = R[..., 1, 0] = rng.uniform(-0.9, 0.9, shape)
            found[f"corr_{block.name}"] = (("chain", "draw", dim, f"{dim}_bis"), R)
    for own in design.residual.parameters:  # vectors of real numbers; sds, and correlations that stay inside
        size = (*shape, own.size)
        if own.support[0] == 0:
            values = rng.uniform(0.5, 2, size)
        else:
            values = rng.uniform(-0.6, 0.6, size) if design.responses else 0.5 * rng.normal(size=size)
        single = design.responses and own.terms is None  # as in a posterior
        dims = ("chain", "draw") if single else ("chain", "draw", f"{own.name}_term")
        found[own.name] = dims, values[..., 0] if single else values
    coords = {"chain": np.arange(CHAINS), "draw": np.arange(DRAWS)}
    return Fit(model, xr.DataTree.from_dict({"posterior": xr.Dataset(found, coords)}))


def draws(fit, name):
    return fit.tree["posterior"][name].to_numpy().reshape(CHAINS * DRAWS, *fit.tree["posterior"][name].shape[2:])
