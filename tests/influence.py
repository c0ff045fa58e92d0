"""What the check of influential groups is made of, for each coefficient as the model has it."""

import numpy as np

from bayesmm.evaluation.checks.groups import _Parts, moves


def dfbetas(parts: _Parts, block) -> np.ndarray:
    """Return by how many standard errors each coefficient moves when a level is left out, (G, p)."""
    p, A = len(parts.to_zero), parts.to_zero
    se = np.sqrt(np.diag(A @ parts.cov[:p, :p] @ A.T))
    return moves(parts, block) @ A.T * np.divide(1.0, se, out=np.zeros(p), where=se > 0)
