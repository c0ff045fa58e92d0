"""What the names of columns say about what is in them, for the lints; the lists of words are our own."""

import re

# Last words of a column's name that say what its whole numbers are, as far as they are usual in data; ours.
CODE_WORDS = frozenset(
    "id ids identifier code key batch block cage center centre class clinic cluster county district donor family fam "
    "group hospital household item lab laboratory line litter participant patient plant plate plot ward "
    "postcode rater region school site species station strain subj subject village zip".split()
)
ID_STEMS = frozenset(
    "fam ind indiv subj sub pat person part patient subject family animal mouse group user case".split()
)
# attributes that a subject keeps, and words for what holds several subjects, which may well differ in them; ours
LASTING = frozenset("sex gender genotype ethnicity race".split())
COLLECTIVE = frozenset(
    "batch block cage center centre class clinic clinician cluster cohort county couple district dyad fam family group "
    "herd hospital household lab litter lot pair plate plot region school site species station strain team trial "
    "twin village ward".split()
)
# what is met again in each subject or place as a matter of course, so that crossing is what is meant; ours
RECURRING = frozenset(
    "age condition day hour item judge month occasion period picture question rater round season sentence session "
    "stimulus task time treatment trial visit wave week word year".split()
)


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: ``FamID`` -> fam, id; ``plot_no`` -> plot, no."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+", name)]


def named_as_code(name: str) -> bool:
    """Return whether the last word of a name says that its numbers are codes: FamID, famid, plot, school_code."""
    last = (words_of(name) or [""])[-1]
    return last in CODE_WORDS or (last.endswith("id") and last.removesuffix("id") in ID_STEMS)
