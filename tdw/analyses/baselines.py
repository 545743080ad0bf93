"""What the measures come to where nothing was learnt: untrained networks, and the trained one with its names mixed up."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tdw import state_dir
from tdw.analyses.engine.checkpoint import View, Whole
from tdw.analyses.engine.registry import NEEDS, ArraySpec, Result, analysis, find
from tdw.analyses.key_frequencies import RULES
from tdw.config import ModelConfig, RunConfig
from tdw.errors import AppError
from tdw.network.computation import Weights

NETWORKS = 8
FIRST_SEED = 20_000
DIGEST = 32  # bytes of the checksum that a kept file begins with
LARGEST = 64 << 20  # bytes a file of them may have

QUANTITIES = (
    "neuron_share",
    "clustered",
    "embedding_gini",
    "embedding_participation",
    "unembedding_gini",
    "unembedding_participation",
    "explained",
    *(f"keys_{rule}" for rule in RULES),
)
BAND = ArraySpec("<f8", (len(QUANTITIES), 3), gaps=True)


@analysis(
    title="Baselines",
    version=1,
    per="run",
    needs=("frequencies",),
    after=("neuron_clusters", "sparsity", "key_frequencies"),  # it goes by their definitions
    reads_weights=True,
    arrays={"random": BAND, "permuted": BAND},
    quantities=list(QUANTITIES),
    networks=NETWORKS,
)
def baselines(run: Whole, *, quantities: list[str], networks: int) -> Result:
    """Bands [least, median, greatest], (quantities, 3), of what each quantity comes to without anything learnt.

    random    `networks` untrained networks of this run's sizes, from seeds of their own
    permuted  the last checkpoint with its operands and its answers renamed at random, `networks` times: weights as large
              and as aligned with each other as the trained ones, whose names mean nothing

    neuron_share         mean over the living neurons of a neuron's largest frequency share
    clustered            share of the neurons that `neuron_clusters` assigns
    embedding_…, unembedding_…   Gini coefficient and inverse participation ratio, as in `sparsity`
    explained            share of the logits' variance that Σ_k T_k explains, as in `logit_frequencies`; NaN where
                         answers are no sum
    keys_…               number of key frequencies by each rule

    The untrained band is computed once for all runs of the same sizes and kept among this user's private files.
    """
    config = run.config

    def untrained() -> NDArray[np.float64]:
        from tdw.network.reference import initial_weights

        return np.array(
            [
                measured(View(config, {name: w.numpy() for name, w in initial_weights(fresh).items()}), quantities)
                for fresh in (replace(config, model_seed=FIRST_SEED + index) for index in range(networks))
            ]
        )

    last = run.weights_of(len(run.checkpoints) - 1)
    renamed = [measured(View(config, permuted(last, config, seed)), quantities) for seed in range(networks)]
    return {"random": band(cached(config, quantities, networks, untrained)), "permuted": band(np.array(renamed))}


def measured(view: View, quantities: list[str]) -> list[float]:
    """The quantities of one network; NaN for what makes no sense for its task."""
    found = {"neuron_share": 0.0 if view.dead.all() else view.share.max(axis=0)[~view.dead].mean(), "explained": np.nan}
    assigned = find("neuron_clusters")
    clusters = assigned.compute(view, **assigned.parameters)["frequency"]
    found["clustered"] = np.mean(np.greater(clusters, 0))
    found |= {name: float(value) for name, value in find("sparsity").compute(view).items()}
    if NEEDS["sum"](view.config) is None:
        found["explained"] = np.sum(view.logit_cosine**2)
    rule = find("key_frequencies")
    counts = rule.compute(view, **rule.parameters)["key"].sum(axis=1)
    found |= {f"keys_{name}": count for name, count in zip(RULES, counts, strict=True)}
    return [float(found[name]) for name in quantities]


def permuted(weights: Weights, config: RunConfig, seed: int) -> dict[str, NDArray[np.float32]]:
    """The same network with operands and answers renamed by two random permutations; '=' keeps its name."""
    random = np.random.RandomState(seed)
    operands, answers = random.permutation(config.p), random.permutation(config.p)
    classes = np.concatenate([answers, np.arange(config.p, config.outputs)])
    return config.network_kind.computation.renamed(weights, operands, classes)


def band(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[least, median, greatest] of each quantity, (quantities, 3), from (networks, quantities)."""
    return np.stack([values.min(axis=0), np.median(values, axis=0), values.max(axis=0)], axis=1)


def cached(
    config: RunConfig, quantities: list[str], networks: int, compute: Callable[[], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What `compute` gives for these sizes, (networks, quantities), from this user's private files where it is there."""
    place = _place(config, quantities, networks)
    if place is not None:
        # No such file, or a damaged one: it is computed anew.
        with contextlib.suppress(OSError, ValueError):
            content = state_dir.read_private(place, LARGEST)
            if content[:DIGEST] == hashlib.sha256(content[DIGEST:]).digest():
                return np.frombuffer(content[DIGEST:], "<f8").reshape(networks, len(quantities))
    found = compute()
    if place is not None:
        # Without room for it the next run computes it again.
        with contextlib.suppress(OSError):
            data = found.astype("<f8").tobytes()
            state_dir.write_private(place, hashlib.sha256(data).digest() + data, durable=False)
    return found


def _place(config: RunConfig, quantities: list[str], networks: int) -> Path | None:
    """Where the values for these sizes are kept; None where this user has no folder for it."""
    sizes = {name: value for name, value in asdict(config).items() if name in _SIZES}
    measures = {
        name: [find(name).version, find(name).parameters]
        for name in ("baselines", "neuron_clusters", "sparsity", "key_frequencies", "logit_frequencies")
    }
    key = json.dumps([sizes, measures, quantities, networks, FIRST_SEED], sort_keys=True)
    try:
        folder = state_dir.private_folder(state_dir.state_folder() / "baselines")
    except AppError:  # nobody's private folder: the values are computed each time
        return None
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.band"


_SIZES = {"task", "p", *ModelConfig.__dataclass_fields__} - {"model_seed"}
