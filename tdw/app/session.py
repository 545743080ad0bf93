"""The state behind the window: recent files, open runs, jobs, and the events about them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from tdw.app import auto_import, gradio_form
from tdw.app.event_stream import Hub, Message
from tdw.app.given_paths import files_and_folders
from tdw.app.jobs import Job, Jobs
from tdw.app.library import Library
from tdw.app.open_runs import OpenRuns, error_text, key_of, typed_path
from tdw.app.recent_files import RecentFiles
from tdw.errors import CannotWriteError, TdwError
from tdw.operations import demo

SHOWN = 12  # files in the side bar's list of recent files; all are in the table of runs


class Session:
    """The object behind all routes and form handlers."""

    def __init__(self) -> None:
        self.recent_files = RecentFiles()
        self.library = Library(self.recent_files)
        self.runs = OpenRuns(self.recent_files, self.library.path_of)
        self.jobs = Jobs(self.runs, self.library.busy)
        self.hub = Hub(self.look)
        self.library.changed = self.hub.nudge
        self.id = secrets.token_hex(8)  # not a secret: pages detect by it that the server was restarted

    def look(self) -> dict[str, Message]:
        """All current messages by topic: what `/now` returns and `/events` compares."""
        jobs = self.jobs.poll()
        messages: dict[str, Message] = {
            "server": {"type": "server", "id": self.id},
            "jobs": {"type": "jobs", "jobs": jobs},
            "recent": self._recent(),
            "library": self.library.look(),
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

    def _recent(self) -> Message:
        entries = [
            {
                "key": key_of(Path(entry.path)),
                "path": entry.path,
                "name": Path(entry.path).stem,
                "about": entry.about,
                "there": os.path.exists(entry.path),  # noqa: PTH110 - False where `Path.exists` raises
            }
            for entry in self.recent_files.entries()[:SHOWN]
            if entry.opened
        ]
        return {"type": "recent", "entries": entries, "current": self.runs.current}

    def folder_of_runs(self, text: str) -> Path | None:
        """The folder at a typed path; None if it is a file, or a run of another program. Raises ProjectError."""
        path = typed_path(text)
        is_run = path.is_dir() and not any(path.glob("*.tdw")) and auto_import.is_foreign(path)
        return path if path.is_dir() and not is_run else None

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
        return self.runs.open(path).key

    def start_with(self, given: Sequence[str | Path]) -> None:
        """Show the first file of what was given, and list further files and the files of folders in the library.

        given: files, patterns and folders, see `files_and_folders`
        Raises ProjectError if the first file cannot be opened; what is wrong with others is said in the table of runs.
        """
        files, folders = files_and_folders(given)
        for folder in folders:
            self.library.add_folder(folder.resolve())
        if files[1:]:
            self.recent_files.keep(*(path.resolve() for path in files[1:]))
        if files:
            self.open(str(files[0]))

    def train(self, path: Path, arguments: Sequence[str] = ()) -> Job:
        """Start or resume training at `path`. Raises AppError if a job is running on it."""
        job = self.jobs.start("train", path, arguments)
        self.runs.announce(path)
        self.hub.nudge()
        return job

    def demo(self, text: str) -> Job:
        """Start training the demo's run in a typed folder; in the usual one for new runs for "". If it is there already, it is
        trained on. Raises AppError, ProjectError.
        """
        folder = typed_path(text) if text.strip() else gradio_form.folder_for_runs()
        if not folder.is_dir():
            raise CannotWriteError(f"folder {folder} does not exist: create it, or choose another")
        path = folder / demo.FILE
        if path.exists():
            demo.check(path)
            return self.train(path)
        return self.train(path, gradio_form.flags(demo.settings()))

    def close(self) -> None:
        """End the event streams and close the files. Jobs keep running."""
        self.hub.close()
        self.library.close()
        self.runs.close()
