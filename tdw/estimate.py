"""What a run will take: checkpoints, size of the file, seconds of training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod

from tdw import schedule
from tdw.config import RunConfig


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    megabytes: the file of the finished run; analyzed_megabytes: with all results; training_megabytes: while it is trained
    """

    checkpoints: int
    training_megabytes: float
    megabytes: float
    analyzed_megabytes: float
    seconds: float


def estimate(config: RunConfig) -> Estimate:
    """Checkpoints, size of the file, and seconds of training on this machine's processor (within a factor of two).

    The time is the number of multiplications over the speed at which this machine multiplies matrices just now, with
    an efficiency and a fixed cost per epoch that were fitted to runs of p = 59 and p = 113.
    """
    p, d, heads, neurons = config.p, config.d_model, config.heads, config.d_mlp
    network = config.network_kind
    weights = sum(prod(weight.shape) for weight in network.weights(config).values())
    if not network.tokens:  # each operand reaches the neurons by one weight
        d, heads = 0, 1
    slots = 1 + len(config.optimizer_kind.slots)
    count = len(schedule.parse(config.checkpoints, config.epochs))
    blob, resume = (_in_blocks(4 * parts * weights + 500 * (1 + parts)) for parts in (1, slots))
    resume += 4096  # three of these while it is trained, one when it is finished
    finished = count * blob + resume + 32 * (config.epochs + 1) + 8 * p * p + FILE_OVERHEAD
    results = 4 * count * (p * p + 2 * p + (p // 2) * (neurons + 12) + 6 * neurons) + RESULTS_OVERHEAD

    pairs, test = config.train_pairs, (p * p - config.train_pairs) / config.evaluate_every
    answers = p + (-p) % 64
    dense = (3 * pairs + test) * neurons * answers + 3 * (2 * heads * p + 1) * d * (neurons + answers)
    sparse = (3 * pairs + test) * (2 * heads + 1) * (neurons + answers)
    if "closed form" not in network.capabilities:  # every weight meets every token of every pair
        dense, sparse = (3 * pairs + test) * max(len(network.tokens), 1) * weights, 0
    an_epoch = 2 * (dense + 6 * sparse) / (EFFICIENCY * _multiplications_per_second()) + SECONDS_AN_EPOCH
    return Estimate(
        checkpoints=count,
        training_megabytes=(finished + 2 * resume) / 1e6,
        megabytes=finished / 1e6,
        analyzed_megabytes=(finished + results) / 1e6,
        seconds=config.epochs * an_epoch,
    )


def _in_blocks(size: int) -> int:
    return size + (-size) % 4096


FILE_OVERHEAD = 250_000  # bytes of commit records and metadata
RESULTS_OVERHEAD = 1_500_000  # bytes of those of all analyses
EFFICIENCY = 0.5
SECONDS_AN_EPOCH = 2e-3


@cache
def _multiplications_per_second() -> float:
    """Floating-point operations a second of a float32 matrix product on this machine, measured in some 30 ms."""
    import time

    import numpy as np

    size = 512
    matrix = np.ones((size, size), np.float32)
    matrix @ matrix  # the first product starts the library's threads
    best = float("inf")
    for _ in range(15):  # the best of many: other programs use the machine too
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
