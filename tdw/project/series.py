"""The four curves that training records: their names in the file, and how two measurements of them differ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from tdw.network.segment import Segment, Series
from tdw.project.records import Drift

SERIES = ("losses/train", "losses/test", "accuracy/train", "accuracy/test")


def series_of(segment: Segment) -> dict[str, Series]:
    """The four curves of a segment, under their names in the file."""
    values = (segment.train_loss, segment.test_loss, segment.train_accuracy, segment.test_accuracy)
    return dict(zip(SERIES, values, strict=True))


def drift_between(stored: Mapping[str, Series], now: Mapping[str, Series], start: int, *, gaps: bool) -> Drift | None:
    """How two measurements of the same epochs differ; None if they do not. start: the first of these epochs; gaps: values may
    be missing in all curves, and are not compared, rather than in those of the test pairs only.
    """
    differs = {name: _differs(stored[name], now[name], sparse=gaps or name.endswith("/test")) for name in SERIES}
    at = np.flatnonzero(np.any(list(differs.values()), axis=0))
    if not at.size:
        return None
    first = int(at[0])
    series = next(name for name in SERIES if differs[name][first])
    return Drift(
        series=series,
        epoch=start + first,
        stored=_number(stored[series][first]),
        recomputed=_number(now[series][first]),
        epochs=len(at),
    )


def _differs(stored: Series, now: Series, *, sparse: bool) -> Bool[np.ndarray, " epoch"]:
    """Where two measurements of the same epochs differ. In a sparse curve NaN means not evaluated."""
    none = np.isnan(stored), np.isnan(now)
    return (stored != now) & ~(none[0] | none[1] if sparse else none[0] & none[1])


def _number(value: np.float64) -> float | None:
    """A measured value for JSON; None for NaN and infinity, which JSON lacks."""
    return float(value) if np.isfinite(value) else None
