"""Records as words: what compiled code reads is what was packed."""

from typing import NamedTuple

import numba
import numpy as np
import pytest

from bayesmm.likelihood.packed import Cube, Integer, Integers, Matrix, Number, Vector, Words, pack, reader, unpacked


class Inside(NamedTuple):
    table: Matrix
    levels: Integers


class Outside(NamedTuple):
    number: Integer
    inside: Inside
    empty: Vector
    share: Number
    whole: Words
    cube: Cube


record = Outside(
    7, Inside(np.arange(6.0).reshape(2, 3), [4, -5]), [], 0.25, None, np.arange(8.0).reshape((2, 2, 2))
)  # fmt: skip
read = reader(Outside)


@numba.njit
def sums(words):
    """Return numbers that no two records have in common."""
    own = read(words)
    total = own.cube[1, 0, 1] * 1000 + own.inside.table[1, 2] * 100 + own.inside.levels[1] * 10 + own.number
    return total, own.share, own.empty.shape[0], own.inside.table.shape, own.whole.shape[0]


def test_compiled_code_reads_the_record():
    words = pack(record)
    assert sums(words) == (5000.0 + 500.0 - 50.0 + 7.0, 0.25, 0, (2, 3), len(words)) and words[0] == len(words)


def test_python_has_views_of_it():
    words = pack(record)
    found = unpacked(words, Outside)
    np.testing.assert_array_equal(found.inside.table, record.inside.table)
    np.testing.assert_array_equal(found.cube, record.cube)
    assert found.number == 7 and found.inside.levels.dtype == np.int64 and found.whole is words
    found.inside.table[1, 2], found.number[0] = 9.0, 8
    assert sums(words)[0] == 5000.0 + 900.0 - 50.0 + 8.0


def test_an_array_of_other_dimensions_is_refused():
    with pytest.raises(ValueError, match=r"Inside\.table has 2 dimensions, not 1"):
        pack(record._replace(inside=Inside(np.zeros(3), [1])))
