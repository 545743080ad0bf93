"""In how many directions each weight matrix acts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.network.parameters import shapes


@analysis(title="Effective dimension", version=1, arrays={"dimension": ArraySpec("<f8", ("matrix",))})
def effective_dimension(view: View) -> Result:
    """Participation ratio (Σs²)² / Σs⁴ of the singular values s of each weight matrix, in the order of
    `tdw.network.parameters.shapes` without biases, (matrices,). 0 for a matrix of zeros.

    The heads of W_Q, W_K and W_V stand side by side, (d_model, heads · d_head), and those of W_O below one another,
    (heads · d_head, d_model): each is one matrix, as the code of Nanda et al. (2023) keeps it.
    """
    matrices = [joined(name, view.weights[name]) for name, shape in shapes(view.config).items() if len(shape) > 1]
    return {"dimension": np.array([participation_ratio(matrix) for matrix in matrices])}


def joined(name: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """A weight of all heads, (heads, into, out), as one matrix; others as they are."""
    if weight.ndim == 2:
        return weight
    heads, into, out = weight.shape
    if name.endswith("W_O"):
        return weight.reshape(heads * into, out)
    return weight.transpose(1, 0, 2).reshape(into, heads * out)


def participation_ratio(matrix: NDArray[np.floating]) -> float:
    """(Σs²)² / Σs⁴ = (tr G)² / ‖G‖² with G = M Mᵀ: singular values without finding them.

    >>> participation_ratio(np.eye(3)), participation_ratio(np.ones((3, 5)))
    (3.0, 1.0)
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = wide.astype(np.float64) @ wide.T.astype(np.float64)
    energy = np.vdot(gram, gram)
    return float(np.trace(gram) ** 2 / energy) if energy > 0 else 0.0
