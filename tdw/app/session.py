"""What the window works on: the library, the opened runs, the jobs, and the news of all three."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from tdw.app import auto_import
from tdw.app.event_stream import Hub, Message
from tdw.app.jobs import Job, Jobs
from tdw.app.open_runs import Runs, key_of, said, typed_path
from tdw.app.recent_files import Library
from tdw.errors import NotAProjectError, TdwError


class Workbench:
    """The one object behind every route and every handler of the form."""

    def __init__(self) -> None:
        self.library = Library()
        self.runs = Runs(self.library)
        self.jobs = Jobs(self.runs)
        self.hub = Hub(self.look)
        self.id = secrets.token_hex(8)  # no secret: pages tell by it that another server took this one's place

    def look(self) -> dict[str, Message]:
        """All news by topic: what `/now` answers and `/events` compares."""
        jobs = self.jobs.poll()
        news: dict[str, Message] = {
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
                except (
                    TdwError,
                    OSError,
                ) as error:  # looked at again next time: it may come back, or another in its place
                    training = run.moved and message["job"] is not None and message["job"]["kind"] == "train"
                    more = ". Training goes on in the file, under the name that it has now" if training else ""
                    message |= {"state": "lost", "error": f"{said(error)}{more}"}
                news[f"run {run.key}"] = message
        return news

    def _library(self) -> Message:
        entries = [
            {
                "key": key_of(Path(entry.path)),
                "path": entry.path,
                "name": Path(entry.path).stem,
                "about": entry.about,
                "there": os.path.exists(entry.path),  # noqa: PTH110 - says no where `Path.exists` raises
            }
            for entry in self.library.entries()
        ]
        return {"type": "library", "entries": entries, "current": self.runs.current}

    def open(self, text: str) -> str:
        """Open the file at the path someone typed; its key. A run of another program is imported first, into a project
        file beside it. Raises ProjectError.
        """
        path = typed_path(text)
        if auto_import.is_foreign(path):
            path, word = auto_import.brought_in(path)
            run = self.runs.open(path)
            run.say(word)
            return run.key
        if path.is_dir():
            raise NotAProjectError(f"{path} is a folder: give the path of a project file in it (NAME.tdw)")
        return self.runs.open(path).key

    def train(self, path: Path, arguments: Sequence[str] = ()) -> Job:
        """Start or resume training at `path`. Raises AppError when a job is at work on it."""
        job = self.jobs.start("train", path, arguments)
        self.runs.announce(path)
        self.hub.nudge()
        return job

    def close(self) -> None:
        """End the news and let go of the files. Jobs go on."""
        self.hub.close()
        self.runs.close()
