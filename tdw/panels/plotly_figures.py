"""Panels as plain Plotly figures, one function per kind, from the same description and the same numbers as the page.

Of views, quantities and comparisons the first is drawn, see `selection.chosen`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdw.analyses import fourier, summary
from tdw.panels import off_scale, selection, theme
from tdw.panels.reductions import analysis_of, has_row, is_stored, row_of
from tdw.panels.spec import (
    Band,
    BarsSpec,
    BarsView,
    CurveSpec,
    GridSpec,
    GridView,
    ImageSpec,
    MapsSpec,
    PathSpec,
    SpansSpec,
    Spec,
    TableSpec,
)
from tdw.panels.theme import LIGHT

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.panels.reductions import Array
    from tdw.project.project import Project

DECADES = 4  # that a log color scale shows below its largest number
MAPS = 3  # neurons that a figure of maps shows


def heading(spec: Spec) -> str:
    """The title of the view that is drawn, where it has one of its own."""
    return spec.views[0].heading if isinstance(spec, GridSpec) else ""


def draw(project: Project, spec: Spec, title: str, epoch: int) -> go.Figure:
    """The figure of a description at an epoch."""
    match spec:
        case CurveSpec():
            return curve(project, spec, title, epoch)
        case BarsSpec():
            return bars(project, spec, title, epoch)
        case GridSpec():
            return grid(project, spec, title, epoch)
        case ImageSpec():
            return image(project, spec, title, epoch)
        case MapsSpec():
            return maps(project, spec, title, epoch)
        case SpansSpec():
            return spans(project, spec, title, epoch)
        case PathSpec():
            return path(project, spec, title, epoch)
        case TableSpec():
            return table(project, spec, title, epoch)


def names_along(axis: str | tuple[str, ...], project: Project) -> list[str]:
    """The names along an axis of a description."""
    config = project.config
    if isinstance(axis, tuple):
        return [theme.literal(name) for name in axis]
    if axis == "component":
        return fourier.component_names(config.order)
    sizes = {"frequency": config.frequencies, "operand": config.p, "head": config.heads}
    first, prefix = (1 if axis == "frequency" else 0), ("head " if axis == "head" else "")
    return [f"{prefix}{i + first}" for i in range(sizes[axis])]


def mark(figure: go.Figure, epoch: int) -> None:
    """A vertical line at the epoch."""
    figure.add_vline(x=epoch, line={"color": LIGHT["mark"], "width": 1.5})


class Drawn(NamedTuple):
    """A line: its points, and of each what it is where the axis has no place for it, as `off_scale.kinds`."""

    name: str
    color: str
    x: Array
    y: Array
    off: Array


def curve(project: Project, spec: CurveSpec, title: str, epoch: int) -> go.Figure:
    """Lines over epochs, with the epoch marked."""
    import plotly.graph_objects as go

    figure = go.Figure()
    quantity = spec.quantities[0]
    is_log = quantity.scale == "log"
    drawn: list[Drawn] = []
    for line in (one for declared in quantity.lines for one in selection.expanded(declared, spec)):
        if is_stored(project, line.array):
            x, y = selection.values(project, line, spec)
            y = np.asarray(y)
            off = np.array(off_scale.kinds(y, is_log=is_log, is_curve=selection.is_curve(line)))
            drawn.append(Drawn(theme.literal(line.label or quantity.title), theme.color(line.color), x, y, off))
    for group, (name, color, x, y, off) in enumerate(drawn):
        there = np.where(off == "", y, np.nan)
        style = {"color": color, "width": 1.5}
        figure.add_scatter(x=x, y=there, name=name, mode="lines", line=style, legendgroup=str(group))
    off_scale_lines(figure, drawn, is_log=is_log)
    for band in quantity.bands:
        low, high = limits(project, band, epoch)
        if np.isfinite(low):
            style = {"color": LIGHT["muted"], "width": 1 if low == high else 0}
            look = {"line": style, "opacity": 0.15, "fillcolor": LIGHT["muted"], "layer": "below"}
            figure.add_hrect(low, high, annotation_text=band.label, **look)
    mark(figure, epoch)
    layout: dict[str, Any] = {"yaxis_type": quantity.scale, "xaxis_title": "epoch"}
    if is_log:
        layout["yaxis_exponentformat"] = "power"
    elif quantity.range is not None:
        layout["yaxis_range"] = [end and 1.04 * end for end in quantity.range]
    return theme.styled(figure, project, f"{title}, epoch {epoch} marked", **layout)


def off_scale_lines(figure: go.Figure, drawn: list[Drawn], *, is_log: bool) -> None:
    """Where the axis has no place for numbers of lines: dotted at the foot or the top of the plot, with a mark and in words."""
    inside = [line.y[(line.off == "") & ~np.isnan(line.y)] for line in drawn]
    ends = [end for part in inside if part.size for end in (part.min(), part.max())] or [0.1, 1.0]
    low, high = (np.log10(end) if is_log else float(end) for end in (min(ends), max(ends)))
    room = 0.05 * (high - low) or 0.05
    foot, top = (10**end if is_log else end for end in (low - room, high + room))
    lines_of_text = {"top": 0, "bottom": 0}  # where words stand of their points: one above the other
    for group, (name, color, x, y, off) in enumerate(drawn):
        found = off_scale.stretches(off.tolist())
        if not found:
            continue
        points = off_scale.with_neighbors(off.tolist())
        is_top = np.isin(off, off_scale.TOP)
        shown = np.where(off == "", y, np.where(is_top, top, foot))
        starts = {stretch.first for stretch in found}
        common = {"legendgroup": str(group), "showlegend": False, "cliponaxis": False, "name": name}
        figure.add_scatter(
            x=[None if i is None else x[i] for i in points],
            y=[None if i is None else shown[i] for i in points],
            customdata=[None if i is None else off[i] or f"{y[i]:.4g}" for i in points],
            hovertemplate="%{x}, %{customdata}",
            mode="lines+markers",
            line={"color": color, "width": 1.5, "dash": "dot"},
            marker={
                "symbol": [off_scale.symbol("" if i is None else off[i]) for i in points],
                "size": [9 if i in starts else 0 for i in points],
                "color": color,
                "opacity": 1,
                "line": {"width": 0},
            },
            **common,
        )
        for stretch in off_scale.named(found):
            edge = "bottom" if is_top[stretch.first] else "top"
            gap, words = "<br>\u00a0" * lines_of_text[edge], f"{name} {stretch.words(x)}"
            lines_of_text[edge] += 1
            figure.add_scatter(
                x=[x[stretch.first]],
                y=[shown[stretch.first]],
                text=[gap + words if edge == "bottom" else words + gap],
                mode="text",
                textposition=f"{edge} {'left' if x[stretch.first] > x[-1] / 2 else 'right'}",
                textfont={"color": color, "size": 11},
                hoverinfo="skip",
                **common,
            )


def limits(project: Project, band: Band, epoch: int) -> tuple[float, float]:
    """Least low and greatest high of a band; NaN where it is not stored."""
    if band.value is not None:
        return band.value, band.value
    if not is_stored(project, band.array):
        return np.nan, np.nan
    ranges = row_of(project, band.array, epoch)[list(band.rows)]
    return ranges[:, 0].min(), ranges[:, 2].max()


def bars(project: Project, spec: BarsSpec, title: str, epoch: int) -> go.Figure:
    """Bars at a checkpoint, those above the threshold in color."""
    import plotly.graph_objects as go

    view = spec.views[0]
    heights = row_of(project, view.array, epoch)
    is_component = view.axis == "component"
    level = threshold(project, view)
    above = np.ones(len(heights), bool) if level is None else heights >= level
    if is_component:
        above[0] = False  # the constant is not a frequency
    colors = np.where(above, LIGHT["accent"], LIGHT["bar"]).tolist()
    figure = go.Figure(go.Bar(x=names_along(view.axis, project), y=heights, marker={"color": colors}))
    if level is not None:
        figure.add_hline(y=level, line={"color": LIGHT["mark"], "dash": "dash", "width": 1})
    if view.reference is not None and is_stored(project, view.reference.array):
        compared = row_of(project, view.reference.array, epoch)[view.reference.at]
        if np.isfinite(compared):
            style = {"color": LIGHT["muted"], "width": 1}
            figure.add_hline(y=compared, line=style, annotation_text=view.reference.label)
    axes = {"yaxis_title": view.quantity, "yaxis_type": view.scale, "bargap": 0.2}
    return theme.styled(figure, project, f"{title}, epoch {epoch}", **axes)


def threshold(project: Project, view: BarsView) -> float | None:
    """Where the threshold of bars starts."""
    if view.threshold is None:
        return None
    if view.threshold.of_largest is None:
        return view.threshold.value
    last = project.series(view.array)[-1]
    return float(view.threshold.of_largest * last[1 if view.axis == "component" else 0 :].max())


def grid(project: Project, spec: GridSpec, title: str, epoch: int) -> go.Figure:
    """A heat map: at a checkpoint, or over training with the epoch marked."""
    import plotly.graph_objects as go

    view = spec.views[0]
    x: list[Any]
    index = selection.places(view.axes, spec)
    if view.x == "checkpoint":
        table = project.series(view.array)[:, *index].T
        x = project.series(f"analysis/{analysis_of(view.array)}/epoch").tolist()
    else:
        x = names_along(view.x, project)
        row = row_of(project, view.array, epoch)
        if view.packed:
            sides = [len(names_along(view.y, project)), len(x)]
            row = np.unpackbits(row, count=sides[0] * sides[1]).reshape(sides)
        table = row[index]
        if view.axes.index("x") < view.axes.index("y"):
            table = table.T
    values, colors = scaled(np.asarray(table, float), view)
    figure = go.Figure(go.Heatmap(z=values, x=x, y=names_along(view.y, project), **colors))
    is_history = view.x == "checkpoint"
    if is_history:
        mark(figure, epoch)
    figure = theme.styled(figure, project, f"{title}, epoch {epoch}{' marked' if is_history else ''}")
    figure.update_yaxes(title=view.y if isinstance(view.y, str) else None)
    figure.update_xaxes(title="epoch" if is_history else view.x if isinstance(view.x, str) else None)
    if view.downward:
        figure.update_yaxes(autorange="reversed")
    if view.square:
        figure.update_yaxes(scaleanchor="x", constrain="domain").update_xaxes(constrain="domain")
    return figure


def scaled(values: Array, view: GridView) -> tuple[Array, dict[str, Any]]:
    """Numbers as a heat map shows them, and how it colors them."""
    scale = view.scale
    colors: dict[str, Any] = {"colorscale": theme.RAMP, "zmin": 0}
    if scale.type == "epochs":
        values = np.where(values < 0, np.nan, values)
    elif scale.type == "log":
        top = np.nanmax(values, initial=1e-300)
        values = np.log10(np.maximum(values, top / 10**DECADES))
        colors |= {"zmin": np.log10(top) - DECADES, "colorbar": {"title": "log₁₀"}}
    elif scale.signed:
        top = np.nanmax(np.abs(values), initial=1e-300)
        colors = {"colorscale": theme.SIGNED, "zmin": -top, "zmax": top}
    if scale.top is not None:
        colors["zmax"] = scale.top
    return values, colors


def image(project: Project, spec: ImageSpec, title: str, epoch: int) -> go.Figure:
    """Share of every neuron's variance in every frequency, neurons in the order of their final cluster."""
    import plotly.graph_objects as go

    share = row_of(project, spec.array, epoch)
    order = cluster_order(project, spec)
    heat = go.Heatmap(
        z=share[:, order],
        x=[str(neuron) for neuron in order],
        y=list(range(1, len(share) + 1)),
        zmin=0,
        zmax=1,
        colorscale=theme.RAMP,
    )
    axis = {"type": "category", "nticks": 12, "title": "neuron"}
    name = f"{title}, {spec.quantity}, epoch {epoch}"
    return theme.styled(go.Figure(heat), project, name, xaxis=axis, yaxis_title="frequency")


def cluster_order(project: Project, spec: ImageSpec) -> Array:
    """Neurons by their final cluster, those in none last, the highest share first; by index where there are no clusters."""
    last = project.series(spec.array)[-1]
    if not is_stored(project, spec.cluster.array):
        return np.arange(last.shape[1])
    cluster = project.series(spec.cluster.array)[-1]
    return np.lexsort((-last.max(axis=0), np.where(cluster > 0, cluster, np.inf)))


def maps(project: Project, spec: MapsSpec, title: str, epoch: int) -> go.Figure:
    """Activation maps of a few neurons, of different frequencies where they are analyzed."""
    from plotly.subplots import make_subplots

    neurons = typical_neurons(project, spec, epoch)
    titles = [f"neuron {neuron}" for neuron in neurons]
    figure = make_subplots(rows=1, cols=len(neurons), subplot_titles=titles, shared_yaxes=True)
    for column, neuron in enumerate(neurons, start=1):
        heat = {"z": project.neuron_map(epoch, neuron), "colorscale": theme.RAMP, "zmin": 0, "showscale": False}
        figure.add_heatmap(**heat, row=1, col=column)
    figure = theme.styled(figure, project, f"{title}, activation over a (down) and b, epoch {epoch}")
    figure.update_layout(margin_t=96).update_annotations(font_size=12)
    figure.update_yaxes(autorange="reversed", constrain="domain")
    figure.update_xaxes(constrain="domain")
    for column in range(1, len(neurons) + 1):
        figure.update_yaxes(scaleanchor=f"x{column if column > 1 else ''}", row=1, col=column)
    return figure


def typical_neurons(project: Project, spec: MapsSpec, epoch: int) -> list[int]:
    """A few neurons to show: the highest share of each frequency, highest first; the first ones where not analyzed."""
    if not has_row(project, analysis_of(spec.summary.share), epoch):
        return list(range(min(MAPS, project.config.d_mlp)))
    frequency, share = (row_of(project, name, epoch) for name in (spec.summary.frequency, spec.summary.share))
    best: dict[int, int] = {}
    for neuron in np.argsort(-share, kind="stable"):
        if frequency[neuron] > 0:
            best.setdefault(int(frequency[neuron]), int(neuron))
    return list(best.values())[:MAPS] or [0]


def spans(project: Project, spec: SpansSpec, title: str, epoch: int) -> go.Figure:
    """Intervals of epochs, one below the other, with the epoch marked."""
    import plotly.graph_objects as go

    rows: list[tuple[str, int | None, int | None]] = []
    if spec.frequencies is not None:
        first, last = (row_of(project, name, epoch) for name in (spec.frequencies.first, spec.frequencies.last))
        rows += [(f"k {k + 1}", int(first[k]), int(last[k])) for k in np.argsort(first) if first[k] >= 0]
    else:
        for event in summary.events(project):
            if event.first is None:
                rows.append((f"{event.label}: {event.missing}", None, None))
            else:
                rows.append((event.label, event.first[1], (event.last or event.first)[1]))
    figure = go.Figure()
    for label, start, end in rows:
        style = {"color": LIGHT["accent"], "width": 4}
        figure.add_scatter(x=[start, end], y=[label, label], mode="lines+markers", line=style)
    mark(figure, epoch)
    figure = theme.styled(figure, project, f"{title}, epoch {epoch} marked", xaxis_title="epoch", showlegend=False)
    return figure.update_yaxes(autorange="reversed", type="category", automargin=True)


def path(project: Project, spec: PathSpec, title: str, epoch: int) -> go.Figure:
    """The checkpoints in a plane, with the epoch's marked."""
    import plotly.graph_objects as go

    group, plane = spec.choices["group"].chosen, spec.choices["plane"].chosen
    u, v = spec.planes[plane]
    position = row_of(project, spec.position, epoch)[group]
    explained = row_of(project, spec.explained, epoch)[group]
    epochs = project.checkpoints[: len(position)]
    style = {"color": LIGHT["accent"], "width": 1.5}
    figure = go.Figure(go.Scatter(x=position[:, u], y=position[:, v], text=epochs, mode="lines+markers", line=style))
    if epoch in epochs:
        here = position[epochs.index(epoch)]
        marker = {"color": LIGHT["mark"], "size": 9}
        figure.add_scatter(x=[here[u]], y=[here[v]], mode="markers", marker=marker)
    axes = {
        f"{axis}_title": f"component {part + 1}, {explained[part]:.0%}" for axis, part in (("xaxis", u), ("yaxis", v))
    }
    figure = theme.styled(figure, project, f"{title}, epoch {epoch} marked", showlegend=False, **axes)
    return figure.update_yaxes(scaleanchor="x")


def table(project: Project, spec: TableSpec, title: str, epoch: int) -> go.Figure:
    """Measures at a checkpoint next to their baselines."""
    import plotly.graph_objects as go

    values = row_of(project, spec.value, epoch)
    columns = [[theme.literal(row.label) for row in spec.rows], [f"{values[row.row]:.4g}" for row in spec.rows]]
    head = ["", "now"]
    for item in spec.baselines:
        if not item.band or not has_row(project, item.analysis, epoch):
            continue
        bands, p = row_of(project, item.band, epoch), row_of(project, item.p, epoch)
        columns.append([f"{bands[row.row][0]:.4g} – {bands[row.row][2]:.4g}" for row in spec.rows])
        columns.append([f"{p[row.row]:.2g}" for row in spec.rows])
        head += [theme.literal(item.label), "p"]
    figure = go.Figure(go.Table(header={"values": head}, cells={"values": columns}))
    return theme.styled(figure, project, f"{title}, epoch {epoch}")
