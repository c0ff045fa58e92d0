"""Many small tasks on threads, with a progress bar, to be interrupted without loss.

Threads are enough: what takes time in a fit is compiled code that lets other threads run.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from bayesmm.runtime.threads import one_thread
from bayesmm.sampling.nuts import chosen_cores


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
