"""PyTensor without a compiler: for functions that would take longer to compile than to run."""

from contextlib import AbstractContextManager

import pytensor
from pytensor.compile.mode import Mode

# Python implementations of the operations, few rewrites: a graph is ready in tenths of a second. Sums of sums are not
# made into one: NumPy adds at most 32 arrays at once, and the gradient of a censored density has more.
PYTHON = Mode(linker="py", optimizer="fast_compile").excluding("local_add_canonizer")


def without_compiler() -> AbstractContextManager:
    """Return a context in which PyTensor writes no C.

    PyMC computes initial points and random draws with the C compiler where there is one, though the samplers need
    none of it: ten seconds and more for a graph with an LKJ prior, and a warning where there is no BLAS to link.
    """
    return pytensor.config.change_flags(cxx="")


def exact_arithmetic() -> AbstractContextManager:
    """Return a context in which Numba's code for PyTensor keeps the order of its sums and products.

    PyTensor lets LLVM reassociate them, which it does in one way when it compiles a function whole, and in another
    when it finds parts of it on the disk: the same seed would give other draws the first time than ever after.
    """
    return pytensor.config.change_flags(numba__fastmath=False)
