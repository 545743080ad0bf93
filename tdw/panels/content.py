"""What a panel shows of a run at an epoch: numbers, words and colors, before a library draws them.

`content(project, spec, epoch)` reads them once for every way of drawing: Plotly (`plotly_figures`), matplotlib
(`matplotlib_figures`) and tables of numbers (`csv_tables`). Text is plain, and is escaped where it is drawn. Of views, quantities and
comparisons the first is drawn, see `selection.chosen`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tdw.analyses import fourier, summary
from tdw.errors import AnalysisNotFoundError
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
from tdw.text_format import percent, short, span

if TYPE_CHECKING:
    from tdw.panels.reductions import Array
    from tdw.project.project import Project

DECADES = 4  # that a log color scale shows below its largest number
MAPS = 3  # neurons that a figure of maps shows
EPOCH = "epoch"


@dataclass(frozen=True, kw_only=True)
class DrawnLine:
    """A line: its name, its color, and its points (point), also those that the axis has no place for, of which `off` says
    what they are ("" for others), see `off_scale.kinds`.
    """

    name: str
    color: str
    x: Array
    y: Array
    off: Array


@dataclass(frozen=True, kw_only=True)
class DrawnBand:
    """A range behind lines; a level where low equals high."""

    label: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Lines over epochs."""

    lines: tuple[DrawnLine, ...]
    bands: tuple[DrawnBand, ...]
    y_title: str
    is_log: bool
    y_range: tuple[float | None, float | None] | None
    x_title: str = EPOCH


@dataclass(frozen=True, kw_only=True)
class Bars:
    """One bar for each name; `colored` ones stand out. `level`: the threshold; `reference`: a level and its name."""

    names: tuple[str, ...]
    heights: Array
    colored: Array
    level: float | None
    reference: tuple[float, str] | None
    is_log: bool
    x_title: str
    y_title: str
    missing: str
    ends: tuple[float, float] | None = None  # of the axis, where it is to be the same at every checkpoint


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A table (y, x) as colors between `low` and `high` (None: the largest). `x` are epochs where `is_history`.

    `value_names`: names of the numbers 0 and 1, where there are no others. `is_log`: numbers are powers of ten.
    """

    values: Array
    x: tuple[Any, ...]
    y: tuple[Any, ...]
    x_title: str
    y_title: str
    value_title: str
    low: float
    high: float | None
    is_signed: bool = False
    is_log: bool = False
    is_history: bool = False
    is_downward: bool = False
    is_square: bool = False
    shows_values: bool = False
    value_names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Activation (neuron, a, b) of a few neurons on every pair; a runs downward. `tops`: the ends of their colors."""

    neurons: tuple[int, ...]
    activations: tuple[Array, ...]
    tops: tuple[float, ...]
    x_title: str = "b"
    y_title: str = "a"
    value_title: str = "activation"


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Named intervals of epochs; None where nothing happened. `last`: the last epoch of the run."""

    rows: tuple[tuple[str, int | None, int | None], ...]
    last: int
    x_title: str = EPOCH


@dataclass(frozen=True, kw_only=True)
class Path:
    """The checkpoints as points in a plane; `here`: the index of the epoch's, where it is one."""

    x: Array
    y: Array
    epochs: tuple[int, ...]
    here: int | None
    x_title: str
    y_title: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of text under their heads, and the numbers behind them (None for the first column)."""

    head: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    numbers: tuple[tuple[str, Array], ...]


Content: TypeAlias = Curves | Bars | Heat | Maps | Spans | Path | Table


def heading(spec: Spec, title: str) -> str:
    """The title of a panel, or of the view that is drawn where it has one of its own."""
    match spec:
        case GridSpec():
            return spec.views[0].heading or title
        case CurveSpec() if len(spec.quantities) > 1:
            return spec.quantities[0].title
    return title


def content(project: Project, spec: Spec, epoch: int, *, neurons_at: int | None = None) -> Content:
    """What a description shows at an epoch. neurons_at: the epoch that decides which neurons' maps are shown, for None this one

    Raises AnalysisNotFoundError or ProjectError where it is not analyzed.
    """
    match spec:
        case CurveSpec():
            return _curves(project, spec, epoch)
        case BarsSpec():
            return _bars(project, spec, epoch)
        case GridSpec():
            return _grid(project, spec, epoch)
        case ImageSpec():
            return _image(project, spec, epoch)
        case MapsSpec():
            return _maps(project, spec, epoch, epoch if neurons_at is None else neurons_at)
        case SpansSpec():
            return _spans(project, spec, epoch)
        case PathSpec():
            return _path(project, spec, epoch)
        case TableSpec():
            return _table(project, spec, epoch)


def names_along(axis: str | tuple[str, ...], project: Project) -> tuple[str, ...]:
    """The names along an axis of a description."""
    config = project.config
    if isinstance(axis, tuple):
        return axis
    if axis == "component":
        return tuple(fourier.component_names(config.order))
    sizes = {"frequency": config.frequencies, "operand": config.p, "head": config.heads}
    first, prefix = (1 if axis == "frequency" else 0), ("head " if axis == "head" else "")
    return tuple(f"{prefix}{i + first}" for i in range(sizes[axis]))


def _curves(project: Project, spec: CurveSpec, epoch: int) -> Curves:
    quantity = spec.quantities[0]
    lines = []
    for line in (one for declared in quantity.lines for one in selection.expanded(declared, spec)):
        if is_stored(project, line.array):
            x, y = selection.values(project, line, spec)
            name, color = line.label or quantity.title, theme.color(line.color)
            y = np.asarray(y)
            off = off_scale.kinds(y, is_log=quantity.scale == "log", is_curve=selection.is_curve(line))
            lines.append(DrawnLine(name=name, color=color, x=x, y=y, off=np.array(off)))
    bands = []
    for band in quantity.bands:
        low, high = _limits(project, band, epoch)
        if np.isfinite(low):
            bands.append(DrawnBand(label=band.label, low=low, high=high))
    return Curves(
        lines=tuple(lines),
        bands=tuple(bands),
        y_title=quantity.axis,
        is_log=quantity.scale == "log",
        y_range=quantity.range,
    )


def _limits(project: Project, band: Band, epoch: int) -> tuple[float, float]:
    """Least low and greatest high of a band; NaN where it is not stored."""
    if band.value is not None:
        return band.value, band.value
    if not is_stored(project, band.array):
        return np.nan, np.nan
    ranges = row_of(project, band.array, epoch)[list(band.rows)]
    return float(ranges[:, 0].min()), float(ranges[:, 2].max())


@dataclass(frozen=True, kw_only=True)
class OffScale:
    """Where the axis has no place for numbers of a line: points (point) at the foot or the top of the plot, joined to their
    neighbors; NaN between parts. `said`: the number of each point where it is off the scale; `symbols`: the mark of each;
    `starts`: where a stretch begins.
    """

    line: DrawnLine
    x: Array
    y: Array
    said: tuple[str, ...]
    symbols: tuple[str, ...]
    starts: Array
    words: tuple[
        tuple[int, float, str, Literal["top", "bottom"], int], ...
    ]  # x, y, text, edge, lines of text before it


def on_scale(line: DrawnLine) -> Array:
    """The numbers of a line that the axis has a place for; NaN for others."""
    there: Array = np.where(line.off == "", line.y, np.nan)
    return there


def off_scale_parts(lines: tuple[DrawnLine, ...], *, is_log: bool) -> list[OffScale]:
    """What is dotted at the foot or the top of the plot, of each line that has numbers off the scale."""
    inside = [line.y[(line.off == "") & ~np.isnan(line.y)] for line in lines]
    ends = [end for part in inside if part.size for end in (part.min(), part.max())] or [0.1, 1.0]
    low, high = (np.log10(end) if is_log else float(end) for end in (min(ends), max(ends)))
    room = 0.05 * (high - low) or 0.05
    foot, top = (10**end if is_log else end for end in (low - room, high + room))
    lines_of_text = {"top": 0, "bottom": 0}  # where words stand of their points: one above the other
    parts = []
    for line in lines:
        off = line.off
        found = off_scale.stretches(off.tolist())
        if not found:
            continue
        points = off_scale.with_neighbors(off.tolist())
        is_top = np.isin(off, off_scale.TOP)
        shown = np.where(off == "", line.y, np.where(is_top, top, foot))
        starts = {stretch.first for stretch in found}
        words = []
        for stretch in off_scale.named(found):
            edge: Literal["top", "bottom"] = "bottom" if is_top[stretch.first] else "top"
            text = f"{line.name} {stretch.words(line.x)}"
            words.append((int(line.x[stretch.first]), float(shown[stretch.first]), text, edge, lines_of_text[edge]))
            lines_of_text[edge] += 1
        parts.append(
            OffScale(
                line=line,
                x=np.array([np.nan if i is None else line.x[i] for i in points]),
                y=np.array([np.nan if i is None else shown[i] for i in points]),
                said=tuple("" if i is None else str(off[i]) or short(float(line.y[i])) for i in points),
                symbols=tuple(off_scale.symbol("" if i is None else str(off[i])) for i in points),
                starts=np.array([i in starts for i in points]),
                words=tuple(words),
            )
        )
    return parts


def _bars(project: Project, spec: BarsSpec, epoch: int) -> Bars:
    view = spec.views[0]
    heights = row_of(project, view.array, epoch)
    level = _threshold(project, view)
    colored = np.ones(len(heights), bool) if level is None else heights >= level
    if view.axis == "component":
        colored[0] = False  # the constant is not a frequency
    reference = None
    if view.reference is not None and is_stored(project, view.reference.array):
        compared = float(row_of(project, view.reference.array, epoch)[view.reference.at])
        reference = (compared, view.reference.label) if np.isfinite(compared) else None
    return Bars(
        names=names_along(view.axis, project),
        heights=heights,
        colored=colored,
        level=level,
        reference=reference,
        is_log=view.scale == "log",
        x_title=view.x_title,
        y_title=view.y_title,
        missing=view.missing,
    )


def _threshold(project: Project, view: BarsView) -> float | None:
    """Where the threshold of bars starts."""
    if view.threshold is None:
        return None
    if view.threshold.of_largest is None:
        return view.threshold.value
    last = project.series(view.array)[-1]
    return float(view.threshold.of_largest * last[1 if view.axis == "component" else 0 :].max())


def _grid(project: Project, spec: GridSpec, epoch: int) -> Heat:
    view = spec.views[0]
    x: tuple[Any, ...]
    index = selection.places(view.axes, spec)
    if not is_stored(project, view.array):
        raise AnalysisNotFoundError(project.path, analysis_of(view.array), project.analyses())
    if view.x == "checkpoint":
        table = project.series(view.array)[:, *index].T
        x = tuple(project.series(f"analysis/{analysis_of(view.array)}/epoch").tolist())
    else:
        x = names_along(view.x, project)
        row = row_of(project, view.array, epoch)
        if view.packed:
            sides = [len(names_along(view.y, project)), len(x)]
            row = np.unpackbits(row, count=sides[0] * sides[1]).reshape(sides)
        table = row[index]
        if view.axes.index("x") < view.axes.index("y"):
            table = table.T
    values, low, high = _scaled(np.asarray(table, float), view)
    return Heat(
        values=values,
        x=x,
        y=names_along(view.y, project),
        x_title=view.x_title,
        y_title=view.y_title,
        value_title=view.value_title,
        low=low,
        high=high,
        is_signed=view.scale.signed,
        is_log=view.scale.type == "log",
        is_history=view.x == "checkpoint",
        is_downward=view.downward,
        is_square=view.square,
        shows_values=view.show_values,
        value_names=view.value_names,
    )


def _scaled(values: Array, view: GridView) -> tuple[Array, float, float | None]:
    """Numbers as a heat map shows them, and the ends of its colors."""
    scale = view.scale
    low, high = 0.0, None
    if scale.type == "epochs":
        values = np.where(values < 0, np.nan, values)
    elif scale.type == "log":
        top = np.nanmax(values, initial=1e-300)
        values = np.log10(np.maximum(values, top / 10**DECADES))
        low = float(np.log10(top)) - DECADES
    elif scale.signed:
        high = float(np.nanmax(np.abs(values), initial=1e-300))
        low = -high
    return values, low, high if scale.top is None else scale.top


def _image(project: Project, spec: ImageSpec, epoch: int) -> Heat:
    share = row_of(project, spec.array, epoch)
    order = cluster_order(project, spec)
    return Heat(
        values=share[:, order],
        x=tuple(str(neuron) for neuron in order),
        y=tuple(range(1, len(share) + 1)),
        x_title=spec.x_title,
        y_title=spec.y_title,
        value_title=spec.quantity,
        low=0,
        high=1,
    )


def cluster_order(project: Project, spec: ImageSpec) -> Array:
    """Neurons by their final cluster, those in none last, the highest share first; by index where there are no clusters."""
    last = project.series(spec.array)[-1]
    if not is_stored(project, spec.cluster.array):
        return np.arange(last.shape[1])
    cluster = project.series(spec.cluster.array)[-1]
    return np.lexsort((-last.max(axis=0), np.where(cluster > 0, cluster, np.inf)))


def _maps(project: Project, spec: MapsSpec, epoch: int, chosen_at: int) -> Maps:
    """Activation maps of a few neurons, of different frequencies where they are analyzed."""
    neurons = tuple(_typical_neurons(project, spec, chosen_at))
    activations = tuple(project.neuron_map(epoch, neuron) for neuron in neurons)
    tops = tuple(float(activation.max(initial=0)) or 1.0 for activation in activations)
    return Maps(neurons=neurons, activations=activations, tops=tops)


def _typical_neurons(project: Project, spec: MapsSpec, epoch: int) -> list[int]:
    """A few neurons to show: the highest share of each frequency, highest first; the first ones where not analyzed."""
    if not has_row(project, analysis_of(spec.summary.share), epoch):
        return list(range(min(MAPS, project.config.d_mlp)))
    frequency, share = (row_of(project, name, epoch) for name in (spec.summary.frequency, spec.summary.share))
    best: dict[int, int] = {}
    for neuron in np.argsort(-share, kind="stable"):
        if frequency[neuron] > 0:
            best.setdefault(int(frequency[neuron]), int(neuron))
    return list(best.values())[:MAPS] or [0]


def _spans(project: Project, spec: SpansSpec, epoch: int) -> Spans:
    rows: list[tuple[str, int | None, int | None]] = []
    if spec.frequencies is not None:
        first, last = (row_of(project, name, epoch) for name in (spec.frequencies.first, spec.frequencies.last))
        rows += [(f"k = {k + 1}", int(first[k]), int(last[k])) for k in np.argsort(first) if first[k] >= 0]
    else:
        for event in summary.events(project):
            if event.first is None:
                rows.append((f"{event.label}: {event.missing}", None, None))
            else:
                rows.append((event.label, event.first[1], (event.last or event.first)[1]))
    return Spans(rows=tuple(rows), last=max(len(project.epochs) - 1, 0))


def _path(project: Project, spec: PathSpec, epoch: int) -> Path:
    group, plane = spec.choices["group"].chosen, spec.choices["plane"].chosen
    u, v = spec.planes[plane]
    position = row_of(project, spec.position, epoch)[group]
    explained = row_of(project, spec.explained, epoch)[group]
    epochs = project.checkpoints[: len(position)]
    x_title, y_title = (f"component {part + 1} ({percent(float(explained[part]))} of the variance)" for part in (u, v))
    return Path(
        x=position[:, u],
        y=position[:, v],
        epochs=tuple(epochs),
        here=epochs.index(epoch) if epoch in epochs else None,
        x_title=x_title,
        y_title=y_title,
    )


def _table(project: Project, spec: TableSpec, epoch: int) -> Table:
    values = row_of(project, spec.value, epoch)
    rows = [row.row for row in spec.rows]
    columns = [tuple(row.label for row in spec.rows), tuple(short(float(values[row])) for row in rows)]
    head = ["", "now"]
    numbers = [("now", values[rows])]
    for item in spec.baselines:
        if not item.band or not has_row(project, item.analysis, epoch):
            continue
        bands, p = row_of(project, item.band, epoch), row_of(project, item.p, epoch)
        columns.append(tuple(span(short(float(bands[row][0])), short(float(bands[row][2]))) for row in rows))
        columns.append(tuple(short(float(p[row])) for row in rows))
        head += [item.label, "p"]
        numbers += [(f"{item.label}, {end}", bands[rows, at]) for at, end in enumerate(("low", "median", "high"))]
        numbers.append((f"{item.label}, p", p[rows]))
    return Table(head=tuple(head), columns=tuple(columns), numbers=tuple(numbers))
