"""Ctrl-C, SIGTERM and a closed terminal at any moment of a command."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tdw
from tdw import store
from tdw.cli import commands, parser

SMALL = ["--p", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "8", "--train-fraction", "0.5", "--threads", "1"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def hang_up_is_heard():
    """Under `nohup` the signal is ignored, here and in every child."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


# Is sent a signal when a module is first looked for, and then becomes `python -m tdw` or the script `tdw`.
AT_IMPORT = """
import os, runpy, sys
module, number, way, *sys.argv = sys.argv[1:]
class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            try:
                os.kill(os.getpid(), int(number))
                for _ in range(100):
                    pass
            except KeyboardInterrupt:  # as callbacks do while a library of compiled code is loaded
                pass
sys.meta_path.insert(0, Sender())
if way == "module":
    runpy.run_module("tdw", run_name="__main__", alter_sys=True)
else:
    from tdw.cli.main import main
    sys.exit(main())
"""


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(
    ("module", "way"),
    [("tdw.cli.streams", "module"), ("tdw.cli.streams", "script"), ("argparse", "script"), ("tdw.cli.commands", "module"),
     ("tdw.config", "script"), ("numpy", "module"), ("torch", "script"), ("torch.nn", "module"), ("tdw.operations.train", "module")],
)  # fmt: skip
def test_a_signal_in_the_first_moments_ends_quietly(tmp_path, module, way, number):
    path = tmp_path / "run.tdw"
    done = subprocess.run(
        [sys.executable, "-c", AT_IMPORT, module, str(int(number)), way, "tdw", "train", str(path), *SMALL],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (CODES[number], "", "")
    assert list(tmp_path.iterdir()) == []


def test_little_is_imported_before_signals_are_answered():
    code = "import sys; before = set(sys.modules); import tdw.cli.main; print(*set(sys.modules) - before)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert {name for name in loaded if name.split(".")[0] == "tdw"} == {
        "tdw",
        "tdw.cli",
        "tdw.cli.main",
        "tdw.interrupts",
    }
    assert not {"typing", "argparse", "logging", "json", "numpy"} & set(loaded)


def test_every_command_says_when_its_imports_are_done():
    """Before that a signal ends the process at once; after it, locks are released. Nothing is done before it."""
    modules = [ast.parse(file.read_text("utf-8")) for file in sorted(Path(commands.__file__).parent.glob("*.py"))]
    functions = {node.name: node for tree in modules for node in tree.body if isinstance(node, ast.FunctionDef)}
    known = next(action for action in parser.parser()._actions if action.choices and "train" in action.choices)
    for name in known.choices:
        body = functions[f"{name}_command"].body
        lines = {ast.unparse(node).split("\n")[0]: node.lineno for node in body}
        at_work = lines["interrupts.at_work()"]
        imports = [node.lineno for node in ast.walk(functions[f"{name}_command"]) if isinstance(node, ast.ImportFrom)]
        assert max(imports) < at_work, name


def started(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A training process that has stored its first epochs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tdw", "train", str(path), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None:
        if path.exists():
            with tdw.open(path) as run:
                if len(run.epochs):
                    return process
        time.sleep(0.02)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("number", CODES)
def test_training_stops_in_order_and_leaves_nothing(tmp_path, number):
    path = tmp_path / "run.tdw"
    process = started(path, *SMALL, "--epochs", "200000", "--checkpoints", "even:5")
    process.send_signal(number)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (CODES[number], "")
    assert f"Stopped; resume with `tdw train {path}`." in output
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]
    assert store.locked_by(path) is None
    with tdw.open(path) as run:
        assert (run.state, run.verify()) == ("unfinished", [])
        said = int(output.rsplit(" of 200000 epochs", 1)[0].split()[-1])
        assert run.info()["epochs"] == said


def test_nohup_is_respected(tmp_path):
    path = tmp_path / "run.tdw"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = started(path, *SMALL, "--epochs", "200000", "--checkpoints", "even:5")
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


# Runs a command, and is sent signals when a function is called for the n-th time (from within, so that it is exact).
AT_CALL = """
import importlib, os, sys
where, name, count, numbers, *sys.argv = sys.argv[1:]
from tdw.cli import main
owner = importlib.import_module(where.split(":")[0])
for part in where.split(":")[1:]:
    owner = getattr(owner, part)
plain, left = getattr(owner, name), [int(count)]
def wrapper(*given, **more):
    left[0] -= 1
    if not left[0]:
        for number in numbers.split(","):
            os.kill(os.getpid(), int(number))
    return plain(*given, **more)
setattr(owner, name, wrapper)
sys.exit(main.main())
"""


def at_call(where: str, name: str, count: int, numbers: list[int], *arguments: object):
    return subprocess.run(
        [sys.executable, "-c", AT_CALL, where, name, str(count), ",".join(map(str, map(int, numbers))), "tdw",
         *map(str, arguments)],
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_analyzing_stops_in_order_and_leaves_nothing(tiny_run, number):
    done = at_call("tdw.analyses.engine.runner", "evaluate", 20, [number], "analyze", tiny_run)
    said = [line for line in done.stdout.splitlines() if "networks for baselines" not in line]  # once for each size
    assert (done.returncode, said, done.stderr) == (CODES[number], [], "")
    assert [item.name for item in tiny_run.parent.iterdir()] == [tiny_run.name]
    with tdw.open(tiny_run) as run:
        assert run.verify() == []
    assert subprocess.run([sys.executable, "-m", "tdw", "analyze", str(tiny_run)]).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("where", "name", "arguments"),
    [
        ("tdw.operations.replay", "Progress", ["branch", "new.tdw", "--at", "20"]),
        ("tdw.store.filesystem:System", "allocate", ["densify", "--checkpoints", "22"]),
        (
            "tdw.interchange.exporters.transformer_lens",
            "transformer_lens",
            ["export", "out", "--as", "transformer-lens"],
        ),
        (
            "tdw.interchange.exporters.transformer_lens",
            "transformer_lens",
            ["export", "out.pt", "--as", "transformer-lens"],
        ),
    ],
)
def test_others_stop_in_order_and_change_nothing(tiny_run, number, where, name, arguments):
    before = tiny_run.read_bytes()
    command, *more = arguments
    more = [str(tiny_run.parent / text) if text in {"new.tdw", "out", "out.pt"} else text for text in more]
    done = at_call(where, name, 1, [number], command, tiny_run, *more)
    assert done.returncode == CODES[number], done.stderr
    assert "Traceback" not in done.stderr
    assert [item.name for item in tiny_run.parent.iterdir()] == [tiny_run.name]
    assert tiny_run.read_bytes() == before


def test_a_second_signal_ends_at_once(tiny_run):
    """Even where the first one was to be answered later."""
    done = at_call("tdw.operations.train", "Progress", 1, [signal.SIGTERM] * 3, "train", tiny_run, "--epochs", "100000")
    assert done.returncode == 143
    assert "Traceback" not in done.stderr
    with tdw.open(tiny_run) as run:
        assert run.verify() == []


# Sends a second signal before the n-th line of `tdw.interrupts` that is run after the first one has arrived.
AT_LINE = """
import signal, sys
from tdw import interrupts
way, left = sys.argv[1], int(sys.argv[2])
def trace(frame, event, _):
    global left
    if frame.f_code.co_filename != interrupts.__file__:
        return None
    if event == "line":
        left -= 1
        if not left:
            signal.raise_signal(signal.SIGTERM)
    return trace
with interrupts.Listening(alone=False), interrupts.Patience() as stop:
    stop.asked = way == "whole"  # then both meet a block that is done as a whole
    try:
        if way == "whole":
            with interrupts.Whole():
                sys.settrace(trace)
                signal.raise_signal(signal.SIGTERM)
                sys.settrace(None)
                print("held")
        else:
            sys.settrace(trace)
            signal.raise_signal(signal.SIGTERM)
            sys.settrace(None)
        print("asked", left)
    except KeyboardInterrupt:
        sys.settrace(None)
        print("raised", left)
"""


def at_line(way: str, line: int) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", AT_LINE, way, str(line)], capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout.split()


def test_two_signals_are_two_however_close_they_are():
    """The second one may come while the first one is being answered."""
    for line in range(1, 100):
        code, (word, left) = at_line("patient", line)
        assert code == 0
        if int(left) > 0:
            assert word == "asked", "no second one was sent"
            break
        assert word == "raised", f"the second one was lost before line {line}"
    assert 15 < line < 99
    for line in range(1, 100):
        code, said = at_line("whole", line)
        if said and int(said[-1]) > 0:
            assert (code, said[:2]) == (0, ["held", "raised"])
            break
        assert (code, said) == (143, []), f"the second one was lost before line {line}"
    assert 15 < line < 99


@pytest.mark.skipif(os.name != "posix", reason="elsewhere Python's calls are counted")
@pytest.mark.parametrize("count", [1, 2])
def test_two_signals_while_compiled_code_runs_are_two(count):
    """Python calls the handler once for both."""
    code = (
        "import subprocess, sys\n"
        "from tdw import interrupts\n"
        "with interrupts.Listening(alone=False), interrupts.Patience() as stop:\n"
        "    try:\n"
        f"        sender = subprocess.Popen(['sh', '-c', 'sleep 0.2;' + {count} * 'kill -INT $PPID; sleep 0.1;'])\n"
        "        sum(range(60_000_000))\n"  # no handler is called before it ends
        "        sender.wait()\n"
        "        print('asked', stop.asked)\n"
        "    except KeyboardInterrupt:\n"
        "        print('raised', stop.asked)\n"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert said == [["asked", "True"], ["raised", "True"]][count - 1]


def test_a_signal_while_the_interpreter_is_taken_down_changes_nothing(tiny_run):
    code = (
        "import atexit, os, signal, sys\n"
        "from tdw.cli import main\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        f"sys.argv = ['tdw', 'info', {str(tiny_run)!r}]\n"
        "sys.exit(main.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "finished" in done.stdout


def test_a_signal_while_something_is_done_as_a_whole_waits():
    code = (
        "import os, signal\n"
        "from tdw import interrupts\n"
        "with interrupts.Listening(alone=False):\n"
        "    try:\n"
        "        with interrupts.Whole():\n"
        "            with interrupts.Whole():\n"
        "                os.kill(os.getpid(), signal.SIGTERM)\n"
        "                print('inner')\n"
        "            print('outer')\n"
        "    except KeyboardInterrupt:\n"
        "        print(interrupts.code())\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["inner", "outer", "143"]


def test_a_fault_of_this_program_keeps_its_traceback(tiny_run):
    code = (
        "import sys\nfrom tdw import run\nfrom tdw.cli import main\n"
        "def broken(*_):\n    raise KeyError('a bug')\n"
        "run.Run.info = broken\n"
        f"sys.argv = ['tdw', 'info', {str(tiny_run)!r}]\n"
        "sys.exit(main.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "KeyError: 'a bug'" in done.stderr
    assert os.path.basename(commands.__file__) in done.stderr  # noqa: PTH119


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_window_ends_in_order(tmp_path, number, code):
    """Ctrl-C is how it is closed; after either nothing is left but what the next one uses."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tdw", "open"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TDW_STATE_DIR": str(tmp_path / "state"), "BROWSER": "true"},
    )  # fmt: skip
    assert process.stdout is not None
    port = int(process.stdout.readline().split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port)) as line:  # answered once all is loaded
        line.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 401")
    process.send_signal(number)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (code, "")
    assert list((tmp_path / "state").glob("open-*.html")) == []
