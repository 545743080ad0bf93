"""Softmax collapse: examples that have no loss left in float32."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.cross_entropy import means, row_blocks
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Softmax collapse",
    version=1,
    needs=("task",),
    reads=("activations", "logits"),
    arrays={"share": ArraySpec("<f8", (3,), gaps=True)},
)
def softmax_collapse(checkpoint: Checkpoint) -> Result:
    """Share of all, train and test pairs whose cross-entropy is exactly 0 in float32, (side,); NaN for an unknown split.

    There the exponentials of the other classes vanish next to that of the answer: Σ exp(L_c − L_y) rounds to 1. The gradient of
    the answer's logit is exactly 0 too, so with `--loss float32` these pairs no longer pull their answers up.
    After Prieto et al., "Grokking at the Edge of Numerical Stability" (2025).
    """
    logits, answers = checkpoint.logits.reshape(-1, checkpoint.config.p), checkpoint.answers
    total = np.empty(len(logits), np.float32)
    for rows in row_blocks(*logits.shape):
        some = logits[rows].astype(np.float32)
        some -= some[np.arange(len(some)), answers[rows]][:, None]
        with np.errstate(over="ignore"):  # a class that is far ahead of the answer
            total[rows] = np.exp(some, out=some).sum(axis=1, dtype=np.float32)
    return {"share": means((total == 1).astype(np.float64), checkpoint.split_masks)}
