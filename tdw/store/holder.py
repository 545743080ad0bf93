"""Which process holds a lock."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Holder:
    """A process."""

    pid: int
    kind: str = ""

    @classmethod
    def current(cls, kind: str = "") -> Holder:
        """This process."""
        return cls(os.getpid(), kind)

    def encode(self) -> bytes:
        """One line of JSON."""
        return (json.dumps({"tdw lock": 1, **asdict(self)}) + "\n").encode()

    @classmethod
    def decode(cls, raw: bytes) -> Holder | None:
        """The process in such a line; None for anything else."""
        try:
            value = json.loads(raw)
            return cls(value["pid"], value["kind"]) if value["tdw lock"] == 1 else None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
