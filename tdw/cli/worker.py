"""A job's process: the command line, which also ends in good order when a file asks it to.

    python -m tdw.cli.worker tdw train FILE …

`TDW_STOP_FILE` names a private file. When it names this process, that counts as Ctrl-C: so a window can stop a job to
which it may send no signal, because the job runs in another container, on another computer that shares the folder, or on
a system that does not tell which process a number means.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
from pathlib import Path

VARIABLE = "TDW_STOP_FILE"
EVERY = 0.5  # seconds between looks


def asks(file: Path) -> bool:
    """Whether a stop file is there and means this process."""
    from tdw.state_dir import read_private
    from tdw.store.holder import LIMIT, Holder

    try:
        return Holder.decode(read_private(file, LIMIT)) == Holder.current()
    except OSError:
        return False


def _watch(file: Path) -> None:
    while True:
        if asks(file):
            with contextlib.suppress(OSError):
                file.unlink()
            _thread.interrupt_main()
        time.sleep(EVERY)


def main() -> int:
    """Run the command that follows the name of the program; its exit code."""
    from tdw.cli import commands, main

    del sys.argv[0]  # what is left is a command line of `tdw`, and this process is nothing else
    if sys.argv[1] == "analyze":
        commands.one_thread()  # before anything loads numpy, which the thread below does: results depend on it
    file = os.environ.pop(VARIABLE, None)
    if file:
        threading.Thread(target=_watch, args=(Path(file),), name="tdw-stop", daemon=True).start()
    return main.main()


if __name__ == "__main__":
    sys.exit(main())
