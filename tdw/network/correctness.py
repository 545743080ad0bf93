"""Which answers are correct: those whose logit is the largest, and not by rounding alone.

Where the correct logit and another one are equal, or differ by what rounding does to them, the network has not answered: the
largest of them is an accident of the order in which they are summed. Such a pair counts as wrong in recorded accuracies, in
measures and in imports alike.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int64

if TYPE_CHECKING:  # measures use this module without PyTorch
    from torch import Tensor

TIED = 1e-6  # two logits are tied if they differ by at most this share of the larger one


def is_correct(logits: Float[Tensor, "pair class"], answers: Int64[Tensor, " pair"]) -> Bool[Tensor, " pair"]:
    """Whether the logit of the answer is ahead of all others, (pair,)."""
    at_answer = answers[:, None]
    right = logits.gather(1, at_answer)[:, 0]
    wrong = logits.scatter(1, at_answer, -math.inf).amax(dim=1)
    return right - wrong > TIED * right.abs().maximum(wrong.abs())


def is_ahead(right: Float[np.ndarray, " pair"], margin: Float[np.ndarray, " pair"]) -> Bool[np.ndarray, " pair"]:
    """The same, of the logits of the answers and their margins over the largest of the others, (pair,).

    >>> is_ahead(np.array([5.0, 5.0, 5.0]), np.array([1.0, 1e-6, -1.0]))
    array([ True, False, False])
    """
    return margin > TIED * np.maximum(np.abs(right), np.abs(right - margin))
