"""The project file: one run, one HDF5 file, written so that nothing that was reported as saved is ever lost.

layout.py       where everything lies: format 1.1
slots.py        the commit record
validate.py     is this a project file? nothing in it is believed before
state.py        one open file, and the commit record that holds for it
reader.py       Reader: what counts, compared with its checksums
writer.py       Writer: commits
fence.py        is the file as its writer left it?
restructure.py  another structure for what a file holds
creating.py     making files, and opening them to write
copying.py      a copy as of one commit
claim.py        a name for a new file
build.py        a whole new file, put in its place in one step
temporary.py    where it is built
lock.py         one writer at a time
holder.py       which process that is
osfile.py       the few places where operating systems differ
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
