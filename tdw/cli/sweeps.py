"""`tdw sweep` and `tdw work`: many runs in a folder. A live table on a terminal, a line from time to time in a pipe."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tdw import interrupts
from tdw.cli.commands import settings_given
from tdw.cli.progress import SECONDS_BETWEEN_LINES
from tdw.cli.streams import say
from tdw.errors import SettingError
from tdw.safe_text import cut, typed, visible
from tdw.text_format import clock, count, duration, short, size

if TYPE_CHECKING:
    from tdw.sweeps.plan import SweepPlan
    from tdw.sweeps.work import Work

SHOWN = 20  # failures in full
FAILED = 2  # the exit code where runs failed

WORDS = {
    "created": "created",
    "finished": "finished",
    "current": "finished before",
    "diverged": "diverged",
    "stopped": "stopped",
    "busy": "in work elsewhere",
    "gone": "moved or deleted",
    "failed": "failed",
    "given up": "failed before",
    "outside": "left out, a link to a file outside of the folder",
}


def sweep_command(arguments: argparse.Namespace) -> int:
    """Create a project file for each combination of settings in a folder, and train all of them. A setting takes a list or a
    range (0.3,1,3 or 0-199). Run again with more values, it adds the runs that are missing.
    """
    from tdw.machine import cores
    from tdw.sweeps import plan, work
    from tdw.sweeps.dask import work_on_dask

    given = settings_given(arguments)
    interrupts.at_work()
    _check_dask(arguments)
    planned = plan.plan_sweep(
        arguments.folder, file=arguments.grid, analyze=arguments.analyze, remake=arguments.remake, **given
    )
    say(*_planned(planned, arguments.jobs or cores()))
    if arguments.plan_only:
        return 0
    if arguments.slurm is None and arguments.dask is None:
        return _followed(arguments, lambda **how: work.carry_out(planned, jobs=arguments.jobs, **how))
    plan.check_room(planned)
    plan.record(planned)
    if arguments.dask is not None:
        train = arguments.jobs != 0
        return _followed(
            arguments,
            lambda **how: work_on_dask(
                arguments.folder, arguments.dask, create=planned.new, train=train, told=_told, **how
            ),
        )
    created = work.carry_out(planned, jobs=0)
    if (code := _outcome(created, arguments)) or arguments.jobs == 0:
        return code
    return _submitted(arguments, planned.seconds)


def work_command(arguments: argparse.Namespace) -> int:
    """Finish all unfinished runs in a folder that no other process is on. Any number of processes, on any computers that see
    the folder, may do so at the same time. Ctrl-C stops after storing what is done.
    """
    from tdw.sweeps import manifest, plan, work
    from tdw.sweeps.dask import work_on_dask

    interrupts.at_work()
    _check_dask(arguments)
    if arguments.slurm is not None:
        plan.check_folder(arguments.folder)
        return _submitted(arguments, 0.0)
    if arguments.dask is not None:
        plan.check_folder(arguments.folder)
        return _followed(arguments, lambda **how: work_on_dask(arguments.folder, arguments.dask, told=_told, **how))
    code = _followed(arguments, lambda **how: work.work(arguments.folder, jobs=arguments.jobs, **how))
    if missing := [name for name in manifest.read(arguments.folder).runs if not (arguments.folder / name).exists()]:
        say(
            f"{count(len(missing), 'planned run')} without a file, see sweep.json: `tdw sweep` with the same settings makes them."
        )
    return code


def _told(sentence: str) -> None:
    say(f"tdw: {sentence}", error=True)


def _check_dask(arguments: argparse.Namespace) -> None:
    """Raise SettingError for a number of processes of a cluster. 0, which trains nothing, is allowed."""
    if arguments.dask is not None and arguments.jobs:
        raise SettingError(
            "jobs", "--jobs does not apply to --dask, whose workers are those of the cluster: leave it out"
        )


def _followed(arguments: argparse.Namespace, do: Callable[..., Work]) -> int:
    """Work, with its progress shown and its outcome printed. Ctrl-C stops it."""
    stop = interrupts.Patience()
    with stop, work_progress(arguments.folder) as progress:
        done = do(analyze=arguments.analyze, retry=arguments.retry, progress=progress, stop=stop)
    return _outcome(done, arguments)


def _submitted(arguments: argparse.Namespace, seconds: float) -> int:
    """Submit Slurm jobs. Prints their ids."""
    from tdw.sweeps.slurm import submit

    options = dict(text.partition("=")[::2] for text in arguments.slurm)
    if wrong := [text for text in arguments.slurm if not all(text.partition("="))]:
        raise SettingError("slurm", f"--slurm options are KEY=VALUE, such as timeout_min=240 (got {', '.join(wrong)})")
    ids = submit(
        arguments.folder,
        seconds=seconds,
        jobs=arguments.jobs,
        analyze=arguments.analyze,
        retry=arguments.retry,
        options=options,
    )
    say(f"{arguments.folder}: {count(len(ids), 'job')} submitted: {', '.join(ids)}. Their output is in sweep.slurm.")
    return 0


def _planned(planned: SweepPlan, jobs: int) -> list[str]:
    """What a sweep is going to make."""
    there = f", {count(len(planned.existing), 'run')} there already" if planned.existing else ""
    cost = (
        f": {size(planned.megabytes)} when done, {duration(planned.seconds / jobs)} of training in "
        f"{count(jobs, 'process').replace('processs', 'processes')} of this machine"
    )
    lines = [f"{planned.folder}: {count(len(planned.new), 'run')} to create{there}{cost if planned.new else ''}."]
    if planned.removed:
        lines.append(
            f"{count(len(planned.removed), 'run')} left out, because of being deleted or moved away: --remake makes them again."
        )
    return lines + [
        f"{path} is not part of the sweep, because it cannot be used: {why}" for path, why in planned.unreadable.items()
    ]


def _outcome(done: Work, arguments: argparse.Namespace) -> int:
    """Print what became of the runs. Returns the exit code: 2 if any failed, also after Ctrl-C."""
    for path in done.paths("outside")[:SHOWN]:
        say(f"tdw: {done.outcomes[path][1]}", error=True)
    failed = done.paths("failed", "given up")
    for path in failed[:SHOWN]:
        state, message = done.outcomes[path]
        say(f"tdw: {path} {WORDS[state]}: {cut(message, 400)}", error=True)
    if len(failed) > SHOWN:
        say(f"tdw: and {count(len(failed) - SHOWN, 'run')} more; see {arguments.folder}/sweep.failed", error=True)
    say(f"{arguments.folder}: {_summary(done)}.")
    if done.stopped:
        say(f"Stopped; continue with `tdw work {typed(arguments.folder)}`.")
        return FAILED if failed else interrupts.code()
    if any(done.outcomes[path][0] == "given up" for path in failed):
        say("Runs that failed before were left out: add --retry to try them again.")
    return FAILED if failed else 0


def _summary(done: Work) -> str:
    """How many runs are in which state, in words."""
    parts = [f"{number} {WORDS[state]}" for state, number in done.counts.items()]
    if done.left:
        parts.append(f"{done.left} not begun")
    total = len(done.outcomes) + done.left
    return f"{count(total, 'run')}: {', '.join(parts)}" if parts else "no project files"


def _left(done: Work) -> str:
    """The time that is left, at the speed so far."""
    finished = len(done.paths("finished", "diverged", "failed", "created"))
    part = sum(item.epoch / item.epochs for item in done.running if item.epochs)
    waiting = done.left + len(done.running) - part
    return clock(done.seconds * waiting / (finished + part)) if finished + part else "?"


def _line(done: Work) -> str:
    over, total = len(done.outcomes), len(done.outcomes) + len(done.running) + done.left
    failed = len(done.paths("failed"))
    wrong = f", {failed} failed" if failed else ""
    return f"{over}/{total} runs{wrong}, {len(done.running)} in work, {_left(done)} left"


@contextlib.contextmanager
def work_progress(folder: Path) -> Iterator[Callable[[Work], None]]:
    """A `progress` callback for `tdw.work`: a table of the runs in work, or a line every ten seconds."""
    name = visible(str(folder))
    if not sys.stderr.isatty():
        last = [time.monotonic()]

        def line(done: Work) -> None:
            if time.monotonic() - last[0] >= SECONDS_BETWEEN_LINES:
                last[0] = time.monotonic()
                say(f"{name}: {_line(done)}")

        yield line
        return

    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True)

    def table(done: Work) -> Table:
        shown = Table(box=None, pad_edge=False, title=Text(f"{name}: {_line(done)}"), title_justify="left")
        for header in ("run", "epoch", "epochs/s", "train loss", "test loss"):
            shown.add_column(header, justify="left" if header == "run" else "right", no_wrap=True)
        for item in done.running[: max(console.height - 4, 1)]:
            run = Text(visible(item.path.stem))
            if item.epochs:
                numbers = (f"{item.epoch}/{item.epochs}", f"{item.epochs_per_second:.0f}")
                shown.add_row(run, *numbers, short(item.train_loss), short(item.test_loss))
            else:
                shown.add_row(run)
        return shown

    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda done: live.update(table(done), refresh=True)
