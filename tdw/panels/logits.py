"""The view "Logits": how far they are the sum of cosines that a clock would compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdw.panels import spec
from tdw.panels.registry import declared
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

GROUP = "Logits"
RIGHT = 76  # margin in which names of lines stand
COSINE, COEFFICIENT = "similarity to cos(w_k(a+b−c))", "coefficient of cos(w_k(a+b−c))"


def threshold(project: Project) -> dict[str, Any]:
    """From which similarity on the rule `logit_cosine` takes a frequency for a key one."""
    from tdw.analyses import ANALYSES

    stored = project.analyses().get("key_frequencies")
    used = None if stored is None else stored.parameters.get("cosine")
    # What a file from elsewhere calls a threshold may be anything.
    known = isinstance(used, float) and 0 < used <= 1
    return {"value": used if known else ANALYSES["key_frequencies"].parameters["cosine"]}


@declared(group=GROUP, place=1, title="Logit frequencies", kind="bars", analysis="logit_frequencies")
def logit_frequencies(project: Project) -> Spec:
    """Similarity of the logits to the cosine of each frequency, or its coefficient; the threshold is that of the rule."""
    stored = "analysis/logit_frequencies"
    return spec.described(
        views=[
            {
                "title": "Cosine similarity",
                "quantity": "similarity",
                "of": "similarity",
                "array": f"{stored}/cosine",
                "axis": "frequency",
                "threshold": threshold(project),
            },
            {
                "title": "Coefficient",
                "quantity": "coefficient",
                "of": "coefficient",
                "array": f"{stored}/coefficient",
                "axis": "frequency",
                "threshold": None,
            },
        ]
    )


@declared(group=GROUP, place=2, title="Logits over training", kind="grid", analysis="logit_frequencies")
def logit_history(_project: Project) -> Spec:
    """Similarity or coefficient of each frequency at every checkpoint."""

    def view(title: str, heading: str, array: str, of: str) -> Spec:
        return {
            "title": title,
            "array": f"analysis/logit_frequencies/{array}",
            "axes": ["y"],
            "y": "frequency",
            "x": "checkpoint",
            "scale": {"type": "linear", "signed": True},
            "heading": heading,
            "quantity": "",
            "of": of,
            "tell": "largest",
        }

    return spec.described(
        views=[
            view("Cosine similarity", "Similarity over training", "cosine", "similarity"),
            view("Coefficient", "Coefficients over training", "coefficient", "coefficient"),
        ],
        right=RIGHT,
    )


@declared(group=GROUP, place=3, title="Logit variance explained", kind="curve", analysis="logit_frequencies")
def logit_explained(project: Project) -> Spec:
    """Share of the logits' variance that the cosines of all frequencies explain."""
    line = {"array": "analysis/logit_frequencies/explained", "label": "explained", "color": "series-0"}
    quantity = {
        "title": "Logit variance explained",
        "unit": "",
        "scale": "linear",
        "range": [0, 1],
        "lines": [line],
        "bands": spec.bands(project, "explained"),
    }
    return spec.described(quantities=[quantity], right=RIGHT)


@declared(group=GROUP, place=4, title="Logit spectrum", kind="grid", analysis="logit_spectrum")
def logit_spectrum(_project: Project) -> Spec:
    """Norm over the answers of each two-dimensional Fourier component of the logits."""

    def view(title: str, kind: str) -> Spec:
        return {
            "title": title,
            "array": "analysis/logit_spectrum/norm",
            "axes": ["y", "x"],
            "y": "component",
            "x": "component",
            "scale": {"type": kind},
            "quantity": "norm over answers, a ↑ b →",
            "of": "norm",
            "square": True,
        }

    return spec.described(views=[view("On a log scale", "log"), view("On a linear scale", "linear")])
