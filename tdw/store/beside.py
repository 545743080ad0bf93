"""A new file comes into being beside its place, and gets its name when it is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tdw.errors import AlreadyExists, CannotWrite
from tdw.store.osfile import SYSTEM


@contextlib.contextmanager
def built_beside(new: Path) -> Iterator[Path]:
    """A name beside `new` under which to build a file; `new` is its name when the block ends without an error.

    Never in the place of a file that is there, even of one that appeared meanwhile. Nothing is left after an error.
    Raises AlreadyExists, CannotWrite.
    """
    if os.path.lexists(new):
        raise AlreadyExists(f"{new} is there already and was left as it is: give the name of a file that is not.")
    part = new.with_name(f"{new.name}.part")
    try:
        yield part
        try:
            os.link(part, new)  # unlike a rename, never over a file that appeared meanwhile
        except FileExistsError:
            raise AlreadyExists(f"{new} is there already and was left as it is: give another name.") from None
        except OSError:  # a file system without links
            part.replace(new)
        SYSTEM.sync_folder(new.absolute().parent)
    except OSError as error:
        raise CannotWrite(f"{new} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
