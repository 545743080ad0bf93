"""The small file that tells every window of this user of a job: what was started, by which process it is done, how it
ended. Its log and the file that asks it to stop lie beside it under the same name.
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
LIMIT = 64 << 10  # bytes a record may have
_NAME = re.compile(r"[0-9a-f]{20}-[0-9a-f]{8}")  # a file's key, and a number drawn for each job


@dataclass(frozen=True)
class Record:
    """What is kept of a job."""

    path: Path
    kind: Kind
    holder: Holder
    started: float
    state: State
    error: str | None

    def encode(self) -> bytes:
        """As it is written."""
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
        """Raises ValueError for anything that `encode` did not write."""
        stored = parsed(text)
        if not isinstance(stored, dict):
            raise ValueError("no record")
        names = ("path", "kind", "holder", "started", "state", "error")
        path, kind, holder, started, state, error = (_any(stored.get(name)) for name in names)
        found = Holder.decode(holder.encode("utf-8", "replace")) if isinstance(holder, str) else None
        if (
            not is_path(path)
            or kind not in get_args(Kind)
            or found is None
            or not is_number(started)
            or state not in get_args(State)
            or not isinstance(error, str | None)
        ):
            raise ValueError("no record")
        return cls(Path(path), kind, found, float(started), state, error)


def read(place: Path) -> Record:
    """The record at a place. Raises OSError where it cannot be read, ValueError where it is none."""
    return Record.decode(read_private(place, LIMIT))


def listed(folder: Path, suffix: str = ".json") -> Iterator[Path]:
    """Every file of a job's name in a folder, the oldest name first."""
    return (path for path in sorted(folder.glob(f"*{suffix}")) if _NAME.fullmatch(path.stem))


def _any(value: Any) -> Any:
    return value


def is_path(value: Any) -> bool:
    """Whether a stored value is the absolute path of a file that can be."""
    return isinstance(value, str) and len(value) < 10_000 and "\0" not in value and Path(value).is_absolute()


def is_number(value: Any) -> bool:
    """Whether a stored value is a finite number."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )
