"""Hints: what the user knows about a run of another program and its files do not state."""

from __future__ import annotations

from typing import Any

from tdw import config
from tdw.errors import SettingError, UnknownNameError
from tdw.interchange.source_run import MOST_EPOCHS, RULES
from tdw.safe_text import cut
from tdw.setting import integer, value_of

HINTS = (
    "p",
    "task",
    "activation",
    "attention_rate",
    "heads",
    "split_rule",
    "data_seed",
    "train_fraction",
    "train_stride",
    "test_stride",
    "epoch",
    "epochs_from",
    "run",
    "dtype",
)


def check_hints(given: dict[str, Any]) -> dict[str, Any]:
    """The given hints as checked values, without those that are None. Raises SettingError, UnknownNameError."""
    settings = {item.name: item for item in config.settings()}
    hints: dict[str, Any] = {}
    for name, value in given.items():
        if name not in HINTS:
            raise UnknownNameError("hint", name, HINTS)
        if value is None:
            continue
        if name in {"epochs_from", "run"}:
            hints[name] = str(value)
        elif name == "dtype":
            if value != "float32":
                raise SettingError(
                    name, f"--dtype must be float32, which all weights have here (got {cut(str(value))})"
                )
            hints[name] = value
        elif name == "split_rule":
            if value not in RULES:
                raise SettingError(name, f"--split-rule must be one of {', '.join(RULES)} (got {cut(str(value))})")
            hints[name] = value
        elif name in {"train_stride", "test_stride", "epoch"}:
            hints[name] = _integer(name, value, least=0 if name == "epoch" else 1)
        else:
            hints[name] = value_of(settings[name], value)
    if ("split_rule" in hints or "train_fraction" in hints) and "data_seed" not in hints:
        raise SettingError("data_seed", "a split needs a seed and a training fraction: add --data-seed")
    if "data_seed" in hints and "train_fraction" not in hints:
        raise SettingError("train_fraction", "a split needs a seed and a training fraction: add --train-fraction")
    return hints


def _integer(name: str, value: Any, *, least: int) -> int:
    try:
        number = integer(value) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        number = -1
    if not least <= number <= MOST_EPOCHS:
        flag = f"--{name.replace('_', '-')}"
        raise SettingError(name, f"{flag} must be an integer from {least} to {MOST_EPOCHS} (got {cut(str(value))})")
    return number
