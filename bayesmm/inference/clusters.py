"""Which rows are of which cluster, and whether clusters are independent by the model."""

import numpy as np
import pandas as pd

from bayesmm.design.records import Block, Design
from bayesmm.errors import DataError, listing, suggest
from bayesmm.likelihood.crossproducts import Ints
from bayesmm.runtime.messages import count


def clusters_of(design: Design, cluster: object) -> tuple[str, Ints]:
    """Return the name of the clusters and the cluster of each row, (n,), from 0.

    Parameters
    ----------
    design : Design
    cluster : str, sequence or None
        A grouping factor, a column of the model, or a value for each row; None for the factor with the fewest levels.

    Raises
    ------
    ValueError
        There is none of that name, a value is missing, or their number is not that of the rows.
    """
    if cluster is None:
        block = _outermost(design)
        return block.group, block.index
    factors = {design.blocks[k].group: design.blocks[k].index for k in design.factors}
    if isinstance(cluster, str):
        if cluster in factors:
            return cluster, factors[cluster]
        if cluster not in design.frame:
            known = list(dict.fromkeys([*factors, *design.frame.columns]))
            raise ValueError(
                f"cluster names {cluster!r}, which is no grouping factor or column of the model ({listing(known, 8)})"
                f"{suggest(cluster, known)}; give its values, cluster=data[{cluster!r}]"
            )
        name, values = cluster, design.frame[cluster]
    else:
        name, values = _given(design, cluster)
    codes = pd.factorize(values)[0]
    if (codes < 0).any():
        raise ValueError(f"cluster {name} is missing in {count(int((codes < 0).sum()), 'row')} of the model")
    return name, codes


def _given(design: Design, cluster: object) -> tuple[str, pd.Series]:
    """Return the name of given clusters and their values for the rows of the design."""
    if np.ndim(cluster) != 1:
        what = type(cluster).__name__
        raise ValueError(f"cluster should be a value for each row, such as data['school'], not a {what}")
    series = cluster if isinstance(cluster, pd.Series) else pd.Series(np.asarray(cluster))
    name = "cluster" if series.name is None else str(series.name)
    labels = [label for label, _ in design.row_labels] if design.responses else design.row_labels
    if isinstance(cluster, pd.Series) and series.index.is_unique and pd.Index(labels).isin(series.index).all():
        return name, series.loc[labels]
    if design.table_rows is not None and len(series) == design.table_rows.max() + 1:  # of several responses
        return name, series.iloc[design.table_rows]
    if len(series) != design.n:
        raise ValueError(
            f"cluster should have a value for each of the {design.n:,} rows of the model, not {len(series):,}; a "
            "pandas Series with the index of the data goes by its labels"
        )
    return name, series


def _outermost(design: Design) -> Block:
    """Return the grouping factor with the fewest levels."""
    blocks = [design.blocks[k] for k in design.factors]
    if not blocks:
        raise ValueError("cluster is needed where the model has no grouping factor: se='CR2', cluster=data['school']")
    return min(blocks, key=lambda block: len(block.levels))


def check_independent(design: Design, name: str, codes: Ints) -> None:
    """Raise a DataError where rows of two clusters share random effects or have correlated residuals."""
    for block in design.blocks:
        if _across(block.index, codes):
            what = "s() and the like" if block.smooth else block.group
            raise DataError(
                f"the random effects of {what} go across the levels of {name}, which are then no independent clusters; "
                f"name a cluster in which each level of {what} lies, or use fixef(ddf='satterthwaite')"
            )
        if block.relation is not None and _related_across(block, codes):
            raise DataError(
                f"levels of {block.group} that matrices[{block.relation.name!r}] makes kin lie in different levels of "
                f"{name}, which are then no independent clusters; name a cluster that holds all kin"
            )
    correlation = design.residual.correlated
    if correlation is not None:
        layout = correlation.layout
        if (codes[layout.row] != codes[layout.column]).any():
            raise DataError(
                f"the residuals of {correlation.text} are correlated across the levels of {name}, which are then no "
                "independent clusters; name a cluster that holds whole series"
            )


def _related_across(block: Block, codes: Ints) -> bool:
    """Return whether levels of a block with a known covariance are correlated with those of another cluster."""
    cluster = np.zeros(len(block.levels), dtype=np.int64)
    cluster[block.index] = codes
    return bool((block.relation.K[cluster[:, None] != cluster] != 0).any())


def _across(levels: Ints, codes: Ints) -> bool:
    """Return whether a level has rows of several clusters."""
    pairs = np.unique(np.column_stack([levels, codes]), axis=0)
    return len(pairs) > len(np.unique(levels))
