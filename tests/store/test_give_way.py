"""A whole file takes the place of an open one in one step, or nothing happens."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from tdw import store
from tdw.errors import CannotWriteError
from tdw.store.filesystem import System
from tests.store import store_runs


class Refusing(System):
    """A file system that fails at one operation."""

    def __init__(self, operation: str):
        setattr(self, operation, self.refuse)

    def refuse(self, *_: object) -> None:
        """The failure."""
        raise OSError(errno.EIO, "no")


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A file, and another one to take its place."""
    return store_runs.finished(tmp_path / "old.tdw", epochs=300), store_runs.finished(
        tmp_path / "old.tdw.part", epochs=500
    )


def test_the_other_file_takes_the_place(two: tuple[Path, Path]) -> None:
    old, part = two
    with store.open_reader(old) as reader:  # a program that reads meanwhile sees the old file, then the new one
        with store.open_writer(old) as writer:
            writer.replace_by(part)
            with pytest.raises(Exception, match="closed"):
                store_runs.step(writer, 1)
        assert store.locked_by(old) is None
        assert reader.n_epochs == 301
        assert reader.refresh()
        assert reader.n_epochs == 501
    assert not part.exists()
    store.open_writer(old).close()


@pytest.mark.parametrize("operation", ["replace", "sync_folder"])
def test_a_failure_leaves_one_of_the_two_whole(two: tuple[Path, Path], operation: str) -> None:
    old, part = two
    writer = store.open_writer(old, system=Refusing(operation))
    with pytest.raises(CannotWriteError):
        writer.replace_by(part)
    writer.close()
    with store.open_reader(old) as reader:
        assert reader.verify() == []
        assert reader.n_epochs == (301 if operation == "replace" else 501)
    assert part.exists() == (operation == "replace")


def test_a_file_that_was_put_there_meanwhile_is_left_alone(two: tuple[Path, Path], tmp_path: Path) -> None:
    old, part = two
    writer = store.open_writer(old)
    other = shutil.copy(old, tmp_path / "other.tdw")
    Path(other).replace(old)
    with pytest.raises(CannotWriteError, match="was replaced by another file"):
        writer.replace_by(part)
    writer.close()
    assert part.exists()
