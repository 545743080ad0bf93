"""Random damage to a closed file: refused with a sentence, or read exactly. Never a crash, a hang or a wrong value."""

from __future__ import annotations

import random
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tdw import store
from tdw.errors import ProjectError, TdwError
from tdw.store import open_file
from tdw.store.inspect_hdf5 import walk
from tests.store import store_runs
from tests.store.forgery import headers, lookup3

KINDS = ("bit", "bits", "bytes", "zeroed sector", "swapped blocks", "truncated", "extended", "metadata bit")


def damage(data: bytes, kind: str, choose: random.Random, metadata: list[int]) -> bytes:
    """One kind of damage; `metadata` are offsets of bytes that are not zero outside the large arrays."""
    changed, size = bytearray(data), len(data)
    match kind:
        case "bit" | "bits" | "metadata bit":
            for _ in range(choose.randrange(2, 30) if kind == "bits" else 1):
                at = choose.choice(metadata) if kind == "metadata bit" else choose.randrange(size)
                changed[at] ^= 1 << choose.randrange(8)
        case "bytes":
            at = choose.choice(metadata)
            end = min(size, at + choose.randrange(1, 64))
            changed[at:end] = choose.randbytes(end - at)
        case "zeroed sector":
            at = choose.choice(metadata) // 512 * 512
            changed[at : at + 512] = bytes(len(changed[at : at + 512]))
        case "swapped blocks":
            one, other = (choose.choice(metadata) // 4096 * 4096 for _ in range(2))
            if max(one, other) + 4096 <= size:
                changed[one : one + 4096], changed[other : other + 4096] = (
                    data[other : other + 4096],
                    data[one : one + 4096],
                )
        case "truncated":
            del changed[choose.randrange(size) :]
        case "extended":
            changed += choose.randbytes(choose.randrange(1, 9000))
    return bytes(changed)


def outcome(path: Path) -> str:
    """Read all that can be read; "refused", "exact", or an AssertionError."""
    try:
        with store.open_reader(path) as reader:
            store_runs.check_exact(reader)
            assert reader.n_epochs == 601, "a closed file never falls back to an older state"
            assert reader.n_checkpoints == 4
            assert reader.analyses().keys() == {"summary", "events"}
            assert reader.notes() == {"title": "a small run"}
            assert reader.config == {"p": 7, "room": store_runs.EPOCHS}
            return "exact"
    except TdwError as error:
        return "refused" if "\n" not in str(error) else f"refused in several lines: {error}"


def try_many(folder: Path, start: int, count: int) -> None:
    """Run in a process of its own, which a crash or a bomb may not survive."""
    import faulthandler

    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    data = store_runs.finished(folder / "sound.tdw").read_bytes()
    elsewhere = open_file.examined
    telling = [at for at, byte in enumerate(data) if byte]
    path = folder / "run.tdw"
    found = {"refused": 0, "exact": 0}
    for seed in range(start, start + count):
        choose = random.Random(seed)
        kind = KINDS[seed % len(KINDS)]
        # In this process a crash of HDF5 is seen; in one of its own, as users have it, it would be one more refusal.
        open_file.examined = elsewhere if seed % 20 == 0 else walk
        path.write_bytes(damage(data, kind, choose, telling))
        print(seed, kind, end=" ", flush=True)
        result = outcome(path)
        found[result] += 1
        if result == "exact" and path.read_bytes() != data:  # then writing must be safe too
            try:
                with store.open_writer(path) as writer:
                    writer.set_notes({"title": "a small run"})
                assert outcome(path) == "exact"
            except TdwError:
                pass
        print(result, flush=True)
    print("all", found["refused"], found["exact"])


def run_many(folder: Path, start: int, count: int, limit: float) -> tuple[int, int]:
    command = [sys.executable, "-m", __name__, str(folder), str(start), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"ended with {done.returncode} at {last}: {done.stderr[-2000:]}"
    word, refused, exact = last[0].split()
    assert word == "all"
    return int(refused), int(exact)


def test_random_damage_is_refused_or_harmless(tmp_path):
    refused, exact = run_many(tmp_path, 0, 160, 120)
    assert refused + exact == 160
    assert refused > 40


@pytest.mark.slow
def test_much_random_damage_is_refused_or_harmless(tmp_path):
    refused, exact = run_many(tmp_path, 10_000, 6000, 1500)
    assert refused + exact == 6000


def forged(data: bytes, choose: random.Random) -> bytes:
    """Some bytes of one object header are others, and its checksum is right: HDF5 itself has to make sense of them."""
    changed = bytearray(data)
    start, first, end = choose.choice(headers(data))
    for _ in range(choose.choice([1, 1, 2, 5])):
        at = choose.randrange(first, end)
        changed[at] = choose.choice(
            [0, 1, 0x7F, 0x80, 0xFF, choose.randrange(256), changed[at] ^ 1 << choose.randrange(8)]
        )
    struct.pack_into("<I", changed, end, lookup3(bytes(changed[start:end])))
    return bytes(changed)


def forge_many(folder: Path, start: int, count: int) -> tuple[int, int]:
    """How many forgeries were refused, and how many changed nothing that counts."""
    data = store_runs.finished(folder / "sound.tdw").read_bytes()
    path, refused, harmless = folder / "run.tdw", 0, 0
    for seed in range(start, start + count):
        path.write_bytes(forged(data, random.Random(seed)))
        for open_it in (store.open_reader, store.open_writer):
            before = path.read_bytes()
            try:
                with open_it(path) as file:
                    store_runs.check_exact(file)
                harmless += 1
            except ProjectError as error:
                sentence = str(error)
                if not sentence.isprintable():
                    raise AssertionError(f"seed {seed}: {sentence!r}") from error
                refused += 1
                assert path.read_bytes() == before, f"seed {seed} was written to"
    return refused, harmless


def test_forged_metadata_are_refused_or_harmless(tmp_path):
    refused, harmless = forge_many(tmp_path, 0, 20)
    assert refused + harmless == 40
    assert refused > 25


@pytest.mark.slow
def test_much_forged_metadata_is_refused_or_harmless(tmp_path):
    refused, harmless = forge_many(tmp_path, 1_000, 700)
    assert refused + harmless == 1400


if __name__ == "__main__":
    try_many(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
