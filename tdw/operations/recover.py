"""Save all that is sound of a damaged project file into a new one, and say what was lost.

What is a run tells where bytes could be (the sizes its settings give) and what some of them must be (the split its seed
draws); `tdw.store.salvage` judges the rest by checksums.
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
    """Compare every byte that counts with its checksum; what is wrong, in sentences, also where the file does not open.

    Raises NotAProjectError where there is no file or one of another kind, and DamagedFileError where nothing in it can be read.
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
    """Write all that is sound of a file into a new one; what was damaged, in sentences, nothing for a sound file.

    Losses whose values are not proven become NaN, checkpoints and results that are not proven are left out. The damaged
    file is only read; `losses` are the sentences that tell of a loss. Raises AlreadyExistsError, CannotWriteError, NotAProjectError,
    and DamagedFileError where nothing can be saved.
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


def losses(said: Iterable[str]) -> list[str]:
    """Those sentences of `damage` or `recover` that tell of something that is lost, or not proven."""
    return [sentence for sentence in said if not isinstance(sentence, salvage.Repaired)]


def _survey(path: Path, *, keep_open: bool = False) -> salvage.Salvage:
    try:
        fd = open_to_read(Path(os.path.realpath(path)))
    except (OSError, ValueError):
        store.open_reader(path).close()  # says what is there instead
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
    """The split that the settings draw; a run may also have been given another one."""
    settings = _settings(described)
    if settings is None:
        return None
    from tdw.tasks import draw_split

    drawn = draw_split(settings)
    return drawn.train, drawn.test


def _plans(described: salvage.Config) -> Iterator[FilePlan]:
    """Files that a run with these settings may have: without results, and with all of them."""
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
