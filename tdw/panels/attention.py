"""The view "Attention": where each head looks, how much that varies, and with which frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import spec
from tdw.panels.registry import declared
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

GROUP = "Attention"
RIGHT = 60  # margin in which names of lines stand
MEAN, VARIANCE, SHARE = (f"analysis/attention/{name}" for name in ("mean", "variance", "share"))


def heads(project: Project) -> list[str]:
    """The heads by name."""
    return [f"head {head}" for head in range(project.config.heads)]


def tokens(project: Project) -> list[str]:
    """The tokens that the last one may look at, by name."""
    return list(project.config.network_kind.tokens)


@declared(group=GROUP, place=1, title="Attention", kind="grid", analysis="attention")
def attention(project: Project) -> Spec:
    """Mean and variance over all pairs of each head's weight on each token."""

    def view(title: str, array: str, top: float | None) -> Spec:
        return {
            "title": title,
            "array": array,
            "axes": ["y", "x"],
            "y": "head",
            "x": tokens(project),
            "scale": {"type": "linear"} | ({"top": top} if top else {}),
            "quantity": f"{title.lower()} over all pairs",
            "of": title.lower(),
            "write": True,
            "down": True,
            "beside": {"array": VARIANCE if array == MEAN else MEAN, "label": "variance" if array == MEAN else "mean"},
        }

    return spec.described(views=[view("Mean", MEAN, 1), view("Variance", VARIANCE, None)], left=52)


@declared(group=GROUP, place=2, title="Attention over training", kind="curve", analysis="attention")
def attention_history(project: Project) -> Spec:
    """One head's mean weight on each token, or the weight of all heads on one, at every checkpoint."""

    def quantity(title: str, array: str) -> Spec:
        line = {"array": array, "axes": ["head", "token"], "label": "", "color": "series-0"}
        return {"title": title, "unit": "", "scale": "linear", "lines": [line]}

    return spec.described(
        choices={
            "head": spec.choice("Head", heads(project), many="Heads"),
            "token": spec.choice("Token", tokens(project), word="on ", many="Tokens"),
        },
        compare=["head", "token"],
        quantities=[
            quantity("Mean attention", MEAN) | {"range": [0, 1]},
            quantity("Variance of attention", VARIANCE),
        ],
        right=RIGHT,
    )


@declared(group=GROUP, place=3, title="Attention frequencies", kind="grid", analysis="attention")
def attention_frequencies(_project: Project) -> Spec:
    """Share of the variance of each head's weight on a that lies in each frequency."""
    view = {
        "title": "Share of variance",
        "array": SHARE,
        "axes": ["x", "y"],
        "y": "head",
        "x": "frequency",
        "scale": {"type": "linear", "top": 1},
        "quantity": "share of variance of the weight on a",
        "of": "share",
        "down": True,
    }
    return spec.described(views=[view], left=52)


@declared(group=GROUP, place=4, title="Attention frequencies over training", kind="grid", analysis="attention")
def attention_frequency_history(project: Project) -> Spec:
    """The same for one head at every checkpoint; or the weight of all heads on one token, and how much it varies."""

    def of_heads(title: str, array: str, top: float | None) -> Spec:
        return {
            "title": f"{title} of each head",
            "heading": f"{title} over training",
            "array": array,
            "axes": ["y", "token"],
            "y": "head",
            "x": "checkpoint",
            "scale": {"type": "linear"} | ({"top": top} if top else {}),
            "quantity": f"{title.lower()} over all pairs",
            "of": title.lower(),
            "tell": "largest",
            "down": True,
        }

    frequencies = {
        "title": "Frequencies of one head",
        "heading": "Attention frequencies over training",
        "array": SHARE,
        "axes": ["y", "head"],
        "y": "frequency",
        "x": "checkpoint",
        "scale": {"type": "linear", "top": 1},
        "quantity": "",
        "of": "share",
        "tell": "largest",
    }
    return spec.described(
        choices={
            "head": spec.choice("Head", heads(project)),
            "token": spec.choice("Token", tokens(project), word="on "),
        },
        views=[
            frequencies,
            of_heads("Mean attention", MEAN, 1),
            of_heads("Variance of attention", VARIANCE, None),
        ],
        right=RIGHT,
        left=52,
    )
