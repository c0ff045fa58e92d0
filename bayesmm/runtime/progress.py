"""Progress bars, on a terminal or in a notebook and nowhere else."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class ChainState(Protocol):
    """How far a chain is: draws of tuning included, divergences so far, still tuning or not."""

    finished_draws: int
    divergences: int
    tuning: bool


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
    latest: deque[Sequence[ChainState]] = field(default_factory=lambda: deque(maxlen=1))

    def show(self) -> None:
        """Bring the bars to what the sampler reported last."""
        if not self.latest:
            return
        self.bars.update(self.compiling, visible=False)
        for task, state in zip(self.tasks, self.latest[-1], strict=True):
            phase = "tuning" if state.tuning else "drawing"
            text = f"{phase}, {state.divergences} divergences" if state.divergences else phase
            self.bars.update(task, completed=state.finished_draws, state=text, visible=True)


@contextmanager
def counter(wanted: bool, what: str, total: int) -> Iterator[Callable[..., None]]:
    """Give a function to call after each task, or so many; on a terminal or in a notebook it moves a bar.

    The function takes another `total` too, where it turns out to be another.
    """
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    shown = wanted and (console.is_terminal or console.is_jupyter)
    with Bars(*columns, console=console, disable=not shown) as bars:
        task = bars.add_task(what, total=total)

        def advance(number: int = 1, total: int | None = None) -> None:
            bars.update(task, advance=number, total=total)

        yield advance


@contextmanager
def progress_bar(wanted: bool, chains: int, total: int) -> Iterator[Progress]:
    """Show a bar for each chain while the context lasts; on stderr, so that results can be piped.

    Parameters
    ----------
    wanted : bool
    chains : int
    total : int
        Draws of a chain, tuning included.
    """
    console = Console(stderr=True)
    shown = wanted and (console.is_terminal or console.is_jupyter)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Bars(*columns, console=console, disable=not shown) as bars:
        compiling = bars.add_task("Compiling the model", total=None, state="")
        tasks = tuple(bars.add_task(f"Chain {k}", total=total, state="", visible=False) for k in range(chains))
        bar = Progress(bars, tasks, compiling)
        yield bar
        bar.show()
