"""Memory and time of an epoch of large runs: `python -m tests.benchmarks.large [OTHER] [--json FILE]`.

OTHER is another checkout of this repository, which is measured in turn with this one. Each size runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.figures import row

HERE = Path(__file__).resolve().parents[2]
EPOCHS = 10
SIZES = [{"p": 113, "d_mlp": neurons} for neurons in (512, 2_000, 4_000, 8_000, 16_000)]
SIZES += [{"p": p, "d_mlp": 512} for p in (199, 401)]
MEASURE = r"""
import json, re, sys, time, h5py, numpy, safetensors.numpy, torch, tdw
from tdw import tasks
from tdw.network import reference, training
peak = lambda: 1024 * int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
def run(epochs, **given):
    config = tdw.configure(epochs=epochs, checkpoints="", threads=2, **given)
    state, split = training.start(config, reference.initial_weights(config)), tasks.draw_split(config)
    before, times = peak(), []
    list(training.train(config, state, split, [], seconds=1e9, stop=lambda: times.append((time.perf_counter(), time.process_time()))))
    spent = numpy.median(numpy.diff(times, axis=0)[:-1], axis=0)  # the last epoch measures the test loss too
    return {"MB": (peak() - before) / 1e6, "s": float(spent[0]), "s of the processor": float(spent[1])}
run(3, p=13, d_mlp=32)
print(json.dumps(run(int(sys.argv[2]), **json.loads(sys.argv[1]))))
"""


def measured(checkout: Path, given: dict[str, int]) -> dict[str, float]:
    """Megabytes above those of the process, and seconds of an epoch without the test loss, in a fresh process."""
    command = [sys.executable, "-c", MEASURE, json.dumps(given), str(EPOCHS)]
    out = subprocess.check_output(command, text=True, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)})
    return json.loads(out.splitlines()[-1])


def large(*checkouts: Path) -> None:
    """A row for each size and checkout."""
    for given in SIZES:
        for checkout in checkouts:
            found = measured(checkout, given)
            name = "" if checkout == HERE else ", the other"
            what = f"p = {given['p']}, {given['d_mlp']} neurons{name}"
            told = f"{found['MB']:.0f} MB, {found['s']:.2f} s an epoch ({found['s of the processor']:.2f} s of the processor)"
            row(what, told, **found)


if __name__ == "__main__":
    from tests.benchmarks.__main__ import main

    others = [Path(sys.argv.pop(1)).resolve()] if sys.argv[1:2] and not sys.argv[1].startswith("-") else []
    main(lambda: large(*others, HERE))
