"""The view "Run": what happened when, what the numbers are worth, and when each pair was learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import spec
from tdw.panels.neurons import COUNT, DEAD, SHARE
from tdw.panels.registry import declared
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

GROUP = "Run"
RIGHT = 60  # margin in which names of lines stand
ABOUT = {  # label and what is meant
    "neuron_share": ("purity of neurons", "mean over the living neurons of the share of their largest frequency"),
    "clustered": ("neurons in a cluster", "share of the neurons that belong to a cluster"),
    "explained": ("logits explained", "share of the logits' variance that cosines of a + b − c explain"),
}


def about(name: str) -> tuple[str, str]:
    """What a quantity of `baselines` is called, and what is meant."""
    if name.startswith("keys_"):
        rule = name.removeprefix("keys_")
        return f"keys by {rule}", f"number of key frequencies by the rule {rule}"
    return ABOUT.get(name, (name.replace("_", " "), f"{name.replace('_', ': ')}, of the norms per frequency"))


@declared(group=GROUP, place=1, title="Events", kind="spans", analysis="events", required=False, weights=False)
def events(_project: Project) -> Spec:
    """When the run memorized and generalized: first to last crossing, each between two recorded epochs; or not reached."""
    return spec.described(left=172, right=132)


@declared(group=GROUP, place=2, title="Against chance", kind="table", analysis="baselines")
def baselines(project: Project) -> Spec:
    """What shares, sparsity and variance explained come to, beside untrained networks and renamed operands and answers."""
    neurons = project.config.d_mlp
    rules = spec.names(project, "key_frequencies", "rules")
    lines: dict[str, spec.Line] = {
        "neuron_share": {"array": SHARE, "axes": ["*"], "reduce": "mean", "unless": DEAD},
        "clustered": {"array": COUNT, "axes": ["*"], "reduce": "sum", "over": neurons},
        "explained": {"array": "analysis/logit_frequencies/explained"},
        **{
            f"{matrix}_{measure}": {"array": f"analysis/sparsity/{matrix}_{measure}"}
            for matrix in ("embedding", "unembedding")
            for measure in ("gini", "participation")
        },
        **{
            f"keys_{rule}": {"array": "analysis/key_frequencies/key", "axes": [i, "*"], "reduce": "sum"}
            for i, rule in enumerate(rules)
        },
    }
    known = spec.names(project, "baselines", "quantities")
    return spec.described(
        bands=[
            {"label": spec.UNTRAINED, "array": "analysis/baselines/random"},
            {"label": spec.PERMUTED, "array": "analysis/baselines/permuted"},
        ],
        rows=[
            dict(zip(("label", "about"), about(name), strict=True)) | {"row": row, **lines[name]}
            for row, name in enumerate(known)
            if name in lines
        ],
    )


@declared(group=GROUP, place=3, title="Loss at checkpoints", kind="curve", analysis="loss")
def checkpoint_loss(project: Project) -> Spec:
    """Loss and accuracy on all, train and test pairs, computed from the weights of every checkpoint."""
    sides = [("all", "muted"), ("train", "train"), ("test", "test")]
    if project.known_split is None:
        sides = sides[:1]

    def lines(array: str) -> list[spec.Line]:
        return [{"array": array, "axes": [i], "label": label, "color": color} for i, (label, color) in enumerate(sides)]

    unit = "split unknown" if project.known_split is None else ""
    return spec.described(
        quantities=[
            {"title": "Loss at checkpoints", "unit": unit, "scale": "log", "lines": lines("analysis/loss/loss")},
            {
                "title": "Accuracy at checkpoints",
                "unit": unit,
                "scale": "linear",
                "range": [0, 1],
                "lines": lines("analysis/accuracy/accuracy"),
            },
        ],
        right=RIGHT,
    )


@declared(group=GROUP, place=4, title="Pairs learnt", kind="grid", analysis="pair_graduation")
def pair_graduation(_project: Project) -> Spec:
    """From when on each pair is right for good; or which pairs are right at a checkpoint."""
    common = {"axes": ["y", "x"], "y": "operand", "x": "operand", "down": True, "square": True, "pair": True}
    return spec.described(
        views=[
            common
            | {
                "title": "Right for good from",
                "array": "analysis/pair_graduation/epoch",
                "scale": {"type": "epochs"},
                "quantity": "a ↓ b →",
                "tell": "graduated",
            },
            common
            | {
                "title": "Right at this checkpoint",
                "array": "analysis/accuracy/correct",
                "scale": {"type": "names", "top": 2},
                "bits": True,
                "quantity": "right at this checkpoint",
                "says": ["wrong", "right"],
                "tell": "right",
            },
        ]
    )
