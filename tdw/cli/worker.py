"""The process of a job: a `tdw` command that also stops when a stop file requests it.

python -m tdw.cli.worker tdw train FILE …
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def main() -> int:
    """Run the command in the arguments. Returns the exit code."""
    from tdw.cli import commands
    from tdw.cli import main as command_line

    del sys.argv[0]  # the rest is a `tdw` command line, which owns this process
    if sys.argv[1] == "analyze":
        commands.one_thread()  # before the thread below loads numpy: results depend on it
    from tdw.app import stop_request

    file = os.environ.pop(stop_request.VARIABLE, None)
    if file:
        threading.Thread(target=stop_request.watch, args=(Path(file),), name="tdw-stop", daemon=True).start()
    return command_line.main()


if __name__ == "__main__":
    sys.exit(main())
