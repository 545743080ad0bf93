"""Share of correct answers, and which pairs are correct."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.cross_entropy import means
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.network.correctness import is_ahead


@analysis(
    title="Accuracy",
    version=2,
    needs=("task",),
    reads=("activations", "logits"),
    arrays={"accuracy": ArraySpec("<f8", (3,), gaps=True), "correct": ArraySpec("|u1", ("bitmap",))},
)
def accuracy(checkpoint: Checkpoint) -> Result:
    """Share of correct answers on [all, train, test] pairs, (3,), and a bitmap of the correct pairs in the order of
    `numpy.packbits`, pair (a, b) at bit a·p + b, (⌈p²/8⌉,).

    An answer is correct if its logit is ahead of all others by more than rounding, see `tdw.network.correctness`. The output class
    '=' is left out. Train and test are NaN if the split is unknown.
    """
    pairs = checkpoint.config.p**2
    right = checkpoint.logits.reshape(pairs, -1)[np.arange(pairs), checkpoint.answers].astype(np.float64)
    correct = is_ahead(right, checkpoint.of_pairs.margin)
    return {"accuracy": means(correct.astype(np.float64), checkpoint.split_masks), "correct": np.packbits(correct)}
