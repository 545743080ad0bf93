"""A private file that asks a process to stop: it names the process, which looks for it and takes it as Ctrl-C.

So a window can stop a job to which it may send no signal, because the job runs in another container, on another computer
that shares the folder, or on a system that does not tell which process a number means.
"""

from __future__ import annotations

import _thread
import contextlib
import time
from pathlib import Path

from tdw.state_dir import read_private
from tdw.store.holder import LIMIT, Holder

# The environment variable that tells a job the path of its stop file.
VARIABLE = "TDW_STOP_FILE"
EVERY = 0.5  # seconds between looks


def asks(file: Path) -> bool:
    """Whether a stop file is there and means this process."""
    try:
        return Holder.decode(read_private(file, LIMIT)) == Holder.current()
    except OSError:
        return False


def watch(file: Path) -> None:
    """Interrupt the main thread whenever the file asks this process to stop. Never returns."""
    while True:
        if asks(file):
            with contextlib.suppress(OSError):
                file.unlink()
            _thread.interrupt_main()
        time.sleep(EVERY)
