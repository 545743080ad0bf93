"""Share of each neuron's variance in each frequency."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Neuron frequencies",
    version=1,
    needs=("frequencies",),
    reads=("activations",),
    arrays={"share": ArraySpec("<f4", ("frequency", "neuron"))},
)
def neuron_frequencies(checkpoint: Checkpoint) -> Result:
    """Share of a neuron's variance over the pairs that lies in frequency k, (K, d_mlp), each in [0, 1].

    With h centered and H = F h Fᵀ, the energy of the 3 × 3 block {constant, cos k, sin k} of H over the total energy. A dead
    neuron has share 0 in every frequency.
    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4, relative to
    the variance.
    """
    return {"share": checkpoint.share}
