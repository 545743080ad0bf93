"""Cross-entropy on all, train and test pairs."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.cross_entropy import means
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Loss",
    version=1,
    needs=("task",),
    reads=("activations", "logits"),
    arrays={"loss": ArraySpec("<f8", (3,), gaps=True)},
)
def loss(checkpoint: Checkpoint) -> Result:
    """Mean over [all, train, test] pairs of log1p(Σ_{c≠y} exp(L_c − L_y)), in nats, (3,).

    The output class '=' is left out. Train and test are NaN if the split is unknown.
    """
    return {"loss": means(checkpoint.of_pairs.loss, checkpoint.split_masks)}
