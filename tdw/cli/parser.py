"""The command line of `tdw`: its parser. What the commands do is in `tdw.cli.commands`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tdw import __version__, arguments, config, schedule
from tdw.cli import commands, dose, figure, files, forecast, runs_table, sweeps
from tdw.safe_text import visible
from tdw.setting import Setting, finite, integer
from tdw.tasks import TASKS


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says what to do, and where its own help is."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse arguments. Unknown ones are refused here, by the parser of the command that they were given to."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            message = f"unrecognized arguments: {' '.join(unknown)}"
            if any(argument.startswith("-") for argument in unknown) and "--" in (
                sys.argv[1:] if args is None else args
            ):
                message += " (arguments after `--` are file names: put options before it, or write the name as ./-NAME)"
            self.error(message)
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with 2."""
        self.exit(2, f"tdw: {visible(message)}; see `{self.prog} --help`\n")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line. Raises SystemExit for help, the version and errors.

    `command` of the result is the function to call with it; `prints(arguments)` tells whether that only prints.
    """
    top = parser()
    arguments = top.parse_args(argv, argparse.Namespace(before=argparse.Namespace()))
    before = vars(arguments.before)
    if before and arguments.command not in (commands.open_command, commands.demo_command):
        flags = ", ".join(WINDOW_FLAGS[:-1]) + f" and {WINDOW_FLAGS[-1]}"
        top.error(f"{flags} apply only to `tdw open` and `tdw demo`")
    for name, value in before.items():  # flags after the command take precedence
        if getattr(arguments, name) in (None, False):
            setattr(arguments, name, value)
    from tdw.cli import store_notes  # `logging` takes milliseconds, and help does not come this far

    store_notes.listen()
    return arguments


def parser() -> Parser:
    """The whole command line. Flags of settings come from the config dataclasses."""
    top = Parser(
        prog="tdw",
        description="Training Dynamics Workbench: train small networks that grok, keep each run in one file, and look at "
        "everything in it at the same checkpoint under one slider. Without a command, opens the window.",
    )
    top.add_argument("--version", action="version", version=f"tdw {__version__}")
    _add_window_flags(top, before=True)
    window = {"port": None, "no_browser": False, "root_path": None, "trust_host": None, "allow_user": None}
    top.set_defaults(command=commands.open_command, files=[], prints=_never, **window)
    subparsers = top.add_subparsers(metavar="COMMAND", parser_class=Parser)

    def add(
        name: str,
        command: Callable[[argparse.Namespace], int | None],
        prints: Callable[[argparse.Namespace], bool] = _never,
    ) -> Parser:
        text = " ".join((command.__doc__ or "").split())
        sub: Parser = subparsers.add_parser(name, help=text.split(". ")[0].rstrip("."), description=text)
        sub.set_defaults(command=command, prints=prints)
        return sub

    sub = add("open", commands.open_command)
    sub.add_argument(
        "files",
        nargs="*",
        type=_path,
        metavar="FILE|DIR",
        help='project files, folders of them, and patterns such as "runs/*.tdw"; the first file is shown, the others are listed',
    )
    _add_window_flags(sub)

    sub = add("new", commands.new_command)
    _add_file(sub, "project file to create")
    sub.add_argument("--force", action="store_true", help="replace FILE if it exists")
    _add_settings(sub)

    sub = add("train", commands.train_command)
    _add_file(sub, "project file (created if missing and settings of a new run are given)")
    sub.add_argument("--new", action="store_true", help="create a missing file with default settings too")
    sub.add_argument(
        "--allow-drift",
        action="store_true",
        help="resume even if replayed epochs are not bit for bit equal to the stored ones; stored data is kept, and the file "
        "records the drift",
    )
    _add_wait(sub)
    _add_settings(sub, default=_default_of_new)

    sub = add("sweep", sweeps.sweep_command)
    _add_folder(sub, "folder of the project files; made if it is missing")
    sub.add_argument("--grid", type=_path, metavar="FILE", help="TOML file with grids of settings, also random ones")
    sub.add_argument(
        "--remake", action="store_true", help="also make runs again that were deleted or moved away with tdw"
    )
    sub.add_argument("--plan-only", action="store_true", help="print what would be made: runs, size and time")
    _add_work(sub, "worker processes (default: one for each core); 0: create the files and train none", 0)
    _add_settings(sub)

    sub = add("work", sweeps.work_command)
    _add_folder(sub, "folder of project files; its subfolders too")
    _add_work(sub, "worker processes (default: one for each core)")

    sub = add("analyze", commands.analyze_command)
    _add_file(sub, "project file")
    sub.add_argument("--only", nargs="+", action="extend", metavar="NAME", help="compute only these (default: all)")
    sub.add_argument("--force", action="store_true", help="recompute current results too")
    _add_jobs(sub, "checkpoints at a time (default: what cores and memory allow)")
    _add_wait(sub)

    sub = add("info", commands.info_command, prints=_always)
    _add_file(sub, "project file")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = add("compare", commands.compare_command, prints=_always)
    sub.add_argument("files", nargs="+", type=_path, metavar="FILE", help="project files, two or more")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = add("runs", runs_table.runs_command, prints=lambda arguments: arguments.parquet is None)
    sub.add_argument("folder", type=_path, metavar="DIR", help="folder with project files; subfolders count")
    sub.add_argument(
        "--where",
        nargs="+",
        action="extend",
        metavar="CONDITION",
        help='only runs for which all hold, such as p=113 weight_decay=0.3,1 "lr<1e-3" state=finished tag=paper',
    )
    sub.add_argument(
        "--group",
        type=_names,
        metavar="NAME,NAME",
        help="print statistics of groups with equal values, as of weight_decay",
    )
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print all columns as CSV")
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--parquet", type=_path, metavar="FILE", help="write a Parquet file")

    sub = add("forecast", forecast.forecast_command, prints=_always)
    sub.add_argument("folder", type=_path, metavar="DIR", help="folder with the runs to learn from; subfolders count")
    sub.add_argument(
        "run",
        nargs="?",
        type=_path,
        metavar="RUN",
        help="project file (default: runs in DIR that are not at their end)",
    )
    sub.add_argument("--at", type=int, required=True, metavar="EPOCH", help="the epoch whose knowledge is used")
    sub.add_argument("--without-settings", action="store_true", help="use losses and measures only, not the settings")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = add("note", commands.note_command, prints=lambda arguments: not commands.notes_given(arguments))
    _add_file(sub, "project file")
    sub.add_argument("--title", metavar="TEXT", help="set the title")
    sub.add_argument("--tag", nargs="+", action="extend", metavar="TEXT", help="set all tags")
    sub.add_argument("--remark", metavar="TEXT", help="set the remark; it may have several lines")
    _add_wait(sub)

    _add_file(add("verify", commands.verify_command, prints=_always), "project file")

    sub = add("copy", commands.copy_command)
    _add_file(sub, "project file (only read)")
    sub.add_argument(
        "new", nargs="?", type=_path, metavar="NEW", help="project file to create (default: NAME-copy.tdw, if unused)"
    )

    sub = add("rename", files.rename_command)
    _add_file(sub, "project file")
    sub.add_argument(
        "new", metavar="NEW", help="a name, with or without .tdw, which stays in the folder; a path; or a folder"
    )
    _add_wait(sub)

    sub = add("delete", files.delete_command)
    sub.add_argument("files", nargs="+", type=_path, metavar="FILE", help="project files")

    sub = add("restore", files.restore_command, prints=lambda arguments: arguments.list)
    sub.add_argument(
        "runs", nargs="*", metavar="FILE|ID", help="path of a run before it was deleted, or the id of a deletion"
    )
    sub.add_argument("--last", action="store_true", help="restore what was deleted last")
    sub.add_argument("--list", action="store_true", help="print what is in the trash")
    sub.add_argument(
        "--dir",
        type=_path,
        default=Path(),
        metavar="DIR",
        help="where to look for ID, --last and --list (default: here)",
    )
    sub.add_argument("--to", type=_path, metavar="PATH", help="restore it to this path or folder instead")

    sub = add("trash", files.trash_command, prints=lambda arguments: not arguments.empty)
    sub.add_argument("folder", nargs="?", type=_path, default=Path(), metavar="DIR", help="folder (default: here)")
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--list", action="store_true", help="print what is in the trash (the default)")
    form.add_argument("--empty", action="store_true", help="remove it for good")
    sub.add_argument("--yes", action="store_true", help="remove it without asking back")

    _add_file(add("reveal", files.reveal_command), "project file")

    sub = add("recover", commands.recover_command)
    _add_file(sub, "damaged project file (only read)")
    sub.add_argument("new", type=_path, metavar="NEW", help="project file to create")

    sub = add("branch", commands.branch_command)
    _add_file(sub, "project file of the run to fork (only read)")
    sub.add_argument("new", type=_path, metavar="NEW", help="project file to create")
    sub.add_argument("--at", type=_integer, required=True, metavar="EPOCH", help="the epoch to fork at")
    _add_edits(sub)
    sub.add_argument(
        "--fresh-optimizer",
        action="store_true",
        help="start with a new optimizer state, instead of restoring the state by replaying training up to EPOCH (the edit "
        "reset-optimizer)",
    )
    _add_wait(sub, "NEW")
    _add_settings(sub, only="training", default=_default_of_branch)

    sub = add("dose", dose.dose_command)
    _add_file(sub, "project file of the run to fork (only read)")
    sub.add_argument("folder", type=_path, metavar="DIR", help="folder for the project files of the branches")
    sub.add_argument("--at", required=True, metavar="TEXT", help=f"epochs to fork at: {schedule.FORMS}")
    _add_edits(sub)
    sub.add_argument(
        "--random", default="20", metavar="N", help="random edits of equal norm at each epoch (default: 20)"
    )
    _add_jobs(sub, "worker processes (default: one for each core)")
    sub.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(sub, only="training", default=_default_of_branch)

    sub = add("densify", commands.densify_command)
    _add_file(sub, "project file")
    sub.add_argument(
        "--checkpoints",
        required=True,
        metavar="TEXT",
        help=f"epochs of the checkpoints, separated by commas: {schedule.FORMS}",
    )
    _add_wait(sub)

    sub = add("import", commands.import_command)
    sub.add_argument("source", type=_path, metavar="SOURCE", help="file or folder of another program (only read)")
    _add_file(sub, "project file to create")
    sub.add_argument("--force", action="store_true", help="replace FILE if it exists")
    _add_hints(sub)

    sub = add("export", commands.export_command)
    _add_file(sub, "project file")
    sub.add_argument(
        "out", type=_path, metavar="OUT", help="file (.pt, .pth, .safetensors) for one checkpoint, else a folder"
    )
    sub.add_argument("--as", dest="form", metavar="FORMAT", required=True, help="format to write: transformer-lens")
    sub.add_argument(
        "--epoch", type=_integer, metavar="N", help="export only this checkpoint (default: all; into a file: the last)"
    )
    sub.add_argument("--force", action="store_true", help="replace existing files")

    sub = add("figure", figure.figure_command, prints=lambda arguments: arguments.list)
    _add_file(sub, "project file")
    sub.add_argument("panel", nargs="?", metavar="PANEL", help="name of a panel, such as restricted_loss, see --list")
    sub.add_argument("--list", action="store_true", help="print the panels with their titles and choices")
    target = sub.add_mutually_exclusive_group()
    target.add_argument(
        "--out", type=_path, metavar="OUT", help="file to write: .pdf, .svg, .png, or .csv for the numbers"
    )
    sub.add_argument("--epoch", type=_integer, metavar="N", help="the checkpoint (default: the last); marked on curves")
    sub.add_argument(
        "--choose",
        type=_choice,
        action="append",
        metavar="NAME=OPTION",
        help="a choice of the panel's menu, such as rule=clusters (may be repeated)",
    )
    sub.add_argument(
        "--width",
        type=_width,
        default=85.0,
        metavar="single|double|MM",
        help="width: single (85 mm, default) or double column (178 mm), or millimeters",
    )
    sub.add_argument(
        "--height", type=_length, metavar="MM", help="height in millimeters (default: what suits the panel)"
    )
    sub.add_argument(
        "--dpi",
        type=_integer,
        metavar="N",
        help="pixels per inch of pictures and heat maps (default: 600; animations: 200)",
    )
    sub.add_argument(
        "--font", metavar="NAME", help="an installed font (default: DejaVu Sans, the same on every machine)"
    )
    sub.add_argument("--caption", action="store_true", help="also write the caption to a .txt file beside OUT")
    target.add_argument(
        "--animate",
        type=_path,
        metavar="OUT",
        help="write all checkpoints as frames of a .gif or .mp4 file (.mp4: needs ffmpeg)",
    )
    sub.add_argument(
        "--fps", type=_length, default=8.0, metavar="X", help="frames a second of an animation (default: 8)"
    )
    sub.add_argument("--force", action="store_true", help="replace existing files")

    sub = add("demo", commands.demo_command)
    sub.add_argument(
        "file", nargs="?", type=_path, metavar="FILE", help="project file (default: grok-p59.tdw in this folder)"
    )
    sub.add_argument("--no-open", action="store_true", help="do not open the window at the end")
    sub.add_argument("--force", action="store_true", help="replace FILE if it exists")
    _add_window_flags(sub)
    return top


def _always(_: argparse.Namespace) -> bool:
    return True


def _never(_: argparse.Namespace) -> bool:
    return False


def _path(text: str) -> Path:
    if not text:  # which `Path` takes for this folder
        raise argparse.ArgumentTypeError("a file name is needed (got an empty one)")
    return Path(text)


def _choice(text: str) -> tuple[str, str]:
    name, separator, option = text.partition("=")
    if not (separator and name and option):
        raise argparse.ArgumentTypeError(f"needs NAME=OPTION, such as rule=clusters (got {visible(text) or 'nothing'})")
    return name, option


def _length(text: str) -> float:
    try:
        number = finite(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0 (got {visible(text)})")
    return number


def _width(text: str) -> float:
    from tdw.panels.save import COLUMNS  # only where the flag is given: it imports much

    return COLUMNS[text] if text in COLUMNS else _length(text)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"needs names separated by commas (got {visible(text) or 'nothing'})")
    return names


def _add_file(sub: Parser, text: str) -> None:
    sub.add_argument("file", type=_path, metavar="FILE", help=text)


def _add_folder(sub: Parser, text: str) -> None:
    sub.add_argument("folder", type=_path, metavar="DIR", help=text)


def _add_jobs(sub: Parser, text: str, low: int = 1) -> None:
    sub.add_argument("--jobs", type=_jobs_or_none if low == 0 else _jobs, metavar="N", help=text)


def _jobs(text: str, low: int = 1) -> int:
    with contextlib.suppress(ValueError):
        if low <= (number := integer(text)) <= arguments.MOST_JOBS:
            return number
    shown = visible(text) or "nothing"
    raise argparse.ArgumentTypeError(f"must be an integer from {low} to {arguments.MOST_JOBS} (got {shown})")


def _jobs_or_none(text: str) -> int:
    return _jobs(text, 0)


def _add_work(sub: Parser, jobs: str, low: int = 1) -> None:
    _add_jobs(sub, jobs, low)
    sub.add_argument("--analyze", action="store_true", help="also compute missing analyses of every run")
    sub.add_argument("--retry", action="store_true", help="try runs again that failed before")
    where = sub.add_mutually_exclusive_group()
    where.add_argument(
        "--dask", metavar="ADDRESS", help="use the workers of this Dask scheduler, such as tcp://host:8786"
    )
    where.add_argument(
        "--slurm",
        nargs="*",
        metavar="KEY=VALUE",
        help="submit --jobs Slurm jobs that work on DIR, with options of submitit: timeout_min=240 cpus_per_task=4",
    )


class _BeforeCommand(argparse.Action):
    """A flag before the command. Kept apart, because the command's default would overwrite it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: object,
        option: str | None = None,  # noqa: ARG002
    ) -> None:
        setattr(namespace.before, self.dest, True if self.nargs == 0 else values)


class _EachBeforeCommand(_BeforeCommand):
    """A flag before the command that may be repeated."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option: str | None = None,
    ) -> None:
        earlier = getattr(namespace.before, self.dest, [])
        super().__call__(parser, namespace, [*earlier, values], option)


# Each with a first letter of its own: argparse takes --p of a command for an abbreviation of one of these, and refuses it if
# it could be two.
WINDOW_FLAGS = ("--port", "--no-browser", "--root-path", "--trust-host", "--allow-user")


def _add_window_flags(sub: Parser, *, before: bool = False) -> None:
    once: dict[str, Any] = {"action": _BeforeCommand, "default": argparse.SUPPRESS} if before else {}
    each = once | {"action": _EachBeforeCommand if before else "append"}
    sub.add_argument("--port", type=_integer, help="port of the window (default: a free one)", **once)
    switch = once | {"nargs": 0} if before else {"action": "store_true"}
    sub.add_argument("--no-browser", help="print the address instead of opening a browser", **switch)
    sub.add_argument(
        "--root-path", metavar="PATH", help="path below which a proxy shows the window, such as /proxy/7995", **once
    )
    sub.add_argument(
        "--trust-host",
        metavar="NAME[:PORT]",
        help="accept this name of a proxy too, as in the address bar (may be repeated)",
        **each,
    )
    sub.add_argument(
        "--allow-user",
        metavar="NAME",
        help="accept connections of this user of the machine too, as which a proxy runs (may be repeated)",
        **each,
    )


def _integer(text: str) -> int:
    try:
        return integer(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer (got {visible(text)})") from None


def _default(setting: Setting) -> str:
    return f"default: {setting.text}"


def _default_of_new(setting: Setting) -> str:
    return f"default for a new file: {setting.text}"


def _default_of_branch(setting: Setting) -> str:
    return "default: as in FILE" + (f", or {setting.text} if --{setting.chooser} changes" if setting.kinds else "")


def _add_wait(sub: argparse.ArgumentParser, file: str = "FILE") -> None:
    sub.add_argument(
        "--wait", action="store_true", help=f"if another process writes to {file}, wait until it is done or has ended"
    )


def _add_settings(sub: Parser, only: str | None = None, default: Callable[[Setting], str] = _default) -> None:
    groups: dict[str, Any] = {}
    for setting in config.settings():
        if only not in (None, setting.group):
            continue
        if setting.group not in groups:
            groups[setting.group] = sub.add_argument_group(f"settings: {setting.group}")
        text = f"{setting.help} ({default(setting)})".replace("%", "%%")
        metavar = {int: "N", float: "X", tuple: "X,X", str: "TEXT"}[setting.type]
        if setting.choices:
            metavar = "|".join(setting.choices)
        groups[setting.group].add_argument(setting.flag, metavar=metavar, help=text)


def _add_edits(sub: Parser) -> None:
    sub.add_argument(
        "--edit",
        action="append",
        default=[],
        metavar="EDIT",
        help="change the state at EPOCH (may be repeated; made in the order given): remove-frequency:5,8[@W_E,W_U], "
        "keep-frequency:5,8[@W_E,W_U], swap:W_E=[OTHER.tdw]@EPOCH, scale:W_E=FACTOR, random:W_E=NORM[,SEED], "
        "reset-optimizer[:W_E], freeze:W_E",
    )


def _add_hints(sub: Parser) -> None:
    hints = sub.add_argument_group("hints: what the source does not contain")
    hints.add_argument("--p", metavar="N", help="modulus, if there are no weights")
    hints.add_argument("--task", metavar="|".join(TASKS), help="task")
    hints.add_argument("--activation", metavar="|".join(config.ACTIVATIONS), help="activation function")
    hints.add_argument("--attention-rate", metavar="X", help="c in the attention c * softmax + (1 - c)")
    hints.add_argument("--heads", metavar="N", help="attention heads, if the weights do not tell")
    hints.add_argument("--split-rule", metavar="python|torch", help="random generator of the split (default: try both)")
    hints.add_argument("--data-seed", metavar="N", help="seed of the split")
    hints.add_argument("--train-fraction", metavar="X", help="training fraction")
    hints.add_argument("--train-stride", metavar="N", help="epochs between train losses")
    hints.add_argument("--test-stride", metavar="N", help="epochs between test losses")
    hints.add_argument("--epoch", metavar="N", help="epoch of the weights, for a file with one checkpoint")
    hints.add_argument("--dtype", metavar="float32", help="round float64 weights to float32")
    hints.add_argument("--run", metavar="NAME", help="which run, of a source with several")
    hints.add_argument(
        "--epochs-from",
        metavar="TEXT",
        help='where the epoch is in the file names of a folder, such as "{epoch}_loss"; the text around it is as in the names',
    )
