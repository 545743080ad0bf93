"""Baselines: what measures are in networks that learned nothing of the task.

Three analyses answer this for each checkpoint, with the same arrays: `baselines` (untrained networks),
`permutation_baselines` (this checkpoint with its operands and answers relabeled) and `memorization_baselines` (networks that
were trained on shuffled answers). This file has the first, and what they share.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float64

from tdw.analyses import neuron_clusters, sparsity  # noqa: F401 - their definitions are looked up
from tdw.analyses.engine.cached_values import cached
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.parallel import Stop, in_order
from tdw.analyses.engine.registry import NEEDS, ArraySpec, Result, analysis, find
from tdw.analyses.engine.run_data import RunData
from tdw.analyses.key_frequencies import RULES
from tdw.config import ModelConfig, RunConfig
from tdw.tasks import Split, draw_split

VERSION = 2  # of the quantities; also in the keys of cached values
FIRST_SEED = 20_000

QUANTITIES = (
    "neuron_share",
    "clustered",
    "embedding_gini",
    "embedding_participation",
    "unembedding_gini",
    "unembedding_participation",
    "explained_test",
    *(f"keys_{rule}" for rule in RULES),
)
# The smallest standard deviation that a difference is divided by: one key frequency, one neuron in a hundred. Without it, the
# one untrained network in a hundred that has a single cluster would be as far from the others as a number can be.
SMALLEST_SCALE = {"clustered": 0.01, **{f"keys_{rule}": 1.0 for rule in RULES}}
ARRAYS = {
    "value": ArraySpec("<f8", (len(QUANTITIES),), gaps=True),
    "band": ArraySpec("<f8", (len(QUANTITIES), 3), gaps=True),
    "p": ArraySpec("<f8", (len(QUANTITIES),), gaps=True),
}
# The definitions that the quantities use: results of other versions are stale.
DEFINITIONS = {
    name: [find(name).version, find(name).parameters] for name in ("neuron_clusters", "sparsity", "key_frequencies")
}

Values = Float64[np.ndarray, " quantity"]
Draws = Float64[np.ndarray, "draw quantity"]
Definitions = dict[str, list[Any]]  # by analysis: version and parameters
Report = Callable[[int, int], None]  # networks done, of how many


def prepare(run: RunData, split: Split | None, report: Report, jobs: int, **parameters: Any) -> None:
    """Measure the untrained networks, or find their values in the user's private folder."""
    untrained(run.config, split is not None, report=report, jobs=jobs, **parameters)


@analysis(
    title="Baselines: untrained networks",
    version=VERSION,
    needs=("task", "frequencies"),
    reads=("activations", "logits", "spectrum"),
    arrays=ARRAYS,
    prepare=prepare,
    quantities=list(QUANTITIES),
    networks=99,
    definitions=DEFINITIONS,
)
def baselines(checkpoint: Checkpoint, *, quantities: list[str], networks: int, definitions: Definitions) -> Result:
    """The quantities in `networks` untrained networks of this run's sizes, with seeds of their own.

    value  the quantities of this checkpoint, (quantities,)
    band   [minimum, median, maximum] of each quantity over the networks, (quantities, 3)
    p      how often one of these networks would be as far from the others as this checkpoint is, (quantities,): see `p_values`

    The quantities, all of them NaN where they are not defined for the task:

    neuron_share         mean over the neurons that are not dead of the largest frequency share
    clustered            share of neurons that `neuron_clusters` assigns to a frequency
    embedding_…, unembedding_…   Gini coefficient and inverse participation ratio, as in `sparsity`
    explained_test       share of the logits' variance over the test pairs that waves cos(w_k(a+b−c)) with positive coefficients
                         explain; needs an additive task. Over all pairs, where a network memorized, they explain the train
                         fraction; and on test pairs, coefficients are then negative, because the answer to a test pair is
                         one that its operands were not seen with. Where the split is unknown, all pairs are taken.
    keys_…               number of key frequencies by each rule

    The untrained networks are measured once for all runs of the same sizes; their values are kept in the user's private folder.
    Above p = 113 there are fewer of them, see `affordable`.
    """
    config = checkpoint.config
    draws = untrained(config, checkpoint.split is not None, quantities, networks, definitions)
    return compared(measured(checkpoint, quantities), draws, quantities)


def untrained(
    config: RunConfig,
    is_split_known: bool,
    quantities: list[str],
    networks: int,
    definitions: Definitions,
    report: Report = lambda *_: None,
    jobs: int = 1,
) -> Draws:
    """The quantities in untrained networks of these sizes, (networks, quantities); of fewer networks where p is large.

    jobs: networks measured at a time
    """
    networks = affordable(networks, config.p)
    fields = {"task", "p", "train_fraction", *ModelConfig.__dataclass_fields__} - {"model_seed"}
    sizes = {name: value for name, value in asdict(config).items() if name in fields}

    def compute() -> Draws:
        from tdw.network.reference import initial_weights

        def network(index: int) -> Checkpoint:
            fresh = RunConfig(**sizes, model_seed=FIRST_SEED + index, data_seed=FIRST_SEED + index)
            weights = {name: tensor.numpy() for name, tensor in initial_weights(fresh).items()}
            return Checkpoint(fresh, weights, draw_split(fresh) if is_split_known else None)

        def quantities_of(view: Checkpoint, stop: Stop) -> Values:
            stop.check()
            return measured(view, quantities)

        rows: list[Values] = []
        with closing(in_order(quantities_of, map(network, range(networks)), jobs)) as found:
            for row in found:
                rows.append(row)
                report(len(rows), networks)
        return np.array(rows)

    key = [VERSION, sizes, is_split_known, definitions, quantities, networks, FIRST_SEED]
    return cached("baselines", key, len(quantities), compute, lambda draws: len(draws) == networks)


def affordable(networks: int, p: int) -> int:
    """How many networks are measured: all up to p = 113, and above it as many as take the same time, but at least 19, of which
    the rank can still be 0.05.

    >>> [affordable(99, p) for p in (59, 113, 151, 401)]
    [99, 99, 41, 19]
    """
    return max(int(networks * min(1, (113 / p) ** 3)), min(networks, 19))


def measured(checkpoint: Checkpoint, quantities: list[str]) -> Values:
    """The quantities of one network, (quantities,); NaN for a quantity that does not apply to its task."""
    values = {
        "neuron_share": 0.0 if checkpoint.dead.all() else checkpoint.share.max(axis=0)[~checkpoint.dead].mean(),
        "explained_test": np.nan,
    }
    assigned = find("neuron_clusters")
    clusters = assigned.compute(checkpoint, **assigned.parameters)["frequency"]
    values["clustered"] = np.mean(np.greater(clusters, 0))
    values |= {name: float(value) for name, value in find("sparsity").compute(checkpoint).items()}
    if NEEDS["sum"](checkpoint.config) is None:
        values["explained_test"] = np.sum(np.maximum(checkpoint.unseen_cosine[0], 0) ** 2)
    rule = find("key_frequencies")
    counts = rule.compute(checkpoint, **rule.parameters)["key"].sum(axis=1)
    values |= {f"keys_{name}": count for name, count in zip(RULES, counts, strict=True)}
    return np.array([float(values[name]) for name in quantities])


def compared(values: Values, draws: Draws, quantities: list[str]) -> Result:
    """The arrays of a baseline analysis, from a checkpoint's values and those of the networks it is compared with."""
    scale = np.array([SMALLEST_SCALE.get(name, 0.0) for name in quantities])
    return {"value": values, "band": band(draws), "p": p_values(values, draws, scale)}


def band(draws: Draws) -> Float64[np.ndarray, "quantity 3"]:
    """[minimum, median, maximum] of each quantity.

    >>> band(np.array([[1.0], [5.0], [2.0]]))
    array([[1., 2., 5.]])
    """
    return np.stack([draws.min(axis=0), np.median(draws, axis=0), draws.max(axis=0)], axis=1)


def p_values(values: Values, draws: Draws, smallest_scale: Values) -> Values:
    """How far each value is from the draws, as p-values corrected over the quantities, (quantities,); NaN where one is NaN.

    Values and draws are pooled, and each quantity is measured in standard deviations from the mean of the pool. The p-value of a
    quantity is (1 + #) / (1 + n), where # of the n draws have any quantity that far out: the single-step max-T procedure of
    Westfall and Young, "Resampling-Based Multiple Testing" (1993). If the values come from where the draws come from, the
    chance that any p-value is at most α is at most α, however the quantities depend on each other.

    smallest_scale: the least standard deviation to divide by

    >>> draws = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    >>> p_values(np.array([9.0, 6.0]), draws, np.zeros(2))
    array([0.25, 1.  ])
    """
    pool = np.concatenate([values[None], draws])
    scale = np.maximum(pool.std(axis=0), smallest_scale)
    away = np.abs(pool - pool.mean(axis=0))
    known = np.isfinite(away).all(axis=0)
    distance = np.divide(away, scale, out=np.zeros_like(away), where=known & (scale > 0))
    furthest = distance[1:].max(axis=1)
    # Equal distances that were rounded differently count as equal.
    count = (furthest[:, None] >= distance[0] * (1 - 1e-9)).sum(axis=0)
    return np.where(known, (1 + count) / (1 + len(draws)), np.nan)
