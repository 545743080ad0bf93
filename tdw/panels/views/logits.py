"""The view "Logits": how close they are to the sum of cosines that a clock computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tdw.panels import parts
from tdw.panels.registry import panel
from tdw.panels.spec import (
    Band,
    BarsSpec,
    BarsView,
    ColorScale,
    CurveSpec,
    GridSpec,
    GridView,
    Line,
    Quantity,
    Threshold,
)

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Logits"
RIGHT = 76  # margin for the names of lines


@panel(BarsSpec, view=VIEW, title="Logit frequencies", analysis="logit_frequencies")
def logit_frequencies(project: Project) -> BarsSpec:
    """Similarity of the logits to cos(w_k(a+b−c)) for each k, or its coefficient; the threshold is the rule's."""
    stored = "analysis/logit_frequencies"
    return BarsSpec(
        views=(
            BarsView(
                title="Cosine similarity",
                quantity="similarity",
                value_label="similarity",
                y_title="cosine similarity",
                array=f"{stored}/cosine",
                axis="frequency",
                threshold=Threshold(value=parts.fraction(project, "key_frequencies", "cosine")),
            ),
            BarsView(
                title="Coefficient",
                quantity="coefficient",
                value_label="coefficient",
                y_title="coefficient (logits)",
                array=f"{stored}/coefficient",
                axis="frequency",
            ),
        )
    )


@panel(GridSpec, view=VIEW, title="Logits over training", analysis="logit_frequencies")
def logit_history(_project: Project) -> GridSpec:
    """Similarity or coefficient of each frequency at every checkpoint."""

    def view(title: str, heading: str, array: str, value_label: str, value_title: str) -> GridView:
        return GridView(
            title=title,
            array=f"analysis/logit_frequencies/{array}",
            axes=("y",),
            y="frequency",
            x="checkpoint",
            scale=ColorScale(signed=True),
            heading=heading,
            value_label=value_label,
            value_title=value_title,
            reading="largest",
        )

    return GridSpec(
        views=(
            view("Cosine similarity", "Similarity over training", "cosine", "similarity", "cosine similarity"),
            view("Coefficient", "Coefficients over training", "coefficient", "coefficient", "coefficient (logits)"),
        ),
        right=RIGHT,
    )


@panel(CurveSpec, view=VIEW, title="Logit variance explained", analysis="logit_frequencies")
def logit_explained(project: Project) -> CurveSpec:
    """Share of the logits' variance that the cosines of all frequencies explain; by memorizing alone, the train fraction."""
    split = project.known_split
    quantity = Quantity(
        title="Logit variance explained",
        axis="share of variance explained",
        range=(0, 1),
        lines=(Line(array="analysis/logit_frequencies/explained", label="explained"),),
        bands=() if split is None else (Band(label="memorized", value=len(split.train) / project.config.p**2),),
    )
    return CurveSpec(quantities=(quantity,), right=RIGHT)


@panel(GridSpec, view=VIEW, title="Logit spectrum", analysis="logit_spectrum")
def logit_spectrum(_project: Project) -> GridSpec:
    """Norm over the answers of each two-dimensional Fourier component of the logits."""

    def view(title: str, scale: Literal["linear", "log"]) -> GridView:
        return GridView(
            title=title,
            array="analysis/logit_spectrum/norm",
            axes=("y", "x"),
            y="component",
            x="component",
            scale=ColorScale(type=scale),
            quantity="norm over answers, a ↓ b →",
            y_title="component of a",
            x_title="component of b",
            value_label="norm",
            value_title="norm over answers (logits)",
            downward=True,
            square=True,
        )

    return GridSpec(views=(view("Log scale", "log"), view("Linear scale", "linear")))
