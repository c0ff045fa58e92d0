"""A first half hour in psychology: crossed reaction times, tests, marginal means, a planned comparison, a report.

The data are simulated here with a seed, so that they may be used and passed on freely: 24 people name 20 items three
times, each time in another condition. Writes its figures and its report to a folder, by default
examples-out/psychology.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import bayesmm as bmm

FORMULA = "rt ~ cond * center(age) + (cond | subj) + (1 | item)"
EFFECTS = {"congruent": 0.0, "neutral": 20.0, "incongruent": 60.0}  # ms


def simulated(seed: int = 1, people: int = 24, items: int = 20) -> pd.DataFrame:
    """Return a reaction time (ms) of each person for each item in each condition."""
    rng = np.random.default_rng(seed)
    conditions = list(EFFECTS)
    subj, item, cond = (part.ravel() for part in np.indices((people, items, len(conditions))))
    age = rng.integers(18, 70, people)
    of_subject = np.column_stack([rng.normal(0, 60, people), rng.normal(0, 15, (people, 2))])
    slopes = np.column_stack([np.zeros(people), of_subject[:, 1:]])
    mean = 600 + np.array(list(EFFECTS.values()))[cond] + 1.5 * (age[subj] - 44)
    rt = mean + of_subject[subj, 0] + slopes[subj, cond] + rng.normal(0, 25, items)[item] + rng.normal(0, 90, len(subj))
    labels = {"subj": [f"s{k:02d}" for k in subj], "item": [f"i{k:02d}" for k in item]}
    return pd.DataFrame({"rt": rt, "cond": np.array(conditions)[cond], "age": age[subj], **labels})


def main(folder: Path) -> None:
    """Print what would go into a paper, and write figures and report."""
    model = bmm.Model(FORMULA, simulated())
    point = model.maximize()  # REML, as lme4
    print(point, end="\n\n")
    print(bmm.anova(point), end="\n\n")
    means = bmm.emmeans(point, "cond")
    print(means, end="\n\n")
    print(means.pairs(), end="\n\n")
    fit = model.sample(seed=1)
    print(fit, end="\n\n")
    print(fit.compare(point), end="\n\n")
    print(bmm.emmeans(fit, "cond").pairs(), end="\n\n")
    print(fit.icc(), end="\n\n")
    new = pd.DataFrame([(c, a, "new", "new") for c in EFFECTS for a in range(20, 71, 5)])
    new.columns = ["cond", "age", "subj", "item"]
    fit.predict(new, new_levels="sample", seed=1).plot().save(folder / "new_person.png")
    bmm.plots.plot_shrinkage(fit, "subj").save(folder / "shrinkage.png")
    bmm.plots.plot_comparison(fit).save(folder / "comparison.png")
    print(f"Written: {fit.report(folder / 'report.html')} and three figures beside it")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "examples-out/psychology")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
