"""Choices and bands that several panels have in common, named after what a run stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tdw.panels.names import all_readable
from tdw.panels.spec import Band, BarsSpec, BarsView, Choice, Threshold
from tdw.safe_text import cut

if TYPE_CHECKING:
    from tdw.project.project import Project

UNKNOWN_SPLIT = "The train/test split of this run is unknown."
SIDES = ("all pairs", "train pairs", "test pairs")
KEY_SETS = ("last checkpoint", "each checkpoint")
LONGEST = 32  # characters of a name that a file gives
DOMINANT = Threshold(of_largest=0.5)  # frequencies from half of the last checkpoint's largest on are colored
UNTRAINED = "untrained"
LOSS, ACCURACY = "loss (nats)", "accuracy (share of pairs)"  # titles of axes


def stored_parameter(project: Project, analysis: str, parameter: str) -> object:
    """A parameter that an analysis was stored with, of any type, since files may come from elsewhere; None if there is none."""
    stored = project.analyses().get(analysis)
    return None if stored is None else stored.parameters.get(parameter)


def fraction(project: Project, analysis: str, parameter: str) -> float:
    """A parameter between 0 and 1: as stored, else this program's."""
    from tdw.analyses import ANALYSES

    used = stored_parameter(project, analysis, parameter)
    if isinstance(used, float) and 0 < used <= 1:
        return used
    default: float = ANALYSES[analysis].parameters[parameter]
    return default


def names(project: Project, analysis: str, parameter: str) -> tuple[str, ...]:
    """The names along an axis of stored results: as stored, else this program's."""
    from tdw.analyses import ANALYSES

    default = tuple(ANALYSES[analysis].parameters[parameter])
    used = stored_parameter(project, analysis, parameter)
    if isinstance(used, list) and all(isinstance(name, str) for name in used):
        stored = tuple(cut(name, LONGEST) for name in used)
        return stored if len(set(stored)) == len(stored) == len(default) else default
    return default


def rules(project: Project) -> Choice:
    """The rule by which a frequency is a key frequency."""
    options = names(project, "key_frequencies", "rules")
    return Choice(
        title="Rule for key frequencies", options=options, names=all_readable(options), prefix="by ", plural="Rules"
    )


def key_sets() -> Choice:
    """Whether the key frequencies are those of the last checkpoint or of each."""
    short = ("final keys", "keys per checkpoint")
    return Choice(title="Key frequencies of", options=KEY_SETS, short=short, plural="Key sets")


def variants(project: Project) -> Choice:
    """How logits are restricted to key frequencies."""
    options = names(project, "restricted_loss", "variants")
    return Choice(
        title="Variant of the restricted loss", options=options, names=all_readable(options), plural="Variants"
    )


def sides(project: Project) -> Choice:
    """Which pairs are averaged over: the test pairs, where the split is known."""
    chosen = 0 if project.known_split is None else 2
    short = ("all", "train", "test")
    return Choice(title="Over", options=SIDES, chosen=chosen, short=short, plural="Train and test pairs")


def empty_without_split(project: Project) -> str:
    """What a panel says that has no numbers because the split is unknown; "" where it is known."""
    return f"{UNKNOWN_SPLIT} Choose “{SIDES[0]}” in the menu." if project.known_split is None else ""


def untrained(project: Project, *quantities: str) -> tuple[Band, ...]:
    """What quantities are in untrained networks, for each of which the first stored row holds; none where the task is not known."""
    if not project.knows_task:
        return ()
    known = names(project, "baselines", "quantities")
    rows = tuple(known.index(quantity) for quantity in quantities if quantity in known)
    return (Band(label=UNTRAINED, array="analysis/baselines/band", rows=rows),) if rows else ()


def frequency_norms(analysis: str, quantity: str) -> BarsSpec:
    """The norms of a matrix in the Fourier basis, per component and per frequency, as `analysis` stores them."""

    def bars(title: str, quantity: str, array: str, axis: Literal["frequency", "component"]) -> BarsView:
        return BarsView(
            title=title,
            quantity=quantity,
            value_label="norm",
            y_title=f"norm {quantity}",
            array=f"analysis/{analysis}/{array}",
            axis=axis,
            threshold=DOMINANT,
        )

    return BarsSpec(
        views=(
            bars("Per component", quantity, "norms", "component"),
            bars("Per frequency", "√(cos² + sin²)", "frequency_norms", "frequency"),
        )
    )
