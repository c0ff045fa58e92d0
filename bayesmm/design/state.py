"""What an evaluation of expressions can see, and what it keeps: states learned from the data, and messages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bayesmm.design.bases import Basis
from bayesmm.design.coding import Levels
from bayesmm.design.contrasts import GivenContrasts
from bayesmm.design.related_levels import Matrix
from bayesmm.design.smooths import Smooth
from bayesmm.design.variables import Variable
from bayesmm.formula.formula import Expr
from bayesmm.runtime.messages import Message, Rows


@dataclass(frozen=True)
class Centring:
    """The mean and the standard deviation (1 for ``center``) of a variable in the data of the fit."""

    mean: float
    sd: float


Transforms = Mapping[str, Callable[..., object]]  # the user's own functions
State = Levels | Basis | Smooth | Centring | str  # a str is the kind of a numeric column


@dataclass(frozen=True, eq=False)
class Scope:
    """What an evaluation can see. It lives as long as one reading of the data, which fills in `states` and `said`.

    Attributes
    ----------
    variables : mapping of str to Variable
    rows : Rows
    transforms : mapping of str to function
    states : dict of Expr to State
        What was learned from the data of the fit: filled in if `learning`, used otherwise.
    learning : bool
    said : list of Message
    contrasts : mapping of str to GivenContrasts
        Of factors, given beside the formula.
    matrices : mapping of str to Matrix
        Known covariances that the formula names.
    """

    variables: Mapping[str, Variable]
    rows: Rows
    transforms: Transforms
    states: dict[Expr, State] = field(default_factory=dict)
    learning: bool = True
    said: list[Message] = field(default_factory=list)
    contrasts: Mapping[str, GivenContrasts] = field(default_factory=dict)
    matrices: Mapping[str, Matrix] = field(default_factory=dict)

    def state(self, expr: Expr, learn: Callable[[], State]) -> State:
        """Return what `expr` learned from the data of the fit."""
        if self.learning and expr not in self.states:
            self.states[expr] = learn()
        return self.states[expr]

    def say(self, message: Message) -> None:
        """Keep a message, once."""
        if message not in self.said:
            self.said.append(message)
