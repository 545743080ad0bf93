"""Folders of an earlier workbench.

    config.json                                     prime, model_seed, data_seed, training_fraction, n_heads, d_model, …
    metadata.json                                   train_losses, test_losses, train_indices, test_indices, …
    checkpoints/checkpoint_epoch_00100.safetensors  TransformerLens' names, zero biases, masks, IGNORE
    NAME.safetensors                                the last weights

Train loss e is measured before update e + 1; test loss e and checkpoint e after it. A run that was broken off has its
checkpoints alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import NotImportableError
from tdw.interchange import sniff
from tdw.interchange.importers.state_dicts import safetensors_of
from tdw.interchange.source_run import Foreign, Piece, Rule, number, numbers, whole
from tdw.safe_text import cut
from tdw.tasks import Split

NAMES = {
    "prime": "p",
    "n_heads": "heads",
    "d_model": "d_model",
    "d_head": "d_head",
    "d_mlp": "d_mlp",
}
MOST_JSON = 1 << 30


def is_legacy_folder(path: Path) -> bool:
    """Whether a folder is one of these."""
    return (path / "metadata.json").is_file() or any((path / "checkpoints").glob("checkpoint_epoch_*.safetensors"))


def read(path: Path) -> Foreign:
    """What such a folder holds. Raises NotImportableError."""
    found = Foreign("a folder of an earlier workbench", late=1, late_test=1, likely_rule="torch")
    found.settings["task"] = "add"
    for file in sorted((path / "checkpoints").glob("checkpoint_epoch_*.safetensors")):
        named = re.fullmatch(r"checkpoint_epoch_(\d{1,8})", file.stem)
        if named is None:
            raise NotImportableError(f"{path} cannot be imported: the name of {file.name} says no epoch.")
        _look(file)
        found.pieces.append(Piece(int(named[1]), safetensors_of(file), str(file)))
    found.pieces.sort(key=lambda piece: piece.label or 0)
    config, metadata = (_json(path / name) for name in ("config.json", "metadata.json"))
    if metadata is not None:
        what = str(path / "metadata.json")
        found.train, found.test = (
            numbers(metadata[name], name, what) if metadata.get(name) is not None else None
            for name in ("train_losses", "test_losses")
        )
        sides = [metadata.get(name) for name in ("train_indices", "test_indices")]
        if all(side is not None for side in sides):
            found.pairs = Split(
                *(np.array([whole(item, "indices", what) for item in _listed(side, what)], np.int64) for side in sides)
            )
    else:
        found.inferred.append("metadata.json is missing, as in a run that was broken off: no losses, no split")
    if config is not None:
        _read_config(found, config, path)
    last = [file for file in path.glob("*.safetensors") if file.is_file()]
    if len(last) == 1 and found.train is not None and len(found.train):
        label = len(found.train) - 1
        if label not in {piece.label for piece in found.pieces}:
            _look(last[0])
            found.pieces.append(Piece(label, safetensors_of(last[0]), str(last[0])))
            found.inferred.append(f"{last[0].name} holds the weights after the last update")
    return found


def _look(file: Path) -> None:
    if sniff.form_of(file) != "safetensors":
        raise sniff.refused(file, "no safetensors file")


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise NotImportableError(f"{what} cannot be imported: its indices are no lists.")
    return value


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        if path.stat().st_size > MOST_JSON:
            raise sniff.refused(path, f"a JSON file of {path.stat().st_size / 1e9:.1f} GB, larger than any run's")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotImportableError(f"{path} cannot be imported: it cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise sniff.refused(path, "no JSON, or JSON that is cut off") from error
    if not isinstance(value, dict):
        raise sniff.refused(path, f"JSON with a {type(value).__name__} where names and values belong")
    return value


def _read_config(found: Foreign, config: Mapping[str, Any], path: Path) -> None:
    what = str(path / "config.json")
    for theirs, ours in NAMES.items():
        if config.get(theirs) is not None:
            found.claims[ours] = whole(config[theirs], theirs, what)
    layers, normal, act = (config.get(name) for name in ("n_layers", "normalization_type", "act_fn"))
    if layers is not None and layers != 1:
        raise sniff.refused(
            path, f"a run of a transformer of {cut(str(layers), 20)} layers, and those of this program have one"
        )
    if normal is not None:
        raise sniff.refused(
            path, f"a run of a transformer with normalization ({cut(str(normal), 20)}), which this program lacks"
        )
    if act is not None:
        if act not in {"relu", "gelu"}:
            raise sniff.refused(path, f"a run of a network with another activation ({cut(str(act), 40)})")
        found.settings["activation"] = act
    for theirs, ours in (("learning_rate", "lr"), ("lr", "lr"), ("weight_decay", "weight_decay")):
        if config.get(theirs) is not None:
            found.settings[ours] = number(config[theirs], theirs, what)
    if isinstance(config.get("betas"), list):
        found.settings["betas"] = tuple(number(item, "betas", what) for item in config["betas"])
    if config.get("model_seed") is not None:
        found.settings["model_seed"] = whole(config["model_seed"], "model_seed", what)
    if config.get("data_seed") is not None and config.get("training_fraction") is not None:
        seed = whole(config["data_seed"], "data_seed", what)
        fraction = number(config["training_fraction"], "training_fraction", what)
        if 0 < fraction < 1 and seed >= 0:
            found.rules = [Rule("torch", seed, fraction)]
