"""Activation of neurons on every pair, as maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdw.panels import theme
from tdw.panels.registry import panel
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project

SUMMARY = ("frequency", "share", "variance", "maximum", "dead")
SHOWN = 3  # neurons of the figure


def spec(_project: Project) -> Spec:
    """The maps themselves are computed in the browser; the summary sorts them, names them and fixes their colors."""
    summary = {name: f"analysis/neuron_summary/{name}" for name in SUMMARY}
    return {"arrays": list(summary.values()), "summary": summary}


@panel(place=3, title="Neurons", kind="maps", spec=spec, analysis="neuron_summary")
def neuron_activations(project: Project, epoch: int) -> go.Figure:
    """Maps of the neurons that vary most at `epoch`, of different frequencies where they are analyzed."""
    from plotly.subplots import make_subplots

    neurons = chosen(project, epoch)
    titles = [f"neuron {neuron}" for neuron in neurons]
    figure = make_subplots(rows=1, cols=len(neurons), subplot_titles=titles, shared_yaxes=True)
    for column, neuron in enumerate(neurons, start=1):
        grid = project.neuron_map(epoch, neuron)
        figure.add_heatmap(z=grid, colorscale=theme.RAMP, zmin=0, showscale=False, row=1, col=column)
    figure = theme.styled(figure, project, f"Neurons, activation over a (down) and b, epoch {epoch}")
    figure.update_layout(margin_t=96).update_annotations(font_size=12)
    figure.update_yaxes(autorange="reversed", constrain="domain")
    figure.update_xaxes(constrain="domain")
    for column in range(1, len(neurons) + 1):
        figure.update_yaxes(scaleanchor=f"x{column if column > 1 else ''}", row=1, col=column)
    return figure


def chosen(project: Project, epoch: int) -> list[int]:
    """A few neurons to show: the highest share of each frequency, most typical first; the first ones if not analyzed."""
    stored = project.analyses().get("neuron_summary")
    if stored is None or epoch not in (covered := project.analysis("neuron_summary")).checkpoints:
        return list(range(min(SHOWN, project.config.d_mlp)))
    row = covered.checkpoints.index(epoch)
    frequency, share = covered.arrays["frequency"][row], covered.arrays["share"][row]
    best: dict[int, int] = {}
    for neuron in np.argsort(-share, kind="stable"):
        if frequency[neuron] > 0:
            best.setdefault(int(frequency[neuron]), int(neuron))
    return list(best.values())[:SHOWN] or [0]
