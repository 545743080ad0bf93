"""The project file: one run in one HDF5 file. Acknowledged data is never lost, whatever is killed, unplugged or full.

layout.py         where everything lies: format 1.1
planner.py        the HDF5 metadata of a new file
creation_time.py  the one thing in these that the plan does not tell
commit_record.py  what is committed
open_file.py      one open file and the commit record that holds for it
reader.py         Reader: committed data, verified by checksums
writer.py         Writer: appending, structural changes, closing; it has a Reader
commits.py        the commit protocol on an open file
fence.py          is the file as its writer left it?
create.py         creating a file, and opening one for writing
restructure.py    the same contents in another structure: more epochs, another analysis, a note, a copy
build.py          writing a complete new file
atomic.py         giving a complete file its name in one step
copy.py           a copy as of one commit
lock.py           one writer at a time
holder.py         which process that is, and what it does
structure.py      the rules for a project file's structure
inspect_hdf5.py   reading that structure with HDF5
validate.py       checks that need no HDF5
sandbox.py        files from elsewhere are inspected in a process of their own (sandbox_worker.py)
seen_files.py     files that this user made or inspected before
salvage/          recovering the intact parts of a damaged file
filesystem.py     operating system differences
"""

import os

# HDF5 loads every plug-in of a folder when a file names an unknown filter; read once, at the import of h5py.
os.environ["HDF5_PLUGIN_PRELOAD"] = "::"

from tdw.store.commit_record import Commit
from tdw.store.copy import copy
from tdw.store.create import create, open_writer
from tdw.store.holder import Holder
from tdw.store.layout import FORMAT_VERSION, LOSSES, AnalysisPlan, ArrayPlan, CurvePlan
from tdw.store.lock import holder_of, locked_by
from tdw.store.reader import Reader, StoredAnalysis, open_reader
from tdw.store.writer import Writer

__all__ = [
    "FORMAT_VERSION",
    "LOSSES",
    "AnalysisPlan",
    "ArrayPlan",
    "Commit",
    "CurvePlan",
    "Holder",
    "Reader",
    "StoredAnalysis",
    "Writer",
    "copy",
    "create",
    "holder_of",
    "locked_by",
    "open_reader",
    "open_writer",
]
