"""A stored AdamW optimizer: its settings, and the state from which training resumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tdw.errors import NotImportableError
from tdw.interchange.importers.nanda import updates
from tdw.interchange.one_hot_layouts import is_tied
from tdw.interchange.source_run import Raw, SourceRun
from tdw.interchange.weight_layouts import BUFFERS, read
from tdw.network.optimizers import EPS, OPTIMIZERS
from tdw.network.segment import Arrays, State
from tdw.safe_text import cut

ADAMW = OPTIMIZERS["adamw"]
WARMUP = 10  # updates in Nanda's code. Its scheduler is a function, which a file does not contain.


def settings_of(run: SourceRun) -> dict[str, Any]:
    """The settings of the optimizer and the scheduler. Adds to `run.inferred` and `run.contradicted`."""
    group = _group(run.optimizer)
    settings: dict[str, Any] = {}
    for theirs, ours in (("initial_lr", "lr"), ("lr", "lr"), ("weight_decay", "weight_decay"), ("betas", "betas")):
        if theirs not in group or ours in settings:
            continue
        try:
            value = tuple(float(item) for item in group[theirs]) if ours == "betas" else float(group[theirs])
        except (TypeError, ValueError, RuntimeError):
            continue  # not a number
        settings[ours] = value
        if ours in run.settings and run.settings[ours] != value:
            run.contradicted.append(
                f"the config says {ours} {_shown(run.settings[ours])}, but the optimizer used {_shown(value)}: the value of "
                "the optimizer was used"
            )
    if settings:
        run.inferred.append("learning rate, weight decay and betas are from the stored optimizer")
    if run.scheduler is not None and "lr_lambdas" in run.scheduler:
        settings["warmup"] = WARMUP
        train = run.train
        if train is not None and len(train) > 1 and np.isfinite(train[:2]).all() and train[0] != train[1]:
            del settings["warmup"]
            run.contradicted.append(
                "a scheduler is stored, but the first update changed the loss: it is not the warmup of Nanda's code, which "
                "starts at 0"
            )
        else:
            run.inferred.append(f"the stored scheduler is the warmup of Nanda's code, over {WARMUP} updates")
    return settings


def state_of(run: SourceRun, raw: Raw, weights: Arrays, epoch: int) -> State | str:
    """The state from which training resumes after the last update; or a sentence that says why there is none.

    raw: the last weights as in the file; weights: in the layout of this program; epoch: number of updates
    """
    optimizer = run.optimizer
    if run.why_not is not None:
        return run.why_not
    if not optimizer or not isinstance(optimizer.get("state"), dict) or not optimizer["state"]:
        return "it has no optimizer state"
    if is_tied(raw):
        return "its operands share one input matrix, and training here would change one for each"
    group = _group(optimizer)
    slots_found = {str(slot) for item in optimizer["state"].values() if isinstance(item, dict) for slot in item} - {
        "step"
    }
    if not set(ADAMW.slots) <= slots_found:
        shown = ", ".join(cut(slot, 30) for slot in sorted(slots_found)[:4]) or "nothing"
        return f"its optimizer is not AdamW: it stores {shown} instead of {' and '.join(ADAMW.slots)}"
    options = {"amsgrad": False, "maximize": False, "eps": EPS}
    if differs := [
        f"{name} {cut(str(group[name]), 20)}" for name, usual in options.items() if group.get(name, usual) != usual
    ]:
        return f"its AdamW has options that are not supported ({', '.join(differs)})"
    if group.get("decoupled_weight_decay") is False and group.get("weight_decay"):
        return "its optimizer is Adam with L2 weight decay, not AdamW"
    if len(_groups(optimizer)) != 1:
        return "its optimizer has several parameter groups"
    if updates(optimizer) != epoch:
        return "its optimizer counted a different number of updates"
    if run.scheduler is not None and "lr_lambdas" not in run.scheduler:
        return "its learning rate schedule is not supported"
    if epoch >= WARMUP and "initial_lr" in group and group.get("lr") != group["initial_lr"]:
        return "its learning rate schedule is not supported"
    names = [name for name in raw if name not in BUFFERS]
    if len(optimizer["state"]) != len(names) or list(optimizer["state"]) != list(range(len(names))):
        return "the parameters of its optimizer do not match the network"
    slots: dict[str, Arrays] = {}
    for part in ADAMW.slots:
        given = {name: optimizer["state"][index].get(part) for index, name in enumerate(names)}
        try:
            arrays, _ = read({name: _tensor(value, raw[name]) for name, value in given.items()}, part)
        except NotImportableError as error:
            return f"its optimizer state does not match the weights ({cut(str(error), 200)})"
        slots[part] = {name: arrays[name] for name in weights}
    if any((array < 0).any() for part in ADAMW.squares for array in slots[part].values()):
        return "its optimizer state is invalid (negative mean squares)"
    return State(epoch, weights, slots)


def undone(state: State, settings: Mapping[str, Any]) -> Arrays:
    """The weights before the last update, computed from AdamW's moments after it, up to float32 rounding.

    AdamW updates a weight w to (1 - lr * decay) * w - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps).
    """
    done, (beta1, beta2) = state.epoch, settings["betas"]
    warmup = settings.get("warmup", 0)
    lr = settings["lr"] * (min((done - 1) / warmup, 1) if warmup else 1)
    earlier: Arrays = {}
    for name, after in state.weights.items():
        m, v = (part[name].astype(np.float64) for part in (state.slots[slot] for slot in ADAMW.slots))
        step = lr * m / (1 - beta1**done) / (np.sqrt(v / (1 - beta2**done)) + EPS)
        earlier[name] = ((after + step) / (1 - lr * settings["weight_decay"])).astype(np.float32)
    return earlier


def _tensor(value: Any, weight: Any) -> Any:
    """A moment, checked to have the shape of its weight."""
    if not hasattr(value, "shape") or tuple(value.shape) != tuple(weight.shape):
        raise NotImportableError("a moment has a different shape than its weight")
    return value


def _group(optimizer: Mapping[str, Any] | None) -> Mapping[str, Any]:
    groups = _groups(optimizer)
    return groups[0] if groups and isinstance(groups[0], dict) else {}


def _groups(optimizer: Mapping[str, Any] | None) -> list[Any]:
    """The parameter groups that have parameters: Hugging Face's Trainer makes one for biases, which may be empty."""
    groups = optimizer.get("param_groups") if optimizer else None
    return (
        [one for one in groups if not isinstance(one, dict) or one.get("params") != []]
        if isinstance(groups, list)
        else []
    )


def _shown(value: Any) -> str:
    return ", ".join(f"{item:g}" for item in value) if isinstance(value, tuple) else f"{value:g}"
