"""What descriptions of panels are made of, and how the numbers of their lines and tables are read from a run.

A line is {array, axes, label, color} and more:
    array   the stored array; `losses/…` and `accuracy/…` have a row per epoch, those of an analysis one per checkpoint
    axes    for each axis after the rows: a number (that place), the name of a choice, or "*" (all of it, see reduce)
    reduce  "sum", "mean" or "median" of what "*" leaves open, without NaN and those that the array `unless` marks
    over    what that is divided by
    whole   the array is of the run as a whole and its one row runs over the checkpoints
A view of a table has `axes` with "y" and "x" for those that are drawn; its x is "checkpoint" where it shows training.
A choice is {title, options, chosen}: chosen by name in the panel's menu; one of those in `compare` stands side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tdw.errors import ProjectError, TdwError, UnknownNameError
from tdw.safe_text import cut

if TYPE_CHECKING:
    from tdw.project.project import Project, StoredResult

Spec = dict[str, Any]
Line = dict[str, Any]
Choice = dict[str, Any]
Array = NDArray[Any]

UNKNOWN_SPLIT = "Nobody knows which pairs this run was trained on."

SIDES = ("all pairs", "train pairs", "test pairs")
KEY_SETS = ("those of the last checkpoint", "those of each checkpoint")
LONGEST = 32  # letters of a name that a file gives
UNTRAINED, PERMUTED = "untrained", "permuted"


def names(project: Project, analysis: str, parameter: str) -> list[str]:
    """The names along an axis of stored results, from the parameters they were made with, else from this program's."""
    from tdw.analyses import ANALYSES

    now = list(ANALYSES[analysis].parameters[parameter])
    stored = project.analyses().get(analysis)
    used = None if stored is None else stored.parameters.get(parameter)
    # What a file from elsewhere calls its names may be anything.
    if isinstance(used, list) and all(isinstance(name, str) for name in used):
        used = [cut(name, LONGEST) for name in used]
        return used if len(set(used)) == len(used) == len(now) else now
    return now


def choice(title: str, options: Iterable[str], chosen: int = 0, **said: Any) -> Choice:
    """A choice. `many` is what its options are called together, where they may stand side by side; where the card says
    what is chosen, `word` stands before it, or `brief` has another name for it.
    """
    return {"title": title, "options": list(options), "chosen": chosen, **said}


def rules(project: Project) -> Choice:
    """By which rule a frequency is a key one."""
    return choice("Rule for key frequencies", names(project, "key_frequencies", "rules"), word="by ", many="Rules")


def key_sets() -> Choice:
    """Whether the key frequencies are those of the last checkpoint or of each."""
    return choice("Key frequencies", KEY_SETS, brief=["final keys", "keys of each"], many="Key sets")


def variants(project: Project) -> Choice:
    """How logits are restricted to key frequencies."""
    return choice("Variant of the restricted loss", names(project, "restricted_loss", "variants"), many="Variants")


def sides(project: Project) -> Choice:
    """Over which pairs: the test pairs, where they are known."""
    chosen = 0 if project.known_split is None else 2
    return choice("Over", SIDES, chosen, brief=["all", "train", "test"], many="Train and test pairs")


def without_split(project: Project) -> dict[str, str]:
    """What is said where nobody knows the split and what was chosen needs it."""
    return {"without": f"{UNKNOWN_SPLIT} Choose “{SIDES[0]}” in the menu."} if project.known_split is None else {}


def bands(project: Project, *quantities: str) -> list[dict[str, Any]]:
    """What quantities come to where nothing was learnt, as bands behind their lines."""
    known = names(project, "baselines", "quantities")
    rows = [known.index(quantity) for quantity in quantities if quantity in known]
    return [
        {"label": label, "array": f"analysis/baselines/{kind}", "rows": rows}
        for label, kind in ((UNTRAINED, "random"), (PERMUTED, "permuted"))
        if rows
    ]


def arrays(*found: Any) -> list[str]:
    """Every array that lines, views and bands name, each once, in order."""
    seen: dict[str, None] = {}

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            for part in value.values():
                look(part)
        elif isinstance(value, (list, tuple)):
            for part in value:
                look(part)
        elif isinstance(value, str) and value.startswith(("analysis/", "losses/", "accuracy/")):
            seen[value] = None

    look(found)
    return list(seen)


def described(**spec: Any) -> dict[str, Any]:
    """A description with all the arrays it names."""
    return {**spec, "arrays": arrays(spec)}


def chosen(spec: Mapping[str, Any], picks: Mapping[str, str]) -> dict[str, Any]:
    """A description after these choices in its menus, each by the name of the choice and that of the option; "view" is
    which of several views or quantities, "compare" what stands side by side ("none" for nothing). What is chosen is no
    longer compared. Raises UnknownNameError.
    """
    found = dict(spec)
    menus, compared = spec.get("choices", {}), spec.get("compare", [])
    shown = "views" if "views" in spec else "quantities"
    titles = [view["title"] for view in spec.get(shown, ())]
    known = [*menus, *(["view"] if len(titles) > 1 else []), *(["compare"] if compared else [])]
    for name in picks:
        if name not in known:
            raise UnknownNameError("choice of this panel", name, known)

    def place(name: str, *names: list[str]) -> int:
        for options in names:
            if picks[name] in options:
                return options.index(picks[name])
        raise UnknownNameError(f"option of {name!r}", picks[name], names[0])

    found["choices"] = {
        name: {**menu, "chosen": place(name, menu["options"], menu.get("brief", []))} if name in picks else menu
        for name, menu in menus.items()
    }
    if "view" in picks:
        first = spec[shown][place("view", titles)]
        found[shown] = [first, *(view for view in spec[shown] if view is not first)]
    if "compare" in picks:
        place("compare", [*compared, "none"])
        found["compare"] = [] if picks["compare"] == "none" else [picks["compare"]]
        if picks["compare"] in picks:
            raise TdwError(f"{picks['compare']} is chosen and compared at once: leave out one of both.")
    elif compared and compared[0] in picks:
        found["compare"] = []
    return found


def said(spec: Mapping[str, Any]) -> list[str]:
    """What is chosen where it matters for what is drawn, as the card says it."""
    drawn = [*spec.get("views", ())[:1], *(line for q in spec.get("quantities", ())[:1] for line in q["lines"])]
    used = {axis for one in drawn for axis in one.get("axes", ())} if drawn else set(spec.get("choices", ()))
    beside = (spec.get("compare") or [None])[0]
    return [
        f"{menu.get('word', '')}{menu.get('brief', menu['options'])[menu['chosen']]}"
        for name, menu in spec.get("choices", {}).items()
        if name in used and name != beside
    ]


def expanded(line: Line, spec: Mapping[str, Any]) -> list[Line]:
    """The lines that stand for one of a description, as the viewer first shows them: one for each option compared."""
    compared = (spec.get("compare") or [None])[0]
    if compared is None or compared not in line.get("axes", ()):
        return [line]
    options = spec["choices"][compared]["options"]
    return [line | {"label": label, "color": f"series-{i}", "picks": {compared: i}} for i, label in enumerate(options)]


def places(axes: Iterable[Any], spec: Mapping[str, Any], picks: Mapping[str, int] | None = None) -> tuple[Any, ...]:
    """The index into the axes after the rows, what is open left whole."""
    choices, picks = spec.get("choices", {}), picks or {}

    def one(axis: Any) -> Any:
        if isinstance(axis, int):
            return axis
        return slice(None) if axis in ("*", "y", "x") else picks.get(axis, choices[axis]["chosen"])

    return tuple(one(axis) for axis in axes)


def values(project: Project, line: Line, spec: Mapping[str, Any]) -> tuple[Array, Array]:
    """Epochs and numbers of a line, as stored."""
    name = line["array"]
    stored = project.series(name)
    if not name.startswith("analysis/"):
        known = np.flatnonzero(~np.isnan(stored))
        return project.epochs[known], stored[known]
    if line.get("whole"):
        return np.array(project.checkpoints)[: stored.shape[1]], stored[0]
    epochs = project.series(f"analysis/{name.split('/')[1]}/epoch")
    found = stored[:, *places(line.get("axes", ()), spec, line.get("picks"))]
    if "reduce" in line:
        leave = project.series(line["unless"]).astype(bool) if "unless" in line else np.zeros(found.shape, bool)
        leave = leave[: len(found)] | np.isnan(found[: len(leave)])
        rows = zip(found, leave, strict=False)  # the shorter of the two: analyses may cover different checkpoints
        found = np.array([_REDUCED[line["reduce"]](row[~out]) for row, out in rows]) / line.get("over", 1)
    return epochs[: len(found)], found


def _mean(row: Array) -> float:
    return float(row.mean()) if row.size else np.nan


def _median(row: Array) -> float:
    return float(np.median(row)) if row.size else np.nan


_REDUCED: dict[str, Callable[[Array], Any]] = {"sum": np.sum, "mean": _mean, "median": _median}


def result_at(project: Project, analysis: str, epoch: int) -> tuple[StoredResult, int]:
    """Stored results of an analysis and the row of `epoch` in them. Raises AnalysisNotFoundError or ProjectError."""
    stored = project.analysis(analysis)
    if epoch not in stored.checkpoints:
        raise ProjectError(
            f"{project.path.name} holds {analysis} of {len(stored.checkpoints)} of its {len(project.checkpoints)} "
            f"checkpoints, not of epoch {epoch}. `tdw analyze {project.path.name}` computes the rest."
        )
    return stored, stored.checkpoints.index(epoch)
