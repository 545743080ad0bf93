"""The loss of a network of which only the key frequencies are kept."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from tdw.analyses import key_parts
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.cross_entropy import FAINT, cross_entropy, log1p_exp, means, over_largest, row_blocks
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.key_frequencies import RULES
from tdw.analyses.key_parts import Factors, Key

VARIANTS = ("sum_directions", "block_2x2", "block_3x3", "logit_fit")
VALUES_AT_ONCE = 1 << 14  # of each of the factors, which all fit into the processor's cache


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
        mean = checkpoint.spectrum.of_a[0] / order
        return cross_entropy(key_parts.sum_part(checkpoint, key) + mean, np.arange(order))[answers]
    if variant == "logit_fit":
        return cross_entropy(key_parts.template_part(checkpoint, key), np.arange(order))[answers]
    return of_block(checkpoint, key_parts.block(checkpoint, key, with_constant=variant == "block_3x3"))


def of_block(checkpoint: Checkpoint, factors: Factors) -> Float64[np.ndarray, " grid_pair"]:
    """Cross-entropy of each pair of the grid with these logits.

    The exponential of a sum of functions of a + b, of a − b, of a and of b is a product of as many factors, each of which has
    as many values as there are operands: there are no exponentials of pairs. Each is divided by its largest value, for a + b
    over the wrong answers, so that it cannot overflow.
    """
    order, answers = checkpoint.config.order, checkpoint.grid_answers
    sign = checkpoint.config.task_kind.sign or 1
    index = np.arange(order)
    distances = (index[:, None] - sign * index).ravel() % order
    of_sum, of_distance = factors.of_both[0].copy(), factors.of_both[1].copy()
    sizes = over_largest(of_sum, index)[answers]
    sizes += _over_largest(of_distance, distances, answers)
    if factors.of_each is None:
        others = (of_sum @ of_distance.T)[answers, distances]
    else:
        of_a, of_b = factors.of_each.copy()
        sizes += _over_largest(of_a, np.repeat(index, order), answers)
        sizes += _over_largest(of_b, np.tile(index, order), answers)
        both = (of_sum, of_distance) if sign == 1 else (of_distance, of_sum)
        others = _contracted(*both, of_a, of_b).ravel()
    if others.min() < FAINT:  # the products may have underflowed
        return of_block_directly(checkpoint, factors)
    return log1p_exp(sizes + np.log(others))


def of_block_directly(checkpoint: Checkpoint, factors: Factors) -> Float64[np.ndarray, " grid_pair"]:
    """The same, computed from the definition pair by pair."""
    order, answers = checkpoint.config.order, checkpoint.grid_answers
    sign = checkpoint.config.task_kind.sign or 1
    losses = np.empty(order**2)
    for rows in row_blocks(order**2, order):
        a, b = np.divmod(np.arange(rows.start, rows.stop), order)
        logits = factors.of_both[0][answers[rows]] + factors.of_both[1][(a - sign * b) % order]
        if factors.of_each is not None:
            logits += factors.of_each[0][a] + factors.of_each[1][b]
        losses[rows] = cross_entropy(logits, answers[rows])
    return losses


def _over_largest(
    part: Float64[np.ndarray, "row class"], rows: Int64[np.ndarray, " pair"], answers: Int64[np.ndarray, " pair"]
) -> Float64[np.ndarray, " pair"]:
    """Replace a part of the logits by exp(L_c − max), in place; returns max − L_y of each pair, given its row."""
    largest = part.max(axis=1)
    sizes: Float64[np.ndarray, " pair"] = largest[rows] - part[rows, answers]
    part -= largest[:, None]
    np.exp(part, out=part)
    return sizes


def _contracted(
    of_sum: Float64[np.ndarray, "order order"],
    of_difference: Float64[np.ndarray, "order order"],
    of_a: Float64[np.ndarray, "order order"],
    of_b: Float64[np.ndarray, "order order"],
) -> Float64[np.ndarray, "order order"]:
    """Σ_c of the product of functions of a + b, of a − b, of a and of b, (row, c) each, for each pair (a, b)."""
    order = len(of_a)
    # Rows such that for each a those of all b follow each other.
    ahead = np.concatenate([of_sum, of_sum])
    back = of_difference[-np.arange(2 * order) % order]
    result, at_once = np.empty((order, order)), max(VALUES_AT_ONCE // order, 1)
    scratch = np.empty((min(at_once, order), order))
    for first in range(0, order, at_once):
        last = min(first + at_once, order)
        product = scratch[: last - first]
        for a in range(order):
            np.multiply(ahead[a + first : a + last], back[order - a + first : order - a + last], out=product)
            product *= of_b[first:last]
            np.matmul(product, of_a[a], out=result[a, first:last])
    return result
