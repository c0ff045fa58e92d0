"""The exponential and the logarithm as arithmetic alone: a compiled loop over many arguments takes several at once."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from bayesmm.families.special import quick_exp, quick_log, quick_log1p
from bayesmm.likelihood.compiled import OTHER_FORMS, inlined

LOG2_E = 1.4426950408889634
# log 2 in two parts, the first with few enough digits that its small multiples are exact (Cody & Waite 1980).
LOG_2, LOG_2_REST = 6.93145751953125e-1, 1.42860682030941723212e-6
SHIFT = 6755399441055744.0  # 1.5 * 2^52: added to a number it leaves the nearest integer in the last bits
EXPONENT, BIAS = 52, 1023  # of a double: the exponent's place and what is added to it
ROOT_HALF = 0x3FE6A09E667F3BCD  # the bits of sqrt(1 / 2)
INTEGER = 0x4338000000000000  # those of SHIFT


def _as(target, source):
    """Return a compiled function that reads the bits of one type as the other."""

    def typed(context, value):
        def generate(machine, builder, signature, arguments):
            return builder.bitcast(arguments[0], ir.DoubleType() if target == types.float64 else ir.IntType(64))

        return target(source), generate

    return intrinsic(typed)


_double, _bits = _as(types.float64, types.int64), _as(types.int64, types.float64)


@inlined
def exponential(x):
    """Return exp x for -708 < x < 709, to 1e-15: 2^n times the Taylor polynomial of |r| <= log(2) / 2, x = n log 2 + r.

    The polynomial's first term left out is r^12 / 12! < 7e-15 of a value of at least 0.7.
    """
    shifted = x * LOG2_E + SHIFT
    n = shifted - SHIFT
    r = (x - n * LOG_2) - n * LOG_2_REST
    s = r * r
    even = 1.0 + s * (1 / 2 + s * (1 / 24 + s * (1 / 720 + s * (1 / 40320 + s / 3628800))))
    odd = r * (1.0 + s * (1 / 6 + s * (1 / 120 + s * (1 / 5040 + s * (1 / 362880 + s / 39916800)))))
    return (even + odd) * _double((_bits(shifted) + BIAS) << EXPONENT)


@inlined
def logarithm(x):
    """Return log x for a normal x > 0, to 1e-15: n log 2 + log m with x = 2^n m, sqrt(1/2) <= m < sqrt(2).

    log m = 2 artanh t, t = (m - 1) / (m + 1), by its series: |t| < 0.172, so that the first term left out, t^21 / 21,
    is below 1e-17. n becomes a double by its bits, because machines without AVX-512 convert one integer at a time.
    """
    n = (_bits(x) - ROOT_HALF) >> EXPONENT
    m = _double(_bits(x) - (n << EXPONENT))
    t = (m - 1.0) / (m + 1.0)
    s = t * t
    high = 1 / 11 + s * (1 / 13 + s * (1 / 15 + s * (1 / 17 + s / 19)))
    rest = s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * high))))
    number = _double(n + INTEGER) - SHIFT
    return number * LOG_2 + (2.0 * t + (2.0 * t * rest + number * LOG_2_REST))


@inlined
def log_above_one(x):
    """Return log(1 + x) for x >= 0, to 1e-15 of itself: the logarithm of 1 + x as rounded, and what was rounded off."""
    above = 1.0 + x
    return logarithm(above) + (x - (above - 1.0)) / above


OTHER_FORMS[quick_exp] = exponential
OTHER_FORMS[quick_log] = logarithm
OTHER_FORMS[quick_log1p] = log_above_one
