"""A job's process: the command line, which also ends in good order when a file asks it to.

    python -m tdw.app.worker tdw train FILE …

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
    from tdw.private import read_private
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
    from tdw import cli

    command = sys.argv[2:]
    if command[0] == "analyze":
        cli._one_thread()  # before anything loads numpy, which the next line does: results depend on it
    from tdw.store.holder import working

    file = os.environ.pop(VARIABLE, None)
    if file:
        threading.Thread(target=_watch, args=(Path(file),), name="tdw-stop", daemon=True).start()
    with working(command[0]):
        return cli.main(command)


if __name__ == "__main__":
    sys.exit(main())
