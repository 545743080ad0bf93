"""What `tdw` can do: its command line, and its commands, each a few lines round the same call that Python offers.

What they print is text (`tdw.cli.streams.say`): no name, note or error of a file reaches the terminal as anything else. Each
command imports what it needs, which can take seconds, and says so when that is done (`stops.at_work`).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from tdw import __version__, config, interrupts, schedule
from tdw.cli import report
from tdw.cli.streams import say, say_json
from tdw.errors import StoppedError
from tdw.safe_text import typed, visible
from tdw.tasks import TASKS


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says what to do."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and end with 2."""
        self.exit(2, f"tdw: {visible(message)}; see `{self.prog} --help`\n")


class _Notes(logging.Handler):
    """What the store has to say in passing: on standard error, which no program takes for a result or a failure."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one note."""
        say(f"note: {record.getMessage()}", error=True)


_notes = _Notes()


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, understood; `command` is what to call with it. Ends with SystemExit where it is refused.

    Where `prints` says yes, the command does nothing but print.
    """
    top = parser()
    arguments, unknown = top.parse_known_args(argv, argparse.Namespace(before=argparse.Namespace()))
    if unknown:
        message = f"unrecognized arguments: {' '.join(unknown)}"
        if any(item.startswith("-") for item in unknown) and "--" in (sys.argv[1:] if argv is None else argv):
            message += " (what follows `--` is taken for names: options come before it, or write the name as ./-NAME)"
        top.error(message)
    before = {name: value for name, value in vars(arguments.before).items() if value}
    if before and arguments.command not in (open_command, demo_command):
        top.error("--port and --no-browser are about the window, which this command does not open")
    for name, value in before.items():  # what is typed after the command has the last word
        if not getattr(arguments, name):
            setattr(arguments, name, value)
    log = logging.getLogger("tdw.store")
    log.addHandler(_notes)
    log.setLevel(logging.INFO)
    return arguments


def parser() -> Parser:
    """The whole command line. Flags of settings come from the config dataclasses."""
    top = Parser(
        prog="tdw",
        description="Training Dynamics Workbench: train small networks that grok, keep each run in one file, look at all of it "
        "under one slider. Without a command, opens the window.",
    )
    top.add_argument("--version", action="version", version=f"tdw {__version__}")
    _add_window_flags(top, _Before)
    top.set_defaults(command=open_command, file=None, port=None, no_browser=False, prints=_never)
    commands = top.add_subparsers(metavar="COMMAND", parser_class=Parser)

    def add(
        name: str,
        command: Callable[[argparse.Namespace], int | None],
        prints: Callable[[argparse.Namespace], bool] = _never,
    ) -> Parser:
        text = " ".join((command.__doc__ or "").split())
        sub: Parser = commands.add_parser(name, help=text.split(". ")[0].rstrip("."), description=text)
        sub.set_defaults(command=command, prints=prints)
        return sub

    sub = add("open", open_command)
    sub.add_argument("file", nargs="?", type=Path, metavar="FILE", help="project file to show")
    _add_window_flags(sub)

    sub = add("new", new_command)
    _add_file(sub, "project file to make")
    sub.add_argument("--force", action="store_true", help="replace FILE where it exists")
    _add_settings(sub)

    sub = add("train", train_command)
    _add_file(sub, "project file; made where there is none")
    sub.add_argument(
        "--allow-drift",
        action="store_true",
        help="go on even where the run does not repeat itself bit for bit; what is stored stays, and the file records it",
    )
    _add_settings(sub)

    sub = add("analyze", analyze_command)
    _add_file(sub, "project file")
    sub.add_argument("--only", nargs="+", action="extend", metavar="NAME", help="these analyses alone (default: all)")
    sub.add_argument("--force", action="store_true", help="compute again what is stored and current")

    sub = add("info", info_command, prints=_always)
    _add_file(sub, "project file")
    sub.add_argument("--json", action="store_true", help="as JSON")

    sub = add("compare", compare_command, prints=_always)
    sub.add_argument("files", nargs="+", type=Path, metavar="FILE", help="project files, two or more")
    sub.add_argument("--json", action="store_true", help="as JSON")

    sub = add("note", note_command, prints=lambda arguments: _noted(arguments) == (None, None, None))
    _add_file(sub, "project file")
    sub.add_argument("--title", metavar="TEXT", help="the title, in place of the old one")
    sub.add_argument("--tag", nargs="+", action="extend", metavar="TEXT", help="all tags, in place of the old ones")
    sub.add_argument("--remark", metavar="TEXT", help="a remark of any number of lines, in place of the old one")

    _add_file(add("verify", verify_command, prints=_always), "project file")

    sub = add("copy", copy_command)
    _add_file(sub, "project file; only read")
    sub.add_argument("new", type=Path, metavar="NEW", help="project file to make")

    sub = add("recover", recover_command)
    _add_file(sub, "damaged project file; only read")
    sub.add_argument("new", type=Path, metavar="NEW", help="project file to make")

    sub = add("branch", branch_command)
    _add_file(sub, "project file of the run to branch off; only read")
    sub.add_argument("new", type=Path, metavar="NEW", help="project file to make")
    sub.add_argument("--at", type=int, required=True, metavar="EPOCH", help="the checkpoint to branch off at")
    sub.add_argument(
        "--fresh-optimizer",
        action="store_true",
        help="begin AdamW anew from the weights alone, instead of finding its state again by training up to EPOCH",
    )
    _add_settings(sub, only="training")

    sub = add("densify", densify_command)
    _add_file(sub, "project file")
    sub.add_argument(
        "--checkpoints", required=True, metavar="TEXT", help=f"epochs to have, joined by commas: {schedule.FORMS}"
    )

    sub = add("import", import_command)
    sub.add_argument("source", type=Path, metavar="SOURCE", help="file or folder of another program; only read")
    _add_file(sub, "project file to make")
    sub.add_argument("--force", action="store_true", help="replace FILE where it exists")
    _add_hints(sub)

    sub = add("export", export_command)
    _add_file(sub, "project file")
    sub.add_argument(
        "out", type=Path, metavar="OUT", help="file (.pt, .pth, .safetensors) for one checkpoint, else a folder"
    )
    sub.add_argument("--as", dest="form", metavar="FORM", required=True, help="the other program: transformer-lens")
    sub.add_argument(
        "--epoch", type=int, metavar="N", help="this checkpoint alone (default: all; into a file: the last)"
    )
    sub.add_argument("--force", action="store_true", help="replace files that exist")

    sub = add("demo", demo_command)
    sub.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="where to keep the run (default: grok-p59.tdw here)"
    )
    sub.add_argument("--no-open", action="store_true", help="do not open the window at the end")
    sub.add_argument("--force", action="store_true", help="replace FILE where it exists")
    _add_window_flags(sub)
    return top


def open_command(arguments: argparse.Namespace) -> int:
    """Open the window, on a run if one is named. Prints its address; Ctrl-C closes it."""
    from tdw.app import server

    interrupts.at_work()
    server.serve(
        arguments.file,
        port=arguments.port,
        open_browser=not arguments.no_browser,
        announce=say,
    )
    return 0 if interrupts.requested() in (None, signal.SIGINT) else interrupts.code()


def new_command(arguments: argparse.Namespace) -> None:
    """Make a project file of a run that is yet to be trained. Prints what it will take."""
    settings = config.configure(**_given(arguments))
    from tdw.operations.create import create

    interrupts.at_work()
    create(arguments.file, settings, overwrite=arguments.force)
    say(f"{arguments.file}: {report.plan(settings)}. `tdw train {typed(arguments.file)}` trains it.")


def train_command(arguments: argparse.Namespace) -> int:
    """Train the run in a project file, or go on with it. Makes the file where there is none; --epochs beyond the end
    extends a finished run. Ctrl-C stops after storing what is done.
    """
    given = _given(arguments)
    settings = None if arguments.file.exists() else config.configure(**given)
    from tdw.cli.progress import training_progress
    from tdw.operations import create, train

    interrupts.at_work()
    if settings is not None:
        create.create(arguments.file, settings)
        say(f"{arguments.file}: {report.plan(settings)}.")
        given = {}
    stop = interrupts.Patience()
    path = _Path(arguments.file)
    with stop, training_progress(visible(arguments.file.name)) as progress:
        finished = train.train(
            path.now, progress=progress, stop=stop, allow_drift=arguments.allow_drift, moved=path.moved, **given
        )
    say(*report.outcome(path.now, finished))
    return 0 if finished else interrupts.code()


class _Path:
    """Where a file is, which may be moved while it is trained."""

    def __init__(self, path: Path):
        self.now = path

    def moved(self, there: Path) -> None:
        """It is there now."""
        say(f"{self.now} was moved while it was trained: it is {there} now.")
        self.now = there


def analyze_command(arguments: argparse.Namespace) -> int:
    """Compute and store what is missing or stale of the analyses of a run."""
    one_thread()
    from tdw.analyses.engine.runner import analyze
    from tdw.cli.progress import analysis_progress

    interrupts.at_work()
    with analysis_progress(visible(arguments.file.name)) as progress:
        done = analyze(arguments.file, arguments.only, force=arguments.force, progress=progress)
    say(f"{arguments.file}: " + (f"{', '.join(done)} stored." if done else "all results are there and current."))
    return 0


def info_command(arguments: argparse.Namespace) -> None:
    """Say what is in a project file."""
    from tdw.run import open as open_run

    interrupts.at_work()
    with open_run(arguments.file) as run:
        information = run.info()
        if arguments.json:
            say_json(information)
        else:
            say(*report.described(run, information))


def compare_command(arguments: argparse.Namespace) -> None:
    """Set runs side by side: settings, events, curves, weights. The first is the one that the others are held against."""
    from tdw.operations.compare import compare

    interrupts.at_work()
    comparison = compare(*arguments.files)
    if arguments.json:
        say_json(asdict(comparison))
    else:
        say(*report.compared(comparison))


def note_command(arguments: argparse.Namespace) -> None:
    """Write a title, tags or a remark into a project file, or print what is noted. Empty text ("") takes one away."""
    from tdw.project.project import Project
    from tdw.project.writer import ProjectWriter

    interrupts.at_work()
    given = _noted(arguments)
    if given == (None, None, None):
        with Project.open(arguments.file) as project:
            say(*report.noted(project.notes) or [f"{arguments.file}: nothing is noted."])
    else:
        with ProjectWriter.open(arguments.file) as writer:
            writer.set_notes(*given)


def verify_command(arguments: argparse.Namespace) -> int:
    """Check every byte of a project file that counts. Prints what is damaged."""
    from tdw.operations import recover

    interrupts.at_work()
    damage = recover.damage(arguments.file)
    for sentence in damage:
        say(f"tdw: {arguments.file}: {sentence}", error=True)
    if not damage:
        say(f"{arguments.file}: every byte that counts is as it was written.")
    return 2 if damage else 0


def copy_command(arguments: argparse.Namespace) -> None:
    """Make a consistent copy of a run, also while it is trained or analyzed. Every byte is compared with its checksum."""
    from tdw.operations.copy import copy
    from tdw.run import open as open_run

    interrupts.at_work()
    copy(arguments.file, arguments.new)
    with open_run(arguments.new) as run:
        say(
            f"{arguments.new}: a copy of {arguments.file}, with {len(run.epochs)} recorded epochs and "
            f"{len(run.checkpoints)} checkpoints."
        )


def recover_command(arguments: argparse.Namespace) -> None:
    """Save all that is sound of a damaged project file into a new one. Prints what was lost; FILE is only read."""
    from tdw.operations import recover
    from tdw.run import open as open_run

    interrupts.at_work()
    said = recover.recover(arguments.file, arguments.new)
    for sentence in said:
        say(f"{arguments.file}: {sentence}")
    with open_run(arguments.new) as run:
        say(
            f"{arguments.new}: {len(run.checkpoints)} of {len(run.planned_checkpoints)} checkpoints, "
            f"{len(run.epochs)} recorded epochs, {len(run.analyses())} results; "
            + report.recovered(said, recover.losses(said))
        )


def branch_command(arguments: argparse.Namespace) -> int:
    """Make a run with the past of another one up to a checkpoint, and other settings from there on. `tdw train NEW` then
    trains it. Without changed settings it repeats the other one.
    """
    from tdw.cli.progress import training_progress
    from tdw.operations import branch

    interrupts.at_work()
    stop = interrupts.Patience()
    try:
        with stop, training_progress(visible(arguments.file.name)) as progress:
            branch.branch(
                arguments.file,
                arguments.new,
                arguments.at,
                fresh_optimizer=arguments.fresh_optimizer,
                progress=progress,
                stop=stop,
                **_given(arguments),
            )
    except StoppedError as stopped:
        say(str(stopped))
        return interrupts.code()
    say(
        f"{arguments.new}: branched off {arguments.file} at epoch {arguments.at}. "
        f"`tdw train {typed(arguments.new)}` trains it."
    )
    return 0


def densify_command(arguments: argparse.Namespace) -> int:
    """Add checkpoints to the past of a run by training it again, which must repeat it bit for bit; else nothing changes."""
    from tdw.cli.progress import training_progress
    from tdw.operations import densify

    interrupts.at_work()
    stop = interrupts.Patience()
    try:
        with stop, training_progress(visible(arguments.file.name)) as progress:
            added = densify.densify(arguments.file, arguments.checkpoints, progress=progress, stop=stop)
    except StoppedError as stopped:
        say(str(stopped))
        return interrupts.code()
    many = (
        f"{len(added)} checkpoint{'s' if len(added) > 1 else ''} added" if added else "all of these are there already"
    )
    say(f"{arguments.file}: {many}.")
    return 0


def import_command(arguments: argparse.Namespace) -> None:
    """Make a project file of a run of another program: Nanda's grokking code, TransformerLens, an earlier workbench.
    Prints what was concluded and how well it holds; the flags say what the source does not.
    """
    from tdw.interchange import pipeline

    interrupts.at_work()
    hints = {name: getattr(arguments, name) for name in pipeline.HINTS}
    imported = pipeline.import_run(arguments.source, arguments.file, overwrite=arguments.force, **hints)
    say(f"{arguments.file}: {pipeline.summary(imported)}.", *report.imported(imported)[1:])


def export_command(arguments: argparse.Namespace) -> None:
    """Write a run's checkpoints for another program. Prints what was written."""
    from tdw.interchange.exporters import transformer_lens

    interrupts.at_work()
    written = transformer_lens.export_run(
        arguments.file, arguments.out, form=arguments.form, epoch=arguments.epoch, overwrite=arguments.force
    )
    say(f"{arguments.out}: {len(written)} checkpoint{'s' if len(written) > 1 else ''} written.")


def demo_command(arguments: argparse.Namespace) -> int:
    """Train a run that first memorizes and much later generalizes, analyze it, and open it in the browser."""
    one_thread()
    from tdw.analyses.engine.runner import analyze
    from tdw.cli import demo
    from tdw.cli.progress import analysis_progress, training_progress
    from tdw.operations import create, train
    from tdw.run import open as open_run

    interrupts.at_work()
    path = arguments.file or Path(demo.FILE)
    if arguments.force or not path.exists():
        create.create(path, demo.settings(), overwrite=arguments.force)
    else:
        demo.check(path)
    stop, place = interrupts.Patience(), _Path(path)
    with stop, training_progress(visible(path.name)) as progress:
        finished = train.train(path, progress=progress, stop=stop, moved=place.moved)
    path = place.now
    if not finished:
        say(*report.outcome(path, finished))
        return interrupts.code()
    with analysis_progress(visible(path.name)) as progress:
        analyze(path, progress=progress)
    with open_run(path) as run:
        say(*report.learnt(run))
    say(f"The run is in {path.resolve()}")
    if not arguments.no_open:
        arguments.file = path
        return open_command(arguments)
    return 0


def one_thread() -> None:
    """NumPy's products in one thread, unless told otherwise; its library reads this once, when it is loaded.

    The products of an analysis are small. Where something else uses the cores, threads that wait for each other made an
    analysis five times as long; where nothing does, one thread needs a quarter more than two.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _noted(arguments: argparse.Namespace) -> tuple[str | None, list[str] | None, str | None]:
    return arguments.title, arguments.tag, arguments.remark


def _always(_: argparse.Namespace) -> bool:
    return True


def _never(_: argparse.Namespace) -> bool:
    return False


def _add_file(sub: Parser, text: str) -> None:
    sub.add_argument("file", type=Path, metavar="FILE", help=text)


class _Before(argparse.Action):
    """A flag that stands before the command: kept apart, because the command's own default would take its place."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: object,
        option: str | None = None,  # noqa: ARG002
    ) -> None:
        setattr(namespace.before, self.dest, True if self.nargs == 0 else values)


def _add_window_flags(sub: Parser, before: type[argparse.Action] | None = None) -> None:
    own: dict[str, Any] = {} if before is None else {"action": before, "default": argparse.SUPPRESS}
    sub.add_argument("--port", type=int, help="port of the window (default: a free one)", **own)
    own = {"action": "store_true"} if before is None else own | {"nargs": 0}
    sub.add_argument("--no-browser", help="print the address, open no browser", **own)


def _add_settings(sub: Parser, only: str | None = None) -> None:
    groups: dict[str, Any] = {}
    for item in config.settings():
        if only not in (None, item.group):
            continue
        if item.group not in groups:
            groups[item.group] = sub.add_argument_group(f"settings: {item.group}")
        text = f"{item.help} (default: {item.text})".replace("%", "%%")
        metavar = {int: "N", float: "X", tuple: "X,X", str: "TEXT"}[item.type]
        if item.choices:
            metavar = "|".join(item.choices)
        groups[item.group].add_argument(item.flag, metavar=metavar, help=text)


def _add_hints(sub: Parser) -> None:
    hints = sub.add_argument_group("hints: what the source does not say")
    hints.add_argument("--p", metavar="N", help="the modulus, where there are no weights")
    hints.add_argument("--task", metavar="|".join(TASKS), help="what was learnt")
    hints.add_argument("--activation", metavar="|".join(config.ACTIVATIONS), help="what a neuron makes of its input")
    hints.add_argument("--split-rule", metavar="python|torch", help="whose shuffle drew the split (default: try both)")
    hints.add_argument("--data-seed", metavar="N", help="seed of the split")
    hints.add_argument("--train-fraction", metavar="X", help="share of the pairs that was trained on")
    hints.add_argument("--test-stride", metavar="N", help="epochs between two test losses")
    hints.add_argument("--epoch", metavar="N", help="updates behind the only weights of a file")


def _given(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that were typed, as text; their check is `configure`'s."""
    typed = {item.name: getattr(arguments, item.name, None) for item in config.settings()}
    return {name: text for name, text in typed.items() if text is not None}
