"""The plan of a sweep: which files it makes in a folder, which of them exist, and what they take."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdw import arguments
from tdw.config import RunConfig, from_json, settings
from tdw.errors import CannotWriteError, NotAProjectError, ProjectError, TdwError
from tdw.estimate import estimate
from tdw.project.listing import leads_outside
from tdw.project.project import Project
from tdw.setting import as_text
from tdw.store.atomic import make_folder, nearest
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
    folder: str | Path, *, file: str | Path | None = None, analyze: bool = False, remake: bool = False, **given: Any
) -> SweepPlan:
    """Plan a sweep; nothing is written.

    folder: where its project files are or will be
    file:     a TOML file with grids, see `tdw.sweeps.grid`
    remake:   also make runs again that were deleted, or moved to another folder, with tdw
    given:    settings by name, each a value, a list, or text such as "0-199" or "0.3,1,3"
    Raises ArgumentError, SettingError, UnknownNameError, NotAProjectError for a foreign `sweep.json` and for a file in place of the folder.
    """
    folder = arguments.path("folder", folder)
    check_folder(nearest(folder))
    wanted = grid.configured(grid.grids(given, None if file is None else arguments.path("file", file)))
    known = manifest.read(folder)
    existing, unreadable = _existing(folder, known)
    there = {identity: path for identity, path in existing.items() if identity in wanted}
    missing = {identity: run for identity, run in wanted.items() if identity not in there}
    removed = {} if remake else {grid.identity(from_json(item.settings)): item.name for item in known.removed}
    left_out = [removed[identity] for identity in missing if identity in removed]
    missing = {identity: run for identity, run in missing.items() if identity not in removed}
    taken = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = _names(missing, [given for _, given in wanted.values()], known, taken)
    new = {folder / names[identity]: config for identity, (config, _) in missing.items()}
    megabytes, seconds = _cost(list(new.values()), analyze=analyze)
    return SweepPlan(folder, new, sorted(there.values()), megabytes, seconds, left_out, unreadable)


def check_folder(folder: Path) -> None:
    """Raise NotAProjectError for anything but a folder."""
    if not folder.is_dir():
        what = "is not a folder" if os.path.lexists(folder) else "does not exist"
        raise NotAProjectError(f"{folder} {what}.", "Give the folder of the project files.")


def check_room(plan: SweepPlan) -> None:
    """Raise CannotWriteError if the disk has no room for the files of a plan. What else prevents writing is found by writing."""
    free = None
    with contextlib.suppress(OSError):
        disk = shutil.disk_usage(nearest(plan.folder))
        is_writable = not os.statvfs(nearest(plan.folder)).f_flag & os.ST_RDONLY if hasattr(os, "statvfs") else True
        free = (
            disk.free / 1e6 if disk.total and is_writable else None
        )  # a system without a size, such as /proc, has no files
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
    make_folder(plan.folder)
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
    for path in sorted(folder.glob("[!.]*.tdw")):
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
    """Raise NotAProjectError for a link out of the folder and for what is no HDF5 file, whatever the manifest says of its name."""
    if (there := leads_outside(str(path), os.path.realpath(path.parent))) is not None:
        raise NotAProjectError(f"{path} is a link to {there}, which is outside of the folder.")
    if not path.is_file():
        raise NotAProjectError(f"{path} is not a file.")
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise NotAProjectError(f"{path} is not a project file.")


def _names(
    runs: Mapping[str, tuple[RunConfig, Mapping[str, Any]]],
    planned: Sequence[Mapping[str, Any]],
    known: manifest.Manifest,
    taken: set[str],
) -> dict[str, str]:
    """A file name for each run, of the settings that differ between all runs of the folder.

    planned: the settings of all runs of the sweep; known: those that were planned before; taken: names that are in use
    """
    differing = _differing([given for _, given in runs.values()], [*planned, *known.runs.values()])
    keys = sorted(differing, key=_order_of_names(known.runs))
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
    given = list(dict.fromkeys(key for one in new for key in one))
    values = {name: {as_text(one[name]) for one in together if name in one} for name in given}
    partly = {name for name in given if any(name not in one for one in together)}
    return [name for name in given if len(values[name]) > 1 or (name in partly and values[name])]


def _order_of_names(names: Iterable[str]) -> Callable[[str], tuple[int, int]]:
    """The order of settings in a name: those that names of the folder have, as they have them; others after them, in the order of
    `tdw new --help`; seeds last. So names keep their order when a sweep grows by a setting.
    """
    before = dict.fromkeys(part.partition("=")[0] for name in names for part in name.split(",") if "=" in part)
    order = [name for name in dict.fromkeys([*before, *(item.name for item in settings())]) if name not in SEEDS]
    return lambda name: (1, SEEDS.index(name)) if name in SEEDS else (0, order.index(name))


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
