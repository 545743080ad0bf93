"""Both losses of a run in a few bytes, for a small drawing next to its row in a list."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

#: Points of each line, and steps of their height.
POINTS = 40
STEPS = 60
GAP = -1


def sparkline(train: Float64[np.ndarray, " epoch"], test: Float64[np.ndarray, " epoch"]) -> dict[str, Any]:
    """Both losses on one logarithmic scale.

    train, test: (epoch) losses in nats, NaN where not recorded

    Returns {"train": heights, "test": heights}: `POINTS` heights from 0 to `STEPS`, each of the last loss recorded in its
    share of the epochs, `GAP` where there is none. A loss of 0 has height 0, an infinite one the greatest. {} without any
    positive loss.
    """
    both = {"train": _points(train), "test": _points(test)}
    shown = np.concatenate(list(both.values()))
    shown = np.log10(shown[(shown > 0) & np.isfinite(shown)])
    if not shown.size:
        return {}
    low, high = float(shown.min()), float(shown.max())
    return {name: _heights(values, low, max(high - low, 1e-9)) for name, values in both.items()}


def _points(curve: np.ndarray) -> np.ndarray:
    """The last recorded value in each of `POINTS` equal parts of the epochs, NaN where there is none."""
    points = np.full(POINTS, np.nan)
    recorded = np.flatnonzero(~np.isnan(curve))
    # where an index is repeated, the last value is assigned
    points[recorded * POINTS // max(len(curve), 1)] = curve[recorded]
    return points


def _heights(values: np.ndarray, low: float, span: float) -> list[int]:
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = np.clip((np.log10(values) - low) / span, 0, 1) * STEPS
    return [GAP if np.isnan(height) else round(height) for height in heights.tolist()]
