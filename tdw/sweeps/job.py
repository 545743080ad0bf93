"""One run of a sweep: create its file, or finish it. What a pool, Dask and Slurm all do."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdw.config import from_json
from tdw.errors import AlreadyExistsError, FileInUseError, OutOfRangeError, TdwError
from tdw.operations.train import Progress, train
from tdw.project.project import Project
from tdw.safe_text import cut
from tdw.store.lock import holder_of
from tdw.sweeps import manifest


@dataclass(frozen=True)
class Outcome:
    """What became of a run: one of `tdw.sweeps.work.STATES`, and for a failure the kind of error and its message."""

    state: str
    message: str = ""
    kind: str = ""


def create(path: Path, settings: Mapping[str, Any]) -> Outcome:
    """Create the file of an untrained run, unless there is one."""
    from tdw.operations import create as creating

    try:
        creating.create(path, from_json(settings))
    except AlreadyExistsError:
        return Outcome("current")
    except FileInUseError:
        return Outcome("busy")
    except TdwError as error:
        return Outcome("failed", str(error), type(error).__name__)
    return Outcome("created")


def finish(
    path: Path,
    *,
    analyze: bool = False,
    retry: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Train a run to its end, and analyze it if asked; a failure is recorded and returned, and no error is raised.

    retry: also one that failed before
    """
    before = manifest.failure_of(path)
    if before is not None and not retry:
        return Outcome("given up", before.message, before.kind)
    try:
        outcome = _finish(path, analyze=analyze, progress=progress, stop=stop)
    except FileInUseError:
        return Outcome("busy")
    except OutOfRangeError as error:  # recorded in the file
        return Outcome("diverged", str(error))
    except Exception as error:  # it is this run's, and must not end the others
        if not path.exists():
            return Outcome("gone")
        return failed(path, error)
    if before is not None and outcome.state in {"finished", "current", "diverged"}:
        manifest.clear_failure(path)
    return outcome


def failed(path: Path, error: BaseException) -> Outcome:
    """Record that a run failed with this error."""
    kind, expected = type(error).__name__, isinstance(error, TdwError)
    message = str(error) if expected else f"{kind}: {cut(str(error), 500)}"
    details = "" if expected else "".join(traceback.format_exception(error))
    return Outcome("failed", message + manifest.record_failure(path, kind, message, details), kind)


def _finish(
    path: Path,
    *,
    analyze: bool,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> Outcome:
    if holder_of(path) is not None:  # cheaper than to be refused
        return Outcome("busy")
    with Project.open(path) as project:
        imported, diverged = project.imported, project.diverged
        is_trained = project.state == "finished" or (imported is not None and not imported.resumable)
    if diverged is not None:
        return Outcome("diverged", diverged.sentence)
    if not is_trained and not train(path, progress=progress, stop=stop):
        return Outcome("stopped")
    done = False
    if analyze:
        from tdw.analyses.engine.runner import analyze as analyze_run

        done = bool(analyze_run(path, jobs=1))
    return Outcome("current" if is_trained and not done else "finished")
