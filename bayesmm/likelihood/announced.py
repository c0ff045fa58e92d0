"""What a process does when it has to compile: it says so, once, and asks a second one to help."""

import sys
import time

from numba.core import event as events

from bayesmm.runtime.claims import ask_for_help

KEPT = ("bayesmm.likelihood.", "bayesmm.families.")  # where compiled functions are that stay on disk
PATIENCE = 1.5  # seconds from the first function that is compiled until it is announced
COMPILING = "bayesmm: compiling once for this machine, up to a minute; `bayesmm warmup` does it all ahead"
PLANS: list[str | None] = []  # of the C functions that are being made, the first the one that was asked for


class Announcement(events.Listener):
    """Says once, on a terminal or in a notebook, that something is being compiled, if that takes more than a moment."""

    def __init__(self) -> None:
        self.began, self.said = None, False

    def on_start(self, event: events.Event) -> None:
        """Take note of a function of the package that is to be compiled: it is not on disk."""
        if not (event.data["dispatcher"].py_func.__module__ or "").startswith(KEPT):
            return  # of a graph, which is compiled in every process
        if PLANS and PLANS[0] is not None:
            ask_for_help(PLANS[0])
        now = time.monotonic()
        self.began = now if self.began is None else self.began
        if not self.said and now - self.began > PATIENCE and sys.stderr is not None:
            self.said = True
            if sys.stderr.isatty() or "ipykernel" in sys.modules:
                print(COMPILING, file=sys.stderr, flush=True)

    def on_end(self, event: events.Event) -> None:
        """Do nothing: the next one may follow."""


events.register("numba:compile", Announcement())
