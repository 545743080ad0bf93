"""When each pair is learnt for good."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Whole
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

NEVER = -1


@analysis(
    title="Pair graduation",
    version=1,
    per="run",
    after=("accuracy",),
    arrays={"epoch": ArraySpec("<i8", ("operand", "operand"))},
)
def pair_graduation(run: Whole) -> Result:
    """The epoch of the first checkpoint from which on a pair (a, b) is answered rightly at every checkpoint, (p, p);
    -1 for a pair that the last checkpoint gets wrong.
    """
    p = run.config.p
    rows = run.stored("accuracy/correct")
    epoch = np.full(p * p, NEVER, dtype=np.int64)
    lasting = np.ones(p * p, dtype=bool)
    for row, at in zip(rows[::-1], run.checkpoints[::-1], strict=True):
        lasting &= np.unpackbits(row, count=p * p).astype(bool)
        epoch[lasting] = at
    return {"epoch": epoch.reshape(p, p)}
