"""The view "Frequencies": which frequencies the weights contain, which are key frequencies, how sparse they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import parts
from tdw.panels.registry import panel
from tdw.panels.spec import BarsSpec, ColorScale, CurveSpec, GridSpec, GridView, Line, Quantity

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Frequencies"
RIGHT = 96  # margin for the names of lines


@panel(GridSpec, view=VIEW, title="Frequencies over training", analysis="embedding_frequencies")
def frequency_history(_project: Project) -> GridSpec:
    """Norm of each frequency in the embedding, or in the neuron-to-logit map, at every checkpoint."""

    def view(title: str, analysis: str) -> GridView:
        return GridView(
            title=title,
            array=f"analysis/{analysis}/frequency_norms",
            axes=("y",),
            y="frequency",
            x="checkpoint",
            heading=f"{title} over training",
            value_label="norm",
            value_title=f"norm in the {title.lower()}",
            reading="largest",
        )

    return GridSpec(
        views=(view("Embedding", "embedding_frequencies"), view("Unembedding", "unembedding_frequencies")), right=RIGHT
    )


@panel(BarsSpec, view=VIEW, title="Unembedding frequencies", analysis="unembedding_frequencies")
def unembedding_frequencies(_project: Project) -> BarsSpec:
    """Norm of each Fourier component of the neuron-to-logit map along the answers, or of each frequency."""
    return parts.frequency_norms("unembedding_frequencies", "‖F W_L‖")


@panel(GridSpec, view=VIEW, title="Key frequencies", analysis="key_frequencies")
def key_frequencies(project: Project) -> GridSpec:
    """Which frequencies are key frequencies: by every rule at a checkpoint, or by one over training."""
    rules = parts.rules(project)
    stored, flags = "analysis/key_frequencies/key", ColorScale(type="flags", top=2)
    value_names = ("not a key frequency", "a key frequency")
    return GridSpec(
        choices={"rule": rules},
        views=(
            GridView(
                title="By every rule",
                array=stored,
                axes=("y", "x"),
                y=rules.names,
                x="frequency",
                scale=flags,
                value_names=value_names,
                downward=True,
                reading="agreement",
                choices=(),
            ),
            GridView(
                title="Over training, by one rule",
                array=stored,
                axes=("rule", "y"),
                y="frequency",
                x="checkpoint",
                scale=flags,
                value_names=value_names,
                reading="marked",
            ),
        ),
        left=96,
        right=RIGHT,
    )


@panel(CurveSpec, view=VIEW, title="Sparsity", analysis="sparsity")
def sparsity(project: Project) -> CurveSpec:
    """Gini coefficient and inverse participation ratio of the norms per frequency."""

    def quantity(title: str, axis: str, measure: str, limits: tuple[float, float] | None) -> Quantity:
        matrices = ("embedding", "unembedding")
        return Quantity(
            title=title,
            axis=axis,
            range=limits,
            lines=tuple(
                Line(array=f"analysis/sparsity/{matrix}_{measure}", label=matrix, color=f"series-{i}")
                for i, matrix in enumerate(matrices)
            ),
            bands=parts.untrained(project, *(f"{matrix}_{measure}" for matrix in matrices)),
        )

    return CurveSpec(
        quantities=(
            quantity("Gini of frequencies", "Gini coefficient", "gini", (0, 1)),
            quantity("Participation of frequencies", "participation (frequencies)", "participation", None),
        ),
        right=RIGHT,
    )
