"""The loss of a network of which only the key frequencies are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses import key_parts
from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.cross_entropy import cross_entropy, means
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.key_frequencies import RULES
from tdw.analyses.key_parts import Key

VARIANTS = ("sum_directions", "block_2x2", "block_3x3", "logit_fit")
PAIRS_AT_ONCE = 2048  # logits of so many pairs stay in the processor's cache


@analysis(
    title="Restricted loss",
    version=1,
    needs=("sum",),
    final_keys=True,
    arrays={
        "loss": ArraySpec("<f8", (len(key_parts.CHOICES), len(RULES), len(VARIANTS), 3), gaps=True),
        "final_key": ArraySpec("|u1", (len(RULES), "frequency")),
    },
    variants=list(VARIANTS),
)
def restricted_loss(view: View, *, variants: list[str]) -> Result:
    """Cross-entropy on [all, train, test] pairs of logits of which the key frequencies are kept, (key set of the last
    checkpoint or of this one, rule of the key set, variant, 3).

    sum_directions  L projected on the unit vectors along cos(w_k(a+b)) and sin(w_k(a+b)), for each answer c
    block_2x2       on the products of {cos k a, sin k a} with {cos k b, sin k b}
    block_3x3       on the products of {1, cos k a, sin k a} with {1, cos k b, sin k b}
    logit_fit       the least-squares fit of L by Σ_k α_k cos(w_k(a+b−c)) and nothing else

    To the first three the mean of the remainder over the pairs is added back for each answer, as the code of Nanda et
    al., "Progress measures for grokking via mechanistic interpretability" (2023) does; its text describes the blocks.
    For differences a − b stands for a + b. For products modulo a prime everything is in the order of powers, and the
    loss is that of the pairs without 0.
    """
    found: dict[bytes, NDArray[np.float64]] = {}
    chosen = key_parts.keys(view)
    for key in chosen.reshape(-1, chosen.shape[-1]):
        if key.tobytes() not in found:
            losses = np.stack([_pair_loss(view, key, variant) for variant in variants])
            found[key.tobytes()] = means(losses, view.grid_sides)
    rows = [[found[key.tobytes()] for key in by_rule] for by_rule in chosen]
    return {"loss": np.array(rows), "final_key": chosen[0]}


def _pair_loss(view: View, key: Key, variant: str) -> NDArray[np.float64]:
    """Cross-entropy of each pair of the grid, (order * order,)."""
    order, answers = view.config.order, view.grid_answers
    if variant == "sum_directions":
        mean = view.spectrum[0, 0] / order
        return cross_entropy(key_parts.sum_part(view, key) + mean, np.arange(order))[answers]
    if variant == "logit_fit":
        return cross_entropy(key_parts.template_part(view, key), np.arange(order))[answers]
    waves, of_a = key_parts.block(view, key, with_constant=variant == "block_3x3")
    step = max(PAIRS_AT_ONCE // order, 1)
    losses = [
        cross_entropy((waves @ of_a[a : a + step]).reshape(-1, order), answers[a * order : (a + step) * order])
        for a in range(0, order, step)
    ]
    return np.concatenate(losses)
