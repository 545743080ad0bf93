"""Job records: one small file per job, which all windows of this user read. It has the command, the process and the
outcome. The job's log and stop file have the same name with other suffixes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tdw.state_dir import parsed, read_private
from tdw.store import Holder

Kind = Literal["train", "analyze"]
State = Literal["starting", "running", "stopping", "finished", "stopped", "failed"]
ACTIVE: tuple[State, ...] = ("starting", "running", "stopping")
LIMIT = 64 << 10  # largest record, in bytes
_NAME = re.compile(r"[0-9a-f]{20}-[0-9a-f]{8}")  # the file's key and a random number


@dataclass(frozen=True)
class Record:
    """The record of a job."""

    path: Path
    kind: Kind
    holder: Holder
    started: float
    state: State
    error: str | None

    def encode(self) -> bytes:
        """The bytes of the file."""
        stored = {
            "path": str(self.path),
            "kind": self.kind,
            "holder": self.holder.encode().decode("ascii"),
            "started": self.started,
            "state": self.state,
            "error": self.error,
        }
        return json.dumps(stored).encode("ascii")

    @classmethod
    def decode(cls, text: bytes) -> Record:
        """The record in these bytes. Raises ValueError for anything that `encode` did not write."""
        stored = parsed(text)
        if not isinstance(stored, dict):
            raise ValueError("not a job record")
        names = ("path", "kind", "holder", "started", "state", "error")
        path, kind, holder, started, state, error = (_any(stored.get(name)) for name in names)
        process = Holder.decode(holder.encode("utf-8", "replace")) if isinstance(holder, str) else None
        if (
            not is_path(path)
            or kind not in get_args(Kind)
            or process is None
            or not is_number(started)
            or state not in get_args(State)
            or not isinstance(error, str | None)
        ):
            raise ValueError("not a job record")
        return cls(Path(path), kind, process, float(started), state, error)


def read(place: Path) -> Record:
    """The record in a file. Raises OSError if it cannot be read, ValueError if it is not a record."""
    return Record.decode(read_private(place, LIMIT))


def listed(folder: Path, suffix: str = ".json") -> Iterator[Path]:
    """All files in a folder that have a job's name, sorted by name."""
    return (path for path in sorted(folder.glob(f"*{suffix}")) if _NAME.fullmatch(path.stem))


def _any(value: Any) -> Any:
    return value


def is_path(value: Any) -> bool:
    """Whether a stored value is a valid absolute path."""
    return isinstance(value, str) and len(value) < 10_000 and "\0" not in value and Path(value).is_absolute()


def is_number(value: Any) -> bool:
    """Whether a stored value is a finite number."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )
