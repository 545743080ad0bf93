"""The view "Weights": their trajectory, speed, norms and effective dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.network.parameters import shapes
from tdw.panels import parts
from tdw.panels.registry import panel
from tdw.panels.spec import Choice, CurveSpec, Line, PathSpec, Quantity

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Weights"
RIGHT = 60  # margin for the names of lines
PLANES = ((0, 1), (0, 2), (1, 2))


def short(name: str) -> str:
    """The last part of a weight's name: `blocks.0.attn.W_Q` is `W_Q`."""
    return name.rsplit(".", 1)[-1]


@panel(PathSpec, view=VIEW, title="Weight trajectory", analysis="weight_trajectory")
def weight_trajectory(project: Project) -> PathSpec:
    """The weights' path in the plane of two of their principal components over the checkpoints."""
    return PathSpec(
        choices={
            "group": Choice(title="Weights", options=parts.names(project, "weight_trajectory", "groups")),
            "plane": Choice(title="Components", options=tuple(f"{u + 1} and {v + 1}" for u, v in PLANES)),
        },
        planes=PLANES,
        position="analysis/weight_trajectory/position",
        explained="analysis/weight_trajectory/explained",
    )


@panel(CurveSpec, view=VIEW, title="Weight speed", analysis="weight_trajectory")
def weight_speed(_project: Project) -> CurveSpec:
    """Distance that all weights move per epoch, since the previous checkpoint."""
    line = Line(array="analysis/weight_trajectory/speed", whole=True, label="‖Δθ‖")
    quantity = Quantity(title="Weight speed", unit="per epoch", scale="log", lines=(line,))
    empty = "Speed is measured between successive checkpoints; this run has only one."
    return CurveSpec(quantities=(quantity,), empty=empty, right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Weight norms", analysis="weight_norms")
def weight_norms(project: Project) -> CurveSpec:
    """Sum of squares of each weight tensor, and of all."""
    total = Line(array="analysis/weight_norms/total", label="all", color="ink")
    tensors = (
        Line(array="analysis/weight_norms/squares", axes=(i,), label=short(name), color=f"series-{i % 10}")
        for i, name in enumerate(shapes(project.config))
    )
    quantity = Quantity(title="Weight norms", unit="Σθ²", scale="log", lines=(total, *tensors))
    return CurveSpec(quantities=(quantity,), right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Effective dimension", analysis="effective_dimension")
def effective_dimension(project: Project) -> CurveSpec:
    """Participation ratio of each matrix's singular values."""
    matrices = [(i, name) for i, (name, shape) in enumerate(shapes(project.config).items()) if len(shape) > 1]
    stored = "analysis/effective_dimension/dimension"
    lines = tuple(
        Line(array=stored, axes=(row,), label=short(name), color=f"series-{i % 10}")
        for row, (i, name) in enumerate(matrices)
    )
    quantity = Quantity(title="Effective dimension", unit="(Σs²)² / Σs⁴", scale="log", lines=lines)
    return CurveSpec(quantities=(quantity,), right=RIGHT)
