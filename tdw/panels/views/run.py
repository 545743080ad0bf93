"""The view "Run": events, baselines, losses computed from the checkpoints, and when each pair was learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import parts
from tdw.panels.reductions import reduced
from tdw.panels.registry import panel
from tdw.panels.spec import (
    ColorScale,
    CurveSpec,
    GridSpec,
    GridView,
    Line,
    Places,
    Quantity,
    SpansSpec,
    TableBand,
    TableRow,
    TableSpec,
)
from tdw.panels.views.neurons import COUNT, DEAD, SHARE

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Run"
RIGHT = 60  # margin for the names of lines
ABOUT = {  # label and explanation
    "neuron_share": ("frequency concentration", "mean over the active neurons of the share of their largest frequency"),
    "clustered": ("neurons in a cluster", "share of the neurons that belong to a cluster"),
    "explained": ("logits explained", "share of the logits' variance that cosines of a + b − c explain"),
}


def about(name: str) -> tuple[str, str]:
    """Label and explanation of a quantity of `baselines`."""
    if name.startswith("keys_"):
        rule = name.removeprefix("keys_")
        return f"keys by {rule}", f"number of key frequencies by the rule {rule}"
    return ABOUT.get(name, (name.replace("_", " "), f"{name.replace('_', ': ')}, of the norms per frequency"))


@panel(SpansSpec, view=VIEW, title="Events", analysis="events", required=False, weights=False)
def events(_project: Project) -> SpansSpec:
    """When the run memorized and generalized: first and last crossing, each between two recorded epochs."""
    return SpansSpec(left=172, right=132)


@panel(TableSpec, view=VIEW, title="Baselines", analysis="baselines")
def baselines(project: Project) -> TableSpec:
    """Measures compared with those of untrained networks, and of permuted operands and answers."""
    arrays = {
        "neuron_share": reduced("mean", SHARE, unless=DEAD),
        "clustered": reduced("sum", COUNT, over=project.config.d_mlp),
        "explained": "analysis/logit_frequencies/explained",
    }
    for matrix in ("embedding", "unembedding"):
        for measure in ("gini", "participation"):
            arrays[f"{matrix}_{measure}"] = f"analysis/sparsity/{matrix}_{measure}"
    for i, rule in enumerate(parts.names(project, "key_frequencies", "rules")):
        arrays[f"keys_{rule}"] = reduced("sum", "analysis/key_frequencies/key", at=i)
    rows = [
        TableRow(label=about(name)[0], about=about(name)[1], row=row, array=arrays[name])
        for row, name in enumerate(parts.names(project, "baselines", "quantities"))
        if name in arrays
    ]
    return TableSpec(
        bands=(
            TableBand(label=parts.UNTRAINED, array="analysis/baselines/random"),
            TableBand(label=parts.PERMUTED, array="analysis/baselines/permuted"),
        ),
        rows=tuple(rows),
    )


@panel(CurveSpec, view=VIEW, title="Loss at checkpoints", analysis="loss")
def checkpoint_loss(project: Project) -> CurveSpec:
    """Loss and accuracy on all, train and test pairs, computed from the weights of every checkpoint."""
    is_split_known = project.known_split is not None
    sides = [("all", "muted"), ("train", "train"), ("test", "test")][: 3 if is_split_known else 1]

    def lines(array: str) -> tuple[Line, ...]:
        return tuple(Line(array=array, axes=(i,), label=label, color=color) for i, (label, color) in enumerate(sides))

    unit = "" if is_split_known else "split unknown"
    return CurveSpec(
        quantities=(
            Quantity(title="Loss at checkpoints", unit=unit, scale="log", lines=lines("analysis/loss/loss")),
            Quantity(
                title="Accuracy at checkpoints", unit=unit, range=(0, 1), lines=lines("analysis/accuracy/accuracy")
            ),
        ),
        right=RIGHT,
    )


@panel(GridSpec, view=VIEW, title="Pair learning epoch", analysis="pair_graduation")
def pair_graduation(_project: Project) -> GridSpec:
    """From which epoch on each pair is answered correctly; or which pairs are at a checkpoint."""
    axes: Places = ("y", "x")
    return GridSpec(
        views=(
            GridView(
                title="Learned at epoch",
                array="analysis/pair_graduation/epoch",
                axes=axes,
                y="operand",
                x="operand",
                scale=ColorScale(type="epochs"),
                quantity="a ↓ b →",
                reading="learned",
                downward=True,
                square=True,
                pairs=True,
            ),
            GridView(
                title="Correct at this checkpoint",
                array="analysis/accuracy/correct",
                axes=axes,
                y="operand",
                x="operand",
                scale=ColorScale(type="flags", top=2),
                quantity="correct at this checkpoint, a ↓ b →",
                value_names=("incorrect", "correct"),
                reading="correct",
                packed=True,
                downward=True,
                square=True,
                pairs=True,
            ),
        )
    )
