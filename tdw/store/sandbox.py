"""Files from another computer: HDF5 reads them in a sandboxed process, never in this one.

That process (`sandbox_worker.py`) walks the file and returns its structure, which is checked against all rules again here
(`structure.py`), because a file that takes over the process can also make it lie. This process then only reads ranges of
bytes, each verified by its checksum.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tdw.errors import DamagedFileError, NewerFormatError, NotAProjectError, ProjectError
from tdw.store.structure import Structure

PATIENCE = 30.0  # seconds; on an idle machine it takes a quarter of one
MOST_OUTPUT = 8 << 20  # bytes
SENTENCES = {kind.__name__: kind for kind in (NotAProjectError, NewerFormatError, DamagedFileError)}
#: The package's folder: `-m` looks for modules in the current folder, which may hold foreign files.
HOME = Path(__file__).parents[2]


def examined(fd: int, path: Path, size: int) -> Structure:
    """The structure of an open file, read in a sandbox. Raises NotAProjectError, NewerFormatError, DamagedFileError.

    size: the expected file size; missing bytes read as zeros.
    """
    output = _ask([sys.executable, "-m", "tdw.store.sandbox_worker", str(size), os.fsdecode(path)], fd, path)
    try:
        answer = json.loads(output)
        if "structure" in answer:
            structure = Structure.decode(json.dumps(answer["structure"]).encode())
            if structure.size != size:
                raise ValueError("another size")
            return structure
        kind, sentence = SENTENCES[answer["refused"]], str(answer["sentence"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotAProjectError(f"{path} was refused: the sandbox returned an invalid answer.") from error
    raise kind(" ".join(sentence.split())[:2000])


def _ask(command: list[str], fd: int, path: Path) -> bytes:
    """Run the process on an open file; returns its output."""
    # One thread: more would take address space, and there is nothing to compute.
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, stdin=fd, capture_output=True, timeout=PATIENCE, cwd=HOME, env={**os.environ, **quiet}, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotAProjectError(
            f"{path} was refused: checking its structure took more than {PATIENCE:.0f} s."
        ) from error
    except OSError as error:
        raise ProjectError(
            f"{path} comes from another computer, and the sandbox that checks such files could not be started "
            f"({error.strerror}). Close some programs and try again."
        ) from error
    if done.returncode < 0:
        raise NotAProjectError(
            f"{path} was refused: checking its structure in a sandbox ended with signal {-done.returncode}. "
            "Its data was not read."
        )
    if done.returncode or len(done.stdout) > MOST_OUTPUT:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ProjectError(f"{path} could not be checked: the sandbox failed ({why[0][:200]}).")
    return done.stdout
