"""Which values of a curve were recorded. A NaN that was recorded and an epoch at which nothing was recorded are told apart by
the bits of the NaN, which copying keeps (docs/FORMAT.md); R distinguishes its NA from NaN in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Num

NAN_BITS = 0x7FF8_0000_0000_0001  # IEEE 754: a quiet NaN with the payload 1; that of `float("nan")` is 0
RECORDED_NAN = float(np.uint64(NAN_BITS).view(np.float64))


def is_recorded(values: Num[np.ndarray, " value"]) -> Bool[np.ndarray, " value"]:
    """Which values were recorded: numbers, infinities, and NaN that is marked as recorded. Every other NaN means that there is
    no value.

    >>> is_recorded(np.array([0.0, np.inf, RECORDED_NAN, np.nan])).tolist()
    [True, True, True, False]
    """
    there: Bool[np.ndarray, " value"] = ~np.isnan(values)
    if values.dtype == np.float64:
        there |= np.ascontiguousarray(values).view(np.uint64) == NAN_BITS
    return there


def nan_as_recorded(values: Any) -> Float64[np.ndarray, " value"]:
    """A copy as float64 in which every NaN is one that was recorded."""
    out = np.array(values, np.float64)
    out.view(np.uint64)[np.isnan(out)] = NAN_BITS
    return out
