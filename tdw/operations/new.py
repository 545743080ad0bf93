"""`tdw new`: create a project file for a run that is yet to be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdw.config import RunConfig, configure
from tdw.operations.create import create


def new(path: str | Path, *, overwrite: bool = False, **settings: Any) -> RunConfig:
    """Create a project file from settings by name, and return the checked configuration.

    Raises SettingError and UnknownNameError for settings, and what `tdw.create` raises.
    """
    config = configure(**settings)
    create(path, config, overwrite=overwrite)
    return config
