"""Share of the pairs that are answered rightly, and which they are."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.cross_entropy import means
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Accuracy",
    version=1,
    arrays={"accuracy": ArraySpec("<f8", (3,), gaps=True), "correct": ArraySpec("|u1", ("bitmap",))},
)
def accuracy(view: View) -> Result:
    """Share of [all, train, test] pairs whose largest logit is the right answer's, (3,), and one bit for each pair, pair
    (a, b) at a·p + b, packed eight to a byte, the first in the highest bit (`numpy.unpackbits`).

    Over the p answers: an output class '=' is left out. Of equal logits the first counts as largest.
    """
    p = view.config.p
    correct = view.logits.reshape(p * p, p).argmax(axis=1) == view.answers
    return {"accuracy": means(correct.astype(np.float64), view.sides), "correct": np.packbits(correct)}
