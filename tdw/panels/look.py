"""How the panels' Plotly figures look: the light tokens of `viewer/tokens.css`, for paper and notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

INK, MUTED, LINE, BAR = "#15181d", "#646c79", "#e3e6ea", "#c4c8cf"
ACCENT, TRAIN, TEST, MARK = "#2f5bea", "#2f5bea", "#bf5d0a", "#d6336c"
RAMP = [[0, "#ffffff"], [0.5, "#2f5bea"], [1, "#0c1854"]]


def styled(figure: go.Figure, title: str, **layout: Any) -> go.Figure:
    """The figure with a title and the page's look; returns it."""
    axis = {"gridcolor": LINE, "zeroline": False, "linecolor": LINE}
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        font={"size": 12, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 60, "r": 20, "t": 50, "b": 45},
        xaxis=axis,
        yaxis=axis,
    )
    return figure.update_layout(layout)
