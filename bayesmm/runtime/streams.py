"""Random streams: the one place where NumPy's generators are made.

Each use of a seed names what it is for, and the name goes into the spawn key of a `numpy.random.SeedSequence`, so that
no two uses of one seed share their numbers: ``default_rng(seed)``, ``default_rng([seed])`` and ``default_rng([seed,
0])`` are one stream, since a sequence fills its entropy up with zeros.
"""

import hashlib

import numpy as np

WORD = 4  # bytes of a word of a spawn key
LARGEST = 2**31 - 1  # of the seeds that are derived from others: every sampler takes them


def stream(seed: int, purpose: str, *key: int | str) -> np.random.Generator:
    """Return the random generator of one use of a seed.

    Parameters
    ----------
    seed : int
    purpose : str
        What the numbers are for; each place of the package has its own.
    *key : int or str
        Which of that purpose's streams, such as the number of a data set; as many for every stream of a purpose.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=_words(purpose, *key)))


def derived_seed(seed: int, purpose: str, *key: int | str) -> int:
    """Return a seed from 0 to LARGEST for one use of another, as `stream` takes them."""
    return int(np.random.SeedSequence(seed, spawn_key=_words(purpose, *key)).generate_state(1)[0]) & LARGEST


def data_set(seed: int | None, *number: int) -> np.random.Generator:
    """Return the generator of simulated data: those of the seed itself, or of the data set of a number."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=number))


def start(seed: int | None) -> np.random.Generator:
    """Return the generator of a chain's start, for the chain's seed as the sampler drew it."""
    return np.random.default_rng(seed)


def of_run(seed: int, *part: int) -> np.random.Generator:
    """Return a generator of `sample`: (1, chain) and (2, chain) for the effects of a chain, (2,) for independent draws.

    Of gaussian and of other models: no run uses both that begin with 2. They are older than `stream` and stay as they
    are, so that a seed gives the draws that it always gave.
    """
    return np.random.default_rng([part[0], seed, *part[1:]])


def _words(*key: int | str) -> tuple[int, ...]:
    """Return a spawn key; of a text a digest of 128 bits, since `hash` differs between processes."""
    words: list[int] = []
    for part in key:
        if isinstance(part, str):
            digest = hashlib.sha256(part.encode()).digest()[: 4 * WORD]
            words += [int.from_bytes(digest[at : at + WORD], "little") for at in range(0, len(digest), WORD)]
        else:
            words.append(int(part))
    return tuple(words)
