"""Processes that end without notice after their first, second, … call that changes files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: Calls that change a lock file, and all that change names.
OF_LOCKS = ("open", "write", "ftruncate", "link", "unlink")
OF_NAMES = (*OF_LOCKS, "mkdir", "rmdir", "rename", "replace", "fsync")


def killed_at_each_call(act: Callable[[], object], names: Iterable[str]) -> Iterator[int]:
    """Do something in a child process that is killed after one call more each time, until it comes to its end.

    Yields the number of that call after each kill, and at the end; the caller prepares the next attempt.
    """
    calls = 0
    while True:
        calls += 1
        child = os.fork()
        if not child:
            _end_after(calls, names)
            try:
                act()
            finally:
                os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        yield calls
        if ended == 0:
            return


def _end_after(calls: int, names: Iterable[str]) -> None:
    left = calls

    def ending(plain: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            result = plain(*arguments, **more)
            left -= 1
            if not left:
                os._exit(9)
            return result

        return call

    for name in names:
        setattr(os, name, ending(getattr(os, name)))
