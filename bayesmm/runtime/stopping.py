"""How work on other threads is told to stop: Ctrl-C reaches the main thread alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, local

_THREAD = local()


@contextmanager
def stopped_by(event: Event) -> Iterator[None]:
    """Have this thread's samplers stop, as by Ctrl-C, once the event is set."""
    before = getattr(_THREAD, "event", None)
    _THREAD.event = event
    try:
        yield
    finally:
        _THREAD.event = before


def check_stopped() -> None:
    """Raise KeyboardInterrupt if this thread was told to stop: what waits for long calls it now and then."""
    event = getattr(_THREAD, "event", None)
    if event is not None and event.is_set():
        raise KeyboardInterrupt
