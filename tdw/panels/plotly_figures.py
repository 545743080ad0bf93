"""Panels as plain Plotly figures, one function per kind, from the same numbers and words as every other way of drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdw.panels import content, theme
from tdw.panels.content import Bars, Content, Curves, Heat, Maps, Path, Spans, Table
from tdw.panels.theme import LIGHT, literal

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project


def draw(project: Project, shown: Content, title: str, epoch: int) -> go.Figure:
    """The figure of what a panel shows at an epoch. title: plain text"""
    title = f"{literal(title)}, epoch {epoch}"
    match shown:
        case Curves():
            return theme.styled(curves(shown, epoch), project, f"{title} marked")
        case Bars():
            return theme.styled(bars(shown), project, title)
        case Heat():
            return theme.styled(heat(shown, epoch), project, f"{title} marked" if shown.is_history else title)
        case Maps():
            figure = theme.styled(maps(shown), project, title)
            return figure.update_layout(margin_t=96).update_annotations(font_size=12)
        case Spans():
            return theme.styled(spans(shown, epoch), project, f"{title} marked", showlegend=False)
        case Path():
            return theme.styled(path(shown), project, f"{title} marked", showlegend=False)
        case Table():
            return theme.styled(table(shown), project, title)


def _mark(figure: go.Figure, epoch: int) -> None:
    """A vertical line at the epoch."""
    figure.add_vline(x=epoch, line={"color": LIGHT["mark"], "width": 1.5})


def _titled(figure: go.Figure, x_title: str, y_title: str) -> None:
    figure.update_xaxes(title=literal(x_title)).update_yaxes(title=literal(y_title))


def curves(shown: Curves, epoch: int) -> go.Figure:
    """Lines over epochs, with the epoch marked."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for group, line in enumerate(shown.lines):
        there = content.on_scale(line)
        style = {"color": line.color, "width": 1.5}
        figure.add_scatter(x=line.x, y=there, name=literal(line.name), mode="lines", line=style, legendgroup=str(group))
    _off_scale(figure, shown)
    for band in shown.bands:
        style = {"color": LIGHT["muted"], "width": 1 if band.low == band.high else 0}
        look = {"line": style, "opacity": 0.15, "fillcolor": LIGHT["muted"], "layer": "below"}
        figure.add_hrect(band.low, band.high, annotation_text=literal(band.label), **look)
    _mark(figure, epoch)
    _titled(figure, shown.x_title, shown.y_title)
    if shown.is_log:
        return figure.update_yaxes(type="log", exponentformat="power")
    if shown.y_range is not None:
        figure.update_yaxes(range=[end and 1.04 * end for end in shown.y_range])
    return figure


def _off_scale(figure: go.Figure, shown: Curves) -> None:
    """Where the axis has no place for numbers of lines: dotted at the foot or the top of the plot, with a mark and in words."""
    for part in content.off_scale_parts(shown.lines, is_log=shown.is_log):
        color, name = part.line.color, literal(part.line.name)
        group = next(str(i) for i, line in enumerate(shown.lines) if line is part.line)
        common = {"legendgroup": group, "showlegend": False, "cliponaxis": False, "name": name}
        is_point = ~np.isnan(part.x)  # NaN is between parts
        figure.add_scatter(
            x=[int(x) if there else None for x, there in zip(part.x, is_point, strict=True)],
            y=[float(y) if there else None for y, there in zip(part.y, is_point, strict=True)],
            customdata=[said if there else None for said, there in zip(part.said, is_point, strict=True)],
            hovertemplate="%{x}, %{customdata}",
            mode="lines+markers",
            line={"color": color, "width": 1.5, "dash": "dot"},
            marker={
                "symbol": list(part.symbols),
                "size": [9 if starts else 0 for starts in part.starts],
                "color": color,
                "opacity": 1,
                "line": {"width": 0},
            },
            **common,
        )
        for x, y, words, edge, before in part.words:
            gap, text = "<br>\u00a0" * before, literal(words)
            figure.add_scatter(
                x=[x],
                y=[y],
                text=[gap + text if edge == "bottom" else text + gap],
                mode="text",
                textposition=f"{edge} {'left' if x > part.line.x[-1] / 2 else 'right'}",
                textfont={"color": color, "size": 11},
                hoverinfo="skip",
                **common,
            )


def bars(shown: Bars) -> go.Figure:
    """Bars at a checkpoint, those above the threshold in color."""
    import plotly.graph_objects as go

    colors = [LIGHT["accent" if stands_out else "bar"] for stands_out in shown.colored]
    figure = go.Figure(go.Bar(x=[*map(literal, shown.names)], y=shown.heights, marker={"color": colors}))
    if shown.level is not None:
        figure.add_hline(y=shown.level, line={"color": LIGHT["mark"], "dash": "dash", "width": 1})
    if shown.reference is not None:
        level, label = shown.reference
        figure.add_hline(y=level, line={"color": LIGHT["muted"], "width": 1}, annotation_text=literal(label))
    _titled(figure, shown.x_title, shown.y_title)
    return figure.update_layout(yaxis_type="log" if shown.is_log else "linear", bargap=0.2)


def heat(shown: Heat, epoch: int) -> go.Figure:
    """A heat map: at a checkpoint, or over training with the epoch marked."""
    import plotly.graph_objects as go

    x, y = ([literal(name) if isinstance(name, str) else name for name in names] for names in (shown.x, shown.y))
    title = literal(shown.value_title)
    figure = go.Figure(
        go.Heatmap(
            z=shown.values,
            x=x,
            y=y,
            zmin=shown.low,
            zmax=shown.high,
            colorscale=theme.SIGNED if shown.is_signed else theme.RAMP,
            colorbar={"title": {"text": f"log₁₀ {title}" if shown.is_log else title, "side": "right"}},
            showscale=not shown.value_names,
        )
    )
    if shown.is_history:
        _mark(figure, epoch)
    elif len(x) > 60:  # more names than there is room for
        figure.update_xaxes(type="category", nticks=12)
    _titled(figure, shown.x_title, shown.y_title)
    if shown.is_downward:
        figure.update_yaxes(autorange="reversed")
    if shown.is_square:
        figure.update_yaxes(scaleanchor="x", constrain="domain").update_xaxes(constrain="domain")
    return figure


def maps(shown: Maps) -> go.Figure:
    """Activation maps of a few neurons."""
    from plotly.subplots import make_subplots

    titles = [f"neuron {neuron}" for neuron in shown.neurons]
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles, shared_yaxes=True)
    for column, activation in enumerate(shown.activations, start=1):
        look: dict[str, Any] = {"colorscale": theme.RAMP, "zmin": 0, "showscale": False}
        figure.add_heatmap(z=activation, **look, row=1, col=column)
        figure.update_yaxes(scaleanchor=f"x{column if column > 1 else ''}", row=1, col=column)
    figure.update_yaxes(autorange="reversed", constrain="domain").update_xaxes(constrain="domain", title=shown.x_title)
    return figure.update_yaxes(title=shown.y_title, row=1, col=1)


def spans(shown: Spans, epoch: int) -> go.Figure:
    """Intervals of epochs, one below the other, with the epoch marked."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for label, start, end in shown.rows:
        style = {"color": LIGHT["accent"], "width": 4}
        figure.add_scatter(x=[start, end], y=[literal(label)] * 2, mode="lines+markers", line=style)
    _mark(figure, epoch)
    _titled(figure, shown.x_title, "")
    return figure.update_yaxes(autorange="reversed", type="category", automargin=True)


def path(shown: Path) -> go.Figure:
    """The checkpoints in a plane, with the epoch's marked."""
    import plotly.graph_objects as go

    style = {"color": LIGHT["accent"], "width": 1.5}
    figure = go.Figure(go.Scatter(x=shown.x, y=shown.y, text=shown.epochs, mode="lines+markers", line=style))
    if shown.here is not None:
        marker = {"color": LIGHT["mark"], "size": 9}
        figure.add_scatter(x=[shown.x[shown.here]], y=[shown.y[shown.here]], mode="markers", marker=marker)
    _titled(figure, shown.x_title, shown.y_title)
    return figure.update_yaxes(scaleanchor="x")


def table(shown: Table) -> go.Figure:
    """Measures at a checkpoint next to their baselines."""
    import plotly.graph_objects as go

    columns = [[literal(text) for text in column] for column in shown.columns]
    head = [literal(text) for text in shown.head]
    return go.Figure(go.Table(header={"values": head}, cells={"values": columns}))
