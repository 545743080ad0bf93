"""The commands of `tdw`, each a few lines around one function of the package.

What they print goes through `tdw.cli.streams.say`, so that text from a file cannot control the terminal. Each command
imports what it needs, which may take seconds, and reports when that is done (`interrupts.at_work`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tdw import config, interrupts
from tdw.cli.streams import say, say_json
from tdw.errors import FileInUseError, NotAProjectError, StoppedError
from tdw.safe_text import typed, visible
from tdw.text_format import count

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdw.app.proxy import Proxy

Result = TypeVar("Result")


def open_command(arguments: argparse.Namespace) -> int:
    """Open the window, on the first of the given runs. Prints its address; Ctrl-C closes it."""
    from tdw.app import server

    proxy = _proxy(arguments)
    interrupts.at_work()
    server.serve(
        arguments.files,
        port=arguments.port,
        open_browser=not arguments.no_browser,
        announce=say,
        proxy=proxy,
    )
    return 0 if interrupts.requested() in (None, signal.SIGINT) else interrupts.code()


def _proxy(arguments: argparse.Namespace) -> Proxy:
    from tdw.app import server

    return server.reached_through(arguments.root_path, arguments.trust_host or (), arguments.allow_user or ())


def new_command(arguments: argparse.Namespace) -> None:
    """Create a project file. Prints its checkpoints, size and training time."""
    from tdw.cli import report

    config.configure(**settings_given(arguments))  # refuses wrong settings before the slow imports
    from tdw.operations.new import new

    interrupts.at_work()
    settings = new(arguments.file, overwrite=arguments.force, **settings_given(arguments))
    say(f"{arguments.file}: {report.plan(settings)}. Train it with `tdw train {typed(arguments.file)}`.")


def train_command(arguments: argparse.Namespace) -> int:
    """Train or resume a run. A missing file is created if settings of a new run are given, or with --new; an existing file
    keeps its settings, and --epochs beyond the end extends a finished run. Ctrl-C stops after storing what is done.
    """
    from tdw.cli import report

    given = settings_given(arguments)
    settings = None if arguments.file.exists() else config.configure(**given)
    if settings is not None and not arguments.new and set(given) <= {*config.CHANGEABLE}:
        raise NotAProjectError(_missing(arguments.file))
    from tdw.cli.progress import training_progress
    from tdw.operations import create, train

    interrupts.at_work()
    if settings is not None:
        create.create(arguments.file, settings)
        say(report.created(arguments.file, settings, given))
        given = {}
    stop = interrupts.Patience()
    path = _MovablePath(arguments.file)
    with stop, training_progress(visible(arguments.file.name)) as progress:
        finished = in_turn(
            arguments,
            lambda: train.train(
                path.now, progress=progress, stop=stop, allow_drift=arguments.allow_drift, moved=path.moved, **given
            ),
            stop,
        )
    say(*report.training_outcome(path.now, finished))
    return 0 if finished else interrupts.code()


def in_turn(
    arguments: argparse.Namespace,
    work: Callable[[], Result],
    stop: Callable[[], bool] | None = None,
    file: Path | None = None,
) -> Result:
    """Do this now, or with --wait as soon as no other process writes to the file (default: FILE)."""
    if not arguments.wait:
        return work()
    from tdw.operations.wait import when_free

    def told(error: FileInUseError) -> None:
        say(f"{file or arguments.file} is being written to by {error.who}: waiting until it is done.", error=True)

    return when_free(work, told=told, stop=stop)


def _missing(file: Path) -> str:
    """What to say of a missing file that was to be resumed, as it seems: its name may be mistyped."""
    import difflib

    with contextlib.suppress(OSError):
        near = difflib.get_close_matches(file.stem, [item.stem for item in file.absolute().parent.glob("*.tdw")], n=1)
        if near:
            return f"{file} does not exist: did you mean {near[0]}.tdw? Start a new run with `tdw new {typed(file)}`, or add --new."
    return (
        f"{file} does not exist. Start a new run with `tdw new {typed(file)}`, or add --new or settings of a new run."
    )


class _MovablePath:
    """The path of a file that may be moved while it is trained."""

    def __init__(self, path: Path):
        self.now = path

    def moved(self, there: Path) -> None:
        """Report and remember the new path."""
        say(f"{self.now} was moved during training; it is now {there}.")
        self.now = there


def analyze_command(arguments: argparse.Namespace) -> int:
    """Compute missing and stale analyses of a run."""
    one_thread()
    from tdw.analyses.engine.runner import analyze
    from tdw.cli.progress import analysis_progress

    interrupts.at_work()
    with analysis_progress(visible(arguments.file.name)) as progress:
        done = in_turn(
            arguments,
            lambda: analyze(
                arguments.file, arguments.only, force=arguments.force, jobs=arguments.jobs, progress=progress
            ),
        )
    say(f"{arguments.file}: " + (f"{', '.join(done)} stored." if done else "all results are current."))
    return 0


def info_command(arguments: argparse.Namespace) -> None:
    """Print what is in a project file."""
    from tdw.cli import report
    from tdw.run import open as open_run

    interrupts.at_work()
    with open_run(arguments.file) as run:
        information = run.info()
        if arguments.json:
            say_json(information)
        else:
            say(*report.run_info(run, information))


def compare_command(arguments: argparse.Namespace) -> None:
    """Compare runs: settings, events, how closely curves and weights agree. The first run is the reference."""
    from tdw.cli import report
    from tdw.operations.compare import compare

    interrupts.at_work()
    result = compare(*arguments.files)
    if arguments.json:
        say_json(asdict(result))
    else:
        say(*report.comparison(result))


def note_command(arguments: argparse.Namespace) -> None:
    """Set or print a run's title, tags and remark. Empty text ("") removes one."""
    from tdw.cli import report
    from tdw.operations.note import note

    interrupts.at_work()
    notes = in_turn(
        arguments,
        lambda: note(
            arguments.file,
            title=arguments.title,
            tags=arguments.tag,
            remark=arguments.remark,
            beside=not arguments.wait,
        ),
    )
    if not notes_given(arguments):
        say(*report.notes(notes) or [f"{arguments.file}: no title, tags or remark."])


def verify_command(arguments: argparse.Namespace) -> int:
    """Verify all checksums of a project file. Prints what is damaged."""
    from tdw.operations.verify import verify

    interrupts.at_work()
    damage = verify(arguments.file)
    for sentence in damage:
        say(f"tdw: {arguments.file}: {sentence}", error=True)
    if not damage:
        say(f"{arguments.file}: OK: all checksums match.")
    return 2 if damage else 0


def copy_command(arguments: argparse.Namespace) -> None:
    """Make a consistent copy of a run, even while it is being trained or analyzed. Verifies all checksums."""
    from tdw.operations.copy import copy
    from tdw.run import open as open_run

    interrupts.at_work()
    new = copy(arguments.file, arguments.new)
    with open_run(new) as run:
        say(
            f"{new}: copied from {arguments.file}, {count(len(run.epochs), 'recorded epoch')}, "
            f"{count(len(run.checkpoints), 'checkpoint')}."
        )


def recover_command(arguments: argparse.Namespace) -> None:
    """Recover the intact parts of a damaged file into a new file. Prints what was lost; FILE is only read."""
    from tdw.cli import report
    from tdw.operations import recover
    from tdw.run import open as open_run

    interrupts.at_work()
    messages = recover.recover(arguments.file, arguments.new)
    for sentence in messages:
        say(f"{arguments.file}: {sentence}")
    with open_run(arguments.new) as run:
        say(
            f"{arguments.new}: {len(run.checkpoints)} of {len(run.planned_checkpoints)} checkpoints, "
            f"{len(run.epochs)} recorded epochs, {len(run.analyses())} results; "
            + report.recovered(messages, recover.losses(messages))
        )


def branch_command(arguments: argparse.Namespace) -> int:
    """Fork a run at an epoch, and continue with different settings or from an edited state. Train the new run with
    `tdw train NEW`. With the same settings and no edit it repeats the original run.
    """
    from tdw.cli.progress import training_progress
    from tdw.operations import branch

    interrupts.at_work()
    stop = interrupts.Patience()
    try:
        with stop, training_progress(visible(arguments.file.name)) as progress:
            in_turn(
                arguments,
                lambda: branch.branch(
                    arguments.file,
                    arguments.new,
                    arguments.at,
                    edits=arguments.edit,
                    fresh_optimizer=arguments.fresh_optimizer,
                    progress=progress,
                    stop=stop,
                    **settings_given(arguments),
                ),
                stop,
                arguments.new,
            )
    except StoppedError as stopped:
        say(str(stopped))
        return interrupts.code()
    say(
        f"{arguments.new}: forked from {arguments.file} at epoch {arguments.at}. "
        f"Train it with `tdw train {typed(arguments.new)}`."
    )
    return 0


def densify_command(arguments: argparse.Namespace) -> int:
    """Add checkpoints by replaying training, verified bit for bit. If the replay differs, the file is not changed."""
    from tdw.cli.progress import training_progress
    from tdw.operations import densify

    interrupts.at_work()
    stop = interrupts.Patience()
    try:
        with stop, training_progress(visible(arguments.file.name)) as progress:
            added = in_turn(
                arguments,
                lambda: densify.densify(arguments.file, arguments.checkpoints, progress=progress, stop=stop),
                stop,
            )
    except StoppedError as stopped:
        say(str(stopped))
        return interrupts.code()
    outcome = f"{count(len(added), 'checkpoint')} added" if added else "has all these checkpoints already"
    say(f"{arguments.file}: {outcome}.")
    return 0


def import_command(arguments: argparse.Namespace) -> None:
    """Import a run of another program: weights of TransformerLens, Nanda's code, Lightning, Hugging Face or PyTorch; tables of
    losses. Prints what was inferred and how well it fits; the flags supply what the source does not contain.
    """
    from tdw.cli import report
    from tdw.interchange import pipeline
    from tdw.interchange.hints import HINTS

    interrupts.at_work()
    hints = {name: getattr(arguments, name) for name in HINTS}
    imported = pipeline.import_run(arguments.source, arguments.file, overwrite=arguments.force, **hints)
    say(f"{arguments.file}: {pipeline.summary(imported)}.", *report.imported(imported)[1:])


def export_command(arguments: argparse.Namespace) -> None:
    """Export checkpoints for another program. Prints how many were written."""
    from tdw.interchange.exporters import transformer_lens

    interrupts.at_work()
    written = transformer_lens.export_run(
        arguments.file, arguments.out, form=arguments.form, epoch=arguments.epoch, overwrite=arguments.force
    )
    say(f"{arguments.out}: {count(len(written), 'checkpoint')} written.")


def demo_command(arguments: argparse.Namespace) -> int:
    """Train, analyze and open an example: a run that memorizes early and generalizes much later."""
    from tdw.cli import report

    one_thread()
    from tdw.analyses.engine.runner import analyze
    from tdw.cli.progress import analysis_progress, training_progress
    from tdw.operations import create, demo, train
    from tdw.run import open as open_run

    _proxy(arguments)  # refuses before the training what it would refuse after it
    interrupts.at_work()
    path = arguments.file or Path(demo.FILE)
    if arguments.force or not path.exists():
        create.create(path, demo.settings(), overwrite=arguments.force)
    else:
        demo.check(path)
    stop, place = interrupts.Patience(), _MovablePath(path)
    with stop, training_progress(visible(path.name)) as progress:
        finished = train.train(path, progress=progress, stop=stop, moved=place.moved)
    path = place.now
    if not finished:
        say(*report.training_outcome(path, finished))
        return interrupts.code()
    with analysis_progress(visible(path.name)) as progress:
        analyze(path, progress=progress)
    with open_run(path) as run:
        say(*report.summary(run))
    say(f"Saved in {path.resolve()}")
    if not arguments.no_open:
        arguments.files = [path]
        return open_command(arguments)
    return 0


def one_thread() -> None:
    """Run NumPy's matrix products in one thread, unless the user set a number. OpenBLAS reads this once, when it is loaded.

    The products in an analysis are small. On a busy machine, threads waiting for each other made an analysis take five
    times as long; on an idle one, a single thread takes 25 % longer than two.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def notes_given(arguments: argparse.Namespace) -> bool:
    """Whether `tdw note` was given anything to set."""
    return (arguments.title, arguments.tag, arguments.remark) != (None, None, None)


def settings_given(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that were given, as text; `configure` checks them."""
    values = {setting.name: getattr(arguments, setting.name, None) for setting in config.settings()}
    return {name: text for name, text in values.items() if text is not None}
