"""The *New run* form: its fields come from the settings' own descriptions, and so do its refusals.

Nothing here knows Gradio: the shell draws what `fields()` lists and shows what `check()` says.
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

# Shown at once, in this order; every other setting is under "more settings", in the order of its declaration.
FIRST = ("task", "network", "p", "epochs", "train_fraction", "data_seed", "model_seed", "checkpoints")
WHERE = "file"  # the one field that is no setting

# Where the setting's own name is a symbol, the words for it.
LABELS = {
    "p": "Modulus p",
    "lr": "Learning rate",
    "d_model": "Width d_model",
    "d_head": "Head width d_head",
    "d_mlp": "Neurons d_mlp",
}


def label(setting: Setting) -> str:
    """What a field is called."""
    return LABELS.get(setting.name, setting.name.replace("_", " ").capitalize())


def fields() -> tuple[list[Setting], list[Setting]]:
    """The settings shown at once, and those under "more settings"."""
    known = {item.name: item for item in config.settings()}
    return [known[name] for name in FIRST], [item for item in known.values() if item.name not in FIRST]


@dataclass(frozen=True)
class Verdict:
    """What there is to say about a form as it stands.

    `reasons` maps the name of each refused field to a sentence; `config` and `path` are there when none is refused.
    """

    reasons: dict[str, str]
    config: RunConfig | None = None
    path: Path | None = None

    @property
    def arguments(self) -> list[str]:
        """The settings as flags of `tdw train`."""
        if self.config is None:
            return []
        return [f"{item.flag}={as_text(value)}" for item, value in self.config.items()]


def check(typed: Mapping[str, Any], file: str) -> Verdict:
    """Judge every field at once, so that each refused one can say why."""
    reasons: dict[str, str] = {}
    accepted = config.without_unused(typed)
    while True:
        try:
            settings = config.configure(**accepted)
            break
        except SettingError as error:
            if error.setting in reasons or error.setting not in accepted:
                raise
            reasons[error.setting] = _in_words(str(error), error.setting)
            # The rest is judged with this setting at its default; a refused combination may then blame the next.
            del accepted[error.setting]
    try:
        path = target(file, settings)
    except TdwError as error:
        reasons[WHERE] = str(error)
    return Verdict(reasons) if reasons else Verdict(reasons, settings, path)


def target(file: str, settings: RunConfig) -> Path:
    """Where the run will be kept. Raises ProjectError when it cannot be."""
    path = typed_path(file)
    if path.suffix != ".tdw":
        path = path.with_name(path.name + ".tdw")
    folder = path.parent
    if path.exists():
        raise AlreadyExistsError(f"{path} is there already: give another name")
    if not folder.is_dir():
        raise CannotWriteError(f"there is no folder {folder}: make it first, or give another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotWriteError(f"{folder} may not be written to: give another folder")
    needed, free = estimate(settings).megabytes, shutil.disk_usage(folder).free / 1e6
    if needed > free:
        raise CannotWriteError(
            f"the run needs {needed:.0f} MB and {folder} has {free:.0f} MB left: keep fewer checkpoints, or give another"
        )
    return path


def suggestion(taken: Path | None = None) -> str:
    """A path for the next run: beside `taken`, else in the folder the program was started in, else at home."""
    folder = taken.parent if taken else Path.cwd()
    if not os.access(folder, os.W_OK | os.X_OK):
        folder = Path.home()
    number = 1
    while (path := folder / f"run-{number}.tdw").exists() or path == taken:
        number += 1
    return str(path)


def epochs_kept(settings: RunConfig) -> list[int]:
    """The epochs the run will keep checkpoints of."""
    return schedule.parse(settings.checkpoints, settings.epochs)


def _in_words(message: str, setting: str) -> str:
    """A refusal as it reads beside its field: without the flag the field stands for, other flags by their labels."""
    known = sorted(config.settings(), key=lambda item: -len(item.flag))
    for item in known:
        if item.name == setting:
            message = message.removeprefix(f"{item.flag} ")
    for item in known:
        message = message.replace(item.flag, label(item))
    return message
