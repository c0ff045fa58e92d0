"""Many small tasks on threads, with a progress bar, to be interrupted without loss.

Threads are enough: what takes time in a fit is compiled code that lets other threads run.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bayesmm.runtime.threads import one_thread
from bayesmm.sampling.nuts import chosen_cores


@contextmanager
def counter(wanted: bool, what: str, total: int):
    """Give a function to call after each task; on a terminal or in a notebook it moves a bar."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    shown = wanted and (console.is_terminal or console.is_jupyter)
    with Progress(*columns, console=console, disable=not shown) as bars:
        task = bars.add_task(what, total=total)
        yield lambda: bars.advance(task)


def repeated[T](
    task: Callable[[int], T], number: int, cores: int | None, advance: Callable[[], None]
) -> tuple[dict[int, T], bool]:
    """Run a task for 0, 1, ..., number - 1.

    Parameters
    ----------
    task : callable
        Its result must not depend on the order of the tasks.
    number : int
    cores : int, optional
        Tasks that run at the same time; as many as there are processors if not given.
    advance : callable
        Called after each task.

    Returns
    -------
    results : dict of int to result
        In the order of the numbers; of the finished tasks only, after Ctrl-C.
    interrupted : bool
    """
    interrupted = False
    with one_thread(), ThreadPoolExecutor(chosen_cores(cores, number)) as pool:
        futures: list[Future] = []
        try:
            futures += (pool.submit(task, i) for i in range(number))
            for future in as_completed(futures):
                future.result()
                advance()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return {i: f.result() for i, f in enumerate(futures) if not f.cancelled()}, interrupted
