"""Many small tasks on threads or an executor, with a progress bar, to be interrupted without loss.

Threads are enough on one machine: what takes time in a fit is compiled code that lets other threads run. An executor's
workers may be other processes or machines.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, as_completed
from threading import Event

from bayesmm.errors import UnfinishedError
from bayesmm.runtime.stopping import stopped_by
from bayesmm.runtime.threads import one_thread
from bayesmm.sampling.nuts import chosen_cores

PARTS = 64  # that the tasks of an executor are sent in: what they share is sent with each
TIMES = 3  # a part whose worker was lost is sent again, at most so often in all


def check_executor(executor: object, cores: object) -> None:
    """Raise a ValueError for what is no executor, or for a number of cores beside one."""
    if executor is None:
        return
    if not callable(getattr(executor, "submit", None)):
        raise ValueError(
            f"executor should be one of concurrent.futures, or like it (Dask's client.get_executor(), loky's "
            f"get_reusable_executor()), not {type(executor).__name__}"
        )
    if cores is not None:
        raise ValueError("cores= is for threads, and executor= has its own workers; give one of them")


def run[T](
    make: Callable[[], Callable[[int], T]],
    number: int,
    cores: int | None,
    advance: Callable[[], None],
    executor: Executor | None = None,
    share: Callable[[Sequence[int]], Callable[[], Callable[[int], T]]] | None = None,
) -> tuple[dict[int, T], BaseException | None]:
    """Run a task for 0, 1, ..., number - 1, on threads or by an executor.

    Parameters
    ----------
    make : callable
        Returns the task. An executor calls it where its workers are, so that it must be one that can be pickled.
    number, cores, advance
        See `repeated`.
    executor : concurrent.futures.Executor, optional
        It is not shut down. What a lost worker had is done again where the executor goes on
        without it; a pool of `concurrent.futures` does not, and its error is what ended the run.
    share : callable, optional
        Of numbers of tasks: returns a `make` that has what these alone need, where that is less to send.

    Returns
    -------
    results, ended
        See `repeated`, also for what is raised.
    """
    if executor is not None:
        return _elsewhere(share or (lambda part: make), number, advance, executor)
    return repeated(make(), number, cores, advance)


def repeated[T](
    task: Callable[[int], T], number: int, cores: int | None, advance: Callable[[], None]
) -> tuple[dict[int, T], BaseException | None]:
    """Run a task for 0, 1, ..., number - 1.

    After Ctrl-C, or an error of a task, those that wait are not begun. Of those that are running, samplers stop and
    others go on to their end, until a second Ctrl-C, which leaves them alone.

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
        In the order of the numbers; of the finished tasks only, if the run has ended early.
    ended : KeyboardInterrupt or Exception, optional
        What ended the run early.

    Raises
    ------
    KeyboardInterrupt, Exception
        What ended the run, where no task was finished.
    """
    ended, stop = None, Event()
    with one_thread():
        pool = ThreadPoolExecutor(chosen_cores(cores, number))
        futures: list[Future] = []
        try:
            futures += (pool.submit(_stoppable, task, i, stop) for i in range(number))
            for future in as_completed(futures):
                future.result()
                advance()
        except (KeyboardInterrupt, Exception) as error:
            ended = error
        stop.set()
        try:
            pool.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt as error:
            ended = error
            pool.shutdown(wait=False, cancel_futures=True)
    return _left({i: future for i, future in enumerate(futures)}, ended)


def _stoppable[T](task: Callable[[int], T], i: int, stop: Event) -> T:
    with stopped_by(stop):
        return task(i)


def _left[T](futures: dict[int, Future], ended: BaseException | None) -> tuple[dict[int, T], BaseException | None]:
    """Return what is finished, and what ended the run, which is raised where nothing is finished."""
    found = {i: f.result() for i, f in futures.items() if f.done() and not f.cancelled() and f.exception() is None}
    if ended is not None and not found:
        raise ended
    return found, ended


def unfinished(ended: BaseException | None, done: int, asked: int, what: str, finished: object) -> None:
    """Raise an UnfinishedError with what is finished where an error, not Ctrl-C, has ended a run early."""
    if isinstance(ended, Exception):
        said = " ".join(str(ended).split())
        raise UnfinishedError(
            f"{type(ended).__name__}: {said}; {done:,} of {asked:,} {what} were finished, which this error has as its "
            "attribute finished",
            finished,
        ) from ended


def part_of[T](make: Callable[[], Callable[[int], T]], numbers: Sequence[int]) -> list[T]:
    """Return the results of some tasks: what a worker does."""
    with one_thread():
        task = make()
        return [task(i) for i in numbers]


def _elsewhere[T](
    share: Callable[[Sequence[int]], Callable[[], Callable[[int], T]]],
    number: int,
    advance: Callable[[], None],
    executor: Executor,
) -> tuple[dict[int, T], BaseException | None]:
    size = max(1, -(-number // PARTS))
    left = [range(start, min(start + size, number)) for start in range(0, number, size)]
    found: dict[int, T] = {}
    ended = None
    try:
        for time in range(TIMES):
            left = _sent(share, left, found, advance, executor, last=time == TIMES - 1)
            if not left:
                break
    except (KeyboardInterrupt, Exception) as error:
        ended = error
        if not found:
            raise
    return dict(sorted(found.items())), ended


def _sent[T](
    share: Callable[[Sequence[int]], Callable[[], Callable[[int], T]]],
    parts: Sequence[range],
    found: dict[int, T],
    advance: Callable[[], None],
    executor: Executor,
    last: bool,
) -> list[range]:
    """Run parts, put the results into `found`, and return the parts whose worker was lost.

    What ends the run early is raised when the results that are there are in `found`.
    """
    lost, futures, failed = [], {}, None
    try:
        for part in parts:
            try:
                futures[executor.submit(part_of, share(part), part)] = part
            except BrokenExecutor as error:
                lost.append(part)
                failed = error if last else None
        for future in as_completed(futures):
            try:
                results = future.result()
            except BrokenExecutor as error:
                lost.append(futures[future])
                failed = error if last else None
                continue
            found.update(zip(futures[future], results, strict=True))
            for _ in results:
                advance()
    except BaseException:
        for future, part in futures.items():
            if not future.cancel() and future.done() and future.exception() is None:
                found.update(zip(part, future.result(), strict=True))
        raise
    if failed is not None:
        raise failed
    return lost
