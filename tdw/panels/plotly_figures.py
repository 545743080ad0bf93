"""Panels that are declared by a description, as plain Plotly figures: one function a kind, with the viewer's own numbers.

What the viewer's menus offer is as it stands first in the description, see `parts.chosen`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tdw.analyses import fourier, summary
from tdw.panels import spec as parts
from tdw.panels import theme
from tdw.panels.spec import Spec, result_at

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project

SERIES = ("#2f5bea", "#bf5d0a", "#12805c", "#8b3fc7", "#0b7fa5", "#93760a", "#5a6270", "#b0397f", "#4d8c1f", "#8a5a44")
NAMED = {"train": theme.TRAIN, "test": theme.TEST, "muted": theme.MUTED, "ink": theme.INK, "accent": theme.ACCENT}
SIGNED = [[0, "#4a1d04"], [0.25, "#d9730d"], [0.5, "#ffffff"], [0.75, "#2f5bea"], [1, "#0c1854"]]
DECADES = 4  # that a log scale shows below its largest number


def color(name: str) -> str:
    """A color by the name that descriptions use."""
    return SERIES[int(name.removeprefix("series-")) % len(SERIES)] if name.startswith("series-") else NAMED[name]


def named(axis: Any, project: Project) -> list[str]:
    """What stands along an axis of a description."""
    config = project.config
    if isinstance(axis, list):
        return [theme.literal(name) for name in axis]
    if axis == "component":
        return fourier.component_names(config.order)
    sizes = {"frequency": config.frequencies, "operand": config.p, "head": config.heads}
    first, word = (1 if axis == "frequency" else 0), ("head " if axis == "head" else "")
    return [f"{word}{i + first}" for i in range(sizes[axis])]


def stored(project: Project, name: str) -> bool:
    """Whether an array is there."""
    return name in project.array_index()


def row_of(project: Project, name: str, epoch: int) -> Any:
    """The row of an analysis' array at a checkpoint; of an analysis of the whole run, its only one."""
    from tdw.analyses import ANALYSES

    _, analysis, array = name.split("/")
    if ANALYSES[analysis].per == "run":
        return project.series(name)[0]
    result, row = result_at(project, analysis, epoch)
    return result.arrays[array][row]


def curve(project: Project, spec: Spec, title: str, epoch: int) -> go.Figure:
    """Lines over epochs, with the epoch marked."""
    import plotly.graph_objects as go

    figure = go.Figure()
    quantity = spec["quantities"][0]
    for line in (found for declared in quantity["lines"] for found in parts.expanded(declared, spec)):
        if not stored(project, line["array"]):
            continue
        x, y = parts.values(project, line, spec)
        how = {"color": color(line["color"]), "width": 1.5}
        figure.add_scatter(x=x, y=y, name=theme.literal(line["label"] or quantity["title"]), mode="lines", line=how)
    for band in quantity.get("bands", ()):
        if "value" in band:
            low = high = band["value"]
        elif stored(project, band["array"]):
            found = row_of(project, band["array"], epoch)[band["rows"]]
            low, high = found[:, 0].min(), found[:, 2].max()
        else:
            continue
        if np.isfinite(low):
            how = {"line": {"color": theme.MUTED, "width": 1 if low == high else 0}, "opacity": 0.15}
            figure.add_hrect(low, high, fillcolor=theme.MUTED, annotation_text=band["label"], layer="below", **how)
    figure.add_vline(x=epoch, line={"color": theme.MARK, "width": 1.5})
    chosen = {"yaxis_type": quantity["scale"], "xaxis_title": "epoch"}
    if quantity["scale"] == "log":
        chosen["yaxis_exponentformat"] = "power"
    elif "range" in quantity:
        chosen["yaxis_range"] = [end and 1.04 * end for end in quantity["range"]]
    return theme.styled(figure, project, f"{title}, epoch {epoch} marked", **chosen)


def bars(project: Project, spec: Spec, title: str, epoch: int) -> go.Figure:
    """Bars at a checkpoint."""
    import plotly.graph_objects as go

    view = spec["views"][0]
    heights = row_of(project, view["array"], epoch)
    figure = go.Figure(go.Bar(x=named(view["axis"], project), y=heights, marker={"color": theme.ACCENT}))
    if "reference" in view and stored(project, view["reference"]["array"]):
        level = row_of(project, view["reference"]["array"], epoch)[view["reference"]["at"]]
        if np.isfinite(level):
            figure.add_hline(
                y=level, line={"color": theme.MUTED, "width": 1}, annotation_text=view["reference"]["label"]
            )
    axes = {"yaxis_title": view["quantity"], "yaxis_type": view.get("scale", "linear"), "bargap": 0.2}
    return theme.styled(figure, project, f"{title}, epoch {epoch}", **axes)


def grid(project: Project, spec: Spec, title: str, epoch: int) -> go.Figure:
    """A heat map: at a checkpoint, or over training with the epoch marked."""
    import plotly.graph_objects as go

    view = spec["views"][0]
    over = view["x"] == "checkpoint"
    index = parts.places(view["axes"], spec)
    if over:
        table = project.series(view["array"])[:, *index].T
        x: list[Any] = project.series(f"analysis/{view['array'].split('/')[1]}/epoch").tolist()
    else:
        row = row_of(project, view["array"], epoch)
        if view.get("bits"):
            sides = [len(named(view[axis], project)) for axis in "yx"]
            row = np.unpackbits(row, count=sides[0] * sides[1]).reshape(sides)
        table = row[index]
        if view["axes"].index("x") < view["axes"].index("y"):
            table = table.T
        x = named(view["x"], project)
    scale = view["scale"]
    values = np.asarray(table, float)
    if scale["type"] == "epochs":
        values = np.where(values < 0, np.nan, values)
    how: dict[str, Any] = {"colorscale": theme.RAMP, "zmin": 0}
    if scale["type"] == "log":
        top = np.nanmax(values, initial=1e-300)
        values = np.log10(np.maximum(values, top / 10**DECADES))
        how |= {"zmin": np.log10(top) - DECADES, "colorbar": {"title": "log₁₀"}}
    elif scale.get("signed"):
        top = np.nanmax(np.abs(values), initial=1e-300)
        how = {"colorscale": SIGNED, "zmin": -top, "zmax": top}
    if scale.get("top"):
        how["zmax"] = scale["top"]
    figure = go.Figure(go.Heatmap(z=values, x=x, y=named(view["y"], project), **how))
    if over:
        figure.add_vline(x=epoch, line={"color": theme.MARK, "width": 1.5})
    figure = theme.styled(figure, project, f"{title}, epoch {epoch}{' marked' if over else ''}")
    figure.update_yaxes(title=view["y"] if isinstance(view["y"], str) else None)
    figure.update_xaxes(title="epoch" if over else view["x"] if isinstance(view["x"], str) else None)
    if view.get("down"):
        figure.update_yaxes(autorange="reversed")
    if view.get("square"):
        figure.update_yaxes(scaleanchor="x", constrain="domain").update_xaxes(constrain="domain")
    return figure


def spans(project: Project, spec: Spec, title: str, epoch: int) -> go.Figure:
    """Stretches of epochs below each other, with the epoch marked."""
    import plotly.graph_objects as go

    rows: list[tuple[str, int, int] | tuple[str, None, None]] = []
    if "first" in spec:
        first, last = (row_of(project, spec[name], epoch) for name in ("first", "last"))
        rows += [(f"k {k + 1}", int(first[k]), int(last[k])) for k in np.argsort(first) if first[k] >= 0]
    else:
        for event in summary.events(project):
            if event.first is None:
                rows.append((f"{event.label}: {event.missing}", None, None))
            else:
                rows.append((event.label, event.first[1], (event.last or event.first)[1]))
    figure = go.Figure()
    for label, start, end in rows:
        figure.add_scatter(
            x=[start, end], y=[label, label], mode="lines+markers", line={"color": theme.ACCENT, "width": 4}
        )
    figure.add_vline(x=epoch, line={"color": theme.MARK, "width": 1.5})
    figure = theme.styled(figure, project, f"{title}, epoch {epoch} marked", xaxis_title="epoch", showlegend=False)
    return figure.update_yaxes(autorange="reversed", type="category", automargin=True)


def path(project: Project, spec: Spec, title: str, epoch: int) -> go.Figure:
    """The checkpoints in a plane, with the epoch's marked."""
    import plotly.graph_objects as go

    group, plane = (spec["choices"][name]["chosen"] for name in ("group", "plane"))
    u, v = spec["planes"][plane]
    position = row_of(project, spec["position"], epoch)[group]
    explained = row_of(project, spec["explained"], epoch)[group]
    epochs = project.checkpoints[: len(position)]
    how = {"color": theme.ACCENT, "width": 1.5}
    figure = go.Figure(go.Scatter(x=position[:, u], y=position[:, v], text=epochs, mode="lines+markers", line=how))
    if epoch in epochs:
        here = position[epochs.index(epoch)]
        figure.add_scatter(x=[here[u]], y=[here[v]], mode="markers", marker={"color": theme.MARK, "size": 9})
    axes = {
        f"{axis}_title": f"component {part + 1}, {explained[part]:.0%}" for axis, part in (("xaxis", u), ("yaxis", v))
    }
    figure = theme.styled(figure, project, f"{title}, epoch {epoch} marked", showlegend=False, **axes)
    return figure.update_yaxes(scaleanchor="x")


def table(project: Project, spec: Spec, title: str, epoch: int) -> go.Figure:
    """Numbers at a checkpoint beside their bands."""
    import plotly.graph_objects as go

    columns: list[list[str]] = [[], [], *([] for _ in spec["bands"])]
    for row in spec["rows"]:
        columns[0].append(theme.literal(row["label"]))
        known = dict(zip(*parts.values(project, row, spec), strict=True)) if stored(project, row["array"]) else {}
        columns[1].append(f"{known.get(epoch, np.nan):.4g}")
        for column, band in zip(columns[2:], spec["bands"], strict=True):
            low, _, high = row_of(project, band["array"], epoch)[row["row"]]
            column.append(f"{low:.4g} – {high:.4g}")
    head = ["", "now", *(band["label"] for band in spec["bands"])]
    figure = go.Figure(go.Table(header={"values": head}, cells={"values": columns}))
    return theme.styled(figure, project, f"{title}, epoch {epoch}")


DRAW: dict[str, Callable[[Project, Spec, str, int], go.Figure]] = {
    "curve": curve,
    "bars": bars,
    "grid": grid,
    "spans": spans,
    "path": path,
    "table": table,
}
