"""Successes out of a number of trials."""

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families import codes
from bayesmm.families.draws import where_known
from bayesmm.families.family import Family
from bayesmm.families.links import OF_PROBABILITIES
from bayesmm.families.residuals import latent
from bayesmm.families.responses import Response, check_places, is_whole, says_little
from bayesmm.families.support import SUCCESSES
from bayesmm.runtime.messages import Message

Array = np.ndarray


def check(response: Response) -> list[Message]:
    """Check successes and their trials: whole numbers, and no more successes than trials."""
    y, n = response.y.astype(np.float64), response.trials
    check_places(response, n < 0, "has a negative number of trials", "trials are whole numbers of 1 or more")
    check_places(response, ~is_whole(n), "has no whole number of trials", "trials are whole numbers of 1 or more")
    check_places(response, n < 0.5, "has no trial", "a row without trials says nothing: leave it out")
    check_places(response, y < 0, "has a negative number of successes", "successes are whole numbers of 0 or more")
    if not is_whole(y).all() and (y <= 1).all():
        raise DataError(
            f"the response '{response.name}' holds proportions such as {y[~is_whole(y)][0]:g}, but beside trials it "
            "should hold the number of successes; write the counts, or give the trials as weights"
        )
    check_places(response, ~is_whole(y), "has no whole number of successes", "successes are whole numbers of 0 or more")
    check_places(response, np.rint(y) > np.rint(n), "has more successes than trials", "expected at most the trials")
    if not y.any() or np.array_equal(np.rint(y), np.rint(n)):
        how = "no success" if not y.any() else "no failure"
        return [says_little(f"the response '{response.name}' has {how} in any row", how)]
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return mu (1 - mu), of a single trial."""
    return mu * (1 - mu)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random numbers of successes."""
    number = np.ones_like(mu) if trials is None else trials
    return where_known(mu, lambda mean: rng.binomial(np.asarray(number).astype(np.int64), mean).astype(float))


family = Family(
    name="binomial",
    code=codes.BINOMIAL,
    links=OF_PROBABILITIES,
    link="logit",
    support=SUCCESSES,
    check_response=check,
    variance=variance,
    draw=draw,
    residuals={link: latent(link) for link in OF_PROBABILITIES},
    tex=r"\mathrm{Binomial}(n_{i},\ \mu_{i})",
    of_one_trial="bernoulli",
)
