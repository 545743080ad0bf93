"""A run in lines of text: what `tdw info` prints, and commands when they have ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdw import config
from tdw.estimate import estimate
from tdw.safe_text import cut, typed, visible
from tdw.setting import as_text

if TYPE_CHECKING:
    from tdw.operations.compare import Against, Comparison
    from tdw.run import Run


COLUMN = 40  # characters of a column at most; `tdw compare --json` has whole texts


def plan(settings: config.RunConfig) -> str:
    """What a run will take: checkpoints, size, time."""
    cost = estimate(settings)
    return (
        f"{cost.checkpoints} checkpoints, {cost.megabytes:.1f} MB ({cost.analyzed_megabytes:.1f} MB when analyzed), "
        f"{duration(cost.seconds)} of training on this machine"
    )


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(42), duration(600), duration(10_000)
    ('about 42 s', 'about 10 min', 'about 2.8 h')
    """
    if seconds < 100:
        return f"about {max(seconds, 1):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6_000 else f"about {seconds / 3600:.1f} h"


def outcome(path: Path, finished: bool) -> list[str]:
    """What a training that has ended leaves."""
    from tdw.run import open as open_run

    with open_run(path) as run:
        reached = (
            f"{path}: {run.info()['epochs']} of {run.planned_epochs} epochs, {len(run.checkpoints)} checkpoints stored."
        )
        if not finished:
            return [f"{reached} Stopped; `tdw train {typed(path)}` goes on.", *_drifted(run.drifts())]
        return [reached, *learnt(run), *_drifted(run.drifts())]


def recovered(said: Sequence[str], losses: Sequence[str]) -> str:
    """How much of a file could be saved: all that was said about its parts, and what of that tells of a loss."""
    if losses:
        return "not all of it could be saved, see above."
    return "nothing was lost." if said else "nothing was damaged, this is a copy."


def learnt(run: Run) -> list[str]:
    """What happened in a run, in sentences: never a number that was not reached."""
    from tdw.analyses import events

    found = {event.name: event for event in run.events()}

    def line(verb: str, name: str) -> str:
        event = found[name]
        if event.first is None:
            return f"{verb}: {event.missing} ({event.label})"
        return f"{verb}: at epoch {events.between(event.first)} ({event.label})"

    lines = [line("memorized", events.MEMORIZED), line("generalized", events.GENERALIZED)]
    if (keys := run.keys) is not None:
        lines.append(f"key frequencies: {', '.join(map(str, keys.frequencies)) or 'none'} (rule {keys.rule})")
    return lines


def _network(settings: config.RunConfig) -> str:
    """Kind and sizes of the network; what is as usual is not said."""
    words = [] if settings.network == "transformer" else [settings.network]
    if "embedding" in settings.network_kind.capabilities:
        words += [f"d_model {settings.d_model}", f"{settings.heads} heads"]
        if settings.d_head * settings.heads != settings.d_model:
            words.append(f"d_head {settings.d_head}")
    words.append(f"d_mlp {settings.d_mlp}")
    usual = {"activation": "relu", "biases": "none", "classes": "answers"}
    words += [f"{name} {getattr(settings, name)}" for name, value in usual.items() if getattr(settings, name) != value]
    return " · ".join(words)


def _origin(run: Run) -> list[str]:
    """Which run this one branched off, and what it does otherwise."""
    branched = run.branched
    if branched is None:
        return []
    before, now = branched.get("settings", {}), run.config.to_json()
    changed = [
        f"{name.replace('_', ' ')} {as_text(now[name])} instead of {as_text(before[name])}"
        for name in now
        if name in before and name not in ("epochs", "checkpoints") and now[name] != before[name]
    ]
    line = f"branched off {branched.get('file')} at epoch {branched.get('at')}"
    return [f"{line}: {', '.join(changed)}" if changed else line]


def imported(origin: dict[str, Any] | None) -> list[str]:
    """Where a run was imported from and what was concluded, in lines."""
    if origin is None:
        return []
    lines = [f"imported from {origin['source']}: {origin['form']}"]
    for what in ("inferred", "converted", "contradicted"):
        lines += [f"{what}: {sentence}" for sentence in origin[what]]
    if origin["split"] is None:
        lines.append("split: not known")
    if origin["unknown"]:
        lines.append(f"not known: {', '.join(origin['unknown'])}")
    if origin["why_not"]:
        lines.append(f"it cannot be trained further: {origin['why_not']}")
    return lines


def _drifted(sentences: Sequence[str]) -> list[str]:
    return [f"does not repeat itself: {sentence}" for sentence in sentences]


def noted(notes: dict[str, Any]) -> list[str]:
    """What is noted about a run, in lines; a remark's own lines stand below each other."""
    lines = [f"title: {notes['title']}"] if notes["title"] else []
    if notes["tags"]:
        lines.append(f"tags: {', '.join(notes['tags'])}")
    if notes["remark"]:
        first, *more = notes["remark"].split("\n")
        lines += [f"remark: {first}", *(f"        {line}" for line in more)]
    return lines


def _settings_line(settings: config.RunConfig, unknown: Sequence[str]) -> str:
    """The settings that a reader asks for first; of an imported run, those that are known."""
    shown = {
        "task": settings.task,
        "p": f"mod {settings.p}",
        "d_model": _network(settings),
        "train_fraction": f"{settings.train_fraction:.0%} of the pairs in training",
        "lr": f"lr {settings.lr:g}",
        "weight_decay": f"weight decay {settings.weight_decay:g}",
    }
    said = {"d_model": "network not known", "train_fraction": "share of the pairs in training not known"}
    parts = [said.get(name, f"{name} not known") if name in unknown else text for name, text in shown.items()]
    return " · ".join([" ".join(parts[:2]), *parts[2:]])


def described(run: Run, information: dict[str, Any]) -> list[str]:
    """All of a run that `tdw info` prints; `information` is `Run.info()`."""
    settings = run.config
    stored = information["analyses"]
    results = ", ".join(name + (" (stale)" if item["stale"] else "") for name, item in stored.items())
    lines = [
        f"{run.path}: {information['state']}, {information['epochs']} of {information['planned_epochs']} epochs, "
        f"{information['size_bytes'] / 1e6:.1f} MB",
        _settings_line(settings, (run.imported or {}).get("unknown", [])),
        *noted(information),
        *_origin(run),
        *imported(run.imported),
    ]
    if run.checkpoints:
        lines.append(f"checkpoints ({len(run.checkpoints)}): {', '.join(map(str, run.checkpoints))}")
    if information["train_loss"] is not None:
        for side in ("train", "test"):
            loss, accuracy = information[f"{side}_loss"], information[f"{side}_accuracy"]
            if loss is not None:
                right = "" if accuracy is None else f", accuracy {accuracy:.4f}"
                lines.append(f"{side} loss {loss:.4g}{right}")
        lines += learnt(run)
    lines += _drifted(information["drift"])
    return [*lines, f"results: {results or 'none; `tdw analyze` makes them'}"]


def compared(comparison: Comparison) -> list[str]:
    """Runs side by side in columns, and what of the others is as in the first."""
    names = [Path(path).name for path in comparison.paths]
    if len(set(names)) < len(names):
        names = comparison.paths
    rows = [("", names), *comparison.different.items(), ("", [""] * len(names)), *comparison.facts.items()]
    cells = [[visible(cut(cell, COLUMN)) for cell in (name, *texts)] for name, texts in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    same = ", ".join(f"{name} {text}" for name, text in comparison.same.items())
    lines += ["", f"the same: {same}" if same else "no setting is the same"]
    for name, against in zip(names[1:], comparison.against, strict=True):
        lines += [f"{name} against {names[0]}:", *(f"  {line}" for line in _against(against))]
    return lines


def _against(against: Against) -> list[str]:
    lines = []
    for curve in against.curves:
        said = f"{curve.name.replace('_', ' ')}: "
        if not curve.epochs:
            said += "no epoch is recorded in both"
        elif curve.differs is None:
            said += f"equal bit for bit at all {curve.epochs} epochs recorded in both"
        else:
            said += f"differs from epoch {curve.differs} on, at most by {curve.largest:.4g} at epoch {curve.at}"
        lines.append(said)
    weights = against.weights
    if weights is None:
        lines.append("weights: of other shapes")
    elif weights.last is None:
        lines.append("weights: no checkpoint is in both")
    elif weights.differs is None:
        lines.append(f"weights: equal bit for bit at all {weights.checkpoints} checkpoints that both have")
    else:
        line = f"weights: differ from checkpoint {weights.differs} on"
        if weights.distance is not None:
            line += f"; at epoch {weights.last} the distance is {weights.distance:.4g} times the norm of the first"
        lines.append(line)
    return lines
