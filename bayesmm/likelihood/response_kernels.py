"""The log density of one response and its derivatives in the linear predictor, compiled, for every family and link.

A family gives the functions (`bayesmm.families.kernel.Kernels`). Those of some families (`Family.inlined`), with the
link of their `row` kernel, become a part of whatever calls them, and are found by the family's number. All others, and
a user's own, are C functions that are called through their addresses: what they are made of is compiled once, and not
again into each likelihood. In place of the family's number stands the address of a table; see
`bayesmm.likelihood.row_functions`.

A linear predictor at which the density is 0 or does not exist in floating point gives -inf and zero derivatives, never
NaN: a sampler rejects it and a line search refuses it.
"""

import math
from collections.abc import Callable

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

import bayesmm.likelihood.exponential  # noqa: F401 - has kernels in a form of its own
from bayesmm.families.families import FAMILIES
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.compiled import DOUBLES, Inner, compiled, from_kernel, inner

NUMBERS = 4096  # those of families are below, and addresses of tables are not: no program has data in its first page
# The entries of a table: two addresses, 1 or 0 (`Family.whole_strip`), the address of `Kernels.joint` or 0, those of
# `row` and `row_score`, or again of density and score, and that of `row_constant` or 0.
DENSITY, SCORE, WHOLE_STRIP, JOINT, ROW_DENSITY, ROW_SCORE, ROW_CONSTANT = range(7)
DOUBLE = types.float64
ROW = types.void(DOUBLE, DOUBLE, DOUBLE, DOUBLES, DOUBLES)  # a C function of a row: (y, size, eta, aux, out)
WIDEST = 128  # parameters that a row may have
MOST_BITS = 62  # of what says which parameters may be any number: those from there on share one
OUTPUTS = 4  # numbers that a C function of a row gives: (log density, three derivatives), or (three derivatives, 0)


def of_families(name: str, otherwise: Inner) -> Inner:
    """Return the compiled function (family, link, y, size, eta, aux) of the families that are known by number.

    It is written here as text, ``if family == 2: return kernel_2(*row)`` and so on: compiled code cannot look a
    function up, and one that asks the next in turn would be compiled again into each that asks it.
    """
    numbered = [family for family in FAMILIES.values() if family.inlined]
    given = {f.number: getattr(f.kernels, name) for f in numbered if getattr(f.kernels, name) is not None}
    more = " + (0.0,)" if name.endswith("score") else ""  # a third derivative, which no family known by number has
    branches = "".join(f"    if family == {number}:\n        return kernel_{number}(*row){more}\n" for number in given)
    source = f"def {name}_of_families(family, *row):\n{branches}    return otherwise(family, *row)\n"
    known = {f"kernel_{number}": from_kernel(own) for number, own in given.items()}
    known |= {"otherwise": otherwise, "__name__": __name__}
    exec(compile(source, __file__, "exec"), known)
    return inner(known[f"{name}_of_families"])


SMOOTH_FAMILIES = tuple(f.number for f in FAMILIES.values() if f.kernels and f.kernels.smooth)


def of_smooth(name: str, text: str, freedom: Callable, none: str) -> Inner:
    """Return the compiled function (family, ...) of the families with a `smooth` kernel, whose loop is a text.

    It is written as text, as by `of_families`, with `none` for what it returns for other families. The kernels are
    merged into the loop: one that is called is called for one node, or row, at a time.
    """
    numbered = {family.number: family.kernels for family in FAMILIES.values()}
    branches = "".join(f"    if family == {n}:\n        return {name}_{n}(*given)\n" for n in SMOOTH_FAMILIES)
    source = f"def smooth_{name}(family, *given):\n{branches}    return {none}\n"
    known: dict = {"__name__": __name__}
    for number in SMOOTH_FAMILIES:
        parts = {f"kernel_{number}": from_kernel(numbered[number].smooth, merged=True), "__name__": __name__}
        exec(compile(text.format(number=number), __file__, "exec"), parts)
        known[f"{name}_{number}"] = freedom(parts[f"{name}_{number}"])
    exec(compile(source, __file__, "exec"), known)
    return inner(known[f"smooth_{name}"])


# r nodes of a row: their numbers, f, to which is added, a row of the table, the derivatives in the two parameters
LINE = """def line_{number}(r, y, size, weight, at, step, first, second, number, f, table, d_first, d_second):
    for c in range(r):
        value, d1, a0, a1 = kernel_{number}(0, y, size, at + number[c] * step, (first, second))
        f[c] += weight * value
        table[c] = weight * d1
        d_first[c] += weight * a0
        d_second[c] += weight * a1
    return 0
"""
# all rows: their linear predictors and, out, the slopes; the sums of the log density and of its derivatives
ROWS = """def rows_{number}(y, size, weight, eta, slope, first, second):
    total, d_first, d_second = 0.0, 0.0, 0.0
    for i in range(eta.shape[0]):
        value, d1, a0, a1 = kernel_{number}(0, y[i], size[i], eta[i], (first, second))
        total += weight[i] * value
        slope[i] = weight[i] * d1
        d_first += weight[i] * a0
        d_second += weight[i] * a1
    return total, d_first, d_second
"""


@intrinsic
def entry(context, table, place):
    """Return an int64 of the table at an address."""

    def generate(target, builder, signature, values):
        words = builder.inttoptr(values[0], cgutils.ir.IntType(64).as_pointer())
        return builder.load(builder.gep(words, [values[1]]))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _row(context, address, y, size, eta, aux):
    """Return the four numbers that the C function at an address gives for a row."""
    double = cgutils.ir.DoubleType()

    def generate(target, builder, signature, values):
        out = cgutils.alloca_once(builder, double, size=OUTPUTS)
        array = target.make_array(signature.args[4])(target, builder, values[4])
        kind = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [double] * 3 + [double.as_pointer()] * 2)
        function = builder.inttoptr(values[0], kind.as_pointer())
        builder.call(function, [*values[1:4], builder.bitcast(array.data, double.as_pointer()), out])
        numbers = [builder.load(builder.gep(out, [cgutils.intp_t(k)])) for k in range(OUTPUTS)]
        return target.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(DOUBLE, OUTPUTS)(types.int64, DOUBLE, DOUBLE, DOUBLE, aux), generate


@intrinsic
def _row_scores(context, address, y, size, eta, aux):
    """Return the numbers that the C function at an address gives for a row, which are the caller's until it is done."""
    double = cgutils.ir.DoubleType()

    def generate(target, builder, signature, values):
        out = cgutils.alloca_once(builder, double, size=WIDEST)
        array = target.make_array(signature.args[4])(target, builder, values[4])
        kind = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [double] * 3 + [double.as_pointer()] * 2)
        function = builder.inttoptr(values[0], kind.as_pointer())
        builder.call(function, [*values[1:4], builder.bitcast(array.data, double.as_pointer()), out])
        return out

    return DOUBLES(types.int64, DOUBLE, DOUBLE, DOUBLE, aux), generate


@inner
def add_scores_at(family, y, size, eta, aux, weight, by, out):
    """Add the derivatives in a row's parameters, of which there are `by`, times a weight to what a pointer points to.

    It is for families whose rows have more than three, all of which are called by address.
    """
    found = _row_scores(entry(family, SCORE), y, size, eta, aux)
    for m in range(by):
        if math.isfinite(found[m]):
            out[m] += weight * found[m]


@intrinsic
def _row_joint(context, address, y, size, eta, aux, out):
    """Set `out` to the numbers that the C function at an address gives for a row."""

    def generate(target, builder, signature, values):
        double = cgutils.ir.DoubleType()
        kind = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [double] * 3 + [double.as_pointer()] * 2)
        arrays = [target.make_array(signature.args[k])(target, builder, values[k]).data for k in (4, 5)]
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [*values[1:4], *arrays])
        return target.get_dummy_value()

    return types.void(types.int64, DOUBLE, DOUBLE, DOUBLE, aux, out), generate


@inner
def has_joint(family):
    """Return whether a family gives the derivatives of a row in all of its predictors together."""
    return family >= NUMBERS and entry(family, JOINT) != 0


@inner
def set_joint(family, y, size, eta, aux, out):
    """Set `out` to what `Kernels.joint` gives, for a family that `has_joint`."""
    _row_joint(entry(family, JOINT), y, size, eta, aux, out)


@inner
def density_from(place, family, y, size, eta, aux):
    """Return the four numbers of the C function at a place of a family's table; no density for one without a table."""
    if family < NUMBERS:
        return -math.inf, 0.0, 0.0, 0.0
    return _row(entry(family, place), y, size, eta, aux)


@inner
def score_from(place, family, y, size, eta, aux):
    """Return the derivatives in three parameters that the C function at a place of a family's table gives."""
    if family < NUMBERS:
        return 0.0, 0.0, 0.0
    a0, a1, a2, _ = _row(entry(family, place), y, size, eta, aux)
    return a0, a1, a2


@inner
def density_at(family, link, y, size, eta, aux):
    """Return what the C function of a density gives; the arguments of `log_density`."""
    return density_from(DENSITY, family, y, size, eta, aux)


@inner
def score_at(family, link, y, size, eta, aux):
    """Return what the C function of the derivatives in the parameters gives; the arguments of `log_density`."""
    return score_from(SCORE, family, y, size, eta, aux)


@inner
def row_at(family, link, y, size, eta, aux):
    """Return the same as `density_at` without what is in `row_constant_at`."""
    return density_from(ROW_DENSITY, family, y, size, eta, aux)


@inner
def row_score_at(family, link, y, size, eta, aux):
    """Return the same as `score_at` without what is in `row_constant_at`."""
    return score_from(ROW_SCORE, family, y, size, eta, aux)


@inner
def row_constant_at(family, link, y, size, eta, aux):
    """Return what a row of a family has apart from the linear predictor, and its derivatives in two parameters."""
    if family < NUMBERS or entry(family, ROW_CONSTANT) == 0:
        return 0.0, 0.0, 0.0
    value, a0, a1, _ = _row(entry(family, ROW_CONSTANT), y, size, eta, aux)
    return value, a0, a1


_density = of_families("density", density_at)
_score = of_families("score", score_at)


@inner
def finite(d):
    """Return a log density and three derivatives, -inf and zeros where one is not finite."""
    if math.isfinite(d[0]) and math.isfinite(d[1]) and math.isfinite(d[2]) and math.isfinite(d[3]):
        return d
    return -math.inf, 0.0, 0.0, 0.0


@inner
def finite_score(d):
    """Return three derivatives, 0 for what is not finite."""
    a0, a1, a2 = d
    return (a0 if math.isfinite(a0) else 0.0), (a1 if math.isfinite(a1) else 0.0), (a2 if math.isfinite(a2) else 0.0)


@compiled
def log_density(family, link, y, size, eta, aux):
    """Return the log density of y given the linear predictor, with its constants.

    Parameters
    ----------
    family, link : int
        Of `row_functions.codes`.
    y, size, eta : float
        Response (number of successes for a binomial), trials (1 elsewhere) and linear predictor.
    aux : (3,) float64
        The family's parameters besides the mean in its order, zeros where it has fewer.

    Returns
    -------
    float
        -inf where it does not exist; never NaN.
    """
    return derivatives(family, link, y, size, eta, aux)[0]


@compiled
def derivatives(family, link, y, size, eta, aux):
    """Return the log density and its first three derivatives in eta; the arguments of `log_density`."""
    return finite(_density(family, link, y, size, eta, aux))


@compiled
def score_auxiliary(family, link, y, size, eta, aux):
    """Return the derivatives of the log density in the three parameters; the arguments of `log_density`."""
    return finite_score(_score(family, link, y, size, eta, aux))


@inner
def add_score(family, link, y, size, eta, aux, weight, by, out):
    """Add the derivatives in a row's `by` parameters, three or more, times a weight to what a pointer points to."""
    if by > MOST_PARAMETERS:
        add_scores_at(family, y, size, eta, aux, weight, by, out)
        return
    a0, a1, a2 = finite_score(_score(family, link, y, size, eta, aux))
    out[0] += weight * a0
    out[1] += weight * a1
    out[2] += weight * a2


@inner
def is_real(real, m):
    """Return whether the m-th parameter of a family may be any number, by the bits that say so."""
    return (real >> min(m, MOST_BITS)) & 1 == 1
