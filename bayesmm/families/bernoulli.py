"""Responses of 0 and 1: one trial of a binomial in each row."""

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families.binomial import cdf, density, draw, graph_density, row, variance
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels
from bayesmm.families.links import LOGIT, OF_PROBABILITIES
from bayesmm.families.residuals import latent
from bayesmm.families.responses import Response, says_little, value_counts
from bayesmm.families.support import BINARY
from bayesmm.runtime.messages import Message


def check(response: Response) -> list[Message]:
    """Check a response of 0 and 1, or of true and false."""
    y = response.y.astype(np.float64)
    other = ~np.isin(y, (0.0, 1.0))
    if other.any():
        name = response.name
        if ((y >= 0) & (y <= 1)).all():
            raise DataError(
                f"the response '{name}' holds proportions such as {y[other][0]:g}, and the bernoulli family needs 0 "
                "and 1; for y successes in n trials write y / n ~ ... with family='binomial', for shares that are "
                "no counts take family='beta'"
            )
        raise DataError(
            f"the response '{name}' has values other than 0 and 1 ({value_counts(y)}); the bernoulli family needs 0 "
            "and 1, true and false, or two levels"
        )
    if y.min() == y.max():
        return [says_little(f"the response '{response.name}' is {y[0]:g} in every row", "no other value")]
    return []


family = Family(
    name="bernoulli",
    aliases=("binary", "logistic", "logit"),
    links=OF_PROBABILITIES,
    concave_links=OF_PROBABILITIES,
    link="logit",
    support=BINARY,
    check_response=check,
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, row_link=LOGIT, row=row),
    graph_density=graph_density,
    residuals={link: latent(link) for link in OF_PROBABILITIES},
    tex=r"\mathrm{Bernoulli}(\mu_{i})",
    canonical="logit",
)
