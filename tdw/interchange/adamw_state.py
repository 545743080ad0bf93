"""What a stored AdamW says of settings, and the state that training goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tdw.errors import NotImportableError
from tdw.interchange.importers.nanda import updates
from tdw.interchange.source_run import Foreign, Raw
from tdw.interchange.weight_layouts import BUFFERS, read
from tdw.network.optimizers import EPS, OPTIMIZERS
from tdw.network.segment import Arrays, State
from tdw.safe_text import cut

ADAMW = OPTIMIZERS["adamw"]
WARMUP = 10  # of Nanda's code: its scheduler stores a function, which says nothing


def settings_of(found: Foreign) -> dict[str, Any]:
    """The settings that the optimizer and the scheduler had. Adds to what contradicts the file's config."""
    group = _group(found.optimizer)
    settings: dict[str, Any] = {}
    for theirs, ours in (("initial_lr", "lr"), ("lr", "lr"), ("weight_decay", "weight_decay"), ("betas", "betas")):
        if theirs not in group or ours in settings:
            continue
        try:
            value = tuple(float(item) for item in group[theirs]) if ours == "betas" else float(group[theirs])
        except (TypeError, ValueError, RuntimeError):
            continue  # it says nothing that is a number
        settings[ours] = value
        if ours in found.settings and found.settings[ours] != value:
            found.contradicted.append(
                f"the config there says {ours} {_shown(found.settings[ours])}, and the optimizer used {_shown(value)}: the optimizer is right"
            )
    if settings:
        found.inferred.append("learning rate, weight decay and betas are those of the stored optimizer")
    if found.scheduler is not None and "lr_lambdas" in found.scheduler:
        settings["warmup"] = WARMUP
        train = found.train
        if train is not None and len(train) > 1 and np.isfinite(train[:2]).all() and train[0] != train[1]:
            del settings["warmup"]
            found.contradicted.append(
                "a scheduler is stored, and the first update changed the loss: it is not the warmup of that code, which begins at 0"
            )
        else:
            found.inferred.append(f"the stored scheduler is the warmup over {WARMUP} updates of that code")
    return settings


def state_of(found: Foreign, raw: Raw, weights: Arrays, epoch: int) -> State | str:
    """The state that training goes on from after the last update, or why there is none, in words.

    raw: the last weights as they are in the file; weights: as they are here.
    """
    optimizer = found.optimizer
    if not optimizer or not isinstance(optimizer.get("state"), dict) or not optimizer["state"]:
        return "no state of an optimizer is stored"
    group = _group(optimizer)
    if group.get("amsgrad") or group.get("maximize") or group.get("eps", EPS) != EPS:
        return "the optimizer is another than this program's AdamW (amsgrad, maximize or eps)"
    if group.get("decoupled_weight_decay") is False and group.get("weight_decay"):
        return "the optimizer is Adam, whose weight decay is another than AdamW's"
    if len(optimizer.get("param_groups") or ()) != 1:
        return "the optimizer has several groups of parameters"
    if updates(optimizer) != epoch:
        return "the optimizer did not count the same number of updates for every weight"
    if found.scheduler is not None and "lr_lambdas" not in found.scheduler:
        return "the learning rate followed a schedule that this program does not have"
    if epoch >= WARMUP and "initial_lr" in group and group.get("lr") != group["initial_lr"]:
        return "the learning rate followed a schedule that this program does not have"
    names = [name for name in raw if name not in BUFFERS]
    if len(optimizer["state"]) != len(names) or list(optimizer["state"]) != list(range(len(names))):
        return "the optimizer's parameters are not those of the network"
    slots: dict[str, Arrays] = {}
    for part in ADAMW.slots:
        given = {name: optimizer["state"][index].get(part) for index, name in enumerate(names)}
        try:
            arrays, _ = read({name: _tensor(value, raw[name]) for name, value in given.items()}, part)
        except NotImportableError as error:
            return f"the optimizer's state does not go with the weights ({cut(str(error), 200)})"
        slots[part] = {name: arrays[name] for name in weights}
    if any((array < 0).any() for part in ADAMW.squares for array in slots[part].values()):
        return "the optimizer's state does not go with the weights (squares below 0)"
    return State(epoch, weights, slots)


def undone(state: State, settings: Mapping[str, Any]) -> Arrays:
    """The weights before the last update, which AdamW's moments after it tell: to within the rounding of float32.

    AdamW makes of a weight w: (1 - lr * decay) * w - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps).
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


def _tensor(value: Any, beside: Any) -> Any:
    """A moment, held against the weight it is of."""
    if not hasattr(value, "shape") or tuple(value.shape) != tuple(beside.shape):
        raise NotImportableError("a moment has another shape than its weight")
    return value


def _group(optimizer: Mapping[str, Any] | None) -> Mapping[str, Any]:
    groups = optimizer.get("param_groups") if optimizer else None
    return groups[0] if isinstance(groups, list) and groups and isinstance(groups[0], dict) else {}


def _shown(value: Any) -> str:
    return ", ".join(f"{item:g}" for item in value) if isinstance(value, tuple) else f"{value:g}"
