"""The state behind the window: recent files, open runs, jobs, and the events about them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from tdw.app import auto_import
from tdw.app.event_stream import Hub, Message
from tdw.app.jobs import Job, Jobs
from tdw.app.open_runs import OpenRuns, error_text, key_of, typed_path
from tdw.app.recent_files import RecentFiles
from tdw.errors import NotAProjectError, TdwError


class Session:
    """The object behind all routes and form handlers."""

    def __init__(self) -> None:
        self.recent_files = RecentFiles()
        self.runs = OpenRuns(self.recent_files)
        self.jobs = Jobs(self.runs)
        self.hub = Hub(self.look)
        self.id = secrets.token_hex(8)  # not a secret: pages detect by it that the server was restarted

    def look(self) -> dict[str, Message]:
        """All current messages by topic: what `/now` returns and `/events` compares."""
        jobs = self.jobs.poll()
        messages: dict[str, Message] = {
            "server": {"type": "server", "id": self.id},
            "jobs": {"type": "jobs", "jobs": jobs},
            "library": self._library(),
        }
        with self.runs.held() as runs:
            for run in runs:
                message: Message = {"type": "run", "key": run.key, "job": self.jobs.of(run.key), "error": None}
                try:
                    run.refresh()
                    message |= run.progress()
                except (TdwError, OSError) as error:  # retried at the next poll: the file may come back
                    training = run.moved and message["job"] is not None and message["job"]["kind"] == "train"
                    more = ". Training continues in the moved file" if training else ""
                    message |= {"state": "lost", "error": f"{error_text(error)}{more}"}
                messages[f"run {run.key}"] = message
        return messages

    def _library(self) -> Message:
        entries = [
            {
                "key": key_of(Path(entry.path)),
                "path": entry.path,
                "name": Path(entry.path).stem,
                "about": entry.about,
                "there": os.path.exists(entry.path),  # noqa: PTH110 - False where `Path.exists` raises
            }
            for entry in self.recent_files.entries()
        ]
        return {"type": "library", "entries": entries, "current": self.runs.current}

    def open(self, text: str) -> str:
        """Open the file at a typed path, and return its key. A run of another program is imported first, into a project
        file next to it. Raises ProjectError.
        """
        path = typed_path(text)
        if auto_import.is_foreign(path):
            path, notice = auto_import.import_if_needed(path)
            run = self.runs.open(path)
            run.set_notice(notice)
            return run.key
        if path.is_dir():
            raise NotAProjectError(f"{path} is a folder: open a project file in it (NAME.tdw)")
        return self.runs.open(path).key

    def train(self, path: Path, arguments: Sequence[str] = ()) -> Job:
        """Start or resume training at `path`. Raises AppError if a job is running on it."""
        job = self.jobs.start("train", path, arguments)
        self.runs.announce(path)
        self.hub.nudge()
        return job

    def close(self) -> None:
        """End the event streams and close the files. Jobs keep running."""
        self.hub.close()
        self.runs.close()
