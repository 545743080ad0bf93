"""A job's process: the command line, which also ends in good order when a stop file asks it to.

python -m tdw.cli.worker tdw train FILE …
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def main() -> int:
    """Run the command that follows the name of the program; its exit code."""
    from tdw.cli import commands
    from tdw.cli import main as command_line

    del sys.argv[0]  # what is left is a command line of `tdw`, and this process is nothing else
    if sys.argv[1] == "analyze":
        commands.one_thread()  # before anything loads numpy, which the thread below does: results depend on it
    from tdw.app import stop_request

    file = os.environ.pop(stop_request.VARIABLE, None)
    if file:
        threading.Thread(target=stop_request.watch, args=(Path(file),), name="tdw-stop", daemon=True).start()
    return command_line.main()


if __name__ == "__main__":
    sys.exit(main())
