"""The view "Weights": their trajectory, speed, norms, effective dimension and stable rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
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


def short(names: Iterable[str]) -> list[str]:
    """The last part of each weight's name, after its layer where several layers have one of that name.

    >>> short(["embed.W_E", "blocks.0.mlp.W_in"]), short(["embed.W_E", "blocks.0.mlp.W_in", "blocks.1.mlp.W_in"])
    (['W_E', 'W_in'], ['W_E', '0.W_in', '1.W_in'])
    """
    split = [name.split(".") for name in names]
    count = Counter(path[-1] for path in split)
    return [path[-1] if count[path[-1]] == 1 else f"{path[1]}.{path[-1]}" for path in split]


def lines_of_matrices(project: Project, array: str) -> tuple[Line, ...]:
    """One line for each weight matrix, in the color that it has among the weight norms."""
    tensors = shapes(project.config)
    named = enumerate(zip(short(tensors), tensors.values(), strict=True))
    matrices = [(i, name) for i, (name, shape) in named if len(shape) > 1]
    return tuple(
        Line(array=array, axes=(row,), label=name, color=f"series-{i % 10}") for row, (i, name) in enumerate(matrices)
    )


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
    quantity = Quantity(title="Weight speed", axis="‖Δθ‖ per epoch", unit="per epoch", scale="log", lines=(line,))
    empty = "Speed is measured between successive checkpoints; this run has only one."
    return CurveSpec(quantities=(quantity,), empty=empty, right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Weight norms", analysis="weight_norms")
def weight_norms(project: Project) -> CurveSpec:
    """Sum of squares of each weight tensor, and of all."""
    total = Line(array="analysis/weight_norms/total", label="all", color="ink")
    tensors = (
        Line(array="analysis/weight_norms/squares", axes=(i,), label=name, color=f"series-{i % 10}")
        for i, name in enumerate(short(shapes(project.config)))
    )
    quantity = Quantity(title="Weight norms", axis="squared norm Σθ²", unit="Σθ²", scale="log", lines=(total, *tensors))
    return CurveSpec(quantities=(quantity,), right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Effective dimension", analysis="effective_dimension")
def effective_dimension(project: Project) -> CurveSpec:
    """Participation ratio of each matrix's singular values."""
    lines = lines_of_matrices(project, "analysis/effective_dimension/dimension")
    quantity = Quantity(
        title="Effective dimension",
        axis="effective dimension (Σs²)² / Σs⁴",
        unit="(Σs²)² / Σs⁴",
        scale="log",
        lines=lines,
    )
    return CurveSpec(quantities=(quantity,), right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Stable rank", analysis="stable_rank")
def stable_rank(project: Project) -> CurveSpec:
    """Sum of squares of each matrix's singular values, relative to the square of the largest."""
    lines = lines_of_matrices(project, "analysis/stable_rank/rank")
    quantity = Quantity(
        title="Stable rank", axis="stable rank Σs² / max s²", unit="Σs² / max s²", scale="log", lines=lines
    )
    return CurveSpec(quantities=(quantity,), right=RIGHT)
