"""A process that works on a run without a pause while others copy its file: `python copied.py FILE WORK [BROKEN]`.

WORK is `train` (one long training), `extend` (short trainings, each of which makes the run longer) or `analyze` (all results
again and again, of a run that is finished). BROKEN breaks what makes slow copies whole, for tests that have to notice it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tdw
from tdw.store import layout, planner, writer

SETTINGS = {"p": 23, "d_model": 32, "heads": 2, "d_mlp": 128, "train_fraction": 0.5, "threads": 1, "evaluate_every": 50}
STEP = 400  # epochs from one checkpoint to the next


LONG = 200_000  # epochs, some minutes


def make(path: Path, epochs: int, step: int = STEP) -> None:
    tdw.create(path, tdw.configure(**SETTINGS, epochs=epochs, checkpoints=f"0:{epochs}:{step}"))


def work(path: Path, what: str) -> None:
    if what == "train":
        make(path, LONG, 10 * STEP)
        tdw.train(path, progress=started)
    elif what == "extend":
        make(path, STEP)
        for epochs in range(STEP, LONG, STEP):
            tdw.train(path, epochs=epochs, checkpoints=f"0:{epochs}:{STEP}", progress=started)
    else:
        make(path, 8 * STEP)
        tdw.train(path)
        started(None)
        while True:
            tdw.analyze(path, force=True)


def started(_: object) -> None:
    global told  # noqa: PLW0603
    if not told:
        print("started", flush=True)
    told = True


told = False


def break_it(how: str) -> None:
    """Take away one thing that slow copies need."""
    if how == "states":  # both slots for states are written at every commit
        writer.SLOWEST_COPY = 1e12
        writer.LAST = 0
    elif how == "order":  # the curves come before the record that counts them
        plain = planner._shapes

        def shapes(plan: layout.FilePlan) -> dict[str, tuple[str, tuple[int, ...], float | None]]:
            found = plain(plan)
            first = {name: found[name] for name in (*layout.SEALED, *layout.LOSSES)}
            return first | found

        planner._shapes = shapes


if __name__ == "__main__":
    break_it(sys.argv[3] if len(sys.argv) > 3 else "")
    work(Path(sys.argv[1]), sys.argv[2])
