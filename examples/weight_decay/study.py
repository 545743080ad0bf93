"""Prints and draws what the runs of a folder say about weight decay: `python study.py FOLDER [OUT]`.

OUT: a folder for the figures (HTML); without it, only text.
"""

from __future__ import annotations

import sys
from math import isnan
from pathlib import Path

import tdw
from tdw.statistics.bands import band
from tdw.statistics.collection import Runs
from tdw.statistics.durations import durations
from tdw.statistics.figures import band_figure, frequencies_figure, phase_figure, survival_figure
from tdw.statistics.frequencies import frequency_choices
from tdw.statistics.phase import phase_diagram
from tdw.statistics.survival import log_rank


def study(folder: Path, out: Path | None = None) -> None:
    """Phase diagram, delays with censoring, chosen frequencies, bands of the test loss."""
    runs = tdw.runs(folder)
    print(f"{len(runs)} runs")
    _phase(runs)
    _delays(runs)
    _frequencies(runs)
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    figures = {
        "phase": phase_figure(phase_diagram(runs, "weight_decay", "train_fraction")),
        "delay": survival_figure(runs.group("weight_decay")),
        "frequencies": frequencies_figure(frequency_choices(runs.filter("generalized_0.1!=none"))),
        "test_loss": band_figure(band(runs.filter("generalized_0.1!=none"), "test_loss", log=True)),
    }
    for name, figure in figures.items():
        figure.write_html(out / f"{name}.html", include_plotlyjs="cdn")
        print(f"{out / name}.html")


def _phase(runs: Runs) -> None:
    diagram = phase_diagram(runs, "weight_decay", "train_fraction")
    print("\nweight decay  runs  generalized  median delay (95 % interval)")
    for at, decay in enumerate(diagram.x):
        middle, low, high = (values[0, at] for values in (diagram.delay, diagram.delay_low, diagram.delay_high))
        end = "?" if isnan(high) else f"{high:.0f}"
        delay = "not reached" if isnan(middle) else f"{middle:.0f} ({low:.0f} to {end})"
        print(f"{decay:<12}  {diagram.runs[0, at]:>4}  {diagram.generalized[0, at]:>11}  {delay}")


def _delays(runs: Runs) -> None:
    groups = [durations(group.runs) for group in runs.group("weight_decay")]
    test = log_rank([(one.time, one.happened) for one in groups])
    censored = sum(one.censored for one in groups)
    print(
        f"\ndelays: {censored} of {len(runs)} censored; log-rank chi² = {test.chi2:.1f}, {test.df} df, p = {test.p:.2g}"
    )


def _frequencies(runs: Runs) -> None:
    choices = frequency_choices(runs.filter("generalized_0.1!=none"))
    counts = ", ".join(f"{k}: {count}" for k, count in enumerate(choices.count, 1))
    print(
        f"key frequencies of {choices.runs} runs that generalized: {counts}; equally likely: p = {choices.chi2_p:.2g}"
    )


if __name__ == "__main__":
    arguments = [Path(text) for text in sys.argv[1:]]
    study(*arguments)
