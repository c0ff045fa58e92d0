"""What may stand after the bar of a response, ``y | cens(c) + weights(w) ~ x``, and what to write for what may not.

Standard library only.
"""

from bayesmm.errors import listing, suggest
from bayesmm.formula.expressions import Call, Column, Expr, Operation
from bayesmm.formula.functions import Context, arguments_of, checked, checked_residual

ADDITIONS = ("weights", "trials", "cens", "trunc")  # besides known standard errors
BESIDE = "addition"  # what a residual structure gives that stands after the bar of the response
ADVICE = "for weights write y | weights(w) ~ x, and for y successes in n trials y | trials(n) ~ x"
# What newcomers from other packages try, and what to write here.
_ELSEWHERE = {
    **dict.fromkeys(("var", "variance", "vi", "v"), "known variances v are given as y | se(sqrt(v)) ~ x"),
    **dict.fromkeys(("sd", "sei", "stderr", "std"), "known standard errors are given as y | se(s) ~ x"),
    **dict.fromkeys(("rate", "exposure"), "an exposure t stands on the right side, as offset(log(t))"),
    **dict.fromkeys(
        ("event", "status", "censored", "cen", "right", "left", "Surv", "surv"),
        "where status is 1 for an event and 0 for a censored time write y | cens(1 - status) ~ x",
    ),
    **dict.fromkeys(
        ("truncated", "bounds", "limits", "lb", "ub"), "limits are given as y | trunc(lb = 0, ub = 10) ~ x"
    ),
    **dict.fromkeys(("n", "size"), "for y successes in n trials write y | trials(n) ~ x"),
    "subset": "leave the other rows out of the data",
    "mi": "rows with missing values are left out, so fill them in before",
    "thres": "thresholds follow from the categories of the response",
}
_SHARES = "{name} is a parameter of families with more zeros, which family= names"


def additions_of(expr: Expr | None, context: Context) -> dict[str, Expr]:
    """Return what stands inside weights() and trials() after the bar of the response, by those names.

    The calls of cens() and trunc(), and of a residual structure that stands there, are returned as they are.
    """
    found: dict[str, Expr] = {}
    beside = [name for name, own in context.residuals.items() if own.gives == BESIDE]
    for part in _summands(expr):
        if not (isinstance(part, Call) and part.function in (*ADDITIONS, *beside)):
            *known, last = [f"{name}()" for name in (*ADDITIONS, *beside)]
            said = f"only {', '.join(known)} and {last} may stand after the bar of the response"
            raise context.error(part.span, f"{said}; {_advice(part, (*ADDITIONS, *beside))}")
        if part.function in found:
            raise context.error(part.span, f"{part.function}() stands twice after the bar of the response")
        found[part.function] = _addition(part, part.function in beside, context)
    if len(set(found) & {*beside, "weights"}) > 1:
        message = f"{listing(f'{name}()' for name in found)} both say how exact a row is; leave one out"
        raise context.error(expr.span, message)
    return found


def other_parameter(left: Expr) -> str:
    """Return what to write for a formula of a parameter that has none, after a semicolon; nothing if not known."""
    return share_advice(left.name) if isinstance(left, Column) else ""


def share_advice(name: str) -> str:
    """Return which families have a share of zeros as a parameter, after a semicolon; nothing of other parameters."""
    return f"; {_SHARES.format(name=name)}" if name in ("zi", "hu") else ""


def _addition(call: Call, residual: bool, context: Context) -> Expr:
    if residual:
        return checked_residual(call, context)
    found = checked(call, context)
    if call.function not in ("cens", "trunc"):
        return arguments_of(found)["x"]
    if not arguments_of(found):
        raise context.error(call.span, "trunc() has no limit; write trunc(lb = 0), trunc(ub = 10) or both")
    return found


def _advice(part: Expr, known: tuple[str, ...]) -> str:
    name = part.function if isinstance(part, Call) else part.name if isinstance(part, Column) else ""
    if name in known:
        return f"write {name}(...) with its argument"
    return _ELSEWHERE.get(name, f"{ADVICE}{suggest(name, known) if name else ''}")


def _summands(expr: Expr | None) -> list[Expr]:
    if isinstance(expr, Operation) and expr.operator == "+" and len(expr.operands) == 2:
        return [*_summands(expr.operands[0]), *_summands(expr.operands[1])]
    return [] if expr is None else [expr]
