"""Colors of the page and of Plotly figures, and the look of figures in papers and notebooks.

`colors.json` is the one source of colors. `viewer/tokens.css` carries the same values as custom properties, which the page's
canvases read; a test compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdw.safe_text import visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project

COLORS: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("colors.json").read_text())
LIGHT = COLORS["light"]
SERIES = sum(name.startswith("series-") for name in LIGHT)  # colors of lines without a meaning of their own

RAMP: list[tuple[float, str]] = [(0, LIGHT["ramp-0"]), (0.5, LIGHT["ramp-1"]), (1, LIGHT["ramp-2"])]
SIGNED = [(0, LIGHT["minus-2"]), (0.25, LIGHT["minus-1"]), *((0.5 + at / 2, tone) for at, tone in RAMP)]


def color(name: str) -> str:
    """A color by the name that descriptions use; `series-N` wraps around.

    >>> color("series-12") == color("series-2")
    True
    """
    if name.startswith("series-"):
        return LIGHT[f"series-{int(name.removeprefix('series-')) % SERIES}"]
    return LIGHT[name]


def literal(text: str) -> str:
    """Text escaped for Plotly, which reads tags and entities in text, and notebooks, which read formulas between $.

    >>> literal("<b>$x$</b>")
    '&lt;b&gt;&#36;x&#36;&lt;/b&gt;'
    """
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("$", "&#36;")):
        text = text.replace(char, entity)
    return visible(text)


def styled(figure: go.Figure, project: Project, title: str, **layout: Any) -> go.Figure:
    """The figure with a title, the run it is of, and the page's look; returns it."""
    run = " · ".join(filter(None, (project.path.name, project.notes.title)))
    return dressed(figure, title, literal(run), **layout)


def dressed(figure: go.Figure, title: str, under: str, **layout: Any) -> go.Figure:
    """The figure with a title, a line under it, and the page's look; returns it."""
    axis = {"gridcolor": LIGHT["line"], "zeroline": False, "linecolor": LIGHT["line"]}
    subtitle = {"text": under, "font": {"color": LIGHT["muted"]}}
    figure.update_layout(
        title={"text": title, "font": {"size": 15}, "subtitle": subtitle},
        font={"size": 12, "color": LIGHT["ink"]},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 60, "r": 20, "t": 70, "b": 45},
        xaxis=axis,
        yaxis=axis,
    )
    return figure.update_layout(layout)
