"""Many small tasks on threads or an executor, with a progress bar, to be interrupted without loss.

Threads are enough on one machine: what takes time in a fit is compiled code that lets other threads run. An executor's
workers may be other processes or machines.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, as_completed

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
) -> tuple[dict[int, T], bool]:
    """Run a task for 0, 1, ..., number - 1, on threads or by an executor.

    Parameters
    ----------
    make : callable
        Returns the task. An executor calls it where its workers are, so that it must be one that can be pickled.
    number, cores, advance
        See `repeated`.
    executor : concurrent.futures.Executor, optional
        It is not shut down. What a lost worker had is done again where the executor goes on
        without it; a pool of `concurrent.futures` does not, and its error is raised.
    share : callable, optional
        Of numbers of tasks: returns a `make` that has what these alone need, where that is less to send.

    Returns
    -------
    results, interrupted
        See `repeated`.
    """
    if executor is not None:
        return _elsewhere(share or (lambda part: make), number, advance, executor)
    return repeated(make(), number, cores, advance)


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
) -> tuple[dict[int, T], bool]:
    size = max(1, -(-number // PARTS))
    left = [range(start, min(start + size, number)) for start in range(0, number, size)]
    found: dict[int, T] = {}
    try:
        for time in range(TIMES):
            left = _sent(share, left, found, advance, executor, last=time == TIMES - 1)
            if not left:
                break
    except KeyboardInterrupt:
        return dict(sorted(found.items())), True
    return dict(sorted(found.items())), False


def _sent[T](
    share: Callable[[Sequence[int]], Callable[[], Callable[[int], T]]],
    parts: Sequence[range],
    found: dict[int, T],
    advance: Callable[[], None],
    executor: Executor,
    last: bool,
) -> list[range]:
    """Run parts, put the results into `found`, and return the parts whose worker was lost."""
    lost, futures = [], {}
    try:
        for part in parts:
            try:
                futures[executor.submit(part_of, share(part), part)] = part
            except BrokenExecutor:
                if last:
                    raise
                lost.append(part)
        for future in as_completed(futures):
            try:
                results = future.result()
            except BrokenExecutor:
                if last:
                    raise
                lost.append(futures[future])
                continue
            found.update(zip(futures[future], results, strict=True))
            for _ in results:
                advance()
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return lost
