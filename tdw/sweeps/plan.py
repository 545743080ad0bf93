"""The plan of a sweep: which files it makes in a folder, which of them exist, and what they take."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdw.config import RunConfig, from_json
from tdw.errors import CannotWriteError, NotAProjectError, ProjectError, TdwError
from tdw.estimate import estimate
from tdw.project.project import Project
from tdw.setting import as_text
from tdw.store.validate import SIGNATURE
from tdw.sweeps import grid, manifest
from tdw.text_format import count

LONGEST = 150  # characters of a file name without its suffix
SEEDS = ("data_seed", "model_seed")  # last in a name, so that runs of the same settings stand together


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will make.

    new: settings by path; existing: paths of the runs that are there already
    removed: names of those that were deleted or moved away, and are not made again
    megabytes: of the finished new files, with all results if they are to be analyzed; seconds: of training, on one core
    """

    folder: Path
    new: Mapping[Path, RunConfig]
    existing: Sequence[Path]
    megabytes: float
    seconds: float
    removed: Sequence[str] = ()
    unreadable: Mapping[Path, str] = field(default_factory=dict)


def plan_sweep(
    folder: str | Path, *, file: str | Path | None = None, analyze: bool = False, remake: bool = False, **settings: Any
) -> SweepPlan:
    """Plan a sweep; nothing is written.

    folder: where its project files are or will be
    file:     a TOML file with grids, see `tdw.sweeps.grid`
    remake:   also make runs again that were deleted, or moved to another folder, with tdw
    settings: by name, each a value, a list, or text such as "0-199" or "0.3,1,3"
    Raises SettingError, UnknownNameError, NotAProjectError for a foreign `sweep.json` and for a file in place of the folder.
    """
    folder = Path(folder)
    if folder.exists():
        check_folder(folder)
    wanted = grid.configured(grid.grids(settings, None if file is None else Path(file)))
    known = manifest.read(folder)
    existing, unreadable = _existing(folder, known)
    there = {identity: path for identity, path in existing.items() if identity in wanted}
    missing = {identity: run for identity, run in wanted.items() if identity not in there}
    removed = {} if remake else {grid.identity(from_json(item.settings)): item.name for item in known.removed}
    left_out = [removed[identity] for identity in missing if identity in removed]
    missing = {identity: run for identity, run in missing.items() if identity not in removed}
    taken = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = _names(missing, [given for _, given in wanted.values()] + list(known.runs.values()), taken)
    new = {folder / names[identity]: config for identity, (config, _) in missing.items()}
    megabytes, seconds = _cost(list(new.values()), analyze=analyze)
    return SweepPlan(folder, new, sorted(there.values()), megabytes, seconds, left_out, unreadable)


def check_folder(folder: Path) -> None:
    """Raise NotAProjectError for anything but a folder."""
    if not folder.is_dir():
        raise NotAProjectError(f"{folder} is not a folder.", "Give the folder of the project files.")


def check_room(plan: SweepPlan) -> None:
    """Raise CannotWriteError if the disk has no room for the files of a plan."""
    parent = next((one for one in (plan.folder, *plan.folder.absolute().parents) if one.exists()), None)
    free = None if parent is None else shutil.disk_usage(parent).free / 1e6
    if free is not None and plan.megabytes > free:
        raise CannotWriteError(
            f"{plan.folder} has no room for {count(len(plan.new), 'run')}: {plan.megabytes:,.0f} MB are needed, {free:,.0f} MB "
            "are free. Free some space, use fewer runs, or keep fewer checkpoints (--checkpoints)."
        )


def record(plan: SweepPlan) -> None:
    """Enter the new runs of a plan in the manifest of its folder, which is made if it is missing.

    Raises CannotWriteError, FileInUseError.
    """
    is_new = not plan.folder.exists()
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWriteError(f"the folder {plan.folder} cannot be made: {error.strerror or error}") from error
    try:
        if plan.new:
            with manifest.changing(plan.folder) as known:
                known.runs |= {path.name: config.to_json() for path, config in plan.new.items()}
                made = {grid.identity(config) for config in plan.new.values()}
                known.removed = [item for item in known.removed if grid.identity(from_json(item.settings)) not in made]
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                plan.folder.rmdir()
        raise


def _existing(folder: Path, known: manifest.Manifest) -> tuple[dict[str, Path], dict[Path, str]]:
    """The runs in a folder by their identity, and what could not be read there with the reason."""
    found: dict[str, Path] = {}
    unreadable: dict[Path, str] = {}
    for path in sorted(folder.glob("*.tdw")):
        try:
            _check_looks(path)
            stored = known.runs.get(path.name)
            if stored is None:
                with Project.open(path) as project:
                    config = project.config
            else:
                config = from_json(stored)
            found.setdefault(grid.identity(config), path)
        except (ProjectError, TdwError, OSError, TypeError, ValueError) as error:
            unreadable[path] = str(error)
    return found, unreadable


def _check_looks(path: Path) -> None:
    """Raise NotAProjectError for what is no HDF5 file, whatever the manifest says of its name."""
    if not path.is_file():
        raise NotAProjectError(f"{path} is not a file.")
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise NotAProjectError(f"{path} is not a project file.")


def _names(
    runs: Mapping[str, tuple[RunConfig, Mapping[str, Any]]],
    together: Sequence[Mapping[str, Any]],
    taken: set[str],
) -> dict[str, str]:
    """A file name for each run, of the settings that differ between all runs of the folder.

    together: the settings of all runs, new and old; taken: names that are in use
    """
    keys = _differing([given for _, given in runs.values()], together)
    names: dict[str, str] = {}
    used = set(taken)
    for identity, (config, _) in runs.items():
        parts = [f"{key}={_safe(as_text(getattr(config, key)))}" for key in keys]
        name = ",".join(parts) or "run"
        if len(name) > LONGEST or f"{name}.tdw" in used:
            name = f"{name[: LONGEST - 20]},{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        names[identity] = f"{name}.tdw"
        used.add(names[identity])
    return names


def _differing(new: Sequence[Mapping[str, Any]], together: Sequence[Mapping[str, Any]]) -> list[str]:
    given = list(dict.fromkeys(key for settings in new for key in settings))
    values = {name: {as_text(settings[name]) for settings in together if name in settings} for name in given}
    partly = {name for name in given if any(name not in settings for settings in together)}
    differing = [name for name in given if len(values[name]) > 1 or (name in partly and values[name])]
    return sorted(differing, key=lambda name: SEEDS.index(name) + 1 if name in SEEDS else 0)


def _safe(text: str) -> str:
    """A value in a file name: `0:300:100, 120` becomes `0-300-100-120`."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.")


def _cost(configs: Sequence[RunConfig], *, analyze: bool) -> tuple[float, float]:
    """Megabytes and seconds of training of all these runs. Seeds change neither."""
    costs: dict[str, Any] = {}
    megabytes = seconds = 0.0
    for config in configs:
        shape = repr([(item.name, value) for item, value in config.items() if item.name not in SEEDS])
        if shape not in costs:
            costs[shape] = estimate(config)
        cost = costs[shape]
        megabytes += cost.analyzed_megabytes if analyze else cost.megabytes
        seconds += cost.seconds
    return megabytes, seconds
