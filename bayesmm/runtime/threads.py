"""Threads of the linear algebra: one, where matrices are too small for more.

Two threads of OpenBLAS that share their processors with other work wait for each other: REML of 73,421 rows with
crossed factors took 83 to 92 s with as many threads as processors, and 13 to 17 s with one. Cholesky factor and product
of n x n matrices, seconds with one and with two threads on two processors while other processes ran: n = 200, 0.0004
and 0.001; 1,000, 0.05 and 0.15; 2,000, 0.54 and 0.85; 3,000, 1.8 and 2.5.
"""

import functools
from collections.abc import Callable

from threadpoolctl import ThreadpoolController

# Rows of a dense matrix up to which it has one thread. Above, two are quicker where nothing else runs.
ONE_THREAD = 2000


def few_threads[Function: Callable](function: Function) -> Function:
    """Return the function with one thread of linear algebra where its model is small.

    Its first argument is a Design, or what has one. Inside another such function it changes nothing; at the end the
    number of threads is what it was.
    """

    @functools.wraps(function)
    def limited(subject: object, *args: object, **options: object) -> object:
        if _rows(getattr(subject, "design", subject)) > ONE_THREAD:
            return function(subject, *args, **options)
        with _controller().limit(limits=1, user_api="blas"):
            return function(subject, *args, **options)

    return limited


def _rows(design) -> int:
    """Return the size of the dense matrices: all effects but those of the factor with most, and the coefficients.

    0 for what is no design: its mistake is said by the function.
    """
    if not hasattr(design, "blocks"):
        return 0
    sizes = [len(block.levels) * len(block.columns) for block in design.blocks]
    return sum(sizes) - max(sizes, default=0) + design.p


@functools.cache
def _controller() -> ThreadpoolController:
    """Return the thread pools of this process, looked for once (4 ms) when SciPy's is loaded too."""
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
