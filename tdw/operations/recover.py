"""Recover the intact parts of a damaged project file into a new file, and report what was lost.

The settings of a run determine the sizes of its arrays, and so where they can be in the file, and its seed determines
the split. Everything else is verified by checksums in `tdw.store.salvage`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tdw import config, store
from tdw.analyses.engine.runner import ordered, plan_rows
from tdw.config import RunConfig
from tdw.errors import DamagedFileError, NotAProjectError, SettingError, TdwError, UnknownNameError
from tdw.network.parameters import shapes
from tdw.network.segment import State
from tdw.project import consistency, serialization
from tdw.run import Run
from tdw.store import salvage
from tdw.store.atomic import new_file
from tdw.store.filesystem import open_to_read
from tdw.store.layout import FilePlan, canonical


def damage(path: str | Path) -> list[str]:
    """Verify all checksums. Returns the damage as sentences, even for files that cannot be opened.

    Raises NotAProjectError if the path is not a project file, and DamagedFileError if nothing in it can be read.
    """
    path = Path(path)
    try:
        with Run.open(path) as run:
            return run.verify()
    except (DamagedFileError, NotAProjectError) as refused:
        try:
            return _survey(path).damage or [str(refused)]
        except TdwError:
            raise refused from None


def recover(path: str | Path, new: str | Path) -> list[str]:
    """Write the intact parts of a file into a new file. Returns the damage as sentences; empty for an intact file.

    Curve values that cannot be verified become NaN; checkpoints and results that cannot be verified are left out. The
    damaged file is not modified. `losses` selects the sentences about lost data.
    Raises AlreadyExistsError, CannotWriteError, NotAProjectError, and DamagedFileError if nothing can be recovered.
    """
    path, new = Path(path), Path(new)
    with new_file(new) as part:
        salvaged = _survey(path, keep_open=True)
        assert salvaged.wreck is not None
        try:
            salvage.rebuild(salvaged, part, new)
            with store.open_reader(part) as reader:
                consistency.check(reader)
        finally:
            os.close(salvaged.wreck.fd)
    return salvaged.damage


def losses(sentences: Iterable[str]) -> list[str]:
    """The sentences of `damage` or `recover` about data that is lost or cannot be verified, without repaired parts."""
    return [sentence for sentence in sentences if not isinstance(sentence, salvage.Repaired)]


def _survey(path: Path, *, keep_open: bool = False) -> salvage.Salvage:
    try:
        fd = open_to_read(Path(os.path.realpath(path)))
    except (OSError, ValueError):
        store.open_reader(path).close()  # raises an error that says what the path is instead
        raise
    try:
        if not os.path.isfile(path) or not os.fstat(fd).st_size:  # noqa: PTH113
            store.open_reader(path).close()
        salvaged = salvage.survey(fd, path, salvage.Advice(_plans, _split))
    except BaseException:
        os.close(fd)
        raise
    if not keep_open:
        os.close(fd)
    return salvaged


def _settings(described: salvage.Config) -> RunConfig | None:
    try:
        return config.from_json(described["settings"])
    except (SettingError, UnknownNameError, TypeError, AttributeError, KeyError):
        return None


def _split(described: salvage.Config) -> salvage.Split | None:
    """The split drawn with the settings' seed; a run may also have been created with another split."""
    settings = _settings(described)
    if settings is None:
        return None
    from tdw.tasks import draw_split

    drawn = draw_split(settings)
    return drawn.train, drawn.test


def _plans(described: salvage.Config) -> Iterator[FilePlan]:
    """Possible file layouts of a run with these settings: without results, and with all of them."""
    settings, plan = _settings(described), described.get("plan")
    if settings is None or not isinstance(plan, list):
        return
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes(settings).items()}
    every = [
        plan_rows(item, settings, rows=max(len(plan), 1), recorded=settings.epochs + 1, checkpoints=len(plan))
        for item in ordered()
        if not item.inapplicable_reason(settings)
    ]
    for analyses, finished in itertools.product(([], every), (False, True)):
        yield FilePlan(
            config=canonical(described),
            notes=canonical({}),
            split_train=np.zeros(settings.train_pairs, np.int64),
            split_test=np.zeros(settings.p**2 - settings.train_pairs, np.int64),
            epochs=settings.epochs,
            checkpoint_capacity=max(len(plan), 1),
            blob_nbytes=len(serialization.pack(zeros, 0)),
            resume_nbytes=len(serialization.pack_state(State.fresh(0, zeros, settings.optimizer_kind.slots))),
            analyses=tuple(analyses),
            finished=finished,
        )
