"""Effective dimension of each weight matrix."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.network.parameters import shapes


@analysis(title="Effective dimension", version=1, arrays={"dimension": ArraySpec("<f8", ("matrix",))})
def effective_dimension(checkpoint: Checkpoint) -> Result:
    """Participation ratio (Σs²)² / Σs⁴ of the singular values s of each weight matrix, in the order of
    `tdw.network.parameters.shapes` without biases, (matrices,). 0 for a zero matrix.

    The heads of W_Q, W_K and W_V are concatenated to (d_model, heads · d_head), those of W_O to (heads · d_head, d_model),
    as in the code of Nanda et al. (2023).
    """
    return {"dimension": np.array([participation_ratio(matrix) for matrix in matrices(checkpoint)])}


def matrices(checkpoint: Checkpoint) -> list[Float32[np.ndarray, "_ _"]]:
    """Each weight as a matrix, without biases, in the order of `tdw.network.parameters.shapes`."""
    return [
        joined(name, checkpoint.weights[name]) for name, shape in shapes(checkpoint.config).items() if len(shape) > 1
    ]


def joined(name: str, weight: Float32[np.ndarray, ...]) -> Float32[np.ndarray, "rows columns"]:
    """A weight of all heads, (heads, in, out), as one matrix; a matrix unchanged."""
    if weight.ndim == 2:
        return weight
    heads, width, out = weight.shape
    if name.endswith("W_O"):
        return weight.reshape(heads * width, out)
    return weight.transpose(1, 0, 2).reshape(width, heads * out)


def participation_ratio(matrix: Float[np.ndarray, "rows columns"]) -> float:
    """(Σs²)² / Σs⁴ = (tr G)² / ‖G‖² with G = M Mᵀ, which needs no singular value decomposition.

    >>> participation_ratio(np.eye(3)), participation_ratio(np.ones((3, 5)))
    (3.0, 1.0)
    """
    products = gram(matrix)
    energy = np.vdot(products, products)
    return float(np.trace(products) ** 2 / energy) if energy > 0 else 0.0


def gram(matrix: Float[np.ndarray, "rows columns"]) -> Float64[np.ndarray, "side side"]:
    """M Mᵀ or Mᵀ M, whichever is smaller: its eigenvalues are the squares of the singular values of M.

    >>> gram(np.array([[3.0, 4.0]]))
    array([[25.]])
    """
    wide = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).astype(np.float64)
    return wide @ wide.T
