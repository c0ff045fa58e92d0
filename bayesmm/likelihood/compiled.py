"""Compiled code that is kept on disk, and the data that a sampler hands it.

Numba compiles a function together with all that it calls, and looks only at the file that the function itself is in
when it asks whether the code on disk is still good. `compiled` and `c_function` are for functions that call those of
other files: their key on disk also has the checksum of the sources of the whole folder, and of the families' kernels.

Large functions call one another through their addresses (`call`), or each would be compiled again, with all that it is
made of, into every other. What makes the first fit wait is the number of compiled functions: arrays come from a few
functions of this module, because each way to write `np.zeros` is another function to compile.
"""

import ctypes
import functools
import threading
import zlib
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import CellType, FunctionType, ModuleType

import llvmlite.binding
import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numpy.typing import NDArray

from bayesmm.families.families import CANONICAL, FAMILIES, NUMBERED_STRIPS
from bayesmm.families.kernel import is_kernel
from bayesmm.likelihood.announced import PLANS
from bayesmm.likelihood.linked import ForCallers
from bayesmm.likelihood.packed import array_over
from bayesmm.runtime.claims import claimed

Ints = NDArray[np.int64]
MAKING = threading.RLock()  # held while a thing is made that is made once
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
    """Return a checksum of everything that the compiled likelihood is made from.

    Of the families those that are a part of it: the functions of the others have checksums of their own.
    """
    version = 0
    for path in sorted(Path(__file__).parent.glob("*.py")):
        version = zlib.crc32(path.read_bytes(), version)
    for family in FAMILIES.values():
        if family.inlined:
            parts = [_parts(kernel) for kernel in vars(family.kernels).values() if is_kernel(kernel)]
            version = zlib.crc32(repr((family.number, parts, CANONICAL, NUMBERED_STRIPS)).encode(), version)
    return version


def kernel_version(kernel: Callable, version: int) -> int:
    """Return a checksum of a kernel with the kernels that it calls, beginning with another checksum."""
    return zlib.crc32(repr(_parts(kernel)).encode(), version)


def _parts(function: Callable) -> tuple:
    """Return what a kernel and those that it calls are made of; their comments do not matter."""
    code, known = function.__code__, function.__globals__
    named = [known[name] for name in code.co_names if name in known]
    others = [_parts(value) if is_kernel(value) else value for value in named if not isinstance(value, ModuleType)]
    return code.co_code, code.co_consts, code.co_names, others


def keyed(function: Callable, version: int) -> Callable:
    """Return the function with `version` among its closure variables, whose values are part of Numba's key on disk."""
    code = function.__code__.replace(co_freevars=(*function.__code__.co_freevars, "_version"))
    cells = (*(function.__closure__ or ()), CellType(version))
    copy = functools.update_wrapper(
        FunctionType(code, function.__globals__, function.__name__, function.__defaults__, cells), function
    )
    # Numba reads all of a function's index on disk, also what an older version left there, whose types may be gone
    copy.__qualname__ = f"{function.__qualname__}_{version:x}"
    return copy


def compiled(function: Callable) -> Callable:
    """Return the function compiled by Numba at its first call, or taken from the disk; it releases the GIL."""
    made = numba.njit(cache=True, error_model="numpy", nogil=True)(keyed(function, source_version()))
    compile_for = made.compile

    def compile_alone(signature: object) -> object:
        with alone(made):
            return compile_for(signature)

    made.compile = compile_alone
    return made


def alone(function: Callable) -> AbstractContextManager:
    """Keep other processes from compiling the function, or reading it from the disk, at the same time."""
    return claimed(f"{numba.config.CACHE_DIR} {function.__module__}.{function.__qualname__}")


@dataclass(frozen=True)
class Inner:
    """A function for other compiled functions only: it has no entry for Python."""

    dispatcher: object

    @property
    def _numba_type_(self) -> types.Type:  # what Numba asks of an object that compiled code names
        return self.dispatcher._numba_type_

    def __call__(self, *_: object) -> None:
        """Say that Python cannot call it; without this the interpreter would crash."""
        name = self.dispatcher.__name__
        raise TypeError(f"{name} is compiled for compiled functions only; call it from one")


def inner(
    function: Callable, *, freedom: Collection[str] = (), version: int | None = None, merged: bool = False
) -> Inner:
    """Return the function compiled for other compiled functions only; an entry for Python takes as long to compile.

    `freedom` is what LLVM may do with the arithmetic: "contract" products and sums, or "reassoc" sums. `version` is a
    checksum of what it is made from, if not that of the likelihood. `merged`: LLVM makes it a part of what calls it,
    however large it is.
    """
    options = dict(forceinline=merged, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
    version = source_version() if version is None else version
    return Inner(numba.njit(fastmath=set(freedom), pipeline_class=ForCallers, **options)(keyed(function, version)))


# Kernels that compiled code has in a form of its own
OTHER_FORMS: dict[Callable, Callable] = {}


@functools.cache
def from_kernel(function: Callable, merged: bool = False) -> Callable | Inner:
    """Return a kernel of a family compiled, with the kernels that it calls; `merged` as for `inner`."""
    if function in OTHER_FORMS:
        return OTHER_FORMS[function]
    known = function.__globals__
    others = {
        name: from_kernel(known[name], merged) for name in function.__code__.co_names if is_kernel(known.get(name))
    }
    copy = FunctionType(function.__code__, {**known, **others}, function.__name__)
    return inner(
        functools.update_wrapper(copy, function), version=kernel_version(function, source_version()), merged=merged
    )


# For functions of records: each field is a word that a call pushes, which can take longer than the function itself
merged = functools.partial(inner, merged=True)
fused = functools.partial(inner, freedom=("contract",))
reordered = functools.partial(inner, freedom=("contract", "reassoc"))


def inlined(function: Callable) -> Callable:
    """Return the function for compiled functions, of which it becomes a part: for one that is called in one place."""
    return numba.njit(inline="always", error_model="numpy")(function)


@intrinsic(prefer_literal=True)
def call(context, address, arguments):
    """Return the int64 that a C function gives for a tuple of int64, pointers, and arrays, as pointers.

    The function is known by its address, or by its name: see `c_function`.
    """
    word = cgutils.ir.IntType(64)
    named = isinstance(address, types.StringLiteral)

    def generate(target, builder, signature, values):
        words = []
        for i, kind in enumerate(signature.args[1].types):
            value = builder.extract_value(values[1], i)
            if isinstance(kind, types.Array):
                value = target.make_array(kind)(target, builder, value).data
            words.append(value if value.type == word else builder.ptrtoint(value, word))
        kind = cgutils.ir.FunctionType(word, [word] * len(words))
        if named:
            function = cgutils.get_or_insert_function(builder.module, kind, symbol(address.literal_value))
        else:
            function = builder.inttoptr(values[0], kind.as_pointer())
        return builder.call(function, words)

    return types.int64(address, arguments), generate


def symbol(name: str) -> str:
    """Return what compiled code on disk knows a C function as."""
    return f"bayesmm_{name}"


@intrinsic
def borrowed(context, array):
    """Return an array without the count of its references, whose upkeep can cost more than short loops do.

    The data must be kept by somebody: what they were borrowed from has to be used again after the last use.
    """

    def generate(target, builder, signature, values):
        view = target.make_array(signature.args[0])(target, builder, values[0])
        view.meminfo, view.parent = (cgutils.get_null_value(part.type) for part in (view.meminfo, view.parent))
        return view._getvalue()

    return array(array), generate


def pointers(*arrays: np.ndarray) -> tuple[int, ...]:
    """Return the addresses of the data of contiguous arrays, as a C function is called from Python.

    An array must have a name that keeps it while the function runs: one that is made in the call is gone before.
    """
    return tuple(array.ctypes.data for array in arrays)


def from_python(function: object, arguments: int) -> Callable[..., int]:
    """Return a C function of so many pointers as a Python function of addresses; it releases the GIL."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * arguments)(function.address)


def once[Made: Callable](function: Made) -> Made:
    """Return `functools.cache` of a function for threads too: what two of them made at once would be one too many.

    The address of a thing that the cache does not keep is that of nothing.
    """
    kept = functools.cache(function)

    @functools.wraps(function)
    def made(*given: object) -> object:
        with MAKING:
            return kept(*given)

    return made


class made_once[Made](functools.cached_property[Made]):
    """A cached property that several threads may ask for at once: C code reads what the cache keeps, and no other."""

    def __get__(self, instance: object, owner: type | None = None) -> Made:
        """Return the value, made at the first call."""
        with MAKING:
            return super().__get__(instance, owner)


def c_function(
    signature: types.Type, calls: Sequence[Callable[[], object]] = (), plan: str | None = None
) -> Callable[[Callable], Callable[[], object]]:
    """Return a decorator: the function becomes one without arguments that gives it as a C function with an `address`.

    It is compiled, or taken from the disk, when it is first asked for: not at import; before it those that it `calls`
    by their names. While it is compiled a second process does so by its `plan` of `bayesmm.cli.ahead`.
    """

    def decorate(function: Callable) -> Callable[[], object]:
        @once
        def made():
            for needed in calls:
                needed()
            found = c_function_on_disk(signature, keyed(function, source_version()), plan)
            llvmlite.binding.add_symbol(symbol(function.__name__), found.address)
            return found

        return made

    return decorate


def c_function_on_disk(signature: types.Type, function: Callable, plan: str | None = None) -> object:
    """Return a function, see `keyed`, as a C function, compiled or taken from the disk."""
    with alone(function):
        PLANS.append(plan)
        try:
            return numba.cfunc(signature, cache=True, error_model="numpy")(function)
        finally:
            PLANS.pop()


def from_template(template: Callable, kernel: Callable, signature: types.Type, name: str, **known: object) -> object:
    """Return a copy of a function as a C function, compiled or from the disk, under a name of its own.

    `known` are its global names, among them the compiled `kernel`, whose source is a part of the key on disk.
    """
    made = FunctionType(template.__code__, {**template.__globals__, **known}, name)
    made.__qualname__ = name
    return c_function_on_disk(signature, keyed(made, kernel_version(kernel, source_version())))


@intrinsic
def pointer(context, array, at):
    """Return the pointer to the number at a place of an array of float64, or of a pointer to one.

    Its numbers are read and written as those of an array are. It is one word, and an array is seven or more: a function
    that is called with a record of many arrays takes longer to be called than to run.
    """

    def generate(target, builder, signature, values):
        data = values[0]
        if isinstance(signature.args[0], types.Array):
            data = target.make_array(signature.args[0])(target, builder, data).data
        return builder.gep(data, [values[1]])

    return DOUBLES(array, types.int64), generate


def _part(ndim: int) -> Callable:
    """Return the compiled function that gives the numbers from a pointer on as an array of given sizes.

    It has no count of its references: the data must be kept by somebody, up to the last use.
    """

    def generate(target, builder, signature, values):
        sizes = cgutils.unpack_tuple(builder, values[1])
        return array_over(target, builder, values[0], signature.return_type, sizes)

    def typed(context, numbers, shape):
        return types.Array(types.float64, ndim, "C")(DOUBLES, types.UniTuple(types.int64, ndim)), generate

    return intrinsic(typed)


vector_of = _part(1)
matrix_of = _part(2)


@inner
def zeros(n):
    """Return n zeros."""
    return np.zeros(n)


@inner
def zero_integers(n):
    """Return n zeros that are integers."""
    return np.zeros(n, np.int64)


@inner
def zero_matrix(n, m):
    """Return n x m zeros."""
    return np.zeros((n, m))


@inner
def assign(out, values):
    """Set a vector to the numbers of another; `out[:] = values` compiles the text of an error too, two seconds long."""
    for i in range(out.shape[0]):
        out[i] = values[i]


for _name in ("dpotrf", "dpotri"):
    llvmlite.binding.add_symbol(symbol(_name), get_cython_function_address("scipy.linalg.cython_lapack", _name))


@intrinsic(prefer_literal=True)
def lapack(context, name, a, n):
    """Apply LAPACK's dpotrf or dpotri to the lower triangle of a matrix's leading n x n block; return its `info`.

    LAPACK reads by columns, so that what is the lower triangle here is its upper one.
    """

    def generate(target, builder, signature, values):
        array = target.make_array(signature.args[1])(target, builder, values[1])
        int32, char, void = cgutils.ir.IntType(32), cgutils.ir.IntType(8), cgutils.ir.VoidType()
        sizes = values[2], cgutils.unpack_tuple(builder, array.shape)[1]
        n, width = (cgutils.alloca_once_value(builder, builder.trunc(size, int32)) for size in sizes)
        info = cgutils.alloca_once_value(builder, int32(0))
        uplo = cgutils.alloca_once_value(builder, char(ord("U")))
        words = [uplo, n, array.data, width, info]
        kind = cgutils.ir.FunctionType(void, [word.type for word in words])
        function = cgutils.get_or_insert_function(builder.module, kind, symbol(signature.args[0].literal_value))
        builder.call(function, words)
        return builder.sext(builder.load(info), cgutils.ir.IntType(64))

    return types.int64(name, a, types.int64), generate
