"""Read what training frameworks store: checkpoints of Lightning, and folders of Hugging Face's Trainer and of Accelerate.

    epoch=4-step=5.ckpt            state_dict, global_step, epoch, optimizer_states, lr_schedulers, hyper_parameters
    metrics.csv, events.out.…      the curves of Lightning's loggers, next to the checkpoints or one folder up
    checkpoint-500/                model.safetensors or pytorch_model.bin, optimizer.pt or .bin, trainer_state.json

Epochs are numbers of updates, as everywhere here: Lightning's `global_step`, `global_step` in trainer_state.json, or what the
optimizer counted; Lightning's own `epoch` counts passes over the data, from 0. Both frameworks compute the train loss of a
step before its update. Lightning logs it at the number of updates before, and validation after the update at the same number;
Hugging Face's Trainer logs both at the number of updates after (lightning.pytorch.loops.training_epoch_loop and
transformers.trainer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tdw.errors import NotImportableError, SettingError
from tdw.interchange import epoch_names, log_steps, sniff
from tdw.interchange.importers import tables
from tdw.interchange.importers.nanda import updates
from tdw.interchange.source_run import Raw, SourceCheckpoint, SourceRun, integer
from tdw.interchange.stated import add_settings, leaves
from tdw.interchange.weight_files import state_of
from tdw.interchange.weight_layouts import is_state
from tdw.safe_text import cut

LIGHTNING = "pytorch-lightning_version"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
OPTIMIZER = ("optimizer.pt", "optimizer.bin")
STATE = "trainer_state.json"
BATCHES = "it took several updates an epoch, and training here uses all train pairs in each update"
UNORDERED = "safetensors files do not keep the order of the weights, by which an optimizer numbers its state"
CLIPPED = (
    "Hugging Face's Trainer clips gradients unless told otherwise, and its settings are in a pickle, training_args.bin, that "
    "is not read"
)


def is_lightning(loaded: Any) -> bool:
    """Whether the contents of a PyTorch file are a checkpoint of Lightning with weights."""
    return isinstance(loaded, dict) and LIGHTNING in loaded and is_state(loaded.get("state_dict"))


def has_checkpoints(path: Path) -> bool:
    """Whether a folder holds such checkpoints by the names of its files, none of which is read."""
    return any(
        any(place.glob("*.ckpt")) or _weights_file(place) or _saved_folders(place)
        for place in (path, path / "checkpoints")
    )


def reader(path: Path, template: str | None = None) -> Callable[[Path], SourceRun] | None:
    """The function that reads such a folder; None for others. template: as `--epochs-from`, for the names of folders.

    Raises NotImportableError for folders of several runs, SettingError for a template that does not apply.
    """
    if not path.is_dir():
        return None
    runs = sorted(item for item in path.glob("version_*") if any((item / "checkpoints").glob("*.ckpt")))
    if runs:
        _refuse_company(path, runs)
        _refuse_template(template, path)
        return lambda _: _of_ckpt_files(runs[0] / "checkpoints")
    for place in (path, path / "checkpoints"):
        if any(_is_lightnings(file) for file in sorted(place.glob("*.ckpt"))[:1]):
            _refuse_template(template, path)
            return lambda _, place=place: _of_ckpt_files(place)  # type: ignore[misc]
        if _weights_file(place) or _saved_folders(place):
            return lambda _, place=place: _of_saved_folders(place, template)  # type: ignore[misc]
    return None


def _refuse_company(path: Path, runs: Sequence[Path]) -> None:
    """Raise NotImportableError for a folder that holds several runs of Lightning, or weights besides one."""
    if len(runs) > 1:
        names = ", ".join(cut(item.name, 30) for item in runs[:4])
        raise NotImportableError(
            f"{path} cannot be imported: it holds {len(runs)} runs ({names}): give one of these folders."
        )
    if others := [item.name for item in sorted(path.iterdir()) if item != runs[0] and _holds_weights(item)]:
        raise NotImportableError(
            f"{path} cannot be imported: besides a run of Lightning, {runs[0].name}, it holds "
            f"{', '.join(cut(name, 30) for name in others[:4])}: give one of them."
        )


def _holds_weights(item: Path) -> bool:
    return has_checkpoints(item) if item.is_dir() else item.suffix in {".pt", ".pth", ".ckpt", ".safetensors"}


def _refuse_template(template: str | None, path: Path) -> None:
    if template is not None:
        raise SettingError(
            "epochs_from",
            f"--epochs-from does not apply to {path.name}, whose checkpoints say after how many updates they were saved: leave "
            "it out",
        )


def _of_ckpt_files(folder: Path) -> SourceRun:
    return read_lightning(sorted(item for item in folder.glob("*.ckpt") if item.is_file()), folder)


def read_lightning(files: Sequence[Path], source: Path) -> SourceRun:
    """The run of one or several checkpoints of Lightning, with the curves of its loggers. Raises NotImportableError."""
    run = SourceRun("a checkpoint of Lightning" if len(files) == 1 else "checkpoints of Lightning", likely_rule="torch")
    found: dict[int, tuple[Path, dict[str, Any]]] = {}
    for file in files:
        loaded = _lightning_in(file)
        step = integer(loaded.get("global_step"), "global_step", str(file))
        if step in found and _are_equal(loaded["state_dict"], found[step][1]["state_dict"]):
            run.converted.append(f"{cut(file.name, 60)} repeats {cut(found[step][0].name, 60)} and was left out")
            continue
        if step in found:
            raise NotImportableError(
                f"{source} cannot be imported: {found[step][0].name} and {file.name} were both saved after {step} updates, "
                "with different weights: leave one of them out."
            )
        found[step] = file, loaded
    steps = sorted(found)
    run.checkpoints = [SourceCheckpoint(step, _weights_in(found[step][0]), str(found[step][0])) for step in steps]
    _say_epochs(run, {found[step][0]: step for step in steps}, "the number of updates that it counts (global_step)")
    file, last = found[steps[-1]]
    optimizers = last.get("optimizer_states")
    if isinstance(optimizers, list) and len(optimizers) == 1 and isinstance(optimizers[0], dict):
        run.optimizer = optimizers[0]
    if last.get("lr_schedulers"):
        run.scheduler = {}  # of unknown effect, also where it is a function, whose code is in no file
    if batched := any(loaded.get("epoch") != step - 1 for step, (_, loaded) in found.items() if step):
        run.why_not = BATCHES
    given: dict[str, Any] = {}
    for name, value in leaves(last.get("hyper_parameters")):
        given.setdefault(name, value)
    if stated := add_settings(run, given, file):
        run.inferred.append(f"the hyperparameters in {cut(file.name, 60)} state {stated}")
    _add_logs(run, file.parent)
    if batched and run.train is not None:
        run.assumed.append(
            "the run took several updates an epoch: its train losses are those of batches, or means of them"
        )
        run.averaged = True
    return run


def _add_logs(run: SourceRun, folder: Path) -> None:
    """Add the curves that Lightning's loggers wrote next to the checkpoints. Of two loggers, CSV is exact."""
    places = [folder, folder.parent] if folder.name == "checkpoints" else [folder]
    logs = [
        log for place in places for log in (place / log_steps.LIGHTNING_CSV, *sorted(place.glob(f"{tables.EVENTS}*")))
    ]
    logs = [log for log in logs if log.is_file()]
    if not logs:
        return
    try:
        _take_curves(run, tables.curves_in(logs[0]), logs[0])
    except NotImportableError as error:  # the weights can be read without it
        run.converted.append(f"the curves in {cut(logs[0].name, 60)} were left out ({cut(str(error), 250)})")
        return
    if logs[1:] and logs[0].name.startswith(tables.EVENTS):
        run.assumed.append(f"of {len(logs)} logs of TensorBoard, {cut(logs[0].name, 60)} is the one of this run")


def _take_curves(run: SourceRun, curves: SourceRun, log: Path) -> None:
    run.train, run.test, run.stepped, run.averaged = curves.train, curves.test, curves.stepped, curves.averaged
    run.accuracy, run.curves = curves.accuracy, curves.curves
    run.inferred.append(f"the curves are in {cut(log.name, 60)}")
    run.inferred += curves.inferred
    run.converted += curves.converted
    run.assumed += curves.assumed


def _is_lightnings(file: Path) -> bool:
    """Whether a file with the suffix `.ckpt` is one of Lightning, or something that is refused in words."""
    return not file.is_file() or not is_state(sniff.load_torch(file, sniff.form_of(file)))


def _lightning_in(file: Path) -> dict[str, Any]:
    loaded = sniff.load_torch(file, sniff.form_of(file))
    if not is_lightning(loaded):
        raise sniff.refused(file, "something other than a checkpoint of Lightning, which the other files are")
    return dict(loaded)


def _weights_in(file: Path) -> Callable[[], Raw]:
    def load() -> Raw:
        weights: Raw = _lightning_in(file)["state_dict"]
        return weights

    return load


def _are_equal(one: Raw, other: Raw) -> bool:
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


def _weights_file(folder: Path) -> Path | None:
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def _saved_folders(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_dir() and _weights_file(item)) if path.is_dir() else []


def _of_saved_folders(path: Path, template: str | None) -> SourceRun:
    """The run of folders with weights in each, or of a single one."""
    folders = [path] if _weights_file(path) else _saved_folders(path)
    by_trainer = all((folder / STATE).is_file() for folder in folders)
    form = "checkpoints of Hugging Face's Trainer" if by_trainer else "folders with weights, as Accelerate saves them"
    run = SourceRun(form, likely_rule="torch")
    counts = [_trainer_step(folder) if by_trainer else _counted(folder) for folder in folders]
    if None not in counts:
        _refuse_template(template, path)
        epochs = {folder: int(count or 0) for folder, count in zip(folders, counts, strict=True)}
        how = (
            f"the number of updates in its {STATE}"
            if by_trainer
            else "the number of updates that its optimizer counted"
        )
    elif len(folders) == 1 and template is None:
        epochs, how = {}, ""
        named = epoch_names.epoch_of(path.name)
        if named is not None:
            epochs, how = {path: named}, "the number in its name"
    else:
        epochs, how = epoch_names.epochs_of(folders, template), "the number in its name"
    ordered = sorted(folders, key=lambda folder: epochs.get(folder, 0))
    for folder in ordered:
        file = _weights_file(folder)
        assert file is not None, "the folder was chosen by it"
        run.checkpoints.append(SourceCheckpoint(epochs.get(folder), state_of(file), str(file)))
    if epochs:
        _say_epochs(run, {folder: epochs[folder] for folder in ordered}, how)
    last = ordered[-1]
    run.optimizer = _optimizer_in(last)
    if by_trainer:
        run.why_not = CLIPPED
        _take_curves(run, tables.curves_in(last / STATE), last / STATE)
    else:
        run.scheduler = {} if (last / "scheduler.bin").is_file() else None
        if run.optimizer is not None and (last / WEIGHTS[0]).is_file():
            run.why_not = UNORDERED
    return run


def _trainer_step(folder: Path) -> int:
    what = folder / STATE
    return integer(tables.object_in(what).get("global_step"), "global_step", str(what))


def _optimizer_in(folder: Path) -> Mapping[str, Any] | None:
    file = next((folder / name for name in OPTIMIZER if (folder / name).is_file()), None)
    if file is None:
        return None
    loaded = sniff.load_torch(file, sniff.form_of(file))
    return loaded if isinstance(loaded, dict) else None


def _counted(folder: Path) -> int | None:
    """The number of updates that a stored optimizer counted; None if it does not tell."""
    optimizer = _optimizer_in(folder)
    if optimizer is not None and optimizer.get("state") == {} and optimizer.get("param_groups"):
        return 0  # it keeps nothing before its first update
    return updates(optimizer)


def _say_epochs(run: SourceRun, epochs: Mapping[Path, int], how: str) -> None:
    run.inferred.append(f"the epoch of a checkpoint is {how}: {epoch_names.listed(dict(epochs))}")
