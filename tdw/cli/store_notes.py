"""What the store logs, printed as notes on standard error."""

from __future__ import annotations

import logging

from tdw.cli.streams import say


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Print one note."""
        say(f"note: {record.getMessage()}", error=True)


_notes = _Notes()


def listen() -> None:
    """Print what the store logs from now on."""
    log = logging.getLogger("tdw.store")
    log.addHandler(_notes)
    log.setLevel(logging.INFO)
