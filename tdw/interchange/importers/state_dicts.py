"""Read state dicts of TransformerLens, `.pt`, `.pth` or `.safetensors`: one, or a folder of them; and folders of `.pth`
files that Nanda's code writes during training (`init.pth`, `100.pth`, …, `final.pth`).

A single state dict contains weights only; the epochs of files in a folder are the numbers in their names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import NotImportableError, SettingError
from tdw.interchange import epoch_names, sniff
from tdw.interchange.importers import nanda, tables, trainers
from tdw.interchange.source_run import Raw, SourceCheckpoint, SourceRun
from tdw.interchange.weight_files import described, safetensors_of, state_of
from tdw.interchange.weight_layouts import is_state, read, transposed, unwrapped
from tdw.recorded import is_recorded
from tdw.tasks import Split

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
SPLIT_FILES = {"train_data": "train", "test_data": "test"}


def read_file(path: Path, stride: int | None = None) -> SourceRun:
    """A file of weights or losses in any supported form. stride: epochs between two train losses, by a hint.

    Raises NotImportableError, SettingError.
    """
    form = sniff.form_of(path)
    if form == "safetensors":
        load = safetensors_of(path)
        return _single(path, load(), load)
    loaded = sniff.load_torch(path, form)
    if is_state(loaded):
        return _single(path, loaded, lambda: loaded)
    if trainers.is_lightning(loaded):
        return trainers.read_lightning([path], path)
    run = nanda.read(loaded, path, stride) or tables.of_dict(loaded, path)
    if run is None:
        raise sniff.refused(path, described(loaded))
    return run


def _single(path: Path, raw: Raw, load: Callable[[], Raw]) -> SourceRun:
    named, raw = epoch_names.epoch_of(path.stem), unwrapped(raw)[0]
    run = SourceRun("a state dict in Nanda's layout" if transposed(raw) else "a TransformerLens state dict")
    run.likely_rule = "python" if transposed(raw) else "torch"
    run.checkpoints = [SourceCheckpoint(named, load, str(path))]
    if named is not None:
        run.inferred.append(f"the weights are at epoch {named}, the number in the file name")
    return run


def read_folder(path: Path, template: str | None = None, stride: int | None = None) -> SourceRun:
    """A folder of state dicts, or of files of Nanda's code. template: where the epoch is in a name, see `epoch_names`.

    Raises NotImportableError, SettingError for a template that does not fit.
    """
    files = sorted(item for item in path.iterdir() if item.suffix in SUFFIXES and item.is_file())
    if not files:
        raise sniff.refused(path, "a folder without a run: it contains no .pt, .pth or .safetensors files")
    first = sniff.form_of(files[0])
    loaded = None if first == "safetensors" else sniff.load_torch(files[0], first)
    if loaded is not None and not is_state(loaded):
        if template is not None:
            raise SettingError(
                "epochs_from",
                f"--epochs-from does not apply to {path.name}, whose files state their epochs: leave it out",
            )
        return _nanda_folder(path, files, stride)
    run = SourceRun("a folder of TransformerLens state dicts", likely_rule="torch")
    if len(files) == 1 and template is None:
        return read_file(files[0], stride)
    epochs = epoch_names.epochs_of(files, template)
    ordered = sorted(epochs.items(), key=lambda item: item[1])
    run.checkpoints = [SourceCheckpoint(epoch, state_of(file), str(file)) for file, epoch in ordered]
    run.inferred.append(epoch_names.mapping(epochs))
    return run


def _nanda_folder(path: Path, files: list[Path], stride: int | None) -> SourceRun:
    run = SourceRun("a folder of Nanda's grokking code", epoch_offset=1, placed=True)
    checkpoints: dict[int, SourceCheckpoint] = {}
    single: dict[str, dict[int, float]] = {"train": {}, "test": {}}
    sides: dict[str, Any] = {}
    for file in files:
        loaded = sniff.load_torch(file, sniff.form_of(file))
        if file.stem in SPLIT_FILES:
            sides[SPLIT_FILES[file.stem]] = loaded
            continue
        part = nanda.read(loaded, file, stride)
        if part is None or len(part.checkpoints) != 1:
            raise sniff.refused(file, "something other than a single set of weights, which the other files contain")
        checkpoint = part.checkpoints[0]
        label = -1 if checkpoint.label is None and file.stem == "init" else checkpoint.label
        if label is None or (label in checkpoints and part.optimizer is None):
            raise NotImportableError(
                f"{path} cannot be imported: {file.name} has no epoch, or the same epoch as another file."
            )
        checkpoints[label] = SourceCheckpoint(label, _weights_in(file), str(file))
        run.pairs = run.pairs or part.pairs
        run.settings |= part.settings
        run.claims |= part.claims
        run.rules = run.rules or part.rules
        for side, curve in (("train", part.train), ("test", part.test)):
            if curve is not None:
                if is_recorded(curve).sum() > 1:
                    setattr(run, side, curve)
                    run.train_stride = max(run.train_stride, part.train_stride)
                single[side] |= {int(at): curve[at] for at in np.flatnonzero(is_recorded(curve))[-1:]}
        if part.optimizer is not None:
            run.optimizer, run.scheduler = part.optimizer, part.scheduler
    for side, values in single.items():
        if getattr(run, side) is None and values:
            curve = np.full(max(values) + 1, np.nan)
            curve[list(values)] = list(values.values())
            setattr(run, side, curve)
    run.checkpoints = [checkpoints[label] for label in sorted(checkpoints)]
    if not run.checkpoints:
        raise sniff.refused(path, "a folder with a train/test split and no weights")
    if sides and run.pairs is None:
        run.pairs = _split_beside(run, sides, path)
    return run


def _split_beside(run: SourceRun, sides: dict[str, Any], path: Path) -> Split:
    """The split in files of their own: the pairs (a, b), (pair, 2), alone or with their answers. One side gives the other.

    Raises NotImportableError.
    """
    p = read(run.checkpoints[-1].load(), str(path))[1]["p"]
    found: dict[str, np.ndarray] = {}
    for side, given in sides.items():
        pairs = given[0] if isinstance(given, list | tuple) and len(given) else given
        try:
            array = np.asarray(pairs, dtype=np.int64)
        except (TypeError, ValueError, RuntimeError):
            array = np.zeros(0, np.int64)
        if array.ndim != 2 or array.shape[1] not in (2, 3):
            raise NotImportableError(f"{path} cannot be imported: {side}_data has no pairs (a, b).")
        found[side] = array[:, 0] * p + array[:, 1]
    rest = np.setdiff1d(np.arange(p * p), np.concatenate(list(found.values())))
    run.inferred.append(f"the pairs of the split are in {' and '.join(f'{side}_data' for side in found)}")
    return Split(found.get("train", rest), found.get("test", rest))


def _weights_in(file: Path) -> Callable[[], Raw]:
    def load() -> Raw:
        part = nanda.read(sniff.load_torch(file, sniff.form_of(file)), file)
        assert part is not None, "the file was read before"
        return part.checkpoints[0].load()

    return load
