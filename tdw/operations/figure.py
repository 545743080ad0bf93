"""`tdw figure`: a panel as a file for a paper, or as an animation over the checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdw.errors import TdwError
from tdw.run import Run


def figure(path: str | Path, name: str, out: str | Path, epoch: int | None = None, **options: Any) -> str:
    """Write a panel of a run to a file; returns a caption. PDF, SVG, PNG and CSV files show one checkpoint (`Run.save_figure`), GIF
    and MP4 files all of them (`Run.save_animation`).

    options: those of the two functions. Raises what they raise, and what opening a run raises.
    """
    from tdw.panels import animate

    with Run.open(path) as run:
        if Path(out).suffix.lower() not in animate.FORMATS:
            return run.save_figure(name, out, epoch, **options)
        if epoch is not None:
            raise TdwError(f"an animation shows all checkpoints: drop the epoch (got {epoch}), or write a .png file.")
        return run.save_animation(name, out, **options)
