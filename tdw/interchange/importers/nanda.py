"""Read files of Nanda's grokking code (`.pth`): the last weights, many checkpoints, or losses only.

    model                      weights, in the layout described in `tdw.interchange.weight_layouts`
    state_dicts, epochs        many sets of weights, and the epoch at which each was stored
    train_losses, test_losses  measured before each update; test losses may be recorded every tenth epoch only
    optimizer, scheduler       AdamW's state after the last update; a warmup of ten updates
    epoch, config              the program's settings, which may differ from those that the optimizer used

The loss of an epoch is measured before its update and the weights are stored after it, so weights labeled e are at epoch
e + 1 here. The grokking demo of TransformerLens stores a similar file (`checkpoints`, `checkpoint_epochs`,
`train_indices`), whose test losses are measured after the update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import NotImportableError
from tdw.interchange import cadence
from tdw.interchange.source_run import MOST_EPOCHS, Raw, SourceCheckpoint, SourceRun, integer, number, numbers
from tdw.interchange.stated import read_settings
from tdw.interchange.weight_layouts import is_state
from tdw.network.segment import Series
from tdw.recorded import nan_as_recorded
from tdw.tasks import Split

OPTIMIZER = ("optimizer", "optimizer_state_dict")
MODEL = ("model", "model_state_dict", "state_dict")


def read(loaded: Any, path: Path, stride: int | None = None) -> SourceRun | None:
    """The contents of such a file; None if it has another form. stride: epochs between two train losses, by a hint.

    Raises NotImportableError, SettingError for a hint that does not fit.
    """
    if not isinstance(loaded, dict) or is_state(loaded):
        return None
    what = str(path)
    model = next((loaded[name] for name in MODEL if is_state(loaded.get(name))), None)
    many = is_states(loaded.get("state_dicts"))
    demo = is_states(loaded.get("checkpoints")) and "checkpoint_epochs" in loaded
    train, test = (_curve(loaded, side, what) for side in ("train", "test"))
    if model is None and not many and not demo and train is None and test is None:
        return None
    run = SourceRun("a file of Nanda's grokking code", train=train, test=test, epoch_offset=1, placed=True)
    run.optimizer = next((found for name in OPTIMIZER if (found := _table(loaded.get(name))) is not None), None)
    run.scheduler = _table(loaded.get("scheduler"))
    if many or demo:
        states, labels = ("state_dicts", "epochs") if many else ("checkpoints", "checkpoint_epochs")
        run.checkpoints = _checkpoints(loaded[states], loaded.get(labels), what)
        run.form += ", with many checkpoints"
        if demo:
            run.form = "a file of TransformerLens' grokking demo"
            run.test_offset, run.likely_rule = 1, "torch"
    if model is not None:
        _add_last(run, model, loaded, what, stride)
    else:
        last = max((checkpoint.label or 0 for checkpoint in run.checkpoints), default=None)
        known = integer(loaded["epoch"], "epoch", what) if "epoch" in loaded else last
        if run.train is not None and "train_losses" in loaded:
            _spread(run, len(run.train), _totals(known), stride, what)
        if not run.checkpoints:
            run.form = "losses without weights, as stored by Nanda's grokking code"
    run.pairs = _pairs(loaded, what)
    if "config" in loaded:
        _read_config(run, loaded["config"], path)
    return run


def is_states(value: Any) -> bool:
    """Whether a value is a list of state dicts."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(is_state, value))


def _table(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _curve(loaded: Mapping[str, Any], side: str, what: str) -> Series | None:
    """The losses of a side; if the file has the loss of one epoch only, NaN at the others."""
    if loaded.get(f"{side}_losses") is not None:
        return numbers(loaded[f"{side}_losses"], f"{side}_losses", what)
    if loaded.get(f"{side}_loss") is None or "epoch" not in loaded:
        return None
    at = integer(loaded["epoch"], "epoch", what)
    if not 0 <= at <= MOST_EPOCHS:
        return None
    curve = np.full(at + 1, np.nan)
    curve[at:] = nan_as_recorded([number(loaded[f"{side}_loss"], f"{side}_loss", what)])
    return curve


def _checkpoints(states: Sequence[Raw], labels: Any, what: str) -> list[SourceCheckpoint]:
    if not isinstance(labels, list | tuple | range) or len(labels) != len(states):
        raise NotImportableError(
            f"{what} cannot be imported: it has {len(states)} checkpoints without an epoch for each."
        )
    epochs = [integer(label, "epochs", what) for label in labels]
    for epoch in epochs:
        if not 0 <= epoch <= MOST_EPOCHS:
            raise NotImportableError(
                f"{what} cannot be imported: the epoch of a checkpoint must be from 0 to {MOST_EPOCHS} (got {epoch})."
            )
        if epochs.count(epoch) > 1:
            raise NotImportableError(f"{what} cannot be imported: two of its checkpoints have epoch {epoch}.")
    checkpoints = [
        SourceCheckpoint(epoch, lambda state=state: state, f"{what}, the checkpoint of epoch {epoch},")  # type: ignore[misc]
        for epoch, state in zip(epochs, states, strict=True)
    ]
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.label or 0)


def _add_last(run: SourceRun, model: Raw, loaded: Mapping[str, Any], what: str, stride: int | None) -> None:
    """Add the weights after the last update, with the number of updates inferred from optimizer, losses or epoch."""
    losses = None if "train_losses" not in loaded or run.train is None else len(run.train)
    epoch = integer(loaded["epoch"], "epoch", what) if "epoch" in loaded else None
    steps = updates(run.optimizer)
    if losses:
        losses = _spread(run, losses, _totals(epoch) if steps is None else [steps], stride, what)
    if steps is not None:
        after = steps
        run.inferred.append(f"the weights are at epoch {after}, the number of updates counted by the optimizer")
    elif losses is not None:
        after = losses
        run.inferred.append(f"the weights are at epoch {after}, the number of train losses")
    elif epoch is not None:
        after = epoch + 1
        run.converted.append(
            f"the source labels the weights with epoch {epoch} and they include one more update: epoch {after} here"
        )
    else:
        run.checkpoints.append(SourceCheckpoint(None, lambda: model, what))
        return
    for count, name in ((losses, "train losses"), (epoch, "epoch")):
        if count is not None and count not in ({after} if name == "train losses" else {after, after - 1}):
            run.contradicted.append(f"{name} in the source: {count}; the weights were stored at epoch {after}")
    if after == 0:
        run.contradicted.append("the optimizer counted no updates: the weights were stored as untrained")
    if after - 1 not in {checkpoint.label for checkpoint in run.checkpoints}:
        run.checkpoints.append(SourceCheckpoint(after - 1, lambda: model, what))
        run.checkpoints.sort(key=lambda checkpoint: -1 if checkpoint.label is None else checkpoint.label)


def _totals(label: int | None) -> list[int]:
    """The numbers of epochs that the last label may mean."""
    return [] if label is None else [label + 1, label]


def _spread(run: SourceRun, losses: int, totals: Sequence[int], stride: int | None, what: str) -> int:
    """Put the train losses where they belong if there are fewer than one of these numbers of epochs. Returns their number."""
    if (sparse := cadence.stride_of(losses, totals, stride, what)) is None:
        return losses
    cadence.spread(run, *sparse)
    return sparse[1]


def updates(optimizer: Mapping[str, Any] | None) -> int | None:
    """The number of updates counted by an optimizer state; None if its parameters differ in it, or there is no state."""
    state = optimizer.get("state") if optimizer else None
    if not isinstance(state, dict) or not state:
        return None
    steps = set()
    for item in state.values():
        try:
            steps.add(float(item["step"]))
        except (TypeError, KeyError, ValueError, RuntimeError):
            return None
    step = steps.pop()
    return int(step) if not steps and step.is_integer() and 0 <= step <= MOST_EPOCHS else None


def _pairs(loaded: Mapping[str, Any], what: str) -> Split | None:
    """The split, if the file lists it: as indices, or as pairs (a, b, …) in `init.pth`."""
    for one, other in (("train_indices", "test_indices"), ("train_data", "test_data")):
        if one in loaded and other in loaded:
            if one == "train_indices":
                sides = [numbers(loaded[name], name, what) for name in (one, other)]
                return Split(*(side.astype(np.int64) for side in sides))
            return _listed(loaded[one], loaded[other])
    return None


def _listed(train: Any, test: Any) -> Split | None:
    """The split from pairs given as (a, b, '='), where '=' is p; None if they have another form."""
    try:
        sides = [np.array([[int(item) for item in pair] for pair in side], np.int64) for side in (train, test)]
    except (TypeError, ValueError, OverflowError):
        return None  # not a list of pairs; the split is then inferred
    if any(side.ndim != 2 or side.shape[1] != 3 or not side.size for side in sides):
        return None
    p = sides[0][0, 2]
    return Split(*(side[:, 0] * p + side[:, 1] for side in sides))


def _read_config(run: SourceRun, config: Any, path: Path) -> None:
    """Add the settings in the file's config. Raises NotImportableError for runs that are not supported."""
    if not isinstance(config, dict):
        run.contradicted.append(f"the config of the source is a {type(config).__name__} and was ignored")
        return
    read_settings(run, config, path, ("python", "torch"))
    if "num_epochs" in config and run.train is not None:
        planned = integer(config["num_epochs"], "num_epochs", str(path))
        if planned != len(run.train):
            run.contradicted.append(
                f"the config plans {planned} epochs, but {len(run.train)} train losses were recorded: their number was used"
            )
