"""Baselines: what measures are by chance, for untrained networks and for randomly relabeled trained weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from tdw import state_dir
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import NEEDS, ArraySpec, Result, analysis, find
from tdw.analyses.engine.run_data import RunData
from tdw.analyses.key_frequencies import RULES
from tdw.config import ModelConfig, RunConfig
from tdw.errors import AppError
from tdw.network.computation import Weights

NETWORKS = 8
FIRST_SEED = 20_000
DIGEST = 32  # bytes of the checksum at the start of a cache file
LARGEST = 64 << 20  # largest cache file, in bytes

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
    needs=("task", "frequencies"),
    after=("neuron_clusters", "sparsity", "key_frequencies"),  # it uses their definitions
    reads_weights=True,
    arrays={"random": BAND, "permuted": BAND},
    quantities=list(QUANTITIES),
    networks=NETWORKS,
)
def baselines(run: RunData, *, quantities: list[str], networks: int) -> Result:
    """Bands [minimum, median, maximum] of each quantity by chance, (quantities, 3).

    random    `networks` untrained networks of this run's sizes, with different seeds
    permuted  the last checkpoint with operands and answers randomly relabeled, `networks` times: the weights keep their
              norms and alignment, but lose their relation to the task

    neuron_share         mean over the neurons that are not dead of the largest frequency share
    clustered            share of neurons that `neuron_clusters` assigns to a frequency
    embedding_…, unembedding_…   Gini coefficient and inverse participation ratio, as in `sparsity`
    explained            share of logit variance that Σ_k T_k explains, as in `logit_frequencies`; NaN unless the task
                         is additive
    keys_…               number of key frequencies by each rule

    The untrained band is computed once for all runs of the same sizes and cached in the user's private folder.
    """
    config = run.config

    def untrained() -> Float64[np.ndarray, "network quantity"]:
        from tdw.network.reference import initial_weights

        return np.array(
            [
                measured(
                    Checkpoint(config, {name: w.numpy() for name, w in initial_weights(fresh).items()}), quantities
                )
                for fresh in (replace(config, model_seed=FIRST_SEED + index) for index in range(networks))
            ]
        )

    last = run.weights_of(len(run.checkpoints) - 1)
    relabeled = [measured(Checkpoint(config, permuted(last, config, seed)), quantities) for seed in range(networks)]
    return {"random": band(cached(config, quantities, networks, untrained)), "permuted": band(np.array(relabeled))}


def measured(checkpoint: Checkpoint, quantities: list[str]) -> list[float]:
    """The quantities of one network; NaN for a quantity that does not apply to its task."""
    values = {
        "neuron_share": 0.0 if checkpoint.dead.all() else checkpoint.share.max(axis=0)[~checkpoint.dead].mean(),
        "explained": np.nan,
    }
    assigned = find("neuron_clusters")
    clusters = assigned.compute(checkpoint, **assigned.parameters)["frequency"]
    values["clustered"] = np.mean(np.greater(clusters, 0))
    values |= {name: float(value) for name, value in find("sparsity").compute(checkpoint).items()}
    if NEEDS["sum"](checkpoint.config) is None:
        values["explained"] = np.sum(checkpoint.logit_cosine**2)
    rule = find("key_frequencies")
    counts = rule.compute(checkpoint, **rule.parameters)["key"].sum(axis=1)
    values |= {f"keys_{name}": count for name, count in zip(RULES, counts, strict=True)}
    return [float(values[name]) for name in quantities]


def permuted(weights: Weights, config: RunConfig, seed: int) -> dict[str, Float32[np.ndarray, ...]]:
    """The same network with operands and answers relabeled by two random permutations; '=' keeps its label."""
    random = np.random.RandomState(seed)
    operands, answers = random.permutation(config.p), random.permutation(config.p)
    classes = np.concatenate([answers, np.arange(config.p, config.outputs)])
    return config.network_kind.computation.renamed(weights, operands, classes)


def band(values: Float64[np.ndarray, "network quantity"]) -> Float64[np.ndarray, "quantity 3"]:
    """[minimum, median, maximum] of each quantity.

    >>> band(np.array([[1.0], [5.0], [2.0]]))
    array([[1., 2., 5.]])
    """
    return np.stack([values.min(axis=0), np.median(values, axis=0), values.max(axis=0)], axis=1)


def cached(
    config: RunConfig,
    quantities: list[str],
    networks: int,
    compute: Callable[[], Float64[np.ndarray, "network quantity"]],
) -> Float64[np.ndarray, "network quantity"]:
    """The result of `compute` for these sizes, cached in the user's private folder."""
    place = _place(config, quantities, networks)
    if place is not None:
        # If there is no cache file, or it is damaged, the values are computed again.
        with contextlib.suppress(OSError, ValueError):
            content = state_dir.read_private(place, LARGEST)
            if content[:DIGEST] == hashlib.sha256(content[DIGEST:]).digest():
                return np.frombuffer(content[DIGEST:], "<f8").reshape(networks, len(quantities))
    values = compute()
    if place is not None:
        # If it cannot be written, the next run computes it again.
        with contextlib.suppress(OSError):
            data = values.astype("<f8").tobytes()
            state_dir.write_private(place, hashlib.sha256(data).digest() + data, durable=False)
    return values


def _place(config: RunConfig, quantities: list[str], networks: int) -> Path | None:
    """The cache file for these sizes; None if the user has no private folder."""
    sizes = {name: value for name, value in asdict(config).items() if name in _SIZES}
    measures = {
        name: [find(name).version, find(name).parameters]
        for name in ("baselines", "neuron_clusters", "sparsity", "key_frequencies", "logit_frequencies")
    }
    key = json.dumps([sizes, measures, quantities, networks, FIRST_SEED], sort_keys=True)
    try:
        folder = state_dir.private_folder(state_dir.state_folder() / "baselines")
    except AppError:  # no private folder: compute the values each time
        return None
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.band"


_SIZES = {"task", "p", *ModelConfig.__dataclass_fields__} - {"model_seed"}
