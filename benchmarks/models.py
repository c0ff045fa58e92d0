"""CASES: the models that are run, each with its data and with its formula in the language of every contestant.

Nothing heavy is imported before a data set is made: `run` itself must stay small, because a new process begins with the
peak memory of the one that started it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SEED = 20  # of the simulated data, so that every process makes the same
COPIES = 100  # of every row, in the case "repeated"


@dataclass(frozen=True)
class Statsmodels:
    """A model as `statsmodels.formula.api.mixedlm` takes it; `components` are independent of each other."""

    formula: str
    groups: str
    re_formula: str | None = None
    components: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Case:
    """One model on one data set.

    Attributes
    ----------
    name, title : str
        `name` is what the command line takes and results are filed under.
    formula : str
        In lme4's language, for bayesmm.
    data : function without arguments
        Returns the data frame that every contestant gets, with each one's columns.
    bambi, mixedlm : str
        The formulas of these contestants; bambi has no correlations between effects.
    statsmodels : Statsmodels, optional
    notes : mapping of contestant to text
        Where its model is another one than ours.
    absent : mapping of contestant to reason
        Contestants that cannot run this case, printed as such.
    slow : tuple of str
        Contestants left out of a quick run.
    family, bambi_family : str
        Its name in bayesmm, and in bambi if that is another.
    keep_effects : bool
        Whether bayesmm's draws of the random effects are kept.
    copies : int
        How often every row is repeated in the second data set of the gradient's time.
    """

    name: str
    title: str
    formula: str
    data: Callable[[], pd.DataFrame]
    bambi: str = ""
    mixedlm: str = ""
    statsmodels: Statsmodels | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    slow: tuple[str, ...] = ()
    family: str = "gaussian"
    bambi_family: str = ""
    keep_effects: bool = True
    copies: int = 1


def sleepstudy() -> pd.DataFrame:
    from bayesmm import load_dataset

    return load_dataset("sleepstudy")


def repeated() -> pd.DataFrame:
    """Return sleepstudy with every row repeated 100 times."""
    frame = sleepstudy()
    return frame.loc[frame.index.repeat(COPIES)].reset_index(drop=True)


def immune() -> pd.DataFrame:
    """Return the synthetic twin of the immune data, with numbers for the interaction and text for the nested factor."""
    from bayesmm import load_dataset

    frame = load_dataset("immune")
    male = (frame["Sex"] == "M").astype(float)
    person = frame["Sex"].astype(str) + "_" + frame["IndID"].astype(str)
    return frame.assign(SexM=male, SexMTime=male * frame["Time"], Person=person.astype("category"))


def crossed() -> pd.DataFrame:
    """Return 2,000 of the 2,400 pairs of 60 subjects, with their levels and slopes, and 40 items, with their levels."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    pair = np.sort(rng.choice(60 * 40, size=2000, replace=False))
    subject, item = np.divmod(pair, 40)
    x = rng.normal(size=len(pair))
    effects = rng.multivariate_normal([0, 0], [[1.0, 0.15], [0.15, 0.25]], size=60)
    y = 5 + 0.5 * x + effects[subject, 0] + effects[subject, 1] * x + 0.7 * rng.normal(size=40)[item]
    noise, labels = rng.normal(size=len(pair)), {"subject": _labels("s", subject), "item": _labels("i", item)}
    return pd.DataFrame({"y": y + noise, "x": x, **labels, "all": 1})


def groups(count: int = 100_000, rows: int = 10) -> pd.DataFrame:
    """Return a balanced design: `count` groups, each observed at the same `rows` points."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    g, x = np.repeat(np.arange(count), rows), np.tile(np.arange(rows) / rows, count)
    effects = rng.multivariate_normal([0, 0], [[1.0, 0.2], [0.2, 0.5]], size=count)
    return pd.DataFrame({"y": 2 + x + effects[g, 0] + effects[g, 1] * x + rng.normal(size=len(g)), "x": x, "g": g})


def large(rows: int = 73_000, students: int = 2972, lecturers: int = 1128) -> pd.DataFrame:
    """Return ratings of lecturers by students, crossed at random; every level occurs."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    s, d = (np.concatenate([np.arange(k), rng.integers(k, size=rows - k)]) for k in (students, lecturers))
    s, x = rng.permutation(s), rng.integers(2, size=rows).astype(float)
    y = 3.3 - 0.1 * x + 0.33 * rng.normal(size=students)[s] + 0.51 * rng.normal(size=lecturers)[d]
    return pd.DataFrame({"y": y + 1.18 * rng.normal(size=rows), "x": x, "s": s, "d": d})


def insteval() -> pd.DataFrame:
    """Return lme4's 73,421 ratings, which the package mixedlm carries."""
    from mixedlm import load_insteval

    return load_insteval().astype({"s": str, "d": str, "dept": str})


def verbagg() -> pd.DataFrame:
    """Return lme4's answers about verbal aggression, 1 for yes, which the package mixedlm carries."""
    from mixedlm import load_verbagg

    data = load_verbagg()
    return data.assign(y=(data["r2"] == "Y").astype(int), item=data["item"].astype(str), id=data["id"].astype(str))


def million_crossed() -> pd.DataFrame:
    return large(1_000_000, 20_000, 2_000)


def uneven(count: int = 100_000, rows: int = 10) -> pd.DataFrame:
    """Return groups with slopes, of 1 to 2 * rows - 1 rows each, at points of their own."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    g = np.repeat(np.arange(count), rng.integers(1, 2 * rows, size=count))
    x = rng.normal(size=len(g))
    effects = rng.multivariate_normal([0, 0], [[1.0, 0.2], [0.2, 0.5]], size=count)
    return pd.DataFrame({"y": 2 + x + effects[g, 0] + effects[g, 1] * x + rng.normal(size=len(g)), "x": x, "g": g})


def esoph() -> pd.DataFrame:
    from bayesmm import load_dataset

    return load_dataset("esoph")


def binary(count: int = 500, rows: int = 8) -> pd.DataFrame:
    """Return 0 and 1 for `count` groups of few rows, which say little about each group."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    g, x = np.repeat(np.arange(count), rows), rng.normal(size=count * rows)
    eta = -0.5 + 0.8 * x + rng.normal(size=count)[g]
    return pd.DataFrame({"y": rng.binomial(1, 1 / (1 + np.exp(-eta))), "x": x, "g": _labels("g", g)})


def counts(subjects: int = 40, items: int = 30) -> pd.DataFrame:
    """Return a count for each pair of a subject and an item."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    s, i = (a.ravel() for a in np.meshgrid(np.arange(subjects), np.arange(items), indexing="ij"))
    x = rng.normal(size=len(s))
    eta = 0.5 + 0.3 * x + 0.5 * rng.normal(size=subjects)[s] + 0.4 * rng.normal(size=items)[i]
    return pd.DataFrame({"y": rng.poisson(np.exp(eta)), "x": x, "subject": _labels("s", s), "item": _labels("i", i)})


def slopes() -> pd.DataFrame:
    """Return 0 and 1 for 300 groups of 12 rows, whose intercepts and slopes differ."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    g, x = np.repeat(np.arange(300), 12), rng.normal(size=3600)
    eta = -0.5 + 0.8 * x + rng.normal(size=300)[g] + 0.5 * rng.normal(size=300)[g] * x
    return pd.DataFrame({"y": rng.binomial(1, 1 / (1 + np.exp(-eta))), "x": x, "g": _labels("g", g)})


def overdispersed() -> pd.DataFrame:
    """Return counts of 200 groups of 10 rows with a variance above their mean."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    g, x = np.repeat(np.arange(200), 10), rng.normal(size=2000)
    mean = np.exp(0.5 + 0.4 * x + 0.6 * rng.normal(size=200)[g])
    return pd.DataFrame({"y": rng.poisson(mean * rng.gamma(2.0, 0.5, size=2000)), "x": x, "g": _labels("g", g)})


def ratings() -> pd.DataFrame:
    """Return 5,000 answers, yes or no, of 200 subjects to 100 items."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    s, i, x = rng.integers(200, size=5000), rng.integers(100, size=5000), rng.normal(size=5000)
    eta = 0.3 + 0.5 * x + 0.7 * rng.normal(size=200)[s] + 0.5 * rng.normal(size=100)[i]
    labels = {"subject": _labels("s", s), "item": _labels("i", i)}
    return pd.DataFrame({"y": rng.binomial(1, 1 / (1 + np.exp(-eta))), "x": x, **labels})


def logistic() -> pd.DataFrame:
    """Return 3,000 answers, yes or no, without groups."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    x = rng.normal(size=3000)
    return pd.DataFrame({"y": rng.binomial(1, 1 / (1 + np.exp(0.5 - 0.8 * x))), "x": x})


def _labels(letter: str, codes):
    import pandas as pd

    return pd.Categorical([f"{letter}{code:02d}" for code in codes])


BAMBI, SAMPLERS = ("bambi-pymc", "bambi-nutpie"), ("marginal", "importance", "explicit", "bambi-pymc", "bambi-nutpie")
MAXIMISERS = ("reml", "maximize", "mixedlm", "statsmodels")
NO_CORRELATION = "no correlations between effects: a simpler model"
COMPONENTS = "only independent components beside the first factor: a simpler model"


def _left_out(names: tuple[str, ...], reason: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


ONLY_MAXIMUM = _left_out(SAMPLERS, "run for its maximum only")
DENSE_ROWS = _left_out(("statsmodels",), "a dense matrix of rows x rows would take 43 GB and more")
GENERALISED = _left_out(MAXIMISERS, "run for its posterior only")
CROSSED = GENERALISED | _left_out(("marginal", "importance"), "crossed effects are not integrated out")


_ROWS = (
    Case(
        "sleepstudy",
        "sleepstudy, 180 rows, 18 subjects",
        "Reaction ~ Days + (Days | Subject)",
        sleepstudy,
        bambi="Reaction ~ Days + (Days | Subject)",
        mixedlm="Reaction ~ Days + (Days | Subject)",
        statsmodels=Statsmodels("Reaction ~ Days", "Subject", "~Days"),
        notes=_left_out(BAMBI, NO_CORRELATION),
    ),
    Case(
        "immune",
        "immune (synthetic twin), 4,860 rows, 8 families, 270 persons",
        "IgG ~ Sex*Time + (1 + Time | FamID) + (1 + Time | Sex:IndID)",
        immune,
        bambi="IgG ~ SexM + Time + SexMTime + (1 + Time | FamID) + (1 + Time | Person)",
        mixedlm="IgG ~ SexM + Time + SexMTime + (1 + Time | FamID) + (1 + Time | Person)",
        statsmodels=Statsmodels(
            "IgG ~ SexM + Time + SexMTime", "FamID", "~Time", {"level": "0 + C(Person)", "slope": "0 + C(Person):Time"}
        ),
        notes=_left_out(BAMBI, NO_CORRELATION) | {"statsmodels": COMPONENTS},
        slow=(*BAMBI, "explicit", "statsmodels"),
    ),
    Case(
        "crossed",
        "crossed, simulated, 2,000 rows, 60 x 40 levels",
        "y ~ x + (x | subject) + (1 | item)",
        crossed,
        bambi="y ~ x + (x | subject) + (1 | item)",
        mixedlm="y ~ x + (x | subject) + (1 | item)",
        statsmodels=Statsmodels(
            "y ~ x", "all", "0", {"level": "0 + C(subject)", "slope": "0 + C(subject):x", "item": "0 + C(item)"}
        ),
        notes=_left_out(BAMBI, NO_CORRELATION) | {"statsmodels": COMPONENTS},
        slow=("statsmodels",),
    ),
    Case(
        "repeated",
        f"sleepstudy with every row {COPIES} times, 18,000 rows",
        "Reaction ~ Days + (Days | Subject)",
        repeated,
        bambi="Reaction ~ Days + (Days | Subject)",
        mixedlm="Reaction ~ Days + (Days | Subject)",
        statsmodels=Statsmodels("Reaction ~ Days", "Subject", "~Days"),
        notes=_left_out(BAMBI, NO_CORRELATION),
        slow=(*BAMBI, "explicit", "statsmodels"),
        copies=COPIES,
    ),
    Case(
        "groups",
        "100,000 balanced groups x 10 rows",
        "y ~ x + (x | g)",
        groups,
        mixedlm="y ~ x + (x | g)",
        statsmodels=Statsmodels("y ~ x", "g", "~x"),
        absent=_left_out(BAMBI, "its matrix of rows x groups would take 800 GB")
        | _left_out(("explicit",), "200,000 sampled effects: its draws alone take 6.4 GB"),
        slow=("mixedlm", "statsmodels"),
        keep_effects=False,
    ),
    Case(
        "large",
        "crossed, simulated, 73,000 rows, 2,972 x 1,128 levels",
        "y ~ x + (1 | s) + (1 | d)",
        large,
        mixedlm="y ~ x + (1 | s) + (1 | d)",
        absent=ONLY_MAXIMUM | DENSE_ROWS,
    ),
    Case(
        "insteval",
        "InstEval, 73,421 rows, 2,972 x 1,128 levels, departments x service",
        "y ~ service + (1 | s) + (1 | d) + (1 | dept:service)",
        insteval,
        mixedlm="y ~ service + (1 | s) + (1 | d) + (1 | dept:service)",
        absent=ONLY_MAXIMUM | DENSE_ROWS,
    ),
    Case(
        "million-crossed",
        "crossed, simulated, 1,000,000 rows, 20,000 x 2,000 levels",
        "y ~ x + (1 | s) + (1 | d)",
        million_crossed,
        mixedlm="y ~ x + (1 | s) + (1 | d)",
        absent=ONLY_MAXIMUM | DENSE_ROWS,
        slow=("mixedlm", "maximize"),
    ),
    Case(
        "uneven",
        "100,000 groups with slopes, 1 to 19 rows each",
        "y ~ x + (x | g)",
        uneven,
        mixedlm="y ~ x + (x | g)",
        absent=_left_out(BAMBI, "its matrix of rows x groups would take 800 GB")
        | _left_out(("explicit",), "200,000 sampled effects: its draws alone take 6.4 GB")
        | DENSE_ROWS,
        slow=("mixedlm", "maximize"),
        keep_effects=False,
    ),
    Case(
        "esoph",
        "esoph, Poisson, 88 rows, 6 groups with slopes",
        "ncases ~ ncontrols + (1 + ncontrols | agegp)",
        esoph,
        bambi="ncases ~ ncontrols + (1 + ncontrols | agegp)",
        notes=_left_out(BAMBI, NO_CORRELATION),
        absent=GENERALISED,
        family="poisson",
    ),
    Case(
        "binary",
        "Bernoulli, simulated, 4,000 rows, 500 groups",
        "y ~ x + (1 | g)",
        binary,
        bambi="y ~ x + (1 | g)",
        absent=GENERALISED,
        slow=("bambi-pymc",),
        family="bernoulli",
    ),
    Case(
        "counts",
        "Poisson, simulated, 1,200 rows, 40 x 30 levels",
        "y ~ x + (1 | subject) + (1 | item)",
        counts,
        bambi="y ~ x + (1 | subject) + (1 | item)",
        absent=CROSSED,
        slow=("bambi-pymc",),
        family="poisson",
    ),
    Case(
        "binary-large",
        "Bernoulli, simulated, 20,000 rows, 2,000 groups",
        "y ~ x + (1 | g)",
        lambda: binary(2000, 10),
        bambi="y ~ x + (1 | g)",
        absent=GENERALISED,
        slow=("bambi-pymc", "explicit"),
        family="bernoulli",
    ),
    Case(
        "binary-slopes",
        "Bernoulli, simulated, 3,600 rows, 300 groups with slopes",
        "y ~ x + (x | g)",
        slopes,
        bambi="y ~ x + (x | g)",
        notes=_left_out(BAMBI, NO_CORRELATION),
        absent=GENERALISED,
        slow=("bambi-pymc",),
        family="bernoulli",
    ),
    Case(
        "overdispersed",
        "negative binomial, simulated, 2,000 rows, 200 groups",
        "y ~ x + (1 | g)",
        overdispersed,
        bambi="y ~ x + (1 | g)",
        absent=GENERALISED,
        slow=("bambi-pymc",),
        family="negbinomial",
        bambi_family="negativebinomial",
    ),
    Case(
        "ratings",
        "Bernoulli, simulated, 5,000 rows, 200 x 100 levels",
        "y ~ x + (1 | subject) + (1 | item)",
        ratings,
        bambi="y ~ x + (1 | subject) + (1 | item)",
        absent=CROSSED,
        slow=("bambi-pymc",),
        family="bernoulli",
    ),
    Case(
        "verbagg",
        "VerbAgg, Bernoulli, 7,584 rows, 316 persons x 24 items",
        "y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
        verbagg,
        bambi="y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
        absent=CROSSED,
        slow=("bambi-pymc",),
        family="bernoulli",
    ),
    Case(
        "logistic",
        "logistic regression without random effects, 3,000 rows",
        "y ~ x",
        logistic,
        bambi="y ~ x",
        absent=GENERALISED | _left_out(("explicit",), "there are no effects to write out"),
        slow=("bambi-pymc",),
        family="bernoulli",
    ),
)
CASES: dict[str, Case] = {case.name: case for case in _ROWS}
