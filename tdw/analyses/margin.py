"""Margin of the correct answer."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

SCALAR = ArraySpec("<f8", ())


@analysis(
    title="Margin",
    version=1,
    needs=("task",),
    reads=("activations", "logits"),
    arrays={"minimum": SCALAR, "quantile": SCALAR, "mean": SCALAR},
    quantile=0.001,
)
def margin(checkpoint: Checkpoint, *, quantile: float) -> Result:
    """Correct logit minus the largest wrong logit, over all pairs: minimum, 0.1 % quantile (linear interpolation), mean."""
    margins = checkpoint.of_pairs.margin
    return {"minimum": margins.min(), "quantile": np.quantile(margins, quantile), "mean": margins.mean()}
