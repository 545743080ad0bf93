"""What a panel's description is made of: frozen dataclasses, one per kind of panel, that turn into JSON.

The page and `run.figure` draw from the same description and from the arrays it names. An array name is one of
`losses/SIDE` and `accuracy/SIDE` (a row per epoch), `analysis/ANALYSIS/ARRAY` (a row per analyzed checkpoint, or a single
row where the analysis covers the whole run), or `reduced/…` (see `tdw.panels.reductions`).

`axes` says, for each axis of an array after its rows, what is drawn of it: an index, the name of one of the panel's choices
(the index of the chosen option), or "y" or "x" (the whole axis).

Every axis has a title with its unit (`AXIS_TITLES` where a description gives none), for the page and for figures.

`tdw/viewer/panels.d.ts` declares the same types to the page; it is generated from this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Scale: TypeAlias = Literal["linear", "log"]
Kind: TypeAlias = Literal["curve", "bars", "grid", "image", "maps", "spans", "path", "table"]
Places: TypeAlias = "tuple[int | str, ...]"
NamedAxis: TypeAlias = Literal["frequency", "component", "operand", "head"]
# An axis that is not named lists the names along it.
Axis: TypeAlias = "NamedAxis | tuple[str, ...]"
AXIS_TITLES: dict[str, str] = {
    "frequency": "frequency k",
    "component": "Fourier component",
    "operand": "operand",
    "head": "head",
    "checkpoint": "epoch",
}


def axis_title(axis: Axis | str) -> str:
    """The title of an axis of a description; none for one that lists names.

    >>> axis_title("frequency"), axis_title(("a", "b", "="))
    ('frequency k', '')
    """
    return AXIS_TITLES[axis] if isinstance(axis, str) else ""


def _fill(item: object, **defaults: str | tuple[str, ...]) -> None:
    """Give a frozen dataclass these texts where it has none of its own."""
    for name, text in defaults.items():
        if not getattr(item, name):
            object.__setattr__(item, name, text)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A choice in a panel's menu, made by name. `names` are what people read instead of `options` where these are
    identifiers. Where the card says what is chosen, `prefix` comes first and `short` replaces both; `plural` is the menu's
    name for comparing all options.
    """

    title: str
    options: tuple[str, ...]
    names: tuple[str, ...] = ()
    chosen: int = 0
    short: tuple[str, ...] = ()
    prefix: str = ""
    plural: str = ""

    def __post_init__(self) -> None:
        _fill(self, names=self.options)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a curve. `whole`: the array has one row that runs over the checkpoints. `picks` fixes options of the
    panel's choices, whatever is chosen in the menu.
    """

    array: str
    label: str = ""
    color: str = "series-0"
    axes: Places = ()
    whole: bool = False
    picks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Band:
    """A range behind lines, from the least low to the greatest high of `rows` of an array (quantity, [low, median, high]);
    or a single `value`.
    """

    label: str
    array: str = ""
    rows: tuple[int, ...] = ()
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a curve shows at a time. `axis` is the title of the y axis, with its unit. An end of `range` that is None follows
    the numbers; `unit` None names the scale.
    """

    title: str
    axis: str
    lines: tuple[Line, ...]
    unit: str | None = ""
    scale: Scale = "linear"
    range: tuple[float | None, float | None] | None = None
    bands: tuple[Band, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CurveSpec:
    """Lines over epochs. Options of the choice compared first in `compare` each get a line of their own."""

    kind: ClassVar[Kind] = "curve"
    quantities: tuple[Quantity, ...]
    choices: Mapping[str, Choice] = field(default_factory=dict)
    compare: tuple[str, ...] = ()
    right: int = 38  # margin for the names of lines, in pixels
    empty: str = ""  # shown where every checkpoint lacks a number


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Where a threshold starts: at a value, or at a part of the largest bar (constant excepted) at the last checkpoint."""

    value: float | None = None
    of_largest: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A line that bars are compared with: one column of an array."""

    array: str
    at: int
    label: str


@dataclass(frozen=True, kw_only=True)
class BarsView:
    """One set of bars. `value_label` names a bar's number, `y_title` its axis; `missing` explains NaN."""

    title: str
    quantity: str
    value_label: str
    y_title: str
    array: str
    axis: Literal["frequency", "component"]
    x_title: str = ""
    scale: Scale = "linear"
    threshold: Threshold | None = None
    reference: Reference | None = None
    missing: str = ""

    def __post_init__(self) -> None:
        _fill(self, x_title=axis_title(self.axis))


@dataclass(frozen=True, kw_only=True)
class BarsSpec:
    """One bar per Fourier component or frequency at a checkpoint."""

    kind: ClassVar[Kind] = "bars"
    views: tuple[BarsView, ...]
    empty: str = ""


@dataclass(frozen=True, kw_only=True)
class ColorScale:
    """How numbers become colors: from 0 (linear) or four decades below the top (log); "flags" are 0 or 1, "epochs" run
    from early to late with -1 for never. `top` None is the largest number at any checkpoint.
    """

    type: Literal["linear", "log", "flags", "epochs"] = "linear"
    top: float | None = None
    signed: bool = False


@dataclass(frozen=True, kw_only=True)
class Companion:
    """Another array with a number for each cell, shown on hover."""

    array: str
    label: str


@dataclass(frozen=True, kw_only=True)
class GridView:
    """One heat map. Its x axis is "checkpoint" where it shows training; then only `y` is an axis of the array."""

    title: str
    array: str
    axes: Places
    y: Axis
    x: Axis | Literal["checkpoint"]
    y_title: str = ""
    x_title: str = ""
    value_label: str = ""
    value_title: str = ""  # of the scale of colors, with the unit
    value_names: tuple[str, ...] = ()  # names of the values 0 and 1
    scale: ColorScale = field(default_factory=ColorScale)
    heading: str = ""  # the card's title while this view is shown
    quantity: str = ""
    reading: Literal["", "largest", "marked", "agreement", "correct", "learned"] = ""
    downward: bool = False  # the first row is at the top
    square: bool = False
    pairs: bool = False  # the axes are the operands a and b
    packed: bool = False  # one bit per cell, see numpy.packbits
    show_values: bool = False
    companion: Companion | None = None
    choices: tuple[str, ...] | None = None  # those the card names; None for all

    def __post_init__(self) -> None:
        y_title, x_title = ("a", "b") if self.pairs else (axis_title(self.y), axis_title(self.x))
        _fill(self, y_title=y_title, x_title=x_title, value_title=self.value_label)


@dataclass(frozen=True, kw_only=True)
class GridSpec:
    """A table of numbers as a heat map, at a checkpoint or over training."""

    kind: ClassVar[Kind] = "grid"
    views: tuple[GridView, ...]
    choices: Mapping[str, Choice] = field(default_factory=dict)
    left: int = 46
    right: int = 8
    empty: str = ""


@dataclass(frozen=True, kw_only=True)
class ArrayOf:
    """An array and the analysis it belongs to."""

    analysis: str
    array: str


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """Shares in 0…1 as a heat map of frequency × neuron, neurons in the order of their final cluster or their index."""

    kind: ClassVar[Kind] = "image"
    array: str
    quantity: str
    cluster: ArrayOf
    dead: ArrayOf
    threshold: float
    y_title: str = AXIS_TITLES["frequency"]
    x_title: str = "neuron, in the order of final clusters"


@dataclass(frozen=True, kw_only=True)
class NeuronSummary:
    """Arrays (checkpoint, neuron) that sort, label and scale maps of neurons."""

    frequency: str
    share: str
    variance: str
    maximum: str
    dead: str


@dataclass(frozen=True, kw_only=True)
class MapsSpec:
    """Maps of neurons' activation on every pair, computed from the weights."""

    kind: ClassVar[Kind] = "maps"
    summary: NeuronSummary


@dataclass(frozen=True, kw_only=True)
class FrequencySpans:
    """Arrays (frequency): first and last epoch at which each held neurons (-1: never), and whether it lost them again."""

    first: str
    last: str
    transient: str


@dataclass(frozen=True, kw_only=True)
class SpansSpec:
    """Named intervals of epochs, one below the other: `frequencies`, or the run's events."""

    kind: ClassVar[Kind] = "spans"
    frequencies: FrequencySpans | None = None
    left: int = 46
    right: int = 64


@dataclass(frozen=True, kw_only=True)
class PathSpec:
    """The checkpoints as points in a plane. `position` is (group, checkpoint, component), `explained` (group, component);
    the choices "group" and "plane" select from them and from `planes`.
    """

    kind: ClassVar[Kind] = "path"
    choices: Mapping[str, Choice]
    planes: tuple[tuple[int, int], ...]
    position: str
    explained: str


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A measure, and its place in the arrays of the table."""

    label: str
    about: str
    row: int


@dataclass(frozen=True, kw_only=True)
class TableBaseline:
    """What measures are under a baseline at each checkpoint: `band` (quantity, [low, median, high]) and `p` (quantity)."""

    label: str
    about: str
    analysis: str
    band: str
    p: str


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """Measures at a checkpoint, `value` (quantity), next to their baselines. Those with p-values up to `level` under every
    baseline are marked.
    """

    kind: ClassVar[Kind] = "table"
    value: str
    baselines: tuple[TableBaseline, ...]
    rows: tuple[TableRow, ...]
    level: float


Spec: TypeAlias = CurveSpec | BarsSpec | GridSpec | ImageSpec | MapsSpec | SpansSpec | PathSpec | TableSpec
ARRAY_PREFIXES = ("analysis/", "losses/", "accuracy/", "reduced/")


@dataclass(frozen=True, kw_only=True)
class State:
    """Whether what a panel shows is there; `reason` explains "stale", "outdated" and "inapplicable"."""

    status: Literal["ready", "partial", "missing", "stale", "outdated", "inapplicable"]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PanelHeader:
    """What is known of every panel. `arrays` are all that it reads; `required`: nothing is drawn without its analysis;
    `weights`: it needs a checkpoint.
    """

    name: str
    view: str
    title: str
    kind: Kind
    state: State
    analysis: str | None
    required: bool
    weights: bool
    per: str | None  # "checkpoint" or "run": what a row of the analysis covers
    arrays: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PanelDescription:
    """A panel as described for one run. `spec` is None where it does not apply to the run."""

    header: PanelHeader
    spec: Spec | None

    def to_json(self) -> dict[str, Json]:
        """Header and spec in one object."""
        return to_json(self.header) | ({} if self.spec is None else to_json(self.spec))


def to_json(value: object) -> dict[str, Json]:
    """A dataclass of this module as JSON values.

    >>> to_json(Threshold(value=0.5))
    {'value': 0.5, 'of_largest': None}
    """
    assert dataclasses.is_dataclass(value)
    return {item.name: _json(getattr(value, item.name)) for item in dataclasses.fields(value)}


def _json(value: object) -> Json:
    if isinstance(value, Mapping):
        return {str(key): _json(held) for key, held in value.items()}
    if isinstance(value, tuple):
        return [_json(held) for held in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return to_json(value)


def array_names(value: object) -> tuple[str, ...]:
    """Every array that a description names, each once, in order.

    >>> array_names(SpansSpec(frequencies=FrequencySpans(first="analysis/x/a", last="analysis/x/b", transient="")))
    ('analysis/x/a', 'analysis/x/b')
    """
    seen: dict[str, None] = {}

    def collect(part: object) -> None:
        if isinstance(part, str):
            if part.startswith(ARRAY_PREFIXES):
                seen[part] = None
        elif isinstance(part, Mapping):
            collect(tuple(part.values()))
        elif isinstance(part, tuple):
            for held in part:
                collect(held)
        elif dataclasses.is_dataclass(part):
            collect(tuple(getattr(part, item.name) for item in dataclasses.fields(part)))

    collect(value)
    return tuple(seen)
