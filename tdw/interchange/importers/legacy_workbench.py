"""Read folders of an earlier workbench.

    config.json                                     prime, model_seed, data_seed, training_fraction, n_heads, d_model, …
    metadata.json                                   train_losses, test_losses, train_indices, test_indices, …
    checkpoints/checkpoint_epoch_00100.safetensors  TransformerLens' names, zero biases, masks, IGNORE
    NAME.safetensors                                the last weights

Train loss e is measured before update e + 1; test loss e and checkpoint e after it. An interrupted run has checkpoints
only.
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
from tdw.interchange.source_run import SourceCheckpoint, SourceRun, integer, numbers
from tdw.interchange.stated import read_settings
from tdw.interchange.weight_files import safetensors_of
from tdw.tasks import Split

MOST_JSON = 1 << 30


def is_legacy_folder(path: Path) -> bool:
    """Whether a folder has this structure."""
    return (path / "metadata.json").is_file() or any((path / "checkpoints").glob("checkpoint_epoch_*.safetensors"))


def read(path: Path) -> SourceRun:
    """The contents of such a folder. Raises NotImportableError."""
    run = SourceRun("a folder of an earlier workbench", epoch_offset=1, test_offset=1, likely_rule="torch", placed=True)
    run.settings["task"] = "add"
    for file in sorted((path / "checkpoints").glob("checkpoint_epoch_*.safetensors")):
        named = re.fullmatch(r"checkpoint_epoch_(\d{1,8})", file.stem)
        if named is None:
            raise NotImportableError(f"{path} cannot be imported: the name of {file.name} does not contain an epoch.")
        _check_form(file)
        run.checkpoints.append(SourceCheckpoint(int(named[1]), safetensors_of(file), str(file)))
    run.checkpoints.sort(key=lambda checkpoint: checkpoint.label or 0)
    config, metadata = (_json(path / name) for name in ("config.json", "metadata.json"))
    if metadata is not None:
        what = str(path / "metadata.json")
        run.train, run.test = (
            numbers(metadata[name], name, what) if metadata.get(name) is not None else None
            for name in ("train_losses", "test_losses")
        )
        sides = [metadata.get(name) for name in ("train_indices", "test_indices")]
        if all(side is not None for side in sides):
            run.pairs = Split(
                *(
                    np.array([integer(item, "indices", what) for item in _listed(side, what)], np.int64)
                    for side in sides
                )
            )
    else:
        run.inferred.append("losses and split are unknown: metadata.json is missing, as in an interrupted run")
    if config is not None:
        read_settings(run, config, path / "config.json", ("torch",))
    last = [file for file in path.glob("*.safetensors") if file.is_file()]
    if len(last) == 1 and run.train is not None and len(run.train):
        label = len(run.train) - 1
        if label not in {checkpoint.label for checkpoint in run.checkpoints}:
            _check_form(last[0])
            run.checkpoints.append(SourceCheckpoint(label, safetensors_of(last[0]), str(last[0])))
            run.inferred.append(f"{last[0].name} contains the weights after the last update")
    return run


def _check_form(file: Path) -> None:
    if sniff.form_of(file) != "safetensors":
        raise sniff.refused(file, "a PyTorch file instead of a safetensors file")


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise NotImportableError(f"{what} cannot be imported: its train_indices and test_indices must be lists.")
    return value


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        if path.stat().st_size > MOST_JSON:
            raise sniff.refused(path, f"a JSON file of {path.stat().st_size / 1e9:.1f} GB, too large for a run")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotImportableError(f"{path} cannot be imported: it cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise sniff.refused(path, "invalid or truncated JSON") from error
    if not isinstance(value, dict):
        raise sniff.refused(path, f"JSON with a {type(value).__name__} instead of an object")
    return value
