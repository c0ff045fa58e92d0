"""Records of arrays as one vector of words, which compiled code reads back as the same record.

A record is a NamedTuple whose fields are annotated with the kinds below, or are records themselves. Nothing else says
what a vector of words holds: not the numbers of its arrays, here or in compiled code. The vector, of int64, begins with
its length; then come, for each array, the place of its first word and its three sizes; then the arrays.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Annotated, NamedTuple, get_type_hints

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

Ints, Floats = NDArray[np.int64], NDArray[np.float64]
AXES = 3  # dimensions of an array that can be packed, at most


class Kind(NamedTuple):
    """What a field is in compiled code: a number, or an array of so many dimensions."""

    dtype: types.Type
    ndim: int


Integer, Number = Annotated[int, Kind(types.int64, 0)], Annotated[float, Kind(types.float64, 0)]
Integers, Vector = Annotated[Ints, Kind(types.int64, 1)], Annotated[Floats, Kind(types.float64, 1)]
Matrix, Cube = Annotated[Floats, Kind(types.float64, 2)], Annotated[Floats, Kind(types.float64, 3)]
# The vector that a record is read from, which is not a part of itself: for who hands all of it on.
Words = Annotated[Ints, None]
WHOLE = Kind(types.int64, 1)


@cache
def fields(record: type) -> tuple:
    """Return what each field of a record is: its Kind, None for `Words`, or the record that it is itself."""
    hints = get_type_hints(record, include_extras=True)
    own = map(hints.get, record._fields)
    return tuple(hint.__metadata__[0] if hasattr(hint, "__metadata__") else hint for hint in own)


def pack(record: NamedTuple) -> Ints:
    """Return a record as one vector of words; whoever keeps the vector keeps all of the data.

    Raises
    ------
    ValueError
        An array has another number of dimensions than its field.
    """
    kept = list(_arrays(record))
    at, head, parts = 1 + (1 + AXES) * len(kept), [], []
    for array in kept:
        head += [at, *array.shape, *(1,) * (AXES - array.ndim)]
        parts.append(array.ravel().view(np.int64))
        at += array.size
    return np.concatenate([np.array([at, *head], dtype=np.int64), *parts])


def _arrays(record: NamedTuple) -> Iterator[np.ndarray]:
    for name, kind, value in zip(record._fields, fields(type(record)), record, strict=True):
        if isinstance(kind, Kind):
            array = np.ascontiguousarray(value, dtype=np.int64 if kind.dtype == types.int64 else np.float64)
            if np.ndim(value) != kind.ndim:
                raise ValueError(f"{type(record).__name__}.{name} has {kind.ndim} dimensions, not {np.ndim(value)}")
            yield array
        elif kind is not None:
            yield from _arrays(value)


def unpacked(words: Ints, record: type) -> NamedTuple:
    """Return a vector of words as its record: of views, which change with the vector; numbers are arrays of one."""
    return _views(words, record, iter(range(words.size)))


def _views(words: Ints, record: type, number: Iterator[int]) -> NamedTuple:
    found = []
    for kind in fields(record):
        if isinstance(kind, Kind):
            i = next(number)
            at, *sizes = (int(word) for word in words[1 + (1 + AXES) * i : 1 + (1 + AXES) * (i + 1)])
            array = words[at : at + math.prod(sizes)].view(np.int64 if kind.dtype == types.int64 else np.float64)
            found.append(array.reshape(sizes[: max(kind.ndim, 1)]))
        else:
            found.append(words if kind is None else _views(words, kind, number))
    return record(*found)


def reader(record: type) -> Callable:
    """Return the compiled function that reads a record from a vector of words, or from a pointer to one.

    Its arrays have no count of their references: the words must be kept by somebody, up to the last use.
    """

    def generate(target, builder, signature, arguments):
        words = arguments[0]
        if isinstance(signature.args[0], types.Array):
            words = target.make_array(signature.args[0])(target, builder, words).data
        return _read(target, builder, words, signature.return_type, iter(range(size_of(record))))

    def typed(context, words):
        return _type(record)(words), generate

    return intrinsic(typed)


def size_of(record: type) -> int:
    """Return how many arrays a record has, those of records in it included."""
    return sum(1 if isinstance(kind, Kind) else size_of(kind) for kind in fields(record) if kind is not None)


def _type(record: type) -> types.Type:
    """Return the type that a record has in compiled code."""
    own = []
    for kind in fields(record):
        kind = WHOLE if kind is None else kind
        if isinstance(kind, Kind):
            own.append(types.Array(kind.dtype, kind.ndim, "C") if kind.ndim else kind.dtype)
        else:
            own.append(_type(kind))
    return types.NamedTuple(own, record)


def _read(target, builder, words, kind, number: Iterator[int]):
    """Generate what reads a record of a type, whose first array has the next number."""
    found = []
    for own, of in zip(kind.types, fields(kind.instance_class), strict=True):
        if of is None:
            found.append(array_over(target, builder, words, own, [builder.load(words)]))
        elif isinstance(of, Kind):
            head = 1 + (1 + AXES) * next(number)
            at, *sizes = (_word(builder, words, head + k) for k in range(1 + of.ndim))
            data = builder.bitcast(builder.gep(words, [at]), target.get_data_type(of.dtype).as_pointer())
            found.append(array_over(target, builder, data, own, sizes) if of.ndim else builder.load(data))
        else:
            found.append(_read(target, builder, words, own, number))
    return target.make_tuple(builder, kind, found)


def _word(builder, words, place: int):
    return builder.load(builder.gep(words, [cgutils.intp_t(place)]))


def array_over(target, builder, data, kind, sizes):
    """Generate an array of these sizes over data that somebody else keeps."""
    strides = [cgutils.intp_t(8)]
    for size in sizes[:0:-1]:
        strides.insert(0, builder.mul(size, strides[0]))
    out = target.make_array(kind)(target, builder)
    populate_array(out, data, sizes, strides, cgutils.intp_t(8), meminfo=None)
    return out._getvalue()
