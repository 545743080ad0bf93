"""Recovers the intact parts of a damaged project file into a new one, and reports what was lost.

`tdw.store.salvage` judges every part by its checksum; the run's settings tell it what the layout may be, and which split
their seed draws.
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
from tdw.project import consistency, serialization
from tdw.run import Run
from tdw.store import salvage
from tdw.store.atomic import new_file
from tdw.store.filesystem import open_to_read
from tdw.store.layout import FilePlan, canonical


def damage(path: str | Path) -> list[str]:
    """Verify all checksums, also of a file that does not open; returns a sentence for each damage.

    Raises NotAProjectError for a missing file or one of another kind, and DamagedFileError where nothing in it can be read.
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
    """Write the intact parts of a file to a new one; returns a sentence for each damage, [] for an intact file.

    Damaged values of curves become NaN, damaged checkpoints and analyses are left out. The damaged file is only read;
    `losses` selects the sentences about data that is lost. Raises AlreadyExistsError, CannotWriteError, NotAProjectError,
    and DamagedFileError where nothing can be recovered.
    """
    path, new = Path(path), Path(new)
    with new_file(new) as part:
        found = _survey(path, keep_open=True)
        assert found.wreck is not None
        try:
            salvage.rebuild(found, part, new)
            with store.open_reader(part) as reader:
                consistency.check(reader)
        finally:
            os.close(found.wreck.fd)
    return found.damage


def losses(sentences: Iterable[str]) -> list[str]:
    """The sentences of `damage` or `recover` about data that is lost or could not be verified."""
    return [sentence for sentence in sentences if not isinstance(sentence, salvage.Repaired)]


def _survey(path: Path, *, keep_open: bool = False) -> salvage.Salvage:
    try:
        fd = open_to_read(Path(os.path.realpath(path)))
    except (OSError, ValueError):
        store.open_reader(path).close()  # raises the right error
        raise
    try:
        if not os.path.isfile(path) or not os.fstat(fd).st_size:  # noqa: PTH113
            store.open_reader(path).close()
        found = salvage.survey(fd, path, salvage.Advice(_plans, _split))
    except BaseException:
        os.close(fd)
        raise
    if not keep_open:
        os.close(fd)
    return found


def _settings(described: salvage.Config) -> RunConfig | None:
    try:
        return config.from_json(described["settings"])
    except (SettingError, UnknownNameError, TypeError, AttributeError, KeyError):
        return None


def _split(described: salvage.Config) -> salvage.Split | None:
    """The split that the settings draw; a run may also have been created with another one."""
    settings = _settings(described)
    if settings is None:
        return None
    from tdw.tasks import draw_split

    drawn = draw_split(settings)
    return drawn.train, drawn.test


def _plans(described: salvage.Config, sizes: list[int]) -> Iterator[FilePlan]:
    """Plans that the file of a run with these settings may have: without analyses, with the usual ones, and
    with all of them.

    sizes: of the safetensors files in it. A checkpoint is smaller than a resume state.
    """
    settings, plan = _settings(described), described.get("plan")
    if settings is None or not isinstance(plan, list):
        return
    every, usual = (
        [
            plan_rows(item, settings, rows=max(len(plan), 1), recorded=settings.epochs + 1, checkpoints=len(plan))
            for item in ordered()
            if not item.inapplicable_reason(settings) and not (item.on_request and not requested)
        ]
        for requested in (True, False)
    )
    # An imported run may lack a resume state, and curves alone have no checkpoints either.
    alone = [pair for size in sizes for pair in ((size, size), (size, 0))]
    pairs = list(itertools.combinations(sorted(sizes), 2)) or alone or [(serialization.nbytes({}), 0)]
    for (blob, resume), analyses, finished in itertools.product(pairs, ([], usual, every), (False, True)):
        yield FilePlan(
            config=canonical(described),
            notes=canonical({}),
            split_train=np.zeros(settings.train_pairs, np.int64),
            split_test=np.zeros(settings.p**2 - settings.train_pairs, np.int64),
            epochs=settings.epochs,
            checkpoint_capacity=max(len(plan), 1),
            blob_nbytes=blob,
            resume_nbytes=resume,
            analyses=tuple(analyses),
            finished=finished,
        )
