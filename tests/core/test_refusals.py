"""What the system refuses is told in a sentence, in one place; what is no refusal keeps its traceback."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from tdw import os_errors


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "run.tdw cannot be written: the disk is full, .* MB are free. Free some space"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, r"exceeds the size that a file may have on this file system. Raise the limit \(`ulimit -f`\)"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "no permission"),
        (errno.ENOENT, "it does not exist. Check the name"),
        (errno.ENOTDIR, "part of its path is not a folder"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.EIO, "the disk reported an error"),
        (errno.EMFILE, "too many files are open"),
        (errno.ENOMEM, "not enough memory"),
        (errno.ELOOP, "a symbolic link, or a loop"),
    ],
)
def test_every_error_of_the_system_has_its_sentence(tmp_path, number, words):
    error = OSError(number, os.strerror(number), str(tmp_path / "run.tdw"))
    said = os_errors.sentence(error)
    assert said is not None
    assert said.endswith(".")
    assert "\n" not in said
    assert re.search(words, said), said


def test_a_size_limit_is_told_with_its_size(tmp_path):
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom tdw import os_errors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12345, 12345))\n"
        "try:\n    Path(sys.argv[1]).write_bytes(bytes(99999))\n"
        "except OSError as error:\n    print(os_errors.sentence(error, 'x.pt'))\n"
    )
    said = subprocess.check_output([sys.executable, "-c", code, str(tmp_path / "x.pt")], text=True)
    assert said.startswith("x.pt cannot be written: it exceeds the limit on the size of a file (12,345 bytes). Raise")


def test_errors_within_errors_of_libraries():
    hdf5 = OSError("Unable to create file (unable to open file: name = 'x', errno = 28, error message = 'No space')")
    assert "the disk is full" in str(os_errors.sentence(hdf5, "x"))
    Foreign = type("SafetensorError", (Exception,), {})
    rust = Foreign('Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No space left" })')
    assert "the disk is full" in str(os_errors.sentence(rust, "x"))


def test_too_little_memory_by_every_library():
    with pytest.raises(MemoryError) as numpys:
        np.empty(1 << 60, np.uint8)
    assert "not enough memory (Unable to allocate" in str(os_errors.sentence(numpys.value))
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert "not enough memory" in str(os_errors.sentence(torchs.value))
    assert "not enough memory" in str(os_errors.sentence(MemoryError()))
    assert "not enough memory" in str(os_errors.sentence(torch.OutOfMemoryError("CUDA out of memory")))
    assert "not enough memory" in str(
        os_errors.sentence(ImportError("libx.so: failed to map segment from shared object"))
    )


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"), ValueError("x"), RuntimeError("x"), RecursionError("maximum recursion depth exceeded"),
        OSError("without a number"), OSError(errno.EINVAL, "Invalid argument"), OSError(errno.EBADF, "Bad file descriptor"),
        ImportError("No module named 'x'"), AssertionError(),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_a_fault_of_this_program_is_no_refusal(error):
    assert os_errors.sentence(error) is None


def test_too_little_memory_on_the_command_line(tmp_path):
    """Whatever library runs out first: a sentence, and nothing is left."""

    def little():
        resource.setrlimit(resource.RLIMIT_AS, (2_500_000_000, 2_500_000_000))

    done = subprocess.run(
        [sys.executable, "-m", "tdw", "new", str(tmp_path / "x.tdw"), "--p", "600", "--d-mlp", "900"],
        capture_output=True, text=True, preexec_fn=little, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode in {0, 2}
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert done.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
