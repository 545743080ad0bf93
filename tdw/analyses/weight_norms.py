"""How large the weights are."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.network.parameters import shapes


@analysis(
    title="Weight norms",
    version=1,
    arrays={"squares": ArraySpec("<f8", ("tensor",)), "total": ArraySpec("<f8", ())},
)
def weight_norms(view: View) -> Result:
    """Σθ² of each tensor, in the order of `tdw.network.parameters.shapes`, (tensors,), and of all together.

    The row of '=' in the embedding and its column in the unembedding, where there are such, count as well.
    """
    squares = np.array([np.sum(view.weights[name].astype(np.float64) ** 2) for name in shapes(view.config)])
    return {"squares": squares, "total": squares.sum()}
