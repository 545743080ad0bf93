"""The view "Weights": where they go, how fast, how large and how wide they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.network.parameters import shapes
from tdw.panels import spec
from tdw.panels.registry import declared
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

GROUP = "Weights"
RIGHT = 60  # margin in which names of lines stand
PLANES = ((0, 1), (0, 2), (1, 2))


def short(name: str) -> str:
    """A weight's name without what goes before its last point: `blocks.0.attn.W_Q` is `W_Q`."""
    return name.rsplit(".", 1)[-1]


@declared(group=GROUP, place=1, title="Weight trajectory", kind="path", analysis="weight_trajectory")
def weight_trajectory(project: Project) -> Spec:
    """The weights' path in the plane of two of their principal components over the checkpoints."""
    return spec.described(
        choices={
            "group": spec.choice("Weights", spec.names(project, "weight_trajectory", "groups")),
            "plane": spec.choice("Components", [f"{u + 1} and {v + 1}" for u, v in PLANES]),
        },
        planes=[list(plane) for plane in PLANES],
        position="analysis/weight_trajectory/position",
        explained="analysis/weight_trajectory/explained",
    )


@declared(group=GROUP, place=2, title="Weight speed", kind="curve", analysis="weight_trajectory")
def weight_speed(_project: Project) -> Spec:
    """Distance that all weights move per epoch, since the checkpoint before."""
    line = {"array": "analysis/weight_trajectory/speed", "whole": True, "label": "‖Δθ‖", "color": "series-0"}
    quantity = {"title": "Weight speed", "unit": "per epoch", "scale": "log", "lines": [line]}
    without = "Speed is measured from one checkpoint to the next; this run has kept only one."
    return spec.described(quantities=[quantity], without=without, right=RIGHT)


@declared(group=GROUP, place=3, title="Weight norms", kind="curve", analysis="weight_norms")
def weight_norms(project: Project) -> Spec:
    """Sum of squares of each weight, and of all."""
    total = {"array": "analysis/weight_norms/total", "label": "all", "color": "ink"}
    tensors = [
        {
            "array": "analysis/weight_norms/squares",
            "axes": [i],
            "label": short(name),
            "color": f"series-{i % 10}",
        }
        for i, name in enumerate(shapes(project.config))
    ]
    quantity = {"title": "Weight norms", "unit": "Σθ²", "scale": "log", "lines": [total, *tensors]}
    return spec.described(quantities=[quantity], right=RIGHT)


@declared(group=GROUP, place=4, title="Effective dimension", kind="curve", analysis="effective_dimension")
def effective_dimension(project: Project) -> Spec:
    """Participation ratio of each matrix's singular values."""
    found = [(i, name) for i, (name, shape) in enumerate(shapes(project.config).items()) if len(shape) > 1]
    lines = [
        {
            "array": "analysis/effective_dimension/dimension",
            "axes": [row],
            "label": short(name),
            "color": f"series-{i % 10}",
        }
        for row, (i, name) in enumerate(found)
    ]
    quantity = {"title": "Effective dimension", "unit": "(Σs²)² / Σs⁴", "scale": "log", "lines": lines}
    return spec.described(quantities=[quantity], right=RIGHT)
