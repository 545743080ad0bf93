"""The epoch from which each pair stays correct."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.engine.run_data import RunData

NEVER = -1


@analysis(
    title="Pair graduation",
    version=1,
    per="run",
    needs=("task",),
    after=("accuracy",),
    arrays={"epoch": ArraySpec("<i8", ("operand", "operand"))},
)
def pair_graduation(run: RunData) -> Result:
    """The epoch of the first checkpoint from which the answer to pair (a, b) stays correct, (p, p); -1 if it is wrong at
    the last checkpoint.
    """
    p = run.config.p
    rows = run.stored("accuracy/correct")
    epoch = np.full(p * p, NEVER, dtype=np.int64)
    correct = np.ones(p * p, dtype=bool)
    for row, at in zip(rows[::-1], run.checkpoints[::-1], strict=True):
        correct &= np.unpackbits(row, count=p * p).astype(bool)
        epoch[correct] = at
    return {"epoch": epoch.reshape(p, p)}
