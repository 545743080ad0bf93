"""Stop files: a private file that asks a process to stop. The process polls for it and treats it as Ctrl-C.

With it a window can stop a job that it cannot signal: in another container, on another computer that shares the folder, or
on a system where a process number cannot be verified.
"""

from __future__ import annotations

import _thread
import contextlib
import time
from pathlib import Path

from tdw.state_dir import read_private
from tdw.store.holder import LIMIT, Holder

# The environment variable with the path of a job's stop file.
VARIABLE = "TDW_STOP_FILE"
EVERY = 0.5  # seconds between polls


def asks(file: Path) -> bool:
    """Whether the stop file exists and names this process."""
    try:
        return Holder.decode(read_private(file, LIMIT)) == Holder.current()
    except OSError:
        return False


def watch(file: Path) -> None:
    """Interrupt the main thread when the file asks this process to stop. Never returns."""
    while True:
        if asks(file):
            with contextlib.suppress(OSError):
                file.unlink()
            _thread.interrupt_main()
        time.sleep(EVERY)
