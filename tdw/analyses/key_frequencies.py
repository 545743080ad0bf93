"""Which frequencies the network runs on, by four rules that disagree on real networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import NEEDS, ArraySpec, Result, analysis

RULES = ("logit_cosine", "neuron_map", "clusters", "embedding")
DEFAULT_RULE = "logit_cosine"
SHARE, NEURONS = 0.7, 0.1


@analysis(
    title="Key frequencies",
    version=1,
    needs=("frequencies",),
    arrays={"key": ArraySpec("|u1", (len(RULES), "frequency"))},
    rules=list(RULES),
    cosine=0.005,
    of_largest=0.25,
    share=SHARE,
    neurons=NEURONS,
)
def key_frequencies(
    view: View, *, rules: list[str], cosine: float, of_largest: float, share: float, neurons: float
) -> Result:
    """Which frequencies are key ones by each rule, (rules, K).

    logit_cosine  cosine similarity of cos(w_k(a+b−c)) with L − mean_c L above `cosine`; none where answers are no sum
    neuron_map    norm of frequency k in W_L above `of_largest` of the largest such norm
    clusters      at least a share `neurons` of all neurons has at least a share `share` of its variance in frequency k
    embedding     norm of frequency k in W_E above `of_largest` of the largest such norm

    The first as in Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    found = {
        "logit_cosine": np.zeros(view.config.frequencies, dtype=bool)
        if NEEDS["sum"](view.config)
        else view.logit_cosine > cosine,
        "neuron_map": _prominent(view.unembedding_norms[1], of_largest),
        "clusters": by_clusters(view.share, share, neurons),
        "embedding": _prominent(view.embedding_norms[1], of_largest),
    }
    return {"key": np.stack([found[rule] for rule in rules])}


def _prominent(norms: NDArray[np.float64], of_largest: float) -> NDArray[np.bool_]:
    return norms > of_largest * norms.max()


def by_clusters(shares: NDArray[np.float32], share: float = SHARE, neurons: float = NEURONS) -> NDArray[np.bool_]:
    """The rule `clusters` on shares (K, neurons), (K,)."""
    return np.count_nonzero(shares >= share, axis=1) >= max(neurons * shares.shape[1], 1)
