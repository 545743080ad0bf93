"""A new file comes into being beside its place, and gets its name when it is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tdw.errors import AlreadyExists, CannotWrite, OpenElsewhere
from tdw.store.lock import locked_by
from tdw.store.osfile import SYSTEM


@contextlib.contextmanager
def built_beside(new: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A name beside `new` under which to build a file; `new` is its name when the block ends without an error.

    Never in the place of a file that is there, even of one that appeared meanwhile, unless it may be replaced; and not
    of one that another process writes to. Nothing is left after an error. Raises AlreadyExists, OpenElsewhere, CannotWrite.
    """
    if os.path.lexists(new) and not overwrite:
        raise AlreadyExists(f"{new} is there already and was left as it is: give the name of a file that is not.")
    part = new.with_name(f"{new.name}.part")
    try:
        yield part
        if overwrite:
            if new.exists() and locked_by(new) is not None:
                raise OpenElsewhere(f"{new} is being written to by another process: wait, or give another name.")
            part.replace(new)
        else:
            _name(part, new)
        SYSTEM.sync_folder(new.absolute().parent)
    except OSError as error:
        raise CannotWrite(f"{new} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, new: Path) -> None:
    try:
        os.link(part, new)  # unlike a rename, never over a file that appeared meanwhile
    except FileExistsError:
        raise AlreadyExists(f"{new} is there already and was left as it is: give another name.") from None
    except OSError:  # a file system without links
        part.replace(new)
