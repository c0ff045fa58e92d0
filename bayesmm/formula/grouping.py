"""Group terms: ``(x | a/b)`` to one `Bar` per grouping factor, and the check that no effect is given twice.

Standard library only.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from bayesmm.errors import FormulaError, listing
from bayesmm.formula.expansion import Part, Term, Work, check_no_smooth, expand
from bayesmm.formula.expressions import Call, Column, Expr, Number, Span, literal
from bayesmm.formula.functions import one_column
from bayesmm.formula.parser import BARS, SPECIFIC, Chain, Group, Node, Power
from bayesmm.formula.tokens import MAX_DEPTH, quote

SUGGESTED_GROUPS = 6  # of more factors joined with + the error writes out no group terms
_HOW = "write one such as (1 | g)"
NO_CURVES = "cannot vary over groups; a curve for each level of f is s(x, by = f)"


@dataclass(frozen=True, slots=True)
class Bar:
    """The random effects of one grouping factor, as one ``( | )`` gives them.

    Attributes
    ----------
    intercept : bool
        Whether the group's intercept varies.
    terms : tuple of Term
        What else varies, expanded as the fixed part is.
    group : tuple of Column
        The columns whose combinations are the groups: one, or several for ``a:b``.
    covariance : str
        The name of the covariance structure: "us" for ``|``, "diag" for ``||``, otherwise what stands before the
        bracket.
    span : (int, int)
        The brackets in the formula's text that this comes from; ``(1 | a/b)`` gives two bars with one span.
    relation : str
        The name of the matrix that is the covariance of the levels, ``(1 | gr(g, cov = A))``; empty without one.
    weights : tuple of Expr
        Of ``(1 | mm(s1, s2))``, of whose levels a row has several: one for each column of `group`; 1 where none is
        given. Empty for all others.
    scaled : bool
        Whether these are divided by their sum.
    by : Column or None
        Of ``(x | gr(g, by = f))``: each level of f has a covariance matrix of its own.
    key : str
        The name between two bars, ``(x | key | g)``: terms with one name are correlated, those of several formulas or
        the effects of several responses.
    of : str
        The parameter in whose formula it stands; empty for the formula of the mean.
    specific : bool
        Whether these are effects on each threshold of an ordered response, ``(cs(1) | g)``.
    """

    intercept: bool
    terms: tuple[Term, ...]
    group: tuple[Column, ...]
    covariance: str
    span: Span = field(default=(0, 0), compare=False, repr=False)
    relation: str = ""
    weights: tuple[Expr, ...] = ()
    scaled: bool = True
    by: Column | None = None
    key: str = ""
    of: str = ""
    specific: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns whose combinations are the groups; of several memberships their label."""
        return (self.label,) if self.weights else tuple(column.name for column in self.group)

    @property
    def correlated(self) -> bool:
        """False for ``||``."""
        return self.covariance != BARS["||"]

    @property
    def effects(self) -> str:
        """What varies and how, without the grouping: ``"cs(0 + x)"``, ``"(x)"``."""
        name = "" if self.covariance in BARS.values() else self.covariance
        return f"{name}({_effects_text(self.intercept, (term.label for term in self.terms))})"

    @property
    def label(self) -> str:
        """The grouping as written, ``"Sex:IndID"``, ``"mm(s1, s2)"``."""
        names = [column.name for column in self.group]
        return f"mm({', '.join(names)})" if self.weights else ":".join(names)

    def __str__(self) -> str:
        labels = [term.label for term in self.terms]
        if self.specific:
            return _written(f"cs({_effects_text(self.intercept, labels)})", self.covariance, self.label)
        return bar_text(self.intercept, labels, self.label, self.covariance, self.key)


def bar_text(intercept: bool, terms: Iterable[str], group: str, covariance: str = BARS["|"], key: str = "") -> str:
    """Return a group term as text, ``"(0 + x | g)"``; the intercept is left out where another term implies it."""
    return _written(_effects_text(intercept, terms), covariance, f"{key} | {group}" if key else group)


def _effects_text(intercept: bool, terms: Iterable[str]) -> str:
    terms = list(terms)
    return " + ".join(terms if intercept and terms else ["1" if intercept else "0", *terms])


def _written(effects: str, covariance: str, group: str) -> str:
    """Return a group term of these texts, with the bar or the name of its covariance structure."""
    bar = next((bar for bar, name in BARS.items() if name == covariance), "")
    return f"({effects} {bar} {group})" if bar else f"{covariance}({effects} | {group})"


def bars_of(groups: Iterable[Group], work: Work, of: str = "") -> tuple[Bar, ...]:
    """Return the bars of a formula's group terms, in the order of the text, outer factors before those nested in them.

    The formula is the mean's, or `of` a parameter.

    Raises
    ------
    FormulaError
        For a group term without effects or with one inside it, for grouping factors not joined by ``/`` or ``:``,
        and for an effect that two group terms give to the same factor.
    """
    bars = tuple(replace(bar, key=group.key or bar.key, of=of) for group in groups for bar in _bars(group, work))
    specific = next((bar for bar in bars if bar.specific), None)
    if specific is not None and of:
        raise work.error(specific.span, f"{specific} stands in the formula of the mean, not in that of {of}")
    _check_overlap(bars, work)
    return bars


def _bars(group: Group, work: Work) -> list[Bar]:
    part = expand(group.left, work)
    if part.groups:
        raise work.error(part.groups[0].span, "a group term cannot stand inside another; join them with +")
    if part.specific:
        return _specific_bars(group, part, work)
    if part.offsets:
        what = "an offset" if part.offsets[0].function == "offset" else f"{part.offsets[0].function}()"
        raise work.error(part.offsets[0].span, f"{what} has no groups; it stands outside the group term, after a '+'")
    check_no_smooth(part.terms, NO_CURVES, work)
    intercept = part.intercept is not False
    if not intercept and not part.terms:
        raise work.error(group.span, f"no random effect is left in {work.context.source(group.span)}; {_HOW}")
    if isinstance(group.factor, Call) and group.factor.function == "mm":
        columns, weights, scaled = _members(group.factor, work)
        own = group.span, "", weights, scaled
        return [Bar(intercept, part.terms, columns, group.covariance, *own)]
    factor, relation, by = _described(group.factor, work)
    levels = _levels(factor, group, work)
    work.keep(len(levels) - 1, group.span)
    work.spend(sum(map(len, levels)), group.span)
    own = group.covariance, group.span, relation, (), True, by
    return [Bar(intercept, part.terms, level, *own) for level in levels]


def _specific_bars(group: Group, part: Part, work: Work) -> list[Bar]:
    """Return the bars of a group term with cs() in it: of what all thresholds share, and of what each has.

    All of them have one key, so that they are correlated, or with ``||`` independent, in one block.
    """
    (inner,), span = part.specific[:1], part.specific[0].span
    own = expand(inner.left, work)
    if len(part.specific) > 1:
        message = "a group term has one cs(), with all of its terms, as in (cs(1 + x) | g)"
        raise work.error(part.specific[1].span, message)
    if own.groups or own.offsets or own.specific or part.offsets:
        raise work.error(span, "a cs() in a group term has terms in it, as in (cs(1 + x) | g)")
    check_no_smooth((*own.terms, *part.terms), NO_CURVES, work)
    if own.intercept and part.intercept:
        raise work.error(span, "an intercept of each threshold leaves none for all of them; write (cs(1) | g)")
    if not own.intercept and not own.terms:
        raise work.error(span, "cs() names no effects; write (cs(1) | g), or (cs(1 + x) | g)")
    both = [term.label for term in own.terms if term in part.terms]
    if both:
        raise work.error(span, f"{both[0]} stands in cs() and outside of it; the one outside is part of the others")
    if group.covariance not in BARS.values():
        message = "cs() in a group term has a plain bar, (cs(1) | g), or ||, for independent effects"
        raise work.error(group.span, message)
    factor, relation, by = _described(group.factor, work)
    if relation or by or (isinstance(factor, Call) and factor.function == "mm"):
        raise work.error(group.span, "effects on each threshold have a plain factor, as in (cs(1) | g)")
    levels, found = _levels(factor, group, work), []
    common = not own.intercept and part.intercept is not False
    for level in levels:
        if common or part.terms:
            found.append(Bar(common, part.terms, level, group.covariance, group.span, key=SPECIFIC))
        each = bool(own.intercept), own.terms, level, group.covariance, group.span
        found.append(Bar(*each, key=SPECIFIC, specific=True))
    return found


def _members(call: Call, work: Work) -> tuple[tuple[Column, ...], tuple[Expr, ...], bool]:
    """Return the columns, the weights, and whether these are scaled, of ``mm(s1, s2, weights = cbind(w1, w2))``."""
    named = dict(call.keywords)
    usage = "mm() takes columns that have the same labels, as in (1 | mm(s1, s2, weights = cbind(w1, w2)))"
    if len(call.arguments) < 2 or not all(isinstance(one, Column) for one in call.arguments):
        raise work.error(call.span, f"{usage}; two of them at least")
    if len(set(call.arguments)) < len(call.arguments):
        raise work.error(call.span, f"{usage}, each once")
    unknown = [name for name, _ in call.keywords if name not in ("weights", "scale")]
    if unknown or len(named) < len(call.keywords):
        raise work.error(call.span, f"{usage}; weights and scale = FALSE are all else that it has, each once")
    scaled = literal(named["scale"]) if "scale" in named else True
    if not isinstance(scaled, bool):
        raise work.error(
            named["scale"].span, "scale is TRUE, so that the weights of a row are made to sum to 1, or FALSE"
        )
    given = named.get("weights", Call("cbind", (Number(1.0),) * len(call.arguments)))
    if not isinstance(given, Call) or given.function != "cbind" or given.keywords:
        raise work.error(given.span, f"the weights are a column for each of the members; {usage}")
    if len(given.arguments) != len(call.arguments):
        many = f"there are {len(call.arguments)} members and {len(given.arguments)} weights"
        raise work.error(given.span, f"{many}; {usage}")
    return call.arguments, tuple(one_column(one, work.context) for one in given.arguments), scaled


def _described(node: Node, work: Work) -> tuple[Node, str, Column | None]:
    """Return the factor of ``gr(g, cov = A)``, the name of the matrix, and the column of ``gr(g, by = f)``."""
    match node:
        case Call("gr", (Column() as column,), (("cov", Column(name)),)):
            return column, name, None
        case Call("gr", (Column() as column,), (("by", Column() as by),)) if by != column:
            return column, "", by
        case Call("gr"):
            message = "gr() takes a grouping factor and the name of a matrix, as in (1 | gr(animal, cov = A))"
            raise work.error(node.span, f"{message}, or a factor, as in (x | gr(g, by = f))")
    return node, "", None


# Grouping factors -----------------------------------------------------------------------------------------------------


def _levels(node: Node, group: Group, work: Work) -> list[tuple[Column, ...]]:
    """Return the grouping factors of ``a/b:c`` as tuples of columns: ``a``, then ``a:b:c``."""
    match node:
        case Chain(operators, operands) if set(operators[1:]) in ({"/"}, {":"}):
            levels = _levels(operands[0], group, work)
            for operand in operands[1:]:
                levels = _nested(levels, _levels(operand, group, work), operators[1], operand, work)
            return levels
        case Chain() | Power():
            raise _not_joined(node, group, work)
    return [(_grouping_column(node, work),)]


def _nested(outer: list, inner: list, operator: str, operand: Node, work: Work) -> list[tuple[Column, ...]]:
    """Return ``outer/inner`` or, for single factors, ``outer:inner``."""
    if operator == ":" and len(outer) + len(inner) > 2:
        raise work.error(operand.span, "':' joins single grouping factors; write a nesting as a/b, outermost first")
    if len(outer) + len(inner) > MAX_DEPTH:
        raise work.error(operand.span, f"more than {MAX_DEPTH} grouping factors are nested here")
    for column in inner[-1]:
        if column in outer[-1]:
            message = f"the grouping factor {quote(column.name)} stands twice in one group term; name it once"
            raise work.error(column.span, message)
    joined = [outer[-1] + level for level in inner]
    return outer + joined if operator == "/" else joined


def _grouping_column(node: Node, work: Work) -> Column:
    match node:
        case Column():
            return node
        case Call("factor" | "as.factor" | "C", (Column() as column,), ()):
            return column
        case Group():
            raise work.error(node.span, "a group term cannot stand inside another; join them with +")
        case Call():
            advice = "make it a column of the data first, or write a:b for the combinations of two"
        case _:
            advice = _HOW
    raise work.error(node.span, f"a grouping factor is a column, not {work.context.source(node.span)}; {advice}")


def _not_joined(node: Chain | Power, group: Group, work: Work) -> FormulaError:
    """Return the error for ``(x | a + b)``, ``(x | a*b)`` and the like, with what to write instead."""
    effects = work.context.source(group.left.span)
    whole = isinstance(node, Chain) and node is group.factor and len(node.operands) <= SUGGESTED_GROUPS
    names = [work.context.source(operand.span) for operand in node.operands] if whole else []
    operators = set(node.operators[1:]) if isinstance(node, Chain) else {"^"}
    wanted = "one group term for each, such as (1 | a) + (1 | b)"
    if names and operators <= {"+"}:
        wanted = " + ".join(_written(effects, group.covariance, name) for name in names)
    elif operators == {"*"} and len(names) == 2:
        wanted = " + ".join(_written(effects, group.covariance, name) for name in (*names, ":".join(names)))
    how = f"joined with {listing(sorted(operators))}" if operators else "signed"
    return work.error(node.span, f"grouping factors cannot be {how}; write {wanted}")


# Effects given twice --------------------------------------------------------------------------------------------------


def _effects(bar: Bar) -> dict[frozenset[Expr], str]:
    """Return what a bar lets vary, by the set of its factors (none for the intercept), with its label."""
    intercept = {frozenset(): "Intercept"} if bar.intercept else {}
    return intercept | {frozenset(term.factors): term.label for term in bar.terms}


def _check_overlap(bars: tuple[Bar, ...], work: Work) -> None:
    """Refuse ``(1 | g) + (x | g)``: two standard deviations for one effect cannot be told apart."""
    seen: dict[tuple[frozenset[str], frozenset[Expr]], Bar] = {}
    for bar in bars:
        for effect in _effects(bar):
            other = seen.setdefault((frozenset(bar.columns), effect), bar)
            if other is not bar:
                raise _overlap(other, bar, work)


def _overlap(first: Bar, second: Bar, work: Work) -> FormulaError:
    one, two = _effects(first), _effects(second)
    sources = [work.context.source(bar.span) for bar in (first, second)]
    if one.keys() == two.keys():
        nested = " (a/b stands for a and a:b)" if "/" in "".join(sources) else ""
        message = f"{sources[0]} and {sources[1]} both give {first}; leave one of them out{nested}"
        if bool(first.relation) != bool(second.relation):
            label = first.label
            message = f"{sources[0]} and {sources[1]} both have the levels of {label}; for an effect beside one with "
            message += f"a known covariance copy the column, as {label}2, and write (1 | {label}2)"
        return work.error(second.span, message)
    merged = one | two
    kept, others = (first, two.keys() - one.keys()) if two.keys() - one.keys() else (second, one.keys() - two.keys())
    union, rest = (_text_of_effects(merged, keep, first.label) for keep in (merged.keys(), others))
    shared = listing(two[effect] for effect in two if effect in one)
    advice = f"write {union}, or {kept} + {rest} without their correlation"
    return work.error(second.span, f"{sources[0]} and {sources[1]} both let {shared} vary over {first.label}; {advice}")


def _text_of_effects(effects: Mapping[frozenset[Expr], str], keep: Set[frozenset[Expr]], group: str) -> str:
    labels = (label for effect, label in effects.items() if effect and effect in keep)
    return bar_text(frozenset() in keep, labels, group)
