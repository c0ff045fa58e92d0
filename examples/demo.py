"""The example of the README: sleepstudy by REML and by NUTS, side by side; writes its figures to demo/."""

from pathlib import Path

import bayesmm as bmm
from bayesmm.plots import save_figures


def main() -> None:
    data = bmm.load_dataset("sleepstudy")
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", data)
    point = model.maximize()  # REML: lme4's answer
    fit = model.sample(seed=1)  # NUTS: the posterior
    comparison = fit.compare(point)
    print(fit)  # begins with the verdict of the checks
    print()
    print(comparison)  # the two answers, row by row

    folder = Path("demo")
    folder.mkdir(exist_ok=True)
    print("\nFigures:", *save_figures(fit, folder, comparison))


if __name__ == "__main__":
    main()
