"""A first half hour in ecology: counts at sites in regions, which family, rate ratios, a new site, a report.

The data are simulated here with a seed, so that they may be used and passed on freely: birds counted at 30 sites for a
known time (effort, hours) under two kinds of cover. Writes its figures and its report to a folder, by
default examples-out/ecology.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import bayesmm as bmm

FORMULA = "birds ~ cover + elevation + offset(log(effort)) + (1 | site)"


def simulated(seed: int = 7, rows: int = 238) -> pd.DataFrame:
    """Return counts that vary more than a Poisson's, with effects of cover, elevation and site."""
    rng = np.random.default_rng(seed)
    site = np.arange(rows) % 30
    effort, elevation = rng.uniform(0.5, 3.0, rows), rng.normal(0.0, 1.0, rows)
    cover = np.where(rng.random(rows) < 0.5, "logged", "forest")
    mean = effort * np.exp(0.7 + 0.4 * (cover == "logged") - 0.3 * elevation + rng.normal(0.0, 0.6, 30)[site])
    birds = rng.negative_binomial(2.5, 2.5 / (2.5 + mean))
    labels = [f"S{s:02d}" for s in site]
    return pd.DataFrame({"birds": birds, "cover": cover, "elevation": elevation, "effort": effort, "site": labels})


def main(folder: Path) -> None:
    """Print what would go into a paper, and write figures and report."""
    data = simulated()
    print("Which family? The one that predicts left-out counts better:\n")
    fits = {name: bmm.fit(FORMULA, data, name, seed=1) for name in ("poisson", "negbinomial")}
    print(bmm.compare_models(fits, refit=False), end="\n\n")
    fit = fits["negbinomial"]
    print(fit, end="\n\n")
    print("Rate ratios with 95 % intervals (exponentiated coefficients):\n")
    ratios = fit.fixef(exponentiate=True)[["mean", "lower", "upper"]].drop(index="Intercept", errors="ignore")
    print(ratios.round(2).to_string(), end="\n\n")
    print(bmm.emmeans(fit, "cover"), end="\n\n")
    print(fit.r2(), end="\n\n")
    elevations = np.linspace(-2, 2, 15)
    new = pd.DataFrame([(c, e, 1.0, "S99") for c in ("forest", "logged") for e in elevations])
    new.columns = ["cover", "elevation", "effort", "site"]
    at_a_new_site = fit.predict(new, new_levels="sample", seed=1)
    print("Birds an hour at a site that nobody has visited:\n")
    print(pd.concat([new[["cover", "elevation"]], at_a_new_site.to_frame()], axis=1).iloc[::7].round(2).to_string())
    at_a_new_site.plot().save(folder / "new_site.png")
    bmm.plots.plot_predictive(fit).save(folder / "predictive.png")
    bmm.plots.plot_effects(fit, group="site").save(folder / "sites.png")
    print(f"\nWritten: {fit.report(folder / 'report.html')} and three figures beside it")


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "examples-out/ecology")
    out.mkdir(parents=True, exist_ok=True)
    main(out)
