"""The view "Run": events, baselines, losses computed from the checkpoints, and when each pair was learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels import parts
from tdw.panels.names import readable
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
    TableBaseline,
    TableRow,
    TableSpec,
)

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Run"
RIGHT = 60  # margin for the names of lines
ABOUT = {  # label and explanation
    "neuron_share": ("frequency concentration", "mean over the active neurons of the share of their largest frequency"),
    "clustered": ("neurons in a cluster", "share of the neurons that belong to a cluster"),
    "explained_test": (
        "test logits explained",
        "share of the logits' variance over the test pairs that cosines of a + b − c explain",
    ),
}
OF_NORMS = {
    "gini": ("Gini", "Gini coefficient of the norms per frequency"),
    "participation": ("participation", "inverse participation ratio of the norms per frequency, in frequencies"),
}
MATRICES = {"embedding": "W_E", "unembedding": "W_L"}
LEVEL = 0.05
BASELINES = {  # label and explanation of the columns
    "baselines": (parts.UNTRAINED, "untrained networks of the same sizes"),
    "permutation_baselines": ("relabeled", "this checkpoint with its operands and answers relabeled at random"),
    "memorization_baselines": ("memorizing", "networks trained on shuffled answers, at the same train loss"),
}


def about(name: str) -> tuple[str, str]:
    """Label and explanation of a quantity of `baselines`."""
    if name in ABOUT:
        return ABOUT[name]
    matrix, _, measure = name.partition("_")
    if matrix == "keys":
        return f"keys by {readable(measure)}", f"number of key frequencies by the rule {readable(measure)}"
    if matrix in MATRICES and measure in OF_NORMS:
        label, explanation = OF_NORMS[measure]
        return f"{label} of {MATRICES[matrix]} frequencies", f"{explanation} of the {matrix}"
    return name.replace("_", " "), name


@panel(SpansSpec, view=VIEW, title="Events", analysis="events", required=False, weights=False)
def events(_project: Project) -> SpansSpec:
    """When the run memorized and generalized: first and last crossing, each between two recorded epochs."""
    return SpansSpec(left=172, right=150)


@panel(TableSpec, view=VIEW, title="Baselines", analysis="baselines")
def baselines(project: Project) -> TableSpec:
    """Measures at a checkpoint, compared with networks that learned nothing of the task: range, and corrected p-value."""
    from tdw.analyses.engine import registry, runner

    def array(name: str, part: str) -> str:
        """The array, or none where it was computed by other definitions than the values next to it."""
        stored = project.analyses().get(name)
        is_usable = stored is None or not runner.is_stale(registry.find(name), stored)
        return f"analysis/{name}/{part}" if is_usable or name == "baselines" else ""

    known = parts.names(project, "baselines", "quantities")
    rows = tuple(TableRow(label=about(name)[0], about=about(name)[1], row=row) for row, name in enumerate(known))
    columns = tuple(
        TableBaseline(
            label=label,
            about=explanation,
            analysis=name,
            band=array(name, "band"),
            p=array(name, "p"),
        )
        for name, (label, explanation) in BASELINES.items()
    )
    return TableSpec(value="analysis/baselines/value", baselines=columns, rows=rows, level=LEVEL)


@panel(CurveSpec, view=VIEW, title="Loss at checkpoints", analysis="loss")
def checkpoint_loss(project: Project) -> CurveSpec:
    """Loss and accuracy on all, train and test pairs, computed from the weights of every checkpoint; without the output class
    '=', where the recorded curves have it.
    """
    is_split_known = project.known_split is not None
    sides = [("all", "muted"), ("train", "train"), ("test", "test")][: 3 if is_split_known else 1]

    def lines(array: str) -> tuple[Line, ...]:
        return tuple(Line(array=array, axes=(i,), label=label, color=color) for i, (label, color) in enumerate(sides))

    unit = ", ".join(
        ["without the class '='"] * (project.config.classes == "tokens") + ["split unknown"] * (not is_split_known)
    )
    return CurveSpec(
        quantities=(
            Quantity(
                title="Loss at checkpoints", axis=parts.LOSS, unit=unit, scale="log", lines=lines("analysis/loss/loss")
            ),
            Quantity(
                title="Accuracy at checkpoints",
                axis=parts.ACCURACY,
                unit=unit,
                range=(0, 1),
                lines=lines("analysis/accuracy/accuracy"),
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
                value_title="learned at epoch",
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
