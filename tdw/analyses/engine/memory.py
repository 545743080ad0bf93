"""How much memory analyses take, and how many checkpoints fit into it at a time."""

from __future__ import annotations

from collections.abc import Sequence

from tdw import machine
from tdw.analyses.engine.checkpoint import BLOCK, LARGEST_KEPT
from tdw.analyses.engine.registry import ANALYSES, Analysis
from tdw.config import RunConfig
from tdw.errors import OutOfRangeError

OTHERS = 2  # as many blocks as are in use at a time
SHARE_OF_FREE = 0.8  # of the free memory: other programs need some too


def needed(config: RunConfig, items: Sequence[Analysis]) -> int:
    """Bytes that these analyses of one checkpoint take at most, besides those of the process."""
    values = 4 * config.p**3
    reads = {name for item in items for name in item.reads}
    bytes_of = {
        "activations": min(4 * config.p**2 * config.d_mlp, LARGEST_KEPT),
        # in group order, they are a second array
        "logits": values if config.task_kind.group.natural else 2 * values,
        "spectrum": values,
    }
    if "closed form" not in config.network_kind.capabilities:
        bytes_of["activations"] = 4 * config.p**2 * config.d_mlp
    return sum(bytes_of[name] for name in reads) + (OTHERS * min(BLOCK, values) if reads else 0)


def jobs_that_fit(config: RunConfig, items: Sequence[Analysis], jobs: int | None) -> int:
    """How many checkpoints are analyzed at a time: `jobs`; default: one for each core, as far as the free memory reaches.

    Raises OutOfRangeError, which names the analyses that fit, if this machine has not the memory for one.
    """
    size, available = needed(config, items), machine.memory()
    if available is not None and size > available:
        fitting = [item.name for item in ANALYSES.values() if not item.on_request and _fits(config, item, available)]
        raise OutOfRangeError(
            f"these analyses need {size / 1e9:.1f} GB of memory for p = {config.p}, but this machine has "
            f"{available / 1e9:.1f} GB: name some that fit, `--only {' '.join(fitting)}`"
        )
    if jobs is not None:
        return jobs
    free = machine.free_memory()
    room = machine.cores() if free is None or not size else int(SHARE_OF_FREE * free / size)
    return max(1, min(machine.cores(), room))


def _fits(config: RunConfig, item: Analysis, available: int) -> bool:
    return item.per == "checkpoint" and not item.inapplicable_reason(config) and needed(config, [item]) <= available
