"""The one list of a model's parameters: their labels, the places of their priors, and their names in the posterior.

No other file builds such a name or takes one apart. Three kinds of names are made here:

- the label of one number, in tables and in mappings of values: ``sd_Subject[Days]``, ``beta[Days]``;
- the place of a prior: the label of the number that it is of, ``corr_Subject`` for a block's correlations, and for the
  intercept a name that says where that prior is stated;
- the name of a variable or of a dimension of the posterior: ``sd_Subject``, ``Subject_term``.

The family's own parameters (``sigma``, ``shape``) have one name, which is all three; a vector of parameters of the
residual structure is a variable, its elements have labels.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

INTERCEPT_AT_MEANS, INTERCEPT_AT_ZERO = "Intercept_centred", "Intercept"
INTERCEPT_NAMES = (INTERCEPT_AT_MEANS, INTERCEPT_AT_ZERO)  # places of its prior: at the predictors' means, at their 0
RESERVED = frozenset(["chain", "draw", "coef", "obs", "beta", "y", "sample", "Residual"])  # of the model and its draws
RESIDUAL_CORRELATION = "rescor"  # the correlations of the residuals of several responses
MEAN = ""  # what the linear predictor of the mean is called
_AT_MEANS = "_centred"  # behind the name of a variable that is at the means of the predictors


def parameter_label(kind: str, of: str, *terms: str) -> str:
    """Return the label of one number, ``corr_Subject[Intercept, Days]``: its kind, what it belongs to, and terms."""
    return f"{kind}_{of}[{', '.join(terms)}]"


def of_parameter(parameter: str, name: str) -> str:
    """Return what the random effects of a family's parameter are called, or one of their columns: ``zi_g``."""
    return f"{parameter}_{name}"


def tidy_term(kind: str, *terms: str) -> str:
    """Return what R's broom.mixed calls an sd or a correlation: ``sd__Days``, ``cor__Intercept.Days``."""
    return f"{kind}__{'.'.join(terms)}"


def coefficient_label(name: str) -> str:
    """Return the label of a fixed effect, ``beta[Days]``."""
    return f"beta[{name}]"


def of_response(response: str, name: str) -> str:
    """Return the name of a term in the predictor of one of several responses, ``y1_x``."""
    return f"{response}_{name}"


def within_response(response: str, name: str) -> str:
    """Return the name of a term, ``x``, given that in the predictor of one of several responses, ``y1_x``."""
    return name.removeprefix(of_response(response, ""))


def response_intercepts(responses: Sequence[str]) -> frozenset[str]:
    """Return the names of the intercepts of several responses."""
    return frozenset(of_response(response, "Intercept") for response in responses)


def response_sds(responses: Sequence[str]) -> tuple[str, ...]:
    """Return the residual sd of each of several responses, ``sigma_y1``: its variable, its label, its prior's place.

    Slashes, which name nested groups in a file, and control characters become underscores, as in names of blocks.
    """
    found: list[str] = []
    for response in responses:
        name = "sigma_" + "".join("_" if c == "/" or not c.isprintable() else c for c in response.strip())
        while name in found:
            name += "_"
        found.append(name)
    return tuple(found)


def is_coefficient(name: str) -> bool:
    """Return whether a label or the place of a prior is a fixed effect's."""
    return name.startswith("beta[") or name in INTERCEPT_NAMES


def is_at_means(name: str, variables: Container[str]) -> bool:
    """Return whether one of these variables is at the means of the predictors, and another what is reported of it."""
    return name.endswith(_AT_MEANS) and name.removesuffix(_AT_MEANS) in variables


@dataclass(frozen=True)
class BlockNames:
    """The names that a block of random effects brings.

    Attributes
    ----------
    block : str
        The block's own: the dimension of its levels.
    terms : tuple of str
        Its columns.
    """

    block: str
    terms: tuple[str, ...] = ()

    @property
    def sd(self) -> str:
        """The variable of its sds, over `sd_dims`, and the key of all their priors."""
        return f"sd_{self.block}"

    @property
    def corr(self) -> str:
        """The variable of its correlation matrix, over `corr_dims`, and the place of its prior."""
        return f"corr_{self.block}"

    @property
    def sd_at_means(self) -> str:
        """The variable of the sds at the means of the predictors, where the priors are and others are reported."""
        return self.sd + _AT_MEANS

    @property
    def corr_at_means(self) -> str:
        """The variable of their correlation matrix."""
        return self.corr + _AT_MEANS

    @property
    def effects(self) -> str:
        """The variable of its random effects, over `effect_dims`."""
        return f"b_{self.block}"

    @property
    def index(self) -> str:
        """The data that give the level of each row."""
        return f"index_{self.block}"

    @property
    def Z(self) -> str:
        """The data that each row multiplies its level's effects by."""
        return f"Z_{self.block}"

    @property
    def term_dim(self) -> str:
        """The dimension of its terms."""
        return f"{self.block}_term"

    @property
    def sd_dims(self) -> tuple[str]:
        """The dimension of its sds."""
        return (self.term_dim,)

    @property
    def corr_dims(self) -> tuple[str, str]:
        """The dimensions of its correlation matrix: no array has one dimension twice."""
        return self.term_dim, f"{self.term_dim}_bis"

    @property
    def effect_dims(self) -> tuple[str, str]:
        """The dimensions of its random effects: levels, terms."""
        return self.block, self.term_dim

    @property
    def in_posterior(self) -> frozenset[str]:
        """Every variable and dimension of the posterior."""
        variables = {self.sd, self.corr, self.sd_at_means, self.corr_at_means, self.effects}
        return frozenset({self.block, *self.corr_dims} | variables)

    @property
    def sd_labels(self) -> tuple[str, ...]:
        """The label of each term's sd, which is the place of its prior."""
        return tuple(parameter_label("sd", self.block, term) for term in self.terms)

    def corr_label(self, i: int, j: int) -> str:
        """Return the label of the correlation of the i-th term with the j-th."""
        return parameter_label("corr", self.block, self.terms[i], self.terms[j])


@dataclass(frozen=True)
class Parameter:
    """One scalar of the model that is not a random effect.

    Attributes
    ----------
    kind : {"sd", "corr", "sigma", "auxiliary", "residual", "coefficient"}
    label : str
        Name in tables: ``sd_Subject[Days]``, ``corr_Subject[Intercept, Days]``, ``sigma``, ``shape``, ``beta[Days]``.
    block : int
        Position in ``design.blocks``; -1 for the parameters of the family and of the residual, and the coefficients.
    terms : tuple of int
        Columns of the block (one for an sd, two for a correlation) or of X (one); places in a vector of the residual's.
    support : (float, float) or None
        The interval that it is in, where its kind does not say it.
    """

    kind: str
    label: str
    block: int
    terms: tuple[int, ...]
    support: tuple[float, float] | None = None


def part_parameters(k: int, block, part) -> list[Parameter]:
    """Return the parameters of one part of a block, in the order of its structure's entries.

    One that is a single sd or correlation is called by its terms; one that is several, by the group term as written.
    """
    return [
        Parameter(
            entry.kind,
            parameter_label(entry.kind, block.names.block, *entry_terms(block, part, entry)),
            k,
            tuple(part.columns[i] for i in entry.places[0]),
        )
        for entry in part.entries
    ]


def entry_terms(block, part, entry) -> tuple[str, ...]:
    """Return what stands in the brackets of a parameter's label: its terms, or the group term as written."""
    if len(entry.places) > 1:
        return (part.text, entry.name) if entry.name else (part.text,)
    return tuple(block.names.terms[part.columns[i]] for i in entry.places[0])


def block_parameters(k: int, block) -> list[Parameter]:
    """Return the parameters of a block's covariance matrix: those that are sds by terms, then the correlations."""
    found = [parameter for part in block.parts for parameter in part_parameters(k, block, part)]
    sds = sorted((p for p in found if p.kind == "sd"), key=lambda p: p.terms)
    return [*sds, *(p for p in found if p.kind == "corr")]


def sd_places(block) -> list[tuple[str, tuple[int, ...]]]:
    """Return the label of each sd of a block, which is the place of its prior, with the columns whose sd it is."""
    found = []
    for part in block.parts:
        own = zip(part_parameters(0, block, part), part.entries, strict=True)
        found += [(p.label, tuple(part.columns[i] for (i,) in e.places)) for p, e in own if e.kind == "sd"]
    return sorted(found, key=lambda one: one[1])


def block_entries(k: int, block) -> list[Parameter]:
    """Return the sd of each term of a block, then each correlation once, also those that are one parameter."""
    if block.smooth or block.members:
        return block_parameters(k, block)
    names = block.names
    sds = [Parameter("sd", own, k, (i,)) for i, own in enumerate(names.sd_labels)]
    pairs = [(i, j) for part in block.partition for a, i in enumerate(part) for j in part[a + 1 :]]
    return sds + [Parameter("corr", names.corr_label(i, j), k, (i, j)) for i, j in pairs]


def variance_parameters(design) -> list[Parameter]:
    """Return the sds and correlations of each block, then those of the family and the residual: lme4's VarCorr()."""
    return _variances(design, block_parameters)


def variance_entries(design) -> list[Parameter]:
    """Return the same with every entry of the covariance matrices, whichever of them are one parameter."""
    return _variances(design, block_entries)


def _variances(design, of_block: Callable[..., list[Parameter]]) -> list[Parameter]:
    blocks = [parameter for k in by_levels(design) for parameter in of_block(k, design.blocks[k])]
    own = [
        Parameter("sigma", own.name, -1, ()) if own.name == "sigma" else _auxiliary(own)
        for own in free_auxiliaries(design)
    ]
    return [*blocks, *own, *residual_parameters(design)]


def _auxiliary(own) -> Parameter:
    return Parameter("auxiliary", own.name, -1, (), own.bounds)


def free_auxiliaries(design) -> tuple:
    """Return the family's parameters besides the mean that are parameters of the model."""
    return tuple(own for own in design.family.parameters if own.name not in design.residual.given)


def ends_by_response(design) -> dict[str, tuple[float, float]]:
    """Return the ends that responses set to parameters of the family that are one number for all rows."""
    moved = {part.formula for part in design.residual.formulas}
    bounded = [own for own in free_auxiliaries(design) if own.within is not None and own.name not in moved]
    return {own.name: own.within(design.most) for own in bounded if len(design.most)}


def coefficients(design) -> list[Parameter]:
    """Return the fixed effects in the order of X."""
    return [Parameter("coefficient", coefficient_label(name), -1, (j,)) for j, name in enumerate(design.coefficients)]


def residual_parameters(design) -> list[Parameter]:
    """Return the parameters of the residual structure besides sigma."""
    found = []
    for own in design.residual.parameters:
        places = [()] if own.terms is None else [(i,) for i in range(len(own.terms))]
        labels = zip(residual_labels(own), places, strict=True)
        found += [Parameter("residual", label, -1, place, own.support) for label, place in labels]
    return found


def category_effects(design) -> list[tuple[str, Parameter]]:
    """Return the parameters of categories without an order as fixed effects are called: ``mub_Intercept``."""
    return [(of_parameter(of, name), parameter) for of, name, parameter in effects_by_category(design)]


def effects_by_category(design) -> list[tuple[str, str, Parameter]]:
    """Return them by the family's parameter and the column that they are of."""
    found, last = residual_parameters(design), design.residual.parts[0].parameters[0].size
    return [
        (own.name, name, found[k + c * last])
        for k, own in enumerate(design.family.parameters)
        for c, name in enumerate((INTERCEPT_AT_ZERO, *specific_columns(design)))
    ]


def of_category(column: str, category: str) -> str:
    """Return the name of a column's effect on a category, or on the threshold between two: ``x, b``."""
    return f"{column}, {category}"


def specific_columns(design) -> list[str]:
    """Return the columns that have a coefficient for each threshold, or for each category without an order."""
    if not design.family.ordered:
        return []
    first, *others = design.residual.parts[0].parameters
    each, tail = len(design.categories) - 1, of_category("", first.terms[0])
    return [term.removesuffix(tail) for own in others for term in own.terms[::each]]


def own_terms(block) -> tuple[tuple[str, str], ...]:
    """Return of each column of a block the parameter that it acts on, `MEAN` for the mean, and its name there.

    Blocks of several predictors have the parameter's name before that of the column.
    """
    owners = block.predictors or (MEAN,) * len(block.columns)
    several = len(set(owners)) > 1
    return tuple(
        (own, name.removeprefix(of_parameter(own, "")) if several and own else name)
        for own, name in zip(owners, block.columns, strict=True)
    )


def residual_labels(own) -> tuple[str, ...]:
    """Return the label of each number that a parameter of the residual is, which is the place of its prior."""
    return (own.name,) if own.terms is None else tuple(f"{own.name}[{term}]" for term in own.terms)


def responses_of(design, parameter: Parameter) -> tuple[str, ...]:
    """Return which of several responses a parameter of the residuals is of: one for an sd, two for a correlation."""
    names, own = design.responses, residual_owner(design, parameter)
    if own.terms is None:
        return (names[response_sds(names).index(own.name)],)
    pairs = [(names[i], names[j]) for i in range(len(names)) for j in range(i + 1, len(names))]
    return pairs[parameter.terms[0]]


def level_name(coefficients: str) -> str:
    """Return the variable of the link of a parameter where the columns of its formula are 0: ``logit_zi_level``.

    It is there beside the parameter itself, which may be 1 to all digits there, so that rows could not follow from it.
    """
    return f"{coefficients}_level"


def residual_dim(own) -> str:
    """Return the dimension of a vector of the residual's."""
    return f"{own.name}_term"


def residual_names(term) -> frozenset[str]:
    """Return every variable and dimension that the residual's parameters bring to the posterior."""
    return frozenset(name for own in term.parameters for name in (own.name, residual_dim(own), level_name(own.name)))


def residual_owner(design, parameter: Parameter):
    """Return the `ResidualParameter` that a parameter is an element of."""
    return next(own for own in design.residual.parameters if parameter.label in residual_labels(own))


def effect_labels(block) -> list[str]:
    """Return the labels of a block's random effects, ``b_Subject[308, Days]``, all levels of the first term first."""
    return [parameter_label("b", block.name, level, term) for term, level in block.effects]


def variable_of(design, parameter: Parameter) -> str:
    """Return the variable of the posterior that a parameter is an element of: the one at `parameter.terms`."""
    if parameter.kind == "residual":
        return residual_owner(design, parameter).name
    if parameter.block < 0:
        return "beta" if parameter.kind == "coefficient" else parameter.label
    names = design.blocks[parameter.block].names
    return names.sd if parameter.kind == "sd" else names.corr


def by_levels(design) -> list[int]:
    """Return the positions of the design's blocks in lme4's order: more levels first."""
    return sorted(range(len(design.blocks)), key=lambda k: -len(design.blocks[k].levels))
