"""Compiled PyTensor functions as C functions, which a sampler calls from its own threads without Python.

What Numba compiled for PyTensor is kept on disk. A C function that calls it in the ordinary way makes Numba take it
in and compile it all again, in every process, which is most of the waiting before a fit. Here the C function is a few
lines that call what was compiled through its address.

The data are constants of that C function, or, where it is to be used again with other data of the same shapes, read
through a pointer that the sampler hands on: the address of an array of addresses.
"""

from collections.abc import Callable, Mapping, Sequence

import numba
import numpy as np
from numba import carray, types
from numba.core import cgutils, typing
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

DOUBLES = types.CPointer(types.double)
# What nutpie calls: (dimensions, x, gradient out, log density out, user data) -> error code, and
# (dimensions, size, x, values out, user data) -> error code.
DENSITY = types.int64(types.uint64, DOUBLES, DOUBLES, DOUBLES, types.voidptr)
EXPANSION = types.int64(types.uint64, types.uint64, DOUBLES, DOUBLES, types.voidptr)
# nutpie's error codes: an exception, a gradient or a log density that is not finite (divergences, not the end), ...
RAISED, BAD_GRADIENT, BAD_DENSITY, BAD_EXPANSION, WRONG_SIZE = 1, 3, 4, -2, -1


class Moved(Exception):
    """A library has a part that is not of its public interface elsewhere, or no more."""


def density(function, x: np.ndarray, places: Mapping[str, int] | None = None) -> CFunc:
    """Return x -> (log density, gradient) as a C function.

    Parameters
    ----------
    function : PyTensor function, mode NUMBA
        Takes x, (d,), returns a scalar and a vector (d,).
    x : (d,) float64
        A point to compile it at.
    places : mapping of str to int, optional
        For each of the data by name, which of the addresses in the user data is its own; constants if not given.
    """
    call, size = _caller(function, x, places), len(x)

    def run(dimensions, x_, gradient_, value_, user_data):
        if dimensions != size:
            return WRONG_SIZE
        try:
            value, gradient = call(carray(x_, (size,)), user_data)
        except Exception:  # Numba knows no other; whatever a graph raises is a point without a density
            return RAISED
        if not np.all(np.isfinite(gradient)):
            return BAD_GRADIENT
        carray(gradient_, (size,))[:] = gradient
        carray(value_, (1,))[0] = value[()]
        return 0 if np.isfinite(value[()]) else BAD_DENSITY

    return numba.cfunc(DENSITY)(run)


def expansion(function, x: np.ndarray, size: int, places: Mapping[str, int] | None = None) -> CFunc:
    """Return x -> all variables, one after the other, as a C function.

    Parameters
    ----------
    function : PyTensor function, mode NUMBA
        Takes x, (d,), returns one vector (size,).
    x : (d,) float64
        A point to compile it at.
    size : int
    places
        As for `density`.
    """
    call, given = _caller(function, x, places), len(x)

    def run(dimensions, wanted, x_, values_, user_data):
        if dimensions != given or wanted != size:
            return WRONG_SIZE
        try:
            (values,) = call(carray(x_, (given,)), user_data)
        except Exception:  # as above
            return BAD_EXPANSION
        carray(values_, (size,))[:] = values
        return 0

    return numba.cfunc(EXPANSION)(run)


def _caller(function, x: np.ndarray, places: Mapping[str, int] | None) -> Callable:
    """Return a Numba function of x and the user data that calls a compiled PyTensor function through its address.

    The function must be kept as long as this one is in use.
    """
    compiled = getattr(function.vm, "jit_fn", None)
    if not (hasattr(compiled, "compile") and hasattr(compiled, "overloads")):
        raise Moved("PyTensor has its Numba function elsewhere")
    shared = tuple(np.ascontiguousarray(variable.get_value(borrow=True)) for variable in function.get_shared())
    takes = (numba.typeof((x, *shared)),)
    compiled.compile(takes)  # or taken from the disk
    overload = compiled.overloads[takes]
    address = overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name)
    run = _native(overload.signature)
    if places is not None:
        at = [places[variable.name] for variable in function.get_shared()]
        read, number = _reader(at, shared), len(places)

        @numba.njit
        def call_with(x, user_data):
            return run(address, (x,) + read(carray(user_data, (number,), np.uintp)))  # noqa: RUF005 - as below

        return call_with

    @numba.njit
    def call(x, user_data):
        return run(address, (x,) + shared)  # noqa: RUF005 - Numba has no starred tuples

    return call


def _reader(at: Sequence[int], like: Sequence[np.ndarray]) -> Callable:
    """Return a Numba function of addresses: the arrays at the places `at` of them, shaped as `like`."""
    if not like:
        return numba.njit(lambda addresses: ())
    place, shape, dtype = at[0], like[0].shape, like[0].dtype
    rest = _reader(at[1:], like[1:])

    @numba.njit
    def read(addresses):
        return (carray(_pointer(addresses[place]), shape, dtype),) + rest(addresses)  # noqa: RUF005 - as above

    return read


@intrinsic
def _pointer(context, address):
    """Return an address as a pointer."""

    def generate(target, builder, _, values):
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


def _native(signature: typing.Signature) -> Callable:
    """Return an operation of Numba's, (address, arguments) -> result, for compiled functions of this signature.

    An exception in the function is passed on, as by Numba's own calls.
    """
    result, takes = signature.return_type, signature.args

    @intrinsic
    def native(context, address, arguments):
        def generate(target, builder, _, values):
            kind = target.call_conv.get_function_type(result, takes)
            function = builder.inttoptr(values[0], kind.as_pointer())
            status, value = target.call_conv.call_function(builder, function, result, takes, (values[1],))
            with cgutils.if_unlikely(builder, status.is_error):
                target.call_conv.return_status_propagate(builder, status)
            return value

        return result(address, arguments), generate

    return native
