"""A process that runs commands of `tdw` under given conditions, read from its standard input: `python swept.py`.

Each line is a JSON object (see `Case` in test_sweep.py). A child process runs the command line like the process `tdw`,
from its three descriptors to the exit of the interpreter, but with the libraries already loaded. The response is a line
with its exit status, negative for a signal.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from typing import Any

import numpy as np
import uvicorn

from tdw import configure, tasks
from tdw.analyses.engine import runner
from tdw.app import gradio_shell, server
from tdw.cli import commands, main
from tdw.interchange import pipeline
from tdw.interchange.exporters import transformer_lens
from tdw.network import reference, training
from tdw.operations import branch, demo, densify, recover
from tdw.sweeps import plan, work

LOADED = (commands, recover, branch, densify, runner, server, gradio_shell, transformer_lens, pipeline, plan, work)


def warm_up() -> None:
    """Train in memory: torch loads parts of itself on first use, which would repeat in each child."""
    settings = configure(p=3, d_model=4, heads=1, d_mlp=4, epochs=2, train_fraction=0.5, threads=1)
    list(
        training.train(
            settings, training.start(settings, reference.initial_weights(settings)), tasks.draw_split(settings), [2]
        )
    )
    np.fft.rfft(np.ones(8))


def small_demo() -> Any:
    """The demo with small sizes."""
    return configure(p=7, d_model=8, heads=2, d_mlp=8, epochs=30, checkpoints="0:30:10", train_fraction=0.5, threads=1)


class EndsWhenServing(uvicorn.Server):
    """A server that gets SIGTERM as soon as it serves."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        os.kill(os.getpid(), signal.SIGTERM)


def take_descriptors(wanted: list[str | None]) -> None:
    """Standard input, output and error: files by name, "closed pipe", or closed (None)."""
    for number, name in enumerate(wanted):
        if name is None:
            os.close(number)
            continue
        if name == "closed pipe":
            ours, fd = os.pipe()
            os.close(ours)
        else:
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND | (0 if "/dev/" in name else os.O_CREAT)
            fd = os.open(name, flags, 0o644)
        os.dup2(fd, number)
        os.close(fd)


def open_streams(encoding: str) -> None:
    """Open the standard streams as the interpreter does at startup."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            stream = None
        else:
            raw = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
            stream = io.TextIOWrapper(raw, encoding, "backslashreplace" if number == 2 else "strict")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def signal_at(count: int, number: int) -> None:
    """Get a signal after `count` files were opened since the work began."""
    left = [count]
    begun = [False]
    plain = commands.interrupts.at_work

    def at_work() -> None:
        plain()
        begun[0] = True

    def hook(event: str, _arguments: Any) -> None:
        if begun[0] and event in {"open", "os.rename", "os.remove", "os.mkdir", "os.link"}:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)

    commands.interrupts.at_work = at_work
    sys.addaudithook(hook)


def become(case: dict[str, Any]) -> None:
    """Become the process that the case describes."""
    os.umask(0o022)
    os.chdir(case["cwd"])
    for name, value in case["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    tempfile.tempdir = None
    sys.argv = ["tdw", *case["arguments"]]
    take_descriptors(case["descriptors"])
    open_streams(case["encoding"])
    if case["user"]:
        os.setgroups([])
        os.setgid(case["user"])
        os.setuid(case["user"])
    if case["file_size"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case["file_size"], case["file_size"]))
    if case["memory"]:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123
            there = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (there + case["memory"], there + case["memory"]))
    if case["signal"]:
        signal_at(*case["signal"])
    if case["arguments"][0] == "open":
        uvicorn.Server = EndsWhenServing  # type: ignore[misc]


def end_quickly() -> None:
    """Run the command and exit as the interpreter does, without unloading modules."""
    try:
        code = main.main()
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except Exception as error:
            os.write(2, f"Exception ignored: {error}".encode())
            code = 120
    os._exit(code)


def run() -> None:
    warm_up()
    demo.settings = small_demo
    orders, answers = os.dup(0), os.dup(1)
    with open(orders, closefd=False) as lines:
        for line in lines:
            pid = os.fork()
            if not pid:
                os.close(answers)
                os.close(orders)
                case = json.loads(line)
                become(case)
                if not case["to_the_end"]:
                    end_quickly()
                return
            _, status = os.waitpid(pid, 0)
            os.write(answers, (json.dumps(os.waitstatus_to_exitcode(status)) + "\n").encode())
    os._exit(0)


if __name__ == "__main__":
    run()
    sys.exit(main.main())
