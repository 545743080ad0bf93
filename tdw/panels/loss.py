"""Loss and accuracy over epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdw.panels import theme
from tdw.panels.registry import panel
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project


def spec(_project: Project) -> Spec:
    """Two quantities of two lines each; where a line has NaN it was not evaluated."""

    def lines(quantity: str) -> list[dict[str, str]]:
        return [{"array": f"{quantity}/{part}", "label": part, "color": part} for part in ("train", "test")]

    return {
        "arrays": [f"{quantity}/{part}" for quantity in ("losses", "accuracy") for part in ("train", "test")],
        "quantities": [
            {"title": "Loss", "scale": "log", "lines": lines("losses")},
            {"title": "Accuracy", "scale": "linear", "range": [0, 1], "lines": lines("accuracy")},
        ],
    }


@panel(place=1, title="Loss", kind="curve", spec=spec, weights=False)
def loss(project: Project, epoch: int) -> go.Figure:
    """Train and test loss at every epoch where they were evaluated, and where `epoch` is."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, values, color in (
        ("train", project.train_loss, theme.TRAIN),
        ("test", project.test_loss, theme.TEST),
    ):
        known = np.flatnonzero(~np.isnan(values))
        line = {"color": color, "width": 1.5}
        figure.add_scatter(x=project.epochs[known], y=values[known], name=name, mode="lines", line=line)
    figure.add_vline(x=epoch, line={"color": theme.MARK, "width": 1.5})
    return theme.styled(
        figure,
        project,
        f"Loss, epoch {epoch} marked",
        xaxis_title="epoch",
        yaxis_type="log",
        yaxis_exponentformat="power",
    )
