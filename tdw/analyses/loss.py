"""Cross-entropy on all, train and test pairs."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.cross_entropy import means
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(title="Loss", version=1, arrays={"loss": ArraySpec("<f8", (3,), gaps=True)})
def loss(view: View) -> Result:
    """Mean over [all, train, test] pairs of log1p(Σ_{c≠y} exp(L_c − L_y)), in nats, (3,).

    Over the p answers: an output class '=' is left out. Train and test are NaN where nobody knows the split.
    """
    return {"loss": means(view.answered[0], view.sides)}
