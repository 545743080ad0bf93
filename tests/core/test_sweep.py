"""Every command under every condition of a machine: the documented exit code, one line, no partial files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

import tdw
from tdw.cli.parser import parser
from tdw.operations import recover

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts, limits and /dev/full are Linux's")
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

SIZES = ["--p", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "8", "--train-fraction", "0.5", "--threads", "1"]
LENS = ["--as", "transformer-lens"]
#: command -> command lines on the files that `base` makes. A command that is missing here fails a test.
COMMANDS: dict[str, list[list[str]]] = {
    "open": [["run.tdw", "--no-browser"]],
    "new": [["made.tdw", *SIZES, "--epochs", "20"]],
    "train": [["part.tdw"], ["made.tdw", *SIZES, "--epochs", "20", "--checkpoints", "0:20:10"]],
    "sweep": [["made", *SIZES, "--epochs", "20", "--model-seed", "0-1", "--jobs", "1"]],
    "work": [["many", "--jobs", "1"]],
    "analyze": [["run.tdw", "--only", "embedding_frequencies", "events"]],
    "info": [["run.tdw"], ["run.tdw", "--json"]],
    "compare": [["run.tdw", "part.tdw"]],
    "runs": [["."], [".", "--csv"], [".", "--group", "p"]],
    "forecast": [[".", "run.tdw", "--at", "10"]],
    "note": [["run.tdw"], ["run.tdw", "--title", "a title"]],
    "verify": [["run.tdw"]],
    "copy": [["run.tdw", "made.tdw"]],
    "rename": [["run.tdw", "made.tdw"]],
    "delete": [["run.tdw"]],
    "restore": [["--last"]],
    "trash": [["."]],
    "reveal": [["run.tdw"]],
    "recover": [["hurt.tdw", "made.tdw"]],
    "branch": [["run.tdw", "made.tdw", "--at", "20", "--weight-decay", "0.5"]],
    "dose": [["run.tdw", "made", "--at", "10", "--edit", "scale:W_E=2", "--random", "1"]],
    "densify": [["run.tdw", "--checkpoints", "15"]],
    "import": [["source.pt", "made.tdw"]],
    "export": [["run.tdw", "made", *LENS], ["run.tdw", "made.pt", *LENS]],
    "figure": [
        ["run.tdw", "--list"],
        ["run.tdw", "loss", "--out", "made.csv"],
        ["run.tdw", "loss", "--out", "made.png"],
    ],
    "demo": [["made.tdw", "--no-open"]],
}
LINES = [[name, *line] for name, lines in COMMANDS.items() for line in lines]
MADE = {"made.tdw", "made", "made.pt", "made.csv", "made.png"}
#: Commands that move a run -> the name in this folder that it gets, or what then holds it.
MOVES = {"rename": "made.tdw", "delete": ".tdw-trash", "restore": "was.tdw"}
ENDS_BY_SIGTERM = {"open"}  # the harness ends the server so, once it serves


def only_prints(line: list[str]) -> bool:
    return line[0] in {"info", "compare", "verify", "runs", "forecast", "trash"} or line in (
        ["note", "run.tdw"],
        ["figure", "run.tdw", "--list"],
    )


def only_reads(line: list[str]) -> bool:
    return only_prints(line) or line[0] in {"open", "reveal"}


@dataclass
class Case:
    """The conditions that `swept.py` sets up."""

    arguments: list[str]
    cwd: str
    descriptors: list[str | None]
    environment: dict[str, str | None] = field(default_factory=dict)
    encoding: str = "utf-8"
    user: int = 0
    file_size: int = 0
    memory: int = 0
    signal: tuple[int, int] | None = None  # (how many files are opened before it comes, its number)
    to_the_end: bool = False  # take the interpreter down as well, which takes as long as all else


class Sweeper:
    """Runs cases in children of one process that has all libraries loaded."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.core.swept"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, case: Case) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(case)) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def sweeper() -> Iterator[Sweeper]:
    one = Sweeper()
    yield one
    one.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A finished run, one that was stopped, a damaged one, and another program's file."""
    folder = tmp_path_factory.mktemp("base")
    sizes = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 8, "train_fraction": 0.5, "threads": 1}
    tdw.create(folder / "run.tdw", tdw.configure(**sizes, epochs=30, checkpoints="0:30:10"))
    tdw.train(folder / "run.tdw")
    tdw.create(folder / "part.tdw", tdw.configure(**sizes, epochs=40, checkpoints="0:40:10"))
    asked = iter([False] * 20 + [True])
    tdw.train(folder / "part.tdw", stop=lambda: next(asked))
    tdw.export_run(folder / "run.tdw", folder / "source.pt")
    data = bytearray((folder / "run.tdw").read_bytes())
    data[data.rindex(b'{"__metadata__"') + 2000] ^= 1  # in the last state or checkpoint
    (folder / "hurt.tdw").write_bytes(data)
    tdw.sweep(folder / "many", jobs=0, **sizes, epochs=20)
    tdw.delete(tdw.copy(folder / "run.tdw", folder / "was.tdw"))
    return folder


def mounted(folder: Path, *options: str) -> Callable[[], None]:
    """Mount something at a folder. Returns a function that undoes it; skips the test if mounting is not allowed."""
    if not AS_ROOT or not shutil.which("mount"):
        pytest.skip("mounting a small or read-only file system needs root")
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")
    return lambda: subprocess.run(["umount", "--lazy", str(folder)], check=True) and None


def fill(folder: Path) -> None:
    """Fill the disk."""
    with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


@dataclass
class Place:
    """Where a case runs: its folder, and functions to call at the end."""

    folder: Path
    case: Case
    undo: list[Callable[[], None]] = field(default_factory=list)


def _full_disk(place: Place) -> None:
    fill(place.folder)


def _read_only(place: Place) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place.folder)], check=True)


NO_HOME: dict[str, str | None] = {"TDW_STATE_DIR": None, "XDG_STATE_HOME": None}


def _home_missing(place: Place) -> None:
    place.case.environment |= NO_HOME | {"HOME": "/proc/none"}  # where root itself can make none


def _home_read_only(place: Place) -> None:
    _state("read-only")(place)
    place.case.environment |= NO_HOME | {"HOME": str(place.folder.with_name("state"))}


def _home_unknown(place: Place) -> None:
    """A user id without an entry in the user database, as in a container."""
    if not AS_ROOT:
        pytest.skip("acting as another user needs root")
    user = 54321
    for path in (place.folder, *place.folder.iterdir()):
        os.chown(path, user, user)
    place.case.user = user
    place.case.environment |= NO_HOME | {"HOME": None}


def _descriptors(*wanted: str | None) -> Callable[[Place], None]:
    def condition(place: Place) -> None:
        for number, name in enumerate(wanted):
            if name != "as usual":
                place.case.descriptors[number] = name

    return condition


def _unencodable(encoding: str) -> Callable[[Place], None]:
    def condition(place: Place) -> None:
        for path in place.folder.iterdir():
            if path.name != ".tdw-trash":
                path.rename(path.with_name(odd(path.name)))
        place.case.encoding = encoding
        place.case.arguments[1:] = [
            odd(text) if ("." in text and text != "." and not text[0].isdigit()) or text in {"made", "many"} else text
            for text in place.case.arguments[1:]
        ]

    return condition


def odd(name: str) -> str:
    return f"ζ中🙂\udcff\x1b {name}"


def _set(**values: object) -> Callable[[Place], None]:
    def condition(place: Place) -> None:
        for name, value in values.items():
            setattr(place.case, name, value)

    return condition


def _state(kind: str) -> Callable[[Place], None]:
    """The private folder on a disk that is full or read-only."""

    def condition(place: Place) -> None:
        state = place.folder.with_name("state")
        state.mkdir()
        place.undo.append(mounted(state, "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"))
        if kind == "full":
            fill(state)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(state)], check=True)
        place.case.environment["TDW_STATE_DIR"] = str(state)

    return condition


def _no_temporary_folder(place: Place) -> None:
    place.case.environment |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), "/nonexistent")


ON_A_SMALL_DISK = {"full disk", "read-only folder"}
CONDITIONS: dict[str, Callable[[Place], None]] = {
    "nothing special": _set(),
    "output to a full disk": _descriptors("as usual", "/dev/full"),
    "errors to a full disk": _descriptors("as usual", "as usual", "/dev/full"),
    "both to a full disk": _descriptors("as usual", "/dev/full", "/dev/full"),
    "output to a closed pipe": _descriptors("as usual", "closed pipe"),
    "no standard input": _descriptors(None),
    "no standard output": _descriptors("as usual", None),
    "no standard error": _descriptors("as usual", "as usual", None),
    "no standard streams": _descriptors(None, None, None),
    "ascii": _unencodable("ascii"),
    "cp1252": _unencodable("cp1252"),
    "utf-16": _unencodable("utf-16"),
    "full disk": _full_disk,
    "read-only folder": _read_only,
    "no large files": _set(file_size=100_000),
    "hardly any files": _set(file_size=3_000),
    "private state on a full disk": _state("full"),
    "private state on a read-only disk": _state("read-only"),
    "home missing": _home_missing,
    "home read-only": _home_read_only,
    "no home, user unknown": _home_unknown,
    "no temporary folder": _no_temporary_folder,
    "little memory": _set(memory=4_000_000),
    **{f"SIGTERM at file {at}": _set(signal=(at, signal.SIGTERM)) for at in (1, 2, 5, 9, 14, 20, 30, 60)},
    **{f"Ctrl-C at file {at}": _set(signal=(at, signal.SIGINT)) for at in (1, 4, 7, 12, 17, 25, 45)},
}
SIGNALS = {name: 143 if "SIGTERM" in name else 130 for name in CONDITIONS if " at file " in name}
REDUCED = {
    "nothing special": LINES,
    "output to a full disk": [line for line in LINES if line[0] in {"train", "info", "verify", "export", "note"}],
    "output to a closed pipe": [["info", "run.tdw"], ["train", "part.tdw"]],
    "no standard streams": [line for line in LINES if line[0] in {"train", "analyze", "info", "branch"}],
    "ascii": [line for line in LINES if line[0] != "open"],
    "full disk": [line for line in LINES if line[0] in {"new", "train", "export", "branch", "import", "note", "recover", *MOVES}],
    "read-only folder": [line for line in LINES if line[0] in {"train", "export", "branch", "info", *MOVES}],
    "no large files": [line for line in LINES if line[0] in {"export", "densify", "recover", "demo"}],
    "private state on a full disk": [line for line in LINES if line[0] in {"open", "info", "new"}],
    "no home, user unknown": [line for line in LINES if line[0] in {"open", "info", "train"}],
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    } | {str(path.relative_to(folder)): b"a folder" for path in folder.rglob("*") if path.is_dir()}


def sweep(sweeper: Sweeper, base: Path, tmp_path: Path, line: list[str], condition: str) -> str | None:
    """Run one command line under one condition. Returns the problem with its result, or None."""
    folder = tmp_path / "here"
    folder.mkdir()
    logs = tmp_path / "out", tmp_path / "err"
    for log in logs:
        log.touch()
        log.chmod(0o666)
    tmp_path.chmod(0o755)
    place = Place(folder, Case(list(line), str(folder), ["/dev/null", *map(str, logs)]))
    if line[0] == "reveal":  # a desktop whose file manager does nothing
        (tmp_path / "desktop").mkdir()
        (tmp_path / "desktop" / "dbus-send").symlink_to("/bin/true")
        place.case.environment |= {"DISPLAY": ":0", "PATH": str(tmp_path / "desktop")}
    try:
        if condition in ON_A_SMALL_DISK:
            place.undo.append(mounted(folder, "-t", "tmpfs", "-o", "size=8m", "tmpfs"))
        for path in base.iterdir():
            if path.is_dir():
                shutil.copytree(path, folder / path.name)
            else:
                shutil.copy(path, folder)
        CONDITIONS[condition](place)
        before = contents(folder)
        code = sweeper.run(place.case)
        said, errors = (log.read_bytes().decode("utf-8", "replace") for log in logs)
        return judged(place, line, condition, code, before, said, errors)
    finally:
        for undo in reversed(place.undo):
            undo()
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def judged(
    place: Place, line: list[str], condition: str, code: int, before: dict[str, bytes], said: str, errors: str
) -> str | None:
    usual = 143 if line[0] in ENDS_BY_SIGTERM else 0
    told = [text for text in errors.splitlines() if text.startswith("tdw: ")]
    where = f"{' '.join(line)} with {condition}: exit code {code}\n{said}\n{errors}"
    stopped = SIGNALS.get(condition)
    if code not in {usual, stopped or 2}:
        return f"a code that is not promised: {where}"
    if "Traceback" in errors + said or "Exception ignored" in errors + said:
        return f"a traceback: {where}"
    if place.case.descriptors[2] == str(place.folder.with_name("err")) and len(told) != (code == 2):
        return f"{len(told)} lines: {where}"
    if code == 2 and condition in HARMLESS and not (only_prints(line) and condition in UNPRINTED):
        return f"refused, for no reason: {where}"
    if code != 2 and not only_reads(line) and condition in NO_ROOM and not needs_no_room(line, condition):
        return f"a condition that does not hold: {where}"
    if only_prints(line) and condition in UNPRINTED and code != 2:
        return f"what was asked for is lost, and the code does not say so: {where}"
    after = contents(place.folder)
    odd_made = MADE | {odd(name) for name in MADE}
    new = {name.split("/")[0] for name in set(after) - set(before)}
    gone = set(before) - set(after)
    if line[0] in MOVES and code != 2:  # each run is there under another name
        new -= {MOVES[line[0]], odd(MOVES[line[0]])}
        gone = {name for name in gone if name.endswith(".tdw") and before[name] not in after.values()}
    if code == stopped and line[0] in {"new", "train", "sweep", "work", "demo", "export", "copy", "dose"}:
        odd_made = MADE  # what is done is stored, and an export or a copy is whole or absent
    elif code != usual:
        odd_made = set()
    if new - odd_made:
        return f"{sorted(new)} left behind: {where}"
    if gone:
        return f"{sorted(gone)} is gone: {where}"
    target = place.case.arguments[1]
    changed = {name for name in before if before[name] != after.get(name, before[name])}
    if (only_reads(line) and changed) or {name for name in changed if name.split("/")[0] != target}:
        return f"{sorted(changed)} changed: {where}"
    for name in after:
        if name.endswith(".tdw") and not name.endswith("hurt.tdw") and (damage := recover.damage(place.folder / name)):
            return f"{name} is damaged ({damage}): {where}"
    return None


#: Commands that need no more room: it was reserved when the file was made.
PLANNED = [["train", "part.tdw"], ["work", "many"]]


def needs_no_room(line: list[str], condition: str) -> bool:
    """Whether a command that writes can do its work where no file has room: moving a file takes none."""
    return line[:2] in PLANNED or (line[0] in MOVES and condition != "read-only folder")


#: Conditions under which no command can write a file.
NO_ROOM = {"full disk", "read-only folder", "hardly any files"}
#: Conditions under which nothing can be printed.
UNPRINTED = {"output to a full disk", "both to a full disk", "no standard output", "no standard streams"}
#: Conditions under which every command does its work.
HARMLESS = {
    "nothing special",
    "errors to a full disk",
    "output to a closed pipe",
    "no standard input",
    "no standard output",
    "no standard error",
    "no standard streams",
    "ascii",
    "cp1252",
    "utf-16",
    "no temporary folder",
}


def test_every_command_is_swept():
    known = next(action for action in parser()._actions if action.choices and "train" in action.choices)
    assert set(COMMANDS) == set(known.choices)


@pytest.mark.parametrize("condition", REDUCED)
def test_commands_end_as_promised(sweeper, base, tmp_path, condition):
    wrong = [said for line in REDUCED[condition] if (said := sweep(sweeper, base, tmp_path, line, condition))]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_command_ends_as_promised_under_every_condition(sweeper, base, tmp_path, condition):
    wrong = [said for line in LINES if (said := sweep(sweeper, base, tmp_path, line, condition))]
    assert not wrong, "\n\n".join(wrong)
