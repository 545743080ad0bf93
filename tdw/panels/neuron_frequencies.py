"""How much of each neuron is one frequency, as a heat map of frequencies × neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdw.panels import theme
from tdw.panels.registry import panel
from tdw.panels.spec import Spec, result_at

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project


def spec(project: Project) -> Spec:
    """Shares in 0 … 1; the clusters of the last checkpoint give an order, dead neurons are named on hover."""
    cluster = {"analysis": "neuron_clusters", "array": "analysis/neuron_clusters/frequency"}
    dead = {"analysis": "neuron_summary", "array": "analysis/neuron_summary/dead"}
    share = "analysis/neuron_frequencies/share"
    return {
        "arrays": [share, cluster["array"], dead["array"]],
        "array": share,
        "quantity": "share of variance",
        "cluster": cluster,
        "dead": dead,
        "threshold": threshold(project),
    }


def threshold(project: Project) -> float:
    """The share from which the stored clusters count a neuron as belonging to a frequency."""
    from tdw.analyses import ANALYSES

    stored = project.analyses().get("neuron_clusters")
    used = None if stored is None else stored.parameters.get("threshold")
    # What a file from elsewhere calls a threshold may be anything.
    return used if isinstance(used, float) and 0 < used <= 1 else ANALYSES["neuron_clusters"].parameters["threshold"]


@panel(
    place=4, title="Neuron–frequency clusters", kind="image", spec=spec, analysis="neuron_frequencies", required=True
)
def neuron_frequencies(project: Project, epoch: int) -> go.Figure:
    """Share of every neuron's variance in every frequency at `epoch`, neurons in the order of their final cluster."""
    import plotly.graph_objects as go

    stored, row = result_at(project, "neuron_frequencies", epoch)
    share = stored.arrays["share"]
    order = np.lexsort((-share[-1].max(axis=0), share[-1].argmax(axis=0)))
    heat = go.Heatmap(
        z=share[row][:, order],
        x=[str(neuron) for neuron in order],
        y=list(range(1, share.shape[1] + 1)),
        zmin=0,
        zmax=1,
        colorscale=theme.RAMP,
    )
    axis = {"type": "category", "nticks": 12, "title": "neuron"}
    return theme.styled(
        go.Figure(heat), project, f"Share of variance, epoch {epoch}", xaxis=axis, yaxis_title="frequency"
    )
