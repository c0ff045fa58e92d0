"""The model with its priors as LaTeX, for a paper, a notebook or the report."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bayesmm.design.covariance.structure import Entry, Part
from bayesmm.design.parameters import (
    INTERCEPT_AT_MEANS,
    INTERCEPT_AT_ZERO,
    coefficient_label,
    entry_terms,
    part_parameters,
    residual_labels,
    response_sds,
)
from bayesmm.design.predictors import MEAN
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.of_family import link_code
from bayesmm.design.residual.structure import ResidualParameter, ResidualTerm
from bayesmm.design.term_basis import TermBases, TermBasis
from bayesmm.families.family import Family
from bayesmm.families.links import LINKS
from bayesmm.formula.formula import text_of
from bayesmm.priors import Prior, formula_places, prior_bases
from bayesmm.reporting.equation_several import likelihood_lines, predictors
from bayesmm.reporting.latex import (
    effect_of,
    effects_in,
    escape,
    factor_of,
    log_odds,
    of_categories,
    of_row,
    product,
    response_text,
    sub,
)

# PyMC's parameter -> its usual letter; others are written out.
_LETTERS = {
    "mu": r"\mu",
    "sigma": r"\sigma",
    "nu": r"\nu",
    "lam": r"\lambda",
    "alpha": r"\alpha",
    "beta": r"\beta",
    "eta": r"\eta",
}

WEIGHTS = r"\quad \text{(row } i \text{ counted } w_{i} \text{ times)}"

_COMMA = r",\ "
OWN_LINKS = (r"{}", r"\log {}", r"\mathrm{{logit}}\,{}")  # of a parameter with a formula, by `link_code`
GAMMA, BAR_S = r"\gamma", r"\bar{s}"  # of a coefficient and an sd at the means of the predictors
ALONE = r"(?<![\\a-zA-Z]){}(?![a-zA-Z_])"  # a symbol that is no part of another
TERMS_IN_A_LINE = 4  # of the linear predictor; a fifth runs out of a page's text width with names of ordinary length
LETTERS_IN_A_LINE = 80  # of the names in them
DIGITS = 4  # significant digits of a prior's parameters: they are scales, not results


def equation(design: Design, priors: Mapping[str, Prior], family: Family) -> str:
    """Return the model with its priors in LaTeX.

    Parameters
    ----------
    design : Design
        Its columns, factors and offsets give the linear predictor.
    priors : mapping of place to Prior
        As `Model.priors`.
    family : Family
        The distribution of the response.

    Returns
    -------
    str
        An ``aligned`` environment, to stand in math mode: likelihood, linear predictor by coefficient, random effects
        with their covariance (Bates et al. 2015, eq. 2-3, on the absolute scale), then a line for each prior. Names are
        set as text and escaped; commands of amsmath only.
    """
    several = bool(design.responses)
    of_rows = (
        *(likelihood_lines(design, escape) if several else [_likelihood(design, family), *_correlations(design)]),
        *(_predictors(design) if several else _predictor(design, family)),
    )
    lines = [
        *(log_odds(design) if family.nominal else of_rows),
        *_formulas(design, family),
        *(line for block in design.blocks for line in _random_effects(design, block)),
        *_at_the_means(design, prior_bases(design, priors)),
        *_priors(design, priors),
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def _likelihood(design: Design, family: Family) -> str:
    weights = "" if design.weights is None else WEIGHTS
    if family.ordered:
        return f"{of_categories(design, family)}{weights}"
    if family.gaussian and (weights or design.residual.parts):
        divided = " / w_{i}" if weights else ""
        variance = "" if design.residual.sigma == "known" else r"\sigma^{2}"
        right = rf"\mathcal{{N}}(\mu_{{i}},\ {variance}{_residual_factor(design)}{divided})"
        weights = ""
    else:
        right = _by_row(family.tex, design, family)
    for word, call in (("truncated", design.formula.trunc), ("censored", design.formula.cens)):
        if word in family.observed:
            right += rf"\quad {escape(f'({word} by {text_of(call)})')}"
    return rf"{{{escape(response_text(design))}}}_{{i}} &\sim {right}{weights}"


def _by_row(tex: str, design: Design, family: Family) -> str:
    """Return a distribution in which the parameters that have a formula are those of a row."""
    formulas = {part.of for part in design.residual.parts}
    for own in family.parameters:
        if own.name in formulas:
            tex = re.sub(ALONE.format(re.escape(own.symbol)), of_row(own.symbol).replace("\\", r"\\"), tex)
    return tex


def _residual_factor(design: Design) -> str:
    """Return what the residual variance of row i has beside sigma^2, nothing where that is all."""
    parts = [part for part in design.residual.parts if part.structure.relative_sd is not None]
    return "".join(rf"\,{(part.structure.variance_tex or part.structure.tex)(_names(part))}" for part in parts)


def _names(part) -> dict[str, str]:
    return {name: escape(text) for name, text in part.names.items()}


def _correlations(design: Design) -> list[str]:
    """Return a line with the correlations of the residuals; none without any."""
    part = design.residual.correlated
    if part is None:
        return []
    names, left = _names(part), r"\mathrm{corr}(y_{i}, y_{j} \mid \mu)"
    series = rf"\quad \text{{for }} {{{names['gr']}}}_{{i}} = {{{names['gr']}}}_{{j}}" if "gr" in names else ""
    return [rf"{left} &= {part.structure.tex(names)}{series}"]


def _predictors(design: Design) -> Iterator[str]:
    """Yield the linear predictors of several responses."""
    for mean, terms in predictors(design, escape, product, effect_of, _smooth_parts):
        yield from _in_lines(mean, terms)


def _predictor(design: Design, family: Family) -> Iterator[str]:
    mean = r"\eta_{i}" if family.ordered else LINKS[family.link].tex
    terms = [product(sub(r"\beta", escape(name)), name) for name in design.coefficients]
    for block in design.blocks:
        if block.smooth or block.members:
            terms += [rf"\sum_{{j}} {effect}\,{column}" for effect, column, _ in _smooth_parts(block)]
            continue
        terms += effects_in(design, block, MEAN)
    terms += [rf"{{{escape(text_of(offset))}}}_{{i}}" for offset in design.formula.offsets]
    yield from _in_lines(mean, terms)


def _in_lines(mean: str, terms: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(_filled(terms)):
        left = f"{mean} &= " if number == 0 else r"&\quad + "
        yield left + " + ".join(line)
    if not terms:
        yield f"{mean} &= 0"


def _formulas(design: Design, family: Family) -> Iterator[str]:
    """Yield a line for each parameter of the family that has a formula."""
    known = {own.name: own for own in family.parameters}
    for part in design.residual.parts:
        if part.of not in known:
            continue
        own = known[part.of]
        link = OWN_LINKS[link_code(own)]
        level = [] if part.given else [link.format(own.symbol)]
        terms = [product(sub(c.tex, escape(term)), term) for c in part.parameters for term in c.terms]
        terms += [term for block in design.blocks for term in effects_in(design, block, part.of)]
        yield rf"{link.format(of_row(own.symbol))} &= {' + '.join([*level, *terms])}"


def _filled(terms: Sequence[str]) -> list[list[str]]:
    """Return the terms in lines that a page has room for."""
    lines: list[list[str]] = []
    for term in terms:
        if lines and len(lines[-1]) < TERMS_IN_A_LINE and _letters([*lines[-1], term]) <= LETTERS_IN_A_LINE:
            lines[-1].append(term)
        else:
            lines.append([term])
    return lines


def _letters(terms: Sequence[str]) -> int:
    """Return about how many letters terms show: those of their names, and none of LaTeX's commands."""
    return sum(len(re.sub(r"\\[a-zA-Z]+|[{}\\^_,]", "", term)) for term in terms)


def _random_effects(design: Design, block: Block) -> Iterator[str]:
    group = escape(block.group)
    yield from _structured(design, block)
    block = _free_terms(block)
    if not block.columns:
        return
    effects = [effect_of(design, block, column, "g") for column in block.columns]
    scales = [_sd(block, column) for column in block.columns]
    each = rf"\quad g \in {factor_of(block)}"
    if block.relation is not None:
        matrix, of = rf"{{{escape(block.relation.name)}}}", rf"_{{g \in {factor_of(block)}}}"
        yield rf"({effects[0]}){of} &\sim \mathcal{{N}}(0,\ {scales[0]}^{{2}}\,{matrix})"
        return
    if not block.correlated:
        for effect, scale in zip(effects, scales, strict=True):
            yield rf"{effect} &\sim \mathcal{{N}}(0,\ {scale}^{{2}}), {each}"
        return
    S, R = sub("S", group), sub("R", group)
    yield rf"({_COMMA.join(effects)})^{{\top}} &\sim \mathcal{{N}}(0,\ {S} {R} {S}), {each}"
    yield rf"{S} &= \mathrm{{diag}}({_COMMA.join(scales)})"
    if len(block.partition) > 1:
        parts = [_COMMA.join(escape(block.columns[place]) for place in part) for part in block.partition]
        yield rf"{R} &= 0 \text{{ between }} {r' \mid '.join(parts)}"


def _smooth_parts(block: Block) -> Iterator[tuple[str, str, str]]:
    """Yield for each penalised part of a smooth its effects, its columns in a row, and its sd."""
    group = escape(block.group)
    for part in block.parts:
        names = (group,) if len(block.parts) == 1 else (group, escape(part.text))
        effect, column = sub("b", *names, "j"), sub("z", *names, "ij")
        yield effect, column, _entry(block, part, part.entries[0])


def _structured(design: Design, block: Block) -> Iterator[str]:
    """Yield the covariance matrix of each group term that has a structure."""
    group = escape(block.group)
    if block.smooth or block.members:
        sizes = [len(part.columns) for part in block.parts]
        for (effect, _, scale), q in zip(_smooth_parts(block), sizes, strict=True):
            yield rf"{effect} &\sim \mathcal{{N}}(0,\ {scale}^{{2}}), \quad j = 1, \ldots, {q}"
        return
    for part in block.parts:
        if part.covariance.free:
            continue
        effects = [effect_of(design, block, block.columns[i], "g") for i in part.columns]
        Sigma = sub(r"\Sigma", group, escape(part.text))
        symbols = [_entry(block, part, entry) for entry in part.entries]
        yield rf"({_COMMA.join(effects)})^{{\top}} &\sim \mathcal{{N}}(0,\ {Sigma}), \quad g \in {factor_of(block)}"
        yield rf"{Sigma} &= {part.covariance.tex(symbols)}"


def _entry(block: Block, part: Part, entry: Entry) -> str:
    """Return the symbol of a parameter of a structure."""
    names = map(escape, (block.group, *entry_terms(block, part, entry)))
    return sub("s" if entry.kind == "sd" else r"\rho", *names)


def _free_terms(block: Block) -> Block:
    """Return the block with the terms whose covariance matrix has no structure."""
    parts = [part for part in block.parts if part.covariance.free]
    kept = sorted(i for part in parts for i in part.columns)
    own = tuple(replace(part, columns=tuple(kept.index(i) for i in part.columns)) for part in parts)
    predictors = tuple(block.predictors[i] for i in kept) if block.predictors else ()
    columns = tuple(block.columns[i] for i in kept)
    return replace(block, columns=columns, Z=block.Z[:, kept], parts=own, predictors=predictors)


def _sd(block: Block, column: str, letter: str = "s") -> str:
    return sub(letter, escape(block.group), escape(column))


def _at_the_means(design: Design, bases: TermBases) -> Iterator[str]:
    """Yield what the priors at the means are of, where it is something else than a parameter that is reported."""
    for j, name in enumerate(design.coefficients):
        if bases.fixed.moved[j] and name != "Intercept":
            yield rf"{sub(GAMMA, escape(name))} &= {_sum(bases.fixed.R[j], design.coefficients, _beta)}"
    for block, basis in zip(design.blocks, bases.blocks, strict=True):
        if basis.trivial:
            continue
        group, names = escape(block.group), block.columns
        block = _free_terms(block)
        own = [basis.R[names.index(column)] for column in block.columns]
        rows = [_sum(row, names, lambda column, b=block: effect_of(design, b, column, "g")) for row in own]
        S, R = sub(r"\bar{S}", group), sub(r"\bar{R}", group)
        yield rf"({_COMMA.join(rows)})^{{\top}} &\sim \mathcal{{N}}(0,\ {S} {R} {S})"
        yield rf"{S} &= \mathrm{{diag}}({_COMMA.join(_sd(block, column, BAR_S) for column in block.columns)})"
    for part in design.residual.formulas:
        yield from _formula_at_the_means(design, part, bases.parameters[part.formula])


def _formula_at_the_means(design: Design, part: ResidualTerm, basis: TermBasis) -> Iterator[str]:
    """Yield what the priors at the means of a formula's columns are of: its parameter, and coefficients."""
    (coefficients,), first = part.parameters, int(part.has_level)
    symbols = [sub(coefficients.tex, escape(term)) for term in coefficients.terms]
    if first:
        own = next(each for each in design.family.parameters if each.name == part.formula)
        symbols.insert(0, OWN_LINKS[link_code(own)].format(own.symbol))
    for j in np.flatnonzero(basis.moved):
        bar = OWN_LINKS[link_code(own)].format(_bar(own.symbol)) if j < first else _bar(symbols[j])
        yield rf"{bar} &= {_sum(basis.R[j], symbols, str)}"


def _bar(symbol: str) -> str:
    return rf"\bar{{{symbol}}}"


def _beta(name: str) -> str:
    return sub(r"\beta", escape(name))


def _sum(row: np.ndarray, names: Sequence[str], symbol: Callable[[str], str]) -> str:
    """Return a linear combination of symbols, those with a coefficient of 0 left out."""
    terms = [(value, symbol(name)) for value, name in zip(row, names, strict=True) if value != 0]
    signed = [("-" if value < 0 else "+", abs(value), own) for value, own in terms]
    text = " ".join(f"{sign} {own}" if size == 1 else rf"{sign} {_number(size)}\,{own}" for sign, size, own in signed)
    return text.removeprefix("+ ")


def _priors(design: Design, priors: Mapping[str, Prior]) -> Iterator[str]:
    for place, symbol in _symbols(design, priors):
        if place in priors:
            yield _statement(symbol, priors[place])


def _symbols(design: Design, priors: Mapping[str, Prior]) -> Iterator[tuple[str, str]]:
    """Yield every place that may have a prior with the symbol of what it is of, in the model's order."""
    bases = prior_bases(design, priors)
    intercept = sub(r"\beta", escape("Intercept"))
    others = [name for name in design.coefficients if name != "Intercept"]
    at_means = rf"{intercept} + \sum_{{k}} \beta_{{k}} \bar{{x}}_{{k}}" if others else intercept
    yield INTERCEPT_AT_ZERO, intercept
    yield INTERCEPT_AT_MEANS, at_means
    for name in others:
        moved = bases.fixed.moved[design.coefficients.index(name)]
        yield coefficient_label(name), sub(GAMMA if moved else r"\beta", escape(name))
    for block, basis in zip(design.blocks, bases.blocks, strict=True):
        labels = dict(zip(block.columns, block.names.sd_labels, strict=True))
        for column in _free_terms(block).columns:
            yield labels[column], _sd(block, column, "s" if basis.trivial else BAR_S)
        for part in block.parts:
            if not part.covariance.free:
                own = zip(part_parameters(0, block, part), part.entries, strict=True)
                yield from ((parameter.label, _entry(block, part, entry)) for parameter, entry in own)
        yield block.names.corr, sub("R" if basis.trivial else r"\bar{R}", escape(block.group))
    moved = [
        label
        for part in design.residual.formulas
        for label, at_means in zip(formula_places(part), bases.parameters[part.formula].moved, strict=True)
        if at_means
    ]
    for parameter in design.family.parameters if not design.responses else ():  # whose sds are the residual's
        yield parameter.name, _bar(parameter.symbol) if parameter.name in moved else parameter.symbol
    for name, label in zip(design.responses, response_sds(design.responses), strict=True):
        yield label, sub(r"\sigma", escape(name))
    for own in design.residual.parameters:
        if own.terms is None and design.responses:
            continue
        for label, term in zip(residual_labels(own), own.terms or ("",), strict=True):
            symbol = sub(own.tex, escape(term)) if own.terms else own.tex
            yield label, (_bar(symbol) if label in moved else symbol) + _to_means(design, own, term)


def _to_means(design: Design, own: ResidualParameter, term: str) -> str:
    """Return what stands behind a threshold, or the log odds of a category, whose prior is at the predictors' means."""
    if not own.at_means:
        return ""
    if design.family.nominal:
        others = design.residual.parts[0].parameters[1:]
        return "".join(rf" + \sum_{{k}} {sub(other.tex, 'k', escape(term))} \bar{{x}}_{{k}}" for other in others)
    return r" - \sum_{k} \beta_{k} \bar{x}_{k}" if design.p else ""


def _statement(symbol: str, prior: Prior) -> str:
    if prior.on == "variance":
        symbol = rf"{symbol}^{{2}}"
    if prior.distribution == "Fixed":
        return rf"{symbol} &= {_number(prior.parameters['value'])}"
    if prior.distribution in ("Flat", "HalfFlat"):
        return rf"p({symbol}) &\propto 1"
    if prior.distribution == "Custom":
        return rf"{symbol} &\sim \text{{a distribution given as a function}}"
    arguments = _COMMA.join(f"{_LETTERS.get(k, escape(k))} = {_number(v)}" for k, v in prior.parameters.items())
    return rf"{symbol} &\sim \mathrm{{{prior.distribution}}}({arguments})"


def _number(value: float) -> str:
    digits, _, exponent = f"{value:.{DIGITS}g}".partition("e")
    if digits.lstrip("-") == "inf":
        return digits.replace("inf", r"\infty")
    return rf"{digits} \times 10^{{{int(exponent)}}}" if exponent else digits
