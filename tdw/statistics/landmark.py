"""What is known of a run at an epoch: features of its curves and measures up to then, and of nothing later.

Neither the values of later epochs nor which epochs were recorded, stored or analyzed later may change a feature. So measures that
depend on the key frequencies of the last checkpoint are not among them, and all runs are looked at on the same checkpoints.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Shaped

if TYPE_CHECKING:
    from tdw.run import Run

Features = dict[str, float]
Value = Shaped[np.ndarray, "..."]

CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
SMALLEST = 1e-12  # losses are that precise
NOW = 0.9  # a level is the mean over the last tenth of the epochs
SINCE = 0.5  # a slope is that over the last half of the epochs


def curve_features(run: Run, epoch: int) -> Features:
    """Level and slope of each curve at an epoch >= 1: the mean over the recorded epochs from 0.9 of it on (else the last value),
    and the least-squares slope over those from half of it on, per tenfold epoch. Losses are logarithms (base 10). NaN where not
    recorded.
    """
    found: Features = {}
    for name in CURVES:
        values = np.asarray(getattr(run, name)[: epoch + 1], dtype=np.float64)
        if name.endswith("loss"):
            values = np.log10(np.maximum(values, SMALLEST))
        at = np.flatnonzero(np.isfinite(values))
        late = at[at >= NOW * epoch]
        late = at[-1:] if not late.size else late
        found[name] = float(values[late].mean()) if late.size else np.nan
        found[f"{name}_slope"] = _slope(at[at >= max(SINCE * epoch, 1)], values)
    return found


def measure_features(run: Run, now: int, before: int | None) -> Features:
    """Each of `MEASURES` at the checkpoint of epoch `now`, and its change since that of epoch `before` per tenfold epoch. Only analyses whose
    results at these checkpoints are stored, and not stale, have features; NaN where a measure is not defined.
    """
    from tdw.analyses.engine import registry, runner

    checkpoints = run.checkpoints
    stored = run.analyses()
    found: Features = {}
    for name, (analysis, array, measure) in measures().items():
        result = stored.get(analysis)
        if result is None or now not in checkpoints or runner.is_stale(registry.find(analysis), result):
            continue
        rows = [checkpoints.index(epoch) for epoch in (now, before) if epoch is not None and epoch in checkpoints]
        if max(rows) >= result.rows:
            continue
        values = [_finite(measure, run.series(f"analysis/{analysis}/{array}", row, row + 1)[0]) for row in rows]
        found[name] = values[0]
        if before is not None and 0 < before < now and len(values) == 2:
            found[f"{name}_slope"] = (values[0] - values[1]) / np.log10(now / before)
    return found


@cache
def measures() -> dict[str, tuple[str, str, Callable[[Value], Any]]]:
    """The measures by name: the analysis, its array, and a number made of the row of one checkpoint."""

    def log(value: Value) -> Any:
        return np.log10(np.maximum(np.asarray(value, dtype=np.float64), SMALLEST))

    return {
        "weight_norm": ("weight_norms", "total", log),
        "effective_dimension": ("effective_dimension", "dimension", lambda value: log(value).mean()),
        "stable_rank": ("stable_rank", "rank", lambda value: log(value).mean()),
        "embedding_gini": ("sparsity", "embedding_gini", float),
        "unembedding_gini": ("sparsity", "unembedding_gini", float),
        "neurons_in_clusters": ("neuron_clusters", "frequency", lambda value: (value > 0).mean()),
        "frequencies_with_neurons": ("neuron_clusters", "count", lambda value: (value > 0).sum()),
        "neurons_share": ("neuron_frequencies", "share", lambda value: np.nanmean(value.max(axis=0))),
        "logits_explained": ("logit_frequencies", "explained", float),
        "logits_cosine": ("logit_frequencies", "cosine", np.max),
        "misalignment": ("phase_alignment", "misalignment", float),
        "margin": ("margin", "mean", float),
        "distance_irrelevance": ("distance_irrelevance", "value", float),
        "gradient_symmetricity": ("gradient_symmetricity", "value", float),
        # [1]: with the key frequencies of this checkpoint; [0] has those of the last one, which is not known yet. Nor is which
        # frequencies have a value in excluded_loss/alone.
        "restricted_loss": ("restricted_loss", "loss", lambda value: log(value[1, 0, 0, 2])),
        "excluded_loss": ("excluded_loss", "together", lambda value: log(value[1, 0])),
    }


def _finite(measure: Callable[[Value], Any], row: Value) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no neuron has a frequency
        value = float(measure(row))
    return value if np.isfinite(value) else np.nan


def _slope(at: Shaped[np.ndarray, " recorded"], values: Float64[np.ndarray, " epoch"]) -> float:
    if len(at) < 2:
        return np.nan
    x, y = np.log10(at), values[at]
    x = x - x.mean()
    return float(x @ y / (x @ x))
