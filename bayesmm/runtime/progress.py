"""What is going on, and for how long: bars on a terminal or in a notebook, lines where there is neither.

All of it goes to stderr, so that results can be piped. Whatever takes less than `PATIENCE` says nothing.
"""

import multiprocessing
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

PATIENCE = 2.0  # seconds until something is said
PAUSE = 1.0  # seconds between two looks of a terminal's line
LONGER = 2.0  # each line where there is no terminal comes after so many times the time of the one before ...
AT_MOST = 60.0  # ... but at most so many seconds later


class ChainState(Protocol):
    """How far a chain is: draws of tuning included, divergences so far, still tuning or not."""

    finished_draws: int
    divergences: int
    tuning: bool


# ----------------------------------------------------------------------------------------------------------------------
# one line: what is being done, and the seconds gone


@dataclass(eq=False)
class Task:
    """One piece of work that is going on; its text may change."""

    text: str
    wanted: bool = True
    line: bool = True  # False: bars say it


@dataclass
class _Work:
    """The tasks that are going on, the outermost first; and the line that a terminal shows of them."""

    tasks: list[Task] = field(default_factory=list)
    began: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)
    width: int = 0

    def line(self, text: str) -> None:
        """Put a line in place of the last one; the cursor stays at its beginning, where other output may go."""
        print(f"{text.ljust(self.width)}", end="\r", file=sys.stderr, flush=True)
        self.width = len(text)


_WORK = _Work()


@contextmanager
def working(what: str, wanted: bool = True, line: bool = True) -> Iterator[Task]:
    """Say what is being done, with the seconds gone, where it takes over two of them: ``bayesmm: sampling, 12 s``.

    Inside another one, its text stands behind that of the outermost. After Ctrl-C a line says what was interrupted.

    Parameters
    ----------
    what : str
    wanted : bool
        False: neither this nor anything inside it says a word.
    line : bool
        False: there are bars in place of the line.
    """
    task = Task(what, wanted, line)
    with _WORK.lock:
        _WORK.tasks.append(task)
        if not (wanted and line) and _WORK.width:
            _WORK.line("")
        if len(_WORK.tasks) == 1 and _audible():
            _WORK.began, _WORK.over = time.monotonic(), threading.Event()
            threading.Thread(target=_say, args=(_WORK.over,), daemon=True).start()
    try:
        yield task
    except KeyboardInterrupt as stop:
        if not hasattr(stop, "said") and all(each.wanted for each in _WORK.tasks) and _audible():
            stop.said = True
            text, seconds = _state()
            print(f"\nbayesmm: interrupted after {seconds:.0f} s: {text}", file=sys.stderr, flush=True)
        raise
    finally:
        with _WORK.lock:
            _WORK.tasks.remove(task)
            if not _WORK.tasks:
                _WORK.over.set()
                if _WORK.width:
                    _WORK.line("")


def _audible() -> bool:
    """Return whether there is somebody to talk to: a process of a pool has nobody."""
    return sys.stderr is not None and multiprocessing.parent_process() is None


def _state() -> tuple[str, float]:
    """Return what is being done, and for how many seconds."""
    texts = dict.fromkeys(task.text for task in (*_WORK.tasks[:1], *_WORK.tasks[-1:]))
    return ": ".join(texts), time.monotonic() - _WORK.began


def _say(over: threading.Event) -> None:
    """Say what is being done until it is over: on a terminal in one line that is replaced, elsewhere more rarely."""
    wait, terminal = PATIENCE, sys.stderr.isatty()
    while not over.wait(wait):
        with _WORK.lock:
            if over.is_set():
                return
            wait, (text, seconds) = PAUSE, _state()
            if not all(task.wanted and task.line for task in _WORK.tasks):
                continue
            if terminal:
                _WORK.line(f"bayesmm: {text}, {seconds:.0f} s")
            else:
                print(f"bayesmm: {text}, {seconds:.0f} s", file=sys.stderr, flush=True)
                wait = min((LONGER - 1) * seconds, AT_MOST)


# ----------------------------------------------------------------------------------------------------------------------
# bars


@dataclass(frozen=True)
class Progress:
    """What a sampler reports to, from any thread, and what its watcher calls to show it.

    Attributes
    ----------
    latest : deque of one sequence of ChainState
        A sampler appends the state of all its chains; the last one counts.
    """

    bars: Bars
    tasks: tuple[TaskID, ...]
    compiling: TaskID
    line: Task
    total: int
    latest: deque[Sequence[ChainState]] = field(default_factory=lambda: deque(maxlen=1))

    def show(self) -> None:
        """Bring the bars, and the line, to what the sampler reported last."""
        if not self.latest:
            return
        states = self.latest[-1]
        self.line.text = _how_far(states, self.total)
        self.bars.update(self.compiling, visible=False)
        for task, state in zip(self.tasks, states, strict=True):
            phase = "tuning" if state.tuning else "drawing"
            text = f"{phase}, {state.divergences} divergences" if state.divergences else phase
            self.bars.update(task, completed=state.finished_draws, state=text, visible=True)


def _how_far(states: Sequence[ChainState], total: int) -> str:
    """Return how far the chains are, in words."""
    done, divergences = (sum(getattr(state, name) for state in states) for name in ("finished_draws", "divergences"))
    text = f"{done:,} of {total * len(states):,} draws"
    return f"{text}, {divergences:,} divergences" if divergences else text


@contextmanager
def silent() -> Iterator[None]:
    """Say nothing of what is going on while the context lasts: neither lines nor bars."""
    with working("", wanted=False):
        yield


def _console(wanted: bool) -> tuple[Console, bool]:
    """Return the console of stderr, and whether bars are shown on it."""
    console = Console(stderr=True)
    wanted = wanted and all(task.wanted for task in _WORK.tasks)
    return console, wanted and (console.is_terminal or console.is_jupyter)


@contextmanager
def counter(wanted: bool, what: str, total: int) -> Iterator[Callable[..., None]]:
    """Give a function to call after each task, or so many; a bar moves with it, or the words of a line.

    The function takes another `total` too, where it turns out to be another.
    """
    console, shown = _console(wanted)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        working(what, wanted, not shown) as line,
        Bars(*columns, TimeRemainingColumn(), console=console, disable=not shown) as bars,
    ):
        task, done = bars.add_task(what, total=total), [0, total]

        def advance(number: int = 1, total: int | None = None) -> None:
            bars.update(task, advance=number, total=total)
            done[:] = done[0] + number, done[1] if total is None else total
            line.text = f"{what}, {done[0]:,} of {done[1]:,}"

        yield advance


@contextmanager
def progress_bar(wanted: bool, chains: int, total: int) -> Iterator[Progress]:
    """Show a bar for each chain, or one line for all of them, while the context lasts.

    Parameters
    ----------
    wanted : bool
    chains : int
    total : int
        Draws of a chain, tuning included.
    """
    console, shown = _console(wanted)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with (
        working("compiling the model", wanted, not shown) as line,
        Bars(*columns, console=console, disable=not shown) as bars,
    ):
        compiling = bars.add_task("Compiling the model", total=None, state="")
        tasks = tuple(bars.add_task(f"Chain {k}", total=total, state="", visible=False) for k in range(chains))
        bar = Progress(bars, tasks, compiling, line, total)
        yield bar
        bar.show()
