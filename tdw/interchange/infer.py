"""Infer the settings of another program's run from its weights, losses, optimizer state and the user's hints.

Each function adds sentences to `SourceRun.inferred`, `converted` or `contradicted` for what it concludes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdw import config
from tdw.config import TaskConfig
from tdw.errors import NotImportableError, SettingError
from tdw.interchange import adamw_state
from tdw.interchange.one_hot_layouts import is_one_hot, is_tied, unused
from tdw.interchange.source_run import MOST_EPOCHS, Raw, SourceCheckpoint, SourceRun
from tdw.interchange.split_search import pair_losses
from tdw.interchange.weight_layouts import (
    SUPPORTED,
    WIDENED,
    Kind,
    has_biases,
    read,
    superfluous,
    transposed,
    without_zero_biases,
)
from tdw.network.kinds import Nonlinearity
from tdw.network.segment import Arrays, Series, State
from tdw.recorded import is_recorded
from tdw.safe_text import cut
from tdw.setting import value_of
from tdw.tasks import TASKS, answers

OF_TRAINING = ("model_seed", "data_seed", "train_fraction", "lr", "weight_decay", "betas", "warmup")
DEFAULT = {item.name: item.default for item in config.settings()}
UNDECIDED = ("task", "activation")
ANSWERED = 0.9  # the share of correct answers from which weights answer a task
ALIKE = 0.9  # the share of the best guess's correct answers from which another one remains possible
MOST_GUESSES = 4  # of which the losses are compared
ROUNDING = 1e-6  # a cross-entropy of 0 may be computed as a negative number of this size


def check_losses(run: SourceRun, source: Path) -> None:
    """Remove curves without any value. Raises NotImportableError if there is nothing to import, or if a loss is negative."""
    for side in ("train", "test"):
        losses: Series | None = getattr(run, side)
        if losses is None:
            continue
        if (negative := losses[losses < -ROUNDING]).size:
            raise NotImportableError(
                f"{source} cannot be imported: its {side} losses contain {negative[0]:g}, but a cross-entropy cannot be "
                "negative."
            )
        if not is_recorded(losses).any():
            setattr(run, side, None)
    if not run.has_losses and not run.accuracy and not run.checkpoints:
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
        biased |= transposed(raw) or has_biases(arrays)
        if kind and (differs := next((name for name in kind if kind[name] != this[name]), None)) is not None:
            raise NotImportableError(
                f"{checkpoint.what} cannot be imported: it has {differs} {this[differs]}, but the other checkpoints have "
                f"{kind[differs]}."
            )
        kind = this
    if arrays is None:
        return {}, None
    _say_dropped_and_widened(run, run.checkpoints[-1].load())
    if not biased:
        kind["biases"] = "none"
        arrays = without_zero_biases(arrays)
    elif kind["biases"] == "mlp" and not transposed(run.checkpoints[-1].load()):
        run.inferred.append("the biases of the MLP were trained: they are not zero")
    return kind, arrays


def _say_dropped_and_widened(run: SourceRun, raw: Raw) -> None:
    if is_one_hot(raw):
        run.assumed += [
            f"{cut(name)} is a buffer that the network does not use: it was left out" for name in unused(raw)
        ]
        if is_tied(raw):
            run.converted.append("one input matrix is applied to both operands: it was stored for each of them")
            run.inferred.append("p is the smaller side of the input matrix")
    else:
        dropped = superfluous(raw, SUPPORTED)
        run.converted += [f"{cut(name)} was left out: it is {why}" for name, why in dropped.items()]
    dtypes = sorted({str(value.dtype).removeprefix("torch.") for value in raw.values()} & set(WIDENED))
    if dtypes:
        run.converted.append(f"{' and '.join(dtypes)} weights were widened to float32, which is exact")


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
        inner = (
            f"d_model {kind['d_model']}, {kind['heads']} heads of width {kind['d_head']} and "
            if "heads" in kind
            else ""
        )
        run.inferred.append(f"p = {kind['p']}, {inner}d_mlp {kind['d_mlp']} are the shapes of the weights")
    for name in ("p", "task", "activation", "attention_rate"):
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


@dataclass(frozen=True)
class Guess:
    """A task and an activation function that weights may have been trained with; correct: the share of all answers."""

    task: str
    activation: str
    correct: float


def conclude(run: SourceRun, settings: dict[str, Any], weights: Arrays) -> list[Guess]:
    """Add task and activation function to the settings where the answers of the weights decide them.

    Returns the guesses that remain if something is left open, what stands for an unknown value first. A task is decided if the weights answer it,
    and no other one nearly as well; networks that only memorized answer none. An activation function is decided if with any
    other one clearly fewer answers are correct: ReLU and GELU are often alike.
    """
    guesses = _guesses(settings, weights)
    if len(guesses) < 2:
        return []
    best, chance = guesses[0], 1 / settings["p"]
    rivals = [one for one in guesses if one.task != best.task]
    clear = all(best.correct > chance + 2 * (one.correct - chance) for one in rivals)
    if "task" not in settings and best.correct >= ANSWERED and clear:
        settings["task"] = best.task
        run.inferred.append(f"task {best.task}: {best.correct:.1%} of all answers are correct")
    open_ = [
        one for one in guesses if one.task == settings.get("task", one.task) and one.correct >= ALIKE * best.correct
    ]
    activations = {one.activation for one in open_}
    if "task" in settings and "activation" not in settings and len(activations) == 1 and best.correct > 2 * chance:
        (settings["activation"],) = activations
        run.inferred.append(
            f"activation {best.activation}: {best.correct:.1%} of all answers are correct with it, and clearly fewer with others"
        )
    if set(UNDECIDED) <= set(settings):
        return []
    usual = [
        one for one in guesses if all(settings.get(name, DEFAULT[name]) == getattr(one, name) for name in UNDECIDED)
    ]
    return [*usual, *(one for one in open_[:MOST_GUESSES] if one not in usual)]


def _guesses(settings: dict[str, Any], weights: Arrays) -> list[Guess]:
    """All tasks and activation functions that the settings leave open, the one with most correct answers first."""
    p = settings["p"]
    learnable = [task.name for task in TASKS.values() if task.answer is not None and task.refusal(p) is None]
    tasks = [settings["task"]] if "task" in settings else learnable
    activations = [settings["activation"]] if "activation" in settings else list(config.ACTIVATIONS)
    if len(tasks) == len(activations) == 1:
        return []
    right = {task: answers(np.arange(p * p), TaskConfig(task=task, p=p)) for task in tasks}
    found = []
    for activation in activations:
        predicted, _ = pair_losses(weights, Nonlinearity.of(settings | {"activation": activation}), [TaskConfig(p=p)])
        found += [Guess(task, activation, float((predicted == right[task]).mean())) for task in tasks]
    return sorted(found, key=lambda one: -one.correct)


def assume(run: SourceRun, settings: dict[str, Any], guesses: Sequence[Guess]) -> None:
    """Say what is assumed of a run where neither answers nor losses decide between these guesses."""
    if "task" not in settings:
        best = max(guesses, key=lambda one: one.correct)
        run.assumed.append(
            f"task {DEFAULT['task']}: the task is not known. The most correct answers, {best.correct:.1%}, are those of "
            f"{best.task}; --task states it"
        )
    if "activation" not in settings:
        shares: dict[str, float] = {}
        for one in guesses:
            shares[one.activation] = max(one.correct, shares.get(one.activation, 0))
        fit = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        run.assumed.append(
            f"activation {DEFAULT['activation']}: the activation function is not known. Correct answers with it: {fit}; "
            "--activation states it"
        )


def assume_attention(run: SourceRun, settings: dict[str, Any], *, verified: bool) -> bool:
    """Say that ordinary attention is assumed of weights in the layout of the program that also trains with an attention rate,
    where nothing states it. Returns whether it was assumed.

    verified: whether the weights have the stored losses
    """
    if "attention_rate" in settings or verified or not transposed(run.checkpoints[-1].load()):
        return False
    run.assumed.append(
        "attention rate 1: programs that store weights in this layout may also mix the attention with a constant (the "
        "attn_coeff of The Clock and the Pizza), which the weights do not tell; --attention-rate states it"
    )
    return True


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
    others = (len(curve) - 1 for curve in (*run.accuracy.values(), *run.curves.values()))
    last = max(1, train, test, *others, checkpoints[-1][0] if checkpoints else 0)
    if last > MOST_EPOCHS:
        raise NotImportableError(
            f"{source} cannot be imported: it has {last} epochs, but a run can have at most {MOST_EPOCHS}."
        )
    return last
