"""Files from strangers: what HDF5 would follow, load or allocate is refused, with the sentence it deserves."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tdw import store
from tdw.errors import DamagedFileError, NotAProjectError
from tdw.store import layout as layout_module
from tdw.store import open_file as state_module
from tdw.store import structure as structure_module
from tdw.store.commit_record import BLOCK
from tdw.store.filesystem import System
from tests.store import store_runs
from tests.store.forgery import layout_of, move_array, read_layout


def _external(file: h5py.File) -> None:
    file.create_dataset("losses/secret", (10,), "u1", external=[("/etc/passwd", 0, 10)])


def _virtual(file: h5py.File) -> None:
    source = h5py.VirtualLayout((3,), "f8")
    source[:] = h5py.VirtualSource("/tmp/other.h5", "x", (3,))
    file.create_virtual_dataset("losses/virtual", source)


def _deep(file: h5py.File) -> None:
    file.create_group("a/b/c/d/e/f")


def _many(file: h5py.File) -> None:
    for i in range(2100):
        file.create_group(f"many/g{i}")


def _named_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f8")


def _loop(file: h5py.File) -> None:
    file["losses/again"] = file["/losses"]


def _replace(name: str, **arguments: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **arguments)

    return change


def _no_value(file: h5py.File) -> None:
    file.attrs["nothing"] = h5py.Empty("f8")


HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external storage": (_external, "'losses/secret' keeps its values in another file"),
    "virtual dataset": (_virtual, "'losses/virtual' takes its values from other arrays"),
    "soft link": (lambda f: f.__setitem__("x", h5py.SoftLink("/losses")), "'x' is a link to somewhere else"),
    "external link": (
        lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/x", "/")),
        "'x' is a link to somewhere else",
    ),
    "object loop": (_loop, "is an object that it holds twice"),
    "a loop to the root": (
        lambda f: f["losses"].__setitem__("up", f["/"]),
        "'losses/up' is an object that it holds twice",
    ),
    "a soft loop": (lambda f: f.__setitem__("x", h5py.SoftLink("/x")), "'x' is a link to somewhere else"),
    "gzip": (
        lambda f: f.create_dataset("z", data=np.zeros(99), compression="gzip"),
        "'z' is compressed or kept in pieces",
    ),
    "chunks": (lambda f: f.create_dataset("z", (10**9,), "f8", chunks=(10**6,)), "'z' is compressed or kept in pieces"),
    "petabytes": (
        lambda f: f.create_dataset("z", (1 << 50,), "f8"),
        r"'z' declares [\d,]+ bytes that are not in the file",
    ),
    "no shape": (lambda f: f.create_dataset("z", data=1.0), "'z' is not an array"),
    "variable text": (
        lambda f: f.attrs.__setitem__("note", "text"),
        "attribute 'note' of 'the file' is neither a number",
    ),
    "pickle": (
        lambda f: f.attrs.__setitem__("p", np.void(b"\x80\4cos\nsystem\n.")),
        "attribute 'p' of 'the file' is neither a number nor a plain string",
    ),
    "large attribute": (lambda f: f.attrs.__setitem__("p", np.zeros(7900)), "attribute 'p' of 'the file' is too large"),
    "empty attribute": (_no_value, "attribute 'nothing' of 'the file' has no value"),
    "reference": (lambda f: f["losses"].attrs.__setitem__("r", f["losses"].ref), "'r' of 'losses' is neither a number"),
    "vlen": (
        lambda f: f.create_dataset("z", (3,), h5py.vlen_dtype("f8")),
        "'z' does not hold plain numbers|pieces",
    ),
    "references": (
        lambda f: f.create_dataset("z", data=np.array([f["losses"].ref] * 3, h5py.ref_dtype)),
        "'z' does not hold plain numbers|pieces",
    ),
    "region references": (
        lambda f: f.create_dataset("z", (3,), h5py.regionref_dtype),
        "'z' does not hold plain numbers|pieces",
    ),
    "a name with zero bytes": (lambda f: f.create_group("x\ty"), r"an object with the name 'x\\ty'"),
    "a name with dots": (lambda f: f.create_group("..x"), "it holds an object with the name '..x'"),
    "half the pairs": (_replace("split/train", data=np.zeros(999, "f4")), "'split/train' (has dtype|does not start)"),
    "compound": (lambda f: f.create_dataset("z", data=np.zeros(600, "f8,f8")), "'z' does not hold plain numbers"),
    "named type": (_named_type, "'type' is neither a group nor an array"),
    "depth": (_deep, "'a/b/c/d' is nested more than 4 deep"),
    "thousands of groups": (_many, "it holds more than 2000 objects"),
    "control characters": (lambda f: f.create_group("a\nb\x1b[31m"), r"an object with the name 'a\\nb\\x1b\[31m'"),
    "letters in disguise": (lambda f: f.create_group("los\u202eses"), "it holds an object with the name"),
    "something unknown": (
        lambda f: f.create_dataset("z", data=np.zeros(999)),
        "it holds 'z'|'z' does not start a sector",
    ),
    "array missing": (lambda f: f.__delitem__("losses/test"), "the array 'losses/test' is missing"),
    "no commit records": (lambda f: f.__delitem__("commit"), "it has no commit records"),
    "other form of records": (
        lambda f: (f["commit"].attrs["arrays"], f["commit"].attrs.modify("arrays", np.bytes_("losses/train")))[0],
        "its commit records do not match its arrays",
    ),
    "blob size": (
        lambda f: f["checkpoints"].attrs.modify("nbytes", np.int64(1 << 40)),
        "'nbytes' of 'checkpoints' is not a size",
    ),
    "negative size": (lambda f: f["resume"].attrs.modify("nbytes", np.int64(-1)), "'nbytes' of 'resume' is not a size"),
    "version in words": (
        lambda f: f.attrs.__setitem__("format_version", np.bytes_("1.0")),
        "its format version is not two numbers",
    ),
    "no analysis version": (
        lambda f: f["analysis/summary"].attrs.__delitem__("version"),
        "does not say its version and parameters",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structure_is_refused_with_its_sentence(tmp_path, name):
    path = store_runs.finished(tmp_path / "run.tdw")
    change, sentence = HOSTILE[name]
    with h5py.File(path, "r+") as file:
        change(file)
    data = path.read_bytes()
    for open_it in (store.open_reader, store.open_writer):
        # An attribute is none of this program's, and is never read: the rest of the file can be recovered.
        kind = DamagedFileError if sentence.startswith("attribute") or name == "reference" else NotAProjectError
        with pytest.raises(kind, match=sentence) as caught:
            open_it(path)
        assert str(caught.value).endswith("This program never writes such a file; its data was not read.")
        assert str(caught.value).isprintable()
    assert path.read_bytes() == data
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]


def _on_top(path: Path) -> None:
    move_array(path, "losses/train", layout_of(path).extents["losses/test"].offset)


def _into_the_records(path: Path) -> None:
    move_array(path, "accuracy/test", layout_of(path).extents["commit"].offset)


def _into_the_blobs(path: Path) -> None:
    blobs = layout_of(path).extents["checkpoints/safetensors"]
    move_array(path, "analysis/summary/share", blobs.offset + blobs.row_nbytes)


FORGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "on top of another": (_on_top, "'losses/t(est|rain)' and 'losses/t(est|rain)' overlap"),
    "over the commit records": (
        _into_the_records,
        "'commit' and 'accuracy/test' overlap|'accuracy/test' and 'commit' overlap",
    ),
    "over the checkpoints": (_into_the_blobs, "overlap"),
    "before the file": (
        lambda path: move_array(path, "losses/train", (1 << 64) - 8192),
        "declares|structure cannot be read",
    ),
    "behind the file": (
        lambda path: move_array(path, "losses/train", 1 << 40),
        r"'losses/train' declares [\d,]+ bytes that are not in the file|structure cannot be read",
    ),
    "between two sectors": (
        lambda path: move_array(path, "losses/train", layout_of(path).extents["losses/train"].offset + 8),
        "'losses/train' does not start a sector of its own",
    ),
    "over the structure": (lambda path: move_array(path, "losses/train", 0), "structure|checksum|on top|commit"),
}


@pytest.mark.parametrize("name", FORGED)
def test_storage_that_is_not_an_arrays_own_is_refused(tmp_path, name):
    """Overlapping storages would make a write to one array change another, or the records themselves."""
    path = store_runs.finished(tmp_path / "run.tdw")
    change, sentence = FORGED[name]
    change(path)
    data = path.read_bytes()
    for open_it in (store.open_reader, store.open_writer):
        with pytest.raises((NotAProjectError, DamagedFileError), match=sentence):
            open_it(path)
    assert path.read_bytes() == data


def _blob(header: bytes, size: int) -> bytes:
    return (struct.pack("<Q", len(header)) + header).ljust(size, b"x")


def _nested(size: int) -> bytes:
    return _blob(b"[" * (size - 8), size)


def _gap(kind: str, first: int, shape: int) -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        text = '{"a":{"dtype":"%s","shape":[%d],"data_offsets":[%d,%d]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
        return _blob((text % (kind, shape, first, first + shape * 4)).encode(), size)

    return make


BOGUS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "2^60 bytes of header": (
        lambda size: struct.pack("<Q", 1 << 60).ljust(size, b" "),
        "its header claims 1,152,921,504,606,846,976 bytes",
    ),
    "nested thousands deep": (_nested, "its header is not JSON"),
    "overlapping": (_gap("F32", 2, 8), "its tensors leave a gap or overlap"),
    "a gap": (_gap("F32", 8, 8), "its tensors leave a gap or overlap"),
    "a wrong dtype": (_gap("C32", 4, 8), "tensor 'a' has dtype 'C32'"),
    "a shape that does not fit": (_gap("F64", 4, 8), "tensor 'a' has a size that differs from its data_offsets"),
    "no header": (bytes, "its header is not JSON"),
}


@pytest.mark.parametrize("name", BOGUS)
def test_bogus_safetensors_with_right_checksums_are_refused(tmp_path, name):
    path = store_runs.finished(tmp_path / "run.tdw")
    make, sentence = BOGUS[name]
    layout = layout_of(path)
    blob = make(layout.blob_nbytes)
    with path.open("r+b") as file:
        file.seek(layout.extents["checkpoints/safetensors"].offset)
        file.write(blob)
    with store.open_reader(path) as reader:
        crcs, record = reader.read("checkpoints/crc32").copy(), reader.state.record
    crcs[0] = zlib.crc32(blob)
    index = layout.growing.index("checkpoints/crc32")
    with path.open("r+b") as file:
        file.seek(layout.extents["checkpoints/crc32"].offset)
        file.write(crcs.tobytes())
    sums, tails = list(record.crc32), list(record.tail_crc32)
    sums[index] = tails[index] = zlib.crc32(crcs.tobytes())
    forge(path, tail_crc32=tuple(tails), crc32=tuple(sums))
    with store.open_reader(path) as reader:
        with pytest.raises(DamagedFileError, match=f"checkpoint 0 is not a safetensors file: .*({sentence})"):
            reader.checkpoint(0)
        assert any(re.search(sentence, line) for line in reader.verify())
        reader.checkpoint(1)


def test_a_filter_plug_in_is_never_loaded(tmp_path, monkeypatch):
    """HDF5 would load every library of a folder when a file names a filter that it does not know."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = tmp_path / "plugin.c"
    source.write_text(
        "#include <stdio.h>\n"
        "static void __attribute__((constructor)) loaded(void)"
        f'{{ FILE *f = fopen("{tmp_path}/loaded", "w"); if (f) fclose(f); }}\n'
        "int H5PLget_plugin_type(void) { return 0; }\n"
        "const void *H5PLget_plugin_info(void) { return 0; }\n"
    )
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    subprocess.run([compiler, "-shared", "-fPIC", "-o", plugins / "libevil.so", source], check=True)
    path = store_runs.finished(tmp_path / "run.tdw")
    with h5py.File(path, "r+") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((10,))
        properties.set_filter(32_999, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple((10,))
        item = h5py.h5d.create(file.id, b"z", h5py.h5t.NATIVE_DOUBLE, space, properties)
        item.write_direct_chunk((0,), bytes(80))  # as the plug-in would have packed it
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(plugins))
    naive = (
        "import os, sys; os.environ.pop('HDF5_PLUGIN_PRELOAD', None)\n"
        "import h5py\n"
        "with h5py.File(sys.argv[1]) as file:\n"
        "    try: file['z'][:]\n"
        "    except OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", naive, str(path)], check=False, capture_output=True)
    naive_loads = (tmp_path / "loaded").exists()
    (tmp_path / "loaded").unlink(missing_ok=True)
    with pytest.raises(NotAProjectError, match="'z' is compressed or kept in pieces"):
        store.open_reader(path)
    assert not (tmp_path / "loaded").exists()
    if not naive_loads:
        pytest.skip("this build of HDF5 loads no plug-ins at all, so nothing was shown")


def test_a_bomb_is_not_unpacked(tmp_path):
    """8 GiB of zeros in some kilobytes: refused without a look inside."""
    path = store_runs.finished(tmp_path / "run.tdw")
    with h5py.File(path, "r+") as file:
        bomb = file.create_dataset("z", (1 << 30,), "f8", chunks=(1 << 24,), compression="gzip", compression_opts=9)
        bomb[: 1 << 24] = 0
    assert path.stat().st_size < 4 << 20
    with pytest.raises(NotAProjectError, match="'z' is compressed or kept in pieces"):
        store.open_reader(path)


def forge(path: Path, **changes: object) -> None:
    """Write commit records with other contents and right checksums."""
    with path.open("r+b") as file:
        layout = read_layout(file.fileno(), path, path.stat().st_size)
        for slot, record in enumerate(state_module.read_slots(file.fileno(), layout)):
            assert record is not None
            file.seek(layout.slot_offset(slot))
            file.write(replace(record, **changes).encode())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"n_epochs": 10**12},
        {"n_epochs": -5},
        {"n_checkpoints": 5},
        {"rows": (602,) * 4 + (4, 4) + (2,) * 3 + (50,) * 3, "n_epochs": 602},
        {"rows": (601,) * 4 + (4, 4) + (-1,) * 3 + (50,) * 3},
        {"rows": (601,) * 4 + (4, 4) + (2, 3, 2) + (50,) * 3},
        {"rows": (1 << 62,) * 4 + (4, 4) + (2,) * 3 + (50,) * 3, "n_epochs": 1 << 62},
        {"resume_slot": 3},
        {"resume_slot": 0},  # of a finished run, which has the last one alone
        {"resume_slot": -1},
        {"resume_nbytes": 1 << 40},
        {"resume_nbytes": -1},
    ],
)
def test_forged_commit_records_lead_nowhere(tmp_path, changes):
    path = store_runs.finished(tmp_path / "run.tdw")
    forge(path, **changes)
    data = path.read_bytes()
    for open_it in (store.open_reader, store.open_writer):
        with pytest.raises(DamagedFileError, match="its commit records exceed the size of its arrays"):
            open_it(path)
    assert path.read_bytes() == data


def test_forged_tail_copies_do_not_pass(tmp_path):
    """A copy that differs from what was committed does not match the checksum, and is written nowhere."""
    path = store_runs.finished(tmp_path / "run.tdw")
    layout = layout_of(path)
    with store.open_reader(path) as reader:
        record = reader.state.record
    length = 601 * 8 % BLOCK
    forge(path, tail_crc32=(zlib.crc32(bytes(length)), *record.tail_crc32[1:]))
    with path.open("r+b") as file:  # both copies of the last block, and the block itself
        for place in (layout.tails_offset(0), layout.tails_offset(1), layout.extents["losses/train"].end - 8 - length):
            file.seek(place)
            file.write(bytes(length))
    data = path.read_bytes()
    for open_it in (store.open_reader, store.open_writer):
        with pytest.raises(DamagedFileError, match="'losses/train' do not match their checksum"):
            open_it(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "text", [b"[1, 2]", b"{", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a":' * 2000, b"\xff\xfe", b"null"]
)
def test_settings_that_are_no_json_object_are_refused(tmp_path, text):
    from tests.store.test_errors import reseal

    path = store_runs.finished(tmp_path / "run.tdw", notes={"title": "x" * 12_000})
    with h5py.File(path, "r") as file:
        offset, size = file["notes"].id.get_offset(), file["notes"].shape[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write((text + b" " * size)[:size])
    reseal(path)
    with pytest.raises(DamagedFileError, match=r"run\.tdw: notes cannot be read"):
        store.open_reader(path)


class Sparse(System):
    """Gives files their size without taking the space for it."""

    def allocate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)


@pytest.mark.parametrize("shape", [(3, 1 << 29), (1 << 30, 1), (100, 1 << 20)])
def test_results_larger_than_those_of_such_a_run_are_refused_before_anything_is_read(tmp_path, monkeypatch, shape):
    """An array that nothing was written to takes no space: a small file of gigabytes, each of which would be read."""
    path = tmp_path / "run.tdw"
    rows, width = shape
    plan = store.AnalysisPlan("of_a_later_version", 1, {}, {"values": store.ArrayPlan("|u1", (width,))}, rows)
    with (
        monkeypatch.context() as patched,
        store_runs.create(path, Sparse(), epochs=20, checkpoint_capacity=2) as writer,
    ):
        for module in (layout_module, structure_module):
            patched.setattr(module, "too_large", lambda *_: None)
        writer.plan_analyses([plan])
    assert path.stat().st_blocks * 512 < 4 << 20, "it takes no space"
    what = r"results declare [\d,]+ bytes" if width == 1 << 20 else r"declares [\d,]+ rows of [\d,]+ bytes"
    for open_it in (store.open_reader, store.open_writer):
        with pytest.raises(NotAProjectError, match=f"{what}.* of such a run have at most"):
            open_it(path)
    with (
        store_runs.create(tmp_path / "own.tdw") as writer,
        pytest.raises(ValueError, match="of such a run have at most"),
    ):
        writer.plan_analyses([plan])
