"""The likelihood and the predictors of several responses in LaTeX: a line of each response."""

from collections.abc import Callable, Iterator

import numpy as np

from bayesmm.design.parameters import within_response
from bayesmm.design.records import Block, Design
from bayesmm.formula.formula import text_of

Escape = Callable[[str], str]


def likelihood_lines(design: Design, escape: Escape) -> Iterator[str]:
    """Yield the distribution of each response, and the correlations of their residuals."""
    divided = "" if design.weights is None else " / w_{i}"
    for name in design.responses:
        mean, variance = _mean(name, escape), rf"\sigma_{{{escape(name)}}}^{{2}}"
        yield rf"{{{escape(name)}}}_{{i}} &\sim \mathcal{{N}}({mean},\ {variance}{divided})"
    if design.formula.several.rescor:
        for k, first in enumerate(design.responses):
            for second in design.responses[k + 1 :]:
                pair = rf"{{{escape(first)}}}_{{i}}, {{{escape(second)}}}_{{i}} \mid \mu"
                yield rf"\mathrm{{corr}}({pair}) &= \rho_{{{escape(first + ', ' + second)}}}"


def predictors(
    design: Design, escape: Escape, product: Callable, effect: Callable, smooth_parts: Callable
) -> Iterator[tuple[str, list[str]]]:
    """Yield the mean of each response and the terms of its predictor."""
    for k, name in enumerate(design.responses):
        rows = design.response_codes == k
        own = [c for c, x in zip(design.coefficients, design.X.T, strict=True) if _is_of(x, rows)]
        terms = [product(rf"\beta_{{{escape(c)}}}", within_response(name, c)) for c in own]
        for block in design.blocks:
            terms += _effects(design, block, rows, name, escape, product, effect, smooth_parts)
        yield (
            _mean(name, escape),
            terms + [rf"{{{escape(text_of(offset))}}}_{{i}}" for offset in design.formula.offsets],
        )


def _effects(design: Design, block: Block, rows: np.ndarray, name: str, escape: Escape, *made: Callable) -> list[str]:
    product, effect, smooth_parts = made
    if block.smooth or block.members:
        kept = [_is_of(block.Z[:, part.columns[0]], rows) for part in block.parts]
        parts = zip(kept, smooth_parts(block), strict=True)
        return [rf"\sum_{{j}} {effects}\,{column}" for one, (effects, column, _) in parts if one]
    group = rf"{escape(block.group)}[i]"
    own = [c for c, z in zip(block.columns, block.Z.T, strict=True) if _is_of(z, rows)]
    return [product(effect(design, block, c, group), within_response(name, c)) for c in own]


def _is_of(column: np.ndarray, rows: np.ndarray) -> bool:
    """Return whether a column, (n,), is of the response whose rows these are, (n,) bool."""
    return not np.any(column[~rows])


def _mean(name: str, escape: Escape) -> str:
    return rf"\mu_{{{escape(name)},i}}"
