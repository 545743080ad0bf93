"""How long `tdw.runs` takes for many runs: `python -m tests.benchmarks.many_runs [NUMBER]` from the root of the repository.

Each figure is of a new process, from its start to the last row, on files that the system has in memory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tdw

LISTING = """
import sys, time
started = time.perf_counter()
import tdw
found = tdw.runs(sys.argv[1])
number = len(found)
seconds = time.perf_counter() - started
assert not found.problems and number == int(sys.argv[2]), (found.problems[:1], number)
print(seconds, *sorted({"torch", "h5py"} & set(sys.modules)))
"""
ROUNDS = 5
Figures = tuple[float, float, str]


def listing(folder: Path, number: int, state: Path) -> Figures:
    """Seconds to list a folder in a new process, imports included, those of the processor, and the heavy libraries loaded."""
    environment = {**os.environ, "TDW_STATE_DIR": str(state)}
    command = [sys.executable, "-c", LISTING, str(folder), str(number)]
    before = os.times()
    seconds, *loaded = subprocess.check_output(command, text=True, env=environment).split()
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return float(seconds), busy, ", ".join(loaded) or "neither torch nor h5py"


def row(what: str, figures: list[Figures]) -> None:
    """One line of the table: median, smallest, largest."""
    seconds, busy, loaded = zip(*figures, strict=True)
    print(
        f"| {what} | {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}) | "
        f"{statistics.median(busy):.2f} s | {loaded[-1]} |",
        flush=True,
    )


def main(number: int) -> None:
    """Make the runs, list them, print the table."""
    with tempfile.TemporaryDirectory() as place:
        folder, state = Path(place) / "runs", Path(place) / "state"
        folder.mkdir()
        state.mkdir(mode=0o700)
        os.environ["TDW_STATE_DIR"] = str(state)
        for seed in range(number):
            settings = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 8, "train_fraction": 0.5, "threads": 1}
            path = folder / f"{seed:05}.tdw"
            tdw.create(path, tdw.configure(**settings, epochs=20, checkpoints="", model_seed=seed))
            tdw.train(path)
        time.sleep(2.1)  # a file that was just written to is read again the next time
        print("| listing | median (range) | processor | loaded |\n|---|---|---|---|")
        row(f"{number} runs made here, the first time", [_without_index(folder, number, state) for _ in range(ROUNDS)])
        row(f"{number} runs, later", [listing(folder, number, state) for _ in range(ROUNDS)])
        other = Path(place) / "other"
        other.mkdir(mode=0o700)
        row(f"{number} runs made elsewhere, the first time", [listing(folder, number, other)])
        row(f"{number} runs made elsewhere, later", [listing(folder, number, other) for _ in range(ROUNDS)])


def _without_index(folder: Path, number: int, state: Path) -> Figures:
    shutil.rmtree(state / "runs", ignore_errors=True)
    return listing(folder, number, state)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
