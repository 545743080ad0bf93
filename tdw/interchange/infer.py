"""Infer the settings of another program's run from its weights, losses, optimizer state and the user's hints.

Each function adds sentences to `SourceRun.inferred`, `converted` or `contradicted` for what it concludes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdw import config
from tdw.config import TaskConfig
from tdw.errors import NotImportableError, SettingError
from tdw.interchange import adamw_state
from tdw.interchange.importers.nanda import STRIDES
from tdw.interchange.source_run import MOST_EPOCHS, SourceCheckpoint, SourceRun
from tdw.interchange.split_search import pair_losses
from tdw.interchange.weight_layouts import MLP_BIASES, Kind, read, transposed, without_zero_biases
from tdw.network.segment import Arrays, Series, State
from tdw.setting import value_of
from tdw.tasks import TASKS, answers

OF_TRAINING = ("model_seed", "data_seed", "train_fraction", "lr", "weight_decay", "betas", "warmup")
ROUNDING = 1e-6  # a cross-entropy of 0 may be computed as a negative number of this size


def check_losses(run: SourceRun, source: Path) -> None:
    """Remove infinite losses, and curves without any loss. Raises NotImportableError if there is nothing left to import,
    or if a loss is negative.
    """
    for side in ("train", "test"):
        losses: Series | None = getattr(run, side)
        if losses is None:
            continue
        if (negative := losses[losses < -ROUNDING]).size:
            raise NotImportableError(
                f"{source} cannot be imported: its {side} losses contain {negative[0]:g}, but a cross-entropy cannot be "
                "negative."
            )
        if infinite := int(np.isinf(losses).sum()):
            run.converted.append(
                f"{infinite} infinite {side} loss{'es' if infinite > 1 else ''} {'were' if infinite > 1 else 'was'} left out"
            )
            losses[np.isinf(losses)] = np.nan
        if np.isnan(losses).all():
            setattr(run, side, None)
    if run.train is None and run.test is None and not run.checkpoints:
        raise NotImportableError(f"{source} cannot be imported: it has neither weights nor finite losses.")


def read_weights(run: SourceRun) -> tuple[Kind, Arrays | None]:
    """Read all checkpoints once. Returns the settings given by the shapes, and the weights of the last checkpoint.

    Raises NotImportableError if a checkpoint cannot be read or differs from the others.
    """
    kind: Kind = {}
    arrays: Arrays | None = None
    biased = False
    labels: set[int | None] = set()
    for checkpoint in run.checkpoints:
        if checkpoint.label in labels:
            raise NotImportableError(
                f"{checkpoint.what} cannot be imported: there is another checkpoint at epoch {checkpoint.label}."
            )
        labels.add(checkpoint.label)
        raw = checkpoint.load()
        arrays, this = read(raw, checkpoint.what)
        biased |= transposed(raw) or any(np.any(arrays[name]) for name in MLP_BIASES if name in arrays)
        if kind and (differs := next((name for name in kind if kind[name] != this[name]), None)) is not None:
            raise NotImportableError(
                f"{checkpoint.what} cannot be imported: it has {differs} {this[differs]}, but the other checkpoints have "
                f"{kind[differs]}."
            )
        kind = this
    if arrays is None:
        return {}, None
    if not biased:
        kind["biases"] = "none"
        arrays = without_zero_biases(arrays)
    elif kind["biases"] == "mlp" and not transposed(run.checkpoints[-1].load()):
        run.inferred.append("the biases of the MLP were trained: they are not zero")
    return kind, arrays


def merge_settings(run: SourceRun, kind: Kind, hints: dict[str, Any], source: Path) -> dict[str, Any]:
    """The settings given by the source and the hints. Shapes of the weights take precedence over everything else.

    Raises SettingError for a hint that contradicts the weights.
    """
    settings = dict(run.settings) | adamw_state.settings_of(run)
    declared = {item.name: item for item in config.settings()}
    for name in OF_TRAINING:
        try:
            if name in settings:
                value_of(declared[name], settings[name])
        except SettingError as error:
            run.contradicted.append(f"the {name} of the source is not allowed here and was left out ({error})")
            del settings[name]
    for name, claim in run.claims.items():
        if name in kind and kind[name] != claim:
            run.contradicted.append(
                f"the config says {name} {claim}, but the weights have {kind[name]}: the value of the weights was used"
            )
    settings |= kind or run.claims
    if kind:
        run.inferred.append(
            f"p = {kind['p']}, d_model {kind['d_model']}, {kind['heads']} heads of width {kind['d_head']} and d_mlp "
            f"{kind['d_mlp']} are the shapes of the weights"
        )
    for name in ("p", "task", "activation"):
        if name not in hints:
            continue
        if name == "p" and kind and kind["p"] != hints["p"]:
            raise SettingError("p", f"--p must be {kind['p']}, as in the weights of {source.name} (got {hints['p']})")
        if name in run.settings and run.settings[name] != hints[name]:
            run.contradicted.append(
                f"the source says {name} {run.settings[name]}; it was imported as {hints[name]}, as requested"
            )
        settings[name] = hints[name]
    return settings


def possible_strides(run: SourceRun, hints: dict[str, Any], source: Path) -> list[int]:
    """Possible numbers of epochs between two test losses, most likely first. Raises NotImportableError, SettingError."""
    requested = hints.get("test_stride")
    if run.train is None or run.test is None or len(run.test) >= len(run.train):
        if requested not in {None, 1} and (run.test is None or run.train is not None):
            raise SettingError(
                "test_stride",
                f"--test-stride does not apply to {source.name}, which has a test loss for every epoch or none "
                f"(got {requested}): leave it out",
            )
        return [requested or 1]
    epochs, count = len(run.train), len(run.test)
    if not count:
        run.test = None
        return [1]
    if requested is not None:
        if (count - 1) * requested > epochs:
            raise SettingError(
                "test_stride",
                f"--test-stride must be at most {epochs // (count - 1)} for {count} test losses in {epochs} epochs "
                f"(got {requested})",
            )
        return [requested]
    fits = [k for k in range(1, epochs + 1) if count in {epochs // k, -(-epochs // k)}] if count > 1 else []
    fits.sort(key=lambda k: STRIDES.index(k) if k in STRIDES else len(STRIDES) + k)
    if not fits:
        raise NotImportableError(
            f"{source} cannot be imported: its {count} test losses for {epochs} epochs do not fit a constant stride: give "
            "--test-stride."
        )
    return fits[:3]


def label_single(run: SourceRun, hints: dict[str, Any], source: Path) -> bool:
    """Set the epoch of a file's only weights from the hint or to 1. Returns whether it is unknown. Raises SettingError."""
    requested = hints.get("epoch")
    single = len(run.checkpoints) == 1 and run.train is None and run.optimizer is None
    if requested is not None:
        if not single:
            raise SettingError(
                "epoch",
                f"--epoch does not apply to {source.name}, which gives the epochs of its weights (got {requested}): leave "
                "it out",
            )
        run.checkpoints = [
            SourceCheckpoint(requested - run.epoch_offset, run.checkpoints[0].load, run.checkpoints[0].what)
        ]
    elif single and run.checkpoints[0].label is None:
        run.inferred.append(
            "the file does not give the epoch of its weights: it is assumed to be 1; --epoch gives another"
        )
        # Not at epoch 0, which would mean untrained.
        run.checkpoints = [SourceCheckpoint(1 - run.epoch_offset, run.checkpoints[0].load, run.checkpoints[0].what)]
        return True
    return False


def infer_task(run: SourceRun, settings: dict[str, Any], weights: Arrays) -> None:
    """Infer the task and the activation function, where unknown, as those for which the weights give correct answers."""
    learnable = [
        task.name for task in TASKS.values() if task.answer is not None and task.refusal(settings["p"]) is None
    ]
    tasks = [settings["task"]] if "task" in settings else learnable
    activations = [settings["activation"]] if "activation" in settings else list(config.ACTIVATIONS)
    if len(tasks) == len(activations) == 1:
        return
    p = settings["p"]
    correct: dict[tuple[str, str], int] = {}
    for activation in activations:
        predicted, _ = pair_losses(weights, activation, [TaskConfig(p=p)])
        for task in tasks:
            right_answers = answers(np.arange(p * p), TaskConfig(task=task, p=p))
            correct[task, activation] = int((predicted == right_answers).sum())
    (task, activation), most = max(correct.items(), key=lambda item: item[1])
    chance, spread = p, np.sqrt(p)  # about p of p * p guesses are correct
    clear = most > chance + 8 * spread and all(
        most > chance + 2 * (count - chance) or one == (task, activation) or one[0] == task
        for one, count in correct.items()
    )
    if clear:
        if "task" not in settings:
            settings["task"] = task
            run.inferred.append(f"task {task}: {most / p**2:.1%} of all answers are correct")
        if "activation" not in settings:
            relu = correct.get((task, "relu"), 0)
            if relu >= 0.9 * most:
                activation = "relu"
            settings["activation"] = activation
            run.inferred.append(
                f"activation {activation}: {correct[task, activation] / p**2:.1%} of all answers are correct with it"
            )


def one_update_earlier(run: SourceRun, settings: dict[str, Any], last: Arrays) -> SourceCheckpoint | None:
    """The last weights before their last update, if the optimizer state determines them; else None."""
    checkpoint = run.checkpoints[-1]
    if checkpoint.label is None or not {"lr", "weight_decay", "betas"} <= set(settings):
        return None
    if checkpoint.label - 1 in {other.label for other in run.checkpoints} or checkpoint.label + run.epoch_offset < 1:
        return None
    state = adamw_state.state_of(run, checkpoint.load(), last, checkpoint.label + run.epoch_offset)
    if not isinstance(state, State):
        return None
    weights = adamw_state.undone(state, settings)
    return SourceCheckpoint(checkpoint.label - 1, lambda: weights, f"{checkpoint.what} before its last update")


def last_epoch(run: SourceRun, checkpoints: Sequence[tuple[int, SourceCheckpoint]], stride: int, source: Path) -> int:
    """The last epoch that has a loss or a checkpoint. Raises NotImportableError if it is too large."""
    train = 0 if run.train is None else len(run.train) - 1
    test = 0 if run.test is None else (len(run.test) - 1) * stride + run.test_offset
    last = max(1, train, test, checkpoints[-1][0] if checkpoints else 0)
    if last > MOST_EPOCHS:
        raise NotImportableError(
            f"{source} cannot be imported: it has {last} epochs, but a run can have at most {MOST_EPOCHS}."
        )
    return last
