"""How the posterior was drawn, in a line of ``print(fit)``, and what would be quicker."""

from bayesmm.display.text_tables import wrap
from bayesmm.posterior.convergence import ESS_LIMIT, R_HAT_LIMIT
from bayesmm.posterior.draws import sampling_record, tree_sizes
from bayesmm.sampling import importance
from bayesmm.sampling.joint import integrated_of

# What the record calls the graph that was sampled -> in words.
HANDLED = {"marginal": "random effects integrated out", "explicit": "random effects sampled"}
SLOW = 30.0  # seconds


def sampler(tree) -> str:
    """Return the name of the sampler that drew the posterior."""
    return str(sampling_record(tree).get("sampler", "an unrecorded sampler"))


def sampling_lines(fit) -> list[str]:
    """Return how many draws there are, how long they took, from which seed and which graph; and what is quicker."""
    record, (chains, draws) = sampling_record(fit.tree), tree_sizes(fit.tree)
    parts = [f"Draws: {chains} chain{'s' * (chains > 1)} of {draws:,}"]
    if "tune" in record:
        parts[0] += f" after {record['tune']:,} tuning steps each"
    if "seconds" in record:
        parts.append(f"{record['seconds']:.1f} s")
    if record.get("seed") is not None:
        parts.append(f"seed {record['seed']}")
    if fit.design.blocks and "effects" in record:
        within = integrated_of(fit.design, fit.model.priors, record)
        handled = HANDLED.get(record["effects"], str(record["effects"]))
        parts.append(f"{handled}, those of {within} integrated out" if within else handled)
    line = ", ".join(parts) + (" (INTERRUPTED)" if record.get("interrupted") else "")
    line = "\n".join([line, *second_run(record), *longer_run(record)])
    return [line, "Independent draws take less time here: sampler='importance'"] if quicker(fit, record) else [line]


def second_run(record) -> list[str]:
    """Return the line on the second run with smaller steps, if divergent draws of the first led to one."""
    runs = record.get("runs")
    if not runs:
        return []
    first = runs["first"]
    diverged = f"{first['divergences']:,} draw{'s' * (first['divergences'] != 1)} diverged"
    text = f"Sampled twice, as {diverged} with target_accept={first['target_accept']:g}: "
    if "second" not in runs:
        return wrap(f"{text}these are the draws with target_accept={record['target_accept']:g}.")
    second = runs["second"]
    why = "was stopped" if second["interrupted"] else f"had {second['divergences']:,}"
    return wrap(f"{text}with {second['target_accept']:g} the second run {why}, so these are the draws of the first.")


def longer_run(record) -> list[str]:
    """Return the line on a longer run, if chains that nearly mixed led to one."""
    was = record.get("longer")
    if not was:
        return []
    failed = [f"R-hat was up to {was['r_hat']:.3f}"] if was["r_hat"] > R_HAT_LIMIT else []
    failed += [f"ESS was down to {was['ess']:,}"] if was["ess"] < ESS_LIMIT else []
    kept = f"these are 1 in {was['every']} of {was['draws']:,} draws of each chain"
    if "dropped" in was:
        kept = f"that run {was['dropped']}, so these are the draws of the one before"
    return wrap(f"Sampled for longer, as {' and '.join(failed)}: {kept}.")


def quicker(fit, record) -> bool:
    """Return whether NUTS took long for a model that independent draws are for, and was what was asked for."""
    asked = record.get("asked", {}).get("sampler")
    if not record.get("seconds", 0.0) > SLOW or asked == importance.NAME:
        return False
    return importance.serves(fit.design, fit.model.priors)
