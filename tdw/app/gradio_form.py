"""The *New run* form: its fields and error messages come from the declarations of the settings.

This module does not use Gradio: the shell draws the fields of `fields()` and shows the errors of `check()`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdw import config, schedule
from tdw.app.open_runs import typed_path
from tdw.config import RunConfig
from tdw.errors import AlreadyExistsError, CannotWriteError, SettingError, TdwError
from tdw.estimate import estimate
from tdw.setting import Setting, as_text
from tdw.store.atomic import refuse_existing
from tdw.text_format import size

# Shown first, in this order; other settings are under "More settings", in the order of their declaration.
FIRST = ("task", "network", "p", "epochs", "train_fraction", "data_seed", "model_seed", "checkpoints")
WHERE = "file"  # the field for the path, which is not a setting

# Labels of settings whose name is a symbol or an abbreviation.
LABELS = {
    "p": "Modulus p",
    "train_fraction": "Training fraction",
    "lr": "Learning rate",
    "d_model": "Width d_model",
    "d_head": "Head width d_head",
    "d_mlp": "Neurons d_mlp",
}


def label(setting: Setting) -> str:
    """The label of a field."""
    return LABELS.get(setting.name, setting.name.replace("_", " ").capitalize())


def fields() -> tuple[list[Setting], list[Setting]]:
    """The settings shown first, and those under "More settings"."""
    by_name = {setting.name: setting for setting in config.settings()}
    return [by_name[name] for name in FIRST], [s for s in by_name.values() if s.name not in FIRST]


@dataclass(frozen=True)
class FormCheck:
    """The result of checking the form.

    `errors` maps field names to messages; `config` and `path` are set if there are none.
    """

    errors: dict[str, str]
    config: RunConfig | None = None
    path: Path | None = None

    @property
    def arguments(self) -> list[str]:
        """The settings as flags of `tdw train`."""
        return [] if self.config is None else flags(self.config)


def check(typed: Mapping[str, Any], file: str) -> FormCheck:
    """Check all fields, so that each wrong one gets a message."""
    errors: dict[str, str] = {}
    accepted = config.without_unused(typed)
    while True:
        try:
            settings = config.configure(**accepted)
            break
        except SettingError as error:
            if error.setting in errors or error.setting not in accepted:
                raise
            errors[error.setting] = _for_field(str(error), error.setting)
            # Check the rest with this setting at its default; a wrong combination may then blame the next one.
            del accepted[error.setting]
    try:
        path = target(file, settings)
    except TdwError as error:
        errors[WHERE] = str(error)
    return FormCheck(errors) if errors else FormCheck(errors, settings, path)


def target(file: str, settings: RunConfig) -> Path:
    """The path of the new project file. Raises ProjectError if it cannot be used."""
    path = typed_path(file)
    refuse_existing(path, path, overwrite=True)  # a folder: adding .tdw would name a file next to it
    if path.suffix != ".tdw":
        path = path.with_name(path.name + ".tdw")
    folder = path.parent
    if path.exists():
        raise AlreadyExistsError(path)
    if not folder.is_dir():
        raise CannotWriteError(f"folder {folder} does not exist: create it, or choose another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotWriteError(f"folder {folder} is not writable: choose another")
    needed, free = estimate(settings).training_megabytes, shutil.disk_usage(folder).free / 1e6
    if needed > free:
        raise CannotWriteError(
            f"the run needs {size(needed)} and {folder} has {size(free)} free: keep fewer checkpoints, or choose another folder"
        )
    return path


def flags(settings: RunConfig) -> list[str]:
    """Settings as flags of `tdw train`."""
    return [f"{setting.flag}={as_text(value)}" for setting, value in settings.items()]


def folder_for_runs() -> Path:
    """Where new runs are placed: the current folder, or the home folder if that is not writable."""
    folder = Path.cwd()
    return folder if os.access(folder, os.W_OK | os.X_OK) else Path.home()


def suggestion(taken: Path | None = None) -> str:
    """A path for a new run: next to `taken` if that is possible, else in the usual folder."""
    folder = taken.parent if taken and os.access(taken.parent, os.W_OK | os.X_OK) else folder_for_runs()
    number = 1
    while (path := folder / f"run-{number}.tdw").exists() or path == taken:
        number += 1
    return str(path)


def epochs_kept(settings: RunConfig) -> list[int]:
    """The epochs of the run's checkpoints."""
    return schedule.parse(settings.checkpoints, settings.epochs)


def _for_field(message: str, setting: str) -> str:
    """An error message as it appears below its field: without the field's own flag, which cannot be left out, other flags as
    labels.
    """
    by_length = sorted(config.settings(), key=lambda other: -len(other.flag))
    for other in by_length:
        if other.name == setting:
            message = message.removeprefix(f"{other.flag} ")
            message = message.replace(config.LEAVE_OUT, f"set it back to {as_text(other.default)}")
    for other in by_length:
        message = message.replace(other.flag, label(other))
    return message
