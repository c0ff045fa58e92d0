"""Products of dense matrices for compiled code, by BLAS."""

import llvmlite.binding
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from bayesmm.likelihood.compiled import symbol

for _name in ("dsyrk", "dsymm"):
    llvmlite.binding.add_symbol(symbol(_name), get_cython_function_address("scipy.linalg.cython_blas", _name))


def _called(builder, name: str, arguments) -> None:
    """Generate a call of a function of BLAS, which takes pointers alone: to letters, sizes, numbers, and matrices."""
    words = []
    for value in arguments:
        if isinstance(value, str):
            value = cgutils.ir.IntType(8)(ord(value))
        elif isinstance(value, float):
            value = cgutils.ir.DoubleType()(value)
        elif value.type == cgutils.ir.IntType(64):
            value = builder.trunc(value, cgutils.ir.IntType(32))
        pointed = isinstance(value.type, cgutils.ir.PointerType)
        words.append(value if pointed else cgutils.alloca_once_value(builder, value))
    kind = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [word.type for word in words])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol(name)), words)


def _read(target, builder, signature, values, i: int):
    """Return the data of a matrix among the arguments, and its number of columns."""
    array = target.make_array(signature.args[i])(target, builder, values[i])
    return array.data, cgutils.unpack_tuple(builder, array.shape)[1]


@intrinsic
def take_square(context, M, B, rows):
    """Take B'B of the first `rows` rows of B, (K, m), from the lower triangle of M, (m, m).

    BLAS reads by columns, so that what is a lower triangle here is its upper one, and B its transpose.
    """

    def generate(target, builder, signature, values):
        (data, m), (B, _) = (_read(target, builder, signature, values, i) for i in range(2))
        _called(builder, "dsyrk", ("U", "N", m, values[2], -1.0, B, m, 1.0, data, m))
        return target.get_dummy_value()

    return types.void(M, B, types.int64), generate


@intrinsic
def times_symmetric(context, C, R, out, rows):
    """Set the first `rows` rows of `out` to those of C R, (K, m), of a symmetric R, (m, m), read up to its diagonal."""

    def generate(target, builder, signature, values):
        (C, m), (R, _), (out, _) = (_read(target, builder, signature, values, i) for i in range(3))
        _called(builder, "dsymm", ("L", "U", m, values[3], 1.0, R, m, C, m, 0.0, out, m))
        return target.get_dummy_value()

    return types.void(C, R, out, types.int64), generate
