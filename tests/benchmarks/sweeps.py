"""What a sweep costs: `python -m tests.benchmarks.sweeps` from the root of the repository.

Prints the time of 200 tiny runs in a pool and, of some of them, by one `tdw train` each; the share of it that is not training;
and the throughput of eight seeds of the demo's settings, against one after another.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tdw
from tdw import schedule, tasks
from tdw.network import reference, training
from tdw.operations import demo

TINY = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 16, "epochs": 50}
RUNS, PROCESSES, SEEDS = 200, 6, 8


def timed(work):
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def flags(settings):
    return [text for name, value in settings.items() for text in ("--" + name.replace("_", "-"), str(value))]


def train_in_memory(config):
    """Training alone, without a file."""
    state = training.start(config, reference.initial_weights(config))
    plan = schedule.parse(config.checkpoints, config.epochs)
    for _ in training.train(config, state, tasks.draw_split(config), plan):
        pass


def by_processes(folder):
    for seed in range(PROCESSES):
        line = ["train", str(folder / f"alone{seed}.tdw"), *flags(TINY), "--model-seed", str(seed)]
        subprocess.run([sys.executable, "-m", "tdw", *line], check=True, capture_output=True)


def main():
    """Measure, and print a table."""
    jobs = 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone, pooled, inside = [], [], []
        for number in range(3):
            apart, together = folder / f"apart{number}", folder / f"together{number}"
            apart.mkdir()
            alone.append(timed(lambda apart=apart: by_processes(apart)) / PROCESSES)
            seeds = f"0-{RUNS - 1}"
            pooled.append(
                timed(lambda together=together, seeds=seeds: tdw.sweep(together, jobs=jobs, model_seed=seeds, **TINY))
                / RUNS
            )
            configs = [tdw.configure(**TINY, model_seed=seed, threads=1) for seed in range(30)]
            inside.append(timed(lambda configs=configs: [train_in_memory(config) for config in configs]) / len(configs))
        ratio = statistics.median(a / b for a, b in zip(alone, pooled, strict=True))
        print(f"| {RUNS} tiny runs in a pool of {jobs}, per run | {1e3 * statistics.median(pooled):.0f} ms |")
        print(f"| one `tdw train` each, per run, and ratio | {statistics.median(alone):.2f} s, {ratio:.0f} × |")
        beyond = statistics.median(jobs * a - b for a, b in zip(pooled, inside, strict=True))
        print(
            f"| beyond training, per run and process | {1e3 * beyond:.0f} ms of {2e3 * statistics.median(pooled):.0f} ms |"
        )

        settings = demo.settings().to_json() | {"epochs": 600, "checkpoints": "even:20"}
        one = timed(
            lambda: tdw.sweep(folder / "one", jobs=1, **settings | {"model_seed": f"0-{SEEDS - 1}", "threads": 1})
        )
        two = timed(lambda: tdw.sweep(folder / "two", jobs=jobs, **settings | {"model_seed": f"0-{SEEDS - 1}"}))
        print(
            f"| {SEEDS} seeds of the demo's settings, one after another over in a pool of {jobs} | {one / two:.2f} × |"
        )


if __name__ == "__main__":
    main()
