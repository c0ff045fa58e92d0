"""Time of one value and gradient of models whose residual has parameters, with the rows once and many times.

    python -m benchmarks.residuals [copies]

`sigma ~ f`: the rows again in the same groups, so that the time should stay. Correlated residuals: the rows again in
new series, so that the time may grow with the number of groups that have effects; and in as many series, each longer.
The clock is that of the process, which other work on the machine does not move.
"""

import statistics
import sys
import time

import numpy as np
import pandas as pd

SERIES, VISITS, COPIES, BATCHES, CALLS = 40, 5, 100, 7, 20
MODELS = {
    "sigma ~ f, in the same groups": (("y ~ x + (1 | g)", "sigma ~ f"), "same"),
    "ar(t, g), in new series": ("y ~ x + (1 | g) + ar(t, g)", "new"),
    "ar(t, g), in longer series": ("y ~ x + (1 | g) + ar(t, g)", "longer"),
    "cosy(g), in new series": ("y ~ x + cosy(g)", "new"),
    "unstr(t, g), in new series": ("y ~ x + unstr(t, g)", "new"),
}


def table(copies: int, how: str) -> pd.DataFrame:
    """Return series of visits, all of them again so many times."""
    rng = np.random.default_rng(1)
    g, t = np.repeat(np.arange(SERIES), VISITS), np.tile(np.arange(VISITS), SERIES)
    once = pd.DataFrame({"g": g, "t": t, "x": rng.normal(size=len(g)), "f": np.array(["a", "b", "c"])[t % 3]})
    once["y"] = once["x"] + rng.normal(size=SERIES)[g] + rng.normal(size=len(g))
    frames = []
    for k in range(copies):
        shift = {"same": {}, "new": {"g": g + k * SERIES}, "longer": {"t": t + k * VISITS}}[how]
        frames.append(once.assign(**shift, y=once["y"] + 0.1 * rng.normal(size=len(g))))
    return pd.concat(frames, ignore_index=True)


def evaluation(formula, frame: pd.DataFrame):
    """Return a function that evaluates the log posterior with its gradient near 0."""
    import bayesmm as bmm
    from bayesmm.likelihood.marginal import marginal
    from bayesmm.likelihood.problem import integrate

    model = bmm.Model(formula, frame)
    posterior = marginal(model.design, model.priors, integrate(model.design, model.priors)).posterior
    x = 0.1 * np.ones(posterior.size)
    if not np.isfinite(posterior(x)[0]):
        raise ValueError(f"the density of {formula} is not finite")
    return lambda: posterior(x)


def seconds(call) -> float:
    """Return the mean time of a call."""
    began = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - began) / CALLS


def main(copies: int) -> None:
    """Print the times, and the median of their ratios in neighbouring batches."""
    print(f"{SERIES * VISITS} rows, and {copies} times as many; microseconds of a value with its gradient")
    for name, (formula, how) in MODELS.items():
        once, many = (evaluation(formula, table(k, how)) for k in (1, copies))
        pairs = [(seconds(once), seconds(many)) for _ in range(BATCHES)]
        small, large = (1e6 * statistics.median(one) for one in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"{name:32} {small:10.0f} {large:10.0f}   ratio {ratio:6.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else COPIES)
