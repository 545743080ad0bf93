"""The loss of a network of which only the key frequencies are kept."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from tdw.analyses import key_parts
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.cross_entropy import cross_entropy, means
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.key_frequencies import RULES
from tdw.analyses.key_parts import Key

VARIANTS = ("sum_directions", "block_2x2", "block_3x3", "logit_fit")
PAIRS_AT_ONCE = 2048  # logits of this many pairs fit into the processor's cache


@analysis(
    title="Restricted loss",
    version=1,
    needs=("sum",),
    final_keys=True,
    reads=("activations", "logits", "spectrum"),
    arrays={
        "loss": ArraySpec("<f8", (len(key_parts.CHOICES), len(RULES), len(VARIANTS), 3), gaps=True),
        "final_key": ArraySpec("|u1", (len(RULES), "frequency")),
    },
    variants=list(VARIANTS),
)
def restricted_loss(checkpoint: Checkpoint, *, variants: list[str]) -> Result:
    """Cross-entropy on [all, train, test] pairs with only the key frequencies kept in the logits, (key set of [the last,
    this] checkpoint, rule of the key set, variant, 3).

    sum_directions  projection on the unit vectors along cos(w_k(a+b)) and sin(w_k(a+b)), for each answer c
    block_2x2       projection on the products of {cos k a, sin k a} and {cos k b, sin k b}
    block_3x3       projection on the products of {1, cos k a, sin k a} and {1, cos k b, sin k b}
    logit_fit       least-squares fit of L by Σ_k α_k cos(w_k(a+b−c)) alone

    The first three keep the mean of L over the pairs for each answer, as the code of Nanda et al., "Progress measures for
    grokking via mechanistic interpretability" (2023), does; its text describes the blocks.
    For subtraction a + b is replaced by a − b. For multiplication modulo a prime everything is in group order, and pairs
    with 0 are left out.
    """
    loss_of: dict[bytes, Float64[np.ndarray, "variant 3"]] = {}
    chosen = key_parts.keys(checkpoint)
    for key in chosen.reshape(-1, chosen.shape[-1]):
        if key.tobytes() not in loss_of:
            losses = np.stack([_pair_loss(checkpoint, key, variant) for variant in variants])
            loss_of[key.tobytes()] = means(losses, checkpoint.grid_split_masks)
    rows = [[loss_of[key.tobytes()] for key in by_rule] for by_rule in chosen]
    return {"loss": np.array(rows), "final_key": chosen[0]}


def _pair_loss(checkpoint: Checkpoint, key: Key, variant: str) -> Float64[np.ndarray, " grid_pair"]:
    """Cross-entropy of each pair of the grid."""
    order, answers = checkpoint.config.order, checkpoint.grid_answers
    if variant == "sum_directions":
        mean = checkpoint.spectrum[0, 0] / order
        return cross_entropy(key_parts.sum_part(checkpoint, key) + mean, np.arange(order))[answers]
    if variant == "logit_fit":
        return cross_entropy(key_parts.template_part(checkpoint, key), np.arange(order))[answers]
    waves, of_a = key_parts.block(checkpoint, key, with_constant=variant == "block_3x3")
    step = max(PAIRS_AT_ONCE // order, 1)
    losses = [
        cross_entropy((waves @ of_a[a : a + step]).reshape(-1, order), answers[a * order : (a + step) * order])
        for a in range(0, order, step)
    ]
    return np.concatenate(losses)
