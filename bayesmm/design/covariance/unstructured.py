"""The unstructured covariance matrix, ``(x | g)`` or ``us(x | g)``: every sd and every correlation is a parameter."""

from bayesmm.design.covariance.structure import Covariance, Entry


def entries(q: int) -> tuple[Entry, ...]:
    """Return the q sds and the correlation of each pair."""
    sds = [Entry("sd", ((i,),)) for i in range(q)]
    return (*sds, *(Entry("corr", ((i, j),)) for i in range(q) for j in range(i + 1, q)))


covariance = Covariance(name="us", words="correlated", entries=entries)
