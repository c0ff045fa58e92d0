"""Compiled code that is kept on disk, and the data that a sampler hands it.

Numba compiles a function together with all that it calls, and looks only at the file that the function itself is in
when it asks whether the code on disk is still good. `compiled` and `c_function` are for functions that call those of
other files: their key on disk also has the checksum of the sources of the whole folder.

Large functions call one another through their addresses (`call`), or each would be compiled again, with all that it is
made of, into every other.
"""

import ctypes
import functools
import zlib
from collections.abc import Callable
from pathlib import Path
from types import CellType, FunctionType

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Ints = NDArray[np.int64]
AXES = 3  # dimensions of an array that can be packed, at most
DOUBLES, WORDS = types.CPointer(types.double), types.CPointer(types.int64)
INT64 = types.int64
# What nutpie calls: (dimensions, x, gradient out, log density out, user data) -> error code, and (dimensions, size, x,
# values out, user data) -> error code.
DENSITY = INT64(types.uint64, DOUBLES, DOUBLES, DOUBLES, WORDS)
EXPANSION = INT64(types.uint64, types.uint64, DOUBLES, DOUBLES, WORDS)
# nutpie's error codes: an exception, a gradient or a log density that is not finite (divergences, not the end), ...
RAISED, BAD_GRADIENT, BAD_DENSITY, BAD_EXPANSION, WRONG_SIZE = 1, 3, 4, -2, -1


@functools.cache
def source_version() -> int:
    """Return a checksum of everything that compiled code is made from."""
    version, here = 0, Path(__file__).parent
    for path in (*sorted(here.glob("*.py")), here.parent / "families.py"):
        version = zlib.crc32(path.read_bytes(), version)
    return version


def keyed(function: Callable, version: int) -> Callable:
    """Return the function with `version` among its closure variables, whose values are part of Numba's key on disk."""
    code = function.__code__.replace(co_freevars=(*function.__code__.co_freevars, "_version"))
    cells = (*(function.__closure__ or ()), CellType(version))
    copy = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, cells)
    return functools.update_wrapper(copy, function)


def compiled(function: Callable) -> Callable:
    """Return the function compiled by Numba at its first call, or taken from the disk; it releases the GIL."""
    return numba.njit(cache=True, error_model="numpy", nogil=True)(keyed(function, source_version()))


def inner(function: Callable) -> Callable:
    """Return the function compiled for other compiled functions only.

    It has no entry for Python, which takes as long to compile as the function: a call from Python crashes.
    """
    options = dict(cache=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return numba.njit(**options)(keyed(function, source_version()))


def inlined(function: Callable) -> Callable:
    """Return the function for compiled functions, of which it becomes a part: for one that is called in one place."""
    return numba.njit(inline="always", error_model="numpy")(function)


@intrinsic
def call(context, address, arguments):
    """Return the int64 that the C function at an address gives for a tuple of int64 and of arrays, as pointers."""
    word = cgutils.ir.IntType(64)

    def generate(target, builder, signature, values):
        words = []
        for i, kind in enumerate(signature.args[1].types):
            value = builder.extract_value(values[1], i)
            if isinstance(kind, types.Array):
                value = builder.ptrtoint(target.make_array(kind)(target, builder, value).data, word)
            words.append(value)
        kind = cgutils.ir.FunctionType(word, [word] * len(words))
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), words)

    return types.int64(address, arguments), generate


def pointers(*arrays: np.ndarray) -> tuple[int, ...]:
    """Return the addresses of the data of contiguous arrays, as a C function is called from Python."""
    return tuple(array.ctypes.data for array in arrays)


def from_python(function: object, arguments: int) -> Callable[..., int]:
    """Return a C function of so many pointers as a Python function of addresses; it releases the GIL."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * arguments)(function.address)


def c_function(signature: types.Type) -> Callable[[Callable], Callable[[], object]]:
    """Return a decorator: the function becomes one without arguments that gives it as a C function with an `address`.

    It is compiled, or taken from the disk, when it is first asked for: not at import.
    """

    def decorate(function: Callable) -> Callable[[], object]:
        @functools.cache
        def made():
            return numba.cfunc(signature, cache=True, error_model="numpy")(keyed(function, source_version()))

        return made

    return decorate


def pack(*arrays: np.ndarray) -> Ints:
    """Return arrays of int64 and float64, of at most three dimensions, as one vector of words.

    The vector begins with its length; then come, for each array, the place of its first word and its three sizes.
    Whoever keeps the vector keeps all of the data.
    """
    kept = [np.ascontiguousarray(a, dtype=np.int64 if np.asarray(a).dtype.kind == "i" else np.float64) for a in arrays]
    at, head, parts = 1 + (1 + AXES) * len(kept), [], []
    for array in kept:
        if array.ndim > AXES:
            raise ValueError(f"an array of {array.ndim} dimensions can not be packed, but {AXES} at most")
        head += [at, *array.shape, *(1,) * (AXES - array.ndim)]
        parts.append(array.ravel().view(np.int64))
        at += array.size
    return np.concatenate([np.array([at, *head], dtype=np.int64), *parts])


@inner
def integers(words, i):
    """Return packed vector number i, of int64."""
    at = words[1 + 4 * i]
    return words[at : at + words[2 + 4 * i]]


@inner
def vector(words, i):
    """Return packed vector number i, of float64."""
    return integers(words, i).view(np.float64)


@inner
def matrix(words, i):
    """Return packed matrix number i, of float64."""
    at, rows, columns = words[1 + 4 * i], words[2 + 4 * i], words[3 + 4 * i]
    return words[at : at + rows * columns].view(np.float64).reshape((rows, columns))


@inner
def cube(words, i):
    """Return packed array number i of three dimensions, of float64."""
    at, a, b, c = words[1 + 4 * i], words[2 + 4 * i], words[3 + 4 * i], words[4 + 4 * i]
    return words[at : at + a * b * c].view(np.float64).reshape((a, b, c))
