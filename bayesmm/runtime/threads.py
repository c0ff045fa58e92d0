"""Threads of the linear algebra: one, where matrices are too small for more.

Two threads of OpenBLAS that share their processors with other work wait for each other: REML of 73,421 rows with
crossed factors took 83 to 92 s with as many threads as processors, and 13 to 17 s with one. Cholesky factor and product
of n x n matrices, seconds with one and with two threads on two processors while other processes ran: n = 200, 0.0004
and 0.001; 1,000, 0.05 and 0.15; 2,000, 0.54 and 0.85; 3,000, 1.8 and 2.5.
A QR factorisation waits longest: of 800 x 100, 0.008 and 2.8. Cholesky factor and inverse by LAPACK beside two other
processes: n = 1,158, 0.10 and 3.3; 2,002, 0.41 and 0.76; REML of 1,000,000 rows with 2,002 such columns took 52 s of
processor time and 151 s with two, where one needs 20.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import ContextVar
from dataclasses import dataclass, field

from threadpoolctl import ThreadpoolController

# Rows of a dense matrix up to which it has one thread. Above, more are quicker where nothing else runs.
ONE_THREAD = 5000


def few_threads[Function: Callable](function: Function) -> Function:
    """Return the function with one thread of linear algebra where its model is small.

    Its first argument is a Design, what has one, or a matrix of such columns. Inside another such function it changes
    nothing; when the last one ends, in whichever Python thread, the number of threads is what it was before the first.
    """

    @functools.wraps(function)
    def limited(*args: object, **options: object) -> object:
        subject = args[0] if args else next(iter(options.values()), None)
        if _rows(getattr(subject, "design", subject)) > ONE_THREAD:
            return function(*args, **options)
        with one_thread():
            return function(*args, **options)

    return limited


@dataclass
class _Users:
    """How many have asked for one thread, and what gives the others back."""

    number: int = 0
    restore: Callable[[], None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_USERS = _Users()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Have one thread of linear algebra; what it was before comes back when nobody asks for one any more.

    The number belongs to the process: were each user to restore what it found, the later of two that overlap in time
    would leave the one thread of the earlier behind.
    """
    with _USERS.lock:
        if _USERS.number == 0:
            _USERS.restore = _controller().limit(limits=1, user_api="blas").restore_original_limits
        _USERS.number += 1
    try:
        yield
    finally:
        with _USERS.lock:
            _USERS.number -= 1
            if _USERS.number == 0:
                _USERS.restore()


_CORES: ContextVar[int | None] = ContextVar("cores", default=None)


@contextlib.contextmanager
def at_most(cores: int | None) -> Iterator[None]:
    """Let `in_threads` use no more than so many processors; None is all of them."""
    before = _CORES.set(cores)
    try:
        yield
    finally:
        _CORES.reset(before)


def in_threads[T, R](
    function: Callable[[T], R], items: Sequence[T], advance: Callable[[R], None] = lambda result: None
) -> list[R]:
    """Return what a function gives for each of the items, as many at a time as there are processors, or as `at_most`.

    It has to release the interpreter's lock for this to be of use. `advance` is called with each result, as they come.
    After Ctrl-C no further item is begun.
    """
    workers = min(_CORES.get() or os.cpu_count() or 1, max(len(items), 1))
    with ThreadPoolExecutor(workers) as pool:
        parts = [pool.submit(function, item) for item in items]
        try:
            for part in as_completed(parts):
                advance(part.result())
            return [part.result() for part in parts]
        finally:
            pool.shutdown(cancel_futures=True)


def _rows(design) -> int:
    """Return the size of the dense matrices: all effects but those of the factor with most, and the coefficients.

    Of a matrix, its columns; 0 for what is no design: its mistake is said by the function.
    """
    if not hasattr(design, "blocks"):
        return getattr(design, "shape", (0, 0))[-1]
    sizes = [len(block.levels) * len(block.columns) for block in design.blocks]
    return sum(sizes) - max(sizes, default=0) + design.p


@functools.cache
def _controller() -> ThreadpoolController:
    """Return the thread pools of this process, looked for once (4 ms) when SciPy's is loaded too."""
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
