"""What lists know of a file: its row and its losses in small, or why it cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tdw.errors import DamagedFileError, NewerFormatError, NotAProjectError, TdwError
from tdw.statistics import index
from tdw.statistics.index import Entry, Identity


def fresh(identities: Mapping[str, Identity]) -> dict[str, Entry]:
    """Entries read from files, by path; with an identity only where they may be kept for next time.

    identities: of each file, taken before

    Files from elsewhere are examined last, all in one process.
    """
    if not identities:
        return {}
    from tdw.store import open_file
    from tdw.store.sandbox import PostponedError, postponed

    found: dict[str, Entry] = {}
    strangers = []
    for path, identity in identities.items():
        with postponed():
            try:
                found[path] = _entry(path, identity)
            except PostponedError:
                strangers.append(path)
    open_file.introduce(map(Path, strangers))
    return found | {path: _entry(path, identities[path]) for path in strangers}


def _entry(path: str, before: Identity) -> Entry:
    """The entry of one file. before: its identity before it is read."""
    from tdw.statistics import rows
    from tdw.store.sandbox import PostponedError

    entry: Entry = {}
    lasting = True
    try:
        entry["row"], entry["losses"] = rows.read(Path(path))
    except PostponedError:
        raise
    except (NotAProjectError, DamagedFileError, NewerFormatError) as error:
        entry["problem"] = str(error)
    except (TdwError, OSError, MemoryError) as error:  # of the machine rather than of the file: it may pass
        entry["problem"], lasting = str(error), False
    if lasting and index.is_settled(before) and _is_still(path, before):
        entry["identity"] = before
    return entry


def _is_still(path: str, before: Identity) -> bool:
    """Whether a file is the same as before it was read."""
    try:
        return index.identity(Path(path)) == before
    except OSError:
        return False
