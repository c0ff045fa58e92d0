"""One check for each kind of plain argument: true or false, a whole number, a seed, a probability.

Text such as "no" is true to Python, True is the number 1, and NumPy's numbers and booleans are as good as Python's.
"""

import secrets
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

LARGEST_SEED = 2**32 - 1  # what NumPy's legacy seeding inside the samplers takes


def check_bool(name: str, value: object, *, optional: bool = False) -> None:
    """Raise a ValueError for what is neither True nor False (nor None, if that is a choice too)."""
    if not (isinstance(value, bool | np.bool_) or (optional and value is None)):
        choices = "None, True or False" if optional else "True or False"
        raise ValueError(f"{name} should be {choices}, not {value!r}")


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number, which True and 3.0 are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: object) -> bool:
    """Return whether a value is one real number, which True is not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise a ValueError for what is no whole number from `least` on, up to `most` if that is given."""
    if is_whole(value) and least <= value and (most is None or value <= most):
        return
    upper = "" if most is None else f" and at most {most:,}"
    raise ValueError(f"{name} should be a whole number of at least {least}{upper}, not {value!r}")


def check_seed(seed: object, *, optional: bool = True) -> None:
    """Raise a ValueError for what is no seed: a whole number, or None for a new one if that is a choice."""
    if (seed is None and optional) or (is_whole(seed) and 0 <= seed <= LARGEST_SEED):
        return
    choices = "None or a whole number" if optional else "a whole number"
    raise ValueError(f"seed should be {choices} from 0 to {LARGEST_SEED}, not {seed!r}")


def chosen_seed(seed: int | None) -> int:
    """Return a seed that was checked, a new one if it is None."""
    return secrets.randbelow(LARGEST_SEED + 1) if seed is None else int(seed)


def check_cores(cores: object) -> None:
    """Raise a ValueError for what is no number of processors, nor None for all of them."""
    if cores is not None:
        check_whole("cores", cores, 1)


def check_functions(name: str, value: object) -> None:
    """Raise a ValueError for what is no mapping of names to functions (nor None)."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} should be a mapping of names to functions, such as {{'f': f}}, not {value!r}")
    for key, function in value.items():
        if not (isinstance(key, str) and callable(function)):
            raise ValueError(f"{name}[{key!r}] should be a function under its name, not {function!r}")


def check_probability(name: str, value: object) -> None:
    """Raise a ValueError for what is no probability between 0 and 1, both excluded."""
    if not is_real(value) or not 0 < value < 1:
        raise ValueError(f"{name} must be a probability between 0 and 1, such as 0.95, not {value!r}")


def check_model(model: object) -> None:
    """Raise a TypeError for what is no Model, such as a fit."""
    if not hasattr(model, "with_priors"):
        raise TypeError(f"expected a Model, as bmm.Model(formula, data) gives it, not {type(model).__name__}")
