"""How the panels' Plotly figures look: the light tokens of `viewer/tokens.css`, for paper and notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdw.safe_text import visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project

INK, MUTED, LINE, BAR = "#15181d", "#646c79", "#e3e6ea", "#c4c8cf"
ACCENT, TRAIN, TEST, MARK = "#2f5bea", "#2f5bea", "#bf5d0a", "#d6336c"
RAMP = [[0, "#ffffff"], [0.5, "#2f5bea"], [1, "#0c1854"]]


def literal(text: str) -> str:
    """Text as Plotly shows it as it stands: Plotly reads tags and entities in text, and notebooks formulas between $.

    >>> literal("<b>$x$</b>")
    '&lt;b&gt;&#36;x&#36;&lt;/b&gt;'
    """
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("$", "&#36;")):
        text = text.replace(char, entity)
    return visible(text)


def styled(figure: go.Figure, project: Project, title: str, **layout: Any) -> go.Figure:
    """The figure with a title, the run it is of, and the page's look; returns it."""
    axis = {"gridcolor": LINE, "zeroline": False, "linecolor": LINE}
    run = " · ".join(filter(None, (project.path.name, project.notes["title"])))
    figure.update_layout(
        title={"text": title, "font": {"size": 15}, "subtitle": {"text": literal(run), "font": {"color": MUTED}}},
        font={"size": 12, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 60, "r": 20, "t": 70, "b": 45},
        xaxis=axis,
        yaxis=axis,
    )
    return figure.update_layout(layout)
