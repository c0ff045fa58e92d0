"""The example of the README: sleepstudy by REML and by NUTS, side by side. Writes its figures to demo/."""

from pathlib import Path

import bayesmm as bmm
from bayesmm.reporting.plots import save_figures

FIGURES = Path("demo")


def main() -> None:
    data = bmm.load_dataset("sleepstudy")
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", data)
    point = model.maximize()  # REML: lme4's answer
    print(point, end="\n\n")
    fit = model.sample(seed=1)  # NUTS: the posterior, four chains
    print(fit, end="\n\n")  # the verdict of the checks first
    print(fit.compare(point), end="\n\n")  # the two answers, row by row
    FIGURES.mkdir(exist_ok=True)
    for path in save_figures(fit, FIGURES):
        print(path)


if __name__ == "__main__":
    main()
