"""The view "Overview": loss, embedding frequencies, activation maps of neurons, frequencies of neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import parts
from tdw.panels.registry import panel
from tdw.panels.spec import (
    ArrayOf,
    BarsSpec,
    CurveSpec,
    ImageSpec,
    Line,
    MapsSpec,
    NeuronSummary,
    Quantity,
)
from tdw.project.series import SERIES

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Overview"


@panel(CurveSpec, view=VIEW, title="Loss", weights=False)
def loss(project: Project) -> CurveSpec:
    """Train and test loss, or accuracy, at every epoch where they were evaluated; and what else another program recorded."""

    def lines(series: str) -> tuple[Line, ...]:
        return tuple(Line(array=f"{series}/{side}", label=side, color=side) for side in ("train", "test"))

    return CurveSpec(
        quantities=(
            Quantity(title="Loss", axis=parts.LOSS, unit=None, scale="log", lines=lines("losses")),
            Quantity(title="Accuracy", axis=parts.ACCURACY, unit=None, range=(0, 1), lines=lines("accuracy")),
            *(
                Quantity(
                    title=name.rsplit("/", 1)[-1],
                    axis=name.rsplit("/", 1)[-1],
                    unit=None,
                    lines=(Line(array=name, label="", color="series-0"),),
                )
                for name in project.curves
                if name not in SERIES
            ),
        ),
        empty="This run has no recorded values.",
    )


@panel(BarsSpec, view=VIEW, title="Embedding frequencies", analysis="embedding_frequencies")
def embedding_frequencies(_project: Project) -> BarsSpec:
    """Norm of each Fourier component of the embedding, or of each frequency."""
    return parts.frequency_norms("embedding_frequencies", "‖F W_E‖")


@panel(MapsSpec, view=VIEW, title="Neurons", analysis="neuron_summary", required=False)
def neuron_activations(_project: Project) -> MapsSpec:
    """Activation of neurons on every pair. The summary sorts and labels the maps and fixes their colors."""
    stored = "analysis/neuron_summary"
    return MapsSpec(
        summary=NeuronSummary(
            frequency=f"{stored}/frequency",
            share=f"{stored}/share",
            variance=f"{stored}/variance",
            maximum=f"{stored}/maximum",
            dead=f"{stored}/dead",
        )
    )


@panel(ImageSpec, view=VIEW, title="Neuron–frequency clusters", analysis="neuron_frequencies")
def neuron_frequencies(project: Project) -> ImageSpec:
    """Share of every neuron's variance in every frequency; the clusters of the last checkpoint give an order."""
    return ImageSpec(
        array="analysis/neuron_frequencies/share",
        quantity="share of variance",
        cluster=ArrayOf(analysis="neuron_clusters", array="analysis/neuron_clusters/frequency"),
        dead=ArrayOf(analysis="neuron_summary", array="analysis/neuron_summary/dead"),
        threshold=parts.fraction(project, "neuron_clusters", "threshold"),
    )
