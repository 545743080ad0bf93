"""Statistics over runs as Plotly figures, with the look of the page's panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tdw import arguments
from tdw.panels import theme
from tdw.panels.theme import LIGHT, literal
from tdw.statistics.bands import EPOCH, Band
from tdw.statistics.collection import Group, text_of
from tdw.statistics.durations import DELAY, durations
from tdw.statistics.frequencies import FrequencyChoices
from tdw.statistics.phase import PhaseDiagram
from tdw.text_format import count

if TYPE_CHECKING:
    import plotly.graph_objects as go

GROUPS = 'groups of runs, as tdw.runs(FOLDER).group("weight_decay") returns them'

BELOW = {"legend": {"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom"}, "margin_b": 95}


def survival_figure(groups: Group | Sequence[Group], event: str = DELAY) -> go.Figure:
    """The share of runs, in each group, that have not had an event yet: Kaplan-Meier curves with 95 % intervals. A tick marks the
    time at which a run was censored.
    """
    import plotly.graph_objects as go

    groups = [groups] if isinstance(groups, Group) else arguments.several("groups", groups, GROUPS)
    if not groups:
        raise arguments.refused("groups", groups, f"{GROUPS}, at least one")
    for group in groups:
        arguments.instance("groups", group, Group, GROUPS)
    figure = go.Figure()
    for number, group in enumerate(groups):
        times, color = durations(group.runs, event), theme.color(f"series-{number}")
        curve = times.survival()
        end = max(float(times.time.max(initial=0)), 1.0)
        x = np.array([0.0, *curve.time, end])
        name = literal(f"{group.label} ({count(curve.runs, 'run')}, {curve.censored} censored)")
        share, low, high = (np.array([1.0, *side, *side[-1:]]) for side in (curve.share, curve.low, curve.high))
        share, low, high = (side if curve.time.size else np.ones(2) for side in (share, low, high))
        look = {"mode": "lines", "legendgroup": name, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(x=x, y=high, line={"width": 0, "shape": "hv"}, **look)
        figure.add_scatter(x=x, y=low, line={"width": 0, "shape": "hv"}, fill="tonexty", fillcolor=_pale(color), **look)
        figure.add_scatter(
            x=x, y=share, line={"color": color, "shape": "hv"}, mode="lines", name=name, legendgroup=name
        )
        censored = np.sort(times.time[~times.happened])
        at = np.concatenate([[1.0], curve.share])[np.searchsorted(curve.time, censored, side="right")]
        tick = {"symbol": "line-ns-open", "size": 8, "color": color}
        figure.add_scatter(
            x=censored, y=at, mode="markers", marker=tick, name="censored", legendgroup=name, showlegend=False
        )
    what = "delay between memorizing and generalizing" if event == DELAY else f"time of {event}"
    axes = {
        "xaxis_title": f"{what} (epochs)",
        "yaxis_title": "share of runs without it",
        "yaxis_range": [0, 1.03],
        **BELOW,
    }
    return theme.dressed(figure, "Runs that have not generalized yet" if event == DELAY else literal(event), "", **axes)


def phase_figure(diagram: PhaseDiagram) -> go.Figure:
    """The share of runs that generalized, over two settings, with the numbers of runs and the median delay in each cell."""
    import plotly.graph_objects as go

    arguments.instance("diagram", diagram, PhaseDiagram, "what phase_diagram(runs, x, y) returns")
    some = diagram.runs > 0
    share = np.where(some, diagram.generalized / np.maximum(diagram.runs, 1), np.nan)
    text = [["" for _ in diagram.x] for _ in diagram.y]
    for row, column in np.argwhere(some):
        delay = diagram.delay[row, column]
        ends = [f"{diagram.generalized[row, column]} of {diagram.runs[row, column]}"]
        ends += [f"{diagram.diverged[row, column]} diverged"] if diagram.diverged[row, column] else []
        ends += [] if np.isnan(delay) else [f"delay {delay:g}"]
        text[row][column] = "<br>".join(ends)
    figure = go.Figure()
    figure.add_heatmap(
        x=[text_of(value) for value in diagram.x],
        y=[text_of(value) for value in diagram.y],
        z=share,
        text=text,
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        xgap=2,
        ygap=2,
        colorscale=[(at, tone) for at, tone in theme.RAMP],
        colorbar={"title": "share"},
    )
    axes = {"xaxis_title": literal(diagram.x_name), "yaxis_title": literal(diagram.y_name)}
    figure = theme.dressed(figure, "Runs that generalized", "median delay in epochs", **axes)
    # A cell without runs shows the background, which is not the color of "none of them".
    figure.update_layout(plot_bgcolor=LIGHT["line"])
    figure.update_xaxes(type="category", showgrid=False)
    return figure.update_yaxes(type="category", showgrid=False)


def band_figure(band: Band) -> go.Figure:
    """A curve over runs: median, mean, and the band that holds a share of the runs."""
    import plotly.graph_objects as go

    arguments.instance("band", band, Band, "what tdw.statistics.bands.band(runs, curve) returns")
    color = theme.color("series-0")
    figure = go.Figure()
    figure.add_scatter(x=band.epoch, y=band.high, mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
    figure.add_scatter(
        x=band.epoch,
        y=band.low,
        mode="lines",
        line={"width": 0},
        fill="tonexty",
        fillcolor=_pale(color),
        name=f"{100 * band.share:g} % of runs",
    )
    figure.add_scatter(x=band.epoch, y=band.median, mode="lines", line={"color": color}, name="median")
    mean = "geometric mean" if band.log else "mean"
    figure.add_scatter(
        x=band.epoch, y=band.mean, mode="lines", line={"color": LIGHT["muted"], "dash": "dot"}, name=mean
    )
    where = "epoch" if band.align == EPOCH else f"epochs after {band.align}"
    axes = {"xaxis_title": literal(where), "yaxis_type": "log" if band.log else "linear", **BELOW}
    under = count(band.used, "run") + (f", {band.left_out} left out" if band.left_out else "")
    return theme.dressed(figure, literal(band.curve), under, **axes)


def frequencies_figure(choices: FrequencyChoices) -> go.Figure:
    """How many runs have each frequency as a key frequency, with the number expected by chance."""
    import plotly.graph_objects as go

    arguments.instance("choices", choices, FrequencyChoices, "what frequency_choices(runs) returns")
    figure = go.Figure()
    k = np.arange(1, len(choices.count) + 1)
    colors = np.where(choices.adjusted < 0.05, theme.color("series-1"), theme.color("series-0"))
    figure.add_bar(x=k, y=choices.count, marker_color=colors, showlegend=False)
    figure.add_hline(float(choices.expected[0]), line={"color": LIGHT["muted"], "dash": "dot"})
    under = f"{count(choices.runs, 'run')}, χ² = {choices.chi2:.3g}, p = {choices.chi2_p:.2g}; other color: adjusted p < 0.05; dotted: by chance"
    axes = {"xaxis_title": "frequency", "yaxis_title": "runs"}
    return theme.dressed(figure, f"Key frequencies (rule {literal(choices.rule)})", under, **axes)


def _pale(color: str) -> str:
    """A color #RRGGBB, almost transparent."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.15)"
