"""Small fits made by NumPy, for what happens after a posterior: no sampler and no formula is needed."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.design.covariance import unstructured
from bayesmm.design.covariance.structure import Part
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.independent import INDEPENDENT
from bayesmm.design.term_basis import TermBases, untouched
from bayesmm.errors import PriorError
from bayesmm.estimation.estimates import Optimum
from bayesmm.estimation.maximize import maximize
from bayesmm.families.families import get_family
from bayesmm.formula.formula import Column
from bayesmm.results import Fit, PointFit

RECORD = {
    "sampler": "nutpie",
    "seed": 1,
    "draws": 500,
    "tune": 1000,
    "chains": 4,
    "seconds": 2.25,
    "interrupted": False,
}


def fake_block(group="Subject", levels=18, columns=("Intercept", "Days"), partition=((0, 1),), rows=180, name=None):
    """Return a block with `levels` levels in turn over the rows; the second column counts from 0 to 9."""
    names = tuple(f"{group[0]}{i}" for i in range(levels)) if isinstance(levels, int) else tuple(levels)
    Z = np.column_stack([np.ones(rows), *(np.arange(rows) % 10 * j for j in range(1, len(columns)))]).astype(float)
    index = np.arange(rows) % len(names)
    parts = tuple(Part(columns, unstructured.covariance, "") for columns in partition)
    return Block(group, name or group, (group,), index, names, tuple(columns), Z, parts)


class FakeDesign(SimpleNamespace):
    """A design is hashed by what it is, not by what it holds."""

    __hash__ = object.__hash__
    groups, factors = Design.groups, Design.factors


def fake_design(blocks=None, coefficients=("Intercept", "Days"), rows=180, messages=(), aliased=(), weights=None):
    """Return what the results read of a design."""
    rng = np.random.default_rng(0)
    blocks = (fake_block(rows=rows),) if blocks is None else tuple(blocks)
    X = np.column_stack([np.ones(rows), *(rng.normal(size=rows) for _ in coefficients[1:])])[:, : len(coefficients)]
    bases = TermBases(untouched(len(coefficients)), tuple(untouched(len(block.columns)) for block in blocks))
    return FakeDesign(
        limits=None,
        spec=SimpleNamespace(matrices={}, bases=bases),
        formula=SimpleNamespace(
            text="Reaction ~ Days + (Days | Subject)",
            terms=tuple(SimpleNamespace(factors=(Column(name),)) for name in coefficients if name != "Intercept"),
        ),
        response="Reaction",
        y=rng.normal(250, 25, rows),
        X=X,
        coefficients=tuple(coefficients),
        blocks=blocks,
        weights=weights,
        trials=None,
        proportions=False,
        residual=INDEPENDENT,
        family=get_family("gaussian"),
        offset=np.zeros(rows),
        n=rows,
        p=len(coefficients),
        has_intercept="Intercept" in coefficients,
        row_labels=np.arange(rows),
        rows=np.arange(rows),
        messages=tuple(messages),
        aliased=tuple(aliased),
        responses=(),
        response_codes=None,
        frame=pd.DataFrame(index=np.arange(rows)),
    )


def fake_point(design, method="REML", sds=None, corrs=None, sigma=25.0, beta=None, **changes):
    """Return a PointFit with these standard deviations (a tuple per block) and one correlation per block."""
    K = len(design.blocks)
    sds = sds or [tuple(20.0 / 4**i for i in range(len(b.columns))) for b in design.blocks]
    corrs = corrs or [0.0] * K
    covariances = []
    for block, sd, corr in zip(design.blocks, sds, corrs, strict=True):
        matrix = np.eye(len(block.columns))
        for part in block.partition:
            for i in part:
                for j in part:
                    matrix[i, j] = 1.0 if i == j else corr
        covariances.append(matrix * np.outer(sd, sd))
    p = len(design.coefficients)
    beta = np.array([250.0, 10.0, *range(p)])[:p] if beta is None else np.asarray(beta, dtype=float)
    cov = np.where(
        np.isnan(beta)[:, None] | np.isnan(beta), np.nan, np.eye(p) * 4.0 - 0.5 * (np.ones((p, p)) - np.eye(p))
    )
    shapes = [(len(block.levels), len(block.columns)) for block in design.blocks]
    fields = dict(
        design=design,
        priors=None,
        method=method,
        beta=beta,
        beta_cov=cov,
        sigma=sigma,
        covariances=tuple(covariances),
        modes=tuple(np.linspace(-1, 1, G * q).reshape(G, q) for G, q in shapes),
        conditional=tuple(np.broadcast_to(np.eye(q), (G, q, q)) for G, q in shapes),
        criterion=1743.6283,
        loglik=-871.8141,
        deviance=1751.9863,
        singular=False,
        converged=True,
        message="converged",
        seconds=0.01,
        optimum=Optimum(np.zeros(0), 0.0, 1, 1),
    )  # fmt: skip
    return PointFit(**(fields | changes))


class FakePriors(dict):
    """Priors that name no parameter, and how they print."""

    entries = ()

    def __str__(self):
        return "beta ~ Normal(0, 1)"


@dataclass(frozen=True)
class FakeModel:
    """A model whose maximised fits are given; no "MAP" means a prior without a density."""

    design: object
    points: dict = field(default_factory=dict)
    priors: dict = field(default_factory=lambda: FakePriors())
    family: object = field(default_factory=lambda: SimpleNamespace(name="gaussian"))

    def maximize(self, method="REML"):
        if method not in self.points:
            raise PriorError("the prior of sigma is a function")
        return self.points[method]


def fake_draws(design, seed=0, chains=4, draws=500):
    """Return independent draws of every variable, name -> (dims, array): sds around 20, 5, ... and sigma around 25."""
    rng = np.random.default_rng(seed)
    shape = (chains, draws)
    out = {
        "beta": (
            ("coef",),
            np.array([250.0, 10.0, *range(design.p)])[: design.p] + rng.normal(size=(*shape, design.p)),
        ),
        "sigma": ((), 25.0 + rng.normal(size=shape)),
    }
    for block in design.blocks:
        q, G, name = len(block.columns), len(block.levels), block.name
        centre = 20.0 / 4.0 ** np.arange(q)
        out[f"sd_{name}"] = ((f"{name}_term",), centre * (1 + 0.1 * rng.normal(size=(*shape, q))))
        out[f"b_{name}"] = ((name, f"{name}_term"), rng.normal(size=(*shape, G, q)) + np.linspace(-5, 5, G)[:, None])
        if any(len(part) > 1 for part in block.partition):
            corr = np.broadcast_to(np.eye(q), (*shape, q, q)).copy()
            for part in block.partition:
                for a, i in enumerate(part):
                    for j in part[a + 1 :]:
                        corr[..., i, j] = corr[..., j, i] = np.tanh(0.3 * rng.normal(size=shape))
            out[f"corr_{name}"] = ((f"{name}_term", f"{name}_term_bis"), corr)
    return out


def fake_stats(chains=4, draws=500, seed=1):
    """Return the sampler's statistics of a run without trouble."""
    rng = np.random.default_rng(seed)
    return {
        "diverging": np.zeros((chains, draws), dtype=bool),
        "energy": rng.normal(size=(chains, draws)),
        "reached_max_treedepth": np.zeros((chains, draws), dtype=bool),
    }


def fake_tree(design, draws, stats=None, record=None):
    """Return the tree of these draws and statistics."""
    coords = {"coef": list(design.coefficients)}
    for block in design.blocks:
        coords |= {block.name: list(block.levels), f"{block.name}_term": list(block.columns)}
        coords[f"{block.name}_term_bis"] = list(block.columns)
    variables = {name: (("chain", "draw", *dims), values) for name, (dims, values) in draws.items()}
    used = {dim for dims, _ in variables.values() for dim in dims}
    posterior = xr.Dataset(variables, coords={dim: labels for dim, labels in coords.items() if dim in used})
    groups = {"posterior": posterior}
    if stats is not None:
        groups["sample_stats"] = xr.Dataset({name: (("chain", "draw"), values) for name, values in stats.items()})
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["bayesmm"] = json.dumps(RECORD if record is None else record)
    return tree


def fake_fit(design=None, draws=None, stats="good", record=None, points=None, seed=0):
    """Return a fit; whatever is not given is free of trouble."""
    design = fake_design() if design is None else design
    draws = fake_draws(design, seed) if draws is None else draws
    chains, length = draws["sigma"][1].shape
    stats = fake_stats(chains, length) if stats == "good" else stats
    points = {m: fake_point(design, m) for m in ("REML", "ML", "MAP")} if points is None else points
    return Fit(FakeModel(design, points), fake_tree(design, draws, stats, record))


def posterior_near(model, draws=200, spread=0.01, fixed=(), **values):
    """Return a posterior of a real model: draws about its maximised fit with an sd of `spread` times each value."""
    point, design, rng = maximize(model.design), model.design, np.random.default_rng(0)
    shape = (4, draws)

    def about(centre):
        centre = np.asarray(centre, dtype=float)
        return centre + spread * np.abs(centre) * rng.normal(size=(*shape, *centre.shape))

    found = {"beta": (("coef",), about(point.beta))}
    for name in design.family.auxiliaries:
        centre = values.get(name, point.auxiliaries[name])
        found[name] = ((), np.full(shape, centre) if name in fixed else about(centre))
    for block, Sigma, modes in zip(design.blocks, point.covariances, point.modes, strict=True):
        sds, dim = np.sqrt(np.diag(Sigma)), f"{block.name}_term"
        found[f"sd_{block.name}"] = ((dim,), about(sds))
        found[f"b_{block.name}"] = ((block.name, dim), about(modes))
        if block.correlated:
            R = np.clip(Sigma / np.outer(sds, sds), -0.99, 0.99) + rng.normal(size=(*shape, 1, 1)) * 0.001
            i = np.arange(len(R[0, 0]))
            R[..., i, i] = 1.0
            found[f"corr_{block.name}"] = ((dim, f"{dim}_bis"), R)
    for name, values in point.residual.items():
        found[name] = ((f"{name}_term",), about(values))
    tree = fake_tree(design, found, fake_stats(4, draws))
    tree["posterior"] = tree["posterior"].to_dataset().assign_coords(chain=np.arange(4), draw=np.arange(draws))
    return Fit(model, tree)
