"""The view "Losses": of the network, restricted to the key frequencies, and with key frequencies excluded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import parts
from tdw.panels.parts import LOSS
from tdw.panels.registry import panel
from tdw.panels.spec import BarsSpec, BarsView, ColorScale, CurveSpec, GridSpec, GridView, Line, Quantity, Reference

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Losses"
NO_KEYS = "No rule finds a key frequency at any checkpoint."
RIGHT = 112  # margin for the names of lines
FULL, RESTRICTED, TOGETHER, ALONE = (
    "analysis/loss/loss",
    "analysis/restricted_loss/loss",
    "analysis/excluded_loss/together",
    "analysis/excluded_loss/alone",
)
RESTRICTED_AXES = ("keys", "rule", "variant", "side")


@panel(CurveSpec, view=VIEW, title="Progress losses", analysis="restricted_loss")
def progress_losses(project: Project) -> CurveSpec:
    """The loss of the network, restricted to its key frequencies, and (on train pairs) with them excluded."""
    lines = (
        Line(array=FULL, axes=("side",), label="full", color="series-6"),
        Line(array=RESTRICTED, axes=RESTRICTED_AXES, label="restricted", color="series-0"),
        Line(array=TOGETHER, axes=("keys", "rule"), label="excluded, train", color="series-1"),
    )
    return CurveSpec(
        choices={
            "side": parts.sides(project),
            "variant": parts.variants(project),
            "rule": parts.rules(project),
            "keys": parts.key_sets(),
        },
        quantities=(Quantity(title="Progress losses", axis=LOSS, scale="log", lines=lines),),
        right=RIGHT,
    )


@panel(CurveSpec, view=VIEW, title="Restricted loss", analysis="restricted_loss")
def restricted_loss(project: Project) -> CurveSpec:
    """The loss restricted to the key frequencies, by every variant (or rule, key set, side) side by side."""
    line = Line(array=RESTRICTED, axes=RESTRICTED_AXES)
    return CurveSpec(
        choices={
            "variant": parts.variants(project),
            "rule": parts.rules(project),
            "keys": parts.key_sets(),
            "side": parts.sides(project),
        },
        compare=("variant", "rule", "keys", "side"),
        quantities=(Quantity(title="Restricted loss", axis=LOSS, scale="log", lines=(line,)),),
        right=RIGHT,
        empty=parts.empty_without_split(project),
    )


@panel(BarsSpec, view=VIEW, title="Excluded loss", analysis="excluded_loss", split=True)
def excluded_loss(_project: Project) -> BarsSpec:
    """Train loss with each frequency excluded alone, for those that are key frequencies by any rule."""
    view = BarsView(
        title="Each frequency excluded alone",
        quantity="train loss without it",
        value_label="loss without it",
        y_title="train loss without k (nats)",
        array=ALONE,
        axis="frequency",
        scale="log",
        reference=Reference(array=FULL, at=1, label="full"),
        missing="not a key frequency by any rule",
    )
    return BarsSpec(views=(view,), empty=NO_KEYS)


@panel(GridSpec, view=VIEW, title="Excluded loss over training", analysis="excluded_loss", split=True)
def excluded_history(_project: Project) -> GridSpec:
    """Train loss with each frequency excluded alone, at every checkpoint."""
    view = GridView(
        title="Each frequency excluded alone",
        array=ALONE,
        axes=("y",),
        y="frequency",
        x="checkpoint",
        scale=ColorScale(type="log"),
        quantity="train loss without it",
        value_label="loss without it",
        value_title="train loss without k (nats)",
    )
    return GridSpec(views=(view,), empty=NO_KEYS, right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Softmax collapse", analysis="softmax_collapse")
def softmax_collapse(project: Project) -> CurveSpec:
    """Share of pairs whose loss is exactly 0 in float32."""
    stored = "analysis/softmax_collapse/share"
    lines = (
        Line(array=stored, axes=(1,), label="train", color="train"),
        Line(array=stored, axes=(2,), label="test", color="test"),
    )
    quantity = Quantity(
        title="Softmax collapse", axis="share of pairs", unit="share of pairs", range=(0, 1), lines=lines
    )
    return CurveSpec(quantities=(quantity,), empty=parts.empty_without_split(project))
