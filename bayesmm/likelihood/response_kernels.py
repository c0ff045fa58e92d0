"""The log density of one response and its derivatives in the linear predictor, compiled, for every family and link.

A family gives the functions (`bayesmm.families.kernel.Kernels`); here compiled code finds the one of a family by its
number. What is no number of a registered family is the address of a user's own: see `bayesmm.likelihood.own_family`.

A linear predictor at which the density is 0 or does not exist in floating point gives -inf and zero derivatives, never
NaN: a sampler rejects it and a line search refuses it.
"""

import math

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bayesmm.families.families import FAMILIES
from bayesmm.likelihood.compiled import Inner, compiled, from_kernel, inner

REGISTERED = len(FAMILIES)
OWN_DENSITY, OWN_SCORE = 0, 1  # places of the two functions behind the address of a user's family


def of_families(name: str, otherwise: Inner) -> Inner:
    """Return the compiled function (family, link, y, size, eta, aux) of all families that give this kernel.

    It is written here as text, ``if family == 2: return density_poisson(*row)`` and so on: compiled code cannot look a
    function up, and one that asks the next in turn would be compiled again into each that asks it.
    """
    given = {f.number: getattr(f.kernels, name) for f in FAMILIES.values() if getattr(f.kernels, name) is not None}
    branches = "".join(f"    if family == {number}:\n        return kernel_{number}(*row)\n" for number in given)
    source = f"def {name}_of_families(family, *row):\n{branches}    return otherwise(family, *row)\n"
    known = {f"kernel_{number}": from_kernel(own) for number, own in given.items()} | {
        "otherwise": otherwise,
        "__name__": __name__,
    }
    exec(compile(source, __file__, "exec"), known)
    return inner(known[f"{name}_of_families"])


@intrinsic
def _own_row(context, address, place, y, size, eta, aux):
    """Return the four numbers that a C function of a user's family gives for a row."""
    double, word = cgutils.ir.DoubleType(), cgutils.ir.IntType(64)

    def generate(target, builder, signature, values):
        table = builder.inttoptr(values[0], word.as_pointer())
        code = builder.load(builder.gep(table, [values[1]]))
        out = cgutils.alloca_once(builder, double, size=4)
        array = target.make_array(signature.args[5])(target, builder, values[5])
        kind = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [double] * 3 + [double.as_pointer()] * 2)
        function = builder.inttoptr(code, kind.as_pointer())
        builder.call(function, [*values[2:5], builder.bitcast(array.data, double.as_pointer()), out])
        numbers = [builder.load(builder.gep(out, [cgutils.intp_t(k)])) for k in range(4)]
        return target.make_tuple(builder, signature.return_type, numbers)

    floats = types.float64, types.float64, types.float64
    return types.UniTuple(types.float64, 4)(types.int64, types.int64, *floats, aux), generate


@inner
def _own_density(family, link, y, size, eta, aux):
    return _own_row(family, OWN_DENSITY, y, size, eta, aux)


@inner
def _own_score(family, link, y, size, eta, aux):
    if family < REGISTERED:  # one that has no parameter besides the mean
        return 0.0, 0.0
    a0, a1, _, _ = _own_row(family, OWN_SCORE, y, size, eta, aux)
    return a0, a1


_density = of_families("density", _own_density)
_score = of_families("score", _own_score)


@compiled
def log_density(family, link, y, size, eta, aux):
    """Return the log density of y given the linear predictor, with its constants.

    Parameters
    ----------
    family, link : int
        Of `own_family.codes`.
    y, size, eta : float
        Response (number of successes for a binomial), trials (1 elsewhere) and linear predictor.
    aux : (2,) float64
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
    d = _density(family, link, y, size, eta, aux)
    if math.isfinite(d[0]) and math.isfinite(d[1]) and math.isfinite(d[2]) and math.isfinite(d[3]):
        return d
    return -math.inf, 0.0, 0.0, 0.0


@compiled
def score_auxiliary(family, link, y, size, eta, aux):
    """Return the derivatives of the log density in the two parameters; the arguments of `log_density`."""
    a0, a1 = _score(family, link, y, size, eta, aux)
    return (a0 if math.isfinite(a0) else 0.0), (a1 if math.isfinite(a1) else 0.0)
