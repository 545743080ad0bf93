"""A checkpoint compared with itself under random relabelings."""

from __future__ import annotations

import numpy as np

from tdw.analyses.baselines import ARRAYS, DEFINITIONS, QUANTITIES, Definitions, compared, measured
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import Result, analysis


@analysis(
    title="Baselines: relabeled networks",
    version=1,
    needs=("task", "frequencies"),
    reads=("activations", "logits", "spectrum"),
    arrays=ARRAYS,
    on_request=True,
    holds=2,
    quantities=list(QUANTITIES),
    draws=19,
    definitions=DEFINITIONS,
)
def permutation_baselines(checkpoint: Checkpoint, *, quantities: list[str], draws: int, **_: Definitions) -> Result:
    """The quantities of `baselines` in this checkpoint with its operands and answers relabeled at random, `draws` times.

    The weights keep their norms and their alignment, but lose their relation to the task. Arrays as in `baselines`.
    """
    relabeled = np.array([measured(permuted(checkpoint, seed), quantities) for seed in range(draws)])
    return compared(measured(checkpoint, quantities), relabeled, quantities)


def permuted(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    """The same network with operands and answers relabeled by two random permutations; '=' keeps its label."""
    config, random = checkpoint.config, np.random.RandomState(seed)
    operands, answers = random.permutation(config.p), random.permutation(config.p)
    classes = np.concatenate([answers, np.arange(config.p, config.outputs)])
    weights = config.network_kind.computation.renamed(checkpoint.weights, operands, classes)
    renamed = Checkpoint(config, weights, checkpoint.split)
    # What its forward pass would give, without the pass.
    if checkpoint.has_activations:
        renamed.activations = checkpoint.activations[np.ix_(operands, operands)]
    renamed.logits = checkpoint.logits[np.ix_(operands, operands, answers)]
    return renamed
