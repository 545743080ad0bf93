"""The state behind the window: recent files, open runs, jobs, and the events about them."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from tdw.app import auto_import
from tdw.app.event_stream import Hub, Message
from tdw.app.given_paths import files_and_folders
from tdw.app.jobs import Job, Jobs
from tdw.app.open_runs import OpenRuns, about, error_text, key_of, typed_path
from tdw.app.recent_files import KEPT, RecentFiles
from tdw.errors import NotAProjectError, TdwError
from tdw.project.folder import project_files
from tdw.run import Run

log = logging.getLogger("tdw.store.session")  # the command line prints the log of `tdw.store`


def _changed(path: Path) -> float:
    """When a file was changed last; one that is gone, never."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


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

    def start_with(self, given: Sequence[str | Path]) -> None:
        """Show the first file of what was given, and put further files and the files of folders into the list of recent files.

        given: files, patterns and folders, see `files_and_folders`
        Raises ProjectError if the first file cannot be opened; further ones are then told and left out.
        """
        files, folders = files_and_folders(given)
        for folder in reversed(folders):
            self.add_folder(folder)
        for path in reversed(files[1:KEPT]):
            try:
                self.open(str(path))
            except (TdwError, OSError) as error:
                log.info("%s is not listed: %s", path, error)
        if files:
            self.open(str(files[0]))

    def add_folder(self, folder: Path) -> None:
        """Put the files of a folder and its subfolders into the list of recent files: as many as it holds, changed last."""
        paths = [Path(name).resolve() for name in project_files(folder)]
        newest = sorted(paths, key=_changed, reverse=True)[:KEPT]
        if len(newest) < len(paths):
            log.info("%s has %d project files: the %d that were changed last are listed", folder, len(paths), KEPT)
        for path in reversed([path for path in paths if path in newest]):
            with contextlib.suppress(TdwError, OSError), Run.open(path) as run:
                self.recent_files.remember(path, about(run))

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
