"""Which frequencies the embedding is made of, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdw.analyses import fourier
from tdw.panels import spec as parts
from tdw.panels import theme
from tdw.panels.registry import panel
from tdw.panels.spec import Spec, result_at

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project

DOMINANT = 0.5  # of the largest norm: where the threshold stands until someone moves it


def spec(_project: Project) -> Spec:
    """One bar per Fourier component (constant, cos 1, sin 1, …), or one per frequency."""
    common = {"of": "norm", "threshold": {"of_largest": DOMINANT}}
    stored = "analysis/embedding_frequencies"
    component = {"title": "Per component", "quantity": "‖F W_E‖", "array": f"{stored}/norms", "axis": "component"}
    frequency = {
        "title": "Per frequency",
        "quantity": "√(cos² + sin²)",
        "array": f"{stored}/frequency_norms",
        "axis": "frequency",
    }
    return parts.described(views=[view | common for view in (component, frequency)])


@panel(place=2, title="Embedding frequencies", kind="bars", spec=spec, analysis="embedding_frequencies", required=True)
def embedding_frequencies(project: Project, epoch: int) -> go.Figure:
    """Norm of each Fourier component of the embedding; colored from half of the last checkpoint's largest on."""
    import plotly.graph_objects as go

    stored, row = result_at(project, "embedding_frequencies", epoch)
    norms = stored.arrays["norms"]
    threshold = DOMINANT * norms[-1, 1:].max()
    names = fourier.component_names(project.config.order)
    dominant = (norms[row] >= threshold) & (np.arange(len(names)) > 0)
    colors = [theme.ACCENT if above else theme.BAR for above in dominant]
    figure = go.Figure(go.Bar(x=names, y=norms[row], marker={"color": colors}))
    figure.add_hline(y=threshold, line={"color": theme.MARK, "dash": "dash", "width": 1})
    return theme.styled(figure, project, f"Embedding frequencies, epoch {epoch}", yaxis_title="‖F W_E‖", bargap=0.2)
