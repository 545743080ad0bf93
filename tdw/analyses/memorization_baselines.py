"""A checkpoint compared with networks that memorized as much as it did, and had nothing else to learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64

from tdw import tasks
from tdw.analyses.baselines import (
    ARRAYS,
    DEFINITIONS,
    FIRST_SEED,
    QUANTITIES,
    VERSION,
    Definitions,
    Draws,
    Report,
    compared,
    measured,
)
from tdw.analyses.engine.cached_values import cached
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis, find
from tdw.analyses.engine.run_data import RunData
from tdw.config import RunConfig
from tdw.tasks import Split

SPACING = 1.03  # ratio between epochs at which a network's train loss is looked at
LEVELS = np.sort([digit * 10.0**power for power in range(-12, 2) for digit in (1, 2, 5)])[::-1]
PATIENCE = (200, 5000)  # epochs before which training is not given up, once the loss has halved and before it has
FIXED: dict[str, Any] = {"checkpoints": "", "evaluate_every": 1_000_000, "device": "auto", "threads": 1}

# Of one network from its start on: train loss, whether training ended here before the loss that was wanted, quantities.
Trajectory = Float64[np.ndarray, "_ column"]


def prepare(
    run: RunData,
    split: Split | None,
    report: Report,
    jobs: int,  # noqa: ARG001 - a network is trained after the other, with PyTorch's own threads
    **parameters: Any,
) -> None:
    """Train the networks to the lowest loss of the run, or find what was measured of them in the user's private folder."""
    recorded = run.curves.train_loss[np.isfinite(run.curves.train_loss)]
    last = run.weights_of(len(run.checkpoints) - 1)
    lowest = recorded.min() if recorded.size else train_loss(Checkpoint(run.config, last, split))
    for done, _ in enumerate(trajectories(run.config, float(lowest), **parameters), 1):
        report(done, parameters["networks"])


@analysis(
    title="Baselines: memorizing networks",
    version=1,
    needs=("task", "frequencies"),
    reads=("activations", "logits", "spectrum"),
    arrays={**ARRAYS, "loss": ArraySpec("<f8", (2,))},
    on_request=True,
    prepare=prepare,
    trains=True,
    quantities=list(QUANTITIES),
    networks=19,
    epochs=20_000,
    definitions=DEFINITIONS,
)
def memorization_baselines(checkpoint: Checkpoint, *, quantities: list[str], **parameters: Any) -> Result:
    """The quantities of `baselines` in `networks` networks that were trained like this run, but on shuffled answers.

    Each is taken at the train loss of this checkpoint, between the two epochs at which it was measured before and after, linearly
    in the logarithm of the loss. Training ends after `epochs`, or when the loss has not halved since half as many epochs; what
    remains above the loss of the checkpoint is taken as it ended. Weights are initialized, pairs split and answers shuffled with
    seeds of their own. The networks are trained once for all runs that differ in nothing but seeds and length; what was measured
    is kept in the user's private folder.

    value, band, p  as in `baselines`
    loss            train loss of this checkpoint, and the median of those that the networks were taken at, in nats, (2,)
    """
    loss = train_loss(checkpoint)
    trained = list(trajectories(checkpoint.config, loss, quantities=quantities, **parameters))
    draws, losses = at_loss(trained, loss)
    found = compared(measured(checkpoint, quantities), draws, quantities)
    return {**found, "loss": np.array([loss, np.median(losses)])}


def train_loss(checkpoint: Checkpoint) -> float:
    """Mean cross-entropy over the train pairs, in nats; over all pairs if the split is unknown."""
    loss = checkpoint.of_pairs.loss
    return float(loss.mean() if checkpoint.split is None else loss[checkpoint.split.train].mean())


def at_loss(trained: list[Trajectory], loss: float) -> tuple[Draws, Float64[np.ndarray, " network"]]:
    """The quantities of each network where its train loss is closest to `loss`, and the losses there."""
    rows = []
    for table in trained:
        depth = -np.log(np.maximum(table[:, 0], np.finfo(float).tiny))
        wanted = np.clip(-np.log(max(loss, np.finfo(float).tiny)), depth[0], depth[-1])
        rows.append([np.interp(wanted, depth, column) for column in (-depth, *table.T[2:])])
    found = np.array(rows)
    return found[:, 1:], np.exp(found[:, 0])


def trajectories(
    config: RunConfig, wanted: float, *, quantities: list[str], networks: int, epochs: int, definitions: Definitions
) -> Iterator[Trajectory]:
    """Train loss and quantities of networks on shuffled answers, whenever their loss first fell to one of `LEVELS`, until it has
    fallen to `wanted`.
    """

    def is_enough(table: Trajectory) -> bool:
        return bool(table[-1, 0] <= wanted or table[-1, 1])

    for seed in range(FIRST_SEED, FIRST_SEED + networks):
        chosen = replace(config, model_seed=seed, data_seed=seed, **FIXED, epochs=epochs)
        key = [
            VERSION,
            find("memorization_baselines").version,
            asdict(chosen),
            definitions,
            quantities,
            "shuffled answers",
            list(LEVELS),
            SPACING,
            PATIENCE,
        ]
        compute = partial(_trajectory, chosen, wanted, quantities)
        yield cached("baselines", key, 2 + len(quantities), compute, is_enough)


def _trajectory(config: RunConfig, wanted: float, quantities: list[str]) -> Trajectory:
    import torch

    threads = torch.get_num_threads()
    rows: list[list[float]] = []
    try:
        for checkpoint, loss, is_end in _memorizing(config, wanted):
            if not rows or loss < rows[-1][0]:  # false for NaN
                rows.append([loss, 0, *measured(checkpoint, quantities)])
            rows[-1][1] = is_end
    finally:
        torch.set_num_threads(threads)  # training sets it for the process
    return np.array(rows, dtype=float)


def _memorizing(config: RunConfig, wanted: float) -> Iterator[tuple[Checkpoint, float, bool]]:
    """Train on shuffled answers. Yields the start, every state whose train loss has fallen to another of `LEVELS`, and the last,
    each with its loss and with whether training ends here, above the loss that is wanted.
    """
    from tdw.network import reference, training

    split = tasks.draw_split(config)
    looked_at = sorted({int(SPACING**power) for power in range(1 + int(np.log(config.epochs) / np.log(SPACING)))})
    start = training.start(config, reference.initial_weights(config))
    answers = shuffled(config, split)
    losses: list[float] = []
    level = np.inf
    for segment in training.train(config, start, split, [0, *looked_at], answers=answers, seconds=np.inf):
        losses += segment.train_loss.tolist()
        loss = losses[-1]
        patience = PATIENCE[loss > losses[0] / 2]
        has_stalled = len(losses) > patience and loss > losses[len(losses) // 2] / 2
        is_end = has_stalled or len(losses) > config.epochs or not np.isfinite(loss)
        if loss < level or loss <= wanted or is_end:
            yield Checkpoint(config, segment.state.weights, split), loss, is_end
            level = max(LEVELS[loss > LEVELS], default=0.0)
        if is_end or loss <= wanted:
            return


def shuffled(config: RunConfig, split: Split) -> tasks.Answers:
    """The answers to all pairs, those to the train pairs in random order."""
    answers = tasks.answers(np.arange(config.p**2), config).copy()
    answers[split.train] = np.random.RandomState(config.data_seed % 2**32).permutation(answers[split.train])
    return answers
