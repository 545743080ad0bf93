"""The view "Neurons": which frequencies win them, for how long, and how purely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import spec
from tdw.panels.registry import declared
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

GROUP = "Neurons"
RIGHT = 84  # margin in which names of lines stand
COUNT, SHARE, DEAD = (
    "analysis/neuron_clusters/count",
    "analysis/neuron_summary/share",
    "analysis/neuron_summary/dead",
)


@declared(group=GROUP, place=1, title="Frequency lottery", kind="grid", analysis="neuron_clusters")
def neuron_clusters(_project: Project) -> Spec:
    """How many neurons each frequency has won at every checkpoint."""
    view = {
        "title": "Neurons won",
        "array": COUNT,
        "axes": ["y"],
        "y": "frequency",
        "x": "checkpoint",
        "scale": {"type": "linear"},
        "quantity": "neurons won",
        "of": "neurons:",
        "tell": "largest",
    }
    return spec.described(views=[view], right=RIGHT)


@declared(group=GROUP, place=2, title="Held by frequencies", kind="spans", analysis="frequency_lottery")
def frequency_lottery(_project: Project) -> Spec:
    """From when until when each frequency held neurons; those that lost them again stand apart."""
    stored = "analysis/frequency_lottery"
    return spec.described(
        first=f"{stored}/first_held", last=f"{stored}/last_held", gone=f"{stored}/came_and_went", right=RIGHT
    )


@declared(group=GROUP, place=3, title="Purity of neurons", kind="curve", analysis="neuron_frequencies")
def neuron_share(project: Project) -> Spec:
    """How much of a living neuron's variance its largest frequency holds, on average; and how many belong to a cluster."""
    neurons = project.config.d_mlp
    purity = {"array": SHARE, "axes": ["*"], "reduce": "mean", "unless": DEAD, "label": "mean", "color": "series-0"}
    median = purity | {"reduce": "median", "label": "median", "color": "series-1"}
    clustered = {
        "array": COUNT,
        "axes": ["*"],
        "reduce": "sum",
        "over": neurons,
        "label": "in a cluster",
        "color": "series-0",
    }
    return spec.described(
        quantities=[
            {
                "title": "Purity of neurons",
                "unit": "",
                "scale": "linear",
                "range": [0, 1],
                "lines": [purity, median],
                "bands": spec.bands(project, "neuron_share"),
            },
            {
                "title": "Share of neurons in a cluster",
                "unit": "",
                "scale": "linear",
                "range": [0, 1],
                "lines": [clustered],
                "bands": spec.bands(project, "clustered"),
            },
        ],
        right=RIGHT,
    )


@declared(group=GROUP, place=4, title="Neurons counted", kind="curve", analysis="neuron_summary")
def neuron_summary(project: Project) -> Spec:
    """How many neurons are dead, and how many belong to a cluster."""
    from tdw.analyses.engine.registry import find

    counted = {"axes": ["*"], "reduce": "sum"}
    lines = [counted | {"array": DEAD, "label": "dead", "color": "series-6"}]
    if not find("neuron_clusters").inapplicable_reason(project.config):
        lines.append(counted | {"array": COUNT, "label": "in a cluster", "color": "series-0"})
    neurons = project.config.d_mlp
    quantity = {
        "title": "Neurons counted",
        "unit": f"of {neurons}",
        "scale": "linear",
        "range": [0, neurons],
        "lines": lines,
    }
    return spec.described(quantities=[quantity], right=RIGHT)
