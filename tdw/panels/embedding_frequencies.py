"""Which frequencies the embedding is made of, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdw import fourier
from tdw.panels import look
from tdw.panels.registry import Spec, panel, result_at

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project import Project

DOMINANT = 0.5  # of the largest norm: where the threshold stands until someone moves it


def spec(project: Project) -> Spec:
    """One bar per Fourier component (constant, cos 1, sin 1, …), or one per frequency."""
    p, frequencies = project.config.p, project.config.frequencies
    names = fourier.component_names(p)
    return {
        "arrays": [f"analysis/embedding_frequencies/{name}" for name in ("norms", "frequency_norms")],
        "threshold": DOMINANT,
        "views": [
            {
                "title": "Per component",
                "quantity": "‖F W_E‖",
                "array": "analysis/embedding_frequencies/norms",
                "labels": names,
                "frequency": [(row + 1) // 2 for row in range(p)],
                "frequencies": frequencies,
            },
            {
                "title": "Per frequency",
                "quantity": "√(cos² + sin²)",
                "array": "analysis/embedding_frequencies/frequency_norms",
                "labels": [f"frequency {k}" for k in range(1, frequencies + 1)],
                "frequency": list(range(1, frequencies + 1)),
                "frequencies": frequencies,
            },
        ],
    }


@panel(place=2, title="Embedding frequencies", kind="bars", spec=spec, analysis="embedding_frequencies", required=True)
def embedding_frequencies(project: Project, epoch: int) -> go.Figure:
    """Norm of each Fourier component of the embedding; coloured from half of the last checkpoint's largest on."""
    import plotly.graph_objects as go

    stored, row = result_at(project, "embedding_frequencies", epoch)
    norms = stored.arrays["norms"]
    threshold = DOMINANT * norms[-1, 1:].max()
    names = fourier.component_names(project.config.p)
    dominant = (norms[row] >= threshold) & (np.arange(len(names)) > 0)
    colours = [look.ACCENT if above else look.BAR for above in dominant]
    figure = go.Figure(go.Bar(x=names, y=norms[row], marker={"color": colours}))
    figure.add_hline(y=threshold, line={"color": look.MARK, "dash": "dash", "width": 1})
    return look.styled(figure, project, f"Embedding frequencies, epoch {epoch}", yaxis_title="‖F W_E‖", bargap=0.2)
