"""Wait for a file that another process writes to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tdw.errors import FileInUseError

POLL = 0.5  # seconds between two attempts

Result = TypeVar("Result")


def when_free(
    work: Callable[[], Result],
    *,
    told: Callable[[FileInUseError], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """Do something that writes to a file, as soon as no other process does; returns its result.

    work: called again for as long as it raises FileInUseError, which it must do before it changes anything
    told: called once, with the first of these errors
    stop: called before each further attempt; once it returns True, waiting ends with KeyboardInterrupt
    """
    first = True
    while True:
        try:
            return work()
        except FileInUseError as error:
            if first and told is not None:
                told(error)
            first = False
        time.sleep(POLL)
        if stop is not None and stop():
            raise KeyboardInterrupt
