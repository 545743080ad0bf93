"""Files that were not made on this computer: HDF5 reads them in a process of its own, and never in this one.

The process (`examine.py`) walks the file and hands back what it found; that is held against every rule again here
(`structure.py`), because a file that could take over the process could also make it lie. What this process then reads
are ranges of bytes, each compared with its checksum.
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
MOST_SAID = 8 << 20  # bytes
SENTENCES = {kind.__name__: kind for kind in (NotAProjectError, NewerFormatError, DamagedFileError)}
#: Where the package is: `-m` looks for modules in the folder it starts in, and the user may stand in a stranger's.
HOME = Path(__file__).parents[2]


def examined(fd: int, path: Path, size: int) -> Structure:
    """What is in an open file, found by a process that may do nothing else. Raises NotAProjectError, NewerFormatError, DamagedFileError.

    size: how long the file should be; zeros are taken for what is missing.
    """
    said = _ask([sys.executable, "-m", "tdw.store.sandbox_worker", str(size), os.fsdecode(path)], fd, path)
    try:
        answer = json.loads(said)
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
    """Run the process on an open file; what it said."""
    # One thread: more of them take address space, and there is nothing to compute.
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
    if done.returncode or len(done.stdout) > MOST_SAID:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ProjectError(f"{path} could not be checked: the sandbox failed ({why[0][:200]}).")
    return done.stdout
