"""Small graphs and short runs, for the tests of sampling."""

from bayesmm.design.design import make_design
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse
from bayesmm.priors import resolve_priors
from bayesmm.sampling.graph.explicit import build_explicit

SHORT = {"draws": 40, "tune": 30, "chains": 2, "cores": 2, "seed": 3, "progress": False}
ERRORS = 4  # standard errors: one false alarm in 16,000


def graph_of(frame, formula="y ~ x + (1 | g)", priors=None, **arguments):
    design = make_design(parse(formula), frame)
    return build_explicit(design, resolve_priors(design, get_family("gaussian"), priors), **arguments)
