"""The view "Frequencies": which frequencies the weights hold, which count as key ones, how concentrated they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import spec
from tdw.panels.embedding_frequencies import DOMINANT
from tdw.panels.registry import declared
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

GROUP = "Frequencies"
RIGHT = 96  # margin in which names of lines stand


@declared(group=GROUP, place=1, title="Frequencies over training", kind="grid", analysis="embedding_frequencies")
def frequency_history(_project: Project) -> Spec:
    """Norm of each frequency in the embedding, or in the neuron-to-logit map, at every checkpoint."""

    def view(title: str, analysis: str) -> Spec:
        return {
            "title": title,
            "array": f"analysis/{analysis}/frequency_norms",
            "axes": ["y"],
            "y": "frequency",
            "x": "checkpoint",
            "scale": {"type": "linear"},
            "heading": f"{title} over training",
            "quantity": "",
            "of": "norm",
            "tell": "largest",
        }

    return spec.described(
        views=[
            view("Embedding", "embedding_frequencies"),
            view("Unembedding", "unembedding_frequencies"),
        ],
        right=RIGHT,
    )


@declared(group=GROUP, place=2, title="Unembedding frequencies", kind="bars", analysis="unembedding_frequencies")
def unembedding_frequencies(_project: Project) -> Spec:
    """One bar per Fourier component of the neuron-to-logit map along the answers, or one per frequency."""
    stored = "analysis/unembedding_frequencies"
    threshold = {"of_largest": DOMINANT}
    component = {"title": "Per component", "quantity": "‖F W_L‖", "array": f"{stored}/norms", "axis": "component"}
    frequency = {
        "title": "Per frequency",
        "quantity": "√(cos² + sin²)",
        "array": f"{stored}/frequency_norms",
        "axis": "frequency",
    }
    return spec.described(views=[view | {"of": "norm", "threshold": threshold} for view in (component, frequency)])


@declared(group=GROUP, place=3, title="Key frequencies", kind="grid", analysis="key_frequencies")
def key_frequencies(project: Project) -> Spec:
    """Which frequencies are key ones: by every rule at a checkpoint, or by one over training."""
    rules = spec.rules(project)
    common = {
        "array": "analysis/key_frequencies/key",
        "scale": {"type": "names", "top": 2},
        "says": ["no key frequency", "a key frequency"],
    }
    return spec.described(
        choices={"rule": rules},
        views=[
            common
            | {
                "title": "By every rule",
                "axes": ["y", "x"],
                "y": rules["options"],
                "x": "frequency",
                "quantity": "",
                "down": True,
                "tell": "agreed",
                "choices": [],
            },
            common
            | {
                "title": "Over training, by one rule",
                "axes": ["rule", "y"],
                "y": "frequency",
                "x": "checkpoint",
                "quantity": "",
                "tell": "marked",
            },
        ],
        left=96,
        right=RIGHT,
    )


@declared(group=GROUP, place=4, title="Sparsity", kind="curve", analysis="sparsity")
def sparsity(project: Project) -> Spec:
    """Gini coefficient and inverse participation ratio of the norms per frequency."""
    both = (("embedding", "series-0"), ("unembedding", "series-1"))

    def quantity(title: str, measure: str) -> Spec:
        return {
            "title": title,
            "unit": "",
            "scale": "linear",
            "lines": [
                {"array": f"analysis/sparsity/{matrix}_{measure}", "label": matrix, "color": color}
                for matrix, color in both
            ],
            "bands": spec.bands(project, *(f"{matrix}_{measure}" for matrix, _ in both)),
        }

    return spec.described(
        quantities=[
            quantity("Gini of frequencies", "gini") | {"range": [0, 1]},
            quantity("Participation of frequencies", "participation"),
        ],
        right=RIGHT,
    )
