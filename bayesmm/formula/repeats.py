"""What a formula may name once. Standard library only."""

from bayesmm.formula.expressions import Call, text_of
from bayesmm.formula.functions import Context


def check_offsets(calls: tuple[Call, ...], context: Context) -> None:
    """Refuse an offset that is written twice."""
    seen: set[Call] = set()
    for call in calls:
        if call in seen:
            message = f"{text_of(call)} stands twice; write one offset, of the sum if both are meant"
            raise context.error(call.span, message)
        seen.add(call)


def check_smooths(calls: tuple[Call, ...], context: Context) -> None:
    """Refuse two smooths of one name: its parameters are called by its variables alone."""
    seen: set[str] = set()
    for call in calls:
        if text_of(call) in seen:
            message = f"two smooths are called {text_of(call)}; leave one out, or copy the column under another name"
            raise context.error(call.span, message)
        seen.add(text_of(call))
