"""The frequencies the network computes with, by four rules that disagree on real networks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64

from tdw.analyses.engine.checkpoint import Checkpoint
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
    checkpoint: Checkpoint, *, rules: list[str], cosine: float, of_largest: float, share: float, neurons: float
) -> Result:
    """The key frequencies by each rule, (rules, K).

    logit_cosine  cosine similarity of cos(w_k(a+b−c)) with L − mean_c L above `cosine`; none unless the task is additive
    neuron_map    norm of frequency k in W_L above `of_largest` times the largest norm
    clusters      at least a share `neurons` of all neurons have at least a share `share` of their variance in frequency k
    embedding     norm of frequency k in W_E above `of_largest` times the largest norm

    The first rule is that of Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    by_rule = {
        "logit_cosine": np.zeros(checkpoint.config.frequencies, dtype=bool)
        if NEEDS["sum"](checkpoint.config)
        else checkpoint.logit_cosine > cosine,
        "neuron_map": _prominent(checkpoint.unembedding_norms[1], of_largest),
        "clusters": by_clusters(checkpoint.share, share, neurons),
        "embedding": _prominent(checkpoint.embedding_norms[1], of_largest),
    }
    return {"key": np.stack([by_rule[rule] for rule in rules])}


def _prominent(norms: Float64[np.ndarray, " freq"], of_largest: float) -> Bool[np.ndarray, " freq"]:
    return norms > of_largest * norms.max()


def by_clusters(
    shares: Float32[np.ndarray, "freq neuron"], share: float = SHARE, neurons: float = NEURONS
) -> Bool[np.ndarray, " freq"]:
    """The rule `clusters`, from the frequency shares of the neurons.

    >>> by_clusters(np.array([[0.9, 0.1], [0.1, 0.6]], dtype=np.float32))
    array([ True, False])
    """
    return np.count_nonzero(shares >= share, axis=1) >= max(neurons * shares.shape[1], 1)
