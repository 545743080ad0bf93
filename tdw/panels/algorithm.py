"""The view "Algorithm": measures that tell apart the ways in which a network may compute its answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tdw.panels import spec
from tdw.panels.registry import declared
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

GROUP = "Algorithm"
RIGHT = 84  # margin in which names of lines stand


def single(title: str, array: str, label: str, **more: object) -> Spec:
    """A panel of one line."""
    line = {"array": f"analysis/{array}", "label": label, "color": "series-0"}
    return spec.described(
        quantities=[{"title": title, "unit": "", "scale": "linear", "lines": [line]} | more], right=RIGHT
    )


@declared(group=GROUP, place=1, title="Distance irrelevance", kind="curve", analysis="distance_irrelevance")
def distance_irrelevance(_project: Project) -> Spec:
    """How much the right logit depends on a + b alone rather than on a − b: low for a pizza, high for a clock."""
    return single("Distance irrelevance", "distance_irrelevance/value", "", range=[0, 1], unit="pizza 0 … 1 clock")


@declared(group=GROUP, place=2, title="Gradient symmetricity", kind="curve", analysis="gradient_symmetricity")
def gradient_symmetricity(_project: Project) -> Spec:
    """Cosine between the gradients of a logit by the embeddings of a and of b."""
    return single("Gradient symmetricity", "gradient_symmetricity/value", "", range=[None, 1])


@declared(group=GROUP, place=3, title="Margin", kind="curve", analysis="margin")
def margin(project: Project) -> Spec:
    """Right logit less the largest wrong one: the least of all pairs, a low quantile, the mean."""
    from tdw.analyses import ANALYSES

    stored = project.analyses().get("margin")
    used = None if stored is None else stored.parameters.get("quantile")
    # What a file from elsewhere calls a quantile may be anything.
    part = used if isinstance(used, float) and 0 < used < 1 else ANALYSES["margin"].parameters["quantile"]
    lines = [
        {"array": "analysis/margin/mean", "label": "mean", "color": "series-0"},
        {"array": "analysis/margin/quantile", "label": f"{100 * part:g} %", "color": "series-1"},
        {"array": "analysis/margin/minimum", "label": "least", "color": "series-6"},
    ]
    quantity = {"title": "Margin", "unit": "", "scale": "linear", "lines": lines}
    return spec.described(quantities=[quantity], right=RIGHT)


@declared(group=GROUP, place=4, title="Phase alignment", kind="curve", analysis="phase_alignment")
def phase_alignment(_project: Project) -> Spec:
    """Mean |sin(ψ − φ_a − φ_b)| over the living neurons: 0 where output phases follow from input phases."""
    stored = "analysis/phase_alignment"
    lines = [
        {"array": f"{stored}/misalignment", "label": "mean", "color": "series-0"},
        {"array": f"{stored}/neuron", "axes": ["*"], "reduce": "median", "label": "median", "color": "series-1"},
    ]
    quantity = {
        "title": "Phase alignment",
        "unit": "|sin(ψ − φ_a − φ_b)|",
        "scale": "linear",
        "range": [0, 1],
        "lines": lines,
        "bands": [{"label": "by chance", "value": 2 / math.pi}],
    }
    return spec.described(quantities=[quantity], right=RIGHT)
