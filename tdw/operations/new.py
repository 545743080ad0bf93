"""`tdw new`: create the project file of an untrained run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdw.config import RunConfig, configure
from tdw.operations.create import create


def new(path: str | Path, *, overwrite: bool = False, **settings: Any) -> RunConfig:
    """Create a project file from settings by name. Returns the checked configuration.

    Raises SettingError, UnknownNameError, and what `tdw.create` raises.
    """
    config = configure(**settings)
    create(path, config, overwrite=overwrite)
    return config
