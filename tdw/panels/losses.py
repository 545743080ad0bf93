"""The view "Losses": of the network, of what the key frequencies alone give, and of what is left without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import spec
from tdw.panels.registry import declared
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

GROUP = "Losses"
NO_KEYS = "No frequency is a key one by any rule at any checkpoint."
RIGHT = 112  # margin in which names of lines stand
RESTRICTED, TOGETHER, ALONE = (
    "analysis/restricted_loss/loss",
    "analysis/excluded_loss/together",
    "analysis/excluded_loss/alone",
)


@declared(group=GROUP, place=1, title="Losses compared", kind="curve", analysis="restricted_loss")
def progress_losses(project: Project) -> Spec:
    """The loss of the network, restricted to its key frequencies, and (on train pairs) without them."""
    lines = [
        {"array": "analysis/loss/loss", "axes": ["side"], "label": "full", "color": "series-6"},
        {"array": RESTRICTED, "axes": ["keys", "rule", "variant", "side"], "label": "restricted", "color": "series-0"},
        {"array": TOGETHER, "axes": ["keys", "rule"], "label": "excluded, train", "color": "series-1"},
    ]
    return spec.described(
        choices={
            "side": spec.sides(project),
            "variant": spec.variants(project),
            "rule": spec.rules(project),
            "keys": spec.key_sets(),
        },
        quantities=[{"title": "Losses compared", "unit": "", "scale": "log", "lines": lines}],
        right=RIGHT,
    )


@declared(group=GROUP, place=2, title="Restricted loss", kind="curve", analysis="restricted_loss")
def restricted_loss(project: Project) -> Spec:
    """The loss restricted to the key frequencies, by every variant side by side (or every rule, or both key sets)."""
    line = {"array": RESTRICTED, "axes": ["keys", "rule", "variant", "side"], "label": "", "color": "series-0"}
    return spec.described(
        choices={
            "variant": spec.variants(project),
            "rule": spec.rules(project),
            "keys": spec.key_sets(),
            "side": spec.sides(project),
        },
        compare=["variant", "rule", "keys", "side"],
        quantities=[{"title": "Restricted loss", "unit": "", "scale": "log", "lines": [line]}],
        right=RIGHT,
        **spec.without_split(project),
    )


@declared(group=GROUP, place=3, title="Excluded loss", kind="bars", analysis="excluded_loss", split=True)
def excluded_loss(_project: Project) -> Spec:
    """Train loss without each frequency alone, for those that are key ones by any rule."""
    view = {
        "title": "Without each frequency alone",
        "quantity": "train loss without it",
        "of": "loss without it",
        "array": ALONE,
        "axis": "frequency",
        "scale": "log",
        "threshold": None,
        "reference": {"array": "analysis/loss/loss", "at": 1, "label": "full"},
        "gap": "no key frequency by any rule",
    }
    return spec.described(views=[view], without=NO_KEYS)


@declared(group=GROUP, place=4, title="Excluded loss over training", kind="grid", analysis="excluded_loss", split=True)
def excluded_history(_project: Project) -> Spec:
    """Train loss without each frequency alone at every checkpoint."""
    view = {
        "title": "Without each frequency alone",
        "array": ALONE,
        "axes": ["y"],
        "y": "frequency",
        "x": "checkpoint",
        "scale": {"type": "log"},
        "quantity": "train loss without it",
        "of": "loss without it",
    }
    return spec.described(views=[view], without=NO_KEYS, right=RIGHT)
