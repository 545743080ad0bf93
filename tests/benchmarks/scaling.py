"""How time and memory grow with the modulus, the neurons and the checkpoints: `python -m tests.benchmarks.scaling [--json FILE]`.

Each size runs in a process of its own, in turn with the others, round by round; an exponent is the slope of the logarithms.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.figures import row

ROUNDS = 3
# neurons: at p = 59, so that the tables of pairs are small
SIZES = {
    "p": [{"p": p, "d_mlp": 512} for p in (59, 83, 113, 157)],
    "neurons": [{"p": 59, "d_mlp": neurons} for neurons in (256, 512, 1024, 2048)],
    "checkpoints": [{"p": 31, "d_mlp": 128, "checkpoints": count} for count in (16, 32, 64, 128)],
}
MEASURE = r"""
import json, re, sys, time
import h5py, numpy, safetensors.numpy, torch
import tdw
from tdw.analyses.engine import runner
from tdw.operations import train

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024

given, path = json.loads(sys.argv[1]), sys.argv[2]
count = given.pop("checkpoints", 6)
epochs = count - 1
tdw.create(path, tdw.configure(**given, epochs=epochs, checkpoints=f"0:{epochs}:1", threads=1))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak so far is forgotten
before, started = peak(), time.process_time()
tdw.train(path)
found = {"training, s": (time.process_time() - started) / epochs, "training, MB": peak() - before}
names = [item.name for item in runner.ordered() if item.per == "checkpoint" and not item.on_request and item.name != "baselines"]
with tdw.open(path) as run:
    names = [name for name in names if not runner.inapplicable_reason(runner.find(name), run)]
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, started = peak(), time.process_time()
tdw.analyze(path, names, jobs=1)
found |= {"analyses, s": (time.process_time() - started) / count, "analyses, MB": peak() - before}
print(json.dumps(found))
"""
PER = {"training, s": "an epoch", "training, MB": "", "analyses, s": "a checkpoint", "analyses, MB": ""}


def measured(given: dict[str, int], folder: Path) -> dict[str, float]:
    """Processor seconds, and megabytes above those of the process before, of one size in a fresh process."""
    path = folder / "run.tdw"
    out = subprocess.check_output([sys.executable, "-c", MEASURE, json.dumps(given), str(path)], text=True)
    path.unlink()
    return json.loads(out.splitlines()[-1])


def scaling() -> None:
    """Rows of the table: the largest size of each kind, and the exponent over all of them."""
    with tempfile.TemporaryDirectory() as place:
        for kind, sizes in SIZES.items():
            rounds = [[measured(given, Path(place)) for given in sizes] for _ in range(ROUNDS)]
            numbers = [given[kind if kind != "neurons" else "d_mlp"] for given in sizes]
            for what, per in PER.items():
                values = np.median([[found[what] for found in each] for each in rounds], axis=0)
                exponent = float(np.polyfit(np.log(numbers), np.log(np.maximum(values, 1e-9)), 1)[0])
                unit = what.rsplit(" ", 1)[1]
                of = "memory" if unit == "MB" else "time"
                shown = f"{values[-1]:.3g} {unit} {per}".strip()
                row(
                    f"{of} of {what.split(',')[0]}, by {kind} from {numbers[0]} to {numbers[-1]}",
                    f"{shown} at {numbers[-1]}, grows with the power {exponent:.2f}",
                    **{f"{unit} at {number}": float(value) for number, value in zip(numbers, values, strict=True)},
                    exponent=exponent,
                )


if __name__ == "__main__":
    from tests.benchmarks.__main__ import main

    main(scaling)
