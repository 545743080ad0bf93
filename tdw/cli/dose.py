"""`tdw dose`: the command, and its table."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING

from tdw import interrupts
from tdw.cli.streams import say, say_json
from tdw.errors import StoppedError

if TYPE_CHECKING:
    from tdw.counterfactual.dose import Dose, DoseCurve

HEADER = ("edited at", "norm", "delay", "null: median", "range", "p", "all epochs")


def dose_command(arguments: argparse.Namespace) -> int:
    """Measure how the delay of grokking depends on the epoch of an edit: branch a run with the same edits at several epochs, and with
    random edits of equal norm, train all of them, and print the delays. Rerun the same command to go on.
    """
    from tdw.cli.commands import settings_given
    from tdw.cli.sweeps import work_progress
    from tdw.counterfactual.dose import dose

    interrupts.at_work()
    stop = interrupts.Patience()
    try:
        shown = contextlib.nullcontext() if arguments.json else work_progress(arguments.folder)
        with stop, shown as progress:  # JSON is alone on standard output
            found = dose(
                arguments.file,
                arguments.folder,
                edits=arguments.edit,
                at=arguments.at,
                random=arguments.random,
                jobs=arguments.jobs,
                progress=progress,
                stop=stop,
                **settings_given(arguments),
            )
    except StoppedError as stopped:
        say(str(stopped))
        return interrupts.code()
    if arguments.json:
        say_json(asdict(found))
    else:
        say(*table(found))
    return 0


def table(curve: DoseCurve) -> list[str]:
    """A dose curve as lines of text."""
    rows = [HEADER, *(_row(dose) for dose in curve.doses)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{curve.run}: delay {curve.delay.text} epochs, from the first train loss below 0.1 to the first test loss below 0.1",
        *(f"edit: {sentence}" for sentence in curve.edits),
        *("  ".join(map(str.rjust, row, widths)).rstrip() for row in rows),
    ]
    delays = [delay for dose in curve.doses for delay in ([dose.delay] if dose.delay else []) + list(dose.null)]
    if censored := sum(delay.censored for delay in delays):
        diverged = sum(delay.diverged for delay in delays)
        lines.append(
            f"> {censored} of {len(delays)} branches did not generalize within their epochs"
            + (f", {diverged} of them because they diverged" if diverged else "")
            + ": their delays are longer than the numbers after >, and count as these in the p-values."
        )
    if all(dose.delay is None for dose in curve.doses):
        lines.append(
            f"{curve.run} had generalized before all of these epochs, so nothing is left to delay: give earlier ones with --at."
        )
    if any(dose.p is not None for dose in curve.doses):
        lines.append('p: how often a random edit is as far from the others; "all epochs": corrected over the epochs.')
    elif any(dose.null for dose in curve.doses):
        lines.append("No branch generalized, so there is nothing to compare and no p-value.")
    return lines


def _row(dose: Dose) -> tuple[str, ...]:
    norm = "" if dose.norm is None else f"{dose.norm:.4g}"
    if dose.delay is None:
        return str(dose.at), norm, "generalized before", "", "", "", ""
    null = (
        ("", "", "", "")
        if not dose.null
        else (
            dose.median,
            f"{dose.low} to {dose.high}",
            *("" if p is None else f"{p:.3f}" for p in (dose.p, dose.corrected)),
        )
    )
    return str(dose.at), norm, dose.delay.text, *null
