"""Progress: a bar on a terminal, a line every ten seconds in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tdw.cli.streams import say
from tdw.text_format import clock, short

if TYPE_CHECKING:
    from tdw.analyses.engine import runner
    from tdw.operations import train

SECONDS_BETWEEN_LINES = 10.0

Report = Callable[[float, float, str], None]  # done, total, text


@contextmanager
def training_progress(name: str) -> Iterator[Callable[[train.Progress], None]]:
    """A `progress` callback for `tdw.train`: epochs, epochs per second, losses, time left."""
    with _shown(name) as show:

        def report(at: train.Progress) -> None:
            text = (
                f"{at.epoch}/{at.epochs} epochs  {at.epochs_per_second:.0f}/s  train {short(at.train_loss)}  "
                f"test {short(at.test_loss)}  {clock(at.seconds_left)} left"
            )
            show(at.epoch, at.epochs, text)

        yield report


@contextmanager
def analysis_progress(name: str) -> Iterator[Callable[[runner.Progress], None]]:
    """A `progress` callback for `tdw.analyze`: checkpoints, and seconds per checkpoint."""
    with _shown(name) as show:

        def report(at: runner.Progress) -> None:
            each = f"{at.seconds / max(at.done, 1):.3f} s per {at.units.removesuffix('s')}"
            what = "checkpoints analyzed" if at.units == "checkpoints" else f"{at.units} for {at.names[0]}"
            text = f"{at.done}/{at.total} {what}  {each}"
            show(at.done, at.total, text)

        yield report


@contextmanager
def frames_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A `progress` callback for `Run.save_animation`: frames."""
    with _shown(name) as show:
        yield lambda done, total: show(done, total, f"{done}/{total} frames drawn")


@contextmanager
def _shown(name: str) -> Iterator[Report]:
    if not sys.stderr.isatty():
        last = [time.monotonic()]

        def line(done: float, total: float, text: str) -> None:
            if done >= total or time.monotonic() - last[0] >= SECONDS_BETWEEN_LINES:
                last[0] = time.monotonic()
                say(f"{name}: {text}")

        yield line
        return

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None, text="")
        yield lambda done, total, text: bar.update(task, completed=done, total=total, text=text)
