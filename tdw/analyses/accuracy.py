"""Share of correct answers, and which pairs are correct."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.cross_entropy import means
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Accuracy",
    version=1,
    needs=("task",),
    arrays={"accuracy": ArraySpec("<f8", (3,), gaps=True), "correct": ArraySpec("|u1", ("bitmap",))},
)
def accuracy(checkpoint: Checkpoint) -> Result:
    """Share of correct answers on [all, train, test] pairs, (3,), and a bitmap of the correct pairs in the order of
    `numpy.packbits`, pair (a, b) at bit a·p + b, (⌈p²/8⌉,).

    The output class '=' is left out. Of equal logits the first counts as largest. Train and test are NaN if the split is
    unknown.
    """
    p = checkpoint.config.p
    correct = checkpoint.logits.reshape(p * p, p).argmax(axis=1) == checkpoint.answers
    return {"accuracy": means(correct.astype(np.float64), checkpoint.split_masks), "correct": np.packbits(correct)}
