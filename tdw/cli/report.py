"""Runs as lines of text: the output of `tdw info`, `tdw compare`, and of commands that have finished."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdw import config
from tdw.estimate import estimate
from tdw.safe_text import cut, typed, visible
from tdw.setting import as_text
from tdw.text_format import between, count, duration, integers, short, size, times

if TYPE_CHECKING:
    from tdw.operations.compare import Against, Comparison
    from tdw.project.records import ImportedFrom, Notes
    from tdw.run import Run

COLUMN = 40  # width of a column in characters; `tdw compare --json` does not shorten


def plan(settings: config.RunConfig) -> str:
    """What a run will take: checkpoints, size and training time."""
    cost = estimate(settings)
    return (
        f"{count(cost.checkpoints, 'checkpoint')}, {size(cost.megabytes)} when trained ({size(cost.analyzed_megabytes)} with all analyses), "
        f"{duration(cost.seconds)} of training on this machine"
    )


def created(path: Path, settings: config.RunConfig, given: Mapping[str, str]) -> str:
    """The first line of `tdw train` on a missing file. given: the settings on the command line."""
    which = "the given and otherwise the default settings" if given else "the default settings"
    return f"{path} did not exist: created with {which}: {count(settings.epochs, 'epoch')}, {plan(settings)}."


def training_outcome(path: Path, finished: bool) -> list[str]:
    """The lines that `tdw train` prints at the end."""
    from tdw.run import open as open_run

    with open_run(path) as run:
        reached = f"{path}: {run.info()['epochs']} of {run.planned_epochs} epochs, {count(len(run.checkpoints), 'checkpoint')} stored."
        if not finished:
            return [f"{reached} Stopped; resume with `tdw train {typed(path)}`.", *_drifted(run.drifts())]
        return [reached, *summary(run), *_drifted(run.drifts())]


def recovered(messages: Sequence[str], losses: Sequence[str]) -> str:
    """How complete a recovery is, from all its messages and those of them that report a loss."""
    if losses:
        return "some data was lost, see above."
    return "nothing was lost." if messages else "the file was not damaged, this is a copy."


def summary(run: Run) -> list[str]:
    """Memorization, generalization and key frequencies of a run."""
    from tdw.analyses import events

    by_name = {event.name: event for event in run.events()}

    def line(verb: str, name: str) -> str:
        event = by_name[name]
        if event.first is None:
            return f"{verb}: {event.missing} ({event.label})"
        return f"{verb}: at epoch {between(event.first)} ({event.label})"

    lines = [line("memorized", events.MEMORIZED), line("generalized", events.GENERALIZED)]
    verdict = run.grokking()
    if verdict.delay and verdict.ratio:
        low, high = verdict.delay
        delay = integers(low, high)
        lines.append(
            f"grokking: {verdict.verdict} (delay {delay} epochs, {times(verdict.ratio)} × the time to memorize)"
        )
    if (keys := run.keys) is not None:
        found = f"key frequencies: {', '.join(map(str, keys.frequencies)) or 'none'} (rule {keys.rule}"
        stale = f", stale: the run goes on to epoch {run.checkpoints[-1]}" if keys.is_stale else ""
        lines.append(f"{found}, at epoch {keys.epoch}{stale})")
    return lines


def _network(settings: config.RunConfig, unknown: Sequence[str] = ()) -> str:
    """Kind and sizes of the network; usual values are left out, and unknown ones said to be."""
    words = [] if settings.network == "transformer" else [settings.network]
    words += [
        f"{item.name.replace('_', ' ')} {'unknown' if item.name in unknown else as_text(value)}"
        for item, value in settings.items()
        if item.chooser == "network" and (item.name in unknown or not (item.implied and value == item.default))
    ]
    if "embedding" in settings.network_kind.capabilities:
        words += [f"d_model {settings.d_model}", f"{settings.heads} heads"]
        if settings.d_head * settings.heads != settings.d_model:
            words.append(f"d_head {settings.d_head}")
    words.append(f"d_mlp {settings.d_mlp}")
    usual = {"activation": "relu", "biases": "none", "classes": "answers"}
    words += [
        f"{name} {'unknown' if name in unknown else getattr(settings, name)}"
        for name, value in usual.items()
        if name in unknown or getattr(settings, name) != value
    ]
    return " · ".join(words)


def imported(origin: ImportedFrom | None) -> list[str]:
    """Where a run was imported from, and what was inferred."""
    if origin is None:
        return []
    lines = [f"imported from {origin.source}: {origin.form}"]
    for what in ("assumed", "inferred", "converted", "contradicted"):
        lines += [f"{what}: {sentence}" for sentence in getattr(origin, what)]
    if origin.split is None:
        lines.append("train/test split: unknown")
    if origin.unknown:
        lines.append(f"unknown: {', '.join(origin.unknown)}")
    if origin.why_not:
        lines.append(f"training cannot be resumed: {origin.why_not}")
    return lines


def _drifted(sentences: Sequence[str]) -> list[str]:
    return [f"drift: {sentence}" for sentence in sentences]


def notes(notes: Notes) -> list[str]:
    """Title, tags and remark of a run; the lines of a remark are aligned."""
    lines = [f"title: {notes.title}"] if notes.title else []
    if notes.tags:
        lines.append(f"tags: {', '.join(notes.tags)}")
    if notes.remark:
        first, *more = notes.remark.split("\n")
        lines += [f"remark: {first}", *(f"        {line}" for line in more)]
    return lines


# Settings in the line of the network or of the run's state, or told by what they give: the listed checkpoints.
_TOLD_ELSEWHERE = frozenset(
    [
        "task",
        "p",
        "train_fraction",
        "network",
        "d_model",
        "heads",
        "d_head",
        "d_mlp",
        "activation",
        "biases",
        "classes",
        "epochs",
        "optimizer",
        "lr",
        "weight_decay",
        "checkpoints",
    ]
)


def _settings_line(settings: config.RunConfig, unknown: Sequence[str]) -> str:
    """The main settings, and all others that are not at their default; "unknown" for those that an import could not infer."""
    shown = {
        "task": settings.task,
        "p": f"mod {settings.p}",
        "d_model": _network(settings, unknown),
        "train_fraction": f"{_percent(settings.train_fraction)} of pairs in training",
        "lr": f"{'' if settings.optimizer == 'adamw' else settings.optimizer + ' '}lr {as_text(settings.lr)}",
        "weight_decay": f"weight decay {as_text(settings.weight_decay)}",
        **{
            item.name: f"{item.name.replace('_', ' ')} {as_text(value)}"
            for item, value in settings.items()
            if item.name not in _TOLD_ELSEWHERE and item.chooser != "network" and value != item.default
        },
    }
    labels = {"d_model": "network", "train_fraction": "training fraction"}
    parts = [f"{labels.get(name, name)} unknown" if name in unknown else text for name, text in shown.items()]
    return " · ".join([" ".join(parts[:2]), *parts[2:]])


def _percent(share: float) -> str:
    """A share in percent, or as a number where the percent would be rounded.

    >>> _percent(0.3), _percent(1 / 3)
    ('30%', '0.3333333333333333')
    """
    percent = round(100 * share, 6)
    return f"{as_text(percent)}%" if round(percent / 100, 8) == share else as_text(share)


def run_info(run: Run, information: dict[str, Any]) -> list[str]:
    """The lines that `tdw info` prints. information: `run.info()`."""
    from tdw.analyses import ANALYSES
    from tdw.analyses.engine.registry import UNKNOWN_TASK, presumes_task

    settings = run.config
    stored = information["analyses"]
    apply = {name: result for name, result in stored.items() if run.knows_task or not presumes_task(name)}
    results = ", ".join(name + (" (stale)" if result["stale"] else "") for name, result in apply.items())
    lines = [
        f"{run.path}: {information['state']}, {information['epochs']} of {information['planned_epochs']} epochs, "
        f"{size(information['size_bytes'] / 1e6)}",
        _settings_line(settings, run.unknown),
        *notes(run.notes),
        *([] if run.branched is None else run.branched.sentences(settings)),
        *imported(run.imported),
    ]
    if run.checkpoints:
        lines.append(f"checkpoints ({len(run.checkpoints)}): {', '.join(map(str, run.checkpoints))}")
    if information["train_loss"] is not None:
        for side in ("train", "test"):
            loss, accuracy = information[f"{side}_loss"], information[f"{side}_accuracy"]
            if loss is not None:
                suffix = "" if accuracy is None else f", accuracy {accuracy:.4f}"
                lines.append(f"{side} loss {'NaN' if math.isnan(loss) else short(loss)}{suffix}")
        lines += summary(run)
    lines += _drifted(information["drift"])
    if run.diverged is not None:
        lines.append(run.diverged.sentence)
    lines.append(f"results: {results or 'none; compute them with `tdw analyze`'}")
    if not run.knows_task and run.checkpoints:
        lines.append(f"not applicable: {', '.join(filter(presumes_task, ANALYSES))}. {UNKNOWN_TASK}")
    return lines


def comparison(result: Comparison) -> list[str]:
    """Runs side by side in columns, and how closely each agrees with the first."""
    names = [Path(path).name for path in result.paths]
    if len(set(names)) < len(names):
        names = result.paths
    rows = [("", names), *result.different.items(), ("", [""] * len(names)), *result.facts.items()]
    cells = [[visible(cut(cell, COLUMN)) for cell in (name, *texts)] for name, texts in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    same = ", ".join(f"{name} {text}" for name, text in result.same.items())
    lines += ["", f"equal settings: {same}" if same else "no equal settings"]
    for name, against in zip(names[1:], result.against, strict=True):
        lines += [f"{name} compared with {names[0]}:", *(f"  {line}" for line in _against(against))]
    return lines


def _against(against: Against) -> list[str]:
    lines = []
    for curve in against.curves:
        line = f"{curve.name.replace('_', ' ')}: "
        if not curve.epochs:
            line += "no epoch is recorded in both"
        elif curve.differs is None:
            line += f"equal bit for bit at all {count(curve.epochs, 'epoch')} recorded in both"
        else:
            line += f"differs from epoch {curve.differs}, by at most {curve.largest:.4g} at epoch {curve.at}"
        lines.append(line)
    weights = against.weights
    if weights is None:
        lines.append("weights: different shapes")
    elif weights.last is None:
        lines.append("weights: no common checkpoint")
    elif weights.differs is None:
        lines.append(f"weights: equal bit for bit at all {count(weights.checkpoints, 'common checkpoint')}")
    else:
        line = f"weights: differ from checkpoint {weights.differs}"
        if weights.distance is not None:
            line += f"; relative distance {weights.distance:.4g} at epoch {weights.last}"
        lines.append(line)
    return lines
