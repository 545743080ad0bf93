"""Seconds of a commit and of opening a run, bytes of its file: `python -m tests.benchmarks.commits [OTHER]`.

OTHER is another checkout of this repository, which is measured in turn with this one, round by round, so that the ratio
of the two says something on a machine that is busy with other work. Nothing here is a test.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 7
MEASURE = r"""
import json, os, sys, tempfile, time
from pathlib import Path
import numpy as np
import tdw
from tdw import tasks, schedule
from tdw.network import reference as model, training
from tdw.network.segment import Segment, State
from tdw.project import serialization as blobs
from tdw.project.records import Environment
from tdw.project.writer import ProjectWriter

folder = Path(sys.argv[1])
config = tdw.configure(epochs=25_000, checkpoints="even:95", threads=1)
path = folder / "run.tdw"
initial = {name: w.numpy() for name, w in model.initial_weights(config).items()}
zeros = {name: np.zeros_like(w) for name, w in initial.items()}
plan = schedule.parse(config.checkpoints, config.epochs)
writer = ProjectWriter.create(
    path, config, plan, tasks.draw_split(config), State(0, initial, {"exp_avg": zeros, "exp_avg_sq": zeros}), Environment(from_epoch=0, **training.environment(config)), overwrite=True
)
times = {"commit of 30 epochs": [], "commit with a checkpoint": []}
at = 0
for number in range(120):
    stop = at + 30
    series = np.full(stop - at, 0.5)
    keep = stop - 1 in plan
    segment = Segment(range(at, stop), series, series, series, series, State(stop - 1, initial, {"exp_avg": zeros, "exp_avg_sq": zeros}), keep)
    started = time.perf_counter()
    writer.append(segment)
    times["commit of 30 epochs"].append(time.perf_counter() - started)
    at = stop
for epoch in [epoch for epoch in plan if epoch > at]:
    series = np.full(epoch + 1 - at, 0.5)
    segment = Segment(range(at, epoch + 1), series, series, series, series, State(epoch, initial, {"exp_avg": zeros, "exp_avg_sq": zeros}), True)
    started = time.perf_counter()
    writer.append(segment)
    times["commit with a checkpoint"].append(time.perf_counter() - started)
    at = epoch + 1
writer.close()
times["opening"] = []
for _ in range(20):
    started = time.perf_counter()
    with tdw.open(path) as run:
        run.array_index(), run.checkpoints, run.config
    times["opening"].append(time.perf_counter() - started)
found = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
print(json.dumps(found | {"bytes, trained": os.path.getsize(path)}))
"""


def measured(checkout: Path, folder: Path) -> dict[str, float]:
    """Median seconds of each act in a fresh process, on the files of one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(checkout), "TDW_STATE_DIR": str(folder / "state")}
    out = subprocess.check_output(
        [sys.executable, "-c", MEASURE, str(folder)], text=True, env=environment, cwd=checkout
    )
    return json.loads(out)


def main() -> None:
    """Print the table."""
    import tempfile

    here = Path(__file__).parents[2]
    others = [Path(name).resolve() for name in sys.argv[1:2]]
    with tempfile.TemporaryDirectory(dir=here) as place:
        rounds = [
            [measured(checkout, Path(place) / str(number)) for number, checkout in enumerate([here, *others])]
            for _ in range(ROUNDS)
        ]
    print("| p = 113 | this | other | ratio |\n|---|---|---|---|")
    for name in rounds[0][0]:
        columns = list(zip(*[[one[name] for one in each] for each in rounds], strict=True))
        values = [statistics.median(column) for column in columns]
        shown = [f"{value:,.0f}" if name.startswith("bytes") else f"{1000 * value:.2f} ms" for value in values]
        ratio = statistics.median([a / b for a, b in zip(*columns, strict=True)]) if others else 1
        print(f"| {name} | {' | '.join(shown)} | {ratio:.2f} |" if others else f"| {name} | {shown[0]} | | |")


if __name__ == "__main__":
    main()
