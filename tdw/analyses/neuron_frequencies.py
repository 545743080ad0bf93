"""How much of each neuron is one frequency."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Neuron frequencies",
    version=1,
    needs=("frequencies",),
    arrays={"share": ArraySpec("<f4", ("frequency", "neuron"))},
)
def neuron_frequencies(view: View) -> Result:
    """Share of a neuron's variance over the pairs that lies in frequency k, (K, d_mlp), each in [0, 1].

    With h centered and H = F h F^T, the energy of H in the products of {constant, cos k, sin k} with themselves over
    the total energy. A dead neuron has share 0 everywhere.
    After Nanda et al. (2023), section 4, relative to the variance.
    """
    return {"share": view.share}
