"""How much memory analyses take, and how many checkpoints fit into it at a time."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tdw import machine
from tdw.analyses.engine.checkpoint import ANSWER_BLOCK, BLOCK, FEWEST_NEURONS, LARGEST_KEPT, NEURON_BLOCK
from tdw.analyses.engine.registry import ANALYSES, Analysis
from tdw.config import RunConfig
from tdw.errors import OutOfRangeError

SHARE_OF_FREE = 0.8  # of the free memory: other programs need some too
PYTORCH = 240 << 20  # bytes that a process takes that loads it
OF_TRAINING = 3  # as many activations and logits of all pairs as training holds at a time
TRAINING = 32 << 20  # bytes that any training takes besides


def needed(config: RunConfig, items: Sequence[Analysis]) -> int:
    """Bytes that these analyses of one checkpoint take at most, besides those of the process."""
    p, neurons, reads = config.p, config.d_mlp, {name for item in items for name in item.reads}
    activations = 4 * p**2 * neurons
    are_kept = activations <= LARGEST_KEPT or "closed form" not in config.network_kind.capabilities
    maps = min(max(NEURON_BLOCK, 4 * p**2 * FEWEST_NEURONS), activations)
    answers = min(max(ANSWER_BLOCK, 4 * p**2), 4 * p**3)
    kept = {"activations": activations if are_kept else 0, "logits": 4 * p**3}
    # Blocks of neurons, of the activations of some pairs, and of the logits of some answers, with what is computed of them. In
    # group order, a block is copied twice. Attention patterns have several arrays.
    copies = 0 if config.task_kind.group.natural else 2
    patterns = 8 * 4 * p**2 * (config.heads + 1) if "attention" in config.network_kind.capabilities else 0
    blocks = {
        "activations": (4 + copies) * maps + patterns,
        "logits": (0 if are_kept else 2 * min(BLOCK, activations)) + BLOCK + patterns,
        "spectrum": (5 + copies) * answers,
    }
    held = max((item.holds for item in items), default=1)
    return held * sum(kept.get(name, 0) for name in reads) + max(
        neurons * max((item.per_neuron for item in items), default=0),
        *(blocks[name] for name in reads),
        0,
    )


def shared(config: RunConfig, items: Sequence[Analysis]) -> int:
    """Bytes that the checkpoints share: PyTorch, where it prepares these analyses, and the training of networks to compare with."""
    pytorch = PYTORCH if any(item.prepare for item in items) and "torch" not in sys.modules else 0
    if not any(item.trains for item in items):
        return pytorch
    return pytorch + TRAINING + OF_TRAINING * 4 * config.p**2 * (config.d_mlp + config.p)


def jobs_that_fit(config: RunConfig, items: Sequence[Analysis], jobs: int | None) -> int:
    """How many checkpoints are analyzed at a time: `jobs`; default: one for each core, as far as the free memory reaches.

    Raises OutOfRangeError, which names the analyses that fit, if this machine has not the memory for one.
    """
    size, once, available = needed(config, items), shared(config, items), machine.memory()
    if available is not None and size + once > available:
        fitting = [item.name for item in ANALYSES.values() if not item.on_request and _fits(config, item, available)]
        raise OutOfRangeError(
            f"these analyses need {(size + once) / 1e9:.1f} GB of memory for p = {config.p}, but this machine has "
            f"{available / 1e9:.1f} GB: name some that fit, `--only {' '.join(fitting)}`"
        )
    if jobs is not None:
        return jobs
    free = machine.free_memory()
    room = machine.cores() if free is None or not size else int((SHARE_OF_FREE * free - once) / size)
    return max(1, min(machine.cores(), room))


def _fits(config: RunConfig, item: Analysis, available: int) -> bool:
    if item.per != "checkpoint" or item.inapplicable_reason(config):
        return False
    return needed(config, [item]) + shared(config, [item]) <= available
