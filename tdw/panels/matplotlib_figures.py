"""Panels as matplotlib figures for papers, one function per kind, from the same numbers and words as every other way of drawing.

The look: no title (the caption says what is shown), 7-point text, thin lines, light colors of `theme`, sizes in millimeters.
The same input gives the same bytes: no time is written, and identifiers in SVG files are fixed.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdw.errors import TdwError
from tdw.panels import content, theme
from tdw.panels.content import Bars, Content, Curves, Heat, Maps, Path, Spans, Table
from tdw.panels.theme import LIGHT
from tdw.safe_text import visible
from tdw.text_format import fixed, integer, power, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from tdw.panels.reductions import Array

FONT = "DejaVu Sans"  # comes with matplotlib, so that a figure is the same on every machine
INCH = 25.4  # mm
FONT_SIZE = 7.0  # points
LINE_WIDTH = 0.9
MARKERS = {"triangle-up": "^", "triangle-down": "v", "x": "x"}  # by their names in Plotly
THIN = 0.5
LEAST = 3.0  # mm, of a plot
BAR_WIDTH = 2.2  # mm, of the scale of colors
ROW_HEIGHT = 4.2  # mm, of rows that have names
MOST_WRITTEN = 40  # cells whose numbers are written into them
DENSE = 36  # names along an axis, beyond which only some are written
LABEL_GAP = 0.6  # of the size of text, between names along an axis


def settings(font: str = FONT) -> dict[str, Any]:
    """matplotlib's settings while a figure is drawn and saved."""
    return {
        "font.family": [font] if font == FONT else [font, FONT],
        "font.size": FONT_SIZE,
        "axes.labelsize": FONT_SIZE,
        "axes.linewidth": THIN,
        "axes.edgecolor": LIGHT["muted"],
        "axes.labelcolor": LIGHT["ink"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "figure.facecolor": "white",
        "text.color": LIGHT["ink"],
        "text.parse_math": False,  # names may have dollar signs
        "text.usetex": False,
        "xtick.labelsize": FONT_SIZE,
        "ytick.labelsize": FONT_SIZE,
        "xtick.color": LIGHT["muted"],
        "ytick.color": LIGHT["muted"],
        "xtick.labelcolor": LIGHT["ink"],
        "ytick.labelcolor": LIGHT["ink"],
        "xtick.major.width": THIN,
        "ytick.major.width": THIN,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "legend.fontsize": FONT_SIZE,
        "lines.linewidth": LINE_WIDTH,
        "pdf.fonttype": 42,  # TrueType: fonts are embedded, and text stays text
        "svg.fonttype": "path",  # letters are outlines: an SVG cannot hold fonts that every program reads
        "svg.hashsalt": "tdw",
        "path.simplify": False,
    }


def draw(shown: Content, epoch: int | None, width: float, height: float | None, above: str = "") -> Figure:
    """The figure of what a panel shows, to be called under `settings`. epoch: marked on lines over epochs, None for no mark;
    width, height: millimeters, a height that suits the kind for None; above: text over the figure, at the right. Raises
    TdwError where it does not fit.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tall = height or natural_height(shown, width)
    is_square = isinstance(shown, Maps) or (isinstance(shown, Heat) and shown.is_square)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.03, hspace=0.02, compress=is_square)
    figure = Figure(figsize=(width / INCH, tall / INCH), layout=layout)
    if above:
        figure.suptitle(text(above), x=0.99, ha="right", fontsize=FONT_SIZE)
    match shown:
        case Curves():
            curves(figure, shown, epoch)
        case Bars():
            bars(figure, shown)
        case Heat():
            heat(figure, shown, epoch)
        case Maps():
            maps(figure, shown)
        case Spans():
            spans(figure, shown, epoch)
        case Path():
            path(figure, shown)
        case Table():
            table(figure, shown)
    _check_room(figure, width, tall)
    return figure


def natural_height(shown: Content, width: float) -> float:
    """A height in millimeters that suits what is shown at a width."""
    match shown:
        case Heat() if shown.is_square:
            return 0.82 * width
        case Heat() if not shown.is_history and len(shown.y) <= DENSE and any(isinstance(y, str) for y in shown.y):
            return min(16 + ROW_HEIGHT * len(shown.y), 0.8 * width)
        case Maps():
            return width / len(shown.neurons) + 14
        case Spans():
            return 12 + ROW_HEIGHT * max(len(shown.rows), 1)
        case Path():
            return 0.85 * width
        case Table():
            return 4 + ROW_HEIGHT * (1 + len(shown.columns[0]))
    return max(0.62 * min(width, 120), 40)


def _check_room(figure: Figure, width: float, height: float) -> None:
    """Raise TdwError where nothing is left for the plot itself."""
    is_full = False
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "constrained_layout not applied")
        try:
            figure.draw_without_rendering()
        except UserWarning:
            is_full = True
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.get_label() != "<colorbar>"]
    if is_full or min(min(box.width, box.height) for box in boxes) < LEAST / INCH * figure.dpi:
        raise TdwError(
            f"a figure of {width:g} × {height:.4g} mm has no room for this panel and its labels: choose a larger one."
        )


def text(words: str) -> str:
    """Text with every character visible."""
    return visible(words)


# ---- axes ----------------------------------------------------------------------------------------------------------


def linear_text(ticks: Array) -> list[str]:
    """Ticks of a linear axis, with as many digits as tell them apart."""
    if not len(ticks):
        return []
    step = float(np.min(np.diff(ticks))) if len(ticks) > 1 else abs(float(ticks[0])) or 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    while digits < 6 and any(abs(round(tick, digits) - tick) > step * 1e-3 for tick in ticks):
        digits += 1
    if digits > 4 or max(abs(ticks)) >= 1e7:
        return [short(float(tick)) for tick in ticks]
    return [fixed(float(tick) + 0.0, digits) for tick in ticks]


def _numbers(axis: Axis, *, is_log: bool = False, whole: bool = False, most: int = 6) -> None:
    """Ticks of an axis of numbers, written as everywhere."""
    from matplotlib import ticker

    if is_log:
        axis.set_minor_locator(ticker.NullLocator())
        low, high = axis.get_view_interval()
        if high >= 100 * low > 0:
            axis.set_major_locator(ticker.LogLocator(10, numticks=most))
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: power(round(math.log10(value)))))
            return
        if high >= 6 * low > 0:
            axis.set_major_locator(ticker.LogLocator(10, subs=(1, 2, 5), numticks=9))
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short(value)))
            return

    def written(value: float, _: int | None) -> str:
        ticks = np.asarray(axis.get_major_locator()(), float)
        return linear_text(ticks)[int(np.argmin(abs(ticks - value)))]

    axis.set_major_locator(ticker.MaxNLocator(most, integer=whole, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(ticker.FuncFormatter(written))


def _names(axis: Axis, names: tuple[Any, ...], room: float, *, is_upright: bool) -> None:
    """Names along an axis at 0, 1, …: all that have room (points), else every so many."""
    labels = [text(str(name)) for name in names]
    each = FONT_SIZE * (1.3 if is_upright else 0.62 * max(map(len, labels), default=1) + 2 * LABEL_GAP)
    fitting = max(2, int(room / each))
    step = next(s for s in _steps() if len(labels) / s <= fitting)
    first = 0
    if step > 1 and labels[0] == "1":  # frequencies: 5, 10, 15 …
        first = step - 1
    at = range(first, len(labels), step)
    axis.set_ticks(list(at), [labels[i] for i in at])
    axis.set_tick_params(length=0 if step == 1 and len(labels) < DENSE else 2.5)


def _steps() -> Any:
    scale = 1
    while True:
        yield from (scale, 2 * scale, 5 * scale)
        scale *= 10


def _axes(figure: Figure, x_title: str, y_title: str) -> Axes:
    axes = figure.add_subplot()
    axes.set_xlabel(text(x_title))
    axes.set_ylabel(wrapped(y_title, _room(figure, "y")))
    axes.set_axisbelow(True)
    return axes


def _room(figure: Figure, axis: str) -> float:
    """About how many points of the figure an axis has."""
    return float(figure.get_size_inches()[0 if axis == "x" else 1]) * 72 * 0.74


def wrapped(title: str, room: float) -> str:
    """A title in lines that fit into so many points."""
    return "\n".join(textwrap.wrap(text(title), max(8, int(room / (0.58 * FONT_SIZE))), break_long_words=False))


def _level_name(axes: Axes, name: str, level: float) -> None:
    """The name of a level, above its right end."""
    axes.annotate(
        text(name),
        (1, level),
        (-1, 1),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=LIGHT["muted"],
    )


def _mark(axes: Axes, epoch: int | None) -> None:
    if epoch is not None:
        axes.axvline(epoch, color=LIGHT["mark"], linewidth=0.8, label="_epoch", zorder=3)


def _legend(figure: Figure, handles: list[Any], labels: list[str]) -> None:
    """Names of lines above the plot, in as many columns as fit."""
    if len(labels) < 2:
        return
    look: dict[str, Any] = {
        "loc": "outside upper left",
        "frameon": False,
        "handlelength": 1.2,
        "handletextpad": 0.5,
        "columnspacing": 1.2,
        "borderaxespad": 0.2,
        "borderpad": 0,
        "labelspacing": 0.25,
    }
    wide = figure.get_size_inches()[0] * figure.dpi
    for columns in range(len(labels), 0, -1):
        legend = figure.legend(handles, labels, ncols=columns, **look)
        if legend.get_window_extent().width <= 0.98 * wide or columns == 1:
            return
        legend.remove()


# ---- kinds ---------------------------------------------------------------------------------------------------------


def curves(figure: Figure, shown: Curves, epoch: int | None) -> None:
    """Lines over epochs."""
    axes = _axes(figure, shown.x_title, shown.y_title)
    axes.set_yscale("log" if shown.is_log else "linear")
    axes.grid(axis="y", color=LIGHT["line"], linewidth=THIN)
    for line in shown.lines:
        there = content.on_scale(line)
        marker = "o" if np.isfinite(there).sum() == 1 else None  # a single point is no line
        axes.plot(
            line.x,
            there,
            color=line.color,
            label=text(line.name),
            solid_joinstyle="round",
            marker=marker,
            markersize=2.5,
        )
    for part in content.off_scale_parts(shown.lines, is_log=shown.is_log):
        axes.plot(part.x, part.y, color=part.line.color, linestyle=(0, (1, 1.5)), label="_off", clip_on=False)
        for name, symbol in MARKERS.items():
            chosen = part.starts & (np.array(part.symbols) == name)
            if chosen.any():
                look: dict[str, Any] = {"linestyle": "none", "clip_on": False, "label": "_start"}
                axes.plot(part.x[chosen], part.y[chosen], marker=symbol, markersize=3.5, color=part.line.color, **look)
        for x, y, words, edge, before in part.words:
            toward = -1 if x > part.line.x[-1] / 2 else 1
            up = -1 if edge == "bottom" else 1
            axes.annotate(
                text(words),
                (x, y),
                (3 * toward, up * (3 + 1.2 * FONT_SIZE * before)),
                textcoords="offset points",
                ha="left" if toward > 0 else "right",
                va="top" if edge == "bottom" else "bottom",
                color=part.line.color,
            )
    for band in shown.bands:
        if band.low == band.high:
            axes.axhline(band.low, color=LIGHT["muted"], linewidth=THIN, label="_band", zorder=0)
        else:
            axes.axhspan(band.low, band.high, color=LIGHT["muted"], alpha=0.15, linewidth=0, label="_band", zorder=0)
        _level_name(axes, band.label, band.high)
    _mark(axes, epoch)
    if shown.y_range is not None and not shown.is_log:
        low, high = shown.y_range
        room = 0.04 * ((1 if high is None else high) - (low or 0))
        axes.set_ylim(bottom=None if low is None else low - room / 2, top=None if high is None else high + room)
    axes.margins(x=0.01)
    _numbers(axes.yaxis, is_log=shown.is_log)
    _numbers(axes.xaxis, whole=True)
    _legend(figure, *axes.get_legend_handles_labels())


def bars(figure: Figure, shown: Bars) -> None:
    """Bars at a checkpoint, those that stand out in color."""
    axes = _axes(figure, shown.x_title, shown.y_title)
    axes.set_yscale("log" if shown.is_log else "linear")
    colors = [LIGHT["accent" if stands_out else "bar"] for stands_out in shown.colored]
    base = shown.reference[0] if shown.is_log and shown.reference is not None else None  # a log axis has no 0
    heights = np.asarray(shown.heights, float)
    at = np.arange(len(heights))
    if base is None:
        axes.bar(at, heights, 0.8, color=colors)
    else:
        axes.bar(at, heights - base, 0.8, bottom=base, color=colors)
        if not np.isfinite(heights).any():
            axes.set_ylim(base / 10, base * 10)
    if not shown.is_log:
        axes.axhline(0, color=LIGHT["muted"], linewidth=THIN, label="_zero")
    if shown.level is not None:
        axes.axhline(shown.level, color=LIGHT["mark"], linewidth=0.8, linestyle=(0, (4, 2)), label="_threshold")
    if shown.reference is not None:
        level, label = shown.reference
        axes.axhline(level, color=LIGHT["muted"], linewidth=THIN, label="_reference")
        _level_name(axes, label, level)
    axes.set_xlim(-0.8, len(heights) - 0.2)
    axes.margins(y=0.06)
    if shown.ends is not None:
        axes.set_ylim(shown.ends)
    _names(axes.xaxis, shown.names, _room(figure, "x"), is_upright=False)
    _numbers(axes.yaxis, is_log=shown.is_log, most=5)


def colors(*, is_signed: bool = False) -> Any:
    """The scale of colors; numbers that are missing are gray."""
    from matplotlib.colors import LinearSegmentedColormap

    name, stops = ("signed", theme.SIGNED) if is_signed else ("ramp", theme.RAMP)
    return LinearSegmentedColormap.from_list(name, stops, N=256, bad=LIGHT["bar"])


def edges(centers: Array) -> Array:
    """Where cells around these increasing centers begin and end, (cell + 1): in the middle between neighbors.

    >>> edges(np.array([0.0, 10.0, 30.0])).tolist()
    [-5.0, 5.0, 20.0, 40.0]
    """
    if len(centers) < 2:
        return np.array([centers[0] - 0.5, centers[0] + 0.5])
    middle = (centers[1:] + centers[:-1]) / 2
    return np.array([2 * centers[0] - middle[0], *middle, 2 * centers[-1] - middle[-1]])


def _cells(axes: Axes, x: Array, table: Array, look: dict[str, Any], *, is_downward: bool) -> Any:
    """Colored cells, as one picture inside of a vector file; rows are at 0, 1, …"""
    mesh = axes.pcolormesh(
        edges(x), edges(np.arange(len(table), dtype=float)), table, rasterized=True, antialiased=False, **look
    )
    if is_downward:
        axes.invert_yaxis()
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    return mesh


def heat(figure: Figure, shown: Heat, epoch: int | None) -> None:
    """A heat map: at a checkpoint, or over training."""
    axes = _axes(figure, shown.x_title, shown.y_title)
    finite = shown.values[np.isfinite(shown.values)]
    high = shown.high if shown.high is not None else float(finite.max(initial=shown.low))
    look = {
        "cmap": colors(is_signed=shown.is_signed),
        "vmin": shown.low,
        "vmax": high if high > shown.low else shown.low + 1,
    }
    x = np.asarray(shown.x, float) if shown.is_history else np.arange(len(shown.x), dtype=float)
    mesh = _cells(axes, x, np.ma.masked_invalid(shown.values), look, is_downward=shown.is_downward)
    _names(axes.yaxis, shown.y, _room(figure, "y"), is_upright=True)
    if shown.is_history:
        _mark(axes, epoch)
        _numbers(axes.xaxis, whole=True)
    else:
        _names(axes.xaxis, shown.x, _room(figure, "x"), is_upright=False)
    if shown.is_square:
        axes.set_aspect("equal")
    if shown.shows_values and shown.values.size <= MOST_WRITTEN:
        _write(axes, shown, mesh)
    if shown.value_names:
        _flags(figure, shown, mesh)
        return
    tall = figure.get_size_inches()[1] * INCH
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, fraction=0.05, aspect=max(4, 0.8 * tall / BAR_WIDTH))
    bar.outline.set_linewidth(THIN)
    bar.set_label(wrapped(shown.value_title, _room(figure, "y")))
    if shown.is_log:
        bar.set_ticks(list(range(math.ceil(shown.low), math.floor(high) + 1)))
        bar.ax.yaxis.set_major_formatter(lambda value, _: power(round(value)))
    else:
        _numbers(bar.ax.yaxis, whole=bool(finite.size and np.all(finite == np.round(finite)) and high > 2), most=5)


def _write(axes: Axes, shown: Heat, mesh: Any) -> None:
    """The numbers themselves in their cells."""
    for (row, column), value in np.ndenumerate(shown.values):
        red, green, blue, _ = mesh.to_rgba(value)
        tone = LIGHT["ink"] if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"
        axes.text(column, row, short(float(value)), ha="center", va="center", color=tone)


def _flags(figure: Figure, shown: Heat, mesh: Any) -> None:
    """What the colors of 0 and 1 mean, above the plot."""
    from matplotlib.patches import Patch

    names = [text(name) for name in shown.value_names]
    looks = [{"facecolor": mesh.to_rgba(value), "edgecolor": LIGHT["muted"]} for value in range(len(names))]
    _legend(figure, [Patch(linewidth=THIN, **look) for look in looks], names)


def maps(figure: Figure, shown: Maps) -> None:
    """Activation maps of a few neurons, each on a scale of its own from 0."""
    panels: Any = figure.subplots(1, len(shown.neurons), sharey=True, squeeze=False)
    for axes, neuron, activation, high in zip(panels[0], shown.neurons, shown.activations, shown.tops, strict=True):
        side = np.arange(activation.shape[1], dtype=float)
        mesh = _cells(axes, side, activation, {"cmap": colors(), "vmin": 0, "vmax": high}, is_downward=False)
        axes.set_aspect("equal")
        axes.set_title(f"neuron {integer(neuron)}", fontsize=FONT_SIZE, pad=3)
        axes.set_xlabel(shown.x_title)
        _numbers(axes.xaxis, whole=True, most=4)
        bar = figure.colorbar(mesh, ax=axes, location="bottom", pad=0.02, fraction=0.05, aspect=16)
        bar.outline.set_linewidth(THIN)
        _numbers(bar.ax.xaxis, most=3)
        bar.set_label(shown.value_title)
    panels[0][0].invert_yaxis()
    panels[0][0].set_ylabel(shown.y_title)
    _numbers(panels[0][0].yaxis, whole=True, most=4)


def spans(figure: Figure, shown: Spans, epoch: int | None) -> None:
    """Intervals of epochs, one below the other."""
    axes = _axes(figure, shown.x_title, "")
    for row, (label, start, end) in enumerate(shown.rows):
        if start is not None and end is not None:
            look: dict[str, Any] = {"color": LIGHT["accent"], "linewidth": 2.4, "marker": "o", "markersize": 3}
            axes.plot([start, end], [row, row], label=text(label), **look)
    _mark(axes, epoch)
    axes.set_ylim(max(len(shown.rows), 1) - 0.4, -0.6)
    axes.set_xlim(-0.02 * shown.last, 1.02 * max(shown.last, 1))
    _names(axes.yaxis, tuple(label for label, *_ in shown.rows), _room(figure, "y") * 2, is_upright=True)
    axes.grid(axis="y", color=LIGHT["line"], linewidth=THIN)
    _numbers(axes.xaxis, whole=True, most=4)


def path(figure: Figure, shown: Path) -> None:
    """The checkpoints in a plane, in order."""
    axes = _axes(figure, shown.x_title, shown.y_title)
    axes.plot(shown.x, shown.y, color=LIGHT["accent"], marker="o", markersize=1.6, label="checkpoints")
    if shown.here is not None:
        x, y = shown.x[shown.here], shown.y[shown.here]
        axes.plot([x], [y], color=LIGHT["mark"], marker="o", markersize=4, label="_here")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color=LIGHT["line"], linewidth=THIN)
    _numbers(axes.xaxis)
    _numbers(axes.yaxis)


def table(figure: Figure, shown: Table) -> None:
    """Measures at a checkpoint next to their baselines. Raises TdwError where the columns do not fit."""
    axes = figure.add_subplot()
    axes.set_axis_off()
    rows = len(shown.columns[0]) + 1
    axes.set_ylim(rows, 0)
    whole = figure.get_size_inches()[0] * figure.dpi
    gap = 0.8 * FONT_SIZE / 72 * figure.dpi
    at, placed = 0.0, []
    for number, (head, column) in enumerate(zip(shown.head, shown.columns, strict=True)):
        cells = [
            axes.text(0, row + 0.5, text(words), ha="left" if number == 0 else "right", va="center")
            for row, words in enumerate((head, *column))
        ]
        cells[0].set_color(LIGHT["muted"])
        wide = max(cell.get_window_extent().width for cell in cells)
        placed.append((cells, at if number == 0 else at + wide))
        at += wide + gap
    if at - gap > whole:
        raise TdwError(
            f"this table is {math.ceil((at - gap) / figure.dpi * INCH)} mm wide, and the figure {whole / figure.dpi * INCH:.0f} mm: "
            "choose a wider one (width_mm=, --width)."
        )
    axes.set_xlim(0, whole)
    for cells, x in placed:
        for cell in cells:
            cell.set_x(x)
    axes.axhline(1, color=LIGHT["muted"], linewidth=THIN)
