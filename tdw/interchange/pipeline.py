"""Import a run of another program into a project file: read → infer → align → plan → write.

Nothing is written until every checkpoint has been read and checked. The file is written under a temporary name and
renamed when complete. Checkpoints are read twice, one at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import AlreadyExistsError, CannotWriteError, NotImportableError, SettingError
from tdw.interchange.hints import check_hints
from tdw.interchange.importers import legacy_workbench, state_dicts, tables, trainers
from tdw.interchange.plan import make_plan
from tdw.interchange.source_run import Raw, SourceRun
from tdw.interchange.stated import read_beside
from tdw.interchange.weight_layouts import BLOCK, from_linear, is_linear, unwrapped
from tdw.interchange.write import write
from tdw.project.records import ImportedFrom
from tdw.safe_text import cut, visible
from tdw.store.atomic import refuse_existing
from tdw.store.open_file import real_path


def import_run(source: str | Path, path: str | Path, *, overwrite: bool = False, **hints: Any) -> ImportedFrom:
    """Import a file or folder of another program into a project file. Returns its `Project.imported`.

    hints: what the source does not state, see `tdw.interchange.hints.HINTS`. They are checked against the source.
    Raises NotImportableError, SettingError for an invalid hint, AlreadyExistsError (unless `overwrite`) and
    CannotWriteError. If it fails, no file is left behind.
    """
    source, path = Path(source), Path(path)
    checked = check_hints(hints)
    _check_target(source, path, overwrite=overwrite)
    run = read_source(source, checked.get("epochs_from"), checked.get("run"), checked.get("train_stride"))
    _round(run, checked, source)
    _unwrap(run)
    _rename(run, checked, source)
    plan = make_plan(run, checked, source)
    write(plan, path, overwrite=overwrite)
    return plan.imported


def read_source(
    source: Path, template: str | None = None, name: str | None = None, stride: int | None = None
) -> SourceRun:
    """The contents of a file or folder. template: where the epoch is in the names of its files; name: of a run
    among several; stride: epochs between two train losses, by a hint.

    Raises NotImportableError, SettingError for a template that does not fit or apply.
    """
    try:
        stored = trainers.reader(source, template) if name is None else None
        if stored is not None:
            run = stored(source)
            read_beside(run, Path(run.checkpoints[-1].what).parent)
            return run
        table = tables.reader(source)
        if name is not None and not (table is not None and tables.has_several(source)):
            raise SettingError("run", f"--run does not apply to {source.name}, which holds one run: leave it out")
        if table is not None and template is None:
            return table(source, name)
        if source.is_dir():
            if source.name == "checkpoints" and legacy_workbench.is_legacy_folder(source.parent):
                source = source.parent  # its other files describe the run of these checkpoints
            if legacy_workbench.is_legacy_folder(source):
                return legacy_workbench.read(source)
            run = state_dicts.read_folder(source, template, stride)
        elif template is not None:
            raise SettingError(
                "epochs_from", f"--epochs-from applies to a folder of files, not to {source.name}: leave it out"
            )
        else:
            run = state_dicts.read_file(source, stride)
        read_beside(run, source)
        return run
    except OSError as error:
        raise NotImportableError(f"{source} cannot be imported: it cannot be read ({error.strerror}).") from error


def _unwrap(run: SourceRun) -> None:
    """Let all checkpoints give weights under their own names, and say what their names began with."""
    if not run.checkpoints:
        return
    if prefix := unwrapped(run.checkpoints[-1].load())[1]:
        run.converted.append(f"the names of the weights begin with {cut(prefix, 60)!r}, which was left out")
        run.checkpoints = [replace(one, load=_unwrapping(one.load)) for one in run.checkpoints]


def _round(run: SourceRun, hints: dict[str, Any], source: Path) -> None:
    """Round float64 weights where a hint asks for it, and say so. Raises SettingError."""
    if "dtype" not in hints:
        return
    if not run.checkpoints or not any(
        str(value.dtype).endswith("float64") for value in run.checkpoints[-1].load().values()
    ):
        raise SettingError(
            "dtype", f"--dtype does not apply to {source.name}, which has no float64 weights: leave it out"
        )
    run.converted.append("float64 weights were rounded to float32, as requested")
    run.checkpoints = [replace(one, load=_rounding(one.load)) for one in run.checkpoints]


def _rounding(load: Callable[[], Raw]) -> Callable[[], Raw]:
    return lambda: {
        name: value.float() if str(value.dtype).endswith("float64") else value for name, value in load().items()
    }


def _rename(run: SourceRun, hints: dict[str, Any], source: Path) -> None:
    """Let checkpoints of TransformerLens 4 give weights under its older names. Raises SettingError."""
    if not run.checkpoints or not is_linear(raw := run.checkpoints[-1].load()):
        if "heads" in hints:
            raise SettingError("heads", f"--heads does not apply to {source.name}, whose weights tell it: leave it out")
        return
    heads, width = hints.get("heads", run.claims.get("heads")), raw[f"{BLOCK}attn.q.weight"].shape[0]
    if heads is None or heads < 1 or width % heads:
        got = "" if heads is None else f" (got {heads})"
        raise SettingError(
            "heads",
            f"--heads must state the number of attention heads, a divisor of {width}: weights of TransformerLens 4 do not tell "
            f"it{got}",
        )
    run.form = run.form.replace("TransformerLens", "TransformerLens 4")
    run.converted.append(f"linear layers were taken apart into {heads} heads")
    run.checkpoints = [replace(one, load=_renaming(one.load, heads)) for one in run.checkpoints]


def _renaming(load: Callable[[], Raw], heads: int) -> Callable[[], Raw]:
    return lambda: from_linear(load(), heads)


def _unwrapping(load: Callable[[], Raw]) -> Callable[[], Raw]:
    return lambda: unwrapped(load())[0]


def _check_target(source: Path, path: Path, *, overwrite: bool) -> None:
    if not path.absolute().parent.is_dir():
        raise CannotWriteError(
            f"{path} cannot be written: folder {path.parent} does not exist. Create it, or choose another one."
        )
    with contextlib.suppress(OSError):
        if path.is_file() and source.exists() and path.samefile(source):
            raise AlreadyExistsError(path, "is the file to import")
    refuse_existing(path, real_path(path), overwrite=overwrite)


def summary(imported: ImportedFrom) -> str:
    """The result of an import in one sentence."""
    split = imported.split
    about_split = "train/test split unknown"
    if split is not None:
        seed = "" if split.seed is None else f", seed {split.seed}"
        about_split = f"{split.train} of {split.train + split.test} pairs for training{seed}"
        if split.error is not None:
            about_split += f", losses within {np.expm1(split.error):.1g} of the stored ones"
    parts = [f"imported from {visible(imported.source)}, {imported.form}", about_split]
    if imported.contradicted:
        parts.append(f"contradictions: {len(imported.contradicted)}")
    if imported.unknown:
        parts.append(f"unknown: {', '.join(imported.unknown)}")
    if not imported.resumable:
        parts.append("training cannot be resumed")
    return "; ".join(parts)
