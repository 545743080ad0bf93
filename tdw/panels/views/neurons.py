"""The view "Neurons": which frequencies win neurons, for how long, and how concentrated the neurons are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import parts
from tdw.panels.reductions import reduced
from tdw.panels.registry import panel
from tdw.panels.spec import CurveSpec, FrequencySpans, GridSpec, GridView, Line, Quantity, SpansSpec

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Neurons"
RIGHT = 84  # margin for the names of lines
COUNT, SHARE, DEAD = (
    "analysis/neuron_clusters/count",
    "analysis/neuron_summary/share",
    "analysis/neuron_summary/dead",
)


@panel(GridSpec, view=VIEW, title="Neurons per frequency", analysis="neuron_clusters")
def neuron_clusters(_project: Project) -> GridSpec:
    """How many neurons belong to each frequency at every checkpoint."""
    view = GridView(
        title="Neurons per frequency",
        array=COUNT,
        axes=("y",),
        y="frequency",
        x="checkpoint",
        quantity="neurons",
        value_label="neurons:",
        value_title="neurons",
        reading="largest",
    )
    return GridSpec(views=(view,), right=RIGHT)


@panel(SpansSpec, view=VIEW, title="Frequency lifetimes", analysis="frequency_lottery")
def frequency_lottery(_project: Project) -> SpansSpec:
    """When each frequency had neurons; transient ones lost them again."""
    stored = "analysis/frequency_lottery"
    spans = FrequencySpans(
        first=f"{stored}/first_held", last=f"{stored}/last_held", transient=f"{stored}/came_and_went"
    )
    return SpansSpec(frequencies=spans, right=RIGHT)


@panel(CurveSpec, view=VIEW, title="Frequency concentration", analysis="neuron_frequencies")
def neuron_share(project: Project) -> CurveSpec:
    """Share of an active neuron's variance in its largest frequency, mean and median; share of neurons in a cluster."""
    concentration = (
        Line(array=reduced("mean", SHARE, unless=DEAD), label="mean", color="series-0"),
        Line(array=reduced("median", SHARE, unless=DEAD), label="median", color="series-1"),
    )
    clustered = Line(array=reduced("sum", COUNT, over=project.config.d_mlp), label="in a cluster")
    return CurveSpec(
        quantities=(
            Quantity(
                title="Frequency concentration",
                axis="share of variance in one frequency",
                range=(0, 1),
                lines=concentration,
                bands=parts.untrained(project, "neuron_share"),
            ),
            Quantity(
                title="Share of neurons in a cluster",
                axis="share of neurons",
                range=(0, 1),
                lines=(clustered,),
                bands=parts.untrained(project, "clustered"),
            ),
        ),
        right=RIGHT,
    )


@panel(CurveSpec, view=VIEW, title="Neuron counts", analysis="neuron_summary")
def neuron_summary(project: Project) -> CurveSpec:
    """How many neurons are dead, and how many belong to a cluster."""
    from tdw.analyses.engine.registry import find

    lines = [Line(array=reduced("sum", DEAD), label="dead", color="series-6")]
    if not find("neuron_clusters").inapplicable_reason(project.config):
        lines.append(Line(array=reduced("sum", COUNT), label="in a cluster"))
    neurons = project.config.d_mlp
    quantity = Quantity(
        title="Neuron counts", axis="neurons", unit=f"of {neurons}", range=(0, neurons), lines=tuple(lines)
    )
    return CurveSpec(quantities=(quantity,), right=RIGHT)
