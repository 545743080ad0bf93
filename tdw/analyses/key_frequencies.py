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
    version=2,
    needs=("task", "frequencies"),
    reads=("activations", "logits", "spectrum"),
    arrays={"key": ArraySpec("|u1", (len(RULES), "frequency"))},
    rules=list(RULES),
    cosine=0.005,
    chance=5.0,
    margin=1.5,
    of_largest=0.25,
    share=SHARE,
    neurons=NEURONS,
)
def key_frequencies(
    checkpoint: Checkpoint,
    *,
    rules: list[str],
    cosine: float,
    chance: float,
    margin: float,
    of_largest: float,
    share: float,
    neurons: float,
) -> Result:
    """The key frequencies by each rule, (rules, K).

    logit_cosine  cosine similarity of cos(w_k(a+b−c)) with L − mean_c L above `cosine`, over all pairs and over the test pairs
                  alone; and there above `chance` times the root mean square of those of sin(w_k(a+b−c)), and above
                  `margin` times the largest of these and of −cos(w_k(a+b−c)); none unless the task is additive
    neuron_map    norm of frequency k in W_L above `of_largest` times the largest norm
    clusters      at least a share `neurons` of all neurons have at least a share `share` of their variance in frequency k
    embedding     norm of frequency k in W_E above `of_largest` times the largest norm

    The threshold of the first rule is that of the code of Chughtai et al., "A Toy Model of Universality" (2023), over all pairs.
    Memorized pairs exceed it too: every similarity of a network that only memorized is about √(2 f / (p − 1)), f the training
    fraction. On test pairs it is 0 up to chance, which the other waves show. Without a known split, all pairs stand for them.
    """
    by_rule = {
        "logit_cosine": np.zeros(checkpoint.config.frequencies, dtype=bool)
        if NEEDS["sum"](checkpoint.config)
        else _generalizing(checkpoint, cosine, chance, margin),
        "neuron_map": _prominent(checkpoint.unembedding_norms[1], of_largest),
        "clusters": by_clusters(checkpoint.share, share, neurons),
        "embedding": _prominent(checkpoint.embedding_norms[1], of_largest),
    }
    return {"key": np.stack([by_rule[rule] for rule in rules])}


def _generalizing(checkpoint: Checkpoint, cosine: float, chance: float, margin: float) -> Bool[np.ndarray, " freq"]:
    cosines, sines = checkpoint.unseen_cosine
    paired = sines[: (checkpoint.config.order - 1) // 2]  # frequency order / 2 has no sine
    typical = np.sqrt(np.mean(paired**2)) if paired.size else 0.0
    largest = max(np.abs(sines).max(), -cosines.min())
    return (checkpoint.logit_cosine > cosine) & (cosines > max(cosine, chance * typical, margin * largest))


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
