"""By how much the right answer wins."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

SCALAR = ArraySpec("<f8", ())


@analysis(
    title="Margin",
    version=1,
    arrays={"minimum": SCALAR, "quantile": SCALAR, "mean": SCALAR},
    quantile=0.001,
)
def margin(view: View, *, quantile: float) -> Result:
    """Over all pairs, L_y − max_{c≠y} L_c: its minimum, 0.1 % quantile (linear between the two nearest) and mean."""
    margins = view.answered[1]
    return {"minimum": margins.min(), "quantile": np.quantile(margins, quantile), "mean": margins.mean()}
