"""Models made from a model: the same one for other data, or with other priors."""

from collections.abc import Mapping
from dataclasses import replace

from bayesmm.design.design import Design, Learned, make_design
from bayesmm.errors import DataError
from bayesmm.estimation.model_warnings import check_residual, guard_messages
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse
from bayesmm.priors import Priors, resolve_priors
from bayesmm.storage.data_arguments import Source, source
from bayesmm.storage.stored_model import beside


def guarded(design: Design, priors: Priors) -> Design:
    """Return a design with what there is to say about it together with its priors.

    Raises
    ------
    DataError
        Random effects cannot be told apart from the residual.
    """
    check_residual(design, priors)
    return replace(design, messages=(*design.messages, *guard_messages(design, priors)))


def with_data(model, data: object, *, trials: object = None, weights: object = None):
    """Return the same model of other data.

    See `Model.with_data`, also for what is raised.
    """
    given = {"weights": weights, "trials": trials}
    for name, values in beside(model.design).items():
        if given[name] is None:
            given[name] = getattr(model.source, name)
        if given[name] is None:
            raise DataError(
                f"the {name} of the model were given as {len(values):,} numbers, which are not those of other data; "
                f"give theirs: with_data(data, {name}=...)"
            )
    learned = Learned(model.design.encoders.states, model.design.encoders.bases)
    own = dict(missing=model.source.missing, transforms=model.design.encoders.transforms, family=model.family)
    design = make_design(model.formula, data, **own, **given, learned=learned)
    return assembled(
        type(model), guarded(design, model.priors), model.priors, source(model.source.missing, **given), model.kept
    )


def with_priors(model, priors: Mapping[str, object] | None):
    """Return the same model of the same data with other priors.

    See `Model.with_priors`, also for what is raised.
    """
    resolved = resolve_priors(model.design, model.family, priors)
    said = set(guard_messages(model.design, model.priors))
    design = replace(model.design, messages=tuple(m for m in model.design.messages if m not in said))
    return assembled(type(model), guarded(design, resolved), resolved, model.source)


def remade(kind: type, arguments: Mapping[str, object], own: Source, learned: Learned | None):
    """Return a model of other data as it was, from what a file keeps of it.

    Parameters
    ----------
    kind : type
        Model.
    arguments : mapping
        Of `Model`.
    own : Source
    learned : Learned or None
    """
    formula = parse(arguments["formula"], arguments["transforms"])
    family = get_family(arguments["family"], arguments["link"])
    given = {name: arguments.get(name) for name in ("weights", "trials", "missing", "transforms")}
    design = make_design(formula, arguments["data"], **given, family=family, learned=learned)
    priors = resolve_priors(design, design.family, arguments["priors"])
    return assembled(kind, guarded(design, priors), priors, own)


def assembled(kind: type, design: Design, priors: Priors, own: Source, kept: dict | None = None):
    """Return a model made of these parts, which none of its methods has been asked for yet.

    `kept`, if given, is the compiled code of models with the same formula and priors.
    """
    new = object.__new__(kind)
    new.formula, new.family, new.source = design.formula, design.family, own
    new.priors, new.design, new.kept = priors, design, {} if kept is None else kept
    return new
