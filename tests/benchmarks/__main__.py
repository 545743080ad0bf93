"""What the README's table says, measured: `python -m tests.benchmarks [--json FILE]` from the root of the repository.

Ratios are taken within one run, round by round, because machines differ and are busy; nothing here is a test.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tdw
from tdw.network.kinds import Nonlinearity
from tests.benchmarks.figures import row, save

PAPER = {"epochs": 94, "checkpoints": "0:94:1"}  # the published run's sizes, its 95 checkpoints close together


def median(values):
    """Median of seconds."""
    return statistics.median(values)


def timed(work):
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def training_speed():
    """Epochs per second of the factored engine and of a plainly written loop, at equal work."""
    import torch

    from tdw import tasks
    from tdw.network import reference, training
    from tdw.network.losses import cross_entropy

    for every in (1, 10):
        config = tdw.configure(epochs=120, checkpoints="", evaluate_every=every)
        split = tasks.draw_split(config)
        sides = [tuple(map(torch.from_numpy, (*tasks.operands(s, config.p), tasks.answers(s, config)))) for s in split]
        initial = reference.initial_weights(config)

        def plain(epochs, sides=sides, initial=initial, config=config, every=every):
            weights = {name: w.clone().requires_grad_() for name, w in initial.items()}
            optimizer = torch.optim.AdamW(weights.values(), lr=config.lr, betas=config.betas, weight_decay=1.0)
            for epoch in range(epochs):
                a, b, answers = sides[0]
                loss = cross_entropy(reference.plain_forward(weights, a, b, Nonlinearity()), answers)
                loss.item()
                if epoch % every == 0:
                    with torch.no_grad():
                        a, b, answers = sides[1]
                        cross_entropy(reference.plain_forward(weights, a, b, Nonlinearity()), answers).item()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        def factored(config=config, split=split, initial=initial):
            list(training.train(config, training.start(config, initial), split, []))

        plain(1)
        factored()
        rounds = [(timed(lambda: plain(10)) / 10, timed(factored) / 120) for _ in range(5)]
        slow, fast = (median(side) for side in zip(*rounds, strict=True))
        ratio = median([a / b for a, b in rounds])
        row(
            f"p = 113, test loss every {'epoch' if every == 1 else f'{every} epochs'}: plainly written loop, factored, ratio",
            f"{1 / slow:.1f} epochs/s, {1 / fast:.1f} epochs/s, {ratio:.1f} ×",
            plain=1 / slow,
            factored=1 / fast,
            ratio=ratio,
        )


MEMORY = r"""
import re, sys
import tdw
import torch
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
(torch.ones(64, 64) @ torch.ones(64, 64)).sum()
import numpy, h5py, safetensors.numpy
before = peak()
tdw.train(sys.argv[1])
print(f"{peak() - before:.0f} MB above torch's own {before:.0f} MB")
"""

OPENING = """
import sys, time
import tdw.run
started = time.perf_counter()
with tdw.open(sys.argv[1]) as run:
    run.array_index(), run.checkpoints, run.config
    print(f"{1000 * (time.perf_counter() - started):.0f} ms, torch loaded: {'torch' in sys.modules}")
"""


def in_a_fresh_process(code, path):
    """What the code prints, with the path as its argument."""
    return subprocess.check_output([sys.executable, "-c", code, str(path)], text=True).strip()


def file_and_analyses(folder):
    """Memory of training, seconds per analyzed checkpoint, size and opening of the published run's file."""
    path = folder / "paper.tdw"
    tdw.create(path, tdw.configure(**PAPER))
    row("p = 113, memory while training", in_a_fresh_process(MEMORY, path))
    count = 95
    seconds = timed(lambda: tdw.analyze(path))
    row("p = 113, all analyses, per checkpoint", f"{seconds / count:.3f} s", s=seconds / count)
    again = timed(lambda: tdw.analyze(path))
    row("p = 113, all analyses, with nothing to do", f"{again:.3f} s", s=again)
    size = path.stat().st_size / 1e6
    row("p = 113, file of 95 checkpoints with all results", f"{size:.1f} MB", MB=size)
    row("opening that file", in_a_fresh_process(OPENING, path))
    helped = median([timed(help_once) for _ in range(5)])
    row("`tdw --help`", f"{helped:.2f} s", s=helped)
    return path


def help_once():
    """Run `tdw --help`."""
    subprocess.run([sys.executable, "-m", "tdw", "--help"], stdout=subprocess.DEVNULL, check=True)


def slider(path):
    """Script time of a slider step in headless Chromium, and frames dropped."""
    from playwright.sync_api import sync_playwright

    from tests import chromium
    from tests.viewer.measure import measure

    with sync_playwright() as playwright, tdw.open(path) as run:
        browser = chromium.launch(playwright)
        for name, found in measure(browser, run).items():
            row(
                f"one step of the slider, four panels, {name}",
                f"{found['median']:.1f} ms of script (95 %: {found['p95']:.1f} ms), {found['latency']:.0f} ms to paint, "
                f"{found['dropped']:.0f} of {found['steps']:.0f} frames dropped, {found['requests']:.0f} requests",
                ms=found["median"],
            )
        browser.close()


def everything():
    """All rows of the table."""
    from tests.benchmarks.scaling import scaling

    training_speed()
    with tempfile.TemporaryDirectory() as folder:
        slider(file_and_analyses(Path(folder)))
    scaling()


def main(rows=everything):
    """Print the table, and write its figures to the file that is named."""
    import torch

    arguments = argparse.ArgumentParser()
    arguments.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    path = arguments.parse_args().json
    machine = {
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(),
        "torch": torch.__version__, "instructions": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print("\n| what | figure |\n|---|---|")
    rows()
    if path:
        save(path, machine)


if __name__ == "__main__":
    main()
