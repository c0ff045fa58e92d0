"""The parameters of a model that are not random effects, one record each."""

from dataclasses import dataclass

from bayesmm.design.records import Design


@dataclass(frozen=True)
class Parameter:
    """One scalar of the model that is not a random effect.

    Attributes
    ----------
    kind : {"sd", "corr", "sigma", "auxiliary", "beta"}
    label : str
        Name in tables: ``sd_Subject[Days]``, ``corr_Subject[Intercept, Days]``, ``sigma``, ``shape``, ``beta[Days]``.
    block : int
        Position in ``design.blocks``; -1 for the family's own parameters and the coefficients.
    terms : tuple of int
        Columns of the block (one for an sd, two for a correlation) or of X (one).
    """

    kind: str
    label: str
    block: int
    terms: tuple[int, ...]


def block_parameters(k: int, block) -> list[Parameter]:
    """Return the sds of a block, then each of its correlations once."""
    sds = [Parameter("sd", f"sd_{block.name}[{term}]", k, (i,)) for i, term in enumerate(block.columns)]
    pairs = [(i, j) for part in block.partition for a, i in enumerate(part) for j in part[a + 1 :]]
    name, terms = block.name, block.columns
    return sds + [Parameter("corr", f"corr_{name}[{terms[i]}, {terms[j]}]", k, (i, j)) for i, j in pairs]


def variance_parameters(design) -> list[Parameter]:
    """Return the sds and correlations of each block and, last, those of the family: the order of lme4's VarCorr()."""
    blocks = [parameter for k in by_levels(design) for parameter in block_parameters(k, design.blocks[k])]
    own = [Parameter("sigma" if name == "sigma" else "auxiliary", name, -1, ()) for name in design.family.auxiliaries]
    return [*blocks, *own]


def coefficients(design) -> list[Parameter]:
    """Return the fixed effects in the order of X."""
    return [Parameter("beta", f"beta[{name}]", -1, (j,)) for j, name in enumerate(design.coefficients)]


def by_levels(design: Design) -> list[int]:
    """Return the positions of the design's blocks in lme4's order: more levels first."""
    return sorted(range(len(design.blocks)), key=lambda k: -len(design.blocks[k].levels))
