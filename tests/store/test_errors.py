"""What a user is told, word by word: what was given, what is wrong with it, what to do."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tdw import store
from tdw.errors import (
    AlreadyExistsError,
    CannotWriteError,
    DamagedFileError,
    NewerFormatError,
    NotAProjectError,
    ProjectError,
)
from tests.store import store_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return store_runs.finished(tmp_path / "run.tdw")


def says(path: Path, kind: type[ProjectError], message: str) -> None:
    """Opening refuses, for reading and for writing, and leaves the folder as it was."""
    before = sorted(item.name for item in path.parent.iterdir()) if path.parent.is_dir() else []
    for open_it in (store.open_reader, store.open_writer):
        with pytest.raises(kind, match=message) as caught:
            open_it(path)
        assert "\n" not in str(caught.value)
        assert type(caught.value) is kind
    assert before == (sorted(item.name for item in path.parent.iterdir()) if path.parent.is_dir() else [])


def test_nothing_there(tmp_path):
    says(tmp_path / "run.tdw", NotAProjectError, r"run\.tdw does not exist\. Create it with `tdw new .*run\.tdw`")
    says(tmp_path / "no" / "run.tdw", NotAProjectError, r"run\.tdw does not exist")


def test_a_folder(tmp_path):
    says(tmp_path, NotAProjectError, "is not a project file: it is a folder")


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    says(tmp_path / "pipe", NotAProjectError, "is not a project file: it is a device or pipe, not a file")


def test_an_impossible_name(tmp_path):
    says(tmp_path / "a\0b", NotAProjectError, "cannot be a file name: embedded null byte. Choose another one")
    says(tmp_path / ("a" * 300), ProjectError, "cannot be opened: File name too long|does not exist")


def test_other_files(tmp_path):
    for name, data in {"text": b"epoch,loss\n" * 99, "zip": b"PK\3\4" + bytes(99), "short": b"\x89HD"}.items():
        (tmp_path / name).write_bytes(data)
        says(
            tmp_path / name,
            NotAProjectError,
            r"is not a project file: it lacks the HDF5 signature\. Create one with `tdw new FILE`",
        )
    (tmp_path / "empty").touch()
    says(tmp_path / "empty", NotAProjectError, r"is not a project file: it is empty\. Create one with `tdw new FILE`")


@pytest.mark.parametrize("libver", ["earliest", "v108", ("v110", "v110")])
def test_hdf5_of_another_program(tmp_path, libver):
    with h5py.File(tmp_path / "other.h5", "w", libver=libver) as file:
        file["loss"] = np.zeros(3)
    says(tmp_path / "other.h5", NotAProjectError, "is an HDF5 file of another program, not a project file")


def test_a_truncated_file(run):
    data = run.read_bytes()
    for size in (len(data) - 1, len(data) // 2, 4096, 60):
        run.write_bytes(data[:size])
        says(
            run,
            DamagedFileError,
            rf"run\.tdw is truncated: {size:,} of {len(data):,} bytes are there\. Use an earlier copy",
        )
    run.write_bytes(data[:40])
    says(run, DamagedFileError, r"run\.tdw is truncated: only its first 40 bytes are there")
    run.write_bytes(data + b"more")
    says(run, DamagedFileError, r"run\.tdw is damaged: 4 bytes follow its end")


def set_version(path: Path, major: int, minor: int) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs.modify("format_version", np.array([major, minor], "<i8"))


def reseal(path: Path) -> None:
    """Make the checksums right again for a structure that was changed on purpose."""
    from dataclasses import replace

    from tdw.store import open_file
    from tests.store.forgery import read_layout

    with path.open("r+b") as file:
        size = path.stat().st_size
        layout = read_layout(file.fileno(), path, size)
        records = open_file.read_slots(file.fileno(), layout)
        for slot, record in enumerate(records):
            assert record is not None
            draft = open_file.OpenFile(file.fileno(), path, 0, 0, layout, record, slot, True)
            file.seek(layout.slot_offset(slot))
            file.write(replace(record, seal=draft.seal()).encode())
            file.flush()


def test_a_file_of_a_newer_version(run):
    set_version(run, 2, 0)
    data = run.read_bytes()
    says(
        run,
        NewerFormatError,
        r"made by a newer version of tdw \(format 2\.0; this one reads up to 1\.x\)\. Upgrade with `pip install -U tdw`; "
        "the file was not changed",
    )
    assert run.read_bytes() == data


def test_a_file_of_a_slightly_newer_version_is_read_with_what_is_new_in_it_left_alone(run):
    set_version(run, 1, 3)
    reseal(run)
    with store.open_reader(run) as reader:
        assert reader.format_version == (1, 3)
        store_runs.check_exact(reader)
    with pytest.raises(
        NewerFormatError, match=r"made by a newer version of tdw; this version can only read it\. Upgrade with"
    ):
        store.open_writer(run)


def test_an_impossible_version(run):
    set_version(run, 0, 1)
    says(
        run,
        NotAProjectError,
        r"was refused: there is no format 0\.1\. This program never writes such a file; its data was not read",
    )


def test_changed_bytes_are_named(run):
    with store.open_reader(run) as reader:
        extents = dict(reader._state.layout.extents)
    data = run.read_bytes()

    def damaged(name: str) -> Path:
        changed = bytearray(data)
        changed[extents[name].offset + 9] ^= 4
        run.write_bytes(changed)
        return run

    says(
        damaged("losses/test"),
        DamagedFileError,
        "the bytes of 'losses/test' do not match their checksum. `tdw verify run.tdw` lists",
    )
    says(damaged("config"), DamagedFileError, "its structure, settings or split do not match their checksum")
    with store.open_reader(damaged("checkpoints/safetensors")) as reader:
        assert reader.verify() == ["checkpoint 0 (epoch 0): it does not match its checksum"]
        with pytest.raises(DamagedFileError, match="checkpoint 0 does not match its checksum"):
            reader.checkpoint(0)
        assert bytes(reader.checkpoint(1)) == store_runs.blob(100)
    with store.open_reader(damaged("analysis/summary/share")) as reader:
        assert reader.verify() == ["the bytes of 'analysis/summary/share' do not match their checksum"]
        with pytest.raises(DamagedFileError, match="the bytes of 'analysis/summary/share' do not match"):
            reader.read("analysis/summary/share", 1, 2)
    with pytest.raises(DamagedFileError, match="the bytes of 'analysis/summary/share' do not match"):
        store.open_writer(run)
    changed = bytearray(data)
    commit = extents["commit"]
    for slot in (0, 1):
        changed[commit.offset + slot * commit.row_nbytes] ^= 1
    run.write_bytes(changed)
    says(
        run,
        DamagedFileError,
        r"both commit records are damaged\. `tdw verify run\.tdw` lists the damage, `tdw recover run\.tdw NEW` saves",
    )


def test_creating_where_something_is(run, tmp_path):
    data = run.read_bytes()
    with pytest.raises(
        AlreadyExistsError, match=r"run\.tdw already exists: use another name, or overwrite=True to replace it"
    ):
        store_runs.create(run)
    assert run.read_bytes() == data
    with pytest.raises(CannotWriteError, match=r"cannot be written: it is a folder\. Give a file name in it"):
        store_runs.create(tmp_path, overwrite=True)
    (tmp_path / "link").symlink_to(tmp_path / "run.tdw")
    with pytest.raises(AlreadyExistsError):
        store_runs.create(tmp_path / "link")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["link", "run.tdw"]


def test_creating_where_nothing_can_be(tmp_path):
    with pytest.raises(
        CannotWriteError, match=r"run\.tdw cannot be written: the folder .*/no does not exist\. Create it, or choose"
    ):
        store_runs.create(tmp_path / "no" / "run.tdw")
    (tmp_path / "file").touch()
    with pytest.raises(CannotWriteError, match=r"file is not a folder\. Choose another place"):
        store_runs.create(tmp_path / "file" / "run.tdw")
    with pytest.raises(CannotWriteError, match=r"the name is too long\. Choose a shorter one"):
        store_runs.create(tmp_path / ("a" * 254))
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_creating_on_a_disk_that_takes_only_reading():
    folder = Path("/proc/self/fdinfo") if Path("/proc/self/fdinfo").exists() else None
    if folder is None:
        pytest.skip("needs a folder that not even root can write to")
    with pytest.raises(
        CannotWriteError,
        match=r"run\.tdw cannot be written: (no permission to write to it or|nothing can be created in)",
    ):
        store_runs.create(folder / "run.tdw")


def test_without_permission(run, tmp_path):
    """As another user than root, who may do everything."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    code = (
        "import os, sys; from tests.store import store_runs; from tdw import store; from tdw.errors import *\n"
        "from tdw.store import inspect_hdf5, open_file; open_file.examined = inspect_hdf5.walk  # this user may not start root's Python\n"
        "from pathlib import Path; path = Path(sys.argv[1])\n"
        "import shutil; store_runs.finished(path.with_name('warm')).unlink()  # all imports, while they may be read\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for act in (lambda: store.open_writer(path), lambda: store_runs.create(path.parent / 'new.tdw'),\n"
        "            lambda: store.open_reader(path.parent / 'secret.tdw')):\n"
        "    try: act()\n"
        "    except ProjectError as error: print(type(error).__name__, error)\n"
        "with store.open_reader(path) as reader: store_runs.check_exact(reader)\n"
    )
    open_folder = Path(f"/tmp/tdw-permission-{os.getpid()}")
    open_folder.mkdir(mode=0o755)
    try:
        shutil.copy(run, open_folder / "run.tdw")
        shutil.copy(run, open_folder / "secret.tdw")
        (open_folder / "run.tdw").chmod(0o644)
        (open_folder / "secret.tdw").chmod(0o600)
        command = [sys.executable, "-c", code, str(open_folder / "run.tdw")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stderr == ""
        first, second, third = done.stdout.splitlines()
        assert first.startswith("CannotWriteError /tmp/")
        assert "run.tdw cannot be written: no permission to write to it or to the folder /tmp/" in first
        assert "new.tdw cannot be written: no permission" in second
        assert third.endswith("secret.tdw cannot be opened: Permission denied. Check its permissions and the folder's.")
        assert sorted(item.name for item in open_folder.iterdir()) == ["run.tdw", "secret.tdw"]
    finally:
        shutil.rmtree(open_folder)


def test_what_is_not_there_inside_a_file(run):
    with store.open_reader(run) as reader:
        with pytest.raises(IndexError, match=r"run\.tdw has no checkpoint number 4: it has 4"):
            reader.checkpoint(4)
        with pytest.raises(KeyError):
            reader.read("losses/valid")
        with pytest.raises(KeyError):
            reader.read("commit")
    with pytest.raises(ValueError, match="is closed"):
        reader.read("losses/train")


def test_a_run_that_was_trained_elsewhere_has_no_resume_state(tmp_path):
    with store_runs.create(tmp_path / "run.tdw", resume=None, resume_nbytes=0) as writer:
        assert writer.reader.commit.resume_epoch == -1
        with pytest.raises(ProjectError, match=r"run\.tdw has no resume state"):
            writer.reader.resume()
        writer.set_notes({"title": "imported"})
    with store.open_reader(tmp_path / "run.tdw") as reader:
        assert reader.verify() == []
        assert reader.commit.resume_epoch == -1


def safetensors(header: bytes, data: bytes = b"") -> memoryview:
    return memoryview(struct.pack("<Q", len(header)) + header + data)


@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        (memoryview(b"abc"), "shorter than a header"),
        (memoryview(struct.pack("<Q", 1 << 60) + b"{}"), "its header claims 1,152,921,504,606,846,976 bytes"),
        (safetensors(b"{"), "its header is not JSON"),
        (safetensors(b"[" * 3000), "its header is not JSON"),
        (safetensors(b'{"a":' * 3000 + b"1" + b"}" * 3000), "its header is not JSON|does not say dtype"),
        (safetensors(b"\xff\xfe\xff"), "its header is not JSON"),
        (safetensors(b"[]"), "its header is not JSON object"),
        (safetensors(b'{"__metadata__":{"epoch":1}}'), "its metadata values are not strings"),
        (safetensors(b'{"a":{"dtype":"F32","shape":[1]}}'), "'a' lacks dtype, shape or data_offsets"),
        (safetensors(b'{"a":{"dtype":"C32","shape":[1],"data_offsets":[0,8]}}', bytes(8)), "has dtype 'C32'"),
        (safetensors(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)), "has numbers out of range"),
        (
            safetensors(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', bytes(4)),
            "has a size that differs from its data_offsets",
        ),
        (safetensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)), "leave a gap or overlap"),
        (safetensors(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', bytes(3)), "do not fill it"),
        (safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":1}', b"x"), "a name occurs twice"),
    ],
)
def test_bogus_safetensors_are_refused(blob, problem):
    found = store.validate.check_safetensors(blob)
    assert found is not None
    assert re.search(problem, found), found
