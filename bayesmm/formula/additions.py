"""What stands after the bar of the response: weights, trials, known standard errors. Standard library only."""

from bayesmm.errors import listing
from bayesmm.formula.expressions import Call, Expr, Operation
from bayesmm.formula.functions import Context, arguments_of, checked, checked_residual

ADDITIONS = ("weights", "trials")  # what may stand after the bar of the response, besides known standard errors
BESIDE = "addition"  # what a residual structure gives that stands after the bar of the response


def additions(expr: Expr | None, context: Context) -> dict[str, Expr]:
    """Return what stands inside weights() and trials() after the bar of the response, by those names.

    The call of a residual structure that stands there is returned as it is.
    """
    found: dict[str, Expr] = {}
    beside = [name for name, own in context.residuals.items() if own.gives == BESIDE]
    for part in _summands(expr):
        if not (isinstance(part, Call) and part.function in (*ADDITIONS, *beside)):
            *known, last = [f"{name}()" for name in (*ADDITIONS, *beside)]
            said = f"only {', '.join(known)} and {last} may stand after the bar of the response"
            advice = "for weights write y | weights(w) ~ x, and for y successes in n trials y | trials(n) ~ x"
            raise context.error(part.span, f"{said}; {advice}")
        if part.function in found:
            raise context.error(part.span, f"{part.function}() stands twice after the bar of the response")
        own = part.function in beside
        found[part.function] = checked_residual(part, context) if own else arguments_of(checked(part, context))["x"]
    if len(set(found) & {*beside, "weights"}) > 1:
        message = f"{listing(f'{name}()' for name in found)} both say how exact a row is; leave one out"
        raise context.error(expr.span, message)
    return found


def _summands(expr: Expr | None) -> list[Expr]:
    if isinstance(expr, Operation) and expr.operator == "+" and len(expr.operands) == 2:
        return [*_summands(expr.operands[0]), *_summands(expr.operands[1])]
    return [] if expr is None else [expr]
