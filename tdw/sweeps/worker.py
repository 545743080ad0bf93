"""A worker process: does one job after the other, and tells its parent how far it is.

Commands come on standard input, one line of JSON each; messages leave on standard output the same way. What a library
prints goes to standard error. When standard input ends, because the parent stopped or was killed, the run in work is stored
and the process ends.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdw.operations.train import Progress

SECONDS_BETWEEN_MESSAGES = 0.5


class _Messages:
    """Messages to the parent. One that is gone reads none: then the end of standard input stops the work."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._is_heard = True
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def send(self, **message: Any) -> None:
        if not self._is_heard:
            return
        try:
            self._stream.write(json.dumps(message) + "\n")
            self._stream.flush()
        except OSError:  # the end of standard input says so too, and the run in work is stored
            self._is_heard = False


def main() -> None:
    """Work until standard input ends."""
    messages = _Messages()
    commands: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "stop":
                stopped.set()
            else:
                commands.put(command)
        stopped.set()
        commands.put(None)

    threading.Thread(target=listen, name="tdw-commands", daemon=True).start()
    from tdw.sweeps import job

    messages.send(said="ready")
    while (command := commands.get()) is not None:
        path = Path(command["path"])
        if command["do"] == "create":
            outcome = job.create(path, command["settings"])
        elif stopped.is_set():
            outcome = job.Outcome("stopped")
        else:
            report = _Reports(messages)
            outcome = job.finish(
                path,
                analyze=command["analyze"],
                retry=command["retry"],
                progress=report,
                stop=stopped.is_set,
            )
        messages.send(said="done", **asdict(outcome))


class _Reports:
    """Passes on the progress of training, not more often than anybody can read it."""

    def __init__(self, messages: _Messages):
        self._messages, self._last = messages, time.monotonic()

    def __call__(self, at: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_MESSAGES:
            self._last = now
            self._messages.send(said="progress", progress=asdict(at))


if __name__ == "__main__":
    main()
