"""Files of Nanda's grokking code (`.pth`): the last weights, many checkpoints, or losses alone.

    model                      weights, in the layout that `tdw.interchange.weight_layouts` names
    state_dicts, epochs        many of them, and the epoch in which each was stored
    train_losses, test_losses  before each update; the test losses perhaps of every tenth epoch alone
    optimizer, scheduler       AdamW's state after the last update; a warmup of ten updates
    epoch, config              as the program had them, which need not be what the optimizer did

Weights were stored after the update that their epoch's loss was measured before, so those of epoch e there are those of
epoch e + 1 here. The TransformerLens demonstration of grokking stores a like file (`checkpoints`, `checkpoint_epochs`,
`train_indices`), whose test losses are measured after the update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import NotImportableError
from tdw.interchange.sniff import refused
from tdw.interchange.source_run import Foreign, Piece, Raw, Rule, number, numbers, whole
from tdw.interchange.weight_layouts import is_state
from tdw.network.segment import Series
from tdw.safe_text import cut
from tdw.tasks import Split

MODEL = ("model", "model_state_dict", "state_dict")
TASKS = {"add": "add", "subtract": "subtract", "x2xyy2": "x2+xy+y2", "multiply": "multiply", "x2y2": "x2+y2"}
ACTIVATIONS = {"relu": "relu", "gelu": "gelu"}
SETTINGS = {"lr": "lr", "weight_decay": "weight_decay", "betas": "betas"}
CLAIMS = {
    "p": "p",
    "d_model": "d_model",
    "num_heads": "heads",
    "n_heads": "heads",
    "d_head": "d_head",
    "d_mlp": "d_mlp",
}
MOST_EPOCHS = 10_000_000
STRIDES = (10, 100, 5, 50, 20, 25, 1000, 500, 200, 250, 2)  # epochs between two losses, likely ones first


def read(loaded: Any, path: Path) -> Foreign | None:
    """What such a file holds; None where it is none of these forms. Raises NotImportableError."""
    if not isinstance(loaded, dict) or is_state(loaded):
        return None
    what = str(path)
    model = next((loaded[name] for name in MODEL if is_state(loaded.get(name))), None)
    many = is_states(loaded.get("state_dicts"))
    demonstration = is_states(loaded.get("checkpoints")) and "checkpoint_epochs" in loaded
    train, test = (_curve(loaded, side, what) for side in ("train", "test"))
    if model is None and not many and not demonstration and train is None and test is None:
        return None
    found = Foreign("a file of Nanda's grokking code", train=train, test=test, late=1)
    found.optimizer, found.scheduler = (_table(loaded.get(name)) for name in ("optimizer", "scheduler"))
    if many or demonstration:
        states, labels = ("state_dicts", "epochs") if many else ("checkpoints", "checkpoint_epochs")
        found.pieces = _pieces(loaded[states], loaded.get(labels), what)
        found.form += ", with many checkpoints"
        if demonstration:
            found.form = "a file of TransformerLens' grokking demonstration"
            found.late_test, found.likely_rule = 1, "torch"
    if model is not None:
        _add_last(found, model, loaded, what)
    elif not found.pieces:
        found.form = "losses alone, as Nanda's grokking code stores them"
    found.pairs = _pairs(loaded, what)
    if "config" in loaded:
        _read_config(found, loaded["config"], path)
    return found


def is_states(value: Any) -> bool:
    """Whether a value is a list of tables of tensors."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(is_state, value))


def _table(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _curve(loaded: Mapping[str, Any], side: str, what: str) -> Series | None:
    """The losses of a side; where the file has only that of one epoch, a curve that knows no other."""
    if loaded.get(f"{side}_losses") is not None:
        return numbers(loaded[f"{side}_losses"], f"{side}_losses", what)
    if loaded.get(f"{side}_loss") is None or "epoch" not in loaded:
        return None
    at = whole(loaded["epoch"], "epoch", what)
    if not 0 <= at <= MOST_EPOCHS:
        return None
    curve = np.full(at + 1, np.nan)
    curve[at] = number(loaded[f"{side}_loss"], f"{side}_loss", what)
    return curve


def _pieces(states: Sequence[Raw], labels: Any, what: str) -> list[Piece]:
    if not isinstance(labels, list | tuple | range) or len(labels) != len(states):
        raise NotImportableError(
            f"{what} cannot be imported: it holds {len(states)} checkpoints and does not say the epoch of each."
        )
    epochs = [whole(label, "epochs", what) for label in labels]
    for epoch in epochs:
        if not 0 <= epoch <= MOST_EPOCHS:
            raise NotImportableError(f"{what} cannot be imported: it says that it holds a checkpoint of epoch {epoch}.")
        if epochs.count(epoch) > 1:
            raise NotImportableError(f"{what} cannot be imported: two of its checkpoints are of epoch {epoch}.")
    found = [
        Piece(epoch, lambda state=state: state, f"{what}, the checkpoint of epoch {epoch},")  # type: ignore[misc]
        for epoch, state in zip(epochs, states, strict=True)
    ]
    return sorted(found, key=lambda piece: piece.label or 0)


def _add_last(found: Foreign, model: Raw, loaded: Mapping[str, Any], what: str) -> None:
    """The weights after the last update, and after how many that was."""
    losses = None if "train_losses" not in loaded or found.train is None else len(found.train)
    said = whole(loaded["epoch"], "epoch", what) if "epoch" in loaded else None
    steps = updates(found.optimizer)
    if losses and found.train is not None and (apart := _apart(losses, steps, said)) is not None:
        every, losses = apart
        spread = np.full(losses, np.nan)
        spread[::every] = found.train
        found.train = spread
        found.converted.append(f"train losses there are of every {every}th epoch, beginning with epoch 0")
    if steps is not None:
        after = steps
        found.inferred.append(f"the weights are those after {after} updates, which the optimizer counted")
    elif losses is not None:
        after = losses
        found.inferred.append(f"the weights are those after {after} updates, as many as there are train losses")
    elif said is not None:
        after = said + 1
        found.converted.append(
            f"the weights are called those of epoch {said} there and had one more update: epoch {after} here"
        )
    else:
        found.pieces.append(Piece(None, lambda: model, what))
        return
    for count, name in ((losses, "train losses"), (said, "epoch")):
        if count is not None and count not in ({after} if name == "train losses" else {after, after - 1}):
            found.contradicted.append(f"{name} there: {count}; the weights are taken to be those after {after} updates")
    if after == 0:
        found.contradicted.append(
            "the optimizer did not count an update: the weights are taken to be the untrained ones"
        )
    if after - 1 not in {piece.label for piece in found.pieces}:
        found.pieces.append(Piece(after - 1, lambda: model, what))
        found.pieces.sort(key=lambda piece: -1 if piece.label is None else piece.label)


def _apart(losses: int, steps: int | None, said: int | None) -> tuple[int, int] | None:
    """How many epochs lie between two train losses, and how many epochs there were, where that is more than there are
    losses and an even distance fits.
    """
    for total in (steps, None if said is None else said + 1, said):
        if total is not None and total > losses:
            for every in STRIDES:
                if -(-total // every) == losses:
                    return every, total
    return None


def updates(optimizer: Mapping[str, Any] | None) -> int | None:
    """How many updates an optimizer's state has counted; None where its parameters do not agree, or there is none."""
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
    """The split, where the file lists the pairs: as indices, or as (a, b, …) of the file `init.pth`."""
    for one, other in (("train_indices", "test_indices"), ("train_data", "test_data")):
        if one in loaded and other in loaded:
            if one == "train_indices":
                sides = [numbers(loaded[name], name, what) for name in (one, other)]
                return Split(*(side.astype(np.int64) for side in sides))
            return _listed(loaded[one], loaded[other])
    return None


def _listed(train: Any, test: Any) -> Split | None:
    """Pairs given as (a, b, '=') each, where '=' is p."""
    try:
        sides = [np.array([[int(item) for item in pair] for pair in side], np.int64) for side in (train, test)]
    except (TypeError, ValueError, OverflowError):
        return None  # something else goes by this name; the split is then looked for
    if any(side.ndim != 2 or side.shape[1] != 3 or not side.size for side in sides):
        return None
    p = sides[0][0, 2]
    return Split(*(side[:, 0] * p + side[:, 1] for side in sides))


def _read_config(found: Foreign, config: Any, path: Path) -> None:
    """What the file's own settings say."""
    if not isinstance(config, dict):
        found.contradicted.append(f"the config there is a {type(config).__name__}, which says nothing")
        return
    what = str(path)
    task = config.get("fn_name")
    if isinstance(task, str):
        if task == "rand":
            raise refused(path, "a run on random answers, which it does not hold: nobody could say what was learnt")
        if task not in TASKS:
            raise refused(path, f"a run on another task ({cut(task, 40)})")
        found.settings["task"] = TASKS[task]
    act = config.get("act_type", config.get("act_fn"))
    if isinstance(act, str):
        if act.lower() not in ACTIVATIONS:
            raise refused(path, f"a run of a network with another activation ({cut(act, 40)})")
        found.settings["activation"] = ACTIVATIONS[act.lower()]
    for theirs, ours in SETTINGS.items():
        if theirs in config:
            found.settings[ours] = (
                tuple(number(item, theirs, what) for item in config[theirs])
                if theirs == "betas" and isinstance(config[theirs], list | tuple)
                else number(config[theirs], theirs, what)
            )
    for theirs, ours in CLAIMS.items():
        if theirs in config and config[theirs] is not None:
            found.claims[ours] = whole(config[theirs], theirs, what)
    if "frac_train" in config and "seed" in config:
        seed, fraction = whole(config["seed"], "seed", what), number(config["frac_train"], "frac_train", what)
        if 0 < fraction < 1 and seed >= 0:
            found.rules = [Rule(name, seed, fraction) for name in ("python", "torch")]
    if "num_epochs" in config and found.train is not None:
        planned = whole(config["num_epochs"], "num_epochs", what)
        if planned != len(found.train):
            found.contradicted.append(
                f"the config there plans {planned} epochs, and {len(found.train)} train losses were recorded: they say how long it was"
            )
