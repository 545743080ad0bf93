"""`tdw info`: the contents of a project file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdw.run import open as open_run


def info(path: str | Path) -> dict[str, Any]:
    """The output of `tdw info --json`: plain values. Raises what opening a file raises."""
    with open_run(path) as run:
        return run.info()
