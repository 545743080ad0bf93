"""Two-dimensional Fourier spectrum of the logits."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Logit spectrum",
    version=1,
    needs=("frequencies",),
    reads=("activations", "logits", "spectrum"),
    arrays={"norm": ArraySpec("<f4", ("component", "component"))},
)
def logit_spectrum(checkpoint: Checkpoint) -> Result:
    """Norm over the answers c of (F ⊗ F) L, (p, p): row i, column j is component i along a times component j along b.

    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.1.
    """
    return {"norm": checkpoint.spectrum.norm}
