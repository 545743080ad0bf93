"""The view "Algorithm": measures that distinguish how a network may compute its answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tdw.panels import parts
from tdw.panels.reductions import reduced
from tdw.panels.registry import panel
from tdw.panels.spec import Band, CurveSpec, Line, Quantity

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Algorithm"
RIGHT = 84  # margin for the names of lines


@panel(CurveSpec, view=VIEW, title="Distance irrelevance", analysis="distance_irrelevance")
def distance_irrelevance(_project: Project) -> CurveSpec:
    """How much the correct logit depends on a + b alone rather than on a − b: low for a pizza, high for a clock."""
    quantity = Quantity(
        title="Distance irrelevance",
        axis="distance irrelevance",
        unit="pizza 0 … 1 clock",
        range=(0, 1),
        lines=(Line(array="analysis/distance_irrelevance/value"),),
    )
    return CurveSpec(quantities=(quantity,), right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Gradient symmetricity", analysis="gradient_symmetricity")
def gradient_symmetricity(_project: Project) -> CurveSpec:
    """Cosine between the gradients of a logit with respect to the embeddings of a and of b."""
    value, error = (Line(array=f"analysis/gradient_symmetricity/{name}") for name in ("value", "error"))
    quantities = (
        Quantity(title="Gradient symmetricity", axis="cosine", range=(None, 1), lines=(value,)),
        Quantity(title="Standard error of gradient symmetricity", axis="standard error of the cosine", lines=(error,)),
    )
    return CurveSpec(quantities=quantities, right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Margin", analysis="margin")
def margin(project: Project) -> CurveSpec:
    """Correct logit minus the largest incorrect one: minimum over all pairs, a low quantile, mean."""
    part = parts.fraction(project, "margin", "quantile")
    lines = (
        Line(array="analysis/margin/mean", label="mean", color="series-0"),
        Line(array="analysis/margin/quantile", label=f"{100 * part:g} %", color="series-1"),
        Line(array="analysis/margin/minimum", label="minimum", color="series-6"),
    )
    return CurveSpec(quantities=(Quantity(title="Margin", axis="margin (logits)", lines=lines),), right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Phase alignment", analysis="phase_alignment")
def phase_alignment(_project: Project) -> CurveSpec:
    """Mean and median |sin(ψ − φ_a − φ_b)| over the active neurons: 0 where output phases follow from input phases."""
    stored = "analysis/phase_alignment"
    quantity = Quantity(
        title="Phase alignment",
        axis="|sin(ψ − φ_a − φ_b)|",
        unit="|sin(ψ − φ_a − φ_b)|",
        range=(0, 1),
        lines=(
            Line(array=f"{stored}/misalignment", label="mean", color="series-0"),
            Line(array=reduced("median", f"{stored}/neuron"), label="median", color="series-1"),
        ),
        bands=(Band(label="by chance", value=2 / math.pi),),
    )
    return CurveSpec(quantities=(quantity,), right=RIGHT)
