"""Functions that compiled functions alone call: linked into those, and not made ready to run by themselves.

Numba optimises every function together with all that it calls, makes machine code of it, and does so again for each
function that calls it, down to the last one, which C or Python calls. Only that one is run: of the others neither is
needed, and without both the first fit on a machine waits a third less. That Numba leaves them out is not foreseen; this
is all that we know of its insides here.
"""

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class Linked(JITCodeLibrary):
    """A function's code as it is linked into its callers, which optimise it together with their own."""

    def _optimize_final_module(self) -> None:
        """Leave that to the callers."""

    def _finalize_final_module(self) -> None:
        """Keep the code where it is: no machine code is made of it."""
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return 0, which Numba takes for a function without an entry."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> "Linked":
        """The one that is told the environments of functions, which are the callers' own."""
        return self

    def set_env(self, name: str, environment: object) -> None:
        """Do nothing: the environment serves an entry for Python."""


class ForCallers(Compiler):
    """Numba's compiler with code that is only linked (an option of `numba.njit`, `pipeline_class`)."""

    def __init__(self, typing, target, library, *given) -> None:
        super().__init__(typing, target, library or Linked(target.codegen(), "linked"), *given)
