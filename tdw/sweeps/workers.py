"""A pool of worker processes (`worker.py`), each of which has torch loaded once and trains with one thread.

The workers are plain processes of this interpreter, not of `multiprocessing`: a script or notebook that starts a pool is not
imported again by them, and a worker that is killed costs the run that it was on, not the pool.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SECONDS_TO_END = 10.0


@dataclass(eq=False)
class Worker:
    """One process.

    job: what it works on; None while it waits. is_ready: whether it came to work. ended: its exit code, once it is gone.
    """

    process: subprocess.Popen[str]
    is_ready: bool = False
    job: Any = None
    ended: int | None = None
    listener: threading.Thread | None = None
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def send(self, **command: Any) -> None:
        """Send a command; a worker that is gone reports that itself."""
        stream = self.process.stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            stream.write(json.dumps(command) + "\n")
            stream.flush()

    def hang_up(self) -> None:
        """End its standard input, which ends the process."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.close()


@dataclass(frozen=True)
class Message:
    """What a worker said; `said` is "ready", "done", "progress" or, when the process is gone, "ended"."""

    worker: Worker
    said: str
    content: dict[str, Any]


class Workers:
    """A pool. A context manager: at its end the workers store what they are on, and end."""

    def __init__(self, number: int):
        self._environment = os.environ | (ONE_THREAD if number > 1 else {})
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.workers: list[Worker] = []
        for _ in range(number):
            self.add()

    def add(self) -> Worker:
        """Start one more worker."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tdw.sweeps.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for this process, which asks its workers to stop
        )
        worker = Worker(process)
        self.workers.append(worker)
        worker.listener = threading.Thread(target=self._listen, args=(worker,), name="tdw-worker", daemon=True)
        worker.listener.start()
        return worker

    def _listen(self, worker: Worker) -> None:
        process = worker.process
        assert process.stdout is not None
        assert process.stderr is not None
        errors = threading.Thread(target=worker.last_words.extend, args=(process.stderr,), daemon=True)
        errors.start()
        with process.stdout, process.stderr:
            for line in process.stdout:
                with contextlib.suppress(ValueError):  # the last line of a killed process
                    content = json.loads(line)
                    self._said.put(Message(worker, content.pop("said"), content))
            code = process.wait()
            errors.join()
        self._said.put(Message(worker, "ended", {"code": code, "words": "".join(worker.last_words)}))

    def next_message(self, seconds: float) -> Message | None:
        """The next message of any worker; None if there is none within this time."""
        try:
            message = self._said.get(timeout=seconds)
        except queue.Empty:
            return None
        if message.said == "ready":
            message.worker.is_ready = True
        if message.said == "ended":
            message.worker.ended = message.content["code"]
            message.worker.hang_up()
            self.workers.remove(message.worker)
        return message

    def stop(self) -> None:
        """Ask all workers to store what they are on."""
        for worker in self.workers:
            worker.send(do="stop")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.hang_up()
        for worker in self.workers:
            try:
                worker.process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:  # it hangs; what it had stored is safe
                worker.process.kill()
            if worker.listener is not None:
                worker.listener.join()
