"""A process that trains for real until it is killed: `python trained.py`, told on its standard input what to do.

Each line is a JSON list of command lines for `tdw`; a child runs them one after the other, so that torch is loaded once
for all kills. What the child does goes to the standard output as JSON lines: `begin` and `end` round everything that
writes, with all that is under way, `stored` and `rows` after a commit has returned, with checksums of what training or
analyzing yielded, and `over` at the end. An empty line asks how the child ended, killed or not.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tdw import configure, schedule, store, tasks
from tdw.analyses.engine import runner
from tdw.cli import main, progress
from tdw.network import reference, training
from tdw.network.segment import Segment
from tdw.operations.train import Progress
from tdw.project import serialization
from tdw.project.series import series_of
from tdw.project.writer import ProjectWriter
from tdw.store import build, commits, fence, filesystem, writer

STEP = 10  # epochs from one checkpoint to the next

under_way: list[str] = []
latest: list[Segment] = []


def say(word: str, **what: Any) -> None:
    """One line at once: what was said before a kill is in the pipe."""
    os.write(1, (json.dumps({"word": word, "at": time.monotonic(), **what}) + "\n").encode())


@contextlib.contextmanager
def marked(what: str) -> Iterator[None]:
    under_way.append(what)
    say("begin", stack=under_way)
    yield
    say("end", stack=under_way)
    under_way.pop()


def mark(owner: Any, name: str, what: str) -> None:
    plain = getattr(owner, name)

    @functools.wraps(plain)
    def wrapper(*arguments: Any, **more: Any) -> Any:
        with marked(what):
            return plain(*arguments, **more)

    setattr(owner, name, wrapper)


def remember(plain: Callable[..., None]) -> Callable[..., None]:
    """`ProjectWriter.append`, with the segments kept for the report that follows."""

    @functools.wraps(plain)
    def append(project: ProjectWriter, *segments: Segment) -> None:
        plain(project, *segments)
        latest[:] = segments

    return append


@contextlib.contextmanager
def training_progress(_name: str) -> Iterator[Callable[[Progress], None]]:
    def report(at: Progress) -> None:
        assert latest[-1].epochs[-1] == at.epoch
        for number, segment in enumerate(latest, 1):
            last = segment.epochs[-1]
            kept = serialization.pack(segment.state.weights, last) if segment.keep else None
            sums = {name: zlib.crc32(values.tobytes()) for name, values in series_of(segment).items()}
            blob = None if kept is None else zlib.crc32(kept)
            checkpoints = at.checkpoints - sum(later.keep for later in latest[number:])
            say("stored", first=segment.epochs[0], last=last, checkpoints=checkpoints, sums=sums, blob=blob)

    yield report


@contextlib.contextmanager
def analysis_progress(_name: str) -> Iterator[Callable[[runner.Progress], None]]:
    yield lambda at: say("rows", names=at.names, rows=at.done)


def spare(path: Path, epochs: int) -> int:
    """Extend a run with more room for checkpoints than it will fill: closing it at its end then gives the rest back.

    The room is for a checkpoint at epoch 1, which training must never come by again.
    """
    with ProjectWriter.open(path) as project:
        resumes_at = project.resume_state().epoch
    if resumes_at <= 1 and (code := main.main(["train", str(path)])):
        return code
    with ProjectWriter.open(path) as project:
        assert project.resume_state().epoch > 1
        settings = configure(**project.config.to_json() | {"epochs": epochs, "checkpoints": f"0:{epochs}:{STEP}"})
        plan = sorted({1, *schedule.parse(settings.checkpoints, epochs)})
        project.describe(settings, plan, project.environments)
    return 0


def perform(commands: list[list[str]]) -> None:
    for command in commands:
        with marked(command[0]):
            code = spare(Path(command[1]), int(command[2])) if command[0] == "spare" else main.main(command)
        if code:
            raise SystemExit(f"{command} ended with {code}")


def child(line: str) -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - what the commands print is not looked at here
    sys.stderr = io.StringIO()
    # Every other process stores the state to resume from as often as it can, the rest as seldom as is usual.
    writer.SLOWEST_COPY = 1e12 if os.getpid() % 2 else writer.SLOWEST_COPY
    say("started", pid=os.getpid())
    try:
        perform(json.loads(line))
        say("over")
    except BaseException:
        say("failed", why=traceback.format_exc()[-2000:], said=sys.stderr.getvalue())
    finally:
        os._exit(0)


def warm_up() -> None:
    """Train in memory: torch loads half of itself on first use, which would repeat in each child."""
    settings = configure(p=3, d_model=4, heads=1, d_mlp=4, epochs=2, train_fraction=0.5, threads=1)
    list(
        training.train(
            settings, training.start(settings, reference.initial_weights(settings)), tasks.draw_split(settings), [2]
        )
    )


def break_it(how: str) -> None:
    """Take away what keeps two writers from one file, for tests that have to notice it."""
    if "no lock on the file" in how:
        filesystem.lock_for_writing = lambda _: None
        filesystem.is_locked_for_writing = lambda _: False
    if "no fence" in how:
        fence.Fence.check = lambda *_: None  # type: ignore[method-assign]


def run() -> None:
    break_it(os.environ.get("TDW_TEST_BROKEN", ""))
    warm_up()
    mark(store.Writer, "_commit", "commit")
    mark(store.Writer, "_restructure", "structure")
    mark(store.Writer, "close", "close")
    mark(store, "create", "create")
    mark(store, "open_writer", "open")
    mark(commits, "write_all", "write")
    mark(build, "write_all", "write")
    ProjectWriter.append = remember(ProjectWriter.append)  # type: ignore[method-assign]
    progress.training_progress = training_progress
    progress.analysis_progress = analysis_progress
    pid = 0
    for line in sys.stdin:
        if line.strip():
            pid = os.fork()
            if not pid:
                child(line)
        else:  # reaped only now: until then the number is nobody else's
            _, status = os.waitpid(pid, 0)
            say("ended", status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    run()
